"""A graph as a picture."""

import re
from xml.etree import ElementTree

import numpy as np

import aidgejax as aj
from aidgejax.drawing import graphs

SVG = "{http://www.w3.org/2000/svg}"


def lenet():
    return aj.infer_shapes(aj.zoo.lenet(size=8))


def test_svg_is_a_picture_with_every_node_and_parameter():
    graph = lenet()
    picture = ElementTree.fromstring(graph.to_svg())
    texts = [t.text for t in picture.iter(f"{SVG}text")]
    assert {n.op for n in graph.nodes} | set(graph.params) <= set(texts)
    assert "float32[N, 1, 8, 8]" in texts
    boxes = [r.attrib for r in picture.iter(f"{SVG}rect")]
    assert len(boxes) == len(graph.nodes) + len(graph.producers) + len(graph.inputs) + len(graph.outputs)
    width, height = float(picture.attrib["width"]), float(picture.attrib["height"])
    for b in boxes:
        assert 0 <= float(b["x"]) and float(b["x"]) + float(b["width"]) <= width
        assert 0 <= float(b["y"]) and float(b["y"]) + float(b["height"]) <= height


def test_boxes_of_a_picture_do_not_overlap():
    picture = ElementTree.fromstring(aj.make_program(lenet()).gradient.to_svg())
    names = ("x", "y", "width", "height")
    boxes = [[float(r.attrib[n]) for n in names] for r in picture.iter(f"{SVG}rect")]
    for k, (x, y, w, h) in enumerate(boxes):
        for u, v, s, t in boxes[:k]:
            assert x >= u + s or u >= x + w or y >= v + t or v >= y + h


def test_mermaid_and_dot_name_the_same_boxes_and_arrows():
    graph = lenet()
    mermaid, dot = graph.to_mermaid(), graph.to_dot()
    assert re.findall(r"(n\d+) --> (n\d+)", mermaid) == re.findall(r"(n\d+) -> (n\d+)", dot)
    assert mermaid.count(":::parameter") == len(graph.params)


def test_a_thousand_nodes_are_grouped_by_name():
    g = aj.Graph("deep")
    y = g.input("x", ("N", 3))
    for k in range(1000):
        y = g.op.Relu(y, name=f"block{k // 100}/layer{k}/relu")
    g.output(y)
    found = graphs.boxes(g)
    assert [b.lines for b in found.values() if b.kind == "group"] == [[f"block{k}", "100 nodes"] for k in range(10)]
    assert len(g.to_svg()) < 20_000


def test_names_are_escaped():
    g = aj.Graph('a<b>"&')
    g.output(g.op.Relu(g.input('x<script>"', (2,)), name="y"))
    assert "<script>" not in g._repr_html_() and "<script>" not in g.to_mermaid()
    ElementTree.fromstring(g.to_svg())
    assert '\\"' in g.to_dot()


def test_forward_and_gradient_stand_side_by_side():
    graph = lenet()
    both = graphs.side_by_side([graph.to_svg(), aj.make_program(graph).gradient.to_svg()])
    picture = ElementTree.fromstring(both)
    inner = picture.findall("{http://www.w3.org/2000/svg}svg")
    assert float(inner[1].attrib["x"]) == float(inner[0].attrib["width"])
    joined = ElementTree.fromstring(aj.make_program(graph).to_svg())
    lines = [p.attrib["d"] for p in joined.findall(f"{SVG}path")]
    read = [i for i in aj.make_program(graph).gradient.inputs if graph.has(i)]
    assert len(lines) == len(read) > 5 and joined.attrib["height"] == picture.attrib["height"]
    assert np.isclose(float(picture.attrib["width"]), sum(float(i.attrib["width"]) for i in inner))


def test_no_line_passes_behind_a_box():
    """A shortcut that vanished behind a box came out below it as if it began there."""
    picture = ElementTree.fromstring(aj.infer_shapes(aj.zoo.resnet8()).to_svg())
    boxes = [[float(r.attrib[k]) for k in ("x", "y", "width", "height")] for r in picture.iter(f"{SVG}rect")]
    lines = [p.attrib["d"] for p in picture.iter(f"{SVG}path")]
    assert len(boxes) > 50 and sum(line.count("C") > 1 for line in lines) >= 3
    for line in lines:
        for x, top, bottom in vertical(line):
            assert not [b for b in boxes if b[0] < x < b[0] + b[2] and top < b[1] + b[3] - 0.1 and bottom > b[1] + 0.1]


def vertical(line):
    """The straight parts of a way, (x, y of its upper end, of its lower end); the bent ones lie between two rows."""
    x, y = 0.0, 0.0
    for kind, text in re.findall(r"([MVC])([^MVC]*)", line):
        numbers = [float(n) for n in text.split()]
        if kind == "V":
            yield x, y, numbers[0]
        x, y = (x, numbers[0]) if kind == "V" else numbers[-2:]


def test_no_dashed_line_from_a_graph_to_its_gradient_passes_behind_a_box():
    picture = ElementTree.fromstring(aj.make_program(lenet(), training=True).to_svg())
    boxes = []
    for part in picture.findall(f"{SVG}svg"):
        for r in part.iter(f"{SVG}rect"):
            x, y, wide, high = (float(r.attrib[k]) for k in ("x", "y", "width", "height"))
            boxes.append((x + float(part.attrib["x"]), y, wide, high))
    lines = [p.attrib["d"] for p in picture.findall(f"{SVG}path")]
    assert len(boxes) > 40 and len(lines) > 10
    for line in lines:
        ends = corners(line)
        for (x, y), (u, v) in zip(ends, ends[1:], strict=False):
            for left, top, wide, high in boxes:
                beside = max(x, u) <= left or min(x, u) >= left + wide
                assert beside or max(y, v) <= top + 0.1 or min(y, v) >= top + high - 0.1, (
                    line,
                    (left, top, wide, high),
                )
    starts = {corners(line)[0] for line in lines}
    assert all(
        any(left < x < left + wide and abs(y - top - high) < 0.1 for left, top, wide, high in boxes) for x, y in starts
    )


def corners(line):
    """The points of a way of straight parts."""
    x, y, found = 0.0, 0.0, []
    for kind, text in re.findall(r"([MHV])([^MHV]*)", line):
        numbers = [float(n) for n in text.split()]
        x, y = {"M": numbers, "H": [numbers[0], y], "V": [x, numbers[0]]}[kind]
        found.append((x, y))
    return found
