"""Finding nodes by a query: `matches(graph, "Producer-1>(Conv|Gemm)")` finds the weights.

    node       Conv     a node of this type; parameters, buffers and constants are of type Producer
               .        any node                   $        no node: the graph ends here
               Conv[f]  for which lambdas["f"](node) is true
               Conv#1   an anchor: wherever Conv#1 is written again, it is the same node.  Conv# is one too
    edge       A->B     output 0 of A goes to input 0 of B
               A-2>B    output 0 of A goes to input 2 of B;   A-1-2>B  output 1 to input 2;   A-*>B  to any input
               B<-A  B<2-A  B<2-1-A  B<*-A                    the same, read from B;   ~ may stand for -
    group      (Conv|Gemm)   either;  alternatives longer than a node must begin with the same type
               (Conv->Relu)  a sequence
    repeated   Relu?  Relu+  Relu*  Relu{2}   0 or 1, 1 or more, 0 or more, exactly 2 times; as many as possible.
               A repeated group is entered again by the edge in front of it, and binds its anchors anew
    several    Conv#->Relu;Conv#<1-Producer   all must match; each after the first begins at an anchor

Spaces mean nothing.  Nodes at different places of a query are different nodes, save through anchors.  The language is
that of aidge_core's SinglePassGraphMatching, as observed; every query ends here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from ..errors import QueryError
from ..graph import Graph, Node, Producer

PRODUCER = "Producer"
LONGEST = 10_000  # instructions of a compiled query: a{5000} is a mistake
DEEPEST = 50  # groups within groups
PATIENCE = 50_000  # steps from one first node, where the ways to match can multiply


@dataclass(frozen=True)
class Vertex:
    """A node as the matcher sees it.  inputs: (position of the vertex, its output) each, None where nothing comes in.

    node: whatever the caller wants to find again; it is what lambdas are asked about.
    """

    type: str
    name: str
    inputs: tuple[tuple[int, int] | None, ...] = ()
    node: Any = None


@dataclass(frozen=True)
class Match:
    """vertices: all that were matched, the first node of the query first;  anchors: {"Conv#1": vertex}."""

    vertices: tuple[Vertex, ...]
    anchors: dict[str, Vertex]

    @property
    def root(self) -> str:
        """The name of the node that the query begins with."""
        return self.vertices[0].name

    @property
    def nodes(self) -> list[str]:
        """The names of all nodes, sorted."""
        return sorted(v.name for v in self.vertices)


def matches(
    graph: Graph | Iterable[Vertex],
    query: str,
    disjoint: bool = False,
    lambdas: Mapping[str, Callable[[Any], Any]] | None = None,
) -> list[Match]:
    """One Match per node that the query can begin with, in the order of the graph; matches may overlap.

    graph: a Graph, or the vertices of another kind of graph.
    disjoint: of overlapping matches keep the one with more nodes, or the earlier.
    lambdas: {name: predicate} for Type[name]; a predicate is given the vertex's node: a graph.Node or a Producer.
    Raises QueryError, with the position, for a query that cannot be read.
    """
    vertices = vertices_of(graph) if isinstance(graph, Graph) else list(graph)
    program = compile_query(query)
    lambdas = dict(lambdas or {})
    for pattern in program.patterns:
        if pattern.test is not None and pattern.test not in lambdas:
            raise QueryError(
                f"query {query!r} uses [{pattern.test}] at position {pattern.at}, but lambdas has "
                f"{', '.join(map(repr, lambdas)) or 'none'}"
            )
    if not program.code:
        return []
    search = _Search(program, vertices, lambdas)
    found = [m for start in range(len(vertices)) if (m := search.first(start)) is not None]
    return _disjoint(found) if disjoint else found


def vertices_of(graph: Graph) -> list[Vertex]:
    """The producers and nodes of a Graph; its inputs are where it begins, not nodes."""
    writers: dict[str, tuple[int, int]] = {}
    things: list[Producer | Node] = [*graph.producers.values(), *graph.nodes]
    for k, thing in enumerate(things):
        outputs = (thing.name,) if isinstance(thing, Producer) else thing.outputs
        writers.update({name: (k, o) for o, name in enumerate(outputs) if name is not None})
    return [
        Vertex(PRODUCER, t.name, (), t)
        if isinstance(t, Producer)
        else Vertex(
            t.op,
            t.name or next(iter(t.output_names), ""),
            tuple(writers.get(i) if isinstance(i, str) else None for i in t.inputs),
            t,
        )
        for t in things
    ]


# ---- reading a query ----------------------------------------------------------------------------------


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


# ---- compiling it -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Program:
    """What to try, as instructions: ("step", edge, pattern, later), ("split", first choice, second), ("jump", where),
    ("release", anchors), ("done",).  narrow: it goes one way through one sequence, so that it never meets itself."""

    code: list[tuple]
    patterns: list[Pattern]
    narrow: bool


def compile_query(query: str) -> Program:
    return _Compiler(query).program()


class _Compiler:
    def __init__(self, query: str) -> None:
        self.query = query
        self.sequences = _Reader(query).sequences()
        self.code: list[tuple] = []
        self.known: set[str] = set()

    def program(self) -> Program:
        for k, sequence in enumerate(self.sequences):
            self.check_beginning(sequence.first, later=k > 0)
            self.sequence(sequence, None, later=k > 0)
        if self.sequences:
            self.emit("done")
        steps = [c for c in self.code if c[0] == "step"]
        return Program(
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
            raise QueryError(f"query {self.query!r} grows beyond {LONGEST} steps when its repetitions are written out")
        self.code.append(instruction)

    def refuse(self, item: Item, why: str) -> NoReturn:
        raise QueryError(f"query {self.query!r}: {why} (position {item.at}: {self.query[item.at :]!r})")


# ---- trying it ----------------------------------------------------------------------------------------


class _Search:
    """Depth first, first choice first.  A state that was tried before is not tried again, so it always ends."""

    def __init__(self, program: Program, vertices: list[Vertex], lambdas: dict[str, Callable]) -> None:
        self.code, self.vertices, self.lambdas = program.code, vertices, lambdas
        self.readers: list[list[tuple[int, int, int]]] = [[] for _ in vertices]  # (own output, reader, its input)
        for k, v in enumerate(vertices):
            for i, source in enumerate(v.inputs):
                if source is not None:
                    self.readers[source[0]].append((source[1], k, i))
        self.narrow = program.narrow and not self.has_cycle()

    def first(self, start: int) -> Match | None:
        """The first match whose first node is vertex `start`."""
        # A state: instruction, vertex (None beyond the end), anchors, vertices matched so far.
        stack: list[tuple[int, int | None, dict[str, int], tuple[int, ...]]] = [(0, start, {}, ())]
        tried = set()
        while stack:
            pc, at, anchors, path = stack.pop()
            state = (pc, at, frozenset(anchors.items()), not path if self.narrow else frozenset(path))
            if state in tried:
                continue
            tried.add(state)
            if len(tried) > PATIENCE and not self.narrow:
                raise QueryError(
                    f"no match found within {PATIENCE} steps from node {self.vertices[start].name!r}: "
                    f"there are too many ways to match. Replace -*> and repetitions by something narrower"
                )
            kind, *rest = self.code[pc]
            if kind == "done":
                return Match(tuple(self.vertices[k] for k in path), {n: self.vertices[k] for n, k in anchors.items()})
            if kind == "split":
                stack += [(rest[1], at, anchors, path), (rest[0], at, anchors, path)]
            elif kind == "jump":
                stack.append((rest[0], at, anchors, path))
            elif kind == "release":
                stack.append((pc + 1, at, {n: k for n, k in anchors.items() if n not in rest[0]}, path))
            else:
                stack += reversed(self.step(pc, at, anchors, path, *rest))
        return None

    def step(
        self,
        pc: int,
        at: int | None,
        anchors: dict[str, int],
        path: tuple[int, ...],
        edge: Edge | None,
        pattern: Pattern,
        later: bool,
    ) -> list[tuple]:
        """The states that one step leads to, in the order in which they are to be tried."""
        bound = anchors.get(pattern.anchor) if pattern.anchor else None
        if edge is None:  # a beginning: at its anchor, or, the first time, at the given vertex
            given = at if not path and not later else None
            candidates = [k for k in (bound, given) if k is not None][:1]
        else:
            candidates = self.neighbours(at, edge) if at is not None else []
            if pattern.type == "$":
                ends = at is not None and not (candidates if not edge.forward else self.children(at, edge.output))
                return [(pc + 1, None, anchors, path)] if ends else []
        states = []
        for k in candidates:
            if k == bound and self.fits(k, pattern):
                states.append((pc + 1, k, anchors, path))
            elif bound is None and k not in path and self.fits(k, pattern):
                states.append((pc + 1, k, {**anchors, pattern.anchor: k} if pattern.anchor else anchors, (*path, k)))
        return states

    def neighbours(self, at: int, edge: Edge) -> list[int]:
        """The vertices at the other end of such an edge, each once."""
        if edge.forward:
            found = [k for o, k, i in self.readers[at] if edge.output in (None, o) and edge.input in (None, i)]
        else:
            found = [
                source[0]
                for i, source in enumerate(self.vertices[at].inputs)
                if source is not None and edge.input in (None, i) and edge.output in (None, source[1])
            ]
        return list(dict.fromkeys(found))

    def children(self, at: int, output: int | None) -> list[int]:
        return [k for o, k, _ in self.readers[at] if output in (None, o)]

    def fits(self, k: int, pattern: Pattern) -> bool:
        vertex = self.vertices[k]
        return pattern.type in (".", vertex.type) and (
            pattern.test is None or bool(self.lambdas[pattern.test](vertex.node))
        )

    def has_cycle(self) -> bool:
        missing = [sum(s is not None for s in v.inputs) for v in self.vertices]
        ready = [k for k, m in enumerate(missing) if m == 0]
        for k in ready:
            for _, reader, _ in self.readers[k]:
                missing[reader] -= 1
                if missing[reader] == 0:
                    ready.append(reader)
        return len(ready) < len(self.vertices)


def _disjoint(found: list[Match]) -> list[Match]:
    taken: set[int] = set()
    kept = []
    for k in sorted(range(len(found)), key=lambda k: -len(found[k].vertices)):
        ids = {id(v) for v in found[k].vertices}
        if not taken & ids:
            taken |= ids
            kept.append(k)
    return [found[k] for k in sorted(kept)]
