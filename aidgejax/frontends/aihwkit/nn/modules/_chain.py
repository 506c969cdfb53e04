"""Layers one after the other, and what torch has between them, as one program forward and one backward."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from .....dtypes import Arrays
from .....execution.cache import PROGRAMS
from ._compiled import Functions, LayerSpec, functions
from ._module import torch_in_use
from .functions import Function, program_of

LONGEST = 16  # layers in one program, so that compiling does not grow without end


class Link(NamedTuple):
    """An analog layer of this spec, in training or not; or an operator, spec None."""

    spec: LayerSpec | None
    training: bool
    op: str = ""
    attrs: tuple[tuple[str, Any], ...] = ()


@PROGRAMS.cached
def compiled_chain(links: tuple[Link, ...], shape: tuple[int, ...], needs_dx: bool, save: bool) -> Functions:
    """run([params], [state], x, draws) -> (y, saved, [moved params], [moved state]); back([params], saved, dy).

    One entry of each list for each analog layer; draws: u32[layers, 2], seeds and numbers of the calls.
    back gives ([grads], dx); dx is None unless needs_dx.  Raises GraphError where a layer cannot take its input.
    """
    steps: list[tuple[Link, Functions, bool]] = []
    reached = needs_dx  # by a gradient
    for link in links:
        if link.spec is not None:
            step = functions(link.spec, link.spec.sizes(shape), link.training, reached, save)
            shape = link.spec.output_sizes(shape)
        else:
            step = _operator(link, shape)
            shape = _shape_after(step, shape)
        steps.append((link, step, reached))
        reached = reached or link.spec is not None

    def run(params: list, state: list, x: Any, draws: Any) -> Any:
        kept: list[Any] = []
        moved: list[Arrays] = []
        updated: list[Arrays] = []
        for link, step, wanted in steps:
            if link.spec is None:
                x, saved = step.run(x)
                kept.append(saved if save and wanted else None)
                continue
            k = len(moved)
            x, saved, *new = step.run(params[k], state[k], x, draws[k, 0], draws[k, 1])
            kept.append(saved)
            moved.append(new[0])
            updated.append(new[1])
        return x, Packed.of(kept), moved, updated

    def back(large: list, packed: Packed, dy: Any) -> Any:
        grads: list = []
        for (link, step, wanted), saved in zip(reversed(steps), reversed(packed.tree()), strict=True):
            if link.spec is not None:
                mine, dy = step.back(large[-1 - len(grads)], saved, dy)
                grads.append(mine)
            elif wanted:
                dy = step.back(saved, dy)
        return grads[::-1], dy if needs_dx else None

    return Functions(jax.jit(run), jax.jit(back))


@jax.tree_util.register_pytree_node_class
class Packed:
    """A tree of arrays as few: each array once, and all that are one number of float32 in one vector.

    Every output of a program, and every input, costs some microseconds.
    """

    def __init__(self, arrays: tuple, places: tuple, structure: Any) -> None:
        self.arrays, self.places, self.structure = arrays, places, structure

    @classmethod
    def of(cls, tree: Any) -> Packed:
        leaves, structure = jax.tree.flatten(tree)
        numbers: list = []
        arrays: list = []
        found: dict[int, tuple] = {}
        for leaf in leaves:
            if id(leaf) not in found:
                one = leaf.shape in ((), (1,)) and leaf.dtype == jnp.float32
                found[id(leaf)] = (one, len(numbers if one else arrays), leaf.shape)
                (numbers if one else arrays).append(leaf)
        packed = [jnp.stack([n.reshape(()) for n in numbers])] if numbers else []
        return cls((*packed, *arrays), tuple(found[id(leaf)] for leaf in leaves), structure)

    def tree(self) -> Any:
        first = int(any(one for one, _, _ in self.places))
        leaves = [self.arrays[0][k].reshape(shape) if one else self.arrays[first + k] for one, k, shape in self.places]
        return jax.tree.unflatten(self.structure, leaves)

    def tree_flatten(self) -> tuple[tuple, tuple]:
        return self.arrays, (self.places, self.structure)

    @classmethod
    def tree_unflatten(cls, held: tuple, arrays: tuple) -> Packed:
        return cls(tuple(arrays), *held)


def _operator(link: Link, shape: tuple[int, ...]) -> Functions:
    program = program_of(link.op, link.attrs, len(shape), (), link.training)

    def run(x: Any) -> Any:
        outputs, saved, _ = program.forward({}, {}, {"x": x})
        return outputs["y"], saved

    return Functions(run, lambda saved, dy: program.backward({}, saved, {"y": dy})["x"])


def _shape_after(step: Functions, shape: tuple[int, ...]) -> tuple[int, ...]:
    return jax.eval_shape(step.run, jax.ShapeDtypeStruct(shape, "float32"))[0].shape


# ---- what of a sequence of torch modules is such a chain ----------------------------------------------------


class Piece(NamedTuple):
    """Modules of a sequence: a chain if it has links; layers are those with tiles."""

    modules: list[Any]
    layers: list[Any] = []
    links: tuple[Link, ...] = ()


def pieces(modules: Iterable[Any]) -> Iterator[Piece]:
    """The modules in order: chains, as long as they can be, and single modules."""
    some: list[Any] = []
    layers: list[Any] = []
    links: list[Link] = []

    def so_far() -> Iterator[Piece]:
        if layers and len(links) > 1:
            yield Piece(list(some), list(layers), tuple(links))
        elif some:
            yield Piece(list(some))
        for held in (some, layers, links):
            held.clear()

    for module in modules:
        link = link_of(module)
        if link is None:
            yield from so_far()
            yield Piece([module])
            continue
        if link.spec is not None:
            if len(layers) == LONGEST or any(module is other for other in layers):
                yield from so_far()
            layers.append(module)
        if link.spec is not None or link.op:
            links.append(link)
        some.append(module)
    yield from so_far()


def fits(links: tuple[Link, ...], shape: tuple[int, ...]) -> bool:
    """Whether pooling meets images only: torch's takes one without a batch, ours does not."""
    rank = len(shape)
    for link in links:
        if link.op == "Flatten":
            rank = 2
        elif link.op == "MaxPool" and rank != 4:
            return False
    return True


