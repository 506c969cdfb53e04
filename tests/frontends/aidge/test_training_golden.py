"""Whole training runs of the real Aidge, by the same imperative loop."""

import numpy as np
import pytest

from aidgejax.frontends import aidge_core, aidge_learning

from ._golden import BACKENDS, CLOSE, FOLDER, cases, grad, optimizer, recorded, scheduler, value


def model_of(case):
    if not isinstance(case["model"], str):
        return aidge_core.sequential([getattr(aidge_core, kind)(**args) for kind, args in case["model"]])
    f1, f2, f3 = (aidge_core.Node(aidge_core.FCOp(), n) for n in ("f1", "f2", "f3"))
    return f1, f2, f3


def branchy(init):
    """x -> f1 -> r;  r -> f2 -> t;  ad = r + t;  cc = concat([ad, r], 1);  f3(cc)"""

    def fc(name):
        out, ins = init[f"{name}_w"].shape
        return aidge_core.FC(ins, out, name=name)

    x = aidge_core.Connector()
    r = aidge_core.ReLU(name="r")(fc("f1")(x))
    t = aidge_core.Tanh(name="t")(fc("f2")(r))
    ad = aidge_core.Add(name="ad")(r, t)
    cc = aidge_core.Concat(2, 1, name="cc")(ad, r)
    return aidge_core.generate_graph([fc("f3")(cc)])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("case", cases("training"), ids=lambda c: c["name"])
def test_training(case, backend):
    data = dict(np.load(FOLDER / case["file"]))
    init = {k.split("/")[1]: data[k] for k in data if k.startswith("param_init/")}
    model = branchy(init) if isinstance(case["model"], str) else model_of(case)
    model.set_backend(backend)
    nodes = {n.name(): n for n in aidge_core.producers(model)}
    assert set(nodes) == set(init)
    for name, array in init.items():
        nodes[name].get_operator().set_output(0, aidge_core.Tensor(array))
    opt = optimizer(case["optimizer"])
    opt.set_parameters(aidge_core.producers(model))
    opt.set_learning_rate_scheduler(
        recorded(data["lr_used"]) if case["scheduler"].get("warmup") else scheduler(case["scheduler"])
    )
    run = aidge_core.SequentialScheduler(model)
    every, steps = case["nb_iters"], case["steps"]
    losses, counts = [], []
    opt.reset_grad()
    for k in range(steps):
        x, y = (aidge_core.Tensor(data[n][k]) for n in ("x", "y"))
        pred = run.forward(data=[x])[0]
        if every == 1:
            opt.reset_grad()
        losses.append(getattr(aidge_learning.loss, case["loss"])(pred, y, case["loss_scaling"])[0])
        counts.append(aidge_learning.metrics.Accuracy(pred, y, 1)[0])
        run.backward()
        if k == 0:
            for name, node in nodes.items():
                np.testing.assert_allclose(grad(node), data[f"grad_step0/{name}"], err_msg=name, **CLOSE)
        if (k + 1) % every == 0 or k + 1 == steps:
            opt.update()
            if every > 1:
                opt.reset_grad()
    np.testing.assert_allclose(losses, data["losses"].ravel(), **CLOSE)
    if "accuracy_counts" in data:
        np.testing.assert_allclose(counts, data["accuracy_counts"].ravel())
    for name, node in nodes.items():
        np.testing.assert_allclose(value(node), data[f"param_final/{name}"], err_msg=name, **CLOSE)
