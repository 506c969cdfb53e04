"""Module: a training and an evaluation model that share a state."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, numpy_helper

from .....dtypes import ONNX_NAMES
from .....errors import AidgeJaxError, BackendError
from .....execution.devices import device as device_of
from .....files import write_atomically
from .....onnxio.artifacts.training_model import (
    RESET,
    accumulated_name,
    buffer_name,
    training_model,
    updated_name,
)
from .._errors import NoDevice, NoFile, TrainingError, WrongType
from ._runtime import Runner, inference_model, is_ortvalue, is_standard, load, ortvalue, runner, with_constants
from .checkpoint_state import CheckpointState


class Module:
    """Computes losses and accumulates gradients.

    train_model_uri: training_model.onnx.  One of ONNX Runtime's own is rebuilt from its evaluation model and the state.
    eval_model_uri: eval_model.onnx, for eval mode and for export.
    backend: "jax", or "onnxruntime", the plain one.
    device: "cpu", or "cuda" ("cuda:0"), refused where there is none; a call runs where JAX puts it.
    """

    training: bool

    def __init__(
        self,
        train_model_uri: str | os.PathLike,
        state: CheckpointState,
        eval_model_uri: str | os.PathLike | None = None,
        device: str = "cpu",
        session_options: Any = None,
        *,
        backend: str = "jax",
    ) -> None:
        if not isinstance(state, CheckpointState):
            raise WrongType(f"state must be a CheckpointState, got {type(state).__name__}")
        _check_device(device, backend)
        self._state, self._backend, self._options = state, backend, session_options
        self._eval_model = None if eval_model_uri is None else load(eval_model_uri, "evaluation model")
        self._train_model = load(train_model_uri, "training model")
        if not is_standard(self._train_model) and _has_training_nodes(self._train_model):
            self._train_model = self._rebuilt(self._train_model, train_model_uri)
        self._check_state(self._train_model, train_model_uri)
        self._runners: dict[bool, Runner] = {}
        self._train_names = _Names(self._train_model, state)
        self._eval_names = None if self._eval_model is None else _Names(self._eval_model, state)
        self.training, self._reset = True, True

    # ---- calling ----------------------------------------------------------------------------------------

    def __call__(self, *user_inputs: Any) -> Any:
        """The outputs for these inputs; in training mode the gradients are accumulated as well."""
        self._state._check_loaded("the module", "the model parameters")
        names = self._names()
        if len(user_inputs) != len(names.inputs):
            raise TrainingError(
                f"the module takes {len(names.inputs)} inputs in {self._mode} mode, "
                f"{', '.join(map(repr, names.inputs))}; got {len(user_inputs)}"
            )
        feeds = {n: names.checked(n, a) for n, a in zip(names.inputs, user_inputs, strict=True)}
        feeds |= {n: self._state._arrays[n] for n in names.parameters}
        if self.training:
            feeds |= self._buffers(names, feeds)
        try:
            found = self._runner()(feeds)
        except TrainingError:
            raise
        except AidgeJaxError as e:
            raise TrainingError(str(e)) from None
        if self.training:
            self._state._grads = {p: found[accumulated_name(p)] for p in names.accumulated}
            self._state._arrays |= {b: found[updated_name(b)] for b in names.updated}
            self._reset = False
        outputs = [np.asarray(found[o]) for o in names.outputs]
        if any(is_ortvalue(a) for a in user_inputs):
            outputs = [ortvalue(a) for a in outputs]
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    def _buffers(self, names: _Names, feeds: dict[str, Any]) -> dict[str, Any]:
        """What the gradients are added to."""
        given = {}
        for p in names.accumulated:
            held = self._state._grads.get(p)
            given[buffer_name(p)] = (
                held if held is not None and held.shape == feeds[p].shape else np.zeros(feeds[p].shape, feeds[p].dtype)
            )
        return given | {RESET: np.array([self._reset])}

    def train(self, mode: bool = True) -> Module:
        """Go into training mode, or with False into eval mode."""
        self.training = bool(mode)
        return self

    def eval(self) -> Module:
        """Go into eval mode."""
        return self.train(False)

    def lazy_reset_grad(self) -> None:
        """Let the next training call start from zero gradients."""
        self._reset = True

    @property
    def _mode(self) -> str:
        return "training" if self.training else "eval"

    def _names(self) -> _Names:
        if self.training:
            return self._train_names
        if self._eval_names is None:
            raise TrainingError("the module is in eval mode and has no evaluation model: give eval_model_uri")
        return self._eval_names

    def _runner(self) -> Runner:
        if self.training not in self._runners:
            model = self._train_model if self.training else self._eval_model
            if model is None:
                raise TrainingError("the module is in eval mode and has no evaluation model: give eval_model_uri")
            fixed = {n: np.asarray(a) for n, a in self._state._arrays.items() if np.dtype(a.dtype).kind in "iub"}
            self._runners[self.training] = runner(
                with_constants(model, fixed) if self._backend == "jax" else model, self._backend, self._options
            )
        return self._runners[self.training]

    def input_names(self) -> list[str]:
        """What a call takes, in this order."""
        return list(self._names().inputs)

    def output_names(self) -> list[str]:
        """What a call returns, in this order."""
        return list(self._names().outputs)

    # ---- parameters -------------------------------------------------------------------------------------

    def _chosen(self, trainable_only: bool) -> list[str]:
        state = self._state
        return [n for n in self._train_names.parameters if not trainable_only or n in state._trainable]

    def get_parameters_size(self, trainable_only: bool = True) -> int:
        """How many numbers the parameters hold."""
        return sum(int(np.prod(self._train_names.shapes[n])) for n in self._chosen(trainable_only))

    def get_contiguous_parameters(self, trainable_only: bool = False) -> Any:
        """All parameters as one vector, in the order of the training model's inputs: an OrtValue, as ONNX Runtime
        has it; a NumPy array where onnxruntime is not installed."""
        self._state._check_loaded("the module", "the model parameters")
        parts = [np.ravel(self._state._arrays[n]) for n in self._chosen(trainable_only)]
        return ortvalue(np.concatenate(parts) if parts else np.zeros(0, np.float32))

    def copy_buffer_to_parameters(self, buffer: Any, trainable_only: bool = True) -> None:
        """The inverse of get_contiguous_parameters."""
        vector, chosen = np.ravel(_array(buffer)), self._chosen(trainable_only)
        if self._state._nominal and trainable_only:
            raise TrainingError(
                "For nominal checkpoint state, all parameters need to be loaded into the model (trainable_only = False)"
            )
        if vector.size != self.get_parameters_size(trainable_only):
            raise TrainingError(
                f"the buffer holds {vector.size} numbers, and the parameters {self.get_parameters_size(trainable_only)}"
            )
        at = 0
        for n in chosen:
            shape, old = self._train_names.shapes[n], self._state._arrays[n]
            size = int(np.prod(shape))
            self._state._arrays[n] = vector[at : at + size].reshape(shape).astype(old.dtype)
            at += size
        if len(chosen) == len(self._state._arrays):
            self._state._nominal = False

    def export_model_for_inferencing(
        self, inference_model_uri: str | os.PathLike, graph_output_names: Sequence[str]
    ) -> None:
        """Write the part of the evaluation model that computes these outputs, with the present parameters."""
        self._state._check_loaded("the module", "the model parameters")
        if self._eval_model is None:
            raise TrainingError(
                "a model for inferencing is made from the evaluation model, and the module has none: "
                "give eval_model_uri"
            )
        path = os.path.abspath(os.fspath(inference_model_uri))
        if not os.path.isdir(os.path.dirname(path)):
            raise NoFile(f"cannot write {path!r}: there is no folder {os.path.dirname(path)!r}")
        arrays = {n: np.asarray(a) for n, a in self._state._arrays.items()}
        model = inference_model(self._eval_model, graph_output_names, arrays)
        onnx.checker.check_model(model, full_check=is_standard(model))
        write_atomically(model.SerializeToString(), path)

    # ---- what the files say -----------------------------------------------------------------------------

    def _rebuilt(self, training: ModelProto, path: Any) -> ModelProto:
        """ONNX Runtime's own training model again, from the evaluation model: its gradient nodes are private."""
        odd = sorted(
            {
                f"{n.domain or 'ai.onnx'}::{n.op_type}"
                for n in training.graph.node
                if n.domain not in ("", "ai.onnx") or not onnx.defs.has(n.op_type)
            }
        )
        if self._eval_model is None:
            raise TrainingError(
                f"{os.fspath(path)!r} holds private nodes of ONNX Runtime's training build "
                f"({', '.join(odd[:4])}{', ...' if len(odd) > 4 else ''}); it can be rebuilt from its "
                f"evaluation model: give eval_model_uri"
            )
        self._state._check_loaded("the module", "the model parameters")
        state = self._state
        base = with_constants(self._eval_model, {n: np.asarray(a) for n, a in state._arrays.items()})
        _restore_dropout(base, training)
        inputs = {i.name for i in training.graph.input}
        loss, *extra = [o.name for o in self._eval_model.graph.output]
        trainable = [n for n in state._arrays if n in state._trainable and buffer_name(n) in inputs]
        frozen = [n for n in state._arrays if n not in trainable and n in inputs]
        try:
            return training_model(base, loss, trainable, frozen, extra)
        except AidgeJaxError as e:
            raise TrainingError(f"{os.fspath(path)!r} cannot be rebuilt from its evaluation model: {e}") from None

    def _check_state(self, model: ModelProto, path: Any) -> None:
        inputs = {i.name for i in model.graph.input}
        unknown = [n for n in self._state._arrays if n not in inputs]
        if unknown:
            raise TrainingError(
                f"the state holds {', '.join(map(repr, unknown[:5]))}, which {os.fspath(path)!r} does "
                f"not take: do they belong together?"
            )


