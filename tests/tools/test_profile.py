"""Times and bytes of every node: all are there, counted by hand, and written as a trace that viewers open."""

import json

import numpy as np
import pytest

import aidgejax as aj


@pytest.fixture(scope="module")
def profiled():
    g = aj.Graph("small")
    x = g.input("x", ("N", 1, 4, 4))
    y = g.op.Conv(x, g.parameter("k", np.ones((2, 1, 3, 3), np.float32)), kernel_shape=(3, 3), name="conv")
    y = g.op.Relu(y, name="relu")
    for k in range(2):  # two nodes that are alike are compiled once, and both have a row
        y = g.op.Tanh(y, name=f"tanh{k}")
    y = g.op.Reshape(y, g.op.Concat(g.op.Shape(y, start=0, end=1, name="rows"), (-1,), axis=0, name="to"), name="flat")
    g.output(g.op.MatMul(y, g.parameter("w", np.ones((8, 3), np.float32)), name="y"))
    program = aj.make_program(g)
    return program, aj.profile(program, {"x": np.ones((5, 1, 4, 4), np.float32)}, repeats=2)


def test_every_node_that_computes_has_a_row_in_order(profiled):
    program, found = profiled
    forward = [r.node for r in found.rows if r.kind == "forward"]
    assert forward == ["conv", "relu", "tanh0", "tanh1", "flat", "y"]  # the shape is known before anything runs
    assert {"y_Grad/MatMul", "y_Grad/MatMul_1"} <= {r.node for r in found.rows if r.kind == "gradient"}
    assert all(r.seconds > 0 for r in found.rows) and set(found.whole) == {"forward", "forward and gradient"}


def test_bytes_and_operations_are_those_of_the_batch(profiled):
    rows = {r.node: r for r in profiled[1].rows}
    assert rows["conv"].bytes == 4 * (5 * 16 + 2 * 9 + 5 * 2 * 4)
    assert rows["conv"].flops == 2 * 5 * 2 * 4 * 9
    assert rows["y"].bytes == 4 * (5 * 8 + 8 * 3 + 5 * 3) and rows["y"].flops == 2 * 5 * 8 * 3


def test_table_picture_and_trace_hold_the_same_nodes(profiled, tmp_path):
    found = profiled[1]
    heaviest = found.heaviest[0]
    assert heaviest.node in str(found).splitlines()[1] and heaviest.node in found._repr_html_()
    assert heaviest.node[:8] in str(found.picture())  # long names are cut
    found.write_trace(tmp_path / "trace.json")
    events = [e for e in json.loads((tmp_path / "trace.json").read_text())["traceEvents"] if e["ph"] == "X"]
    assert [e["name"] for e in events] == [r.node for r in found.rows]
    assert all(np.isclose(b["ts"], a["ts"] + a["dur"]) for a, b in zip(events, events[1:], strict=False))


def test_a_graph_without_parameters_has_no_gradient_to_time():
    g = aj.Graph("plain")
    g.output(g.op.Relu(g.input("x", (3,)), name="y"))
    assert {r.kind for r in aj.profile(aj.make_program(g), {"x": np.ones(3, np.float32)}, repeats=1).rows} == {
        "forward"
    }
    with pytest.raises(aj.SettingError, match="repeats"):
        aj.profile(aj.make_program(g), {"x": np.ones(3, np.float32)}, repeats=0)
