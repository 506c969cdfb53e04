"""A layer and its config: which may change, by replacing it or by setting a field of it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from .....analog.config_fields import CheckedFields
from .....analog.config_io import MappingParameter
from .....analog.settings import Settings, Snapshot
from ...exceptions import ConfigError
from ...simulator._in_memory import NotSimulated
from ._compiled import LayerSpec, compiled
from .base import check_configs


def check_tile_classes(what: str, rpu_config: Any, tile_module_class: Any = None) -> None:
    """ConfigError that names `what` where a config asks for a tile whose code is a script's own."""
    asked = {"tile_module_class": tile_module_class}
    for name in ("tile_class", "tile_array_class", "simulator_tile_class"):
        asked[f"{type(rpu_config).__name__}.{name}"] = getattr(rpu_config, name, None)
    for name, kind in asked.items():
        ours = isinstance(kind, type) and kind.__module__.startswith("aidgejax.") and not issubclass(kind, NotSimulated)
        if kind is not None and not ours:
            shown = kind.__name__ if isinstance(kind, type) else repr(kind)
            raise ConfigError(
                f"{what}: {name} is {shown}, which would not be called: what a tile computes is one compiled function. "
                f"Noise models, drift compensations, converters and layers may be a script's own; two products of one "
                f"tile are two calls of an AnalogLinear"
            )


class ConfiguredLayer:
    """`_spec`, which follows `rpu_config`: a copy of the config that the layer was made with."""

    rpu_config: Any
    _layer: Any
    _saved: list[Any]
    _holders: Callable[[], list[tuple[str, Any]]]
    _settings_of: Callable[[Any], Settings]
    analog_tiles: Callable[[], Iterator[Any]]

    @property
    def _spec(self) -> LayerSpec:
        held = self.__dict__
        if held["_edits"] != CheckedFields.edits:
            self._reread()
        return held["_held_spec"]

    @_spec.setter
    def _spec(self, spec: LayerSpec) -> None:
        self.__dict__["_held_spec"] = spec
        self.__dict__["_edits"] = CheckedFields.edits

    def _hold_config(self, rpu_config: Any) -> None:
        """Changes of the script's own config are not the layer's, as in aihwkit."""
        self.rpu_config = copy.deepcopy(rpu_config)

    def _reread(self) -> None:
        """A field of some config was set: perhaps of this one."""
        self._take_settings(self._settings_of(self.rpu_config))
        self.__dict__["_edits"] = CheckedFields.edits

    def follow_config(self) -> None:
        """What was set in the config holds from now on, and not only from the next call."""
        if self.__dict__["_edits"] != CheckedFields.edits:
            self._reread()

    def _take_settings(self, new: Settings) -> None:
        """Go on with these; tensors that there still are keep their numbers."""
        spec: LayerSpec = self.__dict__["_held_spec"]
        old = spec.settings
        if new.remap.type == "NONE" and (most := self._scale_size()):
            # The weights were divided by them: they stay.
            mapping = new.mapping
            omega = mapping.weight_scaling_omega or old.mapping.weight_scaling_omega or 1.0
            by_output = mapping.weight_scaling_columnwise or most > 1
            scaling = {"weight_scaling_omega": omega, "weight_scaling_columnwise": by_output}
            new = replace(new, mapping=Snapshot(MappingParameter, mapping, **scaling))
        if new == old and new.noise_model is old.noise_model:
            return
        self._spec = spec = replace(spec, settings=new)
        graph, layer = spec.write(spec.any_sizes)
        left = [dict(graph.params), dict(graph.buffers)]
        for prefix, holder in self._holders():
            holder.refill(*({k[len(prefix) :]: d.pop(k) for k in list(d) if k.startswith(prefix)} for d in left))
        self._layer = layer
        for tile in self.analog_tiles():
            tile.take_settings(new)
        self._tensors_have_changed()

    def _scale_size(self) -> int:
        """How many mapping scales a tile has, at most."""
        tiles = [tile for tile in self.analog_tiles() if "mapping_scales" in tile.names]
        return max((np.size(tile.numbers("mapping_scales")) for tile in tiles), default=0)

    def _scale_by_output(self) -> None:
        """Every tile has one mapping scale for each output from now on."""
        s = self._spec.settings
        self._take_settings(replace(s, mapping=Snapshot(MappingParameter, s.mapping, weight_scaling_columnwise=True)))

    def _tensors_have_changed(self) -> None:
        self.__dict__.pop("_found_slots", None)
        self._saved = []

    def replace_rpu_config(self, rpu_config: Any) -> None:
        """Go on with this config, of which a copy is taken; weights, scales and ranges stay, programming too.

        TileModuleError where it does not fit: its class, or sizes, biases or learned scales of its mapping, differ.
        """
        check_configs([self], rpu_config)
        new = self._settings_of(rpu_config)
        self._hold_config(rpu_config)
        self._take_settings(new)

    def go_back_to(self, rpu_config: Any) -> None:
        """Hold this config itself again, which was the layer's before."""
        if self.rpu_config is not rpu_config:
            self.rpu_config = rpu_config
            self._take_settings(self._settings_of(rpu_config))

    def _tile_outputs(self, tile: Any) -> Callable[[Any], Any]:
        """x f[..., in] -> f[..., out] of one tile in evaluation, scales included, a digital bias not."""
        s = self._spec.settings
        whole = Snapshot(MappingParameter, s.mapping, max_input_size=0, max_output_size=0)
        shape = (tile.out_size, tile.in_size)
        spec = LayerSpec("Gemm", (("transB", 1),), shape, tile.analog_bias, replace(s, mapping=whole))
        graph, _ = spec.write(("N0", tile.in_size))
        found = {name: np.array(tile.numbers(name)) for name in tile.names}
        found["weight"] = found["weight"].reshape(tile.shape)
        params, state = ({k: found[k] for k in held} for held in (graph.params, graph.buffers))

        def outputs(x: Any) -> Any:
            x = np.asarray(x, np.float32)
            run, _ = compiled(spec, spec.sizes(x.shape), False, save=False)
            return run(params, state, x, tile.seed, tile.next_reading())[0]

        return outputs
