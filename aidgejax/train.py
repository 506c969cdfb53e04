"""Training: a step is a pure function of the state, an epoch is a scan over steps, compiled once.

    step = make_step(program, optimizer, schedule)
    epoch = make_epoch(step)
    state = start(program, optimizer, jax.random.key(0))
    for batches in ...:                                    # {input: [steps, batch, ...]}
        state, history = epoch(state, batches)             # one XLA program; `state` is donated

The program and the optimizer are given (see lower.py and optim.py); nothing here knows an operator.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from time import perf_counter
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from .data import Dataset, batch_order
from .errors import DataError, GraphError, SettingError
from .graph import Graph
from .lower import Arrays, Program
from .ops.loss import label_inputs
from .optim import Optimizer, global_norm

Metric = Callable[[Arrays, Arrays], Any]


class TrainState(NamedTuple):
    """All that training changes.  pending is what gradient accumulation holds back, None without it."""

    params: Arrays
    buffers: Arrays
    opt: Any
    key: Any
    step: Any
    pending: Any = None


class Pending(NamedTuple):
    """Sums over the micro-batches since the last update; shares is what to divide them by."""

    grads: Arrays
    shares: Any
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
    pending = None
    if accumulate is not None:
        record = {name: jnp.float32(0) for name in ("loss", *accumulate)}
        pending = Pending({w: jnp.zeros_like(params[w]) for w in program.wrt}, jnp.float32(0), record, jnp.int32(0))
    return TrainState(
        params, buffers, optimizer.init({w: params[w] for w in program.wrt}), jnp.array(key), jnp.int32(0), pending
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
        state = state._replace(params=program.moved(state.params, saved))
        shares = row_shares(outputs[loss], weights)
        grads = program.backward(state.params, saved, {loss: shares}, grads=None)  # None: start from zero
        record = _averages(outputs, batch, shares, loss, metrics)
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
        state = state._replace(params=program.moved(state.params, saved))
        shares = row_shares(outputs[loss], weights, divide=False)
        grads = program.backward(state.params, saved, {loss: shares}, grads=state.pending.grads)
        record = jax.tree.map(jnp.add, state.pending.record, _averages(outputs, batch, shares, loss, metrics))
        held = Pending(grads, state.pending.shares + jnp.sum(shares), record, state.pending.batches + 1)
        return state._replace(key=key, buffers=buffers, pending=held)

    def step(state: TrainState, batch: Arrays, weights: Any = None, last: Any = False) -> tuple[TrainState, Arrays]:
        if state.pending is None:
            raise SettingError("this state holds no gradients back: make it with start(..., accumulate=metrics)")
        state = micro(state, batch, weights)
        held = state.pending
        record = {k: v / held.shares for k, v in held.record.items()}

        def update(state: TrainState):
            whole = held.shares if remainder == "mean" else jnp.float32(every)
            state, told = _update(
                program, optimizer, schedule, state, jax.tree.map(lambda g: g / whole.astype(g.dtype), held.grads)
            )
            return state._replace(pending=jax.tree.map(jnp.zeros_like, held)), told

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


def make_evaluation(
    program: Program, *, loss: str | None = "loss", metrics: Mapping[str, Metric] | None = None, compiled: bool = True
) -> Callable:
    """evaluate(params, buffers, batches, weights=None, data=None) -> {"loss", metrics}: means over all rows.

    program: lowered with training=False.  batches, weights and data as in make_epoch; one compiled scan.
    """

    def evaluate(params: Arrays, buffers: Arrays, batches: Any, weights: Any = None, data: Arrays | None = None):
        def one(sums, item):
            rows, weight = item
            batch = rows if data is None else {k: v[rows] for k, v in data.items()}
            outputs, _, _ = program.forward(params, buffers, batch, save=False)
            per_row = outputs[loss] if loss else jnp.zeros(jax.tree.leaves(batch)[0].shape[0])
            shares = row_shares(per_row, weight, divide=False)
            found = _averages(outputs, batch, shares, loss, metrics)
            return (jax.tree.map(jnp.add, sums[0], found), sums[1] + jnp.sum(shares)), None

        zero = {n: jnp.float32(0) for n in (["loss"] if loss else []) + list(metrics or {})}
        scan = jax.lax.scan if compiled else _in_python
        (sums, shares), _ = scan(one, (zero, jnp.float32(0)), (batches, weights))
        return {k: v / shares for k, v in sums.items()}

    return jax.jit(evaluate) if compiled else evaluate


def fit(
    program: Program,
    optimizer: Optimizer,
    schedule: Callable,
    data: Dataset,
    *,
    epochs: int,
    batch_size: int,
    accumulate: int = 1,
    last: str = "drop",
    seed: int = 0,
    loss: str = "loss",
    metrics: Mapping[str, Metric] | None = None,
    test: Dataset | None = None,
    test_program: Program | None = None,
    on_epoch: Callable[[dict], Any] | None = None,
    state: TrainState | None = None,
    compiled: bool = True,
) -> tuple[TrainState, list[dict[str, Any]]]:
    """Train on data that fits the device: it is put there once, and each epoch is one call of one compiled program.

    last: what happens to a last batch that is short: "drop" it, or "pad" it with rows of weight 0.
    test: evaluated after each epoch with `test_program` (the same graph lowered with training=False).
    on_epoch: called with a record of the epoch: epoch, seconds, loss, metrics, test_loss, test_...
    The rows of epoch e come in the order that (seed, e) gives, so a resumed run sees what an uninterrupted one would.
    Returns the state and the history: one record per update with step, epoch, loss, metrics, learning_rate,
    gradient_norm; the last record of an epoch holds the test figures too.
    """
    if epochs < 1:
        raise SettingError(f"epochs is {epochs}: expected 1 or more")
    batch_order(len(data), batch_size, last=last)  # raises where batch size and policy do not fit the data
    _check_padding(program, last, len(data), batch_size)
    data, test = fitting(program.graph, data), test and fitting(program.graph, test)
    step = (
        make_step(program, optimizer, schedule, loss=loss, metrics=metrics)
        if accumulate == 1
        else make_accumulating_step(program, optimizer, schedule, accumulate, loss=loss, metrics=metrics)
    )
    epoch = make_epoch(step, compiled=compiled)
    resident = data.on_device()
    if state is None:
        state = start(program, optimizer, jax.random.key(seed), accumulate=metrics or () if accumulate > 1 else None)
    evaluate = None
    if test is not None:
        evaluate = make_evaluation(test_program or program, loss=loss, metrics=metrics, compiled=compiled)
        test_rows, test_weights = batch_order(len(test), min(batch_size, len(test)), last="pad", always_weigh=True)
        test_resident = test.on_device()
    history: list[dict[str, Any]] = []
    for e in range(epochs):
        began = perf_counter()
        rows, weights = batch_order(len(data), batch_size, seed=seed, epoch=e, last=last)
        state, records = epoch(state, rows, weights, resident)
        records = jax.device_get(records)
        seconds = perf_counter() - began
        told = _as_history(records, e, int(state.step))
        if evaluate:
            found = jax.device_get(evaluate(state.params, state.buffers, test_rows, test_weights, test_resident))
            told[-1] |= {f"test_{k}": float(v) for k, v in found.items()}
        history += told
        if on_epoch:
            means = {k: sum(r[k] for r in told) / len(told) for k in ("loss", *(metrics or {}))}
            on_epoch({**told[-1], **means, "epoch": e, "seconds": seconds, "rows": int(rows.size)})
    return state, history


def fitting(graph: Graph, data: Dataset) -> Dataset:
    """The columns that the graph takes; labels are checked against the number of classes, shapes and dtypes against
    the graph's inputs.  Raises DataError."""
    missing = [k for k in graph.inputs if k not in data.columns]
    if missing:
        raise DataError(
            f"the data lacks {', '.join(map(repr, missing))}, which graph {graph.name!r} takes; it has "
            f"{', '.join(map(repr, data.columns))}"
        )
    for k, v in graph.inputs.items():
        a = data.columns[k]
        if v.shape is None:
            continue
        sizes = zip(a.shape[1:], v.shape[1:], strict=False)
        if a.ndim != v.rank or any(isinstance(want, int) and got != want for got, want in sizes):
            raise DataError(f"graph {graph.name!r}, {v}: got an array of shape {list(a.shape)}")
        if v.is_float != (a.dtype.kind == "f" or "float" in a.dtype.name):
            raise DataError(
                f"graph {graph.name!r}, {v}: got an array of dtype {a.dtype}; convert it with .astype({v.dtype!r})"
            )
    return Dataset({k: data.columns[k] for k in graph.inputs}, classes=label_inputs(graph))


