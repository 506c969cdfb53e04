"""What every row of the table is checked against.

A check is a function of a case that raises where the case fails; `@check` puts it into CHECKS.  `applies` says of which
cases it can be asked at all.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import onnx.reference

from aidgejax import onnxio
from aidgejax import reference as numpy_backend
from aidgejax.passes.gradient import grad_name
from aidgejax.reference._definition import BACKWARDS

from ._case import KEY_SEED, Case

H = 1e-5


@dataclass(frozen=True)
class Check:
    name: str
    ask: Callable[[Case], None]
    applies: Callable[[Case], bool]


CHECKS: dict[str, Check] = {}


def check(applies: Callable[[Case], Any] = lambda case: True):
    def register(function):
        CHECKS[function.__name__] = Check(function.__name__, function, lambda case: bool(applies(case)))
        return function

    return register


def differentiable(case):
    return case.wrt


@check()
def reference(case):
    """The NumPy backend computes the same in float64."""
    run = case.in_float64
    found = case.reference_outputs(run["program"], case.feeds(np.float64), np.float64)
    same(run["outputs"], {o: found[o] for o in run["outputs"]}, what="float64 ")


@check()
def float32(case):
    """The NumPy backend computes the same in float32, with the same dtypes; an operator's first row compiles as users
    compile it."""
    run = case.in_float32
    outputs = run["outputs"]
    found = case.reference_outputs(run["program"], case.feeds(), run=(outputs, run["saved"]))
    same(outputs, {o: found[o] for o in outputs}, rtol=2e-5, atol=2e-6, what="float32 ")
    for o, a in outputs.items():
        if np.asarray(found[o]).dtype.kind == "f":
            assert a.dtype == found[o].dtype == np.float32, f"{o}: {a.dtype} in JAX, {found[o].dtype} in NumPy"


@check()
def onnx_reference(case):
    """onnx's own evaluator computes the same from the model that we write."""
    want = case.in_float64["outputs"]
    model = onnxio.to_model(case.graph(np.float64))
    got = by_onnx(model, case.feeds(np.float64))
    same(dict(zip(want, got, strict=True)), want, rtol=1e-6, atol=1e-7)


@check()
def onnx_round_trip(case):
    """write, read: the same names, the same numbers."""
    graph = case.graph(np.float64)
    again = onnxio.read(onnxio.to_model(graph))
    assert list(again.inputs) == list(graph.inputs) and again.outputs == graph.outputs
    assert [v.dtype for v in again.inputs.values()] == [v.dtype for v in graph.inputs.values()]
    if not case.operator.random:
        found = numpy_backend.execute(again, case.feeds(np.float64))
        same({o: found[o] for o in again.outputs}, case.in_float64["outputs"], rtol=1e-6, atol=1e-7)


@check(differentiable)
def differences(case):
    """v . vjp(dy) == dy . (f(x + h v) - f(x - h v)) / 2h, the gradient from JAX and from NumPy, all in float64."""
    run = case.in_float64
    slopes = difference_quotients(case, run)
    by_numpy = case.reference_gradients(run["program"], case.feeds(np.float64), run["dy"])
    for w, (v, slope, size) in slopes.items():
        for who, grads in [("JAX", run["rule"]), ("NumPy", by_numpy)]:
            np.testing.assert_allclose(
                np.sum(v * grads[w]), slope, rtol=2e-6, atol=1e-8 * size, err_msg=f"gradient of {w} by {who}"
            )


@check(differentiable)
def jax_agrees(case):
    """jax.vjp of the forward, as a cross-check, element by element."""
    same(case.in_float64["rule"], case.in_float64["witness"], rtol=1e-8, atol=1e-10)


@check(differentiable)
def scan(case):
    """Inside lax.scan the rule computes the same, at every turn of a loop that stays a loop."""
    for found in case.in_a_loop():
        same(found, case.in_float64["rule"], rtol=1e-10, atol=1e-12)


@check(lambda case: case.batch and case.fed)
def symbolic_batch(case):
    """With axis 0 called N the gradient graph is good for any batch."""
    run = case.in_float64
    program = case.of_any_batch
    drawn = case.drawn_at_any_batch if case.operator.random else None
    found = case.reference_outputs(program, case.feeds(np.float64), np.float64, drawn)
    same({o: found[o] for o in run["outputs"]}, run["outputs"])
    if case.wrt:
        same(case.reference_gradients(program, case.feeds(np.float64), run["dy"], drawn), run["rule"])


@check(lambda case: case.wrt and case.op in BACKWARDS)
def plain_backward(case):
    """Where the NumPy backend has a backward of its own, it agrees with the rule."""
    run = case.in_float64
    found = case.reference_outputs(run["program"], case.feeds(np.float64), np.float64)
    same(numpy_backend.gradients(run["program"].graph, found, run["dy"], case.wrt), run["rule"])


@check(differentiable)
def onnx_gradient(case):
    """The gradient graph, decomposed into standard operators, computes the same in onnx's own evaluator."""
    run = case.in_float64
    program = case.of_any_batch
    found = case.reference_outputs(program, case.feeds(np.float64), np.float64)
    model = onnxio.to_model(program.gradient)
    assert {n.domain for n in model.graph.node} <= {""}
    named = {grad_name(s): d for s, d in run["dy"].items()}
    feeds = {k: np.asarray(named.get(k, found.get(k))) for k in program.gradient.inputs}
    got = by_onnx(model, feeds)
    same(dict(zip(case.wrt, got, strict=True)), run["rule"], rtol=1e-6, atol=1e-7)


# ---- what the checks compare with ---------------------------------------------------------------------


def difference_quotients(case, run):
    """{input: (direction v, dy . df/dv, size of the terms)}"""
    feeds, program, found = case.feeds(np.float64), run["program"], {}

    drawing = jax.jit(lambda feeds: program.forward({}, {}, feeds, jax.random.key(KEY_SEED), save=False)[0])

    def value(w, v, h):
        moved = {**feeds, w: feeds[w] + h * v}
        if case.operator.random:
            with jax.enable_x64(True):
                outs = drawing(moved)
        else:
            outs = numpy_backend.execute(program.graph, moved, dtype=np.float64)
        return sum(np.sum(run["dy"][s] * np.asarray(outs[s])) for s in program.seeds)

    for k, w in enumerate(case.wrt):
        v = np.random.default_rng(k).uniform(0.5, 1.5, feeds[w].shape)
        up, down = value(w, v, H), value(w, v, -H)
        found[w] = v, (up - down) / (2 * H), max(1.0, abs(up)) / H * 1e-6 + 1
    return found


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
