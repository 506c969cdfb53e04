"""Mixed precision as a graph pass: parameters stay float32, most nodes compute in bfloat16 or float16.

    graph = precision(with_loss(graph, "cross_entropy"), compute="bfloat16")

Which operators stay float32 is a fact of the operator (`full_precision` on its row in aidgejax/ops): norms, softmax,
losses, sums and quantizers.  The conversions are Cast nodes of the graph, one for each tensor however many nodes read
it, so the policy can be read in the printed graph, is differentiated by the rule of Cast (gradients of parameters are
float32 again), runs on both backends and survives export.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from fnmatch import fnmatchcase

from ..errors import GraphError, SettingError
from ..graph import Graph, Node, Value
from ..interpreter.constant_folding import compile_time_values
from ..interpreter.shape_inference import infer_shapes
from ..ops import lookup

ONNX_CODES = {"float32": 1, "float16": 10, "bfloat16": 16}
COMPUTE = ("bfloat16", "float16", "float32")
# These say the dtype of their result themselves, or have it as an input.
CONVERSIONS = ("Cast", "CastLike", "BitCast", "QuantizeLinear", "DequantizeLinear")


def precision(graph: Graph, compute: str = "bfloat16", *, keep: Iterable[str] = (), lower: Iterable[str] = ()) -> Graph:
    """The same graph computing in `compute`, with float32 parameters, buffers, inputs and outputs.

    compute: "bfloat16", "float16" or "float32" (the graph as it is).
    keep: names or patterns (*, ?) of nodes or operators that stay float32 beside those that do by themselves.
    lower: the same for nodes or operators that compute in `compute` although they would stay float32.
    Loss scaling, which float16 needs, belongs to training: `fit(..., precision="float16")` does both.
    Raises SettingError for another dtype, GraphError for a pattern that matches no node.
    """
    check_precision(compute)
    graph = infer_shapes(graph)
    keep, lower = tuple(keep), tuple(lower)
    for pattern in (*keep, *lower):
        if not any(_named(node, pattern) for node in graph.nodes):
            raise GraphError(f"graph {graph.name!r} has no node and no operator {pattern!r}; `keep` and `lower` take "
                             f"names or patterns of nodes, or operators such as 'Softmax'")  # fmt: skip
    return graph if compute == "float32" else _Caster(graph, compute, keep, lower).run()


def check_precision(compute: str) -> None:
    """Raise SettingError where this is no dtype that `precision` computes in."""
    if compute not in COMPUTE:
        raise SettingError(f"precision computes in {', '.join(COMPUTE)}, got {compute!r}")


def is_double(graph: Graph) -> bool:
    """Whether a parameter or a running statistic of the graph is float64."""
    return any(p.role != "constant" and p.value.dtype == "float64" for p in graph.producers.values())


def precision_summary(compute: str, graph: Graph) -> list[str]:
    """What the policy does, in lines to print; none for float32."""
    if is_double(graph):
        other = "" if compute == "float32" else f"; {compute} is for models of float32"
        return [f"precision: computes in float64, as the model's parameters are{other}"]
    if compute == "float32":
        return []
    scaled = ", the loss scaled" if compute == "float16" else ""
    return [f"precision: computes in {compute}{scaled}; parameters, norms, softmax, losses and sums in float32"]


class _Caster:
    """Rewrites the nodes in order; `dtype_now` is what each float32 tensor has become."""

    def __init__(self, graph: Graph, compute: str, keep: tuple[str, ...], lower: tuple[str, ...]) -> None:
        self.source, self.compute, self.keep, self.lower = graph, compute, keep, lower
        self.graph = graph.copy()
        self.graph.nodes = []
        self.fixed = compile_time_values(graph)
        self.dtype_now: dict[str, str] = {}
        self.casts: dict[tuple[str, str], str] = {}

    def run(self) -> Graph:
        for node in self.source.nodes:
            self._add(node)
        return infer_shapes(self.graph)

    def _add(self, node: Node) -> None:
        if node.op in CONVERSIONS and not any(_named(node, p) for p in self.lower):
            self.graph.nodes.append(self._with_inputs(node, "float32"))
            return
        target = "float32" if self._stays(node) else self.compute
        ready = self._with_inputs(node, target)
        lowered = target != "float32" and any(
            isinstance(i, str) and self._dtype(i) == target for i in ready.inputs if isinstance(i, str)
        )
        if not lowered:
            self.graph.nodes.append(ready)
            return
        if node.op == "Attention" and not node.attrs.get("softmax_precision"):
            ready = replace(ready, attrs={**ready.attrs, "softmax_precision": ONNX_CODES["float32"]})
        outputs, after = list(ready.outputs), []
        for k, o in enumerate(ready.outputs):
            if o is None or self.source.value(o).dtype != "float32":
                continue
            if o in self.source.outputs:
                outputs[k] = low = self.graph.fresh(f"{o}.{target}")
                self._declare(low, o, target)
                after.append(self._cast_node(low, o, "float32"))
                self.casts[o, target] = low
            else:
                self.dtype_now[o] = target
                self._declare(o, o, target)
        self.graph.nodes += [replace(ready, outputs=tuple(outputs)), *after]

    def _stays(self, node: Node) -> bool:
        if any(_named(node, p) for p in self.keep):
            return True
        if any(_named(node, p) for p in self.lower):
            return False
        return lookup(node.op).full_precision or any(o in self.fixed for o in node.output_names)

    def _with_inputs(self, node: Node, target: str) -> Node:
        operator = lookup(node.op)
        named = (*operator.inputs, *[None] * len(node.inputs))
        inputs = [
            self._in(i, target) if isinstance(i, str) and name not in operator.static and i not in self.fixed else i
            for i, name in zip(node.inputs, named, strict=False)
        ]
        return node.replace(inputs=tuple(inputs))

    def _in(self, name: str, target: str) -> str:
        """This tensor in the dtype `target`, by a Cast that all its readers share."""
        if self.source.value(name).dtype != "float32" or self._dtype(name) == target:
            return name
        if (name, target) not in self.casts:
            cast = self.graph.fresh(f"{name}.{target}")
            self._declare(cast, name, target)
            self.graph.nodes.append(self._cast_node(name, cast, target))
            self.casts[name, target] = cast
        return self.casts[name, target]

    def _dtype(self, name: str) -> str | None:
        if name in self.dtype_now:
            return self.dtype_now[name]
        return self.graph.value(name).dtype

    def _declare(self, name: str, like: str, dtype: str) -> None:
        self.graph.values[name] = Value(name, self.source.value(like).shape, dtype)

    def _cast_node(self, source: str, result: str, dtype: str) -> Node:
        return Node("Cast", (source,), (result,), {"to": ONNX_CODES[dtype]}, name=f"{result}/Cast")


def _named(node: Node, pattern: str) -> bool:
    return node.op == pattern or fnmatchcase(node.name, pattern)
