"""aidge_core.show_graphview: a graph as JSON for tools that draw it."""

from .graph_json import gview_to_json

__all__ = ["gview_to_json"]
