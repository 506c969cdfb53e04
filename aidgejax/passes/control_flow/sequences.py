"""Sequences are lists, an absent optional value is None; neither leaves a trace in the graph that is written."""

from __future__ import annotations

import numpy as np

from ...graph import Node, Value
from .loops import cut, stacked
from .unroller import MOST_NODES, Item, Unroller, unrolls


def _list(flat: Unroller, node: Node, item: Item) -> list:
    if not isinstance(item, list):
        raise flat.error(node, f"expected a sequence, got {'nothing' if item is None else f'the tensor {item!r}'}")
    return item


def _position(flat: Unroller, node: Node, item: Item, size: int) -> int:
    """A place among `size` ones; a negative one counts from the end."""
    at = flat.number(item, node, "the position")
    if not -size <= at < size:
        raise flat.error(node, f"position {at} is outside its sequence ({-size} to {size - 1})")
    return at % size


@unrolls("SequenceConstruct")
def construct(flat: Unroller, node: Node, inputs: list, prefix: str) -> list[Item]:
    return [inputs]


@unrolls("SequenceEmpty")
def empty(flat: Unroller, node: Node, inputs: list, prefix: str) -> list[Item]:
    return [[]]


@unrolls("SequenceAt")
def at(flat: Unroller, node: Node, inputs: list, prefix: str) -> list[Item]:
    found = _list(flat, node, inputs[0])
    return [found[_position(flat, node, inputs[1], len(found))]]


@unrolls("SequenceInsert")
def insert(flat: Unroller, node: Node, inputs: list, prefix: str) -> list[Item]:
    found = _list(flat, node, inputs[0])
    place = len(found)
    if len(inputs) > 2 and inputs[2] is not None:
        place = flat.number(inputs[2], node, "the position")
        if not -len(found) <= place <= len(found):
            raise flat.error(node, f"position {place} is outside its sequence ({-len(found)} to {len(found)})")
        place += len(found) if place < 0 else 0
    return [[*found[:place], inputs[1], *found[place:]]]


@unrolls("SequenceErase")
def erase(flat: Unroller, node: Node, inputs: list, prefix: str) -> list[Item]:
    found = _list(flat, node, inputs[0])
    last = len(inputs) < 2 or inputs[1] is None
    place = _position(flat, node, np.int64(-1) if last else inputs[1], len(found))
    return [found[:place] + found[place + 1 :]]


@unrolls("SequenceLength")
def length(flat: Unroller, node: Node, inputs: list, prefix: str) -> list[Item]:
    return [flat.constant(node, prefix, "length", np.asarray(len(_list(flat, node, inputs[0])), np.int64))]


@unrolls("ConcatFromSequence")
def concat(flat: Unroller, node: Node, inputs: list, prefix: str) -> list[Item]:
    found, axis = _list(flat, node, inputs[0]), node.attrs["axis"]
    if not found:
        raise flat.error(node, "its sequence is empty")
    if node.attrs.get("new_axis"):
        return [stacked(flat, node, prefix, found, axis, Value(""))]
    return flat.emit(node, prefix, "Concat", *found, axis=axis)


@unrolls("SplitToSequence")
def split(flat: Unroller, node: Node, inputs: list, prefix: str) -> list[Item]:
    x, axis = inputs[0], node.attrs.get("axis", 0)
    whole = flat.length(x, axis, node)
    if len(inputs) < 2 or inputs[1] is None:
        return [cut(flat, node, prefix, x, axis, whole, squeeze=not node.attrs.get("keepdims", 1))]
    sizes = flat.known(inputs[1], node)
    if sizes.ndim == 0:  # all of this size, the last one perhaps smaller
        size = int(sizes)
        if size < 1 or whole > size * MOST_NODES:
            raise flat.error(node, f"pieces of the size {size}, from a tensor of {whole}")
        sizes = np.asarray([min(size, whole - start) for start in range(0, whole, size)])
    if (sizes < 0).any() or sum(map(int, sizes)) != whole:
        raise flat.error(node, f"pieces of the sizes {sizes[:8].tolist()} do not make up {whole}")
    flat.spend(node, len(sizes))
    return [
        flat.emit(
            node,
            prefix,
            "Split",
            x,
            flat.constant(node, prefix, "split", sizes.astype(np.int64)),
            axis=axis,
            outputs=len(sizes),
        )
    ]


@unrolls("Optional")
def optional(flat: Unroller, node: Node, inputs: list, prefix: str) -> list[Item]:
    return [inputs[0] if inputs else None]


@unrolls("OptionalGetElement")
def get_element(flat: Unroller, node: Node, inputs: list, prefix: str) -> list[Item]:
    if inputs[0] is None:
        raise flat.error(node, "there is no value in it")
    return [inputs[0]]


@unrolls("OptionalHasElement")
def has_element(flat: Unroller, node: Node, inputs: list, prefix: str) -> list[Item]:
    return [flat.constant(node, prefix, "there", np.asarray(bool(inputs) and inputs[0] is not None))]
