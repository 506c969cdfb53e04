"""A mean over positions that are all ignored is 0, and so are its gradients: JAX, NumPy and the decomposition."""

import numpy as np
import pytest

import aidgejax as aj


@pytest.mark.parametrize("loss", ["cross_entropy", "nll"])
@pytest.mark.parametrize("reduction", ["mean", "rows"])
def test_nothing_to_average(loss, reduction):
    graph = aj.Graph("g")
    graph.output(graph.op.Identity(graph.parameter("p", np.ones((2, 3), np.float32)), name="o"))
    graph = aj.with_loss(aj.infer_shapes(graph), loss, prediction="o", reduction=reduction, ignore_index=-1)
    program, batch = aj.make_program(graph, training=True, wrt=["p"]), {"target": np.array([-1, -1])}
    for backend in (program, aj.NumpyProgram(program)):
        outputs, saved, _ = backend.forward(graph.params, {}, batch, None)
        found = np.asarray(outputs["loss"])
        grads = backend.backward(graph.params, saved, {"loss": np.ones_like(found)}, None)
        assert not found.any() and not np.asarray(grads["p"]).any()
