"""Layers' forward and backward as one node of torch's graph."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from ...exceptions import TileError
from ._bridge import finished, is_half, tensor_of, view
from ._chain import Link, Piece, compiled_chain, fits, nothing_is_watched, pieces
from ._compiled import LARGE
from ._holder import write_slots


def in_order(tiles: Sequence[Any]) -> str:
    return f"{len(tiles)} tile{'s' if len(tiles) > 1 else ''}"


def torch_call(layer: Any, x: Any) -> Any:
    """y of the tensor x: what the layer's pure functions give, bit for bit; the output remembers its own backward.

    Tensors of 16 bits, x or parameters, are computed with in float32; y has the dtype of x.
    """
    return _call([layer], (Link(layer._spec, layer.training),), x)


def torch_sequence(modules: Iterable[Any], x: Any) -> Any:
    """y of modules one after the other.  What stands between two that torch has to see called is one program."""
    alone = not nothing_is_watched()
    for piece in [Piece([m]) for m in modules] if alone else pieces(modules):
        if piece.links and x.dtype == sys.modules["torch"].float32 and fits(piece.links, x.shape):
            for layer in piece.layers:
                layer._saved = []
            x = _call(piece.layers, piece.links, x)
        else:
            for module in piece.modules:
                x = module(x)
    return x


def _call(layers: Sequence[Any], links: tuple[Link, ...], x: Any) -> Any:
    torch = sys.modules["torch"]
    if is_half(x):
        return _call(layers, links, x.float()).to(x.dtype)
    if x.dtype != torch.float32:
        raise TileError(
            f"{type(layers[0]).__name__} got a tensor of dtype {x.dtype}: "
            f"expected torch.float32, bfloat16 or float16; use x.float()"
        )
    places = [layer._slots() for layer in layers]
    tensors = [slot.tensor() for slots in places for slot in slots if slot.trained]
    return _function().apply(layers, links, places, x, *(t.float() if is_half(t) else t for t in tensors))


@lru_cache(maxsize=1)
def _function() -> Any:
    torch = sys.modules["torch"]
    backward = staticmethod(torch.autograd.function.once_differentiable(_backward))
    return type("AnalogCall", (torch.autograd.Function,), {"forward": staticmethod(_forward), "backward": backward})


def _forward(ctx: Any, layers: Any, links: Any, places: Any, x: Any, *tensors: Any) -> Any:
    needs = ctx.needs_input_grad
    save, needs_dx = any(needs), bool(needs[3])
    run, back = compiled_chain(links, tuple(x.shape), needs_dx or not save, save)
    left = iter(tensors)
    params = [{s.name: view(next(left)) for s in slots if s.trained} for slots in places]
    state = [{s.name: s.numbers() for s in slots if not s.trained} for slots in places]
    draws = np.empty((len(layers), 2), np.uint32)
    for k, layer in enumerate(layers):
        layer._calls += 1
        draws[k] = layer._seed & 0xFFFFFFFF, layer._calls & 0xFFFFFFFF
    y, saved, moved, updated = run(params, state, view(x), draws)
    out = tensor_of(y, x)  # once y is there, all of the program is finished, and torch may write what it has read
    for slots, *new in zip(places, moved, updated, strict=True):
        write_slots(slots, {**new[0], **new[1]})
    if save:
        names = [[s.name for s in slots if s.trained] for slots in places]
        large = [[n for n in mine if n.rsplit(".", 1)[-1] in LARGE] for mine in names]
        flat = [n in LARGE or n.rsplit(".", 1)[-1] in LARGE for mine in names for n in mine]
        # torch tells by these whether somebody has written into them before the backward.
        ctx.save_for_backward(*(t for t, yes in zip(tensors, flat, strict=True) if yes))
        ctx.mine = back, large, saved, names, needs_dx
    return out


def _backward(ctx: Any, dy: Any) -> Any:
    back, large, saved, names, needs_dx = ctx.mine
    left = iter(ctx.saved_tensors)
    held = [{n: view(next(left)) for n in mine} for mine in large]
    grads, dx = finished(back(held, saved, view(dy)))
    wanted = iter(ctx.needs_input_grad[4:])
    found = (tensor_of(g[n], dy) if next(wanted) else None for mine, g in zip(names, grads, strict=True) for n in mine)
    return None, None, None, tensor_of(dx, dy) if needs_dx else None, *found
