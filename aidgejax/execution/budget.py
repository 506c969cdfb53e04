"""Will it fit?  Asked before anything runs, since a failed allocation may take the process along."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax

from ..dtypes import DTYPES, bits
from ..errors import GraphError, SettingError, about
from ..graph import Graph, Node, Value
from ..interpreter.sizes import Size, parse
from ..interpreter.sizes import value as expression_value
from .program import Program


def memory_budget() -> int:
    """Bytes that a computation may take: AIDGEJAX_MEMORY, or what the host, its limits and the device have free.

    Raises SettingError where AIDGEJAX_MEMORY is no whole number of bytes.
    """
    if given := os.environ.get("AIDGEJAX_MEMORY"):
        if not given.isdigit():
            raise SettingError(f"AIDGEJAX_MEMORY is {given!r}; expected a number of bytes")
        return int(given)
    return min(_host(), _process(), _device())


def _host() -> int:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return 1 << 40


def _process() -> int:
    """What the limits of this process, and of the container it runs in, leave."""
    least = 1 << 40
    try:
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        if limit != resource.RLIM_INFINITY:
            held = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
            least = max(limit - held, 0)
    except (ImportError, OSError, ValueError, IndexError):  # not on Windows
        pass
    try:
        group = Path("/sys/fs/cgroup")
        limit = int((group / "memory.max").read_text())  # "max" where there is none
        held = int((group / "memory.current").read_text())
        cached = dict(line.split() for line in (group / "memory.stat").read_text().splitlines()).get("inactive_file", 0)
        least = min(least, max(limit - held + int(cached), 0))
    except (OSError, ValueError):
        pass
    return least


def _device() -> int:
    device = getattr(jax.config, "jax_default_device", None) or jax.devices()[0]
    stats = getattr(device, "memory_stats", lambda: None)() or {}
    return int(stats.get("bytes_limit", 1 << 40)) - int(stats.get("bytes_in_use", 0))


SMALL = 1 << 26  # bytes below which nobody is asked


@dataclass(frozen=True)
class Peak:
    """The most bytes that are held at once: at which node, of which tensor there, and how many of them it takes."""

    total: int = 0
    node: Node | None = None
    value: Value | None = None
    own: int = 0


def peak_memory(graph: Graph, feeds: Mapping[str, Any], *, kept: Iterable[str] = (), copies: int = 1) -> Peak:
    """The most that the tensors computed by the graph take at once, its sizes taken from the inputs.

    A tensor is held from the node that writes it to the last that reads it; outputs and `kept` stay to the end.  A
    result takes the place of an input of the same size that nobody reads later, as it does when nodes are fused.
    graph: shapes inferred.  feeds: {input: array, or anything with a shape}.  Unknown sizes count as nothing.
    copies: how often each tensor is held.
    """
    return _peak(graph, sizes_of(graph, feeds), kept, copies)


def _peak(graph: Graph, sizes: Mapping[str, int], kept: Iterable[str], copies: int) -> Peak:
    last = {i: k for k, node in enumerate(graph.nodes) for i in node.input_names}
    stays = {*graph.outputs, *kept}
    held: dict[str, int] = {}
    live, peak = 0, Peak()
    for k, node in enumerate(graph.nodes):
        written = [(graph.value(o), _bytes(graph.value(o), sizes) * copies) for o in node.output_names]
        over = [i for i in dict.fromkeys(node.input_names) if last[i] == k and i in held and i not in stays]
        same = {held[i] for i in over} & {n for _, n in written}
        live += sum(n for _, n in written)
        at_once = live - max(same, default=0)
        if at_once > peak.total:
            value, own = max(written, key=lambda w: w[1])
            peak = Peak(at_once, node, value, own)
        live -= sum(held.pop(i) for i in over)
        for value, count in written:
            if value.name in last or value.name in stays:
                held[value.name] = count
            else:
                live -= count
    return peak


def check_memory(
    graph: Graph, feeds: Mapping[str, Any], *, kept: Iterable[str] = (), copies: int = 1, besides: int = 0
) -> None:
    """Raise GraphError where the graph's tensors take more than memory_budget() leaves; see peak_memory.

    besides: bytes that are held all the time, such as the optimizer's state.
    """
    _check(graph, peak_memory(graph, feeds, kept=kept, copies=copies), besides)


def check_training_memory(program: Program, feeds: Mapping[str, Any], besides: int) -> None:
    """The same for a step of training on this batch: the forward with what it saves, then the gradient beside that."""
    graph, sizes = program.graph, sizes_of(program.graph, feeds)
    _check(graph, _peak(graph, sizes, program.saves, 1), besides)
    saved = sum(_bytes(graph.value(s), sizes) for s in program.saves if s not in graph.inputs)
    _check(program.gradient, _peak(program.gradient, sizes, (), 1), besides + saved)


def _check(graph: Graph, peak: Peak, besides: int) -> None:
    if peak.node is None or peak.total + besides < SMALL:
        return
    budget = memory_budget()
    if peak.total + besides <= budget:
        return
    more = f" and {besides:,} for what is held all the time" if besides else ""
    where = f"node {peak.node.name!r} ({peak.node.op}) of graph {graph.name!r}"
    text = (
        f"{where} would write {peak.value}, {peak.own:,} bytes, "
        f"and with what else is held then {peak.total:,} bytes are needed{more}; there are {budget:,}. "
        f"Take a smaller batch or size, or set AIDGEJAX_MEMORY (bytes)"
    )
    raise about("memory", GraphError(text))


def sizes_of(graph: Graph, feeds: Mapping[str, Any]) -> dict[str, int]:
    """{symbolic size of an input: what it is in these feeds}"""
    return {
        name: size
        for k, a in feeds.items()
        if k in graph.inputs and graph.inputs[k].shape is not None and hasattr(a, "shape")
        for name, size in zip(graph.inputs[k].shape or (), a.shape, strict=False)
        if isinstance(name, str)
    }


def _bytes(value: Value, sizes: Mapping[str, int]) -> int:
    """At least; 0 where a size is not known."""
    if value.shape is None:
        return 0
    count = bits(value.dtype) if value.dtype in DTYPES else 32
    for d in value.shape:
        if isinstance(d, str):
            size = parse(d) if d not in sizes else sizes[d]
            if isinstance(size, Size):
                size = expression_value(size, sizes) if set(size.symbols) <= set(sizes) else 0
            d = size
        count *= max(d or 0, 0)
    return count // 8
