"""Every row of the table before every judge."""

from dataclasses import replace

import jax
import numpy as np
import onnx.reference
import pytest

from aidgejax import onnxio, reference
from aidgejax.ops import OPERATORS
from aidgejax.passes.gradient import grad_name
from aidgejax.reference._definition import BACKWARDS, DEFINITIONS

from .cases import TABLE

H = 1e-5


def judge(function):
    """Ask the question of every row that is not excused from it."""
    name = function.__name__.removeprefix("test_")
    rows = [pytest.param(c, id=f"{n}-{c!r}") for n, c in enumerate(TABLE) if name not in c.excused]
    return pytest.mark.parametrize("case", rows)(function)


def same(got, want, rtol=1e-9, atol=1e-11, what=""):
    assert set(got) == set(want)
    for k in want:
        assert np.shape(got[k]) == np.shape(want[k]), f"{what}{k}: shape {np.shape(got[k])} != {np.shape(want[k])}"
        np.testing.assert_allclose(
            got[k], want[k], rtol=rtol, atol=atol * max(1.0, scale(want[k])), err_msg=f"{what}{k}"
        )


def scale(a):
    a = np.abs(np.asarray(a, np.float64)) if np.asarray(a).dtype.kind == "f" else np.zeros(1)
    a = a[np.isfinite(a)]
    return float(a.max()) if a.size else 1.0


def by_onnx(model, feeds):
    """The outputs by onnx's own evaluator; it warns where a branch that a Where leaves aside is infinite."""
    with np.errstate(all="ignore"):
        return onnx.reference.ReferenceEvaluator(model).run(None, feeds)


@judge
def test_reference(case):
    """The NumPy backend computes the same, in float64 and in float32, with the same dtypes."""
    run = case.in_float64
    found = case.reference_outputs(run["program"], case.feeds(np.float64), np.float64)
    same(run["outputs"], {o: found[o] for o in run["outputs"]}, what="float64 ")
    program, feeds = case.program(), case.feeds()
    outputs = jax.jit(lambda feeds: program.forward({}, {}, feeds, jax.random.key(7), save=False)[0])(feeds)
    found = case.reference_outputs(program, feeds)
    same(outputs, {o: found[o] for o in outputs}, rtol=2e-5, atol=2e-6, what="float32 ")
    for o, a in outputs.items():
        if np.asarray(found[o]).dtype.kind == "f":
            assert a.dtype == found[o].dtype == np.float32, f"{o}: {a.dtype} in JAX, {found[o].dtype} in NumPy"


@judge
def test_onnx_reference(case):
    """onnx's own evaluator computes the same from the model that we write."""
    want = case.in_float64["outputs"]
    model = onnxio.to_model(case.graph(np.float64))
    got = by_onnx(model, case.feeds(np.float64))
    same(dict(zip(want, got, strict=True)), want, rtol=1e-6, atol=1e-7)


@judge
def test_onnx_round_trip(case):
    """write, read: the same names, the same numbers."""
    graph = case.graph(np.float64)
    again = onnxio.read(onnxio.to_model(graph))
    assert list(again.inputs) == list(graph.inputs) and again.outputs == graph.outputs
    assert [v.dtype for v in again.inputs.values()] == [v.dtype for v in graph.inputs.values()]
    if not case.operator.random:
        found = reference.execute(again, case.feeds(np.float64))
        same({o: found[o] for o in again.outputs}, case.in_float64["outputs"], rtol=1e-6, atol=1e-7)


@judge
def test_differences(case):
    """v . vjp(dy) == dy . (f(x + h v) - f(x - h v)) / 2h, the gradient from JAX and from NumPy, all in float64."""
    if not case.wrt:
        pytest.skip("nothing to differentiate")
    run = case.in_float64
    slopes = difference_quotients(case, run)
    by_numpy = case.reference_gradients(run["program"], case.feeds(np.float64), run["dy"])
    for w, (v, slope, size) in slopes.items():
        for who, grads in [("JAX", run["rule"]), ("NumPy", by_numpy)]:
            np.testing.assert_allclose(
                np.sum(v * grads[w]), slope, rtol=2e-6, atol=1e-8 * size, err_msg=f"gradient of {w} by {who}"
            )


@judge
def test_jax_agrees(case):
    """jax.vjp of the forward is a witness, element by element."""
    if not case.wrt:
        pytest.skip("nothing to differentiate")
    same(case.in_float64["rule"], case.in_float64["witness"], rtol=1e-8, atol=1e-10)


@judge
def test_scan(case):
    """Inside lax.scan the rule says the same."""
    same(case.in_float64["scanned"], case.in_float64["rule"], rtol=1e-10, atol=1e-12)


@judge
def test_symbolic_batch(case):
    """With axis 0 called N the gradient graph is good for any batch."""
    if not case.batch or not case.fed:
        pytest.skip("no batch axis")
    run = case.in_float64
    program = case.program(np.float64, symbolic=True)
    found = case.reference_outputs(program, case.feeds(np.float64), np.float64)
    same({o: found[o] for o in run["outputs"]}, run["outputs"])
    if case.wrt:
        same(case.reference_gradients(program, case.feeds(np.float64), run["dy"]), run["rule"])


