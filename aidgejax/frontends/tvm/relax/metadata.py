"""Constants that are too large to stand in the text of a program."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from ....dtypes import DTYPES
from ..errors import ScriptError
from .expr import Constant


class Metadata:
    """Arrays as they are written above a program."""

    def __init__(self) -> None:
        self.arrays: list[dict[str, Any]] = []

    def add(self, array: np.ndarray) -> str:
        """Keep an array; the expression by which the program takes it."""
        data = np.ascontiguousarray(array)
        entry = {"dtype": data.dtype.name, "shape": list(array.shape)}
        self.arrays.append(entry | {"data": base64.b64encode(data.tobytes()).decode()})
        return f'metadata["relax.expr.Constant"][{len(self.arrays) - 1}]'

    def __str__(self) -> str:
        if not self.arrays:
            return ""
        return f"metadata = tvm.ir.load_json({json.dumps(json.dumps({'relax.expr.Constant': self.arrays}))})\n\n"


def load_json(json_str: str) -> Any:
    """tvm.ir.load_json of the constants that `script()` writes: {"relax.expr.Constant": [Constant, ...]}."""
    try:
        return {k: [Constant(_array(e)) for e in entries] for k, entries in json.loads(json_str).items()}
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        raise ScriptError(f"load_json: this is not what script() writes: {e}") from None


def _array(entry: Mapping[str, Any]) -> np.ndarray:
    data = base64.b64decode(entry["data"])
    return np.frombuffer(data, DTYPES[entry["dtype"]]).reshape(entry["shape"]).copy()
