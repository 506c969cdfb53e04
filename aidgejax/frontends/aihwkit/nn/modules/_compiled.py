"""The pure functions of one kind of layer, compiled once per shape and shared by all layers that are alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .....analog import AnalogLayer, Settings, post_updated
from .....analog.convert import write_layer
from .....dtypes import Arrays
from .....errors import GraphError
from .....execution.cache import PROGRAMS
from .....execution.program import make_program
from .....graph import Graph, Node, Value

LARGE = ("weight", "bias")  # what backward reads where it lies rather than as it was returned


@dataclass(frozen=True)
class LayerSpec:
    """All that a layer's functions depend on but the shape of its input: hashable.

    op, attrs: its node; shape: of the logical weight; as_array, block: see analog.convert.write_layer.
    """

    op: str
    attrs: tuple[tuple[str, Any], ...]
    shape: tuple[int, ...]
    bias: bool
    settings: Settings
    as_array: bool = False
    block: int = 1

    def __hash__(self) -> int:
        # Asked for in every call of a layer: its settings have a hundred fields.
        found = self.__dict__.get("_hash")
        if found is None:
            found = hash(tuple(getattr(self, f.name) for f in fields(self)))
            object.__setattr__(self, "_hash", found)
        return found

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k != "_hash"}  # another process hashes differently

    @property
    def kind(self) -> str:
        """The class of such layers, for messages."""
        mapped = "Mapped" if self.as_array else ""
        return f"AnalogConv{len(self.shape) - 2}d{mapped}" if self.op == "Conv" else f"AnalogLinear{mapped}"

    def sizes(self, shape: tuple[int, ...]) -> tuple:
        """Of an input of this shape, what the functions depend on.  GraphError where the layer cannot take it."""
        inputs = self.shape[1]
        if self.op == "Conv":
            axes = len(self.shape) - 2
            if len(shape) != axes + 2 or shape[1] != inputs:
                raise GraphError(
                    f"{self.kind} got an input of shape {list(shape)}: expected [n, {inputs}, and {axes} sizes]"
                )
            return ("N", *shape[1:])
        if not shape or shape[-1] != inputs:
            raise GraphError(
                f"{self.kind}({inputs}, {self.shape[0]}) got an input of shape {list(shape)}: expected [..., {inputs}]"
            )
        return (*(f"N{k}" for k in range(len(shape) - 1)), inputs)

    @property
    def any_sizes(self) -> tuple:
        """Sizes of some input that the layer can take."""
        if self.op != "Conv":
            return ("N0", self.shape[1])
        a = dict(self.attrs)
        return ("N", self.shape[1], *(d * (k - 1) + 1 for k, d in zip(a["kernel_shape"], a["dilations"], strict=True)))

    def write(self, sizes: tuple, weight: Any = None, bias: Any = None) -> tuple[Graph, AnalogLayer]:
        """The layer's graph for an input of these sizes, holding this weight; zeros without one."""
        weight = np.zeros(self.shape, np.float32) if weight is None else weight
        if bias is None and self.bias:
            bias = np.zeros(self.shape[0], np.float32)
        g = Graph("layer")
        node = Node(self.op, ("x", "weight", "bias"), ("y",), dict(self.attrs), "layer")
        y = Value("y", self.output_sizes(sizes))
        x = g.input("x", sizes)
        out, layer = write_layer(
            g, x, y, "", self.settings, weight, bias, node, unfold=True, as_array=self.as_array, block=self.block
        )
        g.add("Identity", [out], names=["y"])
        g.output("y")
        return g, layer

    def output_sizes(self, sizes: tuple) -> tuple:
        if self.op != "Conv":
            return (*sizes[:-1], self.shape[0])
        a = dict(self.attrs)
        spatial = [
            (n + 2 * p - d * (k - 1) - 1) // s + 1
            for n, k, s, p, d in zip(
                sizes[2:], a["kernel_shape"], a["strides"], a["pads"], a["dilations"], strict=False
            )
        ]
        return (sizes[0], self.shape[0], *spatial)


