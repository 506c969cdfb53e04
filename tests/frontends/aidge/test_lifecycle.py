"""The life of gradients, as Aidge documents it and as the real one was measured."""

import numpy as np
import pytest

from aidgejax.frontends import aidge_core, aidge_learning

from ._golden import BACKENDS, CLOSE, array, cases, golden, grad

SETUP = {k: array(v) for k, v in golden("semantics")["meta"]["setup"].items() if k != "text"}
WANT = {c["name"]: c for c in cases("semantics")}


class Model:
    """sequential([FC(3, 2)]) with the recorded weights; fb: forward, MSE, backward."""

    def __init__(self, backend):
        self.graph = aidge_core.sequential([aidge_core.FC(3, 2, name="fc1")])
        self.graph.set_backend(backend)
        self.w, self.b = (self.graph.get_node(n) for n in ("fc1_w", "fc1_b"))
        self.w.get_operator().set_output(0, aidge_core.Tensor(SETUP["W"]))
        self.b.get_operator().set_output(0, aidge_core.Tensor(SETUP["b"]))
        self.scheduler = aidge_core.SequentialScheduler(self.graph)

    def forward(self, x):
        return self.scheduler.forward(data=[x if isinstance(x, aidge_core.Tensor) else aidge_core.Tensor(x)])[0]

    def fb(self, x, scaling=1.0):
        pred = self.forward(x)
        aidge_learning.loss.MSE(pred, aidge_core.Tensor(SETUP["y"]), scaling)
        self.scheduler.backward()

    def check(self, name):
        np.testing.assert_allclose(grad(self.w), array(WANT[name]["w"]), **CLOSE)
        np.testing.assert_allclose(grad(self.b), array(WANT[name]["b"]), **CLOSE)


@pytest.fixture(params=BACKENDS)
def model(request):
    return Model(request.param)


def test_single_and_double_backward(model):
    model.fb(SETUP["x"])
    model.check("single_backward")
    model.scheduler.backward()
    model.check("backward_twice")
    model.fb(SETUP["x"])
    model.check("auto_reset_without_optimizer")


def test_forward_twice(model):
    model.forward(SETUP["x"])
    model.fb(SETUP["x2"])
    model.check("forward_twice")


def test_accumulate_and_reset(model):
    opt = aidge_learning.SGD()
    opt.set_parameters([model.w, model.b])
    assert model.w.annotations().get_attr("grad.no_reset") is True
    assert model.w.annotations().dict()["grad"] == {"no_reset": True}
    model.fb(SETUP["x"])
    model.fb(SETUP["x2"])
    model.check("accumulate_with_set_parameters")
    opt.reset_grad()
    model.check("reset_grad")
    model.fb(SETUP["x"], 0.5)
    model.fb(SETUP["x2"], 0.5)
    model.check("accumulate_scaled")


def test_subset_of_parameters(model):
    aidge_learning.SGD().set_parameters([model.w])
    model.fb(SETUP["x"])
    model.fb(SETUP["x2"])
    model.check("subset_parameters")


def test_manual_no_reset(model):
    model.b.annotations().add_attr("grad.no_reset", True)
    model.fb(SETUP["x"])
    model.fb(SETUP["x2"])
    model.check("manual_no_reset")


def test_input_gradient(model):
    x = aidge_core.Tensor(SETUP["x"])
    model.fb(x)
    assert not x.has_grad()
    x.grad  # noqa: B018  (touched)
    model.fb(x)
    np.testing.assert_allclose(np.array(x.grad), array(WANT["input_grad"]["input_grad_pass1"]), **CLOSE)
    model.fb(x)
    np.testing.assert_allclose(np.array(x.grad), array(WANT["input_grad"]["input_grad_pass2"]), **CLOSE)


@pytest.mark.parametrize("backend", BACKENDS)
def test_shared_weight(backend):
    w = aidge_core.Producer(aidge_core.Tensor(np.ascontiguousarray(SETUP["W"][:, :2])), "w")
    first, second = (aidge_core.Node(aidge_core.FCOp(), n) for n in ("a", "b"))
    w.add_child(first, 0, 1)
    w.add_child(second, 0, 1)
    first.add_child(second, 0, 0)
    graph = aidge_core.get_connected_graph_view(second)
    graph.set_backend(backend)
    scheduler = aidge_core.SequentialScheduler(graph)
    pred = scheduler.forward(data=[aidge_core.Tensor(np.ascontiguousarray(SETUP["x"][:, :2]))])[0]
    np.testing.assert_allclose(np.array(pred), array(WANT["shared_weight"]["prediction"]), **CLOSE)
    aidge_learning.loss.MSE(pred, aidge_core.Tensor(SETUP["y"]))
    scheduler.backward()
    np.testing.assert_allclose(grad(w), array(WANT["shared_weight"]["w"]), **CLOSE)
