"""The second half of a training step: from the gradients to the next state and what is recorded of the update."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from ..execution.program import Arrays
from ..execution.program_like import ProgramLike
from .counter import counted, schedule_step
from .joined_update import with_joined
from .loss_scaling import LossScaling, unscaled
from .optim import Optimizer, global_norm
from .update_order import rate_after


def updated(
    program: ProgramLike, optimizer: Optimizer, schedule: Callable, state: Any, grads: Arrays,
    rules: LossScaling, loss_dtype: Any, norm: bool = True, after: Arrays | None = None,
) -> Any:  # fmt: skip
    """(state, figures).  norm: whether the gradients' norm is wanted; loss scaling needs it in any case.
    after: gradients before which no parameter is overwritten."""
    lr = schedule(schedule_step(state.step))
    norm = norm or state.loss_scale is not None
    grads = unscaled(grads if norm else _apart(program, grads), state.loss_scale)
    rate = rate_after(lr, after or {})
    trained, opt = optimizer.update({w: state.params[w] for w in program.wrt}, grads, state.opt, rate)
    figures = {"learning_rate": jnp.float32(lr)}
    if norm:
        figures["gradient_norm"] = global_norm(with_joined(grads, getattr(optimizer, "together", frozenset()))).astype(
            jnp.float32
        )
    params, buffers = {**state.params, **trained}, state.buffers
    if optimizer.post_update:
        params, buffers = optimizer.post_update(params, buffers)
    new = state._replace(params=params, buffers=buffers, opt=opt, step=counted(state.step))
    if state.loss_scale is None:
        return new, figures
    finite = jnp.isfinite(figures["gradient_norm"])
    new = jax.tree.map(partial(jnp.where, finite), new, state)
    figures |= {"loss_scale": state.loss_scale.factor, "updated": finite}
    return new._replace(loss_scale=rules.after(state.loss_scale, finite, loss_dtype)), figures


def _apart(program: ProgramLike, grads: Arrays) -> Arrays:
    """The gradients, matrices on a GPU out of reach of the products that make them.

    A product whose only reader is the update takes momentum's sum into itself there, and the update becomes three
    passes over the parameter in place of one.  Their norm prevents it too, and so does a Cast behind the product.
    """
    held: Any = jax.lax.optimization_barrier
    cast = {i for n in program.graph.nodes if n.op == "Cast" for i in n.input_names}
    matrices = {k: g for k, g in grads.items() if getattr(g, "ndim", 0) == 2 and k not in cast}
    return grads | jax.lax.platform_dependent(matrices, cuda=held, rocm=held, default=lambda g: g)
