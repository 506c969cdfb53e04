"""aidge_core.show_graphview: a graph as JSON for tools that draw it, and graphs and schedules as text."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .graph_json import gview_to_json
from .graphview import GraphView

__all__ = ["gview_to_json", "str_aidge_graph_structure", "str_aidge_seq_scheduling"]


def str_aidge_graph_structure(gview: GraphView) -> str:
    """One line per node in the order of execution: name, type, shapes of its outputs, and whom it feeds."""
    lines = []
    for node in gview.get_ordered_nodes():
        shapes = ", ".join(str(t.dims) for t in node.get_operator().get_outputs() if t is not None)
        readers = ", ".join(r.node.name() or r.node.type() for out in node.readers for r in out)
        lines.append(f"{node.name() or '-'} ({node.type()}) {shapes}{f' -> {readers}' if readers else ''}")
    return "\n".join(lines)


def str_aidge_seq_scheduling(scheduling: Iterable[Any]) -> str:
    """The nodes of a static scheduling, numbered."""
    return "\n".join(f"{k}: {n.name() or '-'} ({n.type()})" for k, n in enumerate(scheduling))
