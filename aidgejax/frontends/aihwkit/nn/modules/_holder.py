"""What holds a layer's tensors: torch parameters and buffers under aihwkit's names, or plain arrays."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Sequence
from functools import lru_cache
from operator import is_
from typing import Any

import jax.numpy as jnp
import numpy as np

from .....dtypes import Arrays
from ._bridge import overwrite, reads_in_place, tensor_of, view
from ._module import Module, adopt_torch, in_torch

PARAMETERS = ("bias", "input_range_update_idx", "input_range", "out_scaling_alpha", "weight")
BUFFERS = ("mapping_scales", "alpha")
ORDER = ("bias", "input_range_update_idx", "input_range", "mapping_scales", "out_scaling_alpha", "alpha", "weight")
STATE = "analog_tile_state"


def context_of(shape: tuple[int, int], layer: Any) -> Any:
    """aihwkit's AnalogContext: a parameter without a gradient by which an optimizer finds its layer."""
    torch = sys.modules["torch"]
    made = context_class()(torch.zeros(shape))
    made.analog_layer = layer
    return made


@lru_cache(maxsize=1)
def context_class() -> Any:
    """The class of these parameters.  Needs torch adopted."""

    def deepcopy(self: Any, memo: dict[int, Any]) -> Any:
        made = context_of(tuple(self.shape), copy.deepcopy(self.analog_layer, memo))
        memo[id(self)] = made
        return made

    def reduce(self: Any, protocol: Any) -> Any:
        return context_of, (tuple(self.shape), self.analog_layer)

    def tile(self: Any) -> Any:
        return next((t for t in self.analog_layer.analog_tiles() if t.analog_ctx is self), None)

    methods = {
        "__deepcopy__": deepcopy,
        "__reduce_ex__": reduce,
        "__module__": __name__,
        "analog_tile": property(tile),
        # aihwkit's tiles without pulses keep no inputs here either.
        "use_torch_update": True,
        "use_indexed": False,
        "analog_input": (),
        "analog_grad_output": (),
        "has_gradient": lambda self: False,
        "reset": lambda self, analog_tile=None: None,
        "get_data": lambda self: self.data.detach(),
        "set_data": lambda self, data: self.data.copy_(data) and None,
        "set_indexed": lambda self, value=True: None,
    }
    return type("AnalogContext", (sys.modules["torch"].nn.Parameter,), methods)


class Remembered:
    """What a module has found out about itself for its next call: neither copied nor saved with it."""

    def __init__(self) -> None:
        self.seen: Sequence[Any] = ()
        self.found: Any = None

    def __deepcopy__(self, memo: dict[int, Any]) -> Remembered:
        return Remembered()

    def __reduce__(self) -> Any:
        return Remembered, ()

    def get(self, seen: Sequence[Any], find: Callable[[], Any]) -> Any:
        """What find() gave when the same objects were seen; they are kept, so that no other one is taken for them."""
        if len(seen) != len(self.seen) or not all(map(is_, seen, self.seen)):
            self.found, self.seen = find(), seen
        return self.found


def remembered(module: Any, what: str) -> Remembered:
    found = vars(module).get(what)
    if found is None:
        found = vars(module)[what] = Remembered()
    return found


class Slot:
    """One tensor of a layer.  name: in the layer's graph; own: in its holder; trained: is it a parameter there?

    held, key: where the tensor is, so that a call does not look for it.  An array of a tensor's memory is made once for
    as long as the tensor lies there.
    """

    __slots__ = ("_array", "_place", "_tensor", "held", "holder", "key", "name", "own", "trained")

    def __init__(self, name: str, holder: Any, own: str, trained: bool, held: dict[str, Any], key: str) -> None:
        self.name, self.holder, self.own, self.trained, self.held, self.key = name, holder, own, trained, held, key
        self._tensor: Any = None
        self._array: Any = None
        self._place: Any = None

    def tensor(self) -> Any:
        return self.held[self.key]

    def numbers(self) -> Any:
        """For JAX to read, in the shape that the layer's graph has for them."""
        found = self.held[self.key]
        if not hasattr(found, "detach"):
            return found
        place = found.data_ptr(), found.stride(), found.dtype
        if found is not self._tensor or place != self._place:
            array = self.holder.as_read(self.own, view(found))
            if not reads_in_place(found):
                return array
            self._tensor, self._array, self._place = found, array, place
        return self._array

    def write_number(self, new: float) -> None:
        """This number, where the tensor is one and `numbers` was asked for just before; as `write` does it."""
        if self._tensor is not None and self._tensor is self.held[self.key]:
            self._array.fill(new)
        else:
            self.write(np.full(np.shape(self.held[self.key]), new, np.float32))

    def cut_off(self, bound: float) -> None:
        """The numbers of a tensor to within +-bound, as the operator Clip does it; NaN stays."""
        array = self.numbers()
        if array is self._array:
            np.clip(array, -bound, bound, out=array)
        else:
            self.write(np.clip(array, -bound, bound))

    def write(self, new: Any) -> None:
        """These numbers; in place in torch, where its graph does not see it."""
        old = self.held[self.key]
        if old is self._tensor and self._array is self.numbers() and self._array.shape == np.shape(new):
            np.copyto(self._array, new)
        elif hasattr(old, "detach") and old.shape == np.shape(new):
            overwrite(old, new)
        else:
            self.holder.write(self.own, new)