class _Names:
    """Which of a model's inputs and outputs are the user's, and which are its parameters'."""

    def __init__(self, model: ModelProto, state: CheckpointState) -> None:
        names = [i.name for i in model.graph.input]
        outputs = [o.name for o in model.graph.output]
        self.parameters = [n for n in names if n in state._arrays]
        self.accumulated = [n for n in names if accumulated_name(n) in outputs and buffer_name(n) in names]
        self.updated = [n for n in self.parameters if updated_name(n) in outputs]
        ours = {*self.parameters, *map(buffer_name, self.accumulated), RESET}
        self.inputs = [n for n in names if n not in ours]
        ours = {*map(accumulated_name, self.accumulated), *map(updated_name, self.updated)}
        self.outputs = [o for o in outputs if o not in ours]
        self.shapes = {
            i.name: tuple(d.dim_value for d in i.type.tensor_type.shape.dim)
            for i in model.graph.input
            if i.name in state._arrays
        }
        self.dtypes = {i.name: ONNX_NAMES.get(i.type.tensor_type.elem_type) for i in model.graph.input}

    def checked(self, name: str, value: Any) -> Any:
        """The array for an input, integers in the declared width.  TrainingError where it is of another kind.

        Lists and numbers of Python have no dtype, and take the declared one.
        """
        declared = self.dtypes.get(name)
        if isinstance(value, list | tuple | int | float) and declared is not None:
            try:
                value = np.asarray(value, declared)
            except (TypeError, ValueError) as e:
                raise TrainingError(f"Unexpected input data for {name!r}, expected: {declared}: {e}") from None
        array = _array(value)
        got = str(array.dtype)
        if declared in (None, got) or array.dtype.kind not in "fiub":
            return array
        if declared.startswith(("int", "uint")) and array.dtype.kind in "iu":
            return array.astype(declared)
        raise TrainingError(
            f"Unexpected input data type for {name!r}. Actual: {got}, expected: {declared}; "
            f"use {name}.astype({declared!r})"
        )


