"""Optimizers against what Aidge and SINGA computed, and against formulas written again in NumPy float64."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aidgejax.errors import GraphError, SettingError
from aidgejax.training import optim

GOLDEN = Path(__file__).parents[1] / "golden"


def array(entry):
    return np.array(entry["data"], np.float32).reshape(entry["shape"])


def run(optimizer, params, grads, rates):
    """The parameters after each update."""
    state, history = optimizer.init(params), []
    for g, lr in zip(grads, rates, strict=True):
        params, state = optimizer.update(params, g, state, lr)
        history.append(params)
    return history


# ---- other systems ------------------------------------------------------------------------------------

AIDGE = {"SGD": lambda **k: optim.sgd(**k, first="bare", dampen_always=True), "Adam": optim.adam}
# Without inplace_wd_*, where Aidge adds weight decay to the gradient that it holds, again at each update.
AIDGE_CASES = [
    c
    for c in json.loads((GOLDEN / "aidge/optimizers.json").read_text())["cases"]
    if not c["name"].startswith("inplace_wd_")
]


@pytest.mark.parametrize("case", AIDGE_CASES, ids=lambda c: c["name"])
def test_aidge(case):
    settings = dict(case["optimizer"])
    rule = AIDGE[settings.pop("kind")](**settings)
    history = run(
        rule, [array(p) for p in case["init"]], [[array(g) for g in gs] for gs in case["grads"]], case["lr_used"]
    )
    for got, want in zip(history, case["params_after_step"], strict=True):
        for p, q in zip(got, want, strict=True):
            np.testing.assert_allclose(p, array(q), rtol=1e-5, atol=2e-6)


SINGA = {
    "SGD": lambda **k: optim.sgd(**k, first="dampened"),
    "RMSProp": lambda rho=0.9, **k: optim.rmsprop(rho, epsilon_at="inside", **k),
    "AdaGrad": lambda epsilon=1e-8, **k: optim.adagrad(epsilon, epsilon_at="inside", **k),
    "Adam": lambda beta_1=0.9, beta_2=0.999, **k: optim.adam(beta_1, beta_2, **k),
}
SINGA_CASES = json.loads((GOLDEN / "singa/optimizers.json").read_text())["cases"]


@pytest.mark.parametrize("case", SINGA_CASES, ids=lambda c: f"{c['optimizer']}-{c['kwargs']}")
def test_singa(case):
    rule = SINGA[case["optimizer"]](**{k: v for k, v in case["kwargs"].items() if k != "lr"})
    names = [k[2:] for k in case if k.startswith("p/")]
    states = {n: array(case[f"p/{n}"]) for n in names}
    grads = {n: array(case[f"g/{n}"]) for n in names}
    rates = case["lr"]["data"]
    history = run(
        rule, {n: states[n][0] for n in names}, [{n: grads[n][k] for n in names} for k in range(len(rates))], rates
    )
    for k, got in enumerate(history):
        for n in names:
            np.testing.assert_allclose(got[n], states[n][k + 1], rtol=1e-5, atol=2e-6)


# ---- formulas, once more ------------------------------------------------------------------------------


def sgd_formula(momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False, first="whole", dampen_always=False):
    v = None

    def update(p, g, lr, t):
        nonlocal v
        bare, g = g, g + weight_decay * p
        damp = dampening if momentum or dampen_always else 0.0
        if t == 1 and first == "whole":
            v = g
        elif t == 1 and first == "bare":
            v = bare
        else:
            v = (0 if v is None else momentum * v) + (1 - damp) * g
        return p - lr * (g + momentum * v if nesterov else v)

    return update


def adam_formula(beta1=0.9, beta2=0.999, epsilon=1e-8, weight_decay=0.0, bias_correction="moments", decoupled=None):
    m = v = 0.0

    def update(p, g, lr, t):
        nonlocal m, v
        if decoupled is None:
            g = g + weight_decay * p
        elif decoupled == "before":
            p = p - lr * weight_decay * p
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        if bias_correction in ("moments", "products"):
            p = p - lr * (m / (1 - beta1**t)) / (np.sqrt(v / (1 - beta2**t)) + epsilon)
        else:
            rate = lr if bias_correction == "none" else lr * np.sqrt(1 - beta2**t) / (1 - beta1**t)
            p = p - rate * m / (np.sqrt(v) + epsilon)
        return p - lr * weight_decay * p if decoupled == "after" else p

    return update


def squares_formula(rho=None, epsilon=1e-8, weight_decay=0.0, initial=0.0, epsilon_at="outside"):
    r = initial

    def update(p, g, lr, t):
        nonlocal r
        g = g + weight_decay * p
        r = r + g * g if rho is None else rho * r + (1 - rho) * g * g
        return p - lr * g / (np.sqrt(r + epsilon) if epsilon_at == "inside" else np.sqrt(r) + epsilon)

    return update


VARIANTS = [
    *(
        (optim.sgd, sgd_formula, k)
        for k in (
            {},
            {"weight_decay": 0.1},
            {"momentum": 0.9},
            {"dampening": 0.4},
            {"dampening": 0.4, "dampen_always": True},
            {"dampening": 0.4, "dampen_always": True, "first": "dampened"},
            {"momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1},
            {"momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1, "first": "dampened"},
            {"momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1, "first": "bare"},
            {"momentum": 0.9, "nesterov": True},
            {"momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1, "nesterov": True, "first": "dampened"},
            {"weight_decay": 0.1, "nesterov": True},
        )
    ),
    *(
        (optim.adam, adam_formula, k)
        for k in (
            {},
            {"beta1": 0.5, "beta2": 0.9, "epsilon": 1e-3, "weight_decay": 0.1},
            {"beta1": 0.0, "beta2": 0.0, "epsilon": 0.1},
            {"bias_correction": "products", "weight_decay": 0.1},
            {"bias_correction": "rate", "epsilon": 1e-2},
            {"bias_correction": "none", "epsilon": 1e-2},
        )
    ),
    *(
        (optim.rmsprop, squares_formula, {"rho": 0.8, "epsilon": 0.1, "epsilon_at": at, "weight_decay": 0.1})
        for at in ("inside", "outside")
    ),
    *(
        (optim.adagrad, squares_formula, {"epsilon": 0.1, "epsilon_at": at, "initial": 0.5, "weight_decay": 0.1})
        for at in ("inside", "outside")
    ),
    (optim.adagrad, squares_formula, {"epsilon": 1e-10}),
]


def against(rule, formula, steps=7):
    """Both in float64."""
    rng = np.random.default_rng(0)
    p, grads = rng.normal(size=(2, 3)), rng.normal(size=(steps, 2, 3))
    rates = np.linspace(0.1, 0.02, steps)
    with jax.enable_x64(True):
        history = run(rule, {"w": p}, [{"w": g} for g in grads], rates)
        for k, got in enumerate(history):
            p = formula(p, grads[k], rates[k], k + 1)
            assert got["w"].dtype == np.float64
            np.testing.assert_allclose(got["w"], p, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("rule, formula, settings", VARIANTS)
def test_formula(rule, formula, settings):
    with jax.enable_x64(True):
        against(rule(**settings), formula(**settings))


@pytest.mark.parametrize("decay, correction", [("before", "moments"), ("after", "rate"), ("after", "none")])
def test_adamw(decay, correction):
    rule = optim.adamw(0.8, 0.95, 1e-2, 0.3, decay=decay, bias_correction=None if correction != "none" else "none")
    against(rule, adam_formula(0.8, 0.95, 1e-2, 0.3, correction, decoupled=decay))


def test_hyperparameters_may_be_traced():
    """A front end whose settings change from step to step passes them as arrays."""
    params, grads = {"w": jnp.array([1.0, -2.0])}, {"w": jnp.array([0.5, 0.25])}

    @jax.jit
    def step(params, state, momentum, beta2):
        params, one = optim.sgd(momentum, 0.3, first="dampened").update(params, grads, state[0], 0.1)
        params, two = optim.adam(0.9, beta2).update(params, grads, state[1], 0.1)
        return params, (one, two)

    wide = optim.sgd(jnp.float32(0)), optim.adam()
    state = tuple(o.init(params) for o in wide)
    fixed = optim.sgd(0.5, 0.3, first="dampened"), optim.adam(0.9, 0.99)
    want, fixed_state = params, [o.init(params) for o in fixed]
    for _ in range(3):
        params, state = step(params, state, 0.5, 0.99)
        for k, o in enumerate(fixed):
            want, fixed_state[k] = o.update(want, grads, fixed_state[k], 0.1)
    np.testing.assert_allclose(params["w"], want["w"], rtol=1e-5)


def test_dampening_is_off_without_momentum_even_when_traced():
    params, grads = {"w": jnp.ones(2)}, {"w": jnp.ones(2)}
    rule = optim.sgd(jnp.float32(0), 0.5, first="dampened")
    moved, _ = rule.update(params, grads, rule.init(params), 0.1)
    np.testing.assert_allclose(moved["w"], 0.9, rtol=1e-6)


# ---- over all parameters ------------------------------------------------------------------------------

ALL = {
    "sgd": optim.sgd(0.9),
    "plain": optim.sgd(),
    "adam": optim.adam(),
    "products": optim.adam(bias_correction="products"),
    "adamw": optim.adamw(decay="after"),
    "rmsprop": optim.rmsprop(),
    "adagrad": optim.adagrad(),
}


@pytest.fixture(params=ALL)
def rule(request):
    return ALL[request.param]


def tree(dtype="float32"):
    return {"layer": {"w": jnp.arange(6.0).reshape(2, 3).astype(dtype)}, "b": [jnp.ones((), dtype), jnp.ones(0, dtype)]}


def test_scan_and_vmap_agree_with_a_loop(rule):
    grads = jax.tree.map(lambda p: jnp.stack([0.1 * p + k for k in range(4)]), tree())
    state = rule.init(tree())
    params, opt = tree(), state
    for k in range(4):
        params, opt = rule.update(params, jax.tree.map(lambda g: g[k], grads), opt, 0.1)  # noqa: B023
    scanned, _ = jax.lax.scan(lambda c, g: (rule.update(c[0], g, c[1], jnp.float32(0.1)), None), (tree(), state), grads)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-6), (params, opt), scanned)
    twice = jax.tree.map(lambda a: jnp.stack([a, a]), (tree(), state))
    first = jax.tree.map(lambda g: g[:1].repeat(2, 0), grads)
    moved, _ = jax.vmap(rule.update, (0, 0, 0, None))(twice[0], first, twice[1], 0.1)
    alone, _ = rule.update(tree(), jax.tree.map(lambda g: g[0], grads), state, 0.1)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a[1], b, rtol=2e-6), moved, alone)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_dtypes_and_structure_are_kept(rule, dtype):
    params = tree(dtype)
    state = rule.init(params)
    moved, after = jax.jit(rule.update)(params, params, state, 0.1)
    assert jax.tree.map(lambda p: p.dtype, moved) == jax.tree.map(lambda p: p.dtype, params)
    described = [(x.shape, x.dtype) for x in jax.tree.leaves(after)]
    assert jax.tree.structure(after) == jax.tree.structure(state)
    assert described == [(x.shape, x.dtype) for x in jax.tree.leaves(state)]
    assert all(d in (jnp.float32, jnp.int32) for _, d in described)


def test_sixteen_bits_lose_nothing_inside():
    """beta2 = 0.999 would never move a bfloat16 average."""
    rule = optim.adam()
    params = {"w": jnp.zeros(1, "bfloat16")}
    state = rule.init(params)
    for _ in range(200):
        params, state = rule.update(params, {"w": jnp.ones(1, "bfloat16")}, state, 1e-3)
    np.testing.assert_allclose(state["w"].state.square, 1 - 0.999**200, rtol=1e-4)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_sixteen_bit_parameters_move_as_float32_ones_do(rule, dtype):
    """300 updates of 1e-4, each below half a step of the parameter at 1."""
    narrow, wide = {"w": jnp.ones(3, dtype)}, {"w": jnp.ones(3, "float32")}
    states, update = [rule.init(narrow), rule.init(wide)], jax.jit(rule.update)
    for _ in range(300):
        narrow, states[0] = update(narrow, {"w": jnp.ones(3, dtype)}, states[0], 1e-4)
        wide, states[1] = update(wide, {"w": jnp.ones(3)}, states[1], 1e-4)
    assert np.array_equal(narrow["w"], wide["w"].astype(dtype)) and not np.any(narrow["w"] == 1)


def test_a_sixteen_bit_parameter_that_was_set_from_outside_holds():
    rule = optim.sgd()
    params, state = rule.update(
        {"w": jnp.ones(2, "float16")}, {"w": jnp.ones(2)}, rule.init({"w": jnp.ones(2, "float16")}), 1e-5
    )
    params, state = rule.update({"w": jnp.full(2, 3, "float16")}, {"w": jnp.ones(2)}, state, 1e-5)
    np.testing.assert_allclose(state["w"].weights, 3 - 1e-5, rtol=1e-7)


def test_without_a_gradient_a_parameter_stays(rule):
    params = {"w": jnp.ones(2), "frozen": jnp.ones(3)}
    state = rule.init(params)
    moved, after = rule.update(params, {"w": jnp.ones(2), "frozen": None}, state, 0.1)
    assert np.all(moved["frozen"] == 1) and np.all(moved["w"] < 1)
    assert int(after["frozen"].seen) == 0 and int(after["w"].seen) == 1


def test_a_fresh_state_starts_momentum_anew():
    rule = optim.sgd(0.9, 0.5)
    params, grads = {"w": jnp.zeros(1)}, {"w": jnp.ones(1)}
    state = rule.init(params)
    for _ in range(3):
        params, state = rule.update(params, grads, state, 1.0)
    again, _ = rule.update(params, grads, rule.init(params), 1.0)
    np.testing.assert_allclose(params["w"] - again["w"], 1.0, rtol=1e-6)


def test_zero_is_zero(rule):
    """A zero gradient moves nothing, and makes no NaN."""
    params = {"w": jnp.array([1.0, -2.0])}
    rule = optim.adamw(weight_decay=0.0) if rule is ALL["adamw"] else rule
    moved, _ = rule.update(params, {"w": jnp.zeros(2)}, rule.init(params), 0.1)
    np.testing.assert_array_equal(moved["w"], params["w"])


# ---- the norm -----------------------------------------------------------------------------------------


def test_global_norm_and_clipping():
    grads = {"a": jnp.array([3.0, 0.0]), "b": (jnp.array([[4.0]]), None), "c": jnp.zeros(0)}
    assert float(optim.global_norm(grads)) == 5.0
    cut = optim.clip_by_global_norm(grads, 1.0)
    np.testing.assert_allclose(optim.global_norm(cut), 1.0, rtol=1e-6)
    np.testing.assert_allclose(cut["a"][0] / cut["b"][0][0, 0], 0.75, rtol=1e-6)
    jax.tree.map(np.testing.assert_array_equal, optim.clip_by_global_norm(grads, 10.0), grads)
    nothing = jax.tree.map(jnp.zeros_like, grads)
    jax.tree.map(np.testing.assert_array_equal, optim.clip_by_global_norm(nothing, 1.0), nothing)
    assert float(optim.global_norm({})) == 0.0


def test_the_norm_of_sixteen_bits_is_summed_in_thirty_two():
    grads = {"w": jnp.ones(4096, "bfloat16")}
    assert float(optim.global_norm(grads)) == 64.0
    assert optim.clip_by_global_norm(grads, 1.0)["w"].dtype == jnp.bfloat16


def test_clipped():
    rule = optim.clipped(optim.sgd(), 1.0)
    params, grads = {"w": jnp.zeros(2)}, {"w": jnp.array([30.0, 40.0])}
    moved, _ = rule.update(params, grads, rule.init(params), 1.0)
    np.testing.assert_allclose(moved["w"], [-0.6, -0.8], rtol=1e-6)


# ---- mistakes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: optim.sgd(momentum=-1), "sgd: momentum is -1; expected a finite number at least 0"),
        (lambda: optim.sgd(weight_decay=float("nan")), "sgd: weight_decay is nan; expected a finite number at least 0"),
        (lambda: optim.sgd(dampening="no"), "sgd: dampening is 'no'; expected a finite number"),
        (lambda: optim.sgd(first="last"), "sgd: first is 'last'; expected one of 'whole', 'dampened', 'bare'"),
        (lambda: optim.adam(beta1=1.0), "adam: beta1 is 1.0; expected a finite number at least 0 and below 1"),
        (lambda: optim.adam(beta2=-0.1), "adam: beta2 is -0.1; expected a finite number at least 0 and below 1"),
        (lambda: optim.adam(epsilon=None), "adam: epsilon is None; expected a finite number at least 0"),
        (lambda: optim.adamw(weight_decay=-1), "adamw: weight_decay is -1; expected a finite number at least 0"),
        (lambda: optim.adamw(decay="never"), "adamw: decay is 'never'; expected one of 'before', 'after'"),
        (lambda: optim.rmsprop(rho=1.5), "rmsprop: rho is 1.5; expected a finite number at least 0 and at most 1"),
        (lambda: optim.rmsprop(epsilon_at="x"), "rmsprop: epsilon_at is 'x'; expected one of 'inside', 'outside'"),
        (lambda: optim.adagrad(initial=-1), "adagrad: initial is -1; expected a finite number at least 0"),
        (
            lambda: optim.clip_by_global_norm({}, 0),
            "clip_by_global_norm: max_norm is 0; expected a finite number above 0",
        ),
    ],
)
def test_settings_out_of_range(make, message):
    with pytest.raises(SettingError) as e:
        make()
    assert str(e.value) == message


def test_arrays_that_do_not_fit():
    rule = optim.sgd()
    params = {"w": jnp.ones(2), "b": jnp.ones(3)}
    with pytest.raises(GraphError, match="parameter 'n' has dtype int32: only floating-point"):
        rule.init({"n": jnp.arange(3)})
    with pytest.raises(GraphError, match=r"parameter 'w' has shape \(2,\), but its gradient has \(3,\)"):
        rule.update(params, {"w": jnp.ones(3), "b": jnp.ones(3)}, rule.init(params), 0.1)
    with pytest.raises(
        GraphError,
        match="the gradients do not have the structure of the parameters: expected a dict "
        "of 'w', 'b', got a dict of 'w'",
    ):
        rule.update(params, {"w": jnp.ones(2)}, rule.init(params), 0.1)
    with pytest.raises(GraphError, match="the optimizer state do not have|the optimizer state"):
        rule.update(params, params, {"w": 1}, 0.1)
