"""Layers' forward and backward as one node of torch's graph."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import jax.numpy as jnp
import numpy as np

from ...exceptions import TileError
from ._bridge import finished, is_half, tensor_of, view
from ._chain import (
    FEW,
    Chain,
    Link,
    Piece,
    compiled_chain,
    fits,
    is_large,
    layout_of,
    nothing_is_watched,
    pieces,
    seen_of,
)
from ._holder import Slot, remembered

KEPT = 2  # a script's last loss keeps its graph while the next one is computed


def in_order(tiles: Sequence[Any]) -> str:
    return f"{len(tiles)} tile{'s' if len(tiles) > 1 else ''}"


def torch_call(layer: Any, x: Any) -> Any:
    """y of the tensor x: what the layer's pure functions give, bit for bit; the output remembers its own backward.

    Tensors of 16 bits, x or parameters, are computed with in float32; y has the dtype of x.
    """
    spec, training = layer._spec, layer.training
    seen = [spec, training, layer._slots()]
    return remembered(layer, "_own_call").get(seen, lambda: Call([layer], (Link(spec, training),)))(x)


def torch_sequence(owner: Any, x: Any) -> Any:
    """y of the owner's modules one after the other.  What stands between two that torch has to see called is one
    program."""
    modules = list(owner)
    alone = not nothing_is_watched()
    seen: list[Any] = [alone]
    for module in modules:
        seen += seen_of(module)

    def find() -> list[tuple[Piece, Call | None]]:
        found = [Piece([m]) for m in modules] if alone else pieces(modules)
        return [(p, Call(p.layers, p.links) if p.links else None) for p in found]

    for piece, call in remembered(owner, "_pieces").get(seen, find):
        if call is not None and x.dtype == sys.modules["torch"].float32 and fits(piece.links, x.shape):
            for layer in piece.layers:
                vars(layer)["_saved"] = []
            x = call(x)
        else:
            for module in piece.modules:
                x = module(x)
    return x


class Call:
    """Layers' tensors as the programs of their chain take them."""

    def __init__(self, layers: Sequence[Any], links: tuple[Link, ...]) -> None:
        self.layers, self.links, self.layout = layers, links, layout_of(links)
        slots = [{s.name: s for s in layer._slots()} for layer in layers]
        self.numbers, self.arrays, self.trained = (
            [slots[k][name] for k, name in names]
            for names in (self.layout.numbers, self.layout.arrays, self.layout.trained)
        )
        # torch tells by these whether somebody has written into them before the backward.
        self.watched = [n for n, (_, name) in enumerate(self.layout.trained) if is_large(name)]
        self.chains: dict[tuple, tuple[Chain, Free]] = {}

    def __call__(self, x: Any) -> Any:
        torch = sys.modules["torch"]
        if x.dtype != torch.float32:
            if is_half(x):
                return self(x.float()).to(x.dtype)
            raise TileError(
                f"{type(self.layers[0]).__name__} got a tensor of dtype {x.dtype}: "
                f"expected torch.float32, bfloat16 or float16; use x.float()"
            )
        tensors = [slot.held[slot.key] for slot in self.trained]
        return _function().apply(self, x, *[t.float() if is_half(t) else t for t in tensors])

    def chain(self, shape: tuple[int, ...], needs_dx: bool, save: bool) -> tuple[Chain, Free]:
        key = shape, needs_dx, save
        found = self.chains.get(key)
        if found is None:
            for _, free in self.chains.values():
                free.clear()  # other sizes perhaps do not come again
            found = self.chains[key] = compiled_chain(self.links, *key), []
        return found

    def draws(self) -> np.ndarray:
        """Seeds and numbers of this call of the layers, u32[layers, 2]."""
        found = np.empty((len(self.layers), 2), np.uint32)
        for k, layer in enumerate(self.layers):
            held = vars(layer)
            held["_calls"] += 1
            found[k, 0], found[k, 1] = held["_seed"] & 0xFFFFFFFF, held["_calls"] & 0xFFFFFFFF
        return found

    def read(self) -> tuple[np.ndarray, list[Any]]:
        """(numbers, arrays) of the layers' tensors."""
        numbers = np.empty(len(self.numbers), np.float32)
        for k, slot in enumerate(self.numbers):
            array = slot.numbers()
            if array.size != 1:
                raise self._wrong(slot, array, (1,))
            numbers[k] = array.item()
        arrays = [slot.numbers() for slot in self.arrays]
        for slot, array, wanted in zip(self.arrays, arrays, self.layout.shapes, strict=True):
            if array.shape != wanted.shape:
                raise self._wrong(slot, array, wanted.shape)
        return numbers, arrays

    def _wrong(self, slot: Slot, array: Any, wanted: tuple[int, ...]) -> TileError:
        kind = next(type(layer).__name__ for layer in self.layers if slot in layer._slots())
        return TileError(f"{kind}: {slot.name!r} has shape {list(array.shape)}, expected {list(wanted)}")

    def write(self, chain: Chain, moved: Sequence[Any]) -> None:
        """What the forward has moved, into the layers' tensors."""
        if chain.moved_numbers:
            for n, number in zip(chain.moved_numbers, np.asarray(moved[0]).tolist(), strict=True):
                self.numbers[n].write_number(number)
        for n, array in zip(chain.moved_arrays, moved[len(moved) - len(chain.moved_arrays) :], strict=True):
            self.arrays[n].write(array)