def _check_device(device: Any, backend: str) -> None:
    """Refuse a device that is not there, as ONNX Runtime does; None where it is."""
    if backend == "onnxruntime" and device != "cpu":
        raise NoDevice(f"device is {device!r}; with backend='onnxruntime' it is 'cpu'")
    try:
        device_of(str(device).partition(":")[0])
    except BackendError as e:
        raise NoDevice(f"device is {device!r}: {e}") from None


def _has_training_nodes(model: ModelProto) -> bool:
    return any(n.domain == "com.microsoft" or n.domain == "" and not onnx.defs.has(n.op_type) for n in model.graph.node)


def _restore_dropout(base: ModelProto, training: ModelProto) -> None:
    """An evaluation model's Dropout does nothing; where the training model's does, so does the rebuilt one's."""
    active = {
        o
        for n in training.graph.node
        if n.op_type in ("Dropout", "BitmaskDropout", "BiasDropout") and len(n.input) > 2 and n.input[2]
        for o in n.output[:1]
    }
    for node in base.graph.node:
        if node.op_type == "Dropout" and node.output[0] in active:
            name = f"{node.output[0]}.training_mode"
            base.graph.initializer.append(numpy_helper.from_array(np.array(True), name))
            inputs = [*node.input, ""][:2]
            del node.input[:]
            node.input.extend([*inputs, name])


def _array(value: Any) -> Any:
    """NumPy of what came: an array, or an OrtValue."""
    if isinstance(value, np.ndarray):
        return value
    return value.numpy() if hasattr(value, "numpy") else np.asarray(value)
