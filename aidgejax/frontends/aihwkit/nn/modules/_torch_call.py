"""A layer's forward and backward as one node of torch's graph."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from ...exceptions import TileError
from ._bridge import finished, is_half, tensor_of, view
from ._compiled import LARGE, compiled


def in_order(parts: Sequence[Any]) -> str:
    return f"{len(parts)} tile{'s' if len(parts) > 1 else ''}"


def torch_call(layer: Any, x: Any) -> Any:
    """y of the tensor x: what the layer's pure functions give, bit for bit; the output remembers its own backward.

    Tensors of 16 bits, x or parameters, are computed with in float32; y has the dtype of x.
    """
    torch = sys.modules["torch"]
    if is_half(x):
        return torch_call(layer, x.float()).to(x.dtype)
    if x.dtype != torch.float32:
        raise TileError(
            f"{type(layer).__name__} got a tensor of dtype {x.dtype}: "
            f"expected torch.float32, bfloat16 or float16; use x.float()"
        )
    places = list(layer._places())
    tensors = [(name, holder.tensor(own)) for name, holder, own in places if own in holder.trained]
    names = tuple(name for name, _ in tensors)
    return _function().apply(layer, names, x, *(t.float() if is_half(t) else t for _, t in tensors))


@lru_cache(maxsize=1)
def _function() -> Any:
    torch = sys.modules["torch"]
    backward = staticmethod(torch.autograd.function.once_differentiable(_backward))
    return type("AnalogCall", (torch.autograd.Function,), {"forward": staticmethod(_forward), "backward": backward})


def _forward(ctx: Any, layer: Any, names: tuple[str, ...], x: Any, *tensors: Any) -> Any:
    needs = ctx.needs_input_grad
    save, needs_dx = any(needs), bool(needs[2])
    run, back = compiled(layer._spec, layer._sizes(x), layer.training, needs_dx or not save, save)
    params = {n: view(t) for n, t in zip(names, tensors, strict=True)}
    state = {n: h.numbers(o) for n, h, o in layer._places() if o not in h.trained}
    layer._calls += 1
    y, saved, params_moved, state_moved = finished(run(params, state, view(x), layer._seed, layer._calls))
    for name, array in {**params_moved, **state_moved}.items():
        layer._write(name, array)
    if save:
        # torch tells by these whether somebody has written into them before the backward.
        large = [k for k, n in enumerate(names) if n.rsplit(".", 1)[-1] in LARGE]
        ctx.save_for_backward(*(tensors[k] for k in large))
        ctx.mine = back, [names[k] for k in large], saved, names, needs_dx
    return tensor_of(y, x)


def _backward(ctx: Any, dy: Any) -> Any:
    back, large, saved, names, needs_dx = ctx.mine
    held = {n: view(t) for n, t in zip(large, ctx.saved_tensors, strict=True)}
    grads, dx = finished(back(held, saved, view(dy)))
    wanted = ctx.needs_input_grad[3:]
    return (
        None,
        None,
        tensor_of(dx, dy) if needs_dx else None,
        *(tensor_of(grads[n], dy) if w else None for n, w in zip(names, wanted, strict=True)),
    )
