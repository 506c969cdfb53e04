"""Questions to a graph that follow from its order, its inputs and its outputs."""

from __future__ import annotations

from collections import Counter
from typing import Any

from .errors import GraphViewError
from .node import Node, Port
from .operator import InputCategory


class GraphQueries:
    """What GraphView answers about its nodes."""

    members: dict[Node, None]

    def execution_order(self) -> list[Node]:
        return list(self.members)

    def get_ordered_inputs(self) -> list[Port]:
        return []

    def get_ordered_outputs(self) -> list[Port]:
        return []

    def free_inputs(self, mandatory: bool) -> list[Port]:
        return []

    def get_ordered_input_nodes(self) -> list[Node]:
        """The nodes that the graph's inputs feed, each once, in the order of the inputs."""
        return list(dict.fromkeys(p.node for p in self.get_ordered_inputs()))

    def get_ordered_output_nodes(self) -> list[Node]:
        return list(dict.fromkeys(p.node for p in self.get_ordered_outputs()))

    def get_output_nodes(self) -> set[Node]:
        return set(self.get_ordered_output_nodes())

    def get_input_nodes(self, filter: Any = InputCategory.All) -> set[Node]:
        return set(self.get_ordered_input_nodes())

    def get_nb_inputs(self) -> int:
        return len(self.get_ordered_inputs())

    def get_nb_outputs(self) -> int:
        return len(self.get_ordered_outputs())

    def get_free_input_tuples(self) -> list[tuple[Node, int]]:
        """The graph's inputs that nothing feeds."""
        return [(p.node, p.index) for p in self.get_ordered_inputs() if p.node.sources[p.index] is None]

    def get_nb_free_inputs(self) -> int:
        return len(self.get_free_input_tuples())

    def get_free_output_tuples(self) -> list[tuple[Node, int]]:
        """The graph's outputs that no node reads."""
        return [(p.node, p.index) for p in self.get_ordered_outputs() if not p.node.readers[p.index]]

    def get_nb_free_outputs(self) -> int:
        return len(self.get_free_output_tuples())

    def get_all_input_tuples(self) -> list[tuple[Node, int]]:
        """The graph's inputs, those included that a node outside feeds."""
        return [(p.node, p.index) for p in self.get_ordered_inputs()]

    def get_all_output_tuples(self) -> list[tuple[Node, int]]:
        return [(p.node, p.index) for p in self.get_ordered_outputs()]

    def get_ranked_nodes(self) -> tuple[list[Node], int]:
        order = self.execution_order()
        return order, len(order)

    def get_ranked_nodes_name(self, format: str, mark_non_unicity: bool = True) -> dict[Node, str]:
        """{node: format} with {0} its name, {1} its type, {2} its rank, {3} its rank among those of its type."""
        seen: Counter[str] = Counter()
        found = {}
        for rank, node in enumerate(self.execution_order()):
            try:
                found[node] = format.format(node.name(), node.type(), rank, seen[node.type()])
            except (IndexError, KeyError, ValueError):
                raise GraphViewError(
                    f"get_ranked_nodes_name: {format!r} is no format of {{0}} name, {{1}} type, {{2}} rank, "
                    f"{{3}} rank among the type"
                ) from None
            seen[node.type()] += 1
        return found