@judge
def test_plain_backward(case):
    """Where the NumPy backend has a backward of its own, it agrees with the rule."""
    if not case.wrt or case.op not in BACKWARDS:
        pytest.skip("no plain backward")
    run = case.in_float64
    found = case.reference_outputs(run["program"], case.feeds(np.float64), np.float64)
    same(reference.gradients(run["program"].graph, found, run["dy"], case.wrt), run["rule"])


@judge
def test_onnx_gradient(case):
    """The gradient graph, spelled in standard operators, says the same in onnx's own evaluator."""
    if not case.wrt:
        pytest.skip("nothing to differentiate")
    run = case.in_float64
    program = case.program(np.float64, symbolic=True)
    found = case.reference_outputs(program, case.feeds(np.float64), np.float64)
    model = onnxio.to_model(program.gradient)
    assert {n.domain for n in model.graph.node} <= {""}
    named = {grad_name(s): d for s, d in run["dy"].items()}
    feeds = {k: np.asarray(named.get(k, found.get(k))) for k in program.gradient.inputs}
    got = by_onnx(model, feeds)
    same(dict(zip(case.wrt, got, strict=True)), run["rule"], rtol=1e-6, atol=1e-7)


def difference_quotients(case, run):
    """{input: (direction v, dy . df/dv, size of the terms)}"""
    feeds, program, found = case.feeds(np.float64), run["program"], {}

    def value(w, v, h):
        moved = {**feeds, w: feeds[w] + h * v}
        if case.operator.random:
            with jax.enable_x64(True):
                outs = program.forward({}, {}, moved, jax.random.key(7), save=False)[0]
        else:
            outs = reference.execute(program.graph, moved, dtype=np.float64)
        return sum(np.sum(run["dy"][s] * np.asarray(outs[s])) for s in program.seeds)

    for k, w in enumerate(case.wrt):
        v = np.random.default_rng(k).uniform(0.5, 1.5, feeds[w].shape)
        up, down = value(w, v, H), value(w, v, -H)
        found[w] = v, (up - down) / (2 * H), max(1.0, abs(up)) / H * 1e-6 + 1
    return found


# ---- the table itself ---------------------------------------------------------------------------------


def test_every_operator_has_a_row():
    assert set(OPERATORS) == {c.op for c in TABLE}


def test_every_operator_has_a_definition_in_numpy():
    assert set(OPERATORS) == set(DEFINITIONS)


def test_every_operator_can_be_written_in_onnx():
    assert [o.name for o in OPERATORS.values() if o.onnx is None and o.decompose is None] == []


def test_excuses_name_a_judge():
    judges = {n.removeprefix("test_") for n in globals() if n.startswith("test_")}
    assert {e for c in TABLE for e in c.excused} <= judges


# ---- the tester is tested -----------------------------------------------------------------------------

RULES = sorted(name for name, o in OPERATORS.items() if o.vjp)


def caught(case, k, monkeypatch):
    """Does the difference judge notice that the k-th returned gradient of the rule is off by 1e-4?"""
    operator = OPERATORS[case.op]

    def wrong(op, *args, **attrs):
        shares = list(operator.vjp(op, *args, **attrs))
        if k < len(shares) and shares[k] is not None:
            shares[k] = op.Mul(shares[k], 1 + 1e-4)
        return tuple(shares)

    wrong.__signature__ = __import__("inspect").signature(operator.vjp)
    right = case.program(np.float64)
    feeds = case.feeds(np.float64)
    dy = case.cotangents(
        case.reference_outputs(right, feeds, np.float64)
        and {s: case.reference_outputs(right, feeds, np.float64)[s] for s in right.seeds}
    )
    run = {"program": right, "dy": dy}
    slopes = difference_quotients(case, run)
    monkeypatch.setitem(OPERATORS, case.op, replace(operator, vjp=wrong))
    grads = case.reference_gradients(case.program(np.float64), feeds, dy)
    monkeypatch.undo()
    return any(
        not np.isclose(np.sum(v * grads[w]), slope, rtol=2e-6, atol=1e-8 * size)
        for w, (v, slope, size) in slopes.items()
    )


def mutants(cases):
    return [
        pytest.param(c, n, id=f"{c!r} input {n}") for c in cases for n, a in enumerate(c.inputs) if c._name(n) in c.wrt
    ]


def honest(name):
    return [c for c in TABLE if c.op == name and c.wrt and not {"differences"} & set(c.excused)]


@pytest.mark.parametrize("case, k", mutants([min(honest(n), key=lambda c: c.size) for n in RULES if honest(n)]))
def test_a_wrong_rule_is_caught(case, k, monkeypatch):
    assert caught(case, k, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("case, k", mutants([c for n in RULES for c in honest(n)]))
def test_a_wrong_rule_is_caught_by_every_row(case, k, monkeypatch):
    assert caught(case, k, monkeypatch)


def test_every_rule_has_an_honest_row():
    """Or, where it is not a derivative, a plain backward that judges it."""
    unjudged = [n for n in RULES if not honest(n) and n not in BACKWARDS and any(c.wrt for c in TABLE if c.op == n)]
    assert unjudged == []
