"""What a layer is: parameters that exist from the first call on, named after the attributes that hold them."""

from __future__ import annotations

from collections import OrderedDict
from functools import wraps
from typing import Any

import numpy as np

from .._shared.traced_step import concretely
from ._errors import DoesNotFit, NotATensor, NotParticipating, StatesError, Unsupported
from ._tensor import Tensor
from .device import bring_together


class LayerMeta(type):
    """Lets `initialize` make real tensors wherever it runs, and `forward` call it once, before the first time."""

    def __new__(mcs, name: str, bases: tuple, members: dict[str, Any]) -> type:
        if "initialize" in members:
            members["initialize"] = _initializing(members["initialize"])
        if "forward" in members:
            members["forward"] = _initialized(members["forward"])
        return super().__new__(mcs, name, bases, members)


def _initializing(function: Any) -> Any:
    @wraps(function)
    def initialize(self: Layer, *args: Any, **kwargs: Any) -> None:
        first = args[0] if args else None
        first = first[0] if isinstance(first, list | tuple) and first else first
        if args and not isinstance(first, Tensor):
            raise NotATensor(
                f"layer {self.name!r} ({type(self).__name__}): initialize function expects PlaceHolders "
                f"or Tensors, got {type(first).__name__}"
            )
        with concretely():
            function(self, *args, **kwargs)
        self._initialized = True

    return initialize


def _initialized(function: Any) -> Any:
    @wraps(function)
    def forward(self: Layer, *args: Any, **kwargs: Any) -> Any:
        if not self._initialized:
            self.initialize(*args, **kwargs)
            self._initialized = True
        return function(self, *args, **kwargs)

    return forward


class Layer(metaclass=LayerMeta):
    """Subclass it: make sublayers in __init__, parameters in initialize(*inputs), and compute in forward(*inputs).

    A Tensor that is assigned to an attribute is named after it, "conv1.W" below a model whose attribute conv1 is this
    layer; a layer without a parent gives no prefix.  A parameter is a Tensor attribute with stores_grad=True; the names
    of tensors that training updates without a gradient stand in `state_names`.
    """

    sep = "."
    _layers: OrderedDict[str, Layer]
    state_names: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.__dict__.update(_layers=OrderedDict(), _parent=None, _initialized=False, name=type(self).__name__)

    def initialize(self, *inputs: Any) -> None:
        """Make the parameters, knowing the first inputs.  Nothing by default."""

    def forward(self, *inputs: Any) -> Any:
        raise Unsupported(f"layer {self.name!r} ({type(self).__name__}) has no forward: write one in the class")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.forward(*args, **kwargs)

    # ---- parameters and states --------------------------------------------------------------------------

    def _own(self, wanted: Any) -> dict[str, Tensor]:
        return {t.name: t for k, t in self.__dict__.items() if isinstance(t, Tensor) and wanted(k, t)}

    def own_params(self) -> dict[str, Tensor]:
        """Those of this layer, without its sublayers."""
        return self._own(lambda k, t: t.stores_grad and k not in self.state_names)

    def own_states(self) -> dict[str, Tensor]:
        return self.own_params() | self._own(lambda k, t: k in self.state_names)

    def get_params(self) -> dict[str, Tensor]:
        """{name: Tensor} of what is trained, here and below.  Empty before the first input."""
        return self._gather("own_params")

    def get_states(self) -> dict[str, Tensor]:
        """{name: Tensor} of the parameters and of what training updates besides (running statistics)."""
        return self._gather("own_states")

    def _gather(self, what: str) -> dict[str, Tensor]:
        found = getattr(self, what)()
        for layer in self._layers.values():
            if layer._initialized or layer._layers:
                found = found | layer._gather(what)
        return found

    def set_params(self, parameters: dict[str, Any]) -> None:
        """Copy values (Tensors or arrays) into the parameters; all of them are needed, others are left alone."""
        self._set(self.get_params(), parameters, "parameter")

    def set_states(self, states: dict[str, Any]) -> None:
        """Copy values (Tensors or arrays) into the states; all of them are needed, others are left alone."""
        self._set(self.get_states(), states, "state")

    def _set(self, own: dict[str, Tensor], given: dict[str, Any], what: str) -> None:
        missing = [n for n in own if n not in given]
        if missing:
            raise StatesError(
                f"{type(self).__name__} {self.name!r}: no value for {what} "
                f"{', '.join(map(repr, missing))}; got {', '.join(map(repr, given)) or 'none'}"
            )
        arrays = {n: given[n] if isinstance(given[n], Tensor) else np.asarray(given[n]) for n in own}
        for name, array in arrays.items():
            size = array.size() if isinstance(array, Tensor) else array.size
            if size != own[name].size():
                raise DoesNotFit(
                    f"{what} {name!r} of shape {list(own[name].shape)}: tensor shape should be the same, "
                    f"got {list(array.shape)}"
                )
        for name, array in arrays.items():
            own[name].copy_from(array.reshape(own[name].shape))

    # ---- names ------------------------------------------------------------------------------------------

    def _prefix(self) -> str:
        """The names of the layers from the root, which has none, down to this one."""
        if self._parent is None:
            return ""
        return f"{self._parent._prefix()}{self.name}{self.sep}"

    def _rename(self) -> None:
        for key, value in self.__dict__.items():
            if isinstance(value, Tensor):
                value.name = self._prefix() + key
        for layer in self._layers.values():
            layer._rename()

    def register_layers(self, *layers: Any) -> None:
        """Take sublayers that stand in no attribute; named ClassName_index, or by an OrderedDict."""
        if len(layers) == 1 and isinstance(layers[0], dict):
            named = list(layers[0].items())
        else:
            named = [(f"{type(v).__name__}_{k}", v) for k, v in enumerate(layers)]
        for name, value in named:
            if isinstance(value, Layer):
                setattr(self, name, value)

    def __setattr__(self, name: str, value: Any) -> None:
        if "_layers" not in self.__dict__:
            Layer.__init__(self)
        if isinstance(value, Layer) and name != "_parent":
            self.__dict__.pop(name, None)
            self._layers[name] = value
            value.__dict__.update(_parent=self, name=name)
            value._rename()
            return
        object.__setattr__(self, name, value)
        if isinstance(value, Tensor) and (value.is_dummy() or value._creator is None):
            value.name = self._prefix() + name
        elif name == "name":
            self._rename()

    def __getattr__(self, name: str) -> Any:
        layers = self.__dict__.get("_layers", {})
        if name in layers:
            return layers[name]
        hint = ""
        if not self.__dict__.get("_initialized", True):
            hint = ": its parameters exist from its first call on"
        raise NotParticipating(f"{type(self).__name__} {self.__dict__.get('name')!r} has no attribute {name!r}{hint}")

    def __delattr__(self, name: str) -> None:
        if self._layers.pop(name, None) is None:
            object.__delattr__(self, name)

    # ---- checks that a subclass may use -------------------------------------------------------------------

    def device_check(self, *inputs: Tensor) -> None:
        """Bring the tensors to the device of the first."""
        bring_together(inputs)

    def dtype_check(self, *inputs: Tensor) -> None:
        """Give the tensors the dtype of the first."""
        for t in inputs[1:]:
            if t.dtype != inputs[0].dtype:
                t.to_type(inputs[0].dtype)

    def param(self, shape: tuple[int, ...], x: Tensor) -> Tensor:
        """A parameter to be filled, on the device of x and in its precision."""
        dtype = x.dtype if x.dtype in _FLOATS else _FLOATS[0]
        return Tensor(shape, x.device, dtype, requires_grad=True, stores_grad=True)


_FLOATS = (0, 1, 6)
