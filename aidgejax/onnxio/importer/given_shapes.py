"""`shapes=` of `read`: whole shapes of inputs, some axes of one, or a number for a size that the file gives a name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from onnx import GraphProto

from ...errors import GraphError
from ...graph import Dim
from ...interpreter.sizes import parse, put, written

Shapes = Mapping[str, Any]


def whole_shapes(graph: GraphProto, shapes: Shapes) -> dict[str, Sequence[Dim]]:
    """{input: its shape}, for every input of which `shapes` says something.

    shapes: {"x": (1, 28, 28)} the whole shape of an input; {"x": {2: 28}} or {"x": {"H": 28}} some of its axes, by
        number or by the name that the file gives them; {"H": 28} a size of every input.
    Raises GraphError for a name that nothing bears.
    """
    declared = {i.name: _declared(i) for i in graph.input}
    whole: dict[str, Sequence[Dim]] = {k: v for k, v in shapes.items() if _is_whole(v)}
    sizes = {k: v for k, v in shapes.items() if k not in declared and not _is_whole(v) and not isinstance(v, Mapping)}
    named = {d for dims in declared.values() for d in dims or () if isinstance(d, str)}
    used = {s for d in named for s in getattr(parse(d), "symbols", ())}
    for k, v in shapes.items():
        if k not in declared and k not in whole and k not in used:
            raise GraphError(
                f"`shapes` names {k!r}, but the inputs are {_listed(declared)}, and their named sizes {_listed(used)}"
            )
        if k in declared and not _is_whole(v) and not isinstance(v, Mapping):
            raise GraphError(f"`shapes` gives the input {k!r} {v!r}; expected its sizes, or {{axis: size}}")
    for name, dims in declared.items():
        some = shapes.get(name)
        if name in whole or (dims is None and not isinstance(some, Mapping)):
            continue
        changed = list(dims or ())
        for axis, size in some.items() if isinstance(some, Mapping) else ():
            if isinstance(axis, str) and axis in changed:
                changed = [size if d == axis else d for d in changed]
            elif isinstance(axis, int) and -len(changed) <= axis < len(changed):
                changed[axis] = size
            else:
                shown = ", ".join(str(d or "?") for d in changed)
                raise GraphError(f"`shapes` names axis {axis!r} of {name!r}, whose sizes are [{shown}]")
        changed = [_with_sizes(d, sizes) for d in changed]
        if changed != list(dims or ()):
            whole[name] = tuple(changed)
    return whole


def _is_whole(v: Any) -> bool:
    return isinstance(v, Sequence) and not isinstance(v, str)


def _with_sizes(d: Any, sizes: Mapping[str, Any]) -> Any:
    """A size in which these symbols have got a number, or another name."""
    if not isinstance(d, str) or not sizes:
        return d
    return written(put(parse(d), {s: parse(n) if isinstance(n, str) else n for s, n in sizes.items()}))


def _declared(info: Any) -> list[Any] | None:
    kind = info.type.tensor_type
    if not kind.HasField("shape"):
        return None
    return [d.dim_value if d.HasField("dim_value") else d.dim_param or None for d in kind.shape.dim]


def _listed(names: Any) -> str:
    return ", ".join(map(repr, sorted(names))) or "none"