def row_shares(loss: Any, weights: Any, divide: bool = True) -> Any:
    """dL/d loss where L is the weighted mean over rows (divide=False: the weighted sum).  f[] or f[n] -> the same."""
    if jnp.ndim(loss) == 0 or loss.shape == (1,):
        if weights is not None:
            raise GraphError(
                "this loss is one number for the whole batch, so padded rows cannot be left out of it: "
                "let the loss give one number per row (with_loss(..., reduction='rows')), "
                "or drop the short last batch"
            )
        return jnp.ones_like(loss)
    shares = jnp.ones_like(loss) if weights is None else weights.astype(loss.dtype)
    return shares / jnp.sum(shares) if divide else shares


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
    if optimizer.finish:
        params, buffers = optimizer.finish(params, buffers)
    return state._replace(params=params, buffers=buffers, opt=opt, step=state.step + 1), told


def _averages(outputs: Arrays, batch: Arrays, shares: Any, loss: str | None, metrics: Any) -> Arrays:
    """Loss and metrics, rows weighted by their shares.  A metric that is one number counts as the mean of its rows."""

    def weigh(x: Any) -> Any:
        x = jnp.asarray(x, jnp.float32)
        return jnp.sum(x * shares.astype(x.dtype)) if x.shape == shares.shape else jnp.sum(shares) * jnp.mean(x)

    found = {"loss": weigh(outputs[loss])} if loss else {}
    return found | {name: weigh(metric(outputs, batch)) for name, metric in (metrics or {}).items()}


