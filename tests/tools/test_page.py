"""The page of a graph: well-formed, without a network, and drawn, searched and collapsed by a real browser.

The browser is Debian's chromium (apt-get install chromium); the tests that need it are skipped where it is not there.
"""

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pytest

import aidgejax as aj
from aidgejax.cli.main import main
from aidgejax.tools.page import Section, graph_page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
EMPTY = {"meta", "link", "input", "br", "img"}


class Page(HTMLParser):
    """Counts tags, remembers ids and attributes; every tag must be closed by its own."""

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.outside = [], set(), []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.ids.add(attrs.get("id"))
        self.outside += [v for k in ("src", "href") if (v := attrs.get(k)) and not v.startswith("data:")]
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_startendtag(self, tag, attrs):
        pass


def network():
    g = aj.Graph("blocks")
    y = g.input("x", ("N", 4))
    for k in range(3):
        w = g.parameter(f"block{k}/w", np.eye(4, dtype=np.float32))
        y = g.op.Relu(g.op.MatMul(y, w, name=f"block{k}/mm"), name=f"block{k}/relu")
    g.output(g.op.Tanh(y, name="</script><b>'y"))
    return aj.infer_shapes(g)


@pytest.fixture(scope="module")
def text():
    graph = network()
    return graph_page(graph, compared=aj.compare(graph, steps=1), sections=[Section("Words & more", "<p>here</p>")])


def data_of(text):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)[1])


def test_the_page_is_whole_and_asks_no_network(text):
    page = Page(text)
    assert {"search", "expand", "collapse", "colour", "data", "details"} <= page.ids and page.outside == []
    outside = {u for u in re.findall(r"https?://[^\"'\s]+", text)}
    assert outside <= {"http://www.w3.org/2000/svg"}
    assert "Words &amp; more" in text and "the backends agree" in text


def test_its_data_are_the_graph_and_its_gradient(text):
    data = data_of(text)
    graph = network()
    forward, backward = data["graphs"]
    named = {b["lines"][0]: b for b in forward["boxes"]}
    assert sum(b["kind"] == "node" for b in forward["boxes"]) == len(graph.nodes)
    assert sum(b["kind"] == "node" for b in backward["boxes"]) == len(aj.make_program(graph).gradient.nodes)
    assert named["block1/w"]["path"] == ["block1"] and ["role", "parameter"] in named["block1/w"]["info"]
    joined = {(forward["boxes"][f]["writes"][0], backward["boxes"][b]["lines"][0]) for f, b in data["joins"]}
    assert ("block0/w", "block0/w_grad") in joined and ("block1/relu", "block1/relu") in joined
    assert all("difference" in b for b in forward["boxes"] if b["kind"] == "node")


def test_a_graph_without_a_rule_is_drawn_alone_and_says_why():
    g = aj.Graph("no rule")
    y = g.op.MaxPool(g.input("x", ("N", 1, 4, 4)), kernel_shape=(2, 2), name="pool")
    y = g.op.Mul(y, g.parameter("w", np.ones(1, np.float32)))
    g.output(g.op.MaxPoolGrad(y, g.input("y", ("N", 1, 3, 3)), y, kernel_shape=(1, 1), name="backwards"))
    page = graph_page(g)
    assert len(data_of(page)["graphs"]) == 1 and "<h2>No gradient</h2>" in page


def test_nodes_without_groups_of_names_are_grouped_by_number():
    g = aj.Graph("flat")
    y = g.input("x", (3,))
    for k in range(400):
        y = g.op.Neg(y, name=f"n{k}")
    g.output(y)
    boxes = data_of(graph_page(g))["graphs"][0]["boxes"]
    assert {b["path"][0] for b in boxes if b["kind"] == "node"} == {f"nodes {k} to {k + 49}" for k in range(0, 400, 50)}


def browse(text, script, path):
    """What the page writes into its title after a script, and the errors of the console."""
    caught = "<script>window.failed=[];window.onerror=(m)=>{failed.push(String(m))};</script>"
    text = text.replace("<style>", f"{caught}<style>", 1)
    text = text.replace(
        "</body>", f"<script>document.title=JSON.stringify([(()=>{{{script}}})(), failed])</script></body>"
    )
    path.write_text(text)
    found = subprocess.run(
        [
            CHROMIUM,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--enable-logging=stderr",
            "--dump-dom",
            path.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "CONSOLE" not in found.stderr
    shown = re.search(r"<title>(.*?)</title>", found.stdout, re.S)[1]
    result, errors = json.loads(shown.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
    assert errors == []
    return result


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
def test_a_browser_draws_searches_collapses_and_tells(text, tmp_path):
    script = """
        const boxes = () => document.querySelectorAll("#canvas .box").length;
        const found = { drawn: boxes(), edges: document.querySelectorAll(".edge").length,
                        joins: document.querySelectorAll(".join").length };
        const rects = [...document.querySelectorAll(".box rect")].map((r) => r.getBBox());
        found.behind = [...document.querySelectorAll(".join")].filter((line) => {
            const length = line.getTotalLength();
            for (let at = 1; at < length - 1; at += 2) {
                const p = line.getPointAtLength(at);
                const inside = (r) => p.x > r.x && p.x < r.x + r.width && p.y > r.y && p.y < r.y + r.height;
                if (rects.some(inside)) return true;
            }
            return false;
        }).length;
        const type = (words) => { const s = document.getElementById("search"); s.value = words;
                                  s.dispatchEvent(new Event("input")); };
        document.getElementById("collapse").click();
        found.collapsed = boxes();
        found.groups = [...document.querySelectorAll(".box.group text:first-of-type")].map((t) => t.textContent);
        type("block1/relu");
        found.found = document.getElementById("found").textContent;
        found.hits = document.querySelectorAll(".box.hit").length;
        document.getElementById("search").dispatchEvent(new KeyboardEvent("keydown", { key: "Enter" }));
        found.after = boxes();
        found.details = document.getElementById("details").textContent;
        found.chosen = document.querySelectorAll(".join.chosen").length;
        document.getElementById("expand").click();
        found.expanded = boxes();
        document.getElementById("gradient").click();
        found.forward = boxes();
        document.getElementById("colour").value = "difference";
        document.getElementById("colour").dispatchEvent(new Event("change"));
        return found;"""
    found = browse(text, script, tmp_path / "page.html")
    both = sum(len(g["boxes"]) for g in data_of(text)["graphs"])
    assert found["drawn"] == found["expanded"] == both and found["forward"] == len(data_of(text)["graphs"][0]["boxes"])
    assert found["edges"] > 10 and found["joins"] > 5
    assert found["behind"] == 0  # the dashed lines go around the boxes
    assert 0 < found["chosen"] < found["joins"]
    assert {"block0", "block1", "block2"} <= set(found["groups"]) and found["collapsed"] < found["after"] < both
    assert found["found"].endswith(" found") and found["hits"] >= 1
    assert "block1/relu" in found["details"] and "difference of the backends" in found["details"]


def test_view_writes_the_page_and_spares_what_is_no_page(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    aj.onnxio.write(aj.zoo.mlp((4, 3, 2)), None, "m.onnx")
    assert main(["view", "m.onnx", "--compare"]) == 0
    assert "m.html" in capsys.readouterr().out
    Page((tmp_path / "m.html").read_text())
    assert main(["view", "m.onnx"]) == 0  # a page of ours may be replaced
    (tmp_path / "m.html").write_text("somebody's")
    assert main(["view", "m.onnx"]) == 1 and "--force" in capsys.readouterr().err
    assert (tmp_path / "m.html").read_text() == "somebody's"
