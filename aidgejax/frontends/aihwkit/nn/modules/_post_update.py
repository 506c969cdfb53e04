"""The post-update step of layers: weights clipped and mapped, and drawn anew, after each step of an optimizer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ._bridge import finished
from ._compiled import changes_after_update, compiled_post_update, fixed_bound
from ._holder import remembered
from ._module import in_torch

MAPPED = ("weight", "mapping_scales", "out_scaling_alpha", "modifier_draw")  # what a post-update step reads


def post_update(layers: Sequence[Any]) -> None:
    """The post-update step of all of these layers, in one call."""
    for layer in layers:
        vars(layer)["_saved"] = []
    layers = [layer for layer in layers if changes_after_update(layer._spec)]
    if not layers:
        return
    seen = [part for layer in layers for part in (layer._spec, layer._slots())]
    remembered(layers[0], "_post_update").get(seen, lambda: PostUpdate(layers))()


class PostUpdate:
    """The post-update step of these layers, which all change by it.

    Tensors that are cut off at a fixed value, and no more, are so in place: a call of a program costs ten times that.
    The others are one program.
    """

    def __init__(self, layers: Sequence[Any]) -> None:
        cut = {layer: fixed_bound(layer._spec) if in_torch() else None for layer in layers}
        self.cut = [(s, b) for layer, b in cut.items() if b for s in layer._slots() if s.own == "weight"]
        self.read, self.changed = [], []
        layers = [layer for layer, bound in cut.items() if not bound]
        if layers:
            specs = tuple((layer._spec, layer._spec.any_sizes) for layer in layers)
            places = {(k, s.name): s for k, layer in enumerate(layers) for s in layer._slots() if s.own in MAPPED}
            self.update, changed = compiled_post_update(specs, tuple((*at, s.trained) for at, s in places.items()))
            self.read, self.changed = list(places.values()), [places[at] for at in changed]

    def __call__(self) -> None:
        for slot, bound in self.cut:
            slot.cut_off(bound)
        if self.read:
            for slot, new in zip(self.changed, finished(self.update([s.numbers() for s in self.read])), strict=True):
                slot.write(new)
