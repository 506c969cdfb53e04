"""CheckpointState: the parameters, their gradients, what the optimizer keeps, and properties of the user's."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from .....errors import AidgeJaxError
from .....onnxio.artifacts.ort_checkpoint import (
    OptimizerState,
    OrtCheckpoint,
    read_checkpoint,
    write_checkpoint,
)
from .._errors import NoFile, TrainingError, UnknownParameter, WrongType


class Parameter:
    """One parameter: name, data, grad (None where it is frozen), requires_grad."""

    def __init__(self, state: CheckpointState, name: str) -> None:
        self._state, self._name = state, name

    @property
    def name(self) -> str:
        return self._name

    @property
    def requires_grad(self) -> bool:
        return self._name in self._state._trainable

    @property
    def data(self) -> np.ndarray:
        """A writable array that the next step reads; a step puts another one in its place."""
        self._state._check_loaded(f"parameter {self._name!r}")
        array = self._state._arrays[self._name]
        if not (isinstance(array, np.ndarray) and array.flags.writeable):
            array = self._state._arrays[self._name] = np.array(array)
        return array

    @data.setter
    def data(self, value: Any) -> None:
        self._state._check_loaded(f"parameter {self._name!r}")
        old, new = self._state._arrays[self._name], np.asarray(value)
        if new.shape != old.shape or new.dtype != np.dtype(old.dtype):
            raise TrainingError(
                f"parameter {self._name!r} is {np.dtype(old.dtype).name}{list(old.shape)}, got "
                f"{new.dtype.name}{list(new.shape)}"
            )
        self._state._arrays[self._name] = np.array(new)

    @property
    def grad(self) -> np.ndarray | None:
        """What has been accumulated since the last reset."""
        if not self.requires_grad:
            return None
        self._state._check_loaded(f"the gradient of {self._name!r}")
        found = self._state._grads.get(self._name)
        return np.zeros_like(self._state._arrays[self._name]) if found is None else np.asarray(found)

    def __repr__(self) -> str:
        array = self._state._arrays[self._name]
        return (
            f"Parameter({self._name!r}, {np.dtype(array.dtype).name}{list(array.shape)}, "
            f"requires_grad={self.requires_grad})"
        )


class Parameters:
    """{name: Parameter}; iterating gives (name, Parameter), sorted by name."""

    def __init__(self, state: CheckpointState) -> None:
        self._state = state

    def __getitem__(self, name: str) -> Parameter:
        if name not in self._state._arrays:
            raise UnknownParameter(
                f"Parameter {name} does not exist in the state; it has {', '.join(self._state._arrays) or 'none'}"
            )
        self._state._check_loaded(f"parameter {name!r}")
        return Parameter(self._state, name)

    def __setitem__(self, name: str, value: Any) -> None:
        self._state._check_loaded(f"parameter {name!r}", "all the parameter states")
        Parameter(self._state, name).data = value

    def __contains__(self, name: object) -> bool:
        return name in self._state._arrays

    def __len__(self) -> int:
        return len(self._state._arrays)

    def __iter__(self) -> Iterator[tuple[str, Parameter]]:
        for name in sorted(self._state._arrays):
            yield name, self[name]

    def __repr__(self) -> str:
        return f"Parameters({', '.join(sorted(self._state._arrays))})"


def _plain(value: Any) -> Any:
    """A property as it is kept: bool as int, numbers of NumPy as Python's, bytes as text."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, bool | np.bool_ | np.integer):
        return int(value)
    return float(value) if isinstance(value, np.floating) else value


