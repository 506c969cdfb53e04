"""Training without labels: to give what the network in floating point gives, as a whole or block by block."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from ..analog import with_post_update
from ..arguments import checked_call, whole_number
from ..errors import GraphError, SettingError
from ..execution.program import make_program
from ..graph import Graph
from ..interpreter.shape_inference import infer_shapes
from ..passes.loss import with_loss
from ..training import optim, schedule
from ..training.data import Dataset
from ..training.fit import fit
from .batches import Batches, each_batch, fixed_rows
from .calibrate import activation_quantizers
from .layerwise import apart
from .notes import restored
from .optimizer import with_steps
from .posttraining import floating, runner
from .train import check_training, finetune, usual_rate


@checked_call
def distill(
    graph: Graph,
    data: Batches,
    teacher: Graph | None = None,
    *,
    blocks: bool = False,
    rows: int = 2048,
    epochs: int = 20,
    batch_size: int = 32,
    rate: float | None = None,
    seed: int = 0,
    on_epoch: Callable[[dict], Any] | None = None,
) -> Graph:
    """The graph trained, without labels, to give what a floating-point graph gives on the same data.

    teacher: default: this graph without its quantizers.
    blocks: False: the teacher's first output is learned, by least squares; every layer takes part.  True: the graph is
        cut in front of its activations' quantizers, and every block learns, from the teacher's tensors, the teacher's
        tensor behind it, all blocks at once in one program.  (Inputs of the quantized graph would not do: each block
        would undo errors that those before it undo as well.)  At most `rows` rows, as all these tensors are held.
    epochs, batch_size, rate, seed, on_epoch: as `finetune`'s.
    Raises GraphError where a teacher lacks a tensor that is wanted of it, or a parameter is in no block.
    """
    whole_number("rows", rows, 1)
    check_training(epochs, batch_size, rate, seed, on_epoch)
    if teacher is not None and not isinstance(teacher, Graph):
        raise SettingError(f"distill was given {str(teacher)[:60]!r} as teacher, expected a Graph in floating point")
    graph = infer_shapes(restored(graph))
    settings: dict[str, Any] = {"epochs": epochs, "batch_size": batch_size, "seed": seed, "on_epoch": on_epoch}
    teacher = floating(graph) if teacher is None else infer_shapes(teacher)
    if blocks:
        return _by_blocks(graph, data, teacher, rows, settings | {"rate": rate})
    output = teacher.outputs[0]
    columns = _columns(graph, teacher, data, [output])
    columns["target"] = columns.pop(output)
    taught = Dataset(columns)
    spread = float(np.std(taught.columns["target"])) or 1.0
    rate = 1e-3 * min(1.0, 1.0 / spread) if rate is None else rate
    trained, _ = finetune(graph, taught, loss="mse", rate=rate, **settings)
    return trained


def _columns(
    graph: Graph, teacher: Graph, data: Batches, wanted: list[str], rows: int | None = None
) -> dict[str, np.ndarray]:
    """The graph's inputs, and tensors of the teacher."""
    run = runner(teacher, wanted)
    found: dict[str, list[np.ndarray]] = {}
    count = 0
    for batch in each_batch(graph, data):
        if rows is not None and count >= rows:
            break
        count += len(next(iter(batch.values())))
        seen = jax.device_get(run(dict(teacher.params), batch))
        for k, a in (*batch.items(), *((t, seen[t]) for t in wanted)):
            found.setdefault(k, []).append(np.asarray(a))
    return {k: np.concatenate(parts) for k, parts in found.items()}


def _by_blocks(graph: Graph, data: Batches, teacher: Graph, rows: int, settings: dict[str, Any]) -> Graph:
    batch_size = fixed_rows(graph) or settings["batch_size"]
    inner = [n for n in activation_quantizers(graph) if not set(n.output_names) & set(graph.outputs)]
    cuts = list(dict.fromkeys(str(t) for t in (*(n.inputs[0] for n in inner), *graph.outputs) if t not in graph.inputs))
    missing = [t for t in cuts if not teacher.has(t)]
    if missing:
        raise GraphError(
            f"the teacher {teacher.name!r} has no tensor {', '.join(map(repr, missing[:4]))}; leave it out, and the "
            f"graph without its quantizers is the teacher"
        )
    return _trained(graph, cuts, _columns(graph, teacher, data, cuts, rows), batch_size, settings)


def _trained(
    graph: Graph,
    cuts: list[str],
    columns: dict[str, np.ndarray],
    batch_size: int,
    settings: dict[str, Any],
) -> Graph:
    cut, computed = apart(graph, cuts)
    cut.metadata = {}
    cut.outputs = list(computed.values())
    net, losses = cut, []
    for t, name in computed.items():
        net = with_loss(net, "mse", prediction=name, target=f"{t}.wanted", reduction="rows", name=f"{t}.loss")
        spread = max(float(np.var(columns[t].astype(np.float64))), 1e-12)
        losses.append(net.op.Mul(net.value(f"{t}.loss"), np.float32(1 / spread)))
    total = losses[0] if len(losses) == 1 else net.op.Sum(*losses)
    net.add("Identity", [total], names=["loss"])
    net.outputs = ["loss"]
    net.prune()
    left = sorted(set(graph.params) - set(net.params))
    if left:
        raise GraphError(f"graph {graph.name!r}: parameters in no block: {', '.join(left[:6])}")
    net = infer_shapes(net.check())
    taught = Dataset({k: columns[k.removesuffix(".wanted")] for k in net.inputs})
    batch_size = min(batch_size, len(taught))
    rate = settings["rate"] or usual_rate(graph)
    epochs = settings["epochs"]
    state, _ = fit(
        make_program(net, training=True),
        with_steps(with_post_update(optim.adam(), graph), graph),
        schedule.cosine(rate, epochs * max(1, len(taught) // batch_size), periodic=False),
        taught,
        epochs=epochs,
        batch_size=batch_size,
        seed=settings["seed"],
        on_epoch=settings["on_epoch"],
    )
    return graph.with_params(state.params, state.buffers)
