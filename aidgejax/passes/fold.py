"""Folding: what constants and known shapes decide is computed once; nodes that change nothing go.

Meant for a graph that is about to be written: the interpreter folds by itself what it needs.  Results are those of
the graph as it was, to the last bits that a different order of the same sums may change.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..errors import AidgeJaxError
from ..graph import Graph, Node
from ..interpreter.constant_folding import fold
from ..ops import lookup
from ..ops.control_flow import is_control_flow
from .edit import renamed

SMALL = 1024  # elements: a larger constant is stored only where it replaces one as large
SAME_IF_SHAPED_ALIKE = {"Reshape", "Squeeze", "Unsqueeze", "Flatten", "Expand", "Slice"}
ONLY_SHAPES = {"Reshape", "Squeeze", "Unsqueeze", "Flatten"}
NEUTRAL = {"Mul": (1, (0, 1)), "Div": (1, (1,)), "Add": (0, (0, 1)), "Sub": (0, (1,))}


def folded(graph: Graph) -> Graph:
    """The graph without what its constants and known shapes decide; shapes must be inferred.

    Inputs, outputs, parameters and buffers keep their names.  What depends on a symbolic size stays.
    """
    return _Folder(graph).run()


class _Folder:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph.copy()
        self.known: dict[str, np.ndarray] = {
            p.name: p.data for p in self.graph.producers.values() if p.role == "constant"
        }
        self.same: dict[str, str] = {}  # a tensor that is another one
        self.expanded: dict[str, str] = {}  # what an Expand was made of
        self.written: dict[Any, int] = {}  # where among the nodes the one stands that computes this
        self.writer: dict[str, Node] = {}
        self.nodes: list[Node] = []
        self.captured = {i for n in graph.nodes for body in _bodies(n) for i in _read_inside(body)}

    def run(self) -> Graph:
        graph = self.graph
        for node in graph.nodes:
            self._visit(renamed(node, self.same))
        graph.nodes = self.nodes
        self._finish_outputs()
        graph.prune()
        return graph

    # ---- one node ---------------------------------------------------------------------------------------

    def _visit(self, node: Node) -> None:
        if _has_subgraph(node) or lookup(node.op).random:
            self.nodes.append(node)
            return
        if self._computed(node):
            return
        if self.captured.intersection(node.output_names):
            self.nodes.append(node)
            return
        node = self._without_expand(node)
        if (other := self._no_change(node)) is not None:
            self.same[node.output_names[0]] = other
            return
        if node.op == "Expand" and isinstance(node.inputs[0], str):
            self.expanded[node.output_names[0]] = node.inputs[0]
        node = self._of_the_first(node)
        key = (node.op, node.domain, tuple(self._key(i) for i in node.inputs), _frozen(node))
        at = self.written.get(key)
        if at is not None:
            self._merge(at, node)
            return
        self.written[key] = len(self.nodes)
        for o in node.output_names:
            self.writer[o] = node
        self.nodes.append(node)

    def _key(self, operand: Any) -> Any:
        """What makes two operands the same: the name, or a constant's contents."""
        if isinstance(operand, str) and operand in self.known and self.known[operand].size <= SMALL:
            data = self.known[operand]
            return (data.dtype.name, data.shape, data.tobytes())
        return (type(operand), operand)

    def _merge(self, at: int, node: Node) -> None:
        """The node computes what the one at `at` does, and perhaps more outputs of it."""
        first = self.nodes[at]
        count = max(len(first.outputs), len(node.outputs))
        own = [*first.outputs, *[None] * (count - len(first.outputs))]
        for k, o in enumerate(node.outputs):
            if o is None:
                continue
            if own[k] is None:
                own[k] = o
            else:
                self.same[o] = str(own[k])
        self.nodes[at] = replace(first, outputs=tuple(own))

    def _of_the_first(self, node: Node) -> Node:
        """A shape given to what was only given a shape before is given to the tensor before that."""
        source = self.writer.get(node.inputs[0]) if node.inputs and isinstance(node.inputs[0], str) else None
        if source is None or node.op not in ONLY_SHAPES:
            return node
        shape = self._shape(node.output_names[0])
        if shape is None or source.op not in (*ONLY_SHAPES, "Expand"):
            return node
        if source.op == "Expand":
            if self._size(source.inputs[0]) != 1 or not isinstance(source.inputs[0], str):
                return node
            return Node("Expand", (source.inputs[0], shape), node.outputs, {}, node.name)
        return Node("Reshape", (source.inputs[0], shape), node.outputs, {}, node.name)

    def _computed(self, node: Node) -> bool:
        """Compute the node now, if all it needs is known."""
        operator = lookup(node.op)
        if operator.updates or not node.output_names:
            return False
        if node.op == "CastLike" and len(node.inputs) == 2:  # of the second, the type alone is asked
            return self._cast(node)
        args: list[Any] = []
        for i in node.inputs:
            if operator.shape_only and isinstance(i, str):
                shape = self._shape(i)
                if shape is None:
                    return False
                args.append(jax.ShapeDtypeStruct(shape, self.graph.value(i).dtype or "float32"))
            elif isinstance(i, str):
                if i not in self.known:
                    return False
                args.append(self.known[i])
            else:
                args.append(np.asarray(i, np.int64) if isinstance(i, tuple) else i)
        sizes = [self._size(o) for o in node.output_names]
        read = sum(a.size for a in args if isinstance(a, np.ndarray))
        if any(s is None or s > max(SMALL, read) for s in sizes):
            return False
        try:
            results = fold(operator, args, dict(node.attrs))
        except (AidgeJaxError, TypeError, ValueError, IndexError):
            return False
        for o, result in zip(node.outputs, results, strict=False):
            if o is not None:
                if result is None:
                    return False
                dtype = self.graph.value(o).dtype
                self.known[o] = np.asarray(result, dtype) if dtype else np.asarray(result)
        for o in node.output_names:
            self.graph.values.pop(o, None)
            self.graph.constant(o, self.known[o])
        return True

    def _cast(self, node: Node) -> bool:
        value, like = node.inputs
        dtype = self.graph.value(like).dtype if isinstance(like, str) else None
        data = self.known.get(value) if isinstance(value, str) else np.asarray(value)
        if dtype is None or data is None or data.size > SMALL or node.attrs or "float" not in dtype:
            return False
        self.known[node.output_names[0]] = data.astype(jnp.dtype(dtype))
        self.graph.values.pop(node.output_names[0], None)
        self.graph.constant(node.output_names[0], self.known[node.output_names[0]])
        return True

    def _shape(self, name: str) -> tuple[int, ...] | None:
        shape = self.graph.value(name).shape
        if shape is None or not all(isinstance(d, int) for d in shape):
            return None
        return tuple(d for d in shape if isinstance(d, int))

    def _size(self, name: str) -> int | None:
        shape = self._shape(name)
        return None if shape is None else int(np.prod(shape, dtype=np.int64))

    def _no_change(self, node: Node) -> str | None:
        """The tensor that the node's only output is, if the node changes nothing."""
        if len(node.output_names) != 1 or not node.input_names:
            return None
        out = self.graph.value(node.output_names[0])
        first = node.inputs[0]
        if node.op == "Identity" and isinstance(first, str):
            return first
        if node.op in ("Cast", "CastLike") and isinstance(first, str):
            return first if out.dtype and self.graph.value(first).dtype == out.dtype else None
        shape = out.shape
        if shape is None or None in shape:
            return None
        if node.op in SAME_IF_SHAPED_ALIKE and isinstance(first, str) and not self._may_turn(node):
            return first if self.graph.value(first).shape == shape else None
        if node.op == "Transpose" and isinstance(first, str):
            perm = node.attrs.get("perm")
            return first if perm is not None and tuple(perm) == tuple(range(len(perm))) else None
        if node.op in ("ReduceSum", "ReduceMean") and isinstance(first, str):  # over axes of size 1, kept
            return first if self.graph.value(first).shape == shape and self._is_static(shape) else None
        if node.op in NEUTRAL:
            number, places = NEUTRAL[node.op]
            for at in places:
                other = node.inputs[1 - at]
                if isinstance(other, str) and self._is(node.inputs[at], number):
                    like = self.graph.value(other)
                    if like.shape == shape and like.dtype == out.dtype:
                        return other
        return None

    def _may_turn(self, node: Node) -> bool:
        """A Slice that goes backwards has as many elements as one that takes all."""
        steps = node.inputs[4] if node.op == "Slice" and len(node.inputs) > 4 else 1
        steps = self.known.get(steps, -1) if isinstance(steps, str) else 1 if steps is None else steps
        return bool(np.min(steps) < 0)

    @staticmethod
    def _is_static(shape: tuple[Any, ...]) -> bool:
        return all(isinstance(d, int) for d in shape)

    def _is(self, operand: Any, number: int) -> bool:
        if isinstance(operand, bool | tuple) or operand is None:
            return False
        if isinstance(operand, str):
            data = self.known.get(operand)
            return data is not None and data.size <= SMALL and data.dtype.kind in "fiu" and bool((data == number).all())
        return bool(operand == number)

    def _without_expand(self, node: Node) -> Node:
        """An operator that broadcasts by itself takes what an Expand was made of, where its result stays as large."""
        if not lookup(node.op).broadcasts or not any(i in self.expanded for i in node.input_names):
            return node
        out = self._shape(node.output_names[0])
        if out is None:
            return node
        inputs = list(node.inputs)
        for k, i in enumerate(inputs):
            if not isinstance(i, str) or i not in self.expanded:
                continue
            tried = [*inputs[:k], self.expanded[i], *inputs[k + 1 :]]
            shapes = [self._shape(t) if isinstance(t, str) else () for t in tried]
            if None not in shapes and np.broadcast_shapes(*[s for s in shapes if s is not None]) == out:
                inputs = tried
        return node.replace(inputs=tuple(inputs))

    # ---- the whole --------------------------------------------------------------------------------------

    def _finish_outputs(self) -> None:
        """Each output is written under its own name: by the node that computes it, or by an Identity."""
        graph = self.graph
        writer = {o: n for n in self.nodes for o in n.output_names}
        final: dict[str, str] = {}
        copies: list[Node] = []
        for o in graph.outputs:
            source = self.same.get(o)
            if source is None:
                continue
            if source in writer and source not in graph.outputs and source not in final:
                final[source] = o
            else:
                copies.append(Node("Identity", (final.get(source, source),), (o,), {}, o))
        graph.nodes = [renamed(n, final) for n in self.nodes] + copies
        for inside, o in final.items():
            graph.values[o] = replace(graph.values.pop(inside), name=o)


def _has_subgraph(node: Node) -> bool:
    return is_control_flow(node) or bool(_bodies(node))


def _bodies(node: Node) -> list[Graph]:
    return [v for v in node.attrs.values() if isinstance(v, Graph)]


def _read_inside(body: Graph) -> set[str]:
    """What the nodes of a body read by name, tensors of the graph around it among them."""
    found = set(body.outputs)
    for node in body.nodes:
        found.update(node.input_names)
        for inner in _bodies(node):
            found |= _read_inside(inner)
    return found


def _frozen(node: Node) -> tuple:
    """The attributes without those that say nothing: defaults, strides and dilations of 1, pads of 0."""
    defaults = lookup(node.op).attributes
    given = {k: v for k, v in node.attrs.items() if v is not None and v != defaults.get(k)}
    for k, idle in (("pads", 0), ("dilations", 1), ("strides", 1), ("ceil_mode", 0), ("group", 1)):
        if k in given and (given[k] == idle or isinstance(given[k], tuple | list) and set(given[k]) == {idle}):
            del given[k]
    return tuple(sorted((k, repr(v)) for k, v in given.items()))
