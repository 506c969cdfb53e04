"""Which tensors of a model training changes: ONNX does not say, so the reader decides by structure (passes/roles.py)
and the writer notes the rest."""

from __future__ import annotations

import json
from collections.abc import Mapping

from ..errors import ModelFileError
from ..graph import ROLES, Graph
from ..passes.roles import decide_roles

KEY = "aidgejax.roles"  # in the model's metadata: {role: [names]}, where it is not the one that is decided


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
    """What to write into the metadata, for `noted_roles`: roles that the reader would not decide."""
    decided = decide_roles(graph)
    noted: dict[str, list[str]] = {}
    for p in graph.producers.values():
        if p.role != decided[p.name].role:
            noted.setdefault(p.role, []).append(p.name)
    return json.dumps(noted) if noted else None
