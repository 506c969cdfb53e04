"""A query (see pattern.py): read from its text, and compiled to the instructions that the search tries."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, NoReturn

from ..errors import QueryError

LONGEST = 10_000  # instructions of a compiled query: a{5000} is a mistake
DEEPEST = 50  # groups within groups


@dataclass(frozen=True)
class Pattern:
    """One place of a query.  type: "." for any, "$" for none;  at: its position in the text."""

    type: str
    test: str | None
    anchor: str | None
    at: int


@dataclass(frozen=True)
class Edge:
    """From the output of one node to the input of the next, or, if not forward, of the one before.  None: any."""

    forward: bool
    output: int | None
    input: int | None


@dataclass(frozen=True)
class Item:
    """Alternatives, `least` to `most` times (None: without end).  A node is a single alternative."""

    alternatives: tuple[Pattern | Sequence, ...]
    least: int
    most: int | None
    at: int

    def leading(self) -> list[Pattern]:
        """The nodes that it may begin with."""
        return [p for a in self.alternatives for p in ([a] if isinstance(a, Pattern) else a.first.leading())]

    def anchors(self) -> set[str]:
        inner = [[a] if isinstance(a, Pattern) else [a.first, *(i for _, i in a.rest)] for a in self.alternatives]
        return {
            n
            for parts in inner
            for p in parts
            for n in (p.anchors() if isinstance(p, Item) else filter(None, [p.anchor]))
        }


@dataclass(frozen=True)
class Sequence:
    first: Item
    rest: tuple[tuple[Edge, Item], ...]


NODE = re.compile(r"(\$)|(\.|\w+)")
SUFFIX = re.compile(r"\[\s*(?P<test>\w+)\s*\]|#(?P<anchor>\w*)")
FORWARD = re.compile(r"([-~])\s*(?:(?P<output>\d+|\*)\s*\1\s*)?(?P<input>\d+|\*)?\s*>")
BACKWARD = re.compile(r"<\s*(?P<input>\d+|\*)?\s*([-~])(?:\s*(?P<output>\d+|\*)\s*\2)?")
REPEAT = re.compile(r"(?P<sign>[?+*])|\{\s*(?P<times>\d+)\s*\}")
SIGNS: dict[str, tuple[int, int | None]] = {"?": (0, 1), "+": (1, None), "*": (0, None)}


class _Reader:
    """Reads a query from left to right."""

    def __init__(self, text: str) -> None:
        if not isinstance(text, str):
            raise QueryError(f"a query is text such as 'Producer-1>(Conv|Gemm)', got {text!r}")
        self.text, self.at, self.depth = text, 0, 0

    def sequences(self) -> list[Sequence]:
        if not self.text.strip():
            return []
        found = [self.sequence()]
        while self.take(";"):
            found.append(self.sequence())
        if self.at < len(self.text):
            self.fail("an edge such as -> or <1-, ';' or the end")
        return found

    def sequence(self) -> Sequence:
        first, rest, last_at = self.item(), [], self.at
        while edge := self.edge():
            if self.text[:last_at].rstrip().endswith("$"):
                raise QueryError(
                    f"query {self.text!r}: nothing can follow the $ before position {last_at}, "
                    f"which is the end of the graph"
                )
            rest.append((edge, self.item()))
            last_at = self.at
        return Sequence(first, tuple(rest))

    def item(self) -> Item:
        self.skip()
        at = self.at
        alternatives: list[Pattern | Sequence]
        if self.take("("):
            self.depth += 1
            if self.depth > DEEPEST:
                self.fail(f"no more than {DEEPEST} groups nested in one another")
            alternatives = [_simplest(self.sequence())]
            while self.take("|"):
                alternatives.append(_simplest(self.sequence()))
            if not self.take(")"):
                self.fail("an edge, '|' or the ')' of the group that begins at position " + str(at))
            self.depth -= 1
        else:
            alternatives = [self.pattern()]
        least, most = self.repetition()
        item = Item(tuple(alternatives), least, most, at)
        if any(isinstance(a, Sequence) for a in alternatives) and len({p.type for p in item.leading()}) > 1:
            raise QueryError(
                f"query {self.text!r}: the alternatives at position {at} begin with "
                f"{', '.join(p.type for p in item.leading())}; alternatives longer than one node must "
                f"begin with the same type. Write two queries"
            )
        return item

    def pattern(self) -> Pattern:
        at, found = self.at, self.find(NODE)
        if not found:
            self.fail("a node (a type, '.', '$') or '('")
        if found[1]:
            return Pattern("$", None, None, at)
        test = anchor = None
        while suffix := self.find(SUFFIX):
            if (test if suffix["test"] else anchor) is not None:
                self.at = suffix.start()
                self.fail("one [lambda] and one #anchor at most")
            if suffix["test"]:
                test = suffix["test"]
            else:
                anchor = f"{found[2]}#{suffix['anchor']}"
        return Pattern(found[2], test, anchor, at)

    def repetition(self) -> tuple[int, int | None]:
        self.skip()
        at, found = self.at, self.find(REPEAT)
        if not found:
            return 1, 1
        if found["sign"]:
            return SIGNS[found["sign"]]
        times = int(found["times"][:6])
        if not 1 <= times <= LONGEST:
            raise QueryError(
                f"query {self.text!r}: {{{found['times']}}} at position {at} repeats a node "
                f"{found['times']} times; expected 1 to {LONGEST}"
            )
        return times, times

    def edge(self) -> Edge | None:
        found = self.find(FORWARD) or self.find(BACKWARD)
        if not found:
            return None

        def index(text: str | None) -> int | None:
            return None if text == "*" else int(text or 0)

        return Edge(found.re is FORWARD, index(found["output"]), index(found["input"]))

    def find(self, what: re.Pattern) -> re.Match | None:
        self.skip()
        found = what.match(self.text, self.at)
        if found:
            self.at = found.end()
            self.skip()
        return found

    def take(self, sign: str) -> bool:
        self.skip()
        if not self.text.startswith(sign, self.at):
            return False
        self.at += 1
        self.skip()
        return True

    def skip(self) -> None:
        while self.at < len(self.text) and self.text[self.at].isspace():
            self.at += 1

    def fail(self, expected: str) -> NoReturn:
        where = f"at position {self.at}: {self.text[self.at :]!r}" if self.at < len(self.text) else "at its end"
        raise QueryError(f"query {self.text!r} cannot be read {where}; expected {expected}")


def _simplest(sequence: Sequence) -> Pattern | Sequence:
    """A group's alternative: a lone node as a Pattern, so that (A|B) is a choice between nodes."""
    item = sequence.first
    plain = not sequence.rest and item.least == item.most == 1 and len(item.alternatives) == 1
    return item.alternatives[0] if plain and isinstance(item.alternatives[0], Pattern) else sequence


