"""TiledLayer: what layers that hold tiles share, for tensors and for arrays."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import jax.numpy as jnp
import numpy as np

from .....analog import AnalogLayer, logical_weights, settings
from .....analog.settings import perfect
from .....dtypes import Arrays
from .....graph import Graph
from ...exceptions import ConfigError, TileError
from ...simulator.configs import InferenceRPUConfig
from ._bridge import finished, tensor_of
from ._compiled import LayerSpec, compiled
from ._configured import ConfiguredLayer, check_tile_classes
from ._holder import Holder, Slot, context_of, remembered, slot_of
from ._module import check_arrays, in_torch, is_tensor, torch_in_use
from ._numbers import array_of, beside_weights, finite_array
from ._post_update import post_update
from ._tile import kind_of_tile
from ._tile_access import SCALES, with_omega
from ._tile_array import TileModuleArray, module_list
from ._torch_call import torch_call
from .base import AnalogLayerBase

REMEMBERED = 64  # calls whose backward may still come


class Live(dict):
    """A layer's arrays by name; setting an item sets the layer's."""

    def __init__(self, found: Arrays, write: Callable[[str, Any], None]) -> None:
        super().__init__(found)
        self._write = write

    def __setitem__(self, name: str, array: Any) -> None:
        self._write(name, array)
        super().__setitem__(name, array)


class TiledLayer(ConfiguredLayer, AnalogLayerBase, Holder):
    """Parameters and state by name, a forward that remembers, a backward that adds up; a torch module with torch.

    Arrays: `layer(x)` gives an array, `backward(dy)` takes the gradient of the last call that has not been taken yet
    and adds to `grads`.  Tensors: `layer(x)` gives a tensor with autograd.  A kind of layer says which node it is
    (_spec), what it takes (_sizes).
    """

    weight: Any = None
    """aihwkit's is None too: see get_weights."""

    mapped_in_place = False  # the tiles stand in the layer itself

    def __init__(self, spec: LayerSpec, rpu_config: Any, seed: int | None) -> None:
        super().__init__()
        self._hold_config(rpu_config)
        self._spec = spec
        weight, bias = self._first_weights(0 if seed is None and torch_in_use() is None else seed)
        if seed is None:
            # torch's generator has given the weights, and goes on where aihwkit leaves it.
            seed = 0 if torch_in_use() is None else zlib.crc32(weight.tobytes()) >> 1
        self._seed, self._calls = int(seed), 0
        self._grads: Arrays = {}
        self._saved: list[tuple[Any, Any, Any]] = []
        self.use_bias = spec.bias
        if not self.mapped_in_place:
            self.bias = spec.bias
        self._build(weight, bias)

    # ---- what a kind of layer says ------------------------------------------------------------------------

    def _sizes(self, x: Any) -> tuple:
        """What of x's shape the functions depend on; GraphError where it does not fit."""
        return self._spec.sizes(tuple(x.shape))

    def _first_weights(self, seed: int | None) -> tuple[np.ndarray, np.ndarray | None]:
        """Weight and bias, uniform within 1 / sqrt(a row's inputs); seed None: as torch's own layers draw them."""
        shape = self._spec.shape
        if seed is None:
            torch = torch_in_use()
            drawn = torch.nn.init.kaiming_uniform_(torch.empty(shape), a=math.sqrt(5))
            bound = 1 / math.sqrt(math.prod(shape[1:]))
            shift = torch.empty(shape[0]).uniform_(-bound, bound) if self._spec.bias else None
            return array_of(drawn), None if shift is None else array_of(shift)
        rng, bound = np.random.default_rng(seed), 1 / math.sqrt(math.prod(shape[1:]))
        weight, bias = (rng.uniform(-bound, bound, s).astype(np.float32) for s in (shape, shape[0]))
        return weight, bias if self._spec.bias else None

    def reset_parameters(self) -> None:
        """New weights and biases, uniform within 1 / sqrt(a row's inputs), from torch's generator."""
        self.set_weights(*self._first_weights(self._seed if torch_in_use() is None else None))

    # ---- tiles --------------------------------------------------------------------------------------------

    @property
    def _settings(self) -> Any:
        return self._spec.settings

    def _build(self, weight: np.ndarray, bias: np.ndarray | None) -> None:
        graph, layer = self._graph(weight, bias)
        self._layer: AnalogLayer = layer
        kind = kind_of_tile(self._spec.settings, self.rpu_config)
        tiles = []
        for k, part in enumerate(layer.parts):
            held = graph.params[f"{part.prefix}weight"]
            tiles.append(kind.of_layer(self._spec.settings, self, (len(held), held[0].size), self._seed + 7919 * k))
        if layer.parts[0].prefix == "":
            self.analog_module: Any = tiles[0]
        else:
            blocks = 1 + max(int(p.prefix.split("_")[1]) for p in layer.parts)
            rows = [tiles[i * len(tiles) // blocks : (i + 1) * len(tiles) // blocks] for i in range(blocks)]
            array = module_list([module_list(row) for row in rows])
            if self.mapped_in_place:
                self.array = array
            else:
                self.analog_module = TileModuleArray(self)
                self.analog_module.array = array
        self._fill(graph)

    def _holders(self) -> list[tuple[str, Any]]:
        """(prefix in the graph, what holds its tensors): the tiles, then what they have in common."""
        parts = self._layer.parts
        if parts[0].prefix == "":
            return [("", self.analog_module)]
        root = self if self.mapped_in_place else self.analog_module
        tiles = [tile for row in root.array for tile in row]
        return [*((p.prefix, t) for p, t in zip(parts, tiles, strict=True)), ("", root)]

    def _fill(self, graph: Graph) -> None:
        left_params, left_state = dict(graph.params), dict(graph.buffers)
        for prefix, holder in self._holders():
            mine = [
                {k[len(prefix) :]: left.pop(k) for k in list(left) if k.startswith(prefix)}
                for left in (left_params, left_state)
            ]
            holder.fill(*mine)

    def _slots(self) -> list[Slot]:
        """The same places, found once."""
        # In torch the tiles are children.
        tiles = list(vars(self)["_modules"].values()) if in_torch() else [self._holders()[0][1]]
        return remembered(self, "_found_slots").get(tiles, lambda: [slot_of(*place) for place in self._places()])

    def _places(self) -> Iterator[tuple[str, Any, str]]:
        for prefix, holder in self._holders():
            for name in holder.names:
                yield prefix + name, holder, name

    def _graph(self, weight: Any = None, bias: Any = None) -> tuple[Graph, AnalogLayer]:
        return self._spec.write(self._spec.any_sizes, weight, bias)

    def _write(self, name: str, array: Any) -> None:
        for flat, holder, own in self._places():
            if flat == name:
                holder.write(own, array)
                return
        raise TileError(f"{type(self).__name__} has no tensor {name!r}: it has {[n for n, _, _ in self._places()]}")

    def _read(self, trained: bool) -> Live:
        found = {n: h.numbers(o) for n, h, o in self._places() if (o in h.trained) == trained}
        # JAX arrays are immutable; torch's memory is copied.
        return Live(
            {n: jnp.asarray(np.array(a)) if isinstance(a, np.ndarray) else a for n, a in found.items()}, self._write
        )

    @property
    def params(self) -> Live:
        """What is trained, {name: array}; setting an item, or all, sets the layer's."""
        return self._read(True)

    @params.setter
    def params(self, new: Arrays) -> None:
        for name, array in new.items():
            self._write(name, array)

    @property
    def state(self) -> Live:
        """What the layer holds besides: scales, counters, ranges and quantizers that are not trained."""
        return self._read(False)

    @state.setter
    def state(self, new: Arrays) -> None:
        for name, array in new.items():
            self._write(name, array)

    @property
    def grads(self) -> Arrays:
        """{name: dL/d name} added up by backward; those of the torch parameters in torch."""
        if not in_torch():
            return self._grads
        found = {n: (h.tensor(o), o in h.trained) for n, h, o in self._places()}
        return {n: jnp.asarray(np.array(t.grad)) for n, (t, yes) in found.items() if yes and t.grad is not None}

    def set_weights(
        self,
        weight: Any,
        bias: Any = None,
        apply_weight_scaling: bool = True,
        realistic: bool = False,
        weight_scaling_omega: float | None = None,
    ) -> None:
        """Put a logical weight (and bias) into the tiles; scales start anew, ranges stay.

        apply_weight_scaling False: the numbers are the tiles' own, and scales stay.  weight_scaling_omega: in place of
        the config's, where the layer has scales.  realistic: they are programmed, by the config's noise model.
        TileError where a shape differs.
        """
        kind = type(self).__name__
        weight = finite_array(f"weight of {kind}", weight, self._spec.shape)
        if bias is not None:
            bias = finite_array(f"bias of {kind}", bias, self._spec.shape[:1])
        if bias is None and self._spec.bias:
            bias = array_of(self.get_weights()[1])
        omega = weight_scaling_omega if apply_weight_scaling else 0.0
        spec = replace(self._spec, settings=with_omega(self._spec.settings, omega))
        graph, _ = spec.write(spec.any_sizes, weight, bias if spec.bias else None)
        kept = ("input_range", "out_noise_values", *(() if apply_weight_scaling else SCALES))
        for name, array in {**graph.params, **graph.buffers}.items():
            if not name.rsplit(".", 1)[-1].startswith(kept):
                self._write(name, array)
        for tile in self.analog_tiles():
            tile.forget()
            if realistic:
                tile.program_weights()
        self._saved = []

    def get_weights(self, apply_weight_scaling: bool = True, realistic: bool = False) -> tuple[Any, Any]:
        """(weight f[out, in], bias): the logical ones, scales included; tensors in torch.

        A kernel is flat, as aihwkit's: in is channels times its elements.
        apply_weight_scaling False: the tiles' own numbers.  realistic: as the tiles' outputs in evaluation show them.
        """
        graph, layer = self._graph()  # of zeros: its scales are 1
        held = {**self.params, **self.state}
        if realistic:
            held |= self._seen_weights(held)
        if not apply_weight_scaling:
            held = {k: v for k, v in held.items() if k.rsplit(".", 1)[-1] not in SCALES}
        weight, bias = logical_weights(graph, layer, held)
        weight = weight.reshape(weight.shape[0], -1)
        if in_torch():
            return tensor_of(weight), None if bias is None else tensor_of(bias)
        return weight, bias

    def _seen_weights(self, held: Arrays) -> Arrays:
        """The tiles' numbers as their outputs show them."""
        found = {}
        for part, tile in zip(self._layer.parts, self.analog_tiles(), strict=True):
            weight, bias = tile.read_weights()
            weight = array_of(weight)
            if tile.analog_bias:
                weight = np.hstack([weight, array_of(bias)[:, None]])
            name = f"{part.prefix}weight"
            found[name] = np.reshape(weight, np.shape(held[name]))
        return found

    # ---- calls --------------------------------------------------------------------------------------------

    def forward(self, x: Any) -> Any:
        if self.watcher is not None:
            seen, ideal = self.watcher
            seen(self, x)
            if ideal:
                return self._ideal(x)
        if is_tensor(x):
            vars(self)["_saved"] = []
            return torch_call(self, x)
        params, state = self.params, self.state
        x = beside_weights(params, self._array_of(x))
        run, back = compiled(self._spec, self._sizes(x), self.training)
        self._calls += 1
        y, saved, params_moved, state_moved = run(dict(params), dict(state), x, self._seed, self._calls)
        for name, array in {**params_moved, **state_moved}.items():
            self._write(name, array)
        large = {**params, **params_moved}
        self._saved = [*(self._saved[-REMEMBERED:] if self.training else ()), (back, large, saved)]
        return y

    def _array_of(self, x: Any) -> Any:
        try:
            return jnp.asarray(x)
        except (TypeError, ValueError):
            raise TileError(f"{type(self).__name__} got a {type(x).__name__}: expected a tensor or an array") from None

    watcher: Any = None
    """(called with the layer and its input before each call, whether products are to be ideal then)"""

    def windows(self, x: np.ndarray) -> np.ndarray:
        """f[..., in]: the rows that the tiles multiply."""
        return x

    def _ideal(self, x: Any) -> Any:
        """The output of perfect products, ranges that are set included."""
        spec = replace(self._spec, settings=perfect(self._spec.settings))
        array = jnp.asarray(np.array(x.detach().cpu() if is_tensor(x) else x))
        run, _ = compiled(spec, self._sizes(array), False, save=False)
        names = [{*d} for d in self._wanted(spec)]
        found = {**self.params, **self.state}
        params, state = ({k: found[k] for k in n} for n in names)
        y = run(params, state, array, self._seed, 0)[0]
        return tensor_of(finished(y), x) if is_tensor(x) else y

    def _wanted(self, spec: LayerSpec) -> tuple[Arrays, Arrays]:
        graph, _ = spec.write(self._spec.any_sizes)
        return graph.params, graph.buffers

    def backward(self, dy: Any) -> Any:
        """dL/dx of the last call whose gradient was not taken yet; dL/d parameters are added to `grads`."""
        if is_tensor(dy):
            raise TileError("backward takes an array, after a call with an array; tensors have loss.backward()")
        if not self._saved:
            raise TileError("backward needs a call of the layer first, with an array; tensors have loss.backward()")
        back, params, saved = self._saved.pop() if len(self._saved) > 1 else self._saved[0]
        grads, dx = back(dict(params), saved, beside_weights(params, jnp.asarray(dy)))
        self._add(grads)
        return dx

    def _add(self, grads: Arrays) -> None:
        if not in_torch():
            self._grads = {k: self._grads[k] + g if k in self._grads else g for k, g in grads.items()}
            return
        held = {n: h.tensor(o) for n, h, o in self._places()}
        for name, g in grads.items():
            new = tensor_of(finished(g), held[name])
            held[name].grad = new if held[name].grad is None else held[name].grad + new

    def zero_grad(self, set_to_none: bool = True) -> None:
        self._grads = {}
        if in_torch():
            super().zero_grad(set_to_none)  # type: ignore[misc]  # torch.nn.Module has it

    def post_update_step(self) -> None:
        """Clip and map the weights, as the config says; aihwkit.optim calls it after each step."""
        post_update([self])

    def remap_analog_weights(self, weight_scaling_omega: float | None = 1.0) -> None:
        """The same logical weights under new scales, where the layer has any."""
        self.set_weights(*self.get_weights(), weight_scaling_omega=weight_scaling_omega)

    # ---- ranges -------------------------------------------------------------------------------------------

    @property
    def input_range(self) -> Any:
        """The range of the only tile; of several, the first."""
        return next((jnp.asarray(np.array(h.numbers(o))) for _, h, o in self._places() if o == "input_range"), None)

    def set_input_range(self, value: Any) -> None:
        """|value| becomes the range of every tile."""
        found = [name for name, _, own in self._places() if own == "input_range"]
        if not found:
            raise ConfigError("Input range is not enabled: pre_post.input_range.enable is False")
        value = np.abs(finite_array(f"input_range of {type(self).__name__}", value).reshape(-1)[:1])
        for name in found:
            self._write(name, value)

    # ---- checkpoints --------------------------------------------------------------------------------------

    def parameters(self, *args: Any, **kwargs: Any) -> Any:
        """For aihwkit.optim, which asks a layer for what it holds; in torch as of any module."""
        return super().parameters(*args, **kwargs) if in_torch() else [self]

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """All that the layer holds, by name: plain arrays, nothing pickled; in torch as of any module."""
        if in_torch():
            return super().state_dict(*args, **kwargs)
        return {**self.params, **self.state, "noise_draw": np.array([self._seed, self._calls], np.int64)}

    def load_state_dict(self, state_dict: Any, *args: Any, **kwargs: Any) -> Any:
        if in_torch():
            return super().load_state_dict(state_dict, *args, **kwargs)
        self.check_state_dict(state_dict)
        for name in (*self.params, *self.state):
            self._write(name, jnp.asarray(state_dict[name]))
        if "noise_draw" in state_dict:
            self.go_on_from(*state_dict["noise_draw"])
        return None

    def check_state_dict(self, state_dict: dict[str, Any], where: str = "this layer") -> None:
        """Raise TileError unless names, shapes and dtypes are those of the layer's own state."""
        if not hasattr(state_dict, "items"):
            raise TileError(f"load_state_dict got a {type(state_dict).__name__}: expected a dict of arrays")
        held = {k: v for k, v in state_dict.items() if k != "noise_draw"}
        check_arrays({**self.params, **self.state}, held, where)
        draws = np.asarray(state_dict.get("noise_draw", (0, 0)))
        if draws.shape != (2,) or draws.dtype.kind not in "iu":
            raise TileError(f"the state for {where}: noise_draw is {draws.dtype}{list(draws.shape)}, expected int64[2]")

    def draws(self) -> tuple[int, int]:
        """(seed, number of calls): where the layer's noise stands."""
        return self._seed, self._calls

    def go_on_from(self, seed: int, calls: int) -> None:
        """Draw as a layer does that stands there; see draws."""
        self._seed, self._calls = int(seed), int(calls)

    def to_torch(self) -> None:
        """The layer was made before torch was imported: its tiles have become torch modules by now."""
        self.__dict__.pop("_found_slots", None)
        for tile in self.analog_tiles():
            tile.analog_ctx = context_of(tile.shape, self)
        super().to_torch()

    def extra_repr(self) -> str:
        return f"{', '.join(map(str, self._spec.shape))}, bias={self.use_bias}, {type(self.rpu_config).__name__}"

    @classmethod
    def _config(cls, rpu_config: Any, tile_module_class: Any = None) -> Any:
        found = InferenceRPUConfig() if rpu_config is None else rpu_config
        parts = ("pre_post", "forward", "mapping", "clip", "remap", "modifier")
        absent = [p for p in parts if getattr(found, p, None) is None]
        if isinstance(found, type) or absent:
            what = f"the class {found.__name__}" if isinstance(found, type) else f"a {type(found).__name__}"
            lacks = f" without {', '.join(absent)}" if absent and not isinstance(found, str | type) else ""
            raise ConfigError(f"{cls.__name__} got {what}{lacks} as rpu_config: expected e.g. InferenceRPUConfig()")
        check_tile_classes(cls.__name__, found, tile_module_class)
        return found

    @staticmethod
    def _settings_of(rpu_config: Any) -> Any:
        return settings(rpu_config)
