"""onnxruntime, as far as training goes: `from aidgejax.frontends.onnxruntime.training import artifacts`.

Everything else (InferenceSession, OrtValue, SessionOptions ...) is the installed onnxruntime's own.
"""

from __future__ import annotations

from typing import Any

from .._shared.absent_modules import refuse_modules
from .._shared.absent_names import absent_name
from .._shared.original_names import refuse_original_names
from . import training
from ._original_names import NAMES, WHY

refuse_original_names(__name__, NAMES, WHY)
refuse_modules(
    __name__,
    {m: f"import the installed onnxruntime's: onnxruntime.{m}" for m in ("backend", "capi", "quantization", "tools")},
)


def __getattr__(name: str) -> Any:
    known = {}
    if not name.startswith("__"):
        try:
            import onnxruntime
        except ImportError:
            known[name] = "inference is onnxruntime's own, which is not installed: pip install onnxruntime"
        else:
            if hasattr(onnxruntime, name):
                return getattr(onnxruntime, name)
    raise absent_name(__name__, name, known)


__all__ = ["training"]