class Functions(NamedTuple):
    """run(params, state, x, seed, count) -> (y, saved, moved params, moved state); back(params, saved, dy)."""

    run: Callable[..., Any]
    back: Callable[..., Any]


@PROGRAMS.cached
def functions(spec: LayerSpec, sizes: tuple, training: bool, needs_dx: bool = True, save: bool = True) -> Functions:
    """A layer's functions, not compiled."""
    graph, _ = spec.write(sizes)
    wrt = [*graph.params, *(["x"] if needs_dx else [])]
    program = make_program(graph, seeds=["y"], wrt=wrt, training=training, unreachable="zeros")
    moves, updates = program.parameter_updates, program.updates
    owned = {*graph.params, *graph.buffers, "x"}

    def run(params: Arrays, state: Arrays, x: Any, seed: Any, count: Any) -> Any:
        key = jax.random.fold_in(jax.random.key(seed), count)
        outputs, saved, after = program.forward(params, state, {"x": x}, key, save=True)
        new = program.with_updated_params(params, saved)
        moved = {k: new[k] for k in moves}
        # An output that is an input would be the caller's own memory, which torch may write.
        kept = {k: jnp.copy(v) if k in owned else v for k, v in saved.items()} if save else {}
        small = {k: jnp.copy(v) for k, v in new.items() if k.rsplit(".", 1)[-1] not in LARGE} if save else {}
        return outputs["y"], (small, kept), moved, {k: after[k] for k in updates}

    def back(large: Arrays, saved: Any, dy: Any) -> Any:
        small, kept = saved
        grads = program.backward({**large, **small}, kept, {"y": dy})
        return grads, grads.pop("x") if needs_dx else None

    return Functions(run, back)


@PROGRAMS.cached
def compiled(spec: LayerSpec, sizes: tuple, training: bool, needs_dx: bool = True, save: bool = True) -> Functions:
    """The same, each one program."""
    return Functions(*map(jax.jit, functions(spec, sizes, training, needs_dx, save)))


def changes_after_update(spec: LayerSpec) -> bool:
    """Whether a post-update step of such a layer does anything."""
    s = spec.settings
    return s.clip.type != "NONE" or s.remap.type != "NONE" or (s.explicit and s.modifier.type != "NONE")


def fixed_bound(spec: LayerSpec) -> float | None:
    """Where a post-update step cuts off the weights, if it is a given number and nothing else is done."""
    s = spec.settings
    drawn = s.explicit and s.modifier.type != "NONE"
    alone = s.clip.type == "FIXED_VALUE" and s.remap.type == "NONE" and not drawn
    return s.clip.fixed_value if alone and s.clip.fixed_value > 0 else None


@PROGRAMS.cached
def compiled_post_update(
    layers: tuple[tuple[LayerSpec, tuple], ...], held: tuple[tuple[int, str, bool], ...]
) -> tuple[Callable[..., Any], tuple[tuple[int, str], ...]]:
    """(f, changed): f([array]) -> [array], of each of `held` to what a post-update step makes of those in `changed`.

    layers: (spec, sizes of an input); held: (number of the layer, name, is it a parameter).
    """
    written = [spec.write(sizes) for spec, sizes in layers]
    changed: list[tuple[int, str]] = []

    def update(arrays: list[Any]) -> list[Any]:
        found: dict[tuple[int, str], Any] = {}
        for k, (_, layer) in enumerate(written):
            old = [{n: a for (of, n, p), a in zip(held, arrays, strict=True) if (of, p) == (k, yes)} for yes in (1, 0)]
            for new, was in zip(post_updated(layer, *old), old, strict=True):
                found |= {(k, n): v for n, v in new.items() if n not in was or v is not was[n]}
        changed[:] = found
        return list(found.values())

    every = [{**graph.params, **graph.buffers} for graph, _ in written]
    compiled_update = jax.jit(update)
    compiled_update.eval_shape([jax.ShapeDtypeStruct(every[k][n].shape, every[k][n].dtype) for k, n, _ in held])
    return compiled_update, tuple(changed)
