"""Optimizer: executes optimizer_model.onnx on a module's parameters."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from onnx import ModelProto

from .....onnxio.artifacts.optimizer_model import optimizer_model, read_ort_optimizer
from .....onnxio.artifacts.ort_checkpoint import OptimizerState
from .....onnxio.artifacts.sequence_optimizer import read_sequence_optimizer
from .....passes.gradient import grad_name
from .._errors import TrainingError, WrongType
from ..onnxblock.optim.optim import rule_of
from ._runtime import is_standard, load, runner
from .module import Module


class Optimizer:
    """Updates the parameters of a module by its accumulated gradients, which it leaves as they are.

    One of ONNX Runtime's own optimizer models is rebuilt from the hyper-parameters of its nodes.  A state that was
    saved with its optimizer goes on where it was, learning rate included.
    """

    def __init__(self, optimizer_uri: str | os.PathLike, module: Module) -> None:
        if not isinstance(module, Module):
            raise WrongType(f"module must be a Module, got {type(module).__name__}")
        self._module, self._checkpoint = module, module._state
        proto = load(optimizer_uri, "optimizer model")
        if not is_standard(proto) or read_sequence_optimizer(proto) is not None:
            proto = self._rebuilt(proto, optimizer_uri)
        inputs = {i.name: i for i in proto.graph.input}
        self._parameters = [
            n for n in inputs if grad_name(n) in inputs and f"{n}_out" in {o.name for o in proto.graph.output}
        ]
        unknown = [n for n in self._parameters if n not in module._train_names.accumulated]
        if unknown or not self._parameters:
            raise TrainingError(
                f"{os.fspath(optimizer_uri)!r} updates {', '.join(map(repr, unknown)) or 'nothing'}, "
                f"which the module does not train: do they belong together?"
            )
        self._momentums = {
            n: [m for m in (f"{n}_momentum0", f"{n}_momentum1") if m in inputs] for n in self._parameters
        }
        self._masters = {n: f"{n}_master" for n in self._parameters if f"{n}_master" in inputs}
        self._kept: dict[str, np.ndarray] = {}  # the float32 weights of 16-bit parameters
        self._run = runner(proto, module._backend, module._options)
        self._init_state()

    def _rebuilt(self, proto: ModelProto, path: Any) -> ModelProto:
        found = read_sequence_optimizer(proto) or read_ort_optimizer(proto)
        if found is None:
            raise TrainingError(
                f"{os.fspath(path)!r} is no optimizer model that is known here: it has the nodes "
                f"{', '.join(sorted({n.op_type for n in proto.graph.node}))}"
            )
        names = self._module._train_names
        held = self._checkpoint._arrays
        like = {n: (names.shapes[n], held[n].dtype) for n in names.accumulated if n in self._checkpoint._trainable}
        return optimizer_model(rule_of(*found), like, opset=17)

    def _init_state(self) -> None:
        state, arrays = self._checkpoint, self._checkpoint._arrays
        kept = state._optimizer or OptimizerState()
        for n, wanted in self._momentums.items():
            held = kept.momentums.get(n, ())
            shape = self._module._train_names.shapes[n]
            if n not in kept.momentums or [m.shape for m in held[: len(wanted)]] != [shape] * len(wanted):
                kept.momentums[n] = tuple(np.zeros(shape, _wide(arrays[n].dtype)) for _ in wanted)
        state._optimizer = kept

    @property
    def _held(self) -> OptimizerState:
        """Step, rate and momenta, which a checkpoint keeps."""
        if self._checkpoint._optimizer is None:
            self._init_state()
        return self._checkpoint._optimizer or OptimizerState()

    @property
    def steps_done(self) -> int:
        """Updates made so far."""
        return self._held.step

    def step(self) -> None:
        """One update."""
        state, kept = self._checkpoint, self._held
        state._check_loaded("the optimizer", "the model parameters")
        feeds: dict[str, Any] = {
            "learning_rate": np.float32(kept.learning_rate),
            "step": np.array([kept.step + 1], np.int64),
        }
        for n in self._parameters:
            grad = state._grads.get(n)
            feeds[n] = state._arrays[n]
            feeds[grad_name(n)] = np.zeros_like(feeds[n]) if grad is None else grad
            feeds |= dict(zip(self._momentums[n], kept.momentums[n], strict=False))
            if n in self._masters:
                feeds[self._masters[n]] = self._kept.get(n, np.zeros(feeds[n].shape, np.float32))
        found = self._run(feeds)
        for n in self._parameters:
            state._arrays[n] = found[f"{n}_out"]
            kept.momentums[n] = tuple(found[f"{m}_out"] for m in self._momentums[n])
            if n in self._masters:
                self._kept[n] = found[f"{self._masters[n]}_out"]
        kept.step += 1

    def set_learning_rate(self, learning_rate: float) -> None:
        self._held.learning_rate = float(learning_rate)

    def get_learning_rate(self) -> float:
        return self._held.learning_rate


def _wide(dtype: np.dtype) -> np.dtype:
    """In which momentum is kept: float32, or float64."""
    return np.dtype(np.float64 if dtype == np.float64 else np.float32)