def _as_history(records: Arrays, epoch: int, steps_made: int) -> list[dict[str, Any]]:
    rows = [dict(zip(records, values, strict=True)) for values in zip(*records.values(), strict=True)]
    if "updated" in records:
        rows = [r for r in rows if r.pop("updated")]
    first = steps_made - len(rows)
    order = [
        "loss",
        *(n for n in records if n not in ("loss", "learning_rate", "gradient_norm", "updated")),
        "learning_rate",
        "gradient_norm",
    ]
    return [{"step": first + k + 1, "epoch": epoch} | {n: float(r[n]) for n in order} for k, r in enumerate(rows)]


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


def _check_padding(program: Program, last: str, rows: int, batch_size: int) -> None:
    if last == "pad" and rows % batch_size and program.updates:
        raise SettingError(
            f"last='pad' would let padding into the batch statistics that update "
            f"{', '.join(map(repr, list(program.updates)[:3]))}: use last='drop', or a batch size that "
            f"divides the {rows} rows"
        )


def read_history(history: Iterable[dict[str, Any]], name: str) -> tuple[list[int], list[float]]:
    """(steps, values) of one column, for a plot; records that lack it are passed over."""
    pairs = [(r["step"], r[name]) for r in history if name in r]
    return [s for s, _ in pairs], [v for _, v in pairs]
