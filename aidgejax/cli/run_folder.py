"""The folder of a run: complete from its first second, each file replaced in one go.

settings.json   what was really used; `train --config` repeats it, `train --resume` goes on with it
history.csv     one row per update: only what the seed decides      times.csv   seconds and rows/s per epoch
last.ckpt       the state to go on from      best.ckpt   that of the best epoch
model.onnx      the weights of last.ckpt     best.onnx   those of best.ckpt      history.png   the picture, at the end
report.html     graph, gradient, history, settings and confusion as one page, at the end
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import shutil
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from .. import onnxio
from ..errors import AidgeJaxError, CheckpointError, SettingError, about
from ..files import write_atomically
from ..graph import Graph
from ..training import checkpoint
from ..training.callbacks import Best
from ..training.data import Dataset
from ..training.guard import all_finite
from ..training.loop import TrainState
from ..training.pieces import is_split
from ..training.placed_arrays import into_file, on_first_host, on_host
from ..training.processes import is_first, largest
from ..training.pytrees import copied
from .plot import plot
from .report import FILE, report

SETTINGS, LAST, BEST = "settings.json", "last.ckpt", "best.ckpt"
FILES = (SETTINGS, LAST, BEST, "history.csv", "times.csv", "model.onnx", "best.onnx", "history.png", FILE)
LARGE = 1 << 30  # bytes of arrays that several processes hold together: above, checkpoints are written in parts
SECONDS = 2.0  # between two saves, so that short epochs do not wait for the disk


def claim(out: str | None, force: bool) -> str:
    """A folder for a new run: `out`, which must be empty or new unless force, or a new one under runs/.

    Raises SettingError for a folder that holds something, or cannot be written to.
    """
    try:
        if out is None:
            stem = os.path.join("runs", time.strftime("%Y%m%d-%H%M%S"))
            os.makedirs("runs", exist_ok=True)
            for k in range(1, 1000):
                out = stem if k == 1 else f"{stem}-{k}"
                try:
                    os.mkdir(out)
                    return out
                except FileExistsError:
                    continue
            raise SettingError(f"there are a thousand runs named {stem!r}; give --out FOLDER")
        os.makedirs(out, exist_ok=True)
        held = sorted(os.listdir(out))
        if held and not force:
            raise about(
                "run-folder",
                SettingError(
                    f"the folder {out!r} holds {', '.join(held[:4])}{' and more' * (len(held) > 4)}: give another "
                    f"--out, go on with `train --resume {out}`, or take it with --force"
                ),
            )
        for name in FILES:
            for part in checkpoint.parts_of(Path(out, name)):
                part.unlink(missing_ok=True)
            Path(out, name).unlink(missing_ok=True)
        probe = os.path.join(out, ".writable")
        with open(probe, "w"):
            pass
        os.unlink(probe)
        return out
    except OSError as e:
        raise SettingError(f"cannot write the run folder {out!r}: {e.strerror or e}") from None


def read_settings(path: str) -> dict[str, Any]:
    """The settings of a run, from its folder or from the file itself.  Raises SettingError."""
    file = os.path.join(path, SETTINGS) if os.path.isdir(path) else path
    try:
        with open(file) as f:
            found = json.load(f)
    except (OSError, ValueError, RecursionError) as e:
        why = "there is no such file" if isinstance(e, FileNotFoundError) else e
        raise SettingError(
            f"{file!r} holds no settings of a run: {why}; give a folder that `train --out` made, or its {SETTINGS}"
        ) from None
    if not isinstance(found, dict):
        raise SettingError(f"{file!r} holds no settings of a run: a {type(found).__name__}, expected an object")
    return found


def updates_made(path: str) -> int:
    """The updates of a run up to its last.ckpt; -1 where there is none that can be read."""
    try:
        return int(checkpoint.describe(os.path.join(path, LAST))["meta"]["step"])
    except (AidgeJaxError, OSError, KeyError, TypeError, ValueError):
        return -1


def _finite(params: dict[str, Any]) -> bool:
    """Whether all numbers are; of several processes each has to ask."""
    if any(map(is_split, params.values())):
        return bool(jax.jit(all_finite)(params))
    return all(np.isfinite(a).all() for a in on_host(params).values())


def _is_large(state: TrainState) -> bool:
    """Whether no host is to hold all of it."""
    return sum(x.nbytes for x in jax.tree.leaves(state) if is_split(x)) > LARGE


def _weights(state: TrainState, folder: str) -> tuple[tuple[Any, Any], OSError | None]:
    """((parameters, buffers), what failed), in the first process; all take part.  Of a large state they are mapped."""
    arrays = state.params, state.buffers
    return into_file(arrays, folder) if _is_large(state) else (on_first_host(arrays), None)


def _say(what: str) -> None:
    """One line on stderr, which may be a file on the disk that is full."""
    with contextlib.suppress(OSError):
        print(" ".join(what.split()), file=sys.stderr)


class RunFolder:
    """Writes a run, epoch by epoch.

    model: the graph as it was read, without the loss.  into: the graph that is written with its arrays, if another.
    """

    def __init__(
        self,
        path: str,
        model: Graph,
        settings: dict[str, Any],
        columns: list[str],
        monitor: str,
        into: Graph | None = None,
    ) -> None:
        self.path, self.model, self.settings, self.columns = path, model, settings, columns
        self._into = model if into is None else into
        self.best = Best(monitor)
        self.lines: list[str] = []
        self.failed: str | None = None
        self._times = ""
        self._best: tuple[TrainState, dict[str, Any]] | None = None
        self._saved = -SECONDS

    def begin(self, state: TrainState) -> None:
        """Everything but a result: settings, the first state, the model with its first weights."""
        self._write(state, self.path)

    def resume(self, like: TrainState) -> TrainState:
        """The state of last.ckpt, or `like` where there is none; the history up to it.

        A changed environment is named on stderr.  Raises CheckpointError where the file fits another model.
        """
        file = os.path.join(self.path, LAST)
        if not os.path.exists(file):
            return like
        with warnings.catch_warnings(record=True) as noted:
            warnings.simplefilter("always")
            state = checkpoint.load(file, like=like)
            meta = checkpoint.describe(file)["meta"]
        for warning in noted:
            _say(f"note: {warning.message}")
        self.best.value = meta.get("best")
        rows = self._read("history.csv")
        if rows and rows[0] != ",".join(self.columns):
            raise CheckpointError(f"history.csv of {self.path!r} has other columns than this run writes")
        self.lines = [r for r in rows[1:] if r.split(",")[0].isdigit() and int(r.split(",")[0]) <= int(state.step)]
        if len(self.lines) != int(state.step):
            raise CheckpointError(
                f"history.csv of {self.path!r} has {len(self.lines)} rows up to step {int(state.step)} of {LAST}"
            )
        self._times = "\n".join(self._read("times.csv"))
        return state

    def _read(self, name: str) -> list[str]:
        try:
            return Path(self.path, name).read_text().splitlines()
        except FileNotFoundError:
            return []

    def add(self, records: list[dict[str, Any]]) -> None:
        """Records of updates, for history.csv."""
        text = io.StringIO()
        writer = csv.DictWriter(text, self.columns, restval="", extrasaction="ignore", lineterminator="\n")
        writer.writerows({k: f"{v:.7g}" if isinstance(v, float) else v for k, v in r.items()} for r in records)
        self.lines += text.getvalue().splitlines()

    def epoch(self, record: dict[str, Any], state: TrainState) -> None:
        """The end of an epoch: is it the best, how long did it take?"""
        self._times += f"{record['epoch']},{record['seconds']:.4f},{record['rows'] / record['seconds']:.1f}\n"
        if self.best.improved(record):
            self._best = copied(state), {k: v for k, v in record.items() if k in self.columns}

    def save(self, state: TrainState, *, now: bool = False) -> bool:
        """Write the files, if the last time is some seconds ago, or `now`; False where it failed, after one line."""
        if not largest(now or time.monotonic() - self._saved >= SECONDS):
            return True
        self._saved = time.monotonic()
        if not _finite(state.params):
            _say("not saved: the weights are not finite; the last good files stay")
            return False
        try:
            self._write(state, self.path)
            self.failed = None
        except (OSError, AidgeJaxError) as e:
            before, reason = self.failed, getattr(e, "strerror", None) or str(e)
            self.failed = f"cannot save to {self.path!r}: {reason}; the last good files stay as they are"
            if not before:  # once, however many epochs the disk stays full
                _say(self.failed)
        return self.failed is None

    def rescue(self, where: str, state: TrainState) -> None:
        """All of it into another folder; one line says that it is there, or why not."""
        try:
            where = claim(where, force=True) if is_first() else where
            if self._best is None and is_first():
                here = Path(self.path)
                for file in (here / BEST, here / "best.onnx", *checkpoint.parts_of(here / BEST)):
                    if file.exists():
                        shutil.copyfile(file, Path(where, file.name))
            self._write(state, where)
            print(f"saved to {where!r} instead")
        except (OSError, AidgeJaxError) as e:
            _say(f"cannot save to {where!r} either: {getattr(e, 'strerror', None) or e}")

    def _write(self, state: TrainState, path: str) -> None:
        """All files, in the order in which a kill between any two leaves a folder to resume from.

        Of several processes the first writes, and all take part in bringing the arrays together; a state that is LARGE
        is not: each writes its own part of the checkpoints.  None raises before all know that one has failed.
        """
        problem: Exception | None = None

        def attempt(write: Callable[[], None]) -> None:
            nonlocal problem
            if largest(problem is not None):
                return
            try:
                write()
            except (OSError, AidgeJaxError) as e:
                problem = e

        def text(name: str, content: str) -> None:
            if is_first():
                write_atomically(content.encode(), os.path.join(path, name))

        def keep(states: str, models: str, state: TrainState, meta: dict[str, Any]) -> None:
            nonlocal problem
            held = state if in_parts else on_first_host(state)

            def states_file() -> None:
                if in_parts or is_first():
                    checkpoint.save(os.path.join(path, states), held, meta)
                    if not in_parts:
                        for old in checkpoint.parts_of(os.path.join(path, states)):
                            old.unlink(missing_ok=True)

            attempt(states_file)
            (params, buffers), failed = _weights(held, path)
            problem = problem or failed
            attempt(lambda: self._write_model(params, buffers, os.path.join(path, models)) if is_first() else None)

        in_parts = _is_large(state)
        attempt(lambda: text(SETTINGS, json.dumps(self.settings, indent=1) + "\n"))
        if self._best is not None:
            keep(BEST, "best.onnx", *self._best)
        attempt(lambda: text("history.csv", "\n".join([",".join(self.columns), *self.lines, ""])))
        attempt(lambda: text("times.csv", self._times) if self._times else None)
        keep(LAST, "model.onnx", state, {"best": self.best.value, "step": int(state.step)})
        if largest(problem is not None):
            raise problem or CheckpointError("another process could not write")
        if path == self.path:
            self._best = None

    def _write_model(self, params: Any, buffers: Any, path: str) -> None:
        onnxio.write(self._into, params, path, buffers=buffers)

    def picture(self) -> None:
        """history.png, where matplotlib is installed."""
        if not is_first():
            return
        rows = csv.DictReader([",".join(self.columns), *self.lines])
        history = [{k: float(v) for k, v in r.items() if v} for r in rows]
        try:
            if history:
                write_atomically(plot(history), os.path.join(self.path, "history.png"))
        except ImportError:
            print('history.png not written: matplotlib is missing; pip install "aidgejax[examples]" brings it')
        except OSError as e:
            _say(f"history.png not written: {e.strerror or e}")

    def report(self, state: TrainState, prediction: str, test: Dataset) -> None:
        """report.html, with the weights of `state`; prediction: the output that is scored on the test rows."""
        (params, buffers), failed = _weights(state, self.path)
        if not is_first():
            return
        try:
            if failed:
                raise failed
            model = self.model.with_params(dict(params), dict(buffers))
            page = report(model, self.settings, self.columns, self.lines, prediction, test)
            write_atomically(page.encode(), os.path.join(self.path, FILE))
        except (OSError, AidgeJaxError) as e:
            _say(f"{FILE} not written: {getattr(e, 'strerror', None) or e}")