class Properties:
    """{name: int, float or str}, which are saved with the checkpoint."""

    def __init__(self, values: dict[str, Any]) -> None:
        self._values = values

    def __getitem__(self, name: str) -> int | float | str:
        if name not in self._values:
            raise UnknownParameter(
                f"Property {name} does not exist in the state; it has {', '.join(self._values) or 'none'}"
            )
        return self._values[name]

    def __setitem__(self, name: str, value: int | float | str) -> None:
        if not isinstance(name, str):
            raise WrongType(f"a property's name is a str, got {type(name).__name__}")
        kept = _plain(value)
        if not isinstance(kept, int | float | str):
            raise WrongType(f"property {name!r} must be an int, a float or a str, got {type(value).__name__}")
        if isinstance(kept, int) and not -(2**63) <= kept < 2**63:
            raise WrongType(f"property {name!r} is {kept}, and a checkpoint holds integers of 64 bits")
        self._values[name] = kept

    def __contains__(self, name: object) -> bool:
        return name in self._values

    def __len__(self) -> int:
        return len(self._values)

    def __iter__(self) -> Iterator[tuple[str, int | float | str]]:
        yield from sorted(self._values.items())

    def __repr__(self) -> str:
        return f"Properties({self._values})"


class CheckpointState:
    """The state of a training; get one with CheckpointState.load_checkpoint."""

    def __init__(self, checkpoint: OrtCheckpoint) -> None:
        if not isinstance(checkpoint, OrtCheckpoint):
            raise WrongType(
                f"CheckpointState is made by CheckpointState.load_checkpoint(path); got {type(checkpoint).__name__}"
            )
        self._arrays: dict[str, Any] = {**checkpoint.trainable, **checkpoint.frozen}
        self._trainable = tuple(checkpoint.trainable)
        self._grads: dict[str, Any] = {}
        self._nominal = checkpoint.nominal
        self._optimizer = checkpoint.optimizer
        self._properties = checkpoint.properties

    @property
    def parameters(self) -> Parameters:
        return Parameters(self)

    @property
    def properties(self) -> Properties:
        return Properties(self._properties)

    @classmethod
    def load_checkpoint(cls, checkpoint_uri: str | os.PathLike) -> CheckpointState:
        """Read a checkpoint file, ours or ONNX Runtime's."""
        try:
            return cls(read_checkpoint(checkpoint_uri))
        except FileNotFoundError:
            raise NoFile(f"there is no checkpoint {os.fspath(checkpoint_uri)!r}") from None
        except AidgeJaxError as e:
            raise TrainingError(str(e)) from None

    @classmethod
    def save_checkpoint(
        cls, state: CheckpointState, checkpoint_uri: str | os.PathLike, include_optimizer_state: bool = False
    ) -> None:
        """Write the state; the file is complete or not there."""
        path = os.path.abspath(os.fspath(checkpoint_uri))
        if not os.path.isdir(os.path.dirname(path)):
            raise NoFile(f"cannot write {path!r}: there is no folder {os.path.dirname(path)!r}")
        optimizer = None
        if include_optimizer_state and state._optimizer is not None:
            kept = state._optimizer
            optimizer = OptimizerState(
                kept.step,
                kept.learning_rate,
                {p: tuple(np.asarray(m) for m in momentums) for p, momentums in sorted(kept.momentums.items())},
            )
        arrays = {n: np.asarray(a) for n, a in sorted(state._arrays.items())}
        checkpoint = OrtCheckpoint(
            {n: a for n, a in arrays.items() if n in state._trainable},
            {n: a for n, a in arrays.items() if n not in state._trainable},
            state._nominal,
            optimizer,
            dict(state._properties),
        )
        try:
            write_checkpoint(checkpoint, path)
        except AidgeJaxError as e:
            raise TrainingError(str(e)) from None

    def _check_loaded(self, what: str, load: str = "the parameter states") -> None:
        """Raise TrainingError while the state is nominal; `load` is what ONNX Runtime's message asks for there."""
        if self._nominal:
            raise TrainingError(
                f"Please load {load} first. The state comes from a nominal checkpoint, and {what} has no numbers yet: "
                f"load the complete one, or call Module.copy_buffer_to_parameters"
            )

    def __repr__(self) -> str:
        return f"CheckpointState({len(self._arrays)} parameters, {len(self._properties)} properties)"
