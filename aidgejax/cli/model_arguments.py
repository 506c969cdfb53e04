"""Arguments that say how a model is read: its batch, its ends, and what of it is trained."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import Any

from .. import onnxio
from ..errors import SettingError
from ..graph import Graph
from ..tools.reading import read_for_training


def add_model_arguments(parser: argparse._ActionsContainer, *, roles: bool = True) -> None:
    """roles: what is trained may be said too."""
    add = parser.add_argument
    add("--batch", metavar="NAME", help="a name for a batch that the file fixes (default: none, but for a batch of 1)")
    add("--inputs", nargs="+", metavar="TENSOR", help="cut the model off here; default: the file's")
    add("--outputs", nargs="+", metavar="TENSOR", help="cut the model off here; default: the file's")
    add(
        "--shapes",
        nargs="+",
        metavar="X=N,1,28,28",
        help="sizes of an input, or a size by name, such as H=28; default: the file's",
    )
    if roles:
        add(
            "--parameters",
            nargs="+",
            metavar="NAME",
            help="what is trained: exactly these names or patterns; default: what the structure says",
        )
        add("--constants", nargs="+", metavar="NAME", help="names or patterns of what is left alone")


def read_as_asked(path: Any, args: argparse.Namespace, *, free: bool = False) -> Graph:
    """The graph, its batch as the file has it unless another is asked for, or any (free)."""
    if free and args.batch is None:
        return read_with_free_batch(path, "N", **_asked(args))
    return onnxio.read(path, batch=args.batch, **_asked(args))


def read_with_free_batch(path: Any, name: str | None, **how: Any) -> Graph:
    """The graph; where its inputs have no symbolic batch, one of this name (None: as the file has it)."""
    graph = onnxio.read(path, **how)
    if name is None or any(v.shape and isinstance(v.shape[0], str) for v in graph.inputs.values()):
        return graph
    return onnxio.read(path, batch=name, **how)


def read_model(path: Any, args: argparse.Namespace, **more: Any) -> tuple[Graph, tuple[str, ...]]:
    """(the graph, lines to print); a batch of 1 is made symbolic."""
    return read_for_training(path, batch=args.batch, **_asked(args) | more)


def _asked(args: argparse.Namespace) -> dict[str, Any]:
    ends = {k: v for k in ("inputs", "outputs") if (v := getattr(args, k, None))}
    roles = {k: getattr(args, k, None) or None for k in ("parameters", "constants")}
    return {**roles, **ends, "shapes": shapes_of(args.shapes or ())}


def shapes_of(texts: Iterable[str]) -> dict[str, Any] | None:
    """{input or name of a size: what stands behind "="}.  Raises SettingError."""
    found: dict[str, Any] = {}
    for text in texts:
        name, equals, sizes = text.partition("=")
        parts = [p.strip() for p in sizes.split(",")]
        if not (name and equals and all(parts)):
            raise SettingError(f"--shapes {text!r}: expected INPUT=SIZE,SIZE,... or SIZE_NAME=SIZE")
        numbers = [int(p) if p.lstrip("-").isdigit() else p for p in parts]
        found[name] = numbers[0] if len(numbers) == 1 else tuple(numbers)
    return found or None
