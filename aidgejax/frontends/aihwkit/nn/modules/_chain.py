"""Layers one after the other, and what torch has between them, as one program forward and one backward."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .....dtypes import Arrays
from .....execution.cache import PROGRAMS
from ._compiled import LARGE, Functions, LayerSpec, functions
from ._module import torch_in_use
from ._two_programs import two_programs
from .functions import Function, program_of

LONGEST = 16  # layers in one program, so that compiling does not grow without end


class Link(NamedTuple):
    """An analog layer of this spec, in training or not; or an operator, spec None."""

    spec: LayerSpec | None
    training: bool
    op: str = ""
    attrs: tuple[tuple[str, Any], ...] = ()


class Layout(NamedTuple):
    """How the tensors of a chain's layers are handed to its programs, each as (number of the layer, name).

    numbers: those that are one number of float32 each, as one vector; arrays: the others.  trained: parameters, whose
    gradients come back in this order, with their shapes.
    """

    numbers: tuple[tuple[int, str], ...]
    arrays: tuple[tuple[int, str], ...]
    shapes: tuple[jax.ShapeDtypeStruct, ...]  # of arrays
    trained: tuple[tuple[int, str], ...]
    trained_shapes: tuple[tuple[int, ...], ...]

    @property
    def large(self) -> tuple[int, ...]:
        """Of arrays, those that backward reads where they lie."""
        return tuple(k for k, at in enumerate(self.arrays) if at in self.trained and is_large(at[1]))


def is_large(name: str) -> bool:
    return name.rsplit(".", 1)[-1] in LARGE


class Chain(NamedTuple):
    """run(x, draws, numbers, arrays, memory) -> ([y, moved...], handed); back(handed, dy, large) -> [flat, ..., dx].

    draws: u32[layers, 2], seeds and numbers of the calls.  moved: of numbers, if any do, one vector, then of arrays.
    flat: the gradients of fewer than FEW elements, one after the other in one vector; the others follow it.
    memory: arrays that run may write those into that it hands over, so that no new memory has to be found in each step:
    of what was handed over, these numbers (wide), of these shapes.
    """

    run: Callable[..., Any]
    back: Callable[..., Any]
    moved_numbers: tuple[int, ...]
    moved_arrays: tuple[int, ...]
    wide: tuple[int, ...]
    wide_shapes: tuple[jax.ShapeDtypeStruct, ...]


FEW = 1 << 16  # elements
WIDE = 1 << 17  # bytes: from there on the C library asks the system for new pages


@PROGRAMS.cached
def layout_of(links: tuple[Link, ...]) -> Layout:
    numbers: list[tuple[int, str]] = []
    arrays: dict[tuple[int, str], Any] = {}
    trained: dict[tuple[int, str], tuple[int, ...]] = {}
    for k, spec in enumerate(link.spec for link in links if link.spec is not None):
        graph, _ = spec.write(spec.any_sizes)
        trained |= {(k, name): np.shape(a) for name, a in graph.params.items()}
        for name, a in {**graph.params, **graph.buffers}.items():
            if np.shape(a) == (1,) and a.dtype == np.float32 and not is_large(name):
                numbers.append((k, name))
            else:
                arrays[k, name] = jax.ShapeDtypeStruct(np.shape(a), a.dtype)
    return Layout(tuple(numbers), tuple(arrays), tuple(arrays.values()), tuple(trained), tuple(trained.values()))


@PROGRAMS.cached
def compiled_chain(links: tuple[Link, ...], shape: tuple[int, ...], needs_dx: bool, save: bool) -> Chain:
    """The programs for an input of this shape.  Raises GraphError where a layer cannot take its input.

    back gives dx only if needs_dx, and cannot be called without `save`.
    """
    layout = layout_of(links)
    count = sum(link.spec is not None for link in links)
    x = jax.ShapeDtypeStruct(shape, "float32")
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
    moves: tuple[list[int], list[int]] = ([], [])

    def run(x: Any, draws: Any, numbers: Any, arrays: Sequence[Any]) -> Any:
        held: list[Arrays] = [{} for _ in range(count)]
        for n, (k, name) in enumerate(layout.numbers):
            held[k][name] = numbers[n : n + 1]
        for (k, name), array in zip(layout.arrays, arrays, strict=True):
            held[k][name] = array
        kept: list[Any] = []
        new: dict[tuple[int, str], Any] = {}
        k = 0
        for link, step, wanted in steps:
            if link.spec is None:
                x, saved = step.run(x)
                kept.append(saved if save and wanted else None)
                continue
            mine = {name: (k, name) in layout.trained for name in held[k]}
            params, state = ({n: held[k][n] for n, yes in mine.items() if yes == which} for which in (True, False))
            x, saved, *moved = step.run(params, state, x, draws[k, 0], draws[k, 1])
            kept.append(saved)
            new |= {(k, name): array for some in moved for name, array in some.items()}
            k += 1
        for into, names in zip(moves, (layout.numbers, layout.arrays), strict=True):
            into[:] = [n for n, at in enumerate(names) if at in new]
        vector = [jnp.concatenate([new[layout.numbers[n]].reshape(1) for n in moves[0]])] if moves[0] else []
        return [x, *vector, *(new[layout.arrays[n]] for n in moves[1])], kept

    def back(kept: list, dy: Any, large: Sequence[Any]) -> Any:
        held: list[Arrays] = [{} for _ in range(count)]
        for n, array in zip(layout.large, large, strict=True):
            k, name = layout.arrays[n]
            held[k][name] = array
        grads: dict[tuple[int, str], Any] = {}
        k = count
        for (link, step, wanted), saved in zip(reversed(steps), reversed(kept), strict=True):
            if link.spec is not None:
                k -= 1
                mine, dy = step.back(held[k], saved, dy)
                grads |= {(k, name): g for name, g in mine.items()}
            elif wanted:
                dy = step.back(saved, dy)
        found = [grads[at] for at in layout.trained]
        few = [g.reshape(-1) for g in found if g.size < FEW]
        return [jnp.concatenate(few)] if few else [], [g for g in found if g.size >= FEW], [dy] if needs_dx else []

    given = (x, jax.ShapeDtypeStruct((count, 2), "uint32"), jax.ShapeDtypeStruct((len(layout.numbers),), "float32"),
             list(layout.shapes))  # fmt: skip
    large = [layout.shapes[n] for n in layout.large]
    forward, backward, handed = two_programs(run, back if save else None, given, lambda front: (front[0], large))
    wide = tuple(n for n, a in enumerate(handed) if a.size * a.dtype.itemsize >= WIDE)

    def into(x: Any, draws: Any, numbers: Any, arrays: Sequence[Any], memory: Sequence[Any]) -> Any:
        return forward(x, draws, numbers, arrays)

    compiled = jax.jit(into, donate_argnums=4, keep_unused=True) if wide else jax.jit(into)
    return Chain(compiled, jax.jit(backward), tuple(moves[0]), tuple(moves[1]), wide, tuple(handed[n] for n in wide))


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


def seen_of(module: Any) -> list[Any]:
    """Objects that are the same as long as the module's link is."""
    d = vars(module)
    watched = _is_watched(module)
    if "_held_spec" in d:
        return [module, type(module), watched, module._spec, d["training"], d.get("watcher"), module._slots()]
    return [module, type(module), watched, *(() if d["_parameters"] or d["_modules"] else d.values())]


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
