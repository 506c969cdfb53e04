"""Training on data that fits the device: epochs, their records, and the checks of the data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from time import perf_counter
from typing import Any

import jax

from ..errors import DataError, SettingError
from ..execution.program import Arrays, Program
from ..graph import Graph
from ..passes.loss import label_inputs
from .data import Dataset, batch_order
from .evaluation import make_evaluation
from .loop import Metric, TrainState, make_accumulating_step, make_epoch, make_step, start
from .optim import Optimizer


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
