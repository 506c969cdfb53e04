"""What does not fit is refused before anything runs, by the sum of what is held at once."""

import jax
import numpy as np
import pytest

import aidgejax as aj
from aidgejax.errors import GraphError
from aidgejax.execution.budget import check_memory, peak_memory
from aidgejax.training import optim, schedule

HUGE = 2**37
X = np.ones((4, 4), np.float32)


def graph_of(build):
    graph = aj.Graph("large")
    x = graph.input("x", ("N", 4))
    number = lambda v, dtype="int64": graph.constant(graph.fresh("c"), np.asarray(v, dtype))  # noqa: E731
    graph.output(build(graph.op, x, number))
    return graph


def doubled(op, x, times):
    for _ in range(times):
        x = op.Concat(x, x, axis=0)
    return x


LARGE = {
    "ConstantOfShape": lambda op, x, c: op.ConstantOfShape(c([HUGE])),
    "Range": lambda op, x, c: op.Range(c(0), c(HUGE), c(1)),
    "Expand": lambda op, x, c: op.Expand(x, c([HUGE, 1, 4])),
    "Tile": lambda op, x, c: op.Tile(x, c([HUGE, 1])),
    "OneHot": lambda op, x, c: op.OneHot(c([0, 1]), c(HUGE), c([0.0, 1.0], "float32")),
    "Pad": lambda op, x, c: op.Pad(x, c([HUGE, 0, 0, 0])),
    "Resize": lambda op, x, c: op.Resize(x, None, None, c([HUGE, 4])),
    "RandomNormal": lambda op, x, c: op.RandomNormal(shape=(HUGE,)),
    "CenterCropPad": lambda op, x, c: op.CenterCropPad(x, c([HUGE, 4])),
    "Concat": lambda op, x, c: doubled(op, x, 36),
}
LARGE["MatMul"] = lambda op, x, c: op.MatMul(op.ConstantOfShape(c([2**19, 1])), op.ConstantOfShape(c([1, 2**19])))


@pytest.mark.parametrize("op", LARGE)
def test_both_backends_and_compare_refuse(op):
    graph = graph_of(LARGE[op])
    for call in (
        lambda: aj.run(graph, {"x": X}),
        lambda: aj.run(graph, {"x": X}, backend="numpy"),
        lambda: aj.compare(graph, batch={"x": X}, steps=1),
    ):
        with pytest.raises(GraphError, match=rf"node '{op}.*would write .* \d[\d,]* bytes.* there are [\d,]+"):
            call()


def test_what_is_held_at_once_counts_and_not_the_largest(monkeypatch):
    def chain(op, x, c):  # 50 tensors, each in the place of the one before
        for k in range(50):
            x = op.Mul(op.MatMul(x, c(np.eye(4), "float32")), float(k))
        return x

    def together(op, x, c):  # 50 tensors, all read at the end
        return op.Sum(*[op.MatMul(x, c(np.eye(4), "float32")) for _ in range(50)])

    one = 4 * 4 * 2**20
    feeds = {"x": jax.ShapeDtypeStruct((2**20, 4), np.float32)}
    assert peak_memory(aj.infer_shapes(graph_of(chain)), feeds).total == one
    held = aj.infer_shapes(graph_of(together))
    assert peak_memory(held, feeds).total == 50 * one
    monkeypatch.setenv("AIDGEJAX_MEMORY", str(40 * one))
    check_memory(aj.infer_shapes(graph_of(chain)), feeds)
    with pytest.raises(GraphError, match="'MatMul_49'.* 838,860,800 bytes are needed; there are 671,088,640"):
        check_memory(held, feeds)


def test_training_counts_what_the_gradient_needs(monkeypatch):
    def network(op, x, c):
        for _ in range(8):
            x = op.Tanh(op.MatMul(x, graph.parameter(graph.fresh("w"), np.eye(4, dtype=np.float32))))
        return x

    graph = aj.Graph("net")
    graph.output(network(graph.op, graph.input("x", ("N", 4)), None))
    graph = aj.with_loss(aj.infer_shapes(graph), "mse", reduction="rows")
    rows = 2**20
    data = aj.Dataset(x=np.zeros((rows, 4), np.float32), target=np.zeros((rows, 4), np.float32))
    monkeypatch.setenv("AIDGEJAX_MEMORY", str(6 * rows * 16))  # the data, and 4 tensors more
    check_memory(graph, {"x": data.columns["x"], "target": data.columns["target"]})
    with pytest.raises(GraphError, match="would write .* for what is held all the time"):
        aj.fit(
            aj.make_program(graph, training=True), optim.sgd(), schedule.constant(0.1), data, epochs=1, batch_size=rows
        )