@dataclass(frozen=True)
class Instructions:
    """What to try, as instructions: ("step", edge, pattern, later), ("split", first choice, second), ("jump", where),
    ("release", anchors), ("done",).  narrow: it goes one way through one sequence, so that it never meets itself."""

    code: list[tuple]
    patterns: list[Pattern]
    narrow: bool


def compile_query(query: str) -> Instructions:
    return _Compiler(query).instructions()


class _Compiler:
    def __init__(self, query: str) -> None:
        self.query = query
        self.sequences = _Reader(query).sequences()
        self.code: list[tuple] = []
        self.known: set[str] = set()

    def instructions(self) -> Instructions:
        for k, sequence in enumerate(self.sequences):
            self.check_beginning(sequence.first, later=k > 0)
            self.sequence(sequence, None, later=k > 0)
        if self.sequences:
            self.emit("done")
        steps = [c for c in self.code if c[0] == "step"]
        return Instructions(
            self.code,
            [p for _, _, p, _ in steps],
            len(self.sequences) == 1 and len({e.forward for _, e, _, _ in steps if e}) < 2,
        )

    def check_beginning(self, item: Item, later: bool) -> None:
        """The node that everything hangs on must be there, and must be found again if it is repeated."""
        if item.least == 0:
            self.refuse(item, "the first node may not be optional")
        for p in item.leading():
            if p.type == "$":
                self.refuse(item, "a query begins with a node, not with $")
            if item.most != 1 and p.anchor is None:
                self.refuse(item, f"a repeated beginning needs an anchor, e.g. {p.type}#")
            if later and p.anchor not in self.known:
                known = ", ".join(sorted(self.known)) or "there are no anchors"
                self.refuse(
                    item,
                    f"a sequence after ';' begins at an anchor that was written before; "
                    f"{p.anchor or p.type} is none ({known})",
                )
        for a in item.alternatives:
            if isinstance(a, Sequence):
                self.check_beginning(a.first, later)

    def sequence(self, sequence: Sequence, edge: Edge | None, later: bool) -> None:
        self.item(sequence.first, edge, later)
        for e, item in sequence.rest:
            self.item(item, e, later)

    def item(self, item: Item, edge: Edge | None, later: bool) -> None:
        begin = len(self.code)
        fresh = item.anchors() - self.known if edge else set()
        if item.least == 0:
            self.emit("split", begin + 1, None)
        for _ in range(max(item.least, 1)):
            again = len(self.code)
            if fresh and item.most != 1:
                self.emit("release", frozenset(fresh))
            self.alternatives(item, edge, later)
        if item.most is None:
            if item.least:
                self.emit("split", again, len(self.code) + 1)
            else:
                self.emit("jump", begin)
        if item.least == 0:
            self.code[begin] = ("split", begin + 1, len(self.code))
        self.known |= item.anchors()

    def alternatives(self, item: Item, edge: Edge | None, later: bool) -> None:
        jumps = []
        for k, a in enumerate(item.alternatives):
            choice = len(self.code)
            last = k == len(item.alternatives) - 1
            if not last:
                self.emit("split")
            if isinstance(a, Pattern):
                self.emit("step", edge, a, later)
            else:
                self.sequence(a, edge, later)
            if not last:
                jumps.append(len(self.code))
                self.emit("jump")
                self.code[choice] = ("split", choice + 1, len(self.code))
        for j in jumps:
            self.code[j] = ("jump", len(self.code))

    def emit(self, *instruction: Any) -> None:
        if len(self.code) >= LONGEST:
            raise QueryError(f"query {self.query!r} grows beyond {LONGEST} steps when its repetitions are expanded")
        self.code.append(instruction)

    def refuse(self, item: Item, why: str) -> NoReturn:
        raise QueryError(f"query {self.query!r}: {why} (position {item.at}: {self.query[item.at :]!r})")
