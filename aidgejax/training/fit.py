"""Training: epochs, their records, and the checks of the data."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from time import perf_counter
from typing import Any

import jax
import numpy as np

from ..errors import DataError, NonFiniteError, SettingError, about
from ..execution.budget import check_memory, check_training_memory
from ..execution.cache import ProgramCache
from ..execution.program import Arrays, Program, check_program, wrong_axes
from ..execution.program_like import ProgramLike
from ..graph import Graph
from ..interpreter.shape_inference import SIZES
from ..passes.loss import label_inputs
from ..passes.precision import check_precision
from ..passes.precision import precision as in_precision
from ..passes.roles import check_trains
from .averages import Metric
from .callbacks import STOP, Callback, EverySteps
from .columns import rows_for
from .counter import Counter
from .data import Dataset, batch_order
from .evaluation import make_evaluation
from .guard import first_bad_number
from .loop import (
    DEFAULT_LOSS_SCALING,
    ON_NONFINITE,
    TrainState,
    make_accumulating_step,
    make_epoch,
    make_step,
    start,
)
from .loss_scaling import needs_loss_scaling
from .optim import Optimizer
from .parallel import Placement
from .placed_arrays import on_host
from .processes import several
from .pytrees import copied
from .rows_in_file import by_rows
from .schedule import schedule_of
from .stream import Part, Resident, Stream, Streamed
from .watched import make_watched_epoch
from .width import as_wide, of_its_width


@of_its_width
def fit(
    program: ProgramLike,
    optimizer: Optimizer,
    schedule: Callable | float,
    data: Any,
    *,
    epochs: int,
    batch_size: int,
    accumulate: int = 1,
    last: str = "drop",
    seed: int = 0,
    loss: str = "loss",
    metrics: Mapping[str, Metric] | None = None,
    test: Any = None,
    test_program: ProgramLike | None = None,
    on_epoch: Callable[[dict], Any] | None = None,
    callbacks: Sequence[Callback | EverySteps] = (),
    state: TrainState | None = None,
    compiled: bool = True,
    on_nonfinite: str = "raise",
    precision: str = "float32",
    on_records: Callable[[list[dict[str, Any]]], Any] | None = None,
    placement: Placement | None = None,
) -> tuple[TrainState, list[dict[str, Any]]]:
    """Train on data that fits the device: it is put there once, and each epoch is one call of one compiled program.
    A Stream is read while it trains instead.

    schedule: a rate by step, or one number.
    data, test: a Dataset, or what `load_columns` takes: arrays, a mapping, a path, a loader or data set of torch,
        grain, tf.data or Hugging Face.  Of several processes each gives all of it, and reads of a file what it keeps.
        data may be a Stream, of which each process gives its share; `seed` then orders nothing, and the rest of a
        resumed epoch is read up to there.
    last: what happens to a last batch that is short: "drop" it, or "pad" it with rows of weight 0.
    test: evaluated after each epoch with `test_program` (the same graph lowered with training=False).
    on_epoch: called with a record of the epoch: epoch, seconds, loss, metrics, test_loss, test_...
    callbacks: f(record, state) after each epoch, and those of `callbacks.every_steps` after every n updates besides;
        one that returns callbacks.STOP ends the training there.  The state may be read and saved, not kept: the next
        step takes its memory (copy what is to stay).
    state: where to go on, `epochs` more: epoch, step, position in the data and order follow from it.  From inside an
        epoch the rest of it comes first and counts as one.  It is copied, so the caller's stays usable.
    on_nonfinite: "raise" NonFiniteError, with the last sound state, where the loss, the gradients or the weights of a
        step are not finite; "skip" such steps; or "ignore" them.
    precision: "bfloat16" or "float16" computes the steps by the policy of `passes.precision`, the latter with loss
        scaling, whose overflowing steps update nothing and leave no record; parameters, optimizer
        state and the test figures stay float32, so what is tested is the model that will be written.
        A model whose parameters are float64 is computed in float64.
    on_records: called with the history so far, before the callbacks are.
    placement: over which devices, see parallel.py; the state that comes back lies there.
    The rows of epoch e come in the order that (seed, e) gives, so a resumed run sees what an uninterrupted one would.
    Returns the state and the history: one record per update with step, epoch, loss, metrics, learning_rate,
    gradient_norm; the last record of an epoch holds the test figures too.
    """
    check_program(program, "fit")
    schedule = schedule_of(schedule)
    stream = data if isinstance(data, Stream) else None
    shared = several() and placement is not None
    data, test = (
        None
        if d is None
        else d.first(program.graph)
        if isinstance(d, Stream)
        else rows_for(program.graph, d, in_file=shared)
        for d in (data, test)
    )
    if epochs < 1:
        raise SettingError(f"epochs is {epochs}: expected 1 or more")
    if on_nonfinite not in ON_NONFINITE:
        raise SettingError(f"on_nonfinite is {on_nonfinite!r}; expected one of {', '.join(map(repr, ON_NONFINITE))}")
    check_trains(program.graph)
    check_precision(precision)
    fixed = fixed_batch(program.graph)
    if fixed not in (None, batch_size):
        raise SettingError(
            f"graph {program.graph.name!r} takes {fixed} rows at a time, and the batch size is {batch_size}: take "
            f"{fixed}, or read the model with batch='N' (train --batch N), which makes its batch symbolic"
        )
    if stream is None:
        per_epoch = len(batch_order(len(data), batch_size, last=last)[0])  # raises where the batch size does not fit
        _check_padding(program, last, len(data), batch_size)
    else:
        per_epoch = stream.steps
    if placement is not None:
        placement.check_batch(batch_size)
    data, test = fitting(program.graph, data), None if test is None else fitting(program.graph, test)
    program, run_steps, evaluate = _compiled(
        program, optimizer, schedule, accumulate, loss, metrics, compiled, on_nonfinite, test_program or program,
        precision, placement,
    )  # fmt: skip
    if placement is None or not placement.splits:  # what is split needs less than one device would
        _check_fits(program, optimizer, data, batch_size // (1 if placement is None else placement.split_by))
    share = batch_size // (jax.process_count() if placement is not None and placement.rows else 1)
    source = (
        Streamed(stream, program.graph, share, placement)
        if stream
        else Resident(data, batch_size, seed, last, placement)
    )
    if state is None:
        held = metrics or () if accumulate > 1 else None
        state = start(program, optimizer, jax.random.key(seed), accumulate=held, placement=placement)
        state = copied(state)  # placed as a state that is brought along, for which nothing is then compiled anew
    else:
        if state.loss_scale is None and needs_loss_scaling(program.graph):
            state = state._replace(loss_scale=DEFAULT_LOSS_SCALING.start())
        state = _taken_up(state, per_epoch, accumulate, placement)
    if test is not None:
        test_size = fixed or min(batch_size, len(test) if placement is None else placement.next_batch(len(test)))
        test_rows, test_weights = batch_order(len(test), test_size, last="pad", always_weigh=True)
        test_resident = test.on_device(placement)
    piece = _piece_length(callbacks, per_epoch, accumulate)
    first, at = divmod(int(state.batches), per_epoch)
    history: list[dict[str, Any]] = []
    for e in range(first, first + epochs):
        began = perf_counter()
        epoch_records: list[dict[str, Any]] = []
        skipped, stop = 0, False
        for part in source.parts(e, at, piece):
            state, records = run_steps(state, part.batches, part.weights, part.data, part.upto == per_epoch)
            records = {k: np.asarray(v) for k, v in jax.device_get(records).items()}
            bad = records.pop("nonfinite", np.zeros(1, bool))
            if on_nonfinite == "raise" and bad.any():
                k = int(bad.argmax())
                found = _as_history({n: v[:k] for n, v in records.items()}, e, int(state.step))
                failed = {n: float(v[k]) for n, v in records.items() if n in ("loss", "gradient_norm")}
                raise _failure(program, state, part, k, at + k, e, loss, failed, history + epoch_records + found)
            skipped += int(bad.sum()) if on_nonfinite == "skip" else 0
            if bad.any():
                records = {k: v[~bad] for k, v in records.items()}
            found = _as_history(records, e, int(state.step))
            epoch_records += found
            at = part.upto
            if at < per_epoch and found:
                if on_records:
                    on_records(history + epoch_records)
                stop = _call(_due(callbacks, at // accumulate), found[-1], state)
                if stop:
                    break
        seconds = perf_counter() - began
        if on_nonfinite == "skip" and skipped and not epoch_records:
            raise NonFiniteError(
                f"epoch {e}: not one of its {skipped} steps was finite", state, int(state.step), history
            )
        history += epoch_records
        if at < per_epoch:
            break
        at = 0
        if test is not None:
            found_here = jax.device_get(evaluate(state.params, state.buffers, test_rows, test_weights, test_resident))
            if epoch_records:
                epoch_records[-1] |= {f"test_{k}": float(v) for k, v in found_here.items()}
        if on_records:
            on_records(history)
        figures = {"rows": per_epoch * batch_size, "seconds": seconds} | ({"skipped": skipped} if skipped else {})
        if epoch_records and on_epoch:
            on_epoch(epoch_records[-1] | figures)
        due = [*_due(callbacks, -(-per_epoch // accumulate)), *(c for c in callbacks if not isinstance(c, EverySteps))]
        if epoch_records and _call(due, epoch_records[-1] | figures, state):
            break
    return state, history


KEPT = ProgramCache(8)


def _compiled(
    program: ProgramLike, optimizer: Optimizer, schedule: Callable, accumulate: int, loss: str,
    metrics: Mapping[str, Metric] | None, compiled: bool, on_nonfinite: str, tested: Any, precision: str,
    placement: Placement | None,
) -> tuple[Any, Any, Any]:  # fmt: skip
    """(program in that precision, epoch, evaluation): the same for a call that differs in nothing compiled in."""

    def make() -> tuple[Any, Any, Any]:
        low = program if precision == "float32" else program.with_graph(in_precision(program.graph, precision))
        step = (
            make_step(low, optimizer, schedule, loss=loss, metrics=metrics)
            if accumulate == 1
            else make_accumulating_step(low, optimizer, schedule, accumulate, loss=loss, metrics=metrics)
        )
        evaluation = make_evaluation(tested, loss=loss, metrics=metrics, compiled=compiled, placement=placement)
        if on_nonfinite == "raise" and compiled and placement is None:
            return low, make_watched_epoch(step), evaluation
        return low, make_epoch(step, compiled=compiled, on_nonfinite=on_nonfinite, placement=placement), evaluation

    if not compiled:
        return make()
    measured = tuple((metrics or {}).items())
    wide = jax.config.read("jax_enable_x64")
    built_in = (accumulate, loss, measured, on_nonfinite, precision, wide, placement)
    key = (id(program), id(tested), optimizer, schedule, *built_in)
    kept = KEPT.get(key, lambda: (program, tested, make()))  # holding the programs, so that no id is taken again
    return kept[2]


def _taken_up(state: TrainState, per_epoch: int, accumulate: int, placement: Placement | None) -> TrainState:
    """A copy of the state that a caller brings, with its counters, on the devices of the placement; what has no
    counters counts from its updates."""
    if state.batches is None:
        updates = -(-per_epoch // accumulate)
        whole, more = divmod(int(state.step), updates)
        state = state._replace(batches=Counter.at(whole * per_epoch + more * accumulate))
    if not isinstance(state.step, Counter):
        state = state._replace(step=Counter.at(state.step))
    return copied(state) if placement is None else placement.place(state)


def _piece_length(callbacks: Sequence[Callback | EverySteps], per_epoch: int, accumulate: int) -> int:
    """How many batches are run at once: an epoch, or what divides the intervals that callbacks ask for."""
    wanted = [c.steps * accumulate for c in callbacks if isinstance(c, EverySteps)]
    return min(per_epoch, math.gcd(*wanted)) if wanted else per_epoch


def _due(callbacks: Sequence[Callback | EverySteps], updates: int) -> list[Callback]:
    """Those of every_steps whose turn it is after so many updates of the epoch."""
    return [c.f for c in callbacks if isinstance(c, EverySteps) and updates % c.steps == 0]


def _call(callbacks: Sequence[Callback], record: dict[str, Any], state: TrainState) -> bool:
    """Whether one of them wants to stop; all are called."""
    return any([f(record, state) is STOP for f in callbacks])


def _failure(
    program: ProgramLike, state: TrainState, part: Part, k: int, at: int, epoch: int, loss: str,
    failed: dict[str, float], history: list[dict[str, Any]],
) -> NonFiniteError:  # fmt: skip
    batch, rows, data = part.batch(k)
    whole = state._replace(params=on_host(state.params), buffers=on_host(state.buffers))
    where = first_bad_number(program, whole, batch, None if part.weights is None else part.weights[k], loss, rows, data)
    step = int(state.step) + 1
    values = ", ".join(f"{k.replace('_', ' ')} {v:g}" for k, v in failed.items())
    return NonFiniteError(
        f"step {step} (epoch {epoch}, batch {at}) is not finite: {values}; {where}. The weights of the step before are "
        f"kept. Lower the learning rate, clip the gradients, mend the data, or pass on_nonfinite='skip'",
        state,
        step,
        history,
    )


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
            why = _why_fixed(graph, k) + _of_table(data, a)
            why = why or wrong_axes(v.shape, a.shape, first=1)
            text = f"graph {graph.name!r}, {v}: got an array of shape {list(a.shape)}{why}"
            raise about("input-shape", DataError(text))
        if v.is_float != (a.dtype.kind == "f" or "float" in a.dtype.name):
            raise DataError(
                f"graph {graph.name!r}, {v}: got an array of dtype {a.dtype}; convert it with .astype({v.dtype!r})"
            )
    wide = {k: by_rows(data.columns[k], partial(as_wide, v)) for k, v in graph.inputs.items()}
    return data.with_columns(wide, label_inputs(graph))


def fixed_batch(graph: Graph) -> int | None:
    """The rows that the graph takes at a time, where that is a number."""
    return next((v.shape[0] for v in graph.inputs.values() if v.shape and isinstance(v.shape[0], int)), None)


def _why_fixed(graph: Graph, name: str) -> str:
    """Which node asks for a size of this input that the file left open, and what to do."""
    found = [t for t in graph.metadata.get(SIZES, ()) if t.startswith(f"{name}[")]
    if not found:
        return ""
    return f"; {'; '.join(found)}: the export fixed it there, export the model again with dynamic shapes"


def _of_table(data: Dataset, a: np.ndarray) -> str:
    """What the columns of a table are called, where an array is made of them."""
    if a.ndim != 2 or not data.header or a.shape[1] != len(data.header):
        return ""
    shown = ", ".join(data.header[:20]) + (", ..." if len(data.header) > 20 else "")
    return f"; the columns of {data.source or 'the table'!r} beside the target are {shown}"


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


def _check_fits(program: ProgramLike, optimizer: Optimizer, data: Dataset, batch_size: int) -> None:
    """Raise GraphError where a step takes more memory than there is."""
    params = {k: jax.ShapeDtypeStruct(np.shape(a), a.dtype) for k, a in program.graph.params.items()}
    state = jax.eval_shape(lambda p: (p, optimizer.init({w: p[w] for w in program.wrt})), params)
    held = sum(math.prod(a.shape) * a.dtype.itemsize for a in jax.tree.leaves(state))
    held += sum(a.nbytes for a in data.columns.values())
    batch = {k: jax.ShapeDtypeStruct((batch_size, *a.shape[1:]), a.dtype) for k, a in data.columns.items()}
    if isinstance(program, Program):
        check_training_memory(program, batch, held)
    else:
        check_memory(program.graph, batch, kept=[o for n in program.graph.nodes for o in n.output_names], besides=held)


def _check_padding(program: ProgramLike, last: str, rows: int, batch_size: int) -> None:
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
