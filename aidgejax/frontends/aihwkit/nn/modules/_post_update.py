"""The post-update step of layers: weights clipped and mapped, and drawn anew, after each step of an optimizer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ._bridge import finished
from ._compiled import changes_after_update, compiled_post_update
from ._holder import remembered

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
    """The post-update step of these layers, which all change by it, as one program."""

    def __init__(self, layers: Sequence[Any]) -> None:
        self.update = compiled_post_update(tuple((layer._spec, layer._spec.any_sizes) for layer in layers))
        self.places = [[s for s in layer._slots() if s.own in MAPPED] for layer in layers]

    def __call__(self) -> None:
        held = [[{s.name: s.numbers() for s in slots if s.trained == yes} for slots in self.places]
                for yes in (True, False)]  # fmt: skip
        for slots, *new in zip(self.places, *finished(self.update(*held)), strict=True):
            found = {**new[0], **new[1]}
            for slot in slots:
                if slot.name in found:
                    slot.write(found[slot.name])
