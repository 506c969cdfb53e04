"""A graph as a picture: boxes in layers, by data flow, as SVG, Mermaid or dot."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from html import escape
from typing import Any

COLOURS = {
    "input": "#cfe8ff",
    "parameter": "#ffe0b3",
    "buffer": "#e6d5f5",
    "constant": "#e8e8e8",
    "node": "#ffffff",
    "group": "#fff7c2",
    "output": "#c9e7c9",
}
LARGEST = 300  # a graph of more nodes is drawn by groups of names
LINE, WIDE, GAP, MARGIN, LANE = 15, 7.2, 26, 12, 5


@dataclass
class Box:
    """One thing to draw.  kind: a key of COLOURS; lines: its text; writes: the tensors that it stands for."""

    kind: str
    lines: list[str]
    sources: list[str] = field(default_factory=list)
    writes: list[str] = field(default_factory=list)

    @property
    def width(self) -> float:
        return WIDE * max(map(len, self.lines)) + 16

    @property
    def height(self) -> float:
        return LINE * len(self.lines) + 8


def boxes(graph: Any, largest: int = LARGEST) -> dict[str, Box]:
    """{key: box} in execution order; what produces each box's inputs is in `sources`.

    A graph of more than `largest` nodes has one box for the nodes whose names share a prefix up to "/" or ".".
    """
    found: dict[str, Box] = {}
    maker: dict[str, str] = {}
    for v in graph.inputs.values():
        found[f"input {v.name}"] = Box("input", [v.name, _type(v)], writes=[v.name])
        maker[v.name] = f"input {v.name}"
    grouped = len(graph.nodes) > largest
    if not grouped:
        read = {i for n in graph.nodes for i in n.input_names}
        for p in graph.producers.values():
            if p.name in read:
                found[f"producer {p.name}"] = Box(p.role, [p.name, _type(p.value)], writes=[p.name])
                maker[p.name] = f"producer {p.name}"
    depth = _depth(graph, largest) if grouped else 0
    members: dict[str, int] = {}
    for k, n in enumerate(graph.nodes):
        key = f"group {_prefix(n.name or n.op, depth)}" if grouped else f"node {k}"
        sources = [maker[i] for i in dict.fromkeys(n.input_names) if i in maker and maker[i] != key]
        if key not in found:
            outs = [_type(graph.values[o]) for o in n.output_names if o in graph.values]
            label = n.name if n.name and n.name != n.op else ""
            found[key] = Box("node", [n.op, *([label] if label else []), *outs[:1]])
        box = found[key]
        box.sources += [s for s in sources if s not in box.sources]
        members[key] = members.get(key, 0) + 1
        if grouped:
            box.kind = "group"
            box.lines = [key.removeprefix("group "), f"{members[key]} nodes"]
        box.writes += n.output_names
        maker.update(dict.fromkeys(n.output_names, key))
    for k, o in enumerate(graph.outputs):
        found[f"output {k} {o}"] = Box("output", [o], [maker[o]] if o in maker else [])
    return found


def to_svg(graph: Any, *, largest: int = LARGEST) -> str:
    """The graph as an SVG picture: inputs, parameters, buffers and constants by colour, shapes in the boxes."""
    found = boxes(graph, largest)
    placed, width, height, ways = _placed(found)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" '
        f'height="{height:.0f}" font-family="monospace" font-size="12" role="img" style="background:#fff">',
        f"<title>{escape(str(graph.name))}</title>",
    ]
    for key, box in found.items():
        for source in box.sources:
            x, y = placed[source]
            x, y = x + found[source].width / 2, y + found[source].height
            way = f"M{x:.1f} {y:.1f}"
            for before, after, end in ways[source, key]:  # bent between two rows, straight along boxes
                half = (before + after) / 2
                way += f" V{before:.1f} C{x:.1f} {half:.1f} {end:.1f} {half:.1f} {end:.1f} {after:.1f}"
                x = end
            lines.append(f'<path d="{way}" fill="none" stroke="#888"/>')
    for key, box in found.items():
        x, y = placed[key]
        lines.append(
            f'<g class="{box.kind}"><rect x="{x:.1f}" y="{y:.1f}" width="{box.width:.1f}" height="{box.height:.1f}" '
            f'rx="4" fill="{COLOURS[box.kind]}" stroke="#444"/>'
        )
        for k, text in enumerate(box.lines):
            weight = ' font-weight="bold"' if k == 0 else ""
            lines.append(
                f'<text x="{x + box.width / 2:.1f}" y="{y + LINE * (k + 1):.1f}" text-anchor="middle"{weight}>'
                f"{escape(text)}</text>"
            )
        lines.append("</g>")
    return "\n".join([*lines, "</svg>", ""])


def to_mermaid(graph: Any, *, largest: int = LARGEST) -> str:
    """The graph as a Mermaid flowchart."""
    found = boxes(graph, largest)
    ids = {key: f"n{k}" for k, key in enumerate(found)}
    lines = ["flowchart TD"]
    for key, box in found.items():
        text = "<br/>".join(escape(t).replace('"', "#quot;") for t in box.lines)
        lines.append(f'  {ids[key]}["{text}"]:::{box.kind}')
    lines += [f"  {ids[s]} --> {ids[key]}" for key, box in found.items() for s in box.sources]
    lines += [f"  classDef {kind} fill:{c},stroke:#444" for kind, c in COLOURS.items()]
    return "\n".join([*lines, ""])


def to_dot(graph: Any, *, largest: int = LARGEST) -> str:
    """The graph in Graphviz's language."""
    found = boxes(graph, largest)
    ids = {key: f"n{k}" for k, key in enumerate(found)}
    lines = [f"digraph {_quoted(str(graph.name))} {{", "  node [shape=box, style=filled, fontname=monospace]"]
    for key, box in found.items():
        lines.append(f'  {ids[key]} [label={_quoted(chr(10).join(box.lines))}, fillcolor="{COLOURS[box.kind]}"]')
    lines += [f"  {ids[s]} -> {ids[key]}" for key, box in found.items() for s in box.sources]
    return "\n".join([*lines, "}", ""])


