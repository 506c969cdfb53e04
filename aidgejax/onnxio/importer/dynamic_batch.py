"""Makes a fixed batch axis dynamic.

A fixed batch is hard-coded in the inputs, in the targets of Reshape, and in tensors that were expanded to it.  The
graph is walked with another size in the inputs; where a node's settings still say the exported one, they are rewritten
so that they mean at the exported size what they meant before, and follow the batch at other sizes:

    Reshape         the size that holds the batch becomes 0 ("keep it") or -1 ("what is left over")
    Concat          an operand of batch 1, such as a class token, is expanded
    Expand, Resize  the batch is left out of the target
    LSTM, GRU, RNN  initial states of batch 1 are expanded

What cannot be freed is reported with its node.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from ...errors import GraphError
from ...graph import Graph, Node, Value
from ...interpreter.abstract_evaluation import ShapeInference, symbols_of, symbols_of_shape
from ...interpreter.evaluate import Tensors
from ...interpreter.repeats import Stacks
from ...interpreter.shape_inference import infer_shapes
from ...ops import lookup

PROBE = 1009  # a prime that no other size is a multiple of
MOST_TURNS = 1000
Option = Callable[[], Iterable[Node]]


def with_dynamic_batch(graph: Graph, batch: str = "N") -> Graph:
    """The same graph with axis 0 of its inputs called `batch`.  Shapes must be known.

    Inputs whose first size differs from the first input's are left as they are (tables, masks).
    Raises GraphError naming the node in which the exported batch size remains.
    """
    sizes = [v.shape[0] for v in graph.inputs.values() if v.shape]
    fixed = next((d for d in sizes if isinstance(d, int)), None)
    if fixed is None:
        return graph
    elsewhere = [v for v in graph.inputs.values() if batch in symbols_of_shape((v.shape or ())[1:])]
    if elsewhere:
        other = next(n for n in ("N", "batch", "rows", "batch_size") if n not in symbols_of(graph))
        raise GraphError(
            f"batch={batch!r}: a size of {elsewhere[0]} has that name already; give another, such as batch={other!r}"
        )
    copy = graph.copy()
    freed = [v for v in graph.inputs.values() if v.shape and v.shape[0] == fixed]
    for v in freed:
        copy.inputs[v.name] = Value(v.name, (batch, *(v.shape or ())[1:]), v.dtype)
    try:
        freeing = _Freeing(graph, copy, fixed, batch)
        try:
            freeing.walk()
        except GraphError as e:
            raise GraphError(freeing.named(str(e))) from None
        copy = infer_shapes(copy)
    except GraphError as e:
        raise GraphError(f"the batch size {fixed} is hard-coded: with {batch!r} in its place, {e}") from None
    depends = {v.name for v in freed}
    for node in copy.nodes:
        if depends.intersection(node.input_names):
            depends.update(node.output_names)
    for o in copy.outputs:
        before, after = graph.value(o).shape, copy.value(o).shape
        if o in depends and before and before[0] == fixed and after == before:
            raise GraphError(
                f"the batch size {fixed} is hard-coded: output {graph.value(o)} does not follow {batch!r}; "
                f"look for the node that writes it, and for reductions over axis 0"
            )
    return copy


class _Freeing:
    """One walk through the nodes of `copy`, with PROBE rows; the shapes of `graph` are those with `fixed` rows.

    A target of Reshape may leave open which of two neighbouring axes is to hold the batch: [17, 1, 48] to [17, 48] is
    [17*N, 48] to some and [17, 48*N] to others.  The walk tries one, and comes back for the other where it leads to
    shapes that do not fit, or to rows that are mixed with each other.
    """

    def __init__(self, graph: Graph, copy: Graph, fixed: int, batch: str) -> None:
        self.graph, self.copy, self.fixed = graph, copy, fixed
        self.prober = ShapeInference(copy)
        stored = {d for p in graph.producers.values() for d in p.data.shape}
        stored |= {d for v in graph.values.values() for d in v.shape or () if isinstance(d, int)}
        unused = (n for n in range(16, 1 << 20, 16) if n not in stored)
        others = {s: next(unused) for s in symbols_of(copy) if s != batch}
        self.names = {n: s for s, n in others.items()}
        self.batch = batch
        self.tensors: Tensors = self.prober.start({batch: PROBE, **others})
        # {how many times the batch an axis is: is the batch the slowest part of it? As far as has been seen.}
        self.slowest: dict[int, tuple[bool, ...]] = {}

    def walk(self) -> None:
        nodes, made = self.copy.nodes, [[n] for n in self.copy.nodes]
        choices: list[tuple[int, Stacks, dict, list[Option]]] = []
        worst: tuple[int, GraphError] | None = None
        k, turns, options, careful = 0, 0, None, False
        while k < len(nodes):
            options = self._options(nodes[k]) if options is None else options
            option, *others = options
            if others:
                careful = True  # now that something may be guessed wrong
                choices.append((k, Stacks(self.tensors.arrays), dict(self.slowest), others))
            try:
                made[k] = list(self._visited(option(), careful))
                k, options = k + 1, None
            except GraphError as e:
                worst = (k, e) if worst is None or k > worst[0] else worst
                turns += 1
                if not choices or turns > MOST_TURNS:
                    raise worst[1] from None
                k, self.tensors.arrays, self.slowest, options = choices.pop()
        self.copy.nodes = [n for group in made for n in group]

    def named(self, text: str) -> str:
        """A message with names in the place of the numbers that were tried."""

        def name(found: re.Match) -> str:
            n = int(found[0])
            if n and n % PROBE == 0:
                return self.batch if n == PROBE else f"{n // PROBE}*{self.batch}"
            return self.names.get(n, found[0])

        return re.sub(r"(?<![\w.])\d+(?![\w.])", name, text)

    def _options(self, node: Node) -> list[Option]:
        """Ways to write a node, the likeliest first."""
        free = {
            "Concat": self._concat,
            "Expand": self._expand,
            "Resize": self._resize,
            "LSTM": self._recurrent,
            "GRU": self._recurrent,
            "RNN": self._recurrent,
        }
        if node.op == "Reshape":
            return self._reshapes(node)
        return [partial(free[node.op], node) if node.op in free else lambda: iter((node,))]

    def _visited(self, nodes: Iterable[Node], careful: bool) -> Iterator[Node]:
        for n in nodes:
            self.prober.visit(n, self.tensors)
            if n.op == "Reshape" and self._scatters(n):
                raise GraphError(f"node {n.name!r} (Reshape) takes the rows of the batch apart")
            if careful and (what := self._mixes_rows(n)):
                raise GraphError(f"node {n.name!r} ({n.op}) {what}")
            yield n

    def _scatters(self, node: Node) -> bool:
        """Are the elements of one row, of an axis that is the batch alone, no longer as far from the next row's?"""
        before, after = self._shape(node.inputs[0]), self._shape(node.output_names[0])
        held = [k for k, d in enumerate(before) if d % PROBE == 0]
        if len(held) != 1 or before[held[0]] != PROBE:
            return False
        row = math.prod(before[held[0] + 1 :])
        found = [(d // PROBE, math.prod(after[k + 1 :])) for k, d in enumerate(after) if d and d % PROBE == 0]
        return bool(found) and row > 0 and all(row not in (inner, merged * inner) for merged, inner in found)

    def _mixes_rows(self, node: Node) -> str:
        """How it does; "" if it keeps them apart."""
        names = node.input_names[:1] if node.op.endswith("Like") else node.input_names
        ins = [k for i in names for k, d in enumerate(self._shape(i)) if d % PROBE == 0]
        outs = [[k for k, d in enumerate(self._shape(o)) if d % PROBE == 0] for o in node.output_names]
        if any(len(held) > 1 for held in outs):
            return "holds the batch in two axes"
        if (
            ins
            and not any(outs)
            and not lookup(node.op).shape_only
            and node.output_names[0] not in self.prober.metadata
        ):
            return "loses the batch"
        normalizes = node.op in ("Softmax", "LogSoftmax", "LayerNormalization")
        if normalizes and self._shape(node.inputs[0])[node.attrs.get("axis", -1)] % PROBE == 0:
            return "normalizes along the batch"
        return ""

    def _shape(self, i: Any) -> tuple[int, ...]:
        return tuple(np.shape(self.tensors.in_graph_layout(i))) if isinstance(i, str) else ()

    def _ints(self, node: Node, at: int) -> list[int] | None:
        """The integers that an input holds; None where it is absent, or computed from data."""
        i = node.inputs[at] if at < len(node.inputs) else None
        value = self.tensors.arrays.get(i) if isinstance(i, str) else i
        return [int(d) for d in np.ravel(value)] if isinstance(value, tuple | np.ndarray) else None

    # ---- targets --------------------------------------------------------------------------------------

    def _reshapes(self, node: Node) -> list[Option]:
        before, target = self._shape(node.inputs[0]), self._ints(node, 1)
        held = [k for k, d in enumerate(before) if d and d % PROBE == 0]
        if target is None or len(held) != 1 or self._follows(before, target, node):
            return [lambda: iter((node,))]
        (at,) = held
        after = self.graph.value(node.output_names[0]).shape or ()
        sizes = [d if isinstance(d, int) else None for d in after]
        merged, inner = before[at] // PROBE, math.prod(before[at + 1 :])
        found: dict[int, bool] = {}
        for slowest in self.slowest.get(merged, (True,)):
            row = inner * merged if slowest else inner  # elements between one row and the next
            for axis, first in self._axes_of_batch(sizes, row, at):
                found.setdefault(axis, first)
        options: list[Option] = [
            partial(self._retargeted, node, before, target, sizes, axis, first) for axis, first in found.items()
        ]
        return options or [lambda: iter((node,))]

    def _follows(self, before: Sequence[int], target: Sequence[int], node: Node) -> bool:
        """Does the target hold the batch, copied or computed from shapes?"""
        kept = len(before) if not node.attrs.get("allowzero") else 0
        sizes = [before[k] if d == 0 and k < kept else d for k, d in enumerate(target)]
        return any(d > 0 and d % PROBE == 0 for d in sizes)

    def _axes_of_batch(self, sizes: Sequence[int | None], row: int, at: int) -> list[tuple[int, bool]]:
        """The axes of a result of these sizes that may hold the batch, rows being `row` elements apart; and whether it
        is the slowest part there."""
        if None in sizes[1:]:
            return [(0, True)] if at == 0 and sizes and sizes[0] == self.fixed else []
        inner = [math.prod(d or 1 for d in sizes[k + 1 :]) for k in range(len(sizes))]
        own = [(k, True) for k, d in enumerate(sizes) if d == self.fixed and inner[k] == row]
        if own:
            return sorted(own, key=lambda found: found[0] != at)
        slow = [(k, True) for k, d in enumerate(sizes) if d and d * inner[k] == row * self.fixed]
        fast = [(k, False) for k, d in enumerate(sizes) if d and inner[k] == row and d % self.fixed == 0]
        return slow[:1] + fast[-1:]

    def _retargeted(
        self,
        node: Node,
        before: Sequence[int],
        target: Sequence[int],
        sizes: Sequence[int | None],
        axis: int,
        slowest: bool,
    ) -> Iterator[Node]:
        merged = (sizes[axis] or 1) // self.fixed
        if merged > 1:
            self.slowest[merged] = tuple({slowest: None, **dict.fromkeys(self.slowest.get(merged, ()))})
        attrs = {k: v for k, v in node.attrs.items() if k != "allowzero"}
        if target[axis] == -1:
            new: list[int | None] = list(target)
        elif axis < len(before) and before[axis] == PROBE and merged == 1:
            new = [0 if k == axis else d for k, d in enumerate(target)]
        else:  # only one size may be left over: write the other
            new = [-1 if k == axis else sizes[k] if d == -1 else d for k, d in enumerate(target)]
        if None not in new and new != list(target):
            node = node.replace(inputs=(node.inputs[0], tuple(new), *node.inputs[2:]), attrs=attrs)
        yield node

    def _expand(self, node: Node) -> Iterator[Node]:
        before, target = self._shape(node.inputs[0]), self._ints(node, 1)
        lead = len(target or ()) - len(before)
        held = [k + lead for k, d in enumerate(before) if d % PROBE == 0 and k + lead >= 0]
        if target and any(target[k] == self.fixed for k in held):
            target = [1 if k in held and d == self.fixed else d for k, d in enumerate(target)]
            node = node.replace(inputs=(node.inputs[0], tuple(target)))
        yield node

    def _resize(self, node: Node) -> Iterator[Node]:
        before, sizes = self._shape(node.inputs[0]), self._ints(node, 3)
        held = [k for k, d in enumerate(before) if d == PROBE]
        if sizes and len(sizes) == len(before) and not node.attrs.get("axes") and held and sizes[held[0]] == self.fixed:
            axes = tuple(k for k in range(len(before)) if k != held[0])
            node = node.replace(
                inputs=(*node.inputs[:3], tuple(sizes[k] for k in axes)), attrs={**node.attrs, "axes": axes}
            )
        yield node

    # ---- operands of batch 1 --------------------------------------------------------------------------

    def _concat(self, node: Node) -> Iterator[Node]:
        shapes = [self._shape(i) for i in node.inputs]
        axis = node.attrs["axis"] % max(1, len(shapes[0]))
        held = [(k, b) for k, s in enumerate(shapes) for b, d in enumerate(s) if d == PROBE and b != axis]
        if held and self.fixed == 1:
            like, at = held[0]
            for k, s in enumerate(shapes):
                if len(s) > at and s[at] == 1:
                    node = yield from self._expanded(node, k, at, node.inputs[like], at)
        yield node

    def _recurrent(self, node: Node) -> Iterator[Node]:
        at = 0 if node.attrs.get("layout") else 1
        if self.fixed == 1 and self._shape(node.inputs[0])[at : at + 1] == (PROBE,):
            for k in (5, 6):
                if k < len(node.inputs) and self._shape(node.inputs[k])[at : at + 1] == (1,):
                    node = yield from self._expanded(node, k, at, node.inputs[0], at)
        yield node

    def _expanded(self, node: Node, k: int, axis: int, like: Any, like_axis: int) -> Generator[Node, None, Node]:
        """The node with its input k, which has size 1 along an axis, expanded to a size of another tensor."""
        rank = len(self._shape(node.inputs[k]))
        size, target, wide = (self._new(f"{node.name}.{what}_{k}") for what in ("batch", "target", "expanded"))
        self.prober.metadata |= {size, target}
        yield Node("Shape", (like,), (size,), {"start": like_axis, "end": like_axis + 1}, size)
        parts = [(1,) * axis, size, (1,) * (rank - axis - 1)]
        yield Node("Concat", tuple(p for p in parts if p), (target,), {"axis": 0}, target)
        yield Node("Expand", (node.inputs[k], target), (wide,), {}, wide)
        return node.replace(inputs=(*node.inputs[:k], wide, *node.inputs[k + 1 :]))

    def _new(self, stem: str) -> str:
        name = self.copy.fresh(stem)
        self.copy.values[name] = Value(name, None, None)
        return name
