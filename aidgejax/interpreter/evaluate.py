"""Evaluating a graph with JAX, node by node.

Layout.  Graphs say NCHW, as ONNX does.  With layout "NHWC", convolutions and pools run channels-last and element-wise
nodes between them follow; transposes are inserted only at the edges of such a region, and callers see NCHW.

Shapes.  What decides a shape (a Reshape's target) must be known before the program is compiled: constant_folding.py.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..dtypes import Arrays
from ..errors import AidgeJaxError, GraphError
from ..graph import Graph, Node, Value
from ..ops import Operator, lookup
from .constant_folding import compile_time_values, fold, is_concrete
from .equal_nodes import EqualNodes
from .repeats import Run, Stacks, find_runs, kind_of, stack_name

Fetches = Mapping[str, Callable[[Any, Any, Node], Any]]
LAYOUTS = ("NHWC", "NCHW")
IMAGE_RANKS = (3, 4, 5)


@dataclass(frozen=True)
class Step:
    """One node, planned: the layout in which each input is read, what the forward is called with.

    reads: per input "graph_layout", "channels_last", "static" or "literal".
    """

    node: Node
    operator: Operator
    reads: tuple[str, ...]
    keywords: dict[str, Any]
    channels_last: tuple[bool, ...]
    rank: int
    folded: bool


class Evaluator:
    """Executes the nodes of one graph in order.

    given: inputs that arrive channels-last (what the forward stored for the backward).
    channels_last: all tensors that are stored channels-last.
    scan_blocks: execute runs of equal blocks as loops, each block lowered and compiled once (see repeats.py).
    """

    def __init__(
        self, graph: Graph, layout: str = "NCHW", given: Iterable[str] = (), scan_blocks: bool = False
    ) -> None:
        self.graph = graph
        self.metadata = compile_time_values(graph)
        self.channels_last = {g for g in given if g in graph.inputs}
        self.steps: list[Step] = []
        for node in graph.nodes:
            step = self._plan(node, layout)
            self.steps.append(step)
            self.channels_last.update(o for o, last in zip(node.outputs, step.channels_last, strict=True) if last and o)
        self.runs = {run.start: run for run in self._runs()} if scan_blocks else {}

    def __call__(
        self, env: Arrays, key: Any, read: Iterable[str], fetch: Fetches | None = None, held: Collection[str] = ()
    ) -> Tensors:
        """Execute.  env: {name: array} of all inputs and producers; read: what the caller takes from the result.

        fetch: {name: f(array, after, node) -> the array that this node reads in its place}; after: what the node before
        has computed, None at first.  With it nothing is executed as a loop.
        held: results that stand behind a Barrier, so that a compiler joins no node before to one after.
        """
        tensors = Tensors(env, self.channels_last, held=held)
        asked = set(read)
        read = asked.union(*(n.input_names for n in self.graph.nodes))
        after, k = None, 0
        while k < len(self.steps):
            if k in self.runs and not fetch and self._loop(self.runs[k], tensors, key, asked, read):
                k = self.runs[k].stop
                continue
            step = self.steps[k]
            far = {i: tensors.arrays[i] for i in step.node.input_names if i in fetch} if fetch else {}
            for i in far:
                tensors.arrays[i] = fetch[i](far[i], after, step.node)  # type: ignore[index]  # far is empty without it
            results = self._one(step, k, tensors, key, read)
            if far:
                tensors.put_back(far)
            if fetch and not step.folded and results[0] is not None:
                after = results[0]
            k += 1
        return tensors

    def _one(self, step: Step, k: Any, tensors: Tensors, key: Any, read: set[str]) -> tuple:
        results = self._execute(step, k, tensors, key, read)
        for name, array in zip(step.node.outputs, results, strict=False):
            if name is not None:
                tensors.arrays[name] = lookup("Barrier").forward(array) if name in tensors.held else array
        return results

    def _runs(self) -> list[Run]:
        kinds = [kind_of(self.graph, s.node, s.reads, s.channels_last, s.rank, s.folded) for s in self.steps]
        settings = [[how == "static" or s.folded and not s.operator.shape_only for how in s.reads] for s in self.steps]
        return find_runs(self.graph, kinds, settings, self.channels_last)

    def _loop(self, run: Run, tensors: Tensors, key: Any, asked: set[str], read: set[str]) -> bool:
        """The blocks of a run as one lax.scan, over their parameters stacked; False where that cannot be.

        asked: what the caller of the walk takes from it; read: that, and what any node reads.
        """
        block = [
            replace(s, node=replace(s.node, inputs=names))
            for s, names in zip(self.steps[run.start : run.start + run.period], run.inputs, strict=True)
        ]
        outputs = {  # place: the tensor of each block
            (j, n): [str(self.steps[k].node.outputs[n]) for k in range(run.start + j, run.stop, run.period)]
            for j, s in enumerate(block)
            for n, o in enumerate(s.node.outputs)
            if o is not None
        }
        wanted_here = {names[0] for names in outputs.values() if not read.isdisjoint(names)}
        others = [*self.graph.nodes[: run.start], *self.graph.nodes[run.stop :]]
        outside = asked.union(*(n.input_names for n in others))
        carried = {place for _, place in run.carries.values()}
        kept = {
            place: names
            for place, names in outputs.items()
            if any(o in outside for o in (names[:-1] if place in carried else names))
        }
        if any(block[j].folded for j, _ in kept):
            return False  # a setting that is known when the graph is lowered would become a number of the loop
        names_inside = {inner: first for first, (inner, _) in run.carries.items()}
        names_inside |= {inner: names[0] for inner, names in run.stacked.items()}
        last = self.channels_last | {i for i, name in names_inside.items() if name in self.channels_last}

        def body(carry: Any, b: Any) -> Any:
            here = Tensors(Stacks(tensors.arrays), last, tensors.equal_nodes, tensors.held)
            here.arrays |= carry
            for inner, (stack, first, step) in series.items():
                here.arrays[inner] = jax.lax.dynamic_index_in_dim(
                    stack, first + step * b, keepdims=False, allow_negative_indices=False
                )
            for j, node in enumerate(block):
                self._one(node, run.start + j + b * run.period, here, key, wanted_here)
            at = lambda place: here.arrays[outputs[place][0]]
            return {inner: at(place) for inner, place in run.carries.values()}, {p: at(p) for p in kept}

        begin = {inner: jnp.asarray(tensors.arrays[first]) for first, (inner, _) in run.carries.items()}
        series = {inner: tensors.arrays.series(names) for inner, names in run.stacked.items()}
        # A gradient walks through the blocks backwards: what it writes stands in the order of what it reads.
        back = sum(step for _, _, step in series.values()) < 0
        order = jnp.arange(run.count)
        end, found = jax.lax.scan(body, begin, order[::-1] if back else order, reverse=back)
        for place, names in kept.items():
            tensors.arrays.add(names[::-1] if back else names, found[place])
        for inner, place in run.carries.values():
            tensors.arrays[outputs[place][-1]] = end[inner]
        return True

    def stacks(self) -> dict[str, tuple[str, ...]]:
        """{name: tensors that the loops may leave as one array, in order}"""
        found: dict[str, tuple[str, ...]] = {}
        for run in self.runs.values():
            for k in range(run.start, run.start + run.period):
                blocks = [self.graph.nodes[k + b * run.period].outputs for b in range(run.count)]
                for names in zip(*blocks, strict=True):
                    if None not in names:
                        found[stack_name(names)] = tuple(map(str, names))
        return found

    def _plan(self, node: Node, layout: str) -> Step:
        operator = lookup(node.op)
        shows = operator.layout if layout == "NHWC" else None
        ranks = {n: self.graph.value(i).rank for n, i in enumerate(node.inputs) if isinstance(i, str)}
        channels_last, images = [False] * len(node.outputs), set()
        rank = max((r for r in ranks.values() if r is not None), default=0)
        if shows == "same" and None not in ranks.values() and rank in IMAGE_RANKS:
            if any(node.inputs[n] in self.channels_last for n, r in ranks.items() if r == rank):
                # An output of another rank, such as a sum over everything, is no image.
                channels_last = [o is None or self.graph.value(o).rank in (rank, None) for o in node.outputs]
                images = set(ranks)
        elif shows == "stored":
            images = {n for n, i in enumerate(node.inputs) if i in self.channels_last}
            channels_last[0] = 0 in images
        elif isinstance(shows, tuple):
            ins, outs = shows
            found = {ranks[n] for n in ins if n in ranks}
            if len(found) == 1 and found <= set(IMAGE_RANKS):
                channels_last, images = [k in outs for k in range(len(node.outputs))], set(ins)
        reads = []
        for n, i in enumerate(node.inputs):
            named = operator.inputs[n] if n < len(operator.inputs) else None
            if not isinstance(i, str):
                reads.append("literal")
            else:
                reads.append(
                    "static" if named in operator.static else "channels_last" if n in images else "graph_layout"
                )
        keywords = dict(node.attrs)
        if "layout" in operator.keywords - operator.attributes.keys():
            keywords["layout"] = "NHWC" if images else "NCHW"
        return Step(
            node,
            operator,
            tuple(reads),
            keywords,
            tuple(channels_last),
            rank,
            folded=any(o in self.metadata for o in node.output_names),
        )

    def _execute(self, step: Step, k: Any, tensors: Tensors, key: Any, read: set[str]) -> tuple:
        node, operator, keywords = step.node, step.operator, dict(step.keywords)
        if operator.random:
            keywords["key"] = None if key is None else jax.random.fold_in(key, k)
        if "wanted" in operator.keywords:
            keywords["wanted"] = tuple(o in read for o in operator.pad_outputs(node.outputs))
        try:
            args = [self._argument(step, n, tensors) for n in range(len(node.inputs))]
            if step.folded:
                result = fold(operator, args, keywords)
            else:
                result = self._forward(operator, args, keywords, tensors.equal_nodes)
        except AidgeJaxError as e:
            raise type(e)(f"{self._where(node, tensors)}: {e}") from None
        except (TypeError, ValueError, IndexError, ZeroDivisionError) as e:
            raise GraphError(f"{self._where(node, tensors)}: {_first_line(e)}") from e
        return result if isinstance(result, tuple) else (result,)

    def _forward(self, operator: Operator, args: list, keywords: dict[str, Any], equal: EqualNodes) -> Any:
        return equal.forward(operator, args, keywords)

    def _argument(self, step: Step, n: int, tensors: Tensors) -> Any:
        i, how = step.node.inputs[n], step.reads[n]
        if how == "literal":
            return np.asarray(i, np.int64) if isinstance(i, tuple) else i
        if how == "channels_last":
            return tensors.channels_last(i, step.rank if step.operator.layout == "same" else None)
        value = tensors.in_graph_layout(i)
        if (how == "static" or (step.folded and not step.operator.shape_only)) and not is_concrete(value):
            raise GraphError(
                f"its input {i!r} must be a compile-time constant, but depends on runtime data; "
                f"make it a constant, or compute it from shapes alone"
            )
        return np.asarray(value) if how == "static" else value

    def _where(self, node: Node, tensors: Tensors) -> str:
        took = []
        for i in node.inputs:
            if isinstance(i, str) and i in tensors.arrays:
                a = tensors.in_graph_layout(i)
                took.append(str(Value(i, tuple(np.shape(a)), jnp.result_type(a).name)))
            else:
                took.append(str(i))
        return f"node {node.name!r} ({node.op}) of graph {self.graph.name!r} with inputs {', '.join(took)}"


class Tensors:
    """What an evaluation has computed; each tensor is transposed at most once."""

    def __init__(
        self,
        arrays: Arrays,
        channels_last: set[str],
        equal_nodes: EqualNodes | None = None,
        held: Collection[str] = (),
    ) -> None:
        self.arrays = arrays if isinstance(arrays, Stacks) else Stacks(arrays)
        self._stored_last, self.held = channels_last, held
        self.equal_nodes = equal_nodes or EqualNodes()
        self._transposed: dict[Any, Any] = {}

    def put_back(self, arrays: Arrays) -> None:
        """These arrays again, and nothing that was made of what stood in their place."""
        self.arrays.update(arrays)
        for key in [k for k in self._transposed if (k[0] if isinstance(k, tuple) else k) in arrays]:
            del self._transposed[key]

    def in_storage_layout(self, name: str) -> Any:
        """In storage layout."""
        return self.arrays[name]

    def in_graph_layout(self, name: str) -> Any:
        """In the graph's layout, channels first."""
        if name not in self._stored_last:
            return self.arrays[name]
        if name not in self._transposed:
            self._transposed[name] = jnp.moveaxis(self.arrays[name], -1, 1)
        return self._transposed[name]

    def channels_last(self, name: str, rank: int | None = None) -> Any:
        """Channels last; with `rank`, a smaller tensor is first given leading axes of size 1, as broadcasting would."""
        array = self.arrays[name]
        if name in self._stored_last or jnp.ndim(array) == 0:
            return array
        if (name, rank) not in self._transposed:
            if rank is not None and jnp.ndim(array) < rank:
                array = jnp.reshape(array, (1,) * (rank - jnp.ndim(array)) + jnp.shape(array))
            self._transposed[name, rank] = jnp.moveaxis(array, 1, -1)
        return self._transposed[name, rank]


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0] or type(error).__name__
