"""Which tensors of a model training changes: ONNX does not say, so the reader guesses and the writer notes the rest."""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np

from ..errors import ModelFileError
from ..graph import ROLES, Graph, Node
from ..interpreter.constant_folding import compile_time_values
from ..ops import lookup
from ..ops.control_flow import is_control_flow

KEY = "aidgejax.roles"  # in the model's metadata: {role: [names]}, where it is not the guessed one


def guess_roles(graph: Graph) -> dict[str, str]:
    """{producer: role}: floating tensors are parameters; constants are scalars, settings, and what nobody reads or what
    decides a shape; buffers are what training updates by other means (BatchNormalization's statistics)."""
    fixed = compile_time_values(graph)
    uses = _uses(graph)
    return {p.name: _guess(p.data, p.name in fixed, uses.get(p.name, [])) for p in graph.producers.values()}


def feeds_weight(graph: Graph) -> set[str]:
    """The producers that some node reads as its weight."""
    return {name for name, uses in _uses(graph).items() if any(_reads(n, k, "weights") for n, k in uses)}


def _uses(graph: Graph) -> dict[str, list[tuple[Node, int]]]:
    """{producer: the nodes that read it, and as which input}; subgraphs are looked into."""
    uses: dict[str, list[tuple[Node, int]]] = {}
    for node in graph.nodes:
        inside = node.attrs.get("captures", ()) if is_control_flow(node) else ()
        for k, i in enumerate(node.inputs):
            if isinstance(i, str) and not is_control_flow(node):
                uses.setdefault(i, []).append((node, k))
        for body in (a for a in node.attrs.values() if isinstance(a, Graph)):
            found = _uses(body)
            for name, i in zip(inside, node.inputs[len(node.inputs) - len(inside) :], strict=True):
                if isinstance(i, str):
                    uses.setdefault(i, []).extend(found.get(name, []))
    return uses


def _guess(data: np.ndarray, fixed: bool, uses: list[tuple[Node, int]]) -> str:
    if fixed or not is_float(data) or not uses:
        return "constant"
    if any(k in lookup(n.op).updates for n, k in uses):
        return "buffer"
    if data.ndim == 0 or all(_reads(n, k, "settings") for n, k in uses):
        return "constant"
    return "parameter"


def _reads(node: Node, position: int, kind: str) -> bool:
    operator = lookup(node.op)
    return operator.reads_as(position) in getattr(operator, kind)


def is_float(data: np.ndarray) -> bool:
    return data.dtype.kind == "f" or data.dtype.name == "bfloat16"


def noted_roles(props: Mapping[str, str]) -> dict[str, str]:
    """{producer: role} as the writer noted them in a model's metadata."""
    try:
        noted = json.loads(props.get(KEY, "{}"))
        found = {name: role for role, names in noted.items() for name in names}
    except (ValueError, AttributeError, TypeError, RecursionError):
        raise ModelFileError(f"its metadata {KEY!r} is not what aidgejax writes: {props[KEY][:80]!r}") from None
    if not set(found.values()) <= set(ROLES):
        raise ModelFileError(
            f"its metadata {KEY!r} has the roles {', '.join(map(repr, noted))}; a role is one of {', '.join(ROLES)}"
        )
    return found


def note_roles(graph: Graph) -> str | None:
    """What to write into the metadata, for `noted_roles`: roles that the reader would not guess."""
    guessed = guess_roles(graph)
    noted: dict[str, list[str]] = {}
    for p in graph.producers.values():
        if p.role != guessed[p.name]:
            noted.setdefault(p.role, []).append(p.name)
    return json.dumps(noted) if noted else None
