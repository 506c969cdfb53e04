"""AnalogSequential, and AnalogWrapper for models of one's own."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any

from ...exceptions import ArgumentTypeError, ModuleError
from ._module import Module, adopt_torch, check_module, is_tensor, on_adoption
from ._torch_call import torch_sequence
from .base import AnalogLayerBase


class ArraySequential(Module):
    """Modules one after the other, under the names 0, 1, ...; torch.nn.Sequential takes its place in torch."""

    def __init__(self, *layers: Any) -> None:
        super().__init__()
        named = layers[0].items() if len(layers) == 1 and isinstance(layers[0], Mapping) else enumerate(layers)
        for name, layer in named:
            self.add_module(str(name), layer)

    def __iter__(self) -> Iterator[Any]:
        return self.children()

    def __getitem__(self, k: int) -> Any:
        return list(self)[k]

    def __len__(self) -> int:
        return sum(1 for _ in self.children())

    def append(self, module: Any) -> Any:
        self.add_module(str(len(self)), module)
        return self

    def extend(self, sequential: Any) -> Any:
        for module in sequential:
            self.append(module)
        return self

    def forward(self, x: Any) -> Any:
        for layer in self:
            x = layer(x)
        return x


class AnalogContainerBase(AnalogLayerBase):
    """Holds layers; its tiles are theirs."""

    IS_CONTAINER = True

    def get_weights(self, **kwargs: Any) -> OrderedDict[str, tuple[Any, Any]]:
        """{name of the tile: (weight, bias)} of every tile below; keywords as of the tiles' get_weights."""
        return OrderedDict((name, tile.get_weights(**kwargs)) for name, tile in self.named_analog_tiles())

    def set_weights(self, weights_dic: Mapping[str, tuple[Any, Any]], **kwargs: Any) -> None:
        """What get_weights gave, into the tiles; keywords as of their set_weights.

        ModuleError, and nothing is set, where it is no such dict or a tile is not in it.
        """
        tiles = list(self.named_analog_tiles())
        if not isinstance(weights_dic, Mapping):
            raise ModuleError(
                f"{type(self).__name__}.set_weights got a {type(weights_dic).__name__}: expected what get_weights "
                f"gives, {{name of a tile: (weight, bias)}}; one layer's weight is set by its own set_weights"
            )
        absent = [name for name, _ in tiles if name not in weights_dic]
        if absent:
            raise ModuleError(
                f"{type(self).__name__}.set_weights: no weights for the tile {absent[0]!r} among "
                f"{list(weights_dic)[:8]}. Nothing was set"
            )
        before = [(tile, tile.get_weights()) for _, tile in tiles]
        try:
            for name, tile in tiles:
                weight, bias = weights_dic[name]
                tile.set_weights(weight, bias, **kwargs)
        except (ValueError, TypeError):
            for tile, (weight, bias) in before:
                tile.set_weights(weight, bias)
            raise

    def program_analog_weights(self, noise_model: Any = None) -> None:
        """Programming noise on every tile below.  ModuleError in training mode."""
        super().program_analog_weights(noise_model)


class AnalogSequential(AnalogContainerBase, ArraySequential):
    """Layers one after the other; `backward` of an array goes through them in reverse."""

    def __init__(self, *layers: Any) -> None:
        adopt_torch()
        strange = [type(m).__name__ for m in layers if not hasattr(m, "named_children") and not isinstance(m, Mapping)]
        if strange:
            raise ArgumentTypeError(f"AnalogSequential got {', '.join(strange[:8])}: expected layers and other modules")
        super().__init__(*layers)

    def forward(self, x: Any) -> Any:
        """Tensors go through neighbouring layers, and what torch has between them, in one compiled call."""
        return torch_sequence(self, x) if is_tensor(x) else super().forward(x)

    def backward(self, dy: Any) -> Any:
        """dL/dx of the last call with an array; gradients add up in the layers."""
        for layer in reversed(list(self)):
            dy = layer.backward(dy)
        return dy

    @classmethod
    def from_digital(cls, module: Any, rpu_config: Any = None, tile_module_class: Any = None) -> AnalogSequential:
        """An analog container of the same children."""
        made = cls()
        for name, child in module.named_children():
            made.add_module(name, child)
        made.training = module.training
        return made

    @classmethod
    def to_digital(cls, module: Any) -> Any:
        """A torch.nn.Sequential of the same children."""
        import torch

        made = torch.nn.Sequential()
        for name, child in module.named_children():
            made.add_module(name, child)
        made.training = module.training
        return made


class AnalogWrapper(AnalogContainerBase):
    """Makes a model of one's own an analog container: its class becomes AnalogWrapper<Class>, a subclass of both.

    The model stays the same object's state under the same names."""

    def __new__(cls, module: Any = None) -> Any:
        return super().__new__(cls) if module is None else cls.from_digital(module)

    def __init__(self, module: Any = None) -> None:
        if module is None:
            super().__init__()

    @classmethod
    def from_digital(cls, module: Any, rpu_config: Any = None, tile_module_class: Any = None) -> Any:
        """The module, of its new class."""
        adopt_torch()
        check_module("AnalogWrapper", module)
        kind = type(module)
        if not issubclass(kind, AnalogContainerBase):
            module.__class__ = type(f"AnalogWrapper{kind.__name__}", (AnalogWrapper, kind), {"__module__": __name__})
        return module

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Its class is made anew where it is read: no module holds it by name."""
        return _empty_wrapper, (type(self).__bases__[1],), self.__dict__

    @classmethod
    def to_digital(cls, module: Any) -> Any:
        """The module, of its old class."""
        if isinstance(module, AnalogWrapper) and len(type(module).__bases__) > 1:
            module.__class__ = type(module).__bases__[1]
        return module


def _empty_wrapper(kind: Any) -> Any:
    return AnalogWrapper.from_digital(kind.__new__(kind))


def _adopt(torch: Any) -> None:
    AnalogSequential.__bases__ = (AnalogContainerBase, torch.nn.Sequential)


on_adoption(_adopt)
