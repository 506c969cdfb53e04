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
import numpy as np

from ..errors import GraphError, SettingError
from ..execution.devices import brought_to
from ..execution.program import Arrays, Program, check_program
from ..execution.program_like import ProgramLike
from ..passes.loss import ROW_WEIGHTS, label_inputs, row_weights_of
from ..passes.precision import is_double
from .averages import Metric, averages, loss_weights, weight_sum, weights_per_row
from .checked_epoch import CheckedEpoch
from .counter import Counter, counted
from .guard import all_finite, nonfinite
from .loss_scaling import LossScale, LossScaling, needs_loss_scaling, scaled
from .optim import Optimizer
from .packed_scan import scan_in_python, scan_steps
from .parallel import Placement
from .placed_arrays import put
from .placed_program import placed_program
from .schedule import schedule_of
from .stacked_blocks import of_stacks, stacked, stacks_of, unstacked
from .update import updated
from .update_order import last_gradients
from .width import of_its_width

ON_NONFINITE = ("raise", "skip", "ignore")
DEFAULT_LOSS_SCALING = LossScaling()


class TrainState(NamedTuple):
    """All that training changes.

    step: the updates made; batches: the batches seen, those without an update included, from which the position in
    the data follows.  Both are a Counter, which does not wrap: int(state.step).
    accumulator: what gradient accumulation holds back, None without it.
    loss_scale: the state of loss scaling, None without it.
    """

    params: Arrays
    buffers: Arrays
    opt: Any
    key: Any
    step: Any
    accumulator: Any = None
    batches: Any = None
    loss_scale: LossScale | None = None


class Accumulator(NamedTuple):
    """Sums over the micro-batches since the last update; row_weights is what to divide them by, the loss and its
    gradients by record[ROW_WEIGHTS] where the rows of the loss have weights of their own."""

    grads: Arrays
    row_weights: Any
    record: Arrays
    batches: Any


@of_its_width
def start(
    program: ProgramLike,
    optimizer: Optimizer,
    key: Any,
    params: Arrays | None = None,
    buffers: Arrays | None = None,
    *,
    accumulate: Iterable[str] | None = None,
    loss_scaling: LossScaling | bool | None = None,
    placement: Placement | None = None,
) -> TrainState:
    """The state before the first step: the graph's own arrays, or those given, copied to the device.

    accumulate: for make_accumulating_step, the names of its metrics (() where it has none).
    loss_scaling: whether the loss is scaled, and from which factor; None: where the graph computes in float16.
    placement: over which devices (see parallel.py); no array is whole anywhere that is split.
    """
    check_program(program, "start")
    _check_optimizer(optimizer)
    if isinstance(key, int):
        raise SettingError(f"key is {key}: expected a key of JAX's, jax.random.key({key})")
    params = program.graph.params if params is None else params
    buffers = program.graph.buffers if buffers is None else buffers
    names = None if accumulate is None else tuple(accumulate)
    if placement is None:
        params, buffers = ({k: jnp.array(v) for k, v in tree.items()} for tree in (params, buffers))
        return _first_state(program, optimizer, key, params, buffers, names, loss_scaling)
    where = placement.parameter_shardings(params)
    params = {k: put(_canonical(v), where[k]) for k, v in params.items()}
    buffers = {k: put(_canonical(v), placement.everywhere) for k, v in buffers.items()}
    make = partial(_first_state, program, optimizer, accumulate=names, loss_scaling=loss_scaling)
    key = put(jnp.array(key), placement.everywhere)
    there = placement.shardings(jax.eval_shape(make, key, params, buffers))
    return jax.jit(make, out_shardings=there)(key, params, buffers)


def _canonical(v: Any) -> Any:
    """As jnp.array would have it: 64 bits become 32, unless jax_enable_x64 is on."""
    return v if isinstance(v, jax.Array) else np.asarray(v, jax.dtypes.canonicalize_dtype(np.asarray(v).dtype))


def _first_state(
    program: ProgramLike,
    optimizer: Optimizer,
    key: Any,
    params: Arrays,
    buffers: Arrays,
    accumulate: Any,
    loss_scaling: LossScaling | bool | None,
) -> TrainState:
    accumulator = None
    if accumulate is not None:
        weighed = [ROW_WEIGHTS] if any(row_weights_of(program.graph, s) for s in program.seeds) else []
        record = {name: jnp.float32(0) for name in ("loss", *accumulate, *weighed)}
        accumulator = Accumulator(
            {w: jnp.zeros_like(params[w]) for w in program.wrt}, jnp.float32(0), record, jnp.int32(0)
        )
    opt = optimizer.init({w: params[w] for w in program.wrt})
    opt = jax.tree.map(jnp.copy, opt)  # no array twice: each is donated
    if loss_scaling is None:
        loss_scaling = needs_loss_scaling(program.graph)
    rules = LossScaling() if loss_scaling is True else loss_scaling
    started = Counter.at(0), accumulator, Counter.at(0), rules.start() if rules else None
    return TrainState(params, buffers, opt, jnp.array(key), *started)


