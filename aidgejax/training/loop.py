"""Training: a step is a pure function of the state, an epoch is a scan over steps, compiled once.

    step = make_step(program, optimizer, schedule)
    epoch = make_epoch(step)
    state = start(program, optimizer, jax.random.key(0))
    for batches in ...:                                    # {input: [steps, batch, ...]}
        state, history = epoch(state, batches)             # one XLA program; `state` is donated

The program and the optimizer are given (see execution/program.py and optim.py); nothing here knows an operator.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ..errors import GraphError, SettingError
from ..execution.program import Arrays, Program
from .optim import Optimizer, global_norm

Metric = Callable[[Arrays, Arrays], Any]


class TrainState(NamedTuple):
    """All that training changes.  accumulator is what gradient accumulation holds back, None without it."""

    params: Arrays
    buffers: Arrays
    opt: Any
    key: Any
    step: Any
    accumulator: Any = None


class Accumulator(NamedTuple):
    """Sums over the micro-batches since the last update; row_weights is what to divide them by."""

    grads: Arrays
    row_weights: Any
    record: Arrays
    batches: Any


def start(
    program: Program,
    optimizer: Optimizer,
    key: Any,
    params: Arrays | None = None,
    buffers: Arrays | None = None,
    *,
    accumulate: Iterable[str] | None = None,
) -> TrainState:
    """The state before the first step: the graph's own arrays, or those given, copied to the device.

    accumulate: for make_accumulating_step, the names of its metrics (() where it has none).
    """
    own = lambda tree: {k: jnp.array(v) for k, v in tree.items()}  # noqa: E731
    params = own(program.graph.params if params is None else params)
    buffers = own(program.graph.buffers if buffers is None else buffers)
    accumulator = None
    if accumulate is not None:
        record = {name: jnp.float32(0) for name in ("loss", *accumulate)}
        accumulator = Accumulator(
            {w: jnp.zeros_like(params[w]) for w in program.wrt}, jnp.float32(0), record, jnp.int32(0)
        )
    return TrainState(
        params, buffers, optimizer.init({w: params[w] for w in program.wrt}), jnp.array(key), jnp.int32(0), accumulator
    )


def make_step(
    program: Program,
    optimizer: Optimizer,
    schedule: Callable,
    *,
    loss: str = "loss",
    metrics: Mapping[str, Metric] | None = None,
) -> Callable:
    """step(state, batch, weights=None, last=False) -> (state, record).  Jit it, scan it, or walk through it by hand.

    The loss is a scalar, or one number per row ([batch]); of rows the mean is taken, weighted by `weights` f[batch]
    where they are given, so that a row of weight 0 (padding) counts for nothing.
    record: {"loss", "learning_rate", "gradient_norm", and each of `metrics`}, all f[], of the batch before the update.
    metrics: {name: f(outputs, batch) -> one number per row, or one in all}.
    last: whether the epoch ends here; it matters to gradient accumulation alone.
    """
    _check_loss(program, loss)

    def step(state: TrainState, batch: Arrays, weights: Any = None, last: Any = False) -> tuple[TrainState, Arrays]:
        key, now = jax.random.split(state.key)
        outputs, saved, buffers = program.forward(state.params, state.buffers, batch, now)
        state = state._replace(params=program.with_updated_params(state.params, saved))
        row_weights = weights_per_row(outputs[loss], weights)
        grads = program.backward(state.params, saved, {loss: row_weights}, grads=None)  # None: start from zero
        record = _averages(outputs, batch, row_weights, loss, metrics)
        state, update = _update(program, optimizer, schedule, state._replace(key=key, buffers=buffers), grads)
        return state, record | update

    return step


def make_accumulating_step(
    program: Program,
    optimizer: Optimizer,
    schedule: Callable,
    every: int,
    *,
    loss: str = "loss",
    metrics: Mapping[str, Metric] | None = None,
    remainder: str = "mean",
) -> Callable:
    """step(state, batch, weights=None, last=False) -> (state, record): an update after `every` micro-batches.

    `every` batches of n rows update as one batch of every * n rows would (a scalar loss: the mean of their losses).
    last: update now with what there is, as at the end of an epoch whose number of batches `every` does not divide.
    remainder: what an update of fewer batches, forced by `last`, divides by: their own number ("mean"), or `every`
        ("scaled"), as a loop does that scales each scalar loss by 1 / every (Aidge).
    record as in make_step, of the rows since the last update; record["updated"] tells whether this call updated.
    The state must come from `start(..., accumulate=metrics)`.
    """
    if every < 1:
        raise SettingError(f"accumulate is {every}: an update needs at least 1 micro-batch")
    if remainder not in ("mean", "scaled"):
        raise SettingError(f"remainder is {remainder!r}; expected 'mean' or 'scaled'")
    _check_loss(program, loss)

    def micro(state: TrainState, batch: Arrays, weights: Any):
        key, now = jax.random.split(state.key)
        outputs, saved, buffers = program.forward(state.params, state.buffers, batch, now)
        state = state._replace(params=program.with_updated_params(state.params, saved))
        row_weights = weights_per_row(outputs[loss], weights, divide=False)
        grads = program.backward(state.params, saved, {loss: row_weights}, grads=state.accumulator.grads)
        record = jax.tree.map(jnp.add, state.accumulator.record, _averages(outputs, batch, row_weights, loss, metrics))
        held = Accumulator(
            grads, state.accumulator.row_weights + jnp.sum(row_weights), record, state.accumulator.batches + 1
        )
        return state._replace(key=key, buffers=buffers, accumulator=held)

    def step(state: TrainState, batch: Arrays, weights: Any = None, last: Any = False) -> tuple[TrainState, Arrays]:
        if state.accumulator is None:
            raise SettingError("this state holds no gradients back: make it with start(..., accumulate=metrics)")
        state = micro(state, batch, weights)
        held = state.accumulator
        record = {k: v / held.row_weights for k, v in held.record.items()}

        def update(state: TrainState):
            whole = held.row_weights if remainder == "mean" else jnp.float32(every)
            state, told = _update(
                program, optimizer, schedule, state, jax.tree.map(lambda g: g / whole.astype(g.dtype), held.grads)
            )
            return state._replace(accumulator=jax.tree.map(jnp.zeros_like, held)), told

        def hold(state: TrainState):
            return state, {"learning_rate": jnp.float32(0), "gradient_norm": jnp.float32(0)}

        now = (held.batches >= every) | last
        state, told = jax.lax.cond(now, update, hold, state)
        return state, record | told | {"updated": jnp.asarray(now)}

    return step


def make_epoch(step: Callable, *, gaps: bool = False, compiled: bool = True) -> Callable:
    """epoch(state, batches, weights=None, data=None, last=True) -> (state, history), one compiled program.

    batches: {input: [steps, batch, ...]}; or, with data = {input: [rows, ...]} resident on the device,
        i32[steps, batch], the rows that make each batch.
    weights: f[steps, batch], see make_step.
    last: whether the epoch ends with these batches (matters to gradient accumulation alone).
    history: the records of the steps, each f[steps].  The state that is passed in is donated: use the one returned.

    gaps: leave out the steps whose weights are all 0, as the last chunk of data.chunks has them; history["updated"]
        then tells which steps were taken.
    compiled: False walks through the steps in Python instead, for programs that are not JAX's and for debugging.
    """

    def one(data: Any, last: Any, state: TrainState, item: Any):
        rows, weights, ends = item
        batch = rows if data is None else {k: v[rows] for k, v in data.items()}
        if not gaps:
            return step(state, batch, weights, ends & last)

        def taken(state: TrainState):
            state, record = step(state, batch, weights, ends & last)
            return state, {"updated": jnp.bool_(True)} | record

        def left_out(state: TrainState):
            return state, jax.tree.map(lambda r: jnp.zeros(r.shape, r.dtype), jax.eval_shape(taken, state)[1])

        return jax.lax.cond(jnp.any(weights > 0), taken, left_out, state)

    def epoch(state: TrainState, batches: Any, weights: Any = None, data: Arrays | None = None, last: Any = True):
        steps = jax.tree.leaves(batches)[0].shape[0]
        count = jnp.arange(steps)
        ends = count == (jnp.max(jnp.where(jnp.any(weights > 0, axis=1), count, 0)) if gaps else steps - 1)
        scan = jax.lax.scan if compiled else _in_python
        return scan(partial(one, data, last), state, (batches, weights, ends))

    return jax.jit(epoch, donate_argnums=0) if compiled else epoch


def weights_per_row(loss: Any, weights: Any, divide: bool = True) -> Any:
    """dL/d loss where L is the weighted mean over rows (divide=False: the weighted sum).  f[] or f[n] -> the same."""
    if jnp.ndim(loss) == 0 or loss.shape == (1,):
        if weights is not None:
            raise GraphError(
                "this loss is one number for the whole batch, so padded rows cannot be left out of it: "
                "let the loss give one number per row (with_loss(..., reduction='rows')), "
                "or drop the short last batch"
            )
        return jnp.ones_like(loss)
    row_weights = jnp.ones_like(loss) if weights is None else weights.astype(loss.dtype)
    return row_weights / jnp.sum(row_weights) if divide else row_weights


# ---- inside -------------------------------------------------------------------------------------------


def _in_python(f: Callable, carry: Any, xs: Any) -> tuple[Any, Any]:
    """jax.lax.scan, one step after the other in Python."""
    told = []
    for k in range(jax.tree.leaves(xs)[0].shape[0]):
        carry, record = f(carry, jax.tree.map(lambda a: a[k], xs))  # noqa: B023
        told.append(record)
    return carry, jax.tree.map(lambda *r: None if r[0] is None else jnp.stack(r), *told)


def _update(program: Program, optimizer: Optimizer, schedule: Callable, state: TrainState, grads: Arrays):
    lr = schedule(state.step)
    trained, opt = optimizer.update({w: state.params[w] for w in program.wrt}, grads, state.opt, lr)
    told = {"learning_rate": jnp.float32(lr), "gradient_norm": global_norm(grads).astype(jnp.float32)}
    params, buffers = {**state.params, **trained}, state.buffers
    if optimizer.post_update:
        params, buffers = optimizer.post_update(params, buffers)
    return state._replace(params=params, buffers=buffers, opt=opt, step=state.step + 1), told


def _averages(outputs: Arrays, batch: Arrays, row_weights: Any, loss: str | None, metrics: Any) -> Arrays:
    """Loss and metrics, rows weighted by `row_weights`.  A metric that is one number counts as the mean of its rows."""

    def weigh(x: Any) -> Any:
        x = jnp.asarray(x, jnp.float32)
        return (
            jnp.sum(x * row_weights.astype(x.dtype))
            if x.shape == row_weights.shape
            else jnp.sum(row_weights) * jnp.mean(x)
        )

    found = {"loss": weigh(outputs[loss])} if loss else {}
    return found | {name: weigh(metric(outputs, batch)) for name, metric in (metrics or {}).items()}


def _check_loss(program: Program, loss: str) -> None:
    if loss not in program.graph.outputs:
        raise GraphError(
            f"graph {program.graph.name!r} has no output {loss!r} to train on; it has "
            f"{', '.join(map(repr, program.graph.outputs))}. Append a loss with with_loss(graph, ...)"
        )
    if set(program.seeds) != {loss}:
        raise GraphError(
            f"the program's gradient starts from {list(program.seeds)}, not from {loss!r}: "
            f"make_program(graph, seeds=[{loss!r}])"
        )
