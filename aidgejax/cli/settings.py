"""The settings of `train`: from its arguments, else from another run, else the defaults."""

from __future__ import annotations

import argparse
import hashlib
from typing import Any

from ..errors import SettingError
from ..training.rows_in_file import RowsInFile
from .run_folder import read_settings

DEFAULTS: dict[str, Any] = {
    "model": None,
    "data": None,
    "loss": None,
    "output": [],
    "label_smoothing": None,
    "ignore_index": None,
    "class_weights": [],
    "layout": "NCHW",
    "batch": None,
    "float_weights": False,
    "momentum_of_statistics": None,
    "inputs": [],
    "outputs": [],
    "parameters": [],
    "constants": [],
    "shapes": [],
    "optimizer": "adam",
    "lr": 0.003,
    "momentum": None,
    "weight_decay": None,
    "setting": [],
    "schedule": "cosine",
    "warmup": 0,
    "clip_norm": None,
    "clip_value": None,
    "epochs": 30,
    "batch_size": 32,
    "accumulate": 1,
    "last": "drop",
    "seed": 0,
    "on_nonfinite": "raise",
    "device": "auto",
    "devices": None,
    "sharded": False,
    "backend": "jax",
    "precision": "float32",
}
RESUMABLE = ("epochs", "device", "devices", "sharded", "cache", "rescue")  # what may change when a run goes on


def resolved(args: argparse.Namespace) -> argparse.Namespace:
    """The arguments with what they leave open filled in.  Raises SettingError for what does not go together."""
    given = {k: v for k, v in vars(args).items() if k not in ("run", "command") and v not in (None, [], False)}
    base = dict(DEFAULTS)
    if args.resume:
        other = sorted(k for k in given if k not in (*RESUMABLE, "resume"))
        if other:
            named = ", ".join("--" + k.replace("_", "-") for k in other)
            raise SettingError(
                f"--resume goes on with the settings of the run, but {named} was given too; beside it there may be "
                f"--{', --'.join(RESUMABLE)}"
            )
        base |= _known(read_settings(args.resume), args.resume)
    elif args.config:
        base |= _known(read_settings(args.config), args.config)
    return argparse.Namespace(**(vars(args) | base | given))


def _known(found: dict[str, Any], path: str) -> dict[str, Any]:
    settings = {k: v for k, v in found.items() if k in DEFAULTS}
    if isinstance(settings.get("output"), str):  # as it was noted while there was one
        settings["output"] = [settings["output"]]
    for k, v in settings.items():
        usual = DEFAULTS[k]
        fits = (int, float) if isinstance(usual, float) else type(usual) if usual is not None else (str, int, float)
        if v is not None and (not isinstance(v, fits) or isinstance(v, bool) != isinstance(usual, bool)):
            raise SettingError(f"{path!r}: setting {k!r} is {v!r}; expected a {type(usual).__name__}")
    return settings


def fingerprint(columns: dict[str, Any]) -> str:
    """A digest of the data's names, dtypes, shapes and bytes."""
    digest = hashlib.sha256()
    for name in sorted(columns):
        a = columns[name]
        digest.update(f"{name}:{a.dtype}{a.shape}".encode())
        for part in a.blocks() if isinstance(a, RowsInFile) else (a,):
            digest.update(part.tobytes())
    return digest.hexdigest()
