"""Training with quantization in one call: the rate and the schedule that have served best, from the bits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..analog import with_post_update
from ..arguments import checked_call, whole_number
from ..errors import GraphError, SettingError
from ..execution.program import make_program
from ..graph import Graph
from ..interpreter.shape_inference import infer_shapes
from ..passes.loss import with_loss, with_scores
from ..training import metrics, optim, schedule
from ..training.data import Dataset
from ..training.fit import fit
from ..training.parallel import Placement
from ..training.placed_arrays import on_host
from .batches import fixed_rows, labelled
from .calibrate import is_calibrated
from .convert import layers, step_names
from .notes import restored
from .optimizer import with_steps

# With few bits weights change their level too seldom at the usual rate.
RATES = ((2, 4e-3), (4, 2e-3), (16, 1e-3))  # (up to so many bits of weights, the highest rate)


def usual_rate(graph: Graph) -> float:
    """The highest rate that has served best, from the bits of the layers' weights."""
    fewest = min((int(layer.weight.inputs[4]).bit_length() + 1 for layer in layers(graph)), default=8)
    return next(r for most, r in RATES if fewest <= most)


def check_training(epochs: int, batch_size: int, rate: float | None, seed: int, on_epoch: Any) -> None:
    """SettingError for what no training takes."""
    for name, value, least in (("epochs", epochs, 1), ("batch_size", batch_size, 1), ("seed", seed, 0)):
        whole_number(name, value, least)
    if rate is not None and (not isinstance(rate, int | float | np.number) or not 0 < rate < np.inf):
        raise SettingError(f"rate is {rate!r}: expected a number above 0")
    if on_epoch is not None and not callable(on_epoch):
        raise SettingError(f"on_epoch is {on_epoch!r}: expected a function of an epoch's record")


@checked_call
def finetune(
    graph: Graph,
    data: Dataset,
    *,
    epochs: int = 20,
    batch_size: int = 32,
    loss: str = "cross_entropy",
    target: str = "target",
    rate: float | None = None,
    seed: int = 0,
    test: Dataset | None = None,
    on_epoch: Callable[[dict], Any] | None = None,
    placement: Placement | None = None,
) -> tuple[Graph, list[dict[str, Any]]]:
    """(the graph with its trained parameters, the history), of a converted and calibrated graph.

    Adam, the rate falling as a cosine from `rate`: default 1e-3, where a weight has 4 bits or fewer 2e-3, and
    4e-3 at 2 bits.
    loss: one of those of `with_loss`; the target is the column of that name.  Everything else as in `fit`.  A graph
    with a fixed number of rows is trained with batches of as many.  Analog tiles are clipped and mapped as ever.
    """
    graph = restored(graph)
    if not step_names(graph) and not layers(graph):
        raise GraphError(f"graph {graph.name!r} has no quantized layer: convert and calibrate it first, or use fit")
    if not is_calibrated(graph):
        raise GraphError(
            f"graph {graph.name!r} is not calibrated: quant.calibrate(graph, data) chooses its first steps"
        )
    check_training(epochs, batch_size, rate, seed, on_epoch)
    data = labelled(graph, data, target)
    rate = usual_rate(graph) if rate is None else rate
    net, scores_of = with_scores(infer_shapes(graph), loss)
    net = infer_shapes(with_loss(net, loss, prediction=scores_of, target=target, reduction="rows"))
    output = graph.outputs[0]
    scores: dict[str, Any] = {}
    if loss in ("cross_entropy", "nll"):
        scores["accuracy"] = lambda out, batch: metrics.accuracy(out[output], batch[target])
    batch_size = fixed_rows(graph) or min(batch_size, len(data))
    steps = epochs * max(1, len(data) // batch_size)
    state, history = fit(
        make_program(net, training=True),
        with_steps(with_post_update(optim.adam(), graph), graph),
        schedule.cosine(rate, steps, periodic=False),
        data,
        epochs=epochs,
        batch_size=batch_size,
        seed=seed,
        metrics=scores,
        test=test,
        test_program=make_program(net, training=False),
        on_epoch=on_epoch,
        placement=placement,
    )
    return graph.with_params(*on_host((state.params, state.buffers))), history
