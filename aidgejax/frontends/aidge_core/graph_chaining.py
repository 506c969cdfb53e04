"""Ways to build a graph in chains, and to order its inputs and outputs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...files import whole_file
from .attributes import edited
from .graph_queries import GraphQueries
from .implementation import call_late
from .node import FREE, Port
from .operator import InputCategory


class GraphChaining(GraphQueries):
    """What GraphView builds on `add` and `add_child`."""

    chosen_inputs: list[Port] | None
    chosen_outputs: list[Port] | None

    def add(self, other: Any, include_attached_producers: bool = True) -> Any:
        """Overridden by GraphView."""

    def add_child(
        self, to_other_node: Any, from_out_node: Any = None, from_tensor: int = 0, to_tensor: Any = FREE
    ) -> None:
        """Overridden by GraphView."""

    def connect(self, other: Any, from_out_node: Any = None, from_tensor: int = 0, to_tensor: Any = FREE) -> None:
        """Overridden by GraphView."""

    def push(self, other: Any, include_attached_producers: bool = True) -> Any:
        """As add: g.push(a).push(b)."""
        return self.add(other, include_attached_producers)

    append = push

    def __iadd__(self, other: Any) -> Any:
        """graph += node, or nodes, or another graph: as add."""
        return self.add(other)

    def __rshift__(self, other: Any) -> Any:
        """g >> h: one after the other, as sequential([g, h]); so g > h and g & h."""
        return call_late("chained", self, other)

    __gt__ = __and__ = __rshift__

    def __or__(self, other: Any) -> Any:
        """g | h: side by side, as parallel([g, h])."""
        return call_late("beside", self, other)

    def to(self, other: Any, from_out_node: Any = None, from_tensor: int = 0, to_tensor: Any = FREE) -> Any:
        """Connect as add_child does, without taking the other in; gives it, so that g.to(a).to(b) makes a chain."""
        self.connect(other, from_out_node, from_tensor, to_tensor)
        return other

    link = link_to = to

    def add_ordered_outputs(self, outputs: Sequence[Any], pos: int = -1) -> None:
        """More outputs, put before position `pos` of those that were chosen, or behind them."""
        held = list(self.chosen_outputs or ())
        at = len(held) if pos < 0 else pos
        self.chosen_outputs = [*held[:at], *(Port(o[0], o[1]) for o in outputs), *held[at:]]
        edited()

    def filter_secondary_outputs(self) -> None:
        """Leave out the outputs behind the first of each node, as a mask or an argmax."""
        self.chosen_outputs = [p for p in self.get_ordered_outputs() if p.index == 0]
        edited()

    def set_mandatory_inputs_first(self) -> None:
        """The inputs of the graph that must be fed, before the optional ones."""
        ports = self.get_ordered_inputs()
        self.chosen_inputs = sorted(ports, key=lambda p: not p.node.operator.is_graph_input(p.index))
        edited()

    def set_attr_inputs_last(self) -> None:
        """The inputs of the graph that are attributes, behind the data."""
        ports = self.get_ordered_inputs()
        self.chosen_inputs = sorted(ports, key=lambda p: bool(p.node.input_category(p.index) & InputCategory.Attr))
        edited()

    def log_outputs(self, path: str) -> None:
        """Write what every node gave last: <path>/<rank>_<type>_<name>/output_<k>.log, one number a line."""
        for rank, node in enumerate(self.execution_order()):
            folder = Path(path) / f"{rank}_{node.type()}_{node.name().replace('/', '_')}"
            for k, tensor in enumerate(node.get_operator().get_outputs()):
                if tensor.has_data():
                    folder.mkdir(parents=True, exist_ok=True)
                    with whole_file(folder / f"output_{k}.log") as f:
                        np.savetxt(f, np.ravel(np.asarray(tensor)), fmt="%s")

    def print(self) -> None:  # noqa: T202  (Aidge's name)
        """One line per node: its type, its name, and what feeds it."""
        for node in self.execution_order():
            fed = ", ".join("-" if p is None else p.node.name() or p.node.type() for p in node.sources)
            print(f"{node.type():24} {node.name():24} <- {fed}")
