"""What may happen while `fit` trains: functions (record, state) -> None, or STOP to end the training.

    fit(..., callbacks=[early_stopping("test_loss", patience=5), checkpoints("run", keep=3), json_lines("log.jsonl")])

A callback is called after each epoch; wrapped by every_steps(n, f), after every n updates.  Of several processes that
train together each has the same callbacks: the first writes logs and shows, each writes its part of a split checkpoint.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import math
import os
import re
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..errors import CheckpointError, SettingError
from .checkpoint import parts_of, save
from .pieces import is_split
from .placed_arrays import on_host
from .processes import is_first, largest, launched


class Stop:
    """The type of STOP."""

    def __repr__(self) -> str:
        return "STOP"


STOP = Stop()
Callback = Callable[[dict[str, Any], Any], Any]


class EverySteps(NamedTuple):
    """f, and how many updates pass between two calls.  Made by every_steps."""

    steps: int
    f: Callback


def every_steps(steps: int, f: Callback) -> EverySteps:
    """f after every `steps` updates of an epoch, counted anew in each, so that one compiled program serves them all."""
    if steps < 1:
        raise SettingError(f"every_steps: steps is {steps}; expected 1 or more")
    return EverySteps(steps, f)


class Best:
    """Whether a figure is the best so far.  monitor: a key of the records; mode: "min" or "max"; min_delta: by how much
    it has to be better.  Raises SettingError where a record lacks the figure."""

    def __init__(self, monitor: str, mode: str | None = None, min_delta: float = 0.0) -> None:
        if mode not in (None, "min", "max"):
            raise SettingError(f"mode is {mode!r}; expected 'min' or 'max'")
        self.monitor, self.min_delta = monitor, min_delta
        self.sign = 1.0 if (mode or ("max" if "accuracy" in monitor else "min")) == "min" else -1.0
        self.value: float | None = None

    def improved(self, record: dict[str, Any]) -> bool:
        if self.monitor not in record:
            raise SettingError(
                f"the records have no {self.monitor!r}; they have {', '.join(map(repr, record))} "
                f"(test_... where there is a test set)"
            )
        value = float(record[self.monitor])
        better = math.isfinite(value) and (
            self.value is None or self.sign * value < self.sign * self.value - self.min_delta
        )
        if better:
            self.value = value
        return better


def early_stopping(
    monitor: str = "test_loss", patience: int = 5, *, min_delta: float = 0.0, mode: str | None = None
) -> Callback:
    """STOP after `patience` epochs in which `monitor` did not get better by more than min_delta."""
    best, waited = Best(monitor, mode, min_delta), 0

    def watch(record: dict[str, Any], state: Any) -> Any:
        nonlocal waited
        waited = 0 if best.improved(record) else waited + 1
        return STOP if waited >= patience else None

    return watch


class BestWeights:
    """Keeps the parameters and buffers of the best epoch: .params, .buffers (NumPy arrays), .record."""

    def __init__(self, monitor: str = "test_loss", mode: str | None = None) -> None:
        self.best = Best(monitor, mode)
        self.params: dict[str, np.ndarray] = {}
        self.buffers: dict[str, np.ndarray] = {}
        self.record: dict[str, Any] = {}

    def __call__(self, record: dict[str, Any], state: Any) -> None:
        if self.best.improved(record):
            self.params, self.buffers = jax.tree.map(np.array, on_host((state.params, state.buffers)))
            self.record = dict(record)


class AverageWeights:
    """An exponential average of the weights: average <- decay * average + (1 - decay) * params, from the first on.

    .params: the average.  Called per epoch, or per n steps by every_steps(n, AverageWeights(0.999)).
    """

    def __init__(self, decay: float = 0.999) -> None:
        if not 0 <= decay < 1:
            raise SettingError(f"AverageWeights: decay is {decay}; expected 0 up to, and below, 1")
        self.decay = decay
        self.params: Any = None

    def __call__(self, record: dict[str, Any], state: Any) -> None:
        if self.params is None:
            self.params = jax.tree.map(jnp.copy, state.params)
        else:
            self.params = jax.tree.map(lambda a, p: self.decay * a + (1 - self.decay) * p, self.params, state.params)


def checkpoints(
    folder: str | os.PathLike[str],
    *,
    every_epochs: int = 1,
    every_seconds: float | None = None,
    keep: int = 3,
    best: str | None = None,
    mode: str | None = None,
) -> Callback:
    """Writes folder/step-<n>.ckpt, keeps the last `keep` of them, and folder/best.ckpt where `best` names a figure.

    every_epochs: how many epochs pass between two; every_seconds: as many seconds at least, instead.
    One that cannot be written is a warning; the training goes on, and what was written before stays.
    """
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    tracker = Best(best, mode) if best else None
    seen, last = 0, time.monotonic()

    def write(record: dict[str, Any], state: Any) -> None:
        try:
            write_due(record, state)
        except (CheckpointError, OSError) as e:
            _not_written(e)

    def write_due(record: dict[str, Any], state: Any) -> None:
        nonlocal seen, last
        meta = {k: v for k, v in record.items() if isinstance(v, int | float)}
        takes_part = is_first() or any(map(is_split, jax.tree.leaves(state)))
        if tracker and tracker.improved(record) and takes_part:
            save(place / "best.ckpt", state, meta)
        seen += 1
        due = time.monotonic() - last >= every_seconds if every_seconds is not None else seen % every_epochs == 0
        if not largest(due):
            return
        last = time.monotonic()
        if takes_part:
            save(place / f"step-{record['step']}.ckpt", state, meta)
        if not is_first():
            return
        numbered = {int(m[1]): p for p in place.iterdir() if (m := re.fullmatch(r"step-(\d+)\.ckpt", p.name))}
        for step in sorted(numbered)[:-keep]:
            for file in (numbered[step], *parts_of(numbered[step])):
                file.unlink(missing_ok=True)

    return write


def csv_log(path: str | os.PathLike[str]) -> Callback:
    """One row per call, with the columns of the first record.  Rows that cannot be written wait, after a warning."""
    columns: list[str] = []
    log = _Log(path)

    def write(record: dict[str, Any], state: Any) -> None:
        if not is_first():
            return
        text = io.StringIO()
        first = not columns
        if first:
            columns.extend(record)
            with contextlib.suppress(OSError):
                os.truncate(path, 0)
        writer = csv.DictWriter(text, columns, extrasaction="ignore")
        if first:
            writer.writeheader()
        writer.writerow(record)
        log.append(text.getvalue())

    return write


def json_lines(path: str | os.PathLike[str]) -> Callback:
    """One JSON object per call, appended.  Those that cannot be written wait, after a warning."""
    log = _Log(path)

    def write(record: dict[str, Any], state: Any) -> None:
        log.append(json.dumps(record) + "\n")

    return write


class _Log:
    """A text file that grows; on a full disk the text waits for the next time, and the training goes on."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path, self.waiting = path, b""

    def append(self, text: str) -> None:
        if not is_first():
            return
        self.waiting += text.encode()
        try:
            with open(self.path, "ab", buffering=0) as f:
                while self.waiting:
                    self.waiting = self.waiting[f.write(self.waiting) :]
        except OSError as e:
            _not_written(e)


def _not_written(e: Exception) -> None:
    warnings.warn(f"{e}; the training goes on", UserWarning, stacklevel=4)


def tensorboard(folder: str | os.PathLike[str]) -> Callback:
    """Scalars for TensorBoard; needs the extra `tensorboard`."""
    try:
        from tensorboard.summary import Writer
    except ImportError:
        raise SettingError('tensorboard is not installed: pip install "aidgejax[tensorboard]"') from None
    writer = Writer(os.fspath(folder)) if launched()[0] == 0 else None

    def write(record: dict[str, Any], state: Any) -> None:
        if writer is None:
            return
        for name, value in record.items():
            if isinstance(value, float):
                writer.add_scalar(name, value, record["step"])
        writer.flush()

    return write


def progress(epochs: int) -> Callback:
    """A bar on stderr, one step per epoch."""
    from tqdm import tqdm

    bar = tqdm(total=epochs, unit="epoch", disable=launched()[0] > 0)

    def show(record: dict[str, Any], state: Any) -> None:
        bar.set_postfix_str(f"loss {record['loss']:.4g}")
        bar.update()
        if bar.n >= epochs:
            bar.close()

    return show
