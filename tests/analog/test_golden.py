"""The pure functions against the numbers of aihwkit, jitted and not."""

import jax
import numpy as np
import pytest

from aidgejax import analog, reference
from aidgejax.execution.program import make_program

from ..golden.aihwkit import config_of, family

STEP = {"rtol": 2e-4, "atol": 2e-5}


def cases(*names):
    """Every case jitted, a first one of each file not jitted too, which compiles each primitive; each sixth slowly."""
    found = [(f"{n}-{c['name']}", k, c) for n in names for k, c in enumerate(family(n))]
    quick = [pytest.param(c | {"eager": k == 0}, id=name) for name, k, c in found]
    slow = pytest.mark.slow
    return quick + [
        pytest.param(c | {"eager": True}, id=f"{name}-eager", marks=slow) for name, k, c in found if k and k % 6 == 0
    ]


def both(case, function, *args):
    """function(*args), jitted and perhaps not."""
    return [jax.jit(function)(*args)] + ([function(*args)] if case["eager"] else [])


def close(got, want, what, **tolerance):
    np.testing.assert_allclose(np.asarray(got), want, err_msg=what, **(tolerance or STEP))


@pytest.mark.parametrize("case", cases("uniform_quantize"))
def test_uniform_quantize(case):
    res, bound = case["config"]["res"], case["config"]["bound"]
    for q in both(case, lambda x: analog.uniform_quantize(x, res, bound), case["inputs"]["x"]):
        close(q, case["expected"]["q"], "q", rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("case", cases("periph_quantizer"))
def test_periphery_quantizer(case):
    c, i, e = case["config"], case["inputs"], case["expected"]
    how = {"n_bits": c["n_bits"], "symmetric": c["symmetric"]}

    def run(x, g):
        delta, zero, signed = analog.quantizer_range(x, **how)
        if c["phase"] == "learned":
            delta, zero, signed = np.float32(i["delta"]), np.float32(i.get("zero_float", 0)), i.get("signed", False)
        q = analog.fake_quantize(x, delta, zero, **how, signed=signed)
        return delta, zero, signed, q, analog.fake_quantize_backward(x, delta, zero, g, **how, signed=signed)

    for delta, zero, signed, q, (dx, d_delta, d_zero) in both(case, run, i["x"], i["g"]):
        close(q, e["q"], "q")
        close(dx, e["grad_x"], "grad_x")
        close(np.squeeze(delta), e["delta"], "delta")
        if e.get("zero_float") is not None:
            close(np.squeeze(zero), e["zero_float"], "zero_float")
        if c["symmetric"]:
            assert bool(np.squeeze(signed)) == e["signed"]
        if e["grad_delta"] is not None:
            close(np.squeeze(d_delta), e["grad_delta"], "grad_delta")
        if e.get("grad_zero_float") is not None:
            close(np.squeeze(d_zero), e["grad_zero_float"], "grad_zero_float")


@pytest.mark.parametrize("case", cases("analog_mvm"))
def test_product(case):
    i, e = case["inputs"], case["expected"]
    config = config_of({"tile": "torch", "config": {f"forward.{k}": v for k, v in case["config"].items()}})
    params, state = analog.analog_linear_init(i["w"], None, config)

    def run(params, x, g):
        y, after, _, saved = analog.analog_linear(params, state, x, config, training=True)
        return y, *analog.analog_linear_backward(after, saved, g, config)

    for y, grads, dx in both(case, run, params, i["x"], i["g"]):
        close(y, e["y"], "y")
        close(dx, e["grad_x"], "grad_x")
        close(grads["weight"], e["grad_w"], "grad_w")


@pytest.mark.parametrize("case", cases("input_range_step", "input_range_step_explicit"))
def test_input_range_step(case):
    i, e = case["inputs"], case["expected"]
    config = config_of(case)
    if case["name"].startswith("moc_"):
        config.pre_post.input_range.output_clipping_share = "input_size"
    params, state = analog.analog_linear_init(i["w"], i.get("b"), config)
    if config.pre_post.input_range.enable:
        where = params if config.pre_post.input_range.learn_input_range else state
        where["input_range"] = np.asarray(i["state_input_range"])
        state["input_range_update_idx"] = np.full(1, i["state_update_idx"], np.float32)

    def run(params, state, x, g):
        y, params, state, saved = analog.analog_linear(params, state, x, config, training=i["training"])
        return y, params, state, *analog.analog_linear_backward(params, saved, g, config)

    for y, after, held, grads, dx in both(case, run, params, state, i["x"], i["g"]):
        close(y, e["y"], "y")
        close(dx, e["grad_x"], "grad_x")
        close(grads["weight"], e["grad_w_tile"], "grad_w_tile")
        if "grad_b" in e and e["grad_b"] is not None:
            close(grads["bias"], e["grad_b"], "grad_b")
        if "out_scaling_alpha" in grads and "grad_out_scaling" in e:
            close(grads["out_scaling_alpha"], e["grad_out_scaling"], "alpha")
        if config.pre_post.input_range.enable:
            close({**held, **after}["input_range"], e["input_range_after_forward"], "range")
            close(held["input_range_update_idx"], e["update_idx_after"], "idx")
        if "input_range" in grads and e.get("grad_input_range") is not None:
            close(grads["input_range"], e["grad_input_range"], "grad_input_range", rtol=2e-4, atol=1e-4)


def sgd_step(params, grads, lr):
    return jax.tree.map(lambda p, g: p - np.float32(lr) * g, params, grads)


@pytest.mark.parametrize("case", cases("input_range_seq", "input_range_seq_explicit"))
def test_input_range_sequence(case):
    i, e = case["inputs"], case["expected"]
    config, until = config_of(case), case.get("fragile_from_batch", len(i["x"]))
    config.pre_post.input_range.output_clipping_share = "input_size"
    params, state = analog.analog_linear_init(i["w"], i["b"], config)
    evals = np.isin(np.arange(len(i["x"])), i["eval_at"])

    def run(params, state, item):
        x, evaluated = item

        def step(training):
            def at(params, state):
                y, after, held, saved = analog.analog_linear(params, state, x, config, training=training)
                t = x @ i["wt"].T
                loss = 0.5 * jax.numpy.mean((y - t) ** 2)
                grads, _ = analog.analog_linear_backward(after, saved, (y - t) / t.size, config)
                used = {**held, **after}["input_range"]
                after = sgd_step(after, grads, i["lr"])
                after, held = analog.analog_post_update(after, held, config)
                record = [
                    loss,
                    used,
                    {**held, **after}["input_range"],
                    held["input_range_update_idx"],
                    grads.get("input_range", np.zeros(1, np.float32)),
                ]
                return after, held, jax.numpy.stack([jax.numpy.reshape(r, ()) for r in record])

            return at

        return jax.lax.cond(evaluated, step(False), step(True), params, state)

    def body(carry, item):
        params, state, record = run(*carry, item)
        return (params, state), record

    (params, state), records = jax.jit(lambda c, x: jax.lax.scan(body, c, x))((params, state), (i["x"], evals))
    for k, name in enumerate(["loss", "ir_used", "ir_end", "idx", "grad"]):
        want = np.asarray(e[name], np.float32)
        seen = np.isfinite(want) & ("input_range" in params or name != "grad")  # no gradient of what is not learned
        close(np.where(seen, records[:, k], 0)[:until], np.where(seen, want, 0)[:until], name, rtol=2e-3, atol=2e-4)
    if until == len(i["x"]):
        w = params["weight"] * state["mapping_scales"][:, None] if "mapping_scales" in state else params["weight"]
        ok = any(np.allclose(c, e["w_final"], rtol=2e-3, atol=2e-4) for c in (w, params["weight"]))
        assert ok
        close(params["bias"], e["b_final"], "b", rtol=2e-3, atol=2e-4)


@pytest.mark.parametrize("case", cases("periph_tile"))
def test_periphery_tile(case):
    i, e = case["inputs"], case["expected"]
    config = config_of(case)
    if i["act_quant"]:
        from aidgejax.frontends.aihwkit.simulator.configs import QuantConfig

        config.act_quant_config = QuantConfig(**i["act_quant"])
    params, state = analog.analog_linear_init(i["w"], i["b"] if i["bias"] else None, config)
    if "out_scaling_alpha" in i:
        params["out_scaling_alpha"] = i["out_scaling_alpha"]
    forward = jax.jit(
        lambda p, s, x, training: analog.analog_linear(p, s, x, config, training=training), static_argnums=3
    )
    backward = jax.jit(lambda p, saved, dy: analog.analog_linear_backward(p, saved, dy, config))
    if i["eval_first"]:
        y, params, state, _ = forward(params, state, i["x_eval0"], False)
        close(y, e["y_eval0"], "y_eval0")
    for b in range(min(case.get("fragile_from_batch", 7), 7)):
        y, params, state, saved = forward(params, state, i[f"x{b}"], True)
        close(y, e[f"y{b}"], f"y{b}", rtol=2e-3, atol=2e-4)
        grads, _ = backward(params, saved, i[f"g{b}"] / len(y))
        close(grads["weight"], e[f"grad_w_tile{b}"], f"w{b}", rtol=2e-3, atol=2e-4)
        if i["bias"]:
            close(grads["bias"], e[f"grad_b{b}"], f"b{b}", rtol=2e-3, atol=2e-4)
        for part, name in [("scale", "scale_quant"), ("bias", "bias_quant")]:
            want = e["steps"][b].get(part)
            if not want or name not in {**state, **params}:
                continue
            held = {**state.get(name, {}), **params.get(name, {})}
            close(held["delta"][0], want["delta"], f"{part} delta {b}", rtol=2e-3, atol=2e-5)
            if want.get("grad_delta") is not None:
                close(grads[name]["delta"][0], want["grad_delta"], f"{part} d_delta {b}", rtol=2e-3, atol=2e-4)
                if want.get("grad_zero_float") is not None:
                    close(grads[name]["zero_float"][0], want["grad_zero_float"], "zero", rtol=2e-3, atol=2e-4)
            elif name in grads:
                assert not np.any(grads[name]["delta"])
        if f"grad_alpha{b}" in e:
            close(grads["out_scaling_alpha"], e[f"grad_alpha{b}"], f"alpha {b}", rtol=2e-3, atol=2e-4)
        if "grad_input_range" in e["steps"][b]:
            close(grads["input_range"][0], e["steps"][b]["grad_input_range"], "range", rtol=2e-3, atol=2e-4)
        params = sgd_step(params, grads, i["lr"])
        params, state = analog.analog_post_update(params, state, config)
    if "fragile_from_batch" not in case:
        y, *_ = forward(params, state, i["x_eval"], False)
        close(y, e["y_eval"], "y_eval", rtol=2e-3, atol=2e-4)


@pytest.mark.parametrize("case", cases("weight_ops"))
def test_weight_operations(case):
    c, i, e = case["config"], case["inputs"], case["expected"]
    fields = {"modify": "modifier", "clip": "clip", "remap": "remap"}[c["op"]]
    config = config_of({"tile": "torch", "config": {f"{fields}.{k}": v for k, v in c.items() if k != "op"}})
    config.forward.is_perfect = True
    params, state = {"weight": i["w"]}, {}
    if c["op"] == "modify":
        eye = np.eye(i["w"].shape[1], dtype=np.float32)
        y, params, _, saved = analog.analog_linear(params, state, eye, config, training=True)
        close(y.T, e["w_new"], "w", rtol=1e-6, atol=1e-6)
        close(analog.analog_linear_backward(params, saved, i["g"].T, config)[0]["weight"], e["grad_w"], "grad_w")
        return
    if "scales" in i:
        state["mapping_scales"] = i["scales"]
    for after, held in both(case, lambda p, s: analog.analog_post_update(p, s, config), params, state):
        close(after["weight"], e["w_new"], "w", rtol=1e-6, atol=1e-6)
        if "scales_new" in e:
            close(held["mapping_scales"], e["scales_new"], "scales")


def by_numpy(config, params, state, x, g, training):
    """(y, gradients) of one tile by the NumPy backend: forward, and the gradient graph."""
    graph, _ = analog.layer_graph(config, params, state, rank=x.ndim)
    program = make_program(graph, seeds=["y"], wrt=[*graph.params, "x"], training=training, unreachable="zeros")
    found = reference.execute(program.graph, {"x": x})
    feeds = {"y_grad": g, **{k: found[k] for k in program.gradient.inputs if k != "y_grad"}}
    grads = reference.execute(program.gradient, feeds)
    return found["y"], {w: grads[o] for w, o in zip(program.wrt, program.gradient.outputs, strict=True)}


@pytest.mark.parametrize("case", cases("analog_mvm", "input_range_step", "input_range_step_explicit"))
def test_numpy_backend(case):
    i, e = case["inputs"], case["expected"]
    if case["tile"] == "function":
        case = case | {"tile": "torch", "config": {f"forward.{k}": v for k, v in case["config"].items()}}
    config = config_of(case)
    config.pre_post.input_range.output_clipping_share = "input_size"
    params, state = analog.analog_linear_init(i["w"], i.get("b"), config)
    if "state_input_range" in i and config.pre_post.input_range.enable:
        where = params if config.pre_post.input_range.learn_input_range else state
        where["input_range"] = np.asarray(i["state_input_range"])
        state["input_range_update_idx"] = np.full(1, i["state_update_idx"], np.float32)
    y, grads = by_numpy(config, params, state, i["x"], i["g"], i.get("training", True))
    close(y, e["y"], "y")
    close(grads["x"], e["grad_x"], "grad_x")
    close(grads["weight"], e["grad_w" if "grad_w" in e else "grad_w_tile"], "grad_w")
    if e.get("grad_input_range") is not None and "input_range" in grads:
        close(grads["input_range"], e["grad_input_range"], "grad_input_range", rtol=2e-4, atol=1e-4)