Free = list[list[Any]]


class Handed:
    """What a forward handed over; when nobody can ask for its backward any more, the memory is free for another."""

    def __init__(self, arrays: list[Any], chain: Chain, free: Free) -> None:
        self.arrays, self.chain, self.free = arrays, chain, free

    def __del__(self) -> None:
        if self.chain.wide and len(self.free) < KEPT:
            self.free.append([self.arrays[n] for n in self.chain.wide])


@lru_cache(maxsize=1)
def _function() -> Any:
    torch = sys.modules["torch"]
    backward = staticmethod(torch.autograd.function.once_differentiable(_backward))
    return type("AnalogCall", (torch.autograd.Function,), {"forward": staticmethod(_forward), "backward": backward})


def _forward(ctx: Any, call: Call, x: Any, *tensors: Any) -> Any:
    needs = ctx.needs_input_grad
    save, needs_dx = any(needs), bool(needs[1])
    chain, free = call.chain(tuple(x.shape), needs_dx or not save, save)
    numbers, arrays = call.read()
    memory = free.pop() if free else [jnp.zeros(a.shape, a.dtype) for a in chain.wide_shapes]
    (y, *moved), handed = chain.run(view(x), call.draws(), numbers, arrays, memory)
    out = tensor_of(y, x)  # once y is there, all of the program is finished, and torch may write what it has read
    call.write(chain, moved)
    if save:
        ctx.save_for_backward(*[tensors[n] for n in call.watched])
        ctx.mine = call, chain, Handed(handed, chain, free), [arrays[n] for n in call.layout.large], needs_dx
    return out


def _backward(ctx: Any, dy: Any) -> Any:
    call, chain, handed, large, needs_dx = ctx.mine
    _ = ctx.saved_tensors  # raises where one of them was written into
    found = finished(chain.back(handed.arrays, view(dy), large))
    dx = tensor_of(found.pop(), dy) if needs_dx else None
    return None, dx, *gradients(call.layout.trained_shapes, found, ctx.needs_input_grad[2:], dy)


def gradients(shapes: Sequence[tuple[int, ...]], found: list[Any], wanted: Sequence[bool], like: Any) -> list[Any]:
    """Tensors of these shapes: of few elements from the vector found[0], as parts of one copy; the others follow it."""
    sizes = [math.prod(shape) for shape in shapes]
    left = iter(found)
    small = [size for size in sizes if size < FEW]
    parts = iter(tensor_of(next(left), like).split_with_sizes(small) if small else ())
    made: list[Any] = []
    for shape, size, yes in zip(shapes, sizes, wanted, strict=True):
        tensor: Any = next(parts) if size < FEW else tensor_of(next(left), like) if yes else None
        made.append(None if not yes else tensor if len(shape) == 1 else tensor.view(shape))
    return made
