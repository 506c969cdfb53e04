"""A graph and its gradient as one HTML page that needs no network: drawn, searched, collapsed, with its numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from html import escape
from importlib import resources
from typing import Any

from ..drawing import graphs
from ..drawing.html import page, table
from ..errors import NoGradientRule
from ..execution.program import Program, make_program
from ..graph import Graph, Node, Producer
from ..passes.gradient import grad_name
from .compare import Report
from .inspect import symbols_at
from .profile import Profile
from .summary import bytes_of, multiply_accumulates, summary

SHOWN = 150  # boxes that a large graph starts with
CHUNK = 50  # nodes in a group where names say nothing
DRAWN = 300  # nodes without groups of names that are drawn one by one
SAVED = "saved for the gradient"
HINT = "Drag to move, turn the wheel to zoom, <i>fit</i> to see it all. Click a box to read of it, a group to open it."


@dataclass(frozen=True)
class Section:
    """A part of the page below the graph."""

    title: str
    html: str


def graph_page(
    graph: Graph,
    *,
    gradient: bool = True,
    compared: Report | None = None,
    profiled: Profile | None = None,
    sections: Iterable[Section] = (),
    title: str = "",
    sizes: Mapping[str, int] | None = None,
) -> str:
    """The page as text.

    gradient: the backward graph beside it, where every operator has a rule.  compared, profiled: differences and times
    for the boxes and as tables.  sections: what stands above the graph.
    sizes: numbers for symbolic sizes; default 1 each.
    """
    program = make_program(graph)
    drawn: list[dict[str, Any]] = []
    joins: list[tuple[int, int]] = []
    sizes = symbols_at(program.graph, sizes)
    numbers = _numbers(compared, profiled)
    parts: list[Section] = []
    drawn.append({"title": "forward", "boxes": _boxes(program.graph, "forward", numbers, sizes)})
    if gradient and program.wrt and program.seeds:
        try:
            backward = program.gradient
            drawn.append({"title": "gradient", "boxes": _boxes(backward, "gradient", numbers, sizes)})
            joins = _joins(program, drawn[0]["boxes"], drawn[1]["boxes"])
        except NoGradientRule as e:
            parts.append(Section("No gradient", f"<p>{escape(str(e))}</p>"))
    if compared:
        parts.append(_differences(compared))
    if profiled:
        parts.append(Section("Times", f"{profiled.picture()}{profiled._repr_html_()}"))
    parts.append(Section("Layers", summary(program.graph, sizes=sizes)._repr_html_()))
    if graph.producers:
        rows = [[p.name, str(p.value).rsplit(":", 1)[1], p.kind or p.role, p.why] for p in graph.producers.values()]
        parts.append(Section("Roles", table([["tensor", "type", "role", "why"], *rows[:1000]], left=4)))
    counts = f"{len(program.graph.nodes):,} nodes, {sum(a.size for a in graph.params.values()):,} parameters"
    data = {"graphs": drawn, "joins": joins, "colours": graphs.COLOURS, "largest": SHOWN}
    choices = ["role", "bytes", *(["difference"] if compared else []), *(["time"] if profiled else [])]
    return page(
        title or graph.name,
        _body(title or graph.name, counts, choices, len(drawn) > 1, [*sections], parts),
        style=_asset("view.css"),
        script=_asset("view.js"),
        data=data,
    )


def _body(title: str, counts: str, choices: list[str], both: bool, above: list[Section], below: list[Section]) -> str:
    keys = "".join(
        f'<span class="key" style="background:{c}">{k}</span>' for k, c in graphs.COLOURS.items() if k != "node"
    )
    options = "".join(f"<option>{c}</option>" for c in choices)
    hidden = "" if both else ' style="display:none"'
    first, last = (
        "".join(f"<section><h2>{escape(s.title)}</h2>{s.html}</section>\n" for s in x) for x in (above, below)
    )
    return f"""<header><h1>{escape(title)}</h1><div>{counts} {keys}</div><div>
<label>search <input id="search" type="search" placeholder="name, operator, shape"></label><span id="found"></span>
<button id="expand">expand all</button><button id="collapse">collapse</button><button id="fit">fit</button>
<label>colour <select id="colour">{options}</select></label>
<label{hidden}><input id="gradient" type="checkbox" checked>gradient</label>
<label{hidden}><input id="joins" type="checkbox" checked>{SAVED}</label></div></header>
<div class="above">{first}</div>
<div id="canvas"><svg xmlns="http://www.w3.org/2000/svg" preserveAspectRatio="xMidYMin"></svg>
<div id="details">{HINT}</div></div>
{last}"""


def _asset(name: str) -> str:
    return resources.files("aidgejax").joinpath("assets", name).read_text(encoding="utf-8")


Numbers = dict[tuple[str, str], dict[str, float]]


def _numbers(compared: Report | None, profiled: Profile | None) -> Numbers:
    """{(kind, what): numbers}: of forward a tensor or a node, of gradient the forward's node or the own node."""
    found: Numbers = {}
    for row in compared.rows if compared else ():
        at = found.setdefault((row.kind, row.node if row.kind == "gradient" else row.tensor), {})
        gap = row.difference if row.difference == row.difference else 1e30  # NaN is the worst there is
        at["difference"] = max(at.get("difference", 0.0), gap)
    for cost in profiled.rows if profiled else ():
        found.setdefault((cost.kind, f"node {cost.node}"), {})["time"] = 1e6 * cost.seconds
    return found