def joined(forward: Any, gradient: Any, *, largest: int = LARGEST) -> str:
    """A graph beside its gradient as one SVG; dashed lines lead from a tensor to where the gradient reads it back.

    They go below the row of the one, up or down between the two pictures, and in above the row of the other, so that
    no box stands on them.
    """
    left, right = boxes(forward, largest), boxes(gradient, largest)
    (first, wide, *_), (second, *_) = _placed(left), _placed(right)
    makers = {o: key for key, box in left.items() for o in box.writes}
    pairs = [(makers[b.writes[0]], key) for key, b in right.items() if b.kind == "input" and b.writes[0] in makers]
    pairs.sort(key=lambda pair: second[pair[1]][1])
    under, over = _lanes([one for one, _ in pairs], first), _lanes([other for _, other in pairs], second)
    between = LANE * (len(pairs) + 3) if pairs else 0.0
    lines = []
    for k, (one, other) in enumerate(pairs):
        bottom = max(y + left[key].height for key, (_, y) in first.items() if y == first[one][1])
        x, y = first[one][0] + left[one].width / 2 + LANE, first[one][1] + left[one].height
        u, v = wide + between + second[other][0] + right[other].width / 2, second[other][1]
        way = f"V{bottom + under[k]:.1f}H{wide + LANE * (k + 2):.1f}V{v - over[k]:.1f}H{u:.1f}V{v:.1f}"
        lines.append(
            f'<path class="join" d="M{x:.1f} {y:.1f}{way}" fill="none" stroke="#d95f02" stroke-dasharray="4 3"/>'
        )
    pictures = [to_svg(forward, largest=largest), to_svg(gradient, largest=largest)]
    head, rest = side_by_side(pictures, between).split("\n", 1)
    return "\n".join([head, *lines, rest])


def _lanes(ends: list[str], placed: dict[str, tuple[float, float]]) -> list[float]:
    """How far from its row each line runs along it: the lines of a row beside each other, within the space there."""
    rows = [placed[key][1] for key in ends]
    room = {y: min(LANE, (MARGIN - 2) / (rows.count(y) + 1)) for y in rows}
    return [room[y] * (rows[:k].count(y) + 1) for k, y in enumerate(rows)]


