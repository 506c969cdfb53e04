"""The model that blocks work on: one at a time, for as long as a `with` lasts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import onnx
from onnx import ModelProto, helper

from .....onnxio.artifacts.generate import RUNTIMES
from .....onnxio.artifacts.model_builder import ModelBuilder
from .....onnxio.exporter.writer import IR_OF_OPSET
from .....onnxio.schemas import NEWEST_OPSET
from .._errors import OutsideOfBase, TrainingError

DEFAULT_OPSET = 17


class ModelAccessor(ModelBuilder):
    """model: what blocks change; path: where it was read from, if it was; runtime: who will train with what is made."""

    runtime = "standard"


_current: ModelAccessor | None = None
_library: str | None = None


def accessor() -> ModelAccessor:
    if _current is None:
        raise OutsideOfBase(
            "a block works on a model, and there is none: call it inside `with onnxblock.base(model):` "
            "or `with onnxblock.empty_base():`"
        )
    return _current


def library() -> str | None:
    """The custom op library that was named, if one was."""
    return _library


def check_runtime(runtime: str) -> None:
    """Refuse what is no runtime that artifacts are written for."""
    if runtime not in RUNTIMES:
        raise TrainingError(f"runtime is {runtime!r}; expected one of {', '.join(map(repr, RUNTIMES))}")


@contextmanager
def base(model: ModelProto, model_path: str | None = None, *, runtime: str = "standard") -> Iterator[ModelAccessor]:
    """Blocks called inside work on a copy of `model`.  model_path: its file, if it is too large for a message.

    runtime: not ONNX Runtime's, as of generate_artifacts: what a TrainingBlock and an optimizer are written for.
    """
    if model is None:
        raise TrainingError("Base onnx model cannot be None: give a ModelProto, or use onnxblock.empty_base()")
    if not isinstance(model, ModelProto):
        raise TrainingError(f"onnxblock.base takes an onnx.ModelProto, got {type(model).__name__}")
    copy = ModelProto()
    copy.CopyFrom(model)
    with _opened(ModelAccessor(copy, None if model_path is None else os.fspath(model_path)), runtime) as opened:
        yield opened


@contextmanager
def empty_base(opset_version: int | None = None, *, runtime: str = "standard") -> Iterator[ModelAccessor]:
    """Blocks called inside build a model from nothing.

    opset_version: default 17, which every onnxruntime since 1.12 reads.  runtime: as of `base`.
    """
    opset = DEFAULT_OPSET if opset_version is None else opset_version
    if not isinstance(opset, int) or not 7 <= opset <= NEWEST_OPSET:
        raise TrainingError(
            f"opset_version is {opset!r}; expected 7 to {NEWEST_OPSET}, the newest that the installed "
            f"onnx {onnx.__version__} knows"
        )
    model = helper.make_model(
        helper.make_graph([], "model", [], []),
        opset_imports=[helper.make_opsetid("", opset)],
        ir_version=next(ir for top, ir in IR_OF_OPSET if opset <= top),
        producer_name="aidgejax",
    )
    with _opened(ModelAccessor(model), runtime) as opened:
        yield opened


@contextmanager
def _opened(new: ModelAccessor, runtime: str) -> Iterator[ModelAccessor]:
    global _current
    check_runtime(runtime)
    new.runtime = runtime
    if _current is not None:
        raise TrainingError(
            "Base onnx model already exists. Cannot create multiple ModelAccessors: leave the first "
            "`with onnxblock.base(...)` before the second"
        )
    _current = new
    try:
        yield new
    finally:
        _current = None


@contextmanager
def custom_op_library(custom_op_library_path: str) -> Iterator[str]:
    """Models built inside may hold nodes of the domains of this library."""
    global _library
    path = os.fspath(custom_op_library_path)
    if not os.path.exists(path):
        raise TrainingError(f"Custom op library path {path} does not exist.")
    before, _library = _library, path
    try:
        yield path
    finally:
        _library = before
