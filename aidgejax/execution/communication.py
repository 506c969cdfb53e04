"""What a compiled program sends between devices, counted in its own text."""

from __future__ import annotations

import math
import re
from collections import Counter
from typing import Any, NamedTuple

from ..dtypes import DTYPES

KINDS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
_INSTRUCTION = re.compile(rf"= (.+?) ({'|'.join(KINDS)})(?:-start)?\(")
_ARRAY = re.compile(r"\b([a-z]+\d*[a-z0-9]*)\[([\d,]*)\]")
_HEAD = re.compile(r"^(?:ENTRY )?%?([\w.\-]+) \(.*\{$")
_CALLED = re.compile(r"(?:calls|to_apply|body|condition|branch_computations|true_computation|false_computation)=")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')
_HLO_DTYPES = {"pred": "bool", "bf16": "bfloat16"}


class Collective(NamedTuple):
    """One kind of communication: how many there are, and the bytes of their results on one device."""

    kind: str
    number: int
    bytes: int


def communication(compiled: Any, *, steps: int = 1) -> list[Collective]:
    """The collectives that one call of a compiled program makes, those in loops as often as these run, largest first.

    compiled: what jax.jit(f).lower(...).compile() gives, or its text; a loop of unknown length counts once.
    steps: divide by so many, for what one step of an epoch sends.
    """
    text = compiled if isinstance(compiled, str) else compiled.as_text()
    bodies, entry = _computations(text)
    times: Counter[str] = Counter()
    _count(entry, 1, bodies, times)
    counts: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    for name, often in times.items():
        for line in bodies[name]:
            if m := _INSTRUCTION.search(line):
                counts[m[2]] += often
                sizes[m[2]] += often * _bytes(m[1])
    found = [Collective(k, round(counts[k] / steps), round(sizes[k] / steps)) for k in counts]
    return sorted(found, key=lambda c: -c.bytes)


def _computations(text: str) -> tuple[dict[str, list[str]], str]:
    bodies: dict[str, list[str]] = {}
    entry, lines = "", []
    for line in text.splitlines():
        if m := _HEAD.match(line):
            lines = bodies.setdefault(m[1], [])
            entry = m[1] if line.startswith("ENTRY") else entry
        else:
            lines.append(line)
    return bodies, entry


def _count(name: str, often: int, bodies: dict[str, list[str]], times: Counter[str]) -> None:
    """How often each computation runs when `name` runs so often; the functions that a collective adds with do not."""
    times[name] += often
    for line in bodies.get(name, ()):
        if _INSTRUCTION.search(line):
            continue
        trips = _TRIPS.search(line)
        for m in _CALLED.finditer(line):
            rest = line[m.end() :]
            called = rest[1 : rest.index("}")].split(",") if rest.startswith("{") else [re.split(r"[,\s]", rest)[0]]
            for c in called:
                c = c.strip().lstrip("%")
                if c in bodies:
                    _count(c, often * int(trips[1]) if trips and m[0] == "body=" else often, bodies, times)


def _bytes(result: str) -> int:
    total = 0
    for name, sizes in _ARRAY.findall(result):
        name = _HLO_DTYPES.get(name, re.sub(r"^([suf])(\d+)$", lambda m: _LONG[m[1]] + m[2], name))
        width = DTYPES[name].itemsize if name in DTYPES else 1
        total += width * math.prod(int(n) for n in sizes.split(",") if n)
    return total


_LONG = {"s": "int", "u": "uint", "f": "float"}