def make_step(
    program: ProgramLike,
    optimizer: Optimizer,
    schedule: Callable | float,
    *,
    loss: str = "loss",
    metrics: Mapping[str, Metric] | None = None,
    loss_scaling: LossScaling = DEFAULT_LOSS_SCALING,
    placement: Placement | None = None,
    record: Iterable[str] | None = None,
) -> Callable:
    """step(state, batch, weights=None, last=False) -> (state, record).  Jit it, scan it, or walk through it by hand.

    schedule: a rate by step, or one number.
    The loss is a scalar, or one number per row ([batch]); of rows the mean is taken, weighted by `weights` f[batch]
    where they are given, so that a row of weight 0 (padding) counts for nothing; of weighted classes it is the sum
    over the rows divided by the sum of the weights at their labels.
    record: {"loss", "learning_rate", "gradient_norm", and each of `metrics`}, all f[], of the batch before the update;
        or those of them that are named here.  What is not asked for is not computed once the step is compiled: of many
        small arrays, the gradients' norm costs as much as the update.
    metrics: {name: f(outputs, batch) -> one number per row, or one in all}.
    last: whether the epoch ends here; it matters to gradient accumulation alone.
    loss_scaling: how the factor moves, for a state that has a loss_scale (see `start`).  A step whose gradients are
        not finite then changes nothing but that; the record has "loss_scale", the factor used, and "updated" besides.
    placement: over which devices; make_epoch(step, placement=...) sets it too.
    """
    check_program(program, "make_step")
    _check_loss(program, loss)
    _check_optimizer(optimizer)
    schedule = schedule_of(schedule)
    figures = {"loss", "learning_rate", "gradient_norm", *(metrics or ())}
    asked = figures if record is None else set(record)
    if asked - figures:
        raise SettingError(
            f"record asks for {', '.join(map(repr, sorted(asked - figures)))}; a step has "
            f"{', '.join(map(repr, sorted(figures)))}"
        )
    made = {"loss": loss, "metrics": metrics, "loss_scaling": loss_scaling, "record": record}
    remake = lambda of=program, **new: make_step(of, optimizer, schedule, **made, **new)  # type: ignore[arg-type]  # mixed
    whole = getattr(program, "unstacked", program)
    last_made = last_gradients(whole) if isinstance(whole, Program) and placement is None else ()
    program = placed_program(program, placement)
    total = row_weights_of(program.graph, loss)
    wanted = {name: metric for name, metric in (metrics or {}).items() if name in asked}

    def step(state: TrainState, batch: Arrays, weights: Any = None, last: Any = False) -> tuple[TrainState, Arrays]:
        before = state
        batch, weights = brought_to(state.params, (batch, weights))
        key, now = jax.random.split(state.key)
        outputs, saved, buffers = program.forward(state.params, state.buffers, batch, now)
        state = state._replace(params=program.with_updated_params(state.params, saved))
        row_weights = weights_per_row(outputs[loss], weights)
        of_loss = loss_weights(outputs, loss, total, weights)
        seed = scaled(of_loss, state.loss_scale)
        grads = program.backward(state.params, saved, {loss: seed}, grads=None)  # None: start from zero
        averaged = averages(outputs, batch, row_weights, loss if "loss" in asked else None, wanted, of_loss)
        state = state._replace(key=key, buffers=buffers, batches=counted(state.batches))
        norm = "gradient_norm" in asked
        after = {w: grads[w] for w in last_made if w in grads}  # of a stack, no gradient is the last
        new, update = updated(program, optimizer, schedule, state, grads, loss_scaling, seed.dtype, norm, after)
        if "updated" in update:  # what overflowed may have been in the batch statistics too
            kept = jax.tree.map(partial(jnp.where, update["updated"]), new.buffers, before.buffers)
            new = new._replace(buffers=kept)
        if weights is not None:  # a batch of nothing but padding leaves everything as it is
            something = jnp.any(weights > 0)
            new = jax.tree.map(lambda a, b: jnp.where(something, a, b), new, before)
        return new, {k: v for k, v in (averaged | update).items() if k in asked or k not in figures}

    return _described(step, program, optimizer, placement, remake)