def side_by_side(pictures: Iterable[str], between: float = 0.0) -> str:
    """SVG pictures in one, from left to right, `between` apart."""
    x, height, inner = -between, 0.0, []
    for svg in pictures:
        head = svg.split(">", 1)[0]
        wide, high = (float(head.split(f' {name}="', 1)[1].split('"', 1)[0]) for name in ("width", "height"))
        x += between
        inner.append(svg.replace("<svg ", f'<svg x="{x:.0f}" ', 1))
        x, height = x + wide, max(height, high)
    size = f'viewBox="0 0 {x:.0f} {height:.0f}" width="{x:.0f}" height="{height:.0f}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} style="background:#fff">\n' + "".join(inner) + "</svg>\n"


Ways = dict[tuple[str, str], list[tuple[float, float, float]]]


def _placed(found: dict[str, Box]) -> tuple[dict[str, tuple[float, float]], float, float, Ways]:
    """({key: left upper corner}, width, height, the way of each edge): a box stands below all its sources, near the
    middle of them.

    A way is [(lower end of a row, upper end of the next, where it arrives there)]; an edge past other rows has a place
    of its own in each, between the boxes.
    """
    layer = _layers(found)
    passing: dict[str, list[str]] = {}  # {reader: what stands right above it for each of its sources}
    places, ways = dict(found), {}
    for key, box in found.items():
        for source in box.sources:
            above = source
            for k in range(layer[source] + 1, layer[key]):
                place = f"past {k} {source}"  # one for all readers
                if place not in places:
                    places[place], layer[place] = Box("way", [""], [above]), k
                above = place
            passing.setdefault(key, []).append(above)
            ways[source, key] = [f"past {k} {source}" for k in range(layer[source] + 1, layer[key])] + [key]
    rows: dict[int, list[str]] = {}
    for key in places:
        rows.setdefault(layer[key], []).append(key)
    centre: dict[str, float] = {}
    order: dict[str, float] = {}
    for row in (rows[k] for k in sorted(rows)):
        for k, key in enumerate(row):
            known = [centre[s] for s in passing.get(key, places[key].sources) if s in centre]
            order[key] = sum(known) / len(known) if known else 1e6 + k
        row.sort(key=lambda key: order[key])
        total = sum(places[k].width for k in row) + GAP * (len(row) - 1)
        x = -total / 2
        for key in row:
            centre[key] = x + places[key].width / 2
            x += places[key].width + GAP
    left = min((centre[k] - places[k].width / 2 for k in places), default=0.0)
    right = max((centre[k] + places[k].width / 2 for k in places), default=0.0)
    placed, y, top, bottom = {}, float(MARGIN), {}, {}
    for k in sorted(rows):
        for key in rows[k]:
            placed[key] = centre[key] - places[key].width / 2 - left + MARGIN, y
        top[k], bottom[k] = y, y + max(places[key].height for key in rows[k])
        y = bottom[k] + GAP + 8
    routed = {
        edge: [(bottom[layer[key] - 1], top[layer[key]], centre[key] - left + MARGIN) for key in through]
        for edge, through in ways.items()
    }
    return {key: placed[key] for key in found}, right - left + 2 * MARGIN, y, routed


def _layers(found: dict[str, Box]) -> dict[str, int]:
    layer: dict[str, int] = {}
    for key, box in found.items():
        layer[key] = max((layer[s] + 1 for s in box.sources if s in layer), default=0)
    users: dict[str, list[int]] = {}
    for key, box in found.items():
        for s in box.sources:
            users.setdefault(s, []).append(layer[key])
    for key, box in found.items():  # what has no sources stands right above its first reader
        if not box.sources and users.get(key):
            layer[key] = max(0, min(users[key]) - 1)
    return layer


def _prefix(name: str, depth: int) -> str:
    return "/".join(name.replace(".", "/").strip("/").split("/")[:depth]) or name


def _depth(graph: Any, largest: int) -> int:
    """As many parts of the names as leave at most `largest` groups; at least one."""
    for depth in (4, 3, 2):
        if len({_prefix(n.name or n.op, depth) for n in graph.nodes}) <= largest // 4:
            return depth
    return 1


def _type(value: Any) -> str:
    return str(value).rsplit(":", 1)[1]


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
