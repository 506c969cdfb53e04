"""What `train` leaves behind."""

from __future__ import annotations

import csv
import json
import os
from typing import Any

import jax

from .. import onnxio
from ..errors import SettingError
from ..graph import Graph
from ..training.loop import TrainState
from .plot import plot


def claim(out: str) -> None:
    """Make the folder; SettingError where it cannot be written to."""
    try:
        os.makedirs(out, exist_ok=True)
        probe = os.path.join(out, ".writable")
        with open(probe, "w"):
            pass
        os.unlink(probe)
    except OSError as e:
        raise SettingError(f"cannot write the run folder {out!r}: {e.strerror or e}") from None


def write(out: str, graph: Graph, settings: dict[str, Any], state: TrainState, history: list[dict[str, Any]]) -> None:
    """model.onnx (the graph with the trained weights), history.csv, settings.json and history.png."""
    params, buffers = jax.device_get((state.params, state.buffers))
    onnxio.write(graph, params, os.path.join(out, "model.onnx"), buffers=buffers)
    columns = list(dict.fromkeys(k for r in history for k in r))
    with open(os.path.join(out, "history.csv"), "w", newline="") as f:
        writer = csv.DictWriter(f, columns)
        writer.writeheader()
        writer.writerows({k: f"{v:.7g}" if isinstance(v, float) else v for k, v in r.items()} for r in history)
    with open(os.path.join(out, "settings.json"), "w") as f:
        json.dump(settings | {"jax": jax.__version__, "device_kind": jax.devices()[0].device_kind}, f, indent=1)
    try:
        plot(history, os.path.join(out, "history.png"))
    except ImportError:
        print('history.png not written: matplotlib is missing; pip install "aidgejax[examples]" brings it')