def slot_of(name: str, holder: Any, own: str) -> Slot:
    held, key = holder.extra, own
    if own not in held:
        owner, key = holder.place(own)
        of_torch = vars(owner)
        held = of_torch["_parameters" if key in of_torch["_parameters"] else "_buffers"]
    return Slot(name, holder, own, own in holder.trained, held, key)


class Holder(Module):
    """Tensors by the names that the layer's graph has for them.

    In torch: parameters and buffers under aihwkit's names; what aihwkit keeps in its `analog_tile_state` is in
    `extra`, arrays.  Without torch all is in `extra`.
    """

    often: tuple[str, ...] = ()
    """What aihwkit has as an attribute in any case."""

    def __init__(self) -> None:
        adopt_torch()
        super().__init__()
        self.extra: Arrays = {}
        self.names: list[str] = []
        self.trained: set[str] = set()
        self.range_trained = True

    def weight_name(self) -> str:
        return "shared_weights"

    def fill(self, params: Arrays, state: Arrays) -> None:
        """Take these tensors, in place of any that were there."""
        found = {**params, **state}
        self.names = [*(n for n in ORDER if n in found), *(n for n in found if n not in ORDER)]
        self.trained = set(params)
        self.range_trained = "input_range" in params
        for name in self.names:
            self.put(name, found[name])
        if in_torch():
            self._say_what_is_absent()

    def _say_what_is_absent(self) -> None:
        """What aihwkit's tiles always have is None where this one has it not."""
        for name in self.often:
            if name not in self.names:
                if name in BUFFERS:
                    self.register_buffer(name, None)
                else:
                    self.register_parameter(name, None)

    def refill(self, params: Arrays, state: Arrays) -> None:
        """Hold tensors of these names from now on; those there were, of the same size or scales, keep their numbers."""
        found = {**params, **state}
        kept: Arrays = {}
        for name in self.names:
            if name in found:
                old = np.array(self.numbers(name))
                if old.shape == np.shape(found[name]):
                    kept[name] = old
                elif name == "mapping_scales" and old.size == 1:
                    kept[name] = np.full(np.shape(found[name]), old.reshape(()))
            if name not in found or (name in self.trained) != (name in params):
                self.remove(name)
        self.fill({**params, **{k: v for k, v in kept.items() if k in params}},
                  {**state, **{k: v for k, v in kept.items() if k in state}})  # fmt: skip

    def remove(self, name: str) -> None:
        """Hold the tensor no longer."""
        if name in self.extra:
            del self.extra[name]
            return
        owner, own = self.place(name)
        delattr(owner, own)

    def put(self, name: str, array: Any) -> None:
        """Make the tensor anew."""
        if not in_torch() or not self.in_torch(name):
            self.extra[name] = jnp.asarray(np.array(array))
            return
        torch = sys.modules["torch"]
        owner, own = self.place(name)
        if getattr(owner, own, owner) is None:
            delattr(owner, own)
        if self.is_parameter(name):
            old = getattr(owner, own, None)
            if old is not None and tuple(old.shape) == np.shape(array):
                with torch.no_grad():
                    old.copy_(tensor_of(array))
            else:
                owner.register_parameter(own, torch.nn.Parameter(tensor_of(array)))
        else:
            owner.register_buffer(own, tensor_of(array))

    def is_parameter(self, name: str) -> bool:
        if name == "input_range_update_idx":
            return self.range_trained
        return name in self.trained

    def in_torch(self, name: str) -> bool:
        return name in PARAMETERS or name in BUFFERS or name in self.trained

    def place(self, name: str) -> tuple[Any, str]:
        if name == "weight":
            return self, self.weight_name()
        return self, name.replace(".", "_")

    def tensor(self, name: str) -> Any:
        """The tensor itself, or an array of what torch does not hold."""
        if name in self.extra:
            return self.extra[name]
        owner, own = self.place(name)
        return getattr(owner, own)

    def numbers(self, name: str) -> Any:
        """For JAX to read: the tensor's memory, or the array."""
        found = self.tensor(name)
        return self.as_read(name, view(found)) if hasattr(found, "detach") else found

    def as_read(self, name: str, numbers: np.ndarray) -> np.ndarray:
        """The numbers of a tensor in the shape that the layer's graph has for them."""
        return numbers

    def write(self, name: str, array: Any) -> None:
        """New numbers for a tensor; in place in torch, where its graph does not see it."""
        if name in self.extra:
            self.extra[name] = array if in_torch() is False else jnp.asarray(array)
            return
        old = self.tensor(name)
        if tuple(old.shape) != np.shape(array):
            self.put(name, array)
        else:
            overwrite(old, array)

    def to_torch(self) -> None:
        held, self.extra = self.extra, {}
        for name in self.names:
            self.put(name, held[name])
        self._say_what_is_absent()

    # ---- torch's checkpoints ------------------------------------------------------------------------------

    def tile_state(self) -> dict[str, Any]:
        """What a checkpoint holds beyond parameters and buffers: tensors, numbers and strings."""
        return {"held": {k: tensor_of(v) for k, v in self.extra.items()}}

    def load_tile_state(self, found: dict[str, Any]) -> None:
        self.extra |= {k: jnp.asarray(np.array(v)) for k, v in found.get("held", {}).items() if k in self.extra}