def make_accumulating_step(
    program: ProgramLike,
    optimizer: Optimizer,
    schedule: Callable | float,
    every: int,
    *,
    loss: str = "loss",
    metrics: Mapping[str, Metric] | None = None,
    remainder: str = "mean",
    loss_scaling: LossScaling = DEFAULT_LOSS_SCALING,
    placement: Placement | None = None,
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
    rate = schedule_of(schedule)
    _check_loss(program, loss)
    made = {"loss": loss, "metrics": metrics, "remainder": remainder, "loss_scaling": loss_scaling}
    remake = lambda of=program, **new: make_accumulating_step(of, optimizer, schedule, every, **made, **new)  # type: ignore[arg-type]  # mixed
    program = placed_program(program, placement)
    total = row_weights_of(program.graph, loss)

    def micro(state: TrainState, batch: Arrays, weights: Any) -> Any:
        key, now = jax.random.split(state.key)
        outputs, saved, buffers = program.forward(state.params, state.buffers, batch, now)
        state = state._replace(params=program.with_updated_params(state.params, saved))
        row_weights = weights_per_row(outputs[loss], weights, divide=False)
        seed = scaled(row_weights, state.loss_scale)
        grads = program.backward(state.params, saved, {loss: seed}, grads=state.accumulator.grads)
        found = averages(outputs, batch, row_weights, loss, metrics)
        found |= {ROW_WEIGHTS: weight_sum(outputs, total, row_weights)} if total else {}
        before = state.accumulator
        record = jax.tree.map(lambda a, b: a + b.astype(a.dtype), before.record, found)
        rows = before.row_weights + jnp.sum(row_weights).astype(before.row_weights.dtype)
        held = Accumulator(grads, rows, record, before.batches + 1)
        return state._replace(key=key, buffers=buffers, accumulator=held, batches=counted(state.batches))

    def step(state: TrainState, batch: Arrays, weights: Any = None, last: Any = False) -> tuple[TrainState, Arrays]:
        if state.accumulator is None:
            raise SettingError("this state holds no gradients back: make it with start(..., accumulate=metrics)")
        batch, weights = brought_to(state.params, (batch, weights))
        state = micro(state, batch, weights)
        held = state.accumulator
        rows = held.row_weights
        of_loss = held.record.get(ROW_WEIGHTS, rows)
        sums = {k: (v, of_loss if k == "loss" else rows) for k, v in held.record.items() if k != ROW_WEIGHTS}
        record = {k: v / jnp.where(whole == 0, 1, whole) for k, (v, whole) in sums.items()}

        def update(state: TrainState) -> Any:
            whole = of_loss if remainder == "mean" else jnp.float32(every)
            whole = jnp.where(whole == 0, 1, whole)
            grads = jax.tree.map(lambda g: g / whole.astype(g.dtype), held.grads)
            state, figures = updated(program, optimizer, rate, state, grads, loss_scaling, held.row_weights.dtype)
            cleared = state._replace(accumulator=jax.tree.map(jnp.zeros_like, held))
            return cleared, figures | {"updated": figures.get("updated", jnp.bool_(True))}

        def hold(state: TrainState) -> Any:
            nothing = {"learning_rate": jnp.float32(0), "gradient_norm": jnp.float32(0), "updated": jnp.bool_(False)}
            return state, nothing | ({} if state.loss_scale is None else {"loss_scale": state.loss_scale.factor})

        state, figures = jax.lax.cond((held.batches >= every) | last, update, hold, state)
        return state, record | figures

    return _described(step, program, optimizer, placement, remake)


def _described(
    step: Any, program: ProgramLike, optimizer: Optimizer, placement: Placement | None, remake: Callable
) -> Callable:
    """The step with what make_epoch asks it for: what it was made of, and itself of another program or placement."""
    step.program, step.optimizer, step.placement, step.remake = program, optimizer, placement, remake
    return step


def make_epoch(
    step: Callable,
    *,
    gaps: bool = False,
    compiled: bool = True,
    on_nonfinite: str = "ignore",
    placement: Placement | None = None,
) -> Callable:
    """epoch(state, batches, weights=None, data=None, last=True) -> (state, history), one compiled program.

    step: any function (state, batch, weights, last) -> (state, record), such as make_step's.
    batches: {input: [steps, batch, ...]}; or, with data = {input: [rows, ...]} resident on the device,
        i32[steps, batch], the rows that make each batch.
    weights: f[steps, batch], see make_step.
    last: whether the epoch ends with these batches (matters to gradient accumulation alone).
    history: the records of the steps, each f[steps].  The state that is passed in is donated: use the one returned.

    gaps: leave out the steps whose weights are all 0, as the last chunk of data.chunks has them; history["updated"]
        then tells which steps were taken.
    compiled: False walks through the steps in Python instead, for programs that are not JAX's and for debugging.
    on_nonfinite: what a step does whose loss or gradient norm is not finite: "ignore" it; "skip" it, so that
        parameters, buffers, optimizer state and the number of updates stay, and what was accumulated is dropped; or
        "raise", which leaves the state of the step before and takes no further step: what a jitted function can do
        towards raising.  history["nonfinite"] tells which steps it was, for `fit`, or you, to raise.
    placement: over which devices the state lies and the rows are split, see parallel.py; the step's own by default.
        Resident data is what placement.place_rows gives, and batches of several processes what place_batches gives.
    """
    if placement is not None and placement != getattr(step, "placement", None) and hasattr(step, "remake"):
        step = step.remake(placement=placement)
    placement = placement or getattr(step, "placement", None)
    if placement is not None and not compiled:
        raise SettingError("compiled=False walks through the steps on one device: it takes no placement")
    if on_nonfinite not in ON_NONFINITE:
        raise SettingError(f"on_nonfinite is {on_nonfinite!r}; expected one of {', '.join(map(repr, ON_NONFINITE))}")

    def taken(step: Callable, carry: Any, batch: Arrays, weights: Any, ends: Any) -> Any:
        state, halted = carry
        new, record = step(state, batch, weights, ends)
        if placement is not None:
            new = placement.constrained(new)
            record = jax.lax.with_sharding_constraint(record, placement.everywhere)
        if on_nonfinite == "ignore":
            return (new, halted), record
        bad = nonfinite(record) | ~all_finite(getattr(new, "params", ()))
        stay, left = state, bad
        if on_nonfinite == "raise":
            left = bad | halted
            record |= {"nonfinite": bad & ~halted, "updated": record.get("updated", True) & ~halted}
            halted = left
        else:
            record |= {"nonfinite": bad}
            if isinstance(state, TrainState):
                held = jax.tree.map(jnp.zeros_like, state.accumulator)
                stay = state._replace(key=new.key, batches=new.batches, accumulator=held)
        return (jax.tree.map(lambda a, b: jnp.where(left, a, b), stay, new), halted), record

    def one(step: Callable, data: Any, last: Any, carry: Any, item: Any) -> Any:
        rows, weights, ends = item
        batch = rows if data is None else {k: v[rows] for k, v in data.items()}
        if placement is not None:
            batch, weights = placement.constrained_rows((batch, weights))
        if not gaps:
            return taken(step, carry, batch, weights, ends & last)

        def counted_in(carry: Any) -> Any:
            carry, record = taken(step, carry, batch, weights, ends & last)
            return carry, {"updated": jnp.bool_(True)} | record

        def left_out(carry: Any) -> Any:
            return carry, jax.tree.map(lambda r: jnp.zeros(r.shape, r.dtype), jax.eval_shape(counted_in, carry)[1])

        return jax.lax.cond(jnp.any(weights > 0), counted_in, left_out, carry)

    def epoch(
        state: TrainState, batches: Any, weights: Any = None, data: Arrays | None = None, last: Any = True
    ) -> Any:
        first = jax.tree.leaves(batches)[0].shape
        if placement is not None:
            placement.check_batch(first[1])
            state = placement.constrained(state)
        walk, stacks = step, stacks_of(step, state) if compiled and placement is None else {}
        if stacks:
            state, walk = stacked(state, stacks), of_stacks(step, stacks)
        count = jnp.arange(first[0])
        ends = count == (jnp.max(jnp.where(jnp.any(weights > 0, axis=1), count, 0)) if gaps else first[0] - 1)
        scan = scan_steps if compiled else scan_in_python
        halted = jnp.bool_(False) if on_nonfinite == "raise" else None
        (state, _), history = scan(partial(one, walk, data, last), (state, halted), (batches, weights, ends))
        return unstacked(state, stacks) if stacks else state, history

    options = placement.compiler_options() if placement is not None else None
    jitted = jax.jit(epoch, donate_argnums=0, compiler_options=options or None) if compiled else epoch
    if not hasattr(step, "program"):
        return CheckedEpoch(jitted, {})
    return CheckedEpoch(jitted, label_inputs(step.program.graph), is_double(step.program.graph))


def _check_optimizer(optimizer: Any) -> None:
    if not (hasattr(optimizer, "init") and hasattr(optimizer, "update")):
        raise SettingError(f"optimizer is {optimizer!r}: expected init and update, as aidgejax.optim.adam() has them")


def _check_loss(program: ProgramLike, loss: str) -> None:
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
