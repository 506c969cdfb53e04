"""AnalogLinear and its optimizers: refused configs, and whole training runs against aihwkit's."""

import numpy as np
import pytest

import aidgejax
from aidgejax.errors import AidgeJaxError
from aidgejax.frontends.aihwkit.exceptions import ConfigError
from aidgejax.frontends.aihwkit.nn import (
    AnalogConv1d,
    AnalogConv2d,
    AnalogConv3d,
    AnalogLinear,
    AnalogSequential,
    Tanh,
)
from aidgejax.frontends.aihwkit.optim import AnalogAdam, AnalogSGD
from aidgejax.frontends.aihwkit.simulator.configs import TorchInferenceRPUConfig
from aidgejax.graph import Graph

from ..golden.aihwkit import config_of, family


@pytest.mark.parametrize("case", [pytest.param(c, id=c["name"]) for c in family("config_errors")])
def test_refused_configs(case):
    config, want = config_of(case), case["expected"]
    if want["exception"] is None:
        layer = AnalogLinear(4, 3, True, config)
        x = np.ones((2, 4), np.float32)
        assert layer.backward(np.ones_like(layer(x))).shape == x.shape
        return
    field = max(
        case["config"],
        key=lambda f: f in ("pre_post.input_range.manage_output_clipping", "pre_post.periph_quant.init_learning_after"),
    )
    with pytest.raises(ConfigError, match=field.rsplit(".", 1)[1]) as caught:
        AnalogLinear(4, 3, True, config)
    names = {c.__name__ for c in type(caught.value).__mro__}
    assert isinstance(caught.value, AidgeJaxError) and set(want["exception"]) <= names


def model_of(case):
    i = case["inputs"]
    config = config_of(case)
    layers = []
    for k in ("init.0", "init.2"):
        if f"{k}.weight" in i:
            w, b = i[f"{k}.weight"], i[f"{k}.bias"]
            layer = AnalogLinear(w.shape[1], w.shape[0], True, config)
            layer.set_weights(w, b)
            layers += [Tanh(), layer] if layers else [layer]
    return AnalogSequential(*layers)


@pytest.mark.parametrize(
    "case", [pytest.param(c, id=c["name"]) for c in family("hwa_training") if c["inputs"]["layers"] != "cnn"]
)
def test_training_runs(case):
    i, e = case["inputs"], case["expected"]
    model = model_of(case)
    made = {
        "sgd": lambda: AnalogSGD(model.parameters(), i["lr"], i["momentum"], weight_decay=i["weight_decay"]),
        "adam": lambda: AnalogAdam(model.parameters(), i["lr"], weight_decay=i["weight_decay"]),
    }
    optimizer = made[i["optimizer"]]()
    losses = []
    for step in range(i["steps"]):
        x = i["x"][step]
        y, t = np.asarray(model(x)), np.tanh(x @ i["wt"].T)
        losses.append(np.mean((y - t) ** 2))
        optimizer.zero_grad()
        model.backward(2 * (y - t) / y.size)
        optimizer.step()
    np.testing.assert_allclose(losses, e["loss"], rtol=5e-3, atol=1e-4)
    tiles = [(layer, p.prefix) for layer in model.parameters() for p in layer._layer.parts]
    for k, (layer, prefix) in enumerate(tiles):
        held = layer.state_dict()
        for name, key in [
            ("weight", f"w_{k}"),
            ("input_range", f"ir_{k}"),
            ("mapping_scales", f"scale_{k}"),
            ("out_scaling_alpha", f"alpha_{k}"),
        ]:
            if key in e:
                want = np.ravel(e[key][-1])
                got = np.broadcast_to(np.ravel(held[prefix + name]), want.shape)  # one scale, or the same for each row
                np.testing.assert_allclose(got, want, rtol=5e-3, atol=1e-3, err_msg=key)
    model.eval()


@pytest.mark.parametrize("axes, kind", [(1, AnalogConv1d), (2, AnalogConv2d), (3, AnalogConv3d)])
def test_convolutions_are_products_of_windows(axes, kind):
    """An ideal AnalogConv is Conv; its gradients are checked by differences of the loss sum(y * dy)."""
    rng = np.random.default_rng(axes)
    config = TorchInferenceRPUConfig()
    config.forward.is_perfect = True
    layer = kind(2, 3, (3, 2, 2)[:axes], stride=(2, 1, 1)[:axes], padding=1, rpu_config=config)
    w, b = layer.get_weights()
    w = np.reshape(w, (3, 2, *(3, 2, 2)[:axes]))
    x = rng.normal(size=(2, 2, *(6, 5, 4)[:axes])).astype(np.float32)
    g = Graph("conv")
    g.output(
        g.op.Conv(
            g.input("x", ("N", *x.shape[1:])),
            g.parameter("w", w),
            g.parameter("b", b),
            strides=(2, 1, 1)[:axes],
            pads=(1,) * 2 * axes,
        )
    )
    want = aidgejax.run(g, {"x": x}, backend="numpy")[0]
    y = np.asarray(layer(x))
    np.testing.assert_allclose(y, want, rtol=1e-4, atol=1e-5)
    dy = rng.normal(size=y.shape).astype(np.float32)
    dx = np.asarray(layer.backward(dy))
    dw = np.asarray(next(v for k, v in layer.grads.items() if k.endswith("weight"))).reshape(w.shape)
    step_x, step_w = rng.normal(size=x.shape).astype(np.float32), rng.normal(size=w.shape).astype(np.float32)
    moved = aidgejax.run(g, {"x": x + step_x}, backend="numpy")[0]
    np.testing.assert_allclose(np.sum((moved - want) * dy), np.sum(dx * step_x), rtol=1e-3)  # linear in x, and in w
    moved = aidgejax.run(g, {"x": x}, backend="numpy", params={"w": w + step_w})[0]
    np.testing.assert_allclose(np.sum((moved - want) * dy), np.sum(dw * step_w), rtol=1e-3)
    with pytest.raises(AidgeJaxError, match=f"and {axes} sizes"):
        layer(x[0])
