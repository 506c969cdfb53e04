"""Diagrams in Mermaid's language: a graph as a flowchart, a schedule as a Gantt chart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...files import write_atomically


def write_gantt(path: Any, elements: Sequence[Any]) -> None:
    """A Mermaid Gantt diagram at <path>.mmd."""
    lines = ["gantt", "dateFormat x", "axisFormat %s.%L s"]
    for e in elements:
        begin = int(e.start)
        lines.append(f"{e.node.type()} ({e.node.name()}) :{begin}, {max(int(e.end), begin + 1)}")
    _write(path, lines)


def write_flowchart(path: Any, view: Any, show_producers: bool = True) -> None:
    """The nodes of a GraphView and their connections, at <path>.mmd."""
    names = {n: f"n{k}" for k, n in enumerate(view.execution_order())}
    lines = ["flowchart TB"]
    for n, key in names.items():
        if show_producers or n.type() != "Producer":
            lines.append(f'    {key}["{n.type()} {n.name()}"]')
            lines += [
                f"    {key} -->|{k}->{i}| {names[c]}" for k, out in enumerate(n.readers) for c, i in out if c in names
            ]
    _write(path, lines)


def _write(path: Any, lines: list[str]) -> None:
    text = str(path)
    write_atomically(("\n".join(lines) + "\n").encode(), text if text.endswith(".mmd") else f"{text}.mmd")
