"""Which layer bears few bits?  The loss with one layer quantized alone, and with all the others: one compiled pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..arguments import checked_call, whole_number
from ..errors import GraphError
from ..execution.program import make_program
from ..graph import Graph, Node
from ..interpreter.shape_inference import infer_shapes
from ..passes.loss import with_loss, with_scores
from ..training.data import Dataset
from .batches import labelled
from .convert import Layer, layers
from .notes import restored


@dataclass(frozen=True)
class Sensitivity:
    """loss: of the network with nothing quantized; alone: {layer: the loss with it alone quantized}; but: {layer: with
    all but it}."""

    loss: float
    alone: dict[str, float]
    but: dict[str, float]

    def __str__(self) -> str:
        wide = max(map(len, self.alone), default=5)
        lines = [f"{'layer':{wide}}  {'alone':>10}  {'all but it':>10}      (not quantized: {self.loss:.4f})"]
        order = sorted(self.alone, key=lambda n: -self.alone[n])
        return "\n".join([*lines, *(f"{n:{wide}}  {self.alone[n]:10.4f}  {self.but[n]:10.4f}" for n in order)])


@checked_call
def sensitivity(
    graph: Graph, data: Dataset, *, loss: str = "cross_entropy", target: str = "target", rows: int = 512
) -> Sensitivity:
    """Of a converted and calibrated graph, on the first `rows` rows; every choice of layers is one lane of a vmap."""
    graph = restored(graph)
    found = layers(graph)
    if not found:
        raise GraphError(f"graph {graph.name!r} has no quantized layer: convert it first")
    switched, names = with_switches(graph, found)
    net, scores = with_scores(infer_shapes(switched), loss)
    net = with_loss(net, loss, prediction=scores, target=target, reduction="mean")
    program = make_program(infer_shapes(net), wrt=[], training=False)
    whole_number("rows", rows, 1)
    columns = labelled(graph, data, target).columns
    wanted = [k for k in program.graph.inputs if not k.endswith("/on")]
    batch = {k: jnp.asarray(np.asarray(columns[k])[:rows]) for k in wanted}
    n = len(names)
    choices = np.concatenate([np.zeros((1, n)), np.eye(n), 1 - np.eye(n)]).astype(np.float32)

    def at(on: Any) -> Any:
        given = {f"{name}/on": on[k] for k, name in enumerate(names)}
        outputs, _, _ = program.forward(graph.params, graph.buffers, {**batch, **given}, jax.random.key(0), save=False)
        return outputs["loss"]

    losses = np.asarray(jax.jit(jax.vmap(at))(choices))
    alone, but = losses[1 : n + 1].tolist(), losses[n + 1 :].tolist()
    return Sensitivity(float(losses[0]), dict(zip(names, alone, strict=True)), dict(zip(names, but, strict=True)))


def with_switches(graph: Graph, found: tuple[Layer, ...]) -> tuple[Graph, list[str]]:
    """(the graph with an input `<layer>/on` f[] per layer that turns its quantizers on, the layers)."""
    copy = graph.copy()
    owner: dict[str, str] = {}
    for layer in found:
        owner[layer.weight.name] = layer.name
        if layer.input is not None:
            owner.setdefault(layer.input.name, layer.name)
    names = [layer.name for layer in found]
    for name in names:
        copy.input(f"{name}/on", ())
    copy.nodes = []
    for node in graph.nodes:
        copy.nodes.append(node)
        if node.name not in owner:
            continue
        raw = copy.fresh(f"{node.output_names[0]}.on")
        copy.nodes[-1] = node.replace(outputs=(raw,))
        copy.values[raw] = graph.value(node.output_names[0])
        between = f"{node.name}/between"
        copy.nodes += [
            Node("Sub", (raw, node.inputs[0]), (f"{between}.error",), {}, f"{between}/error"),
            Node("Mul", (f"{between}.error", f"{owner[node.name]}/on"), (f"{between}.part",), {}, f"{between}/part"),
            Node("Add", (node.inputs[0], f"{between}.part"), node.outputs, {}, between),
        ]
        for k in ("error", "part"):
            copy.values[f"{between}.{k}"] = graph.value(node.output_names[0])
    copy.metadata = {}
    return infer_shapes(copy.check()), names