def _difference(numbers: Numbers, kind: str, box: graphs.Box, node: Node | None) -> float | None:
    """Of a node's outputs, of the rule that a node of the gradient belongs to, of a trained parameter."""
    if kind == "gradient":
        asked = [("gradient", node.name.split("_Grad/")[0])] if node is not None else []
    else:
        asked = [("training" if node is None else "forward", o) for o in box.writes]
    return max((numbers[a]["difference"] for a in asked if "difference" in numbers.get(a, {})), default=None)


def _boxes(graph: Graph, kind: str, numbers: Numbers, sizes: Mapping[str, int]) -> list[dict[str, Any]]:
    found = graphs.boxes(graph, largest=len(graph.nodes) + 1)
    index = {key: k for k, key in enumerate(found)}
    nodes = iter(graph.nodes)
    paths = _paths(graph)
    boxes = []
    for box in found.values():
        entry: dict[str, Any] = {
            "kind": box.kind,
            "lines": box.lines,
            "path": [],
            "sources": [index[s] for s in box.sources],
            "writes": box.writes,
        }
        entry["bytes"] = sum(bytes_of(graph.value(o), sizes) for o in box.writes)
        info = [("tensor", str(graph.value(o))) for o in box.writes]
        node = next(nodes) if box.kind == "node" else None
        if node is not None:
            entry["path"] = paths[node.name]
            info = _of_node(graph, node, box, sizes)
            if "time" in (cost := numbers.get((kind, f"node {node.name}"), {})):
                entry["time"] = cost["time"]
                info.append(("time", f"{cost['time']:.1f} µs"))
        elif box.writes and box.writes[0] in graph.producers:
            info += _about(graph.producers[box.writes[0]])
        info.append(("bytes", f"{entry['bytes']:,}"))
        gap = _difference(numbers, kind, box, node)
        if gap is not None:
            entry["difference"] = gap
            info.append(("difference of the backends", f"{gap:.2e}"))
        entry["info"] = [(k, v[:400]) for k, v in info]
        entry["search"] = " ".join([*box.lines, *box.writes])
        boxes.append(entry)
    _grouped(boxes, ("parameter", "buffer", "constant") if kind == "forward" else ("input", "constant", "output"))
    return boxes


def _of_node(graph: Graph, node: Node, box: graphs.Box, sizes: Mapping[str, int]) -> list[tuple[str, str]]:
    info = [
        ("node", node.name),
        ("operator", f"{node.domain}.{node.op}" if node.domain else node.op),
        *(("input", str(graph.value(i)) if isinstance(i, str) else str(i)) for i in node.inputs),
        *(("output", str(graph.value(o))) for o in box.writes),
        *((k, str(v)) for k, v in node.attrs.items() if v is not None),
    ]
    macs = multiply_accumulates(graph, node, sizes)
    return [*info, ("multiply-accumulates", f"{macs:,}")] if macs else info


def _grouped(boxes: list[dict[str, Any]], kinds: tuple[str, ...]) -> None:
    """What is of these kinds is in the group of its first reader, an output in that of its node."""
    reader: dict[int, dict[str, Any]] = {}
    for b in boxes:
        for s in b["sources"]:
            reader.setdefault(s, b)
    for k, b in enumerate(boxes):
        if b["kind"] in kinds:
            near = boxes[b["sources"][0]] if b["sources"] else reader.get(k)
            b["path"] = near["path"] if near else []


def _about(p: Producer) -> list[tuple[str, str]]:
    facts = [("role", p.kind or p.role)] + ([("why", p.why)] if p.why else [])
    if p.data.size and p.data.dtype.kind == "f":
        facts.append(("range", f"{float(p.data.min()):.4g} to {float(p.data.max()):.4g}"))
    return facts


def _paths(graph: Graph) -> dict[str, list[str]]:
    """{node: the groups around it}, by the parts of its name; where names say nothing, by number."""
    found = {n.name: n.name.replace(".", "/").strip("/").split("/")[:-1] for n in graph.nodes}
    bare = sum(not p for p in found.values())
    if bare > DRAWN:
        for k, n in enumerate(graph.nodes):
            if not found[n.name]:
                first = k - k % CHUNK
                found[n.name] = [f"nodes {first} to {first + CHUNK - 1}"]
    return found


def _joins(program: Program, forward: list[dict], backward: list[dict]) -> list[tuple[int, int]]:
    """(box of the forward, box of the gradient) that hold the same tensor, or a parameter and its gradient."""
    makers = {o: k for k, b in enumerate(forward) for o in b["writes"]}
    found = []
    for k, b in enumerate(backward):
        if b["kind"] == "input" and b["writes"][0] in makers:
            found.append((makers[b["writes"][0]], k))
    ends = {grad_name(w): makers[w] for w in program.wrt if w in makers}
    found += [
        (ends[b["lines"][0]], k) for k, b in enumerate(backward) if b["kind"] == "output" and b["lines"][0] in ends
    ]
    return found


def _differences(report: Report) -> Section:
    worst = sorted(report.rows, key=lambda r: -r.difference if r.difference == r.difference else -1e30)[:50]
    cells = [["kind", "operator", "node", "tensor", "difference"]]
    cells += [[r.kind, r.op, r.node, r.tensor, f"{r.difference:.2e}"] for r in worst]
    verdict = str(report).splitlines()[-1]
    return Section("JAX against NumPy", f"<p>{escape(verdict)}</p>{table(cells, left=4)}")
