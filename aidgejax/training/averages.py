"""Of a batch one number: rows weighted, so that padding counts for nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from ..errors import GraphError
from ..execution.program import Arrays

Metric = Callable[[Arrays, Arrays], Any]


def weights_per_row(loss: Any, weights: Any, divide: bool = True) -> Any:
    """dL/d loss where L is the weighted mean over rows (divide=False: the weighted sum).  f[] or f[n] -> the same."""
    one_row = weights is not None and jnp.shape(weights) == (1,) == jnp.shape(loss)
    if not one_row and (jnp.ndim(loss) == 0 or loss.shape == (1,)):
        if weights is not None:
            raise GraphError(
                "this loss is one number for the whole batch, so padded rows cannot be left out of it: "
                "let the loss give one number per row (with_loss(..., reduction='rows')), "
                "or drop the short last batch"
            )
        return jnp.ones_like(loss)
    row_weights = jnp.ones_like(loss) if weights is None else weights.astype(loss.dtype)
    if not divide:
        return row_weights
    whole = jnp.sum(row_weights)
    return row_weights / jnp.where(whole == 0, 1, whole)


def loss_weights(outputs: Arrays, loss: str, total: str | None, weights: Any, divide: bool = True) -> Any:
    """As weights_per_row, for a loss whose rows count as much as the output `total` says (`row_weights_of`)."""
    each = weights_per_row(outputs[loss], weights, divide and total is None)
    if total is None or not divide:
        return each
    whole = weight_sum(outputs, total, each).astype(each.dtype)
    return each / jnp.where(whole == 0, 1, whole)


def weight_sum(outputs: Arrays, total: str | None, row_weights: Any) -> Any:
    """What the sum of a loss over rows of these weights is divided by for its mean.  f[]"""
    each = row_weights if total is None else row_weights * outputs[total].astype(row_weights.dtype)
    return jnp.sum(each, dtype=jnp.promote_types(each.dtype, jnp.float32))


def averages(
    outputs: Arrays, batch: Arrays, row_weights: Any, loss: str | None, metrics: Any, of_loss: Any = None
) -> Arrays:
    """Loss and metrics, rows weighted by `row_weights`, those of the loss by `of_loss` where it is given.

    A metric that is one number counts as the mean of its rows.
    """

    def weigh(x: Any, by: Any) -> Any:
        x = jnp.asarray(x, jnp.float32)
        return jnp.sum(x * by.astype(x.dtype)) if x.shape == by.shape else jnp.sum(by) * jnp.mean(x)

    found = {"loss": weigh(outputs[loss], row_weights if of_loss is None else of_loss)} if loss else {}
    return found | {name: weigh(metric(outputs, batch), row_weights) for name, metric in (metrics or {}).items()}
