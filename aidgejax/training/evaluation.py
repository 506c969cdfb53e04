"""Loss and metrics of a program over a whole data set, in one compiled scan."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from ..execution.program import Arrays
from ..execution.program_like import ProgramLike
from ..passes.loss import row_weights_of
from ..passes.precision import is_double
from .averages import Metric, averages, weight_sum, weights_per_row
from .packed_scan import scan_in_python
from .parallel import Placement
from .placed_program import placed_program
from .width import in_its_width


def make_evaluation(
    program: ProgramLike,
    *,
    loss: str | None = "loss",
    metrics: Mapping[str, Metric] | None = None,
    compiled: bool = True,
    placement: Placement | None = None,
) -> Callable:
    """evaluate(params, buffers, batches, weights=None, data=None) -> {"loss", metrics}: means over all rows.

    The loss of weighted classes is divided by the sum of the weights at all labels, as in training.
    program: lowered with training=False.  batches, weights, data and placement as in make_epoch; one compiled scan.
    """
    program = placed_program(program, placement)
    total = row_weights_of(program.graph, loss) if loss else None

    def evaluate(params: Arrays, buffers: Arrays, batches: Any, weights: Any = None, data: Arrays | None = None) -> Any:
        def one(sums: Any, item: Any) -> Any:
            rows, weight = item
            batch = rows if data is None else {k: v[rows] for k, v in data.items()}
            if placement is not None:
                batch, weight = placement.constrained_rows((batch, weight))
            outputs, _, _ = program.forward(params, buffers, batch, save=False)
            per_row = outputs[loss] if loss else jnp.zeros(jax.tree.leaves(batch)[0].shape[0])
            row_weights = weights_per_row(per_row, weight, divide=False)
            found = averages(outputs, batch, row_weights, loss, metrics)
            whole = {k: weight_sum(outputs, total if k == "loss" else None, row_weights) for k in found}
            return jax.tree.map(lambda a, b: a + b.astype(a.dtype), sums, (found, whole)), None

        zero = {n: jnp.float32(0) for n in (["loss"] if loss else []) + list(metrics or {})}
        scan = jax.lax.scan if compiled else scan_in_python
        (sums, whole), _ = scan(one, (zero, dict(zero)), (batches, weights))
        found = {k: v / jnp.where(whole[k] == 0, 1, whole[k]) for k, v in sums.items()}
        return found if placement is None else jax.lax.with_sharding_constraint(found, placement.everywhere)

    options = placement.compiler_options() if placement is not None else None
    evaluation: Callable = jax.jit(evaluate, compiler_options=options or None) if compiled else evaluate
    if not is_double(program.graph):
        return evaluation

    def in_double(*args: Any, **kwargs: Any) -> Any:
        with in_its_width(program.graph):
            return evaluation(*args, **kwargs)

    return in_double