def link_of(module: Any) -> Link | None:
    """The module as a link; None where torch, or somebody who watches, has to see it called."""
    if _is_watched(module):
        return None
    spec = getattr(module, "_spec", None)
    if isinstance(spec, LayerSpec):
        plain = module.watcher is None and type(module).__module__.startswith("aidgejax.")
        return Link(spec, module.training) if plain else None
    kind = type(module)
    if isinstance(module, Function) and kind.__module__.startswith("aidgejax."):
        if kind.__name__ == "Dropout":
            return None if module.training else Link(None, False)
        return None if module.held else Link(None, module.training, module.op, module.attrs)
    found = _of_torch().get(kind)
    return found(module) if found else None


def _is_watched(module: Any) -> bool:
    """Has it hooks, or a forward of its own?"""
    d = module.__dict__
    return bool(
        d["_forward_hooks"]
        or d["_forward_pre_hooks"]
        or d["_backward_hooks"]
        or d["_backward_pre_hooks"]
        or "forward" in d
        or d.get("_compiled_call_impl")
    )


def _pair(v: Any) -> tuple[int, int]:
    return (v, v) if isinstance(v, int) else tuple(v)


@lru_cache(maxsize=1)
def _of_torch() -> dict[type, Callable[[Any], Link | None]]:
    """Classes of torch.nn -> the link of such a module, None where our operator does not do the same."""
    nn = sys.modules["torch"].nn

    def link(m: Any, op: str, **attrs: Any) -> Link:
        return Link(None, m.training, op, tuple(sorted(attrs.items())))

    def softmax(op: str) -> Callable[[Any], Link | None]:
        return lambda m: None if m.dim is None else link(m, op, axis=m.dim)

    def windows(m: Any) -> dict[str, Any]:
        stride = m.kernel_size if m.stride is None else m.stride
        return {"kernel_shape": _pair(m.kernel_size), "strides": _pair(stride), "pads": _pair(m.padding) * 2}

    def max_pool(m: Any) -> Link | None:
        odd = m.ceil_mode or m.return_indices or _pair(m.dilation) != (1, 1)
        return None if odd else link(m, "MaxPool", **windows(m))

    def dropout(m: Any) -> Link | None:
        return None if m.training and m.p else Link(None, m.training)

    return {
        nn.Tanh: lambda m: link(m, "Tanh"),
        nn.ReLU: lambda m: link(m, "Relu"),
        nn.Sigmoid: lambda m: link(m, "Sigmoid"),
        nn.Flatten: lambda m: link(m, "Flatten") if (m.start_dim, m.end_dim) == (1, -1) else None,
        nn.LogSoftmax: softmax("LogSoftmax"),
        nn.Softmax: softmax("Softmax"),
        nn.MaxPool2d: max_pool,
        nn.Dropout: dropout,
        nn.Identity: lambda m: Link(None, m.training),
    }


def nothing_is_watched() -> bool:
    """No hook of torch's is registered for all modules."""
    torch = torch_in_use()
    return torch is not None and not torch.nn.modules.module._has_any_global_hook()
