"""Where numbers get tight: saturated ends, zeros, infinities, short floats, integers.  On both backends."""

import jax
import ml_dtypes
import numpy as np
import onnx.reference
import pytest

from aidgejax import onnxio, reference
from aidgejax.execution.program import make_program
from aidgejax.graph import Graph
from aidgejax.passes.gradient import grad_name

from ._case import AS_USERS, Case
from .cases import activation, compare, elementwise, unary

ROWS = [*elementwise.CASES, *compare.CASES, *unary.CASES, *activation.CASES]
BACKENDS = ("jax", "numpy", "numpy, plainly")
on_every_backend = pytest.mark.parametrize("backend", BACKENDS)


def run(backend, graph, feeds, wrt=()):
    """(outputs, gradients) of a graph; dy is 1 everywhere."""
    program = make_program(graph, wrt=wrt) if wrt else make_program(graph, wrt=[], seeds=[])
    if backend == "jax":
        outputs, saved, _ = program.forward({}, {}, feeds)
        return outputs, program.backward({}, saved, {s: np.ones_like(outputs[s]) for s in program.seeds}) if wrt else {}
    if backend == "jax, as users compile":

        def both(feeds):
            outputs, saved, _ = program.forward({}, {}, feeds)
            return outputs, program.backward({}, saved, {s: np.ones(outputs[s].shape, "f") for s in program.seeds})

        return jax.jit(both, compiler_options=AS_USERS)(feeds)
    found = reference.execute(program.graph, feeds)
    outputs = {o: found[o] for o in program.graph.outputs}
    if not wrt:
        return outputs, {}
    dy = {s: np.ones_like(found[s]) for s in program.seeds}
    if backend == "numpy, plainly":
        return outputs, reference.gradients(program.graph, found, dy, wrt)
    named = {grad_name(s): d for s, d in dy.items()}
    back = reference.execute(program.gradient, {k: named.get(k, found.get(k)) for k in program.gradient.inputs})
    return outputs, {w: back[o] for w, o in zip(wrt, program.gradient.outputs, strict=True)}


def graph_of(op, *inputs, **attrs):
    """One node.  inputs: arrays, or what a node can hold; the output is y, the arrays are called x0, x1, ..."""
    g = Graph(op)
    held = [g.input(f"x{k}", a.shape, a.dtype.name) if isinstance(a, np.ndarray) else a for k, a in enumerate(inputs)]
    g.add(op, held, attrs, names=["y"], name="node")
    g.output("y")
    return g, {f"x{k}": a for k, a in enumerate(inputs) if isinstance(a, np.ndarray)}


def slopes(backend, op, x, dtype=np.float32, **attrs):
    """y and dy/dx at the points x."""
    g, feeds = graph_of(op, np.asarray(x, dtype), **attrs)
    outputs, grads = run(backend, g, feeds, ["x0"])
    return np.asarray(outputs["y"]), np.asarray(grads["x0"])


# ---- saturation ---------------------------------------------------------------------------------------

# operator, attributes, and its ends: y and dy/dx at -100 and at 100
ENDS = [
    ("Relu", {}, (0, 0), (100, 1)),
    ("LeakyRelu", {}, (-1, 0.01), (100, 1)),
    ("ThresholdedRelu", {}, (0, 0), (100, 1)),
    ("Elu", {"alpha": 0.5}, (-0.5, 0), (100, 1)),
    ("Selu", {"alpha": 2.0, "gamma": 3.0}, (-6, 0), (300, 3)),
    ("Celu", {"alpha": 2.0}, (-2, 0), (100, 1)),
    ("Sigmoid", {}, (0, 0), (1, 0)),
    ("Tanh", {}, (-1, 0), (1, 0)),
    ("Softplus", {}, (0, 0), (100, 1)),
    ("Softsign", {}, (-100 / 101, 101**-2), (100 / 101, 101**-2)),
    ("HardSigmoid", {}, (0, 0), (1, 0)),
    ("HardSwish", {}, (0, 0), (100, 1)),
    ("Swish", {}, (0, 0), (100, 1)),
    ("Swish", {"alpha": 3.0}, (0, 0), (100, 1)),
    ("Mish", {}, (0, 0), (100, 1)),
    ("Gelu", {}, (0, 0), (100, 1)),
    ("Gelu", {"approximate": "tanh"}, (0, 0), (100, 1)),
    ("Erf", {}, (-1, 0), (1, 0)),
    ("Atan", {}, (-1.5607966, 1 / 10001), (1.5607966, 1 / 10001)),
]
TOLERANCE = {"float32": 1e-6, "float16": 2e-3, "bfloat16": 2e-2}


@on_every_backend
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("op, attrs, low, high", ENDS, ids=lambda v: v if isinstance(v, str) else "")
def test_saturated_ends_are_exact_in_every_float(op, attrs, low, high, dtype, backend):
    y, dx = slopes(backend, op, [-100.0, 100.0], ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype, **attrs)
    assert y.dtype.name == dx.dtype.name == dtype
    near = {"rtol": TOLERANCE[dtype], "atol": TOLERANCE[dtype]}
    np.testing.assert_allclose(y.astype(float), [low[0], high[0]], **near)
    np.testing.assert_allclose(dx.astype(float), [low[1], high[1]], **near)


SMOOTH = [(op, attrs) for op, attrs, *_ in ENDS if op not in ("HardSigmoid", "HardSwish")]
GRID = np.concatenate([s * np.logspace(-6, 2, 33) for s in (-1, 1)])


@pytest.mark.parametrize("op, attrs", SMOOTH, ids=str)
def test_float32_stays_close_to_float64_everywhere(op, attrs):
    grid = GRID.astype(np.float32)
    y, dx = slopes("jax, as users compile", op, grid, **attrs)
    exact, d_exact = slopes("numpy, plainly", op, grid, np.float64, **attrs)
    np.testing.assert_allclose(y, exact, rtol=3e-6, atol=3e-7)
    np.testing.assert_allclose(dx, d_exact, rtol=3e-6, atol=3e-6)


@on_every_backend
@pytest.mark.parametrize(
    "op, attrs",
    [
        ("Softsign", {}),
        ("Asinh", {}),
        ("Atan", {}),
        ("Sigmoid", {}),
        ("Softplus", {}),
        ("Tanh", {}),
        ("Erf", {}),
        ("Elu", {}),
        ("Relu", {}),
    ],
    ids=str,
)
def test_huge_inputs_have_finite_gradients(op, attrs, backend):
    y, dx = slopes(backend, op, [-1e30, 1e30], **attrs)
    assert np.isfinite(y).all() and np.isfinite(dx).all()


@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_gelu_takes_inputs_whose_square_overflows(approximate):
    y, dx = slopes("jax", "Gelu", [-1e30, 1e30], approximate=approximate)
    np.testing.assert_array_equal(y, np.float32([0, 1e30]))
    np.testing.assert_array_equal(dx, [0, 1])


def test_asinh_and_acosh_of_huge_inputs_keep_their_slope():
    for op in ("Asinh", "Acosh"):
        np.testing.assert_allclose(slopes("jax", op, [1e25])[1], [1e-25], rtol=1e-4)


@pytest.mark.parametrize("op", ["Asin", "Acos", "Atanh", "Acosh"])
def test_slopes_near_a_pole_do_not_cancel(op):
    x = np.float32(1 + 2**-20 if op == "Acosh" else 1 - 2**-20)
    exact = slopes("numpy, plainly", op, [x], np.float64)[1]
    np.testing.assert_allclose(slopes("jax", op, [x])[1], exact, rtol=1e-6)


# ---- softmax ------------------------------------------------------------------------------------------


@on_every_backend
@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax"])
@pytest.mark.parametrize("size", [100.0, 1e4, 1e30])
def test_softmax_of_large_differences(op, size, backend):
    g, feeds = graph_of(op, np.float32([[size, 0.0, -size], [-size, -size, -size], [size, size, 0.0]]))
    outputs, grads = run(backend, g, feeds, ["x0"])
    p = np.asarray(outputs["y"]) if op == "Softmax" else np.exp(outputs["y"])
    np.testing.assert_allclose(p, [[1, 0, 0], [1 / 3, 1 / 3, 1 / 3], [0.5, 0.5, 0]], atol=1e-6)
    assert np.isfinite(outputs["y"]).all()
    want = np.zeros((3, 3)) if op == "Softmax" else 1 - 3 * p
    np.testing.assert_allclose(grads["x0"], want, atol=1e-6)


@on_every_backend
def test_softmax_of_masked_elements(backend):
    g, feeds = graph_of("Softmax", np.float32([[0.0, -np.inf, 0.0]]))
    outputs, grads = run(backend, g, feeds, ["x0"])
    np.testing.assert_allclose(outputs["y"], [[0.5, 0, 0.5]])
    np.testing.assert_allclose(grads["x0"], [[0, 0, 0]], atol=1e-7)


# ---- zeros, infinities, NaN ---------------------------------------------------------------------------


@on_every_backend
def test_powers_of_zero(backend):
    x, e = np.zeros(5, np.float32), np.float32([0, 0.5, 1, 2, 3])
    g, feeds = graph_of("Pow", x, e)
    outputs, grads = run(backend, g, feeds, ["x0", "x1"])
    np.testing.assert_array_equal(outputs["y"], [1, 0, 0, 0, 0])
    np.testing.assert_array_equal(grads["x0"], [0, np.inf, 1, 0, 0])
    np.testing.assert_array_equal(grads["x1"], [0, 0, 0, 0, 0])


@on_every_backend
def test_powers_of_a_negative_number(backend):
    g, feeds = graph_of("Pow", np.float32([-2, -2]), np.float32([2, 3]))
    outputs, grads = run(backend, g, feeds, ["x0", "x1"])
    np.testing.assert_allclose(outputs["y"], [4, -8])
    np.testing.assert_allclose(grads["x0"], [-4, 12])
    assert np.isnan(grads["x1"]).all()  # only the exponent's gradient: (-2)^e is real at integers alone


@on_every_backend
@pytest.mark.parametrize("e, slope", [(0, [0, 0, 0]), (1, [1, 1, 1]), (2, [-4, 0, 4]), (3.0, [12, 0, 12])])
def test_powers_whose_exponent_is_a_number(e, slope, backend):
    g, feeds = graph_of("Pow", np.float32([-2, 0, 2]), e)
    np.testing.assert_array_equal(run(backend, g, feeds, ["x0"])[1]["x0"], slope)


@on_every_backend
def test_infinite_inputs(backend):
    for op, y, dx in [
        ("Relu", [0, np.inf], [0, 1]),
        ("Sigmoid", [0, 1], [0, 0]),
        ("Tanh", [-1, 1], [0, 0]),
        ("Softplus", [0, np.inf], [0, 1]),
        ("Exp", [0, np.inf], [0, np.inf]),
        ("Erf", [-1, 1], [0, 0]),
        ("Elu", [-1, np.inf], [0, 1]),
        ("Atan", [-np.pi / 2, np.pi / 2], [0, 0]),
    ]:
        found = slopes(backend, op, [-np.inf, np.inf])
        np.testing.assert_allclose(found[0], y, rtol=1e-6, err_msg=op)
        np.testing.assert_allclose(found[1], dx, rtol=1e-6, err_msg=op)


@on_every_backend
def test_slopes_at_the_edge_of_the_domain(backend):
    np.testing.assert_array_equal(slopes(backend, "Sqrt", [0.0])[1], [np.inf])
    np.testing.assert_array_equal(slopes(backend, "Log", [0.0])[1], [np.inf])
    assert np.isnan(slopes(backend, "Log", [-1.0])[0]).all()


@pytest.mark.parametrize("op", ["Max", "Min"])
@pytest.mark.parametrize("backend", BACKENDS[:2])
def test_extremes_of_nan_are_nan(op, backend):
    g, feeds = graph_of(op, np.float32([np.nan, 1.0]), np.float32([0.0, np.nan]))
    assert np.isnan(run(backend, g, feeds)[0]["y"]).all()


@on_every_backend
def test_clip_passes_the_gradient_on_both_bounds(backend):
    g, feeds = graph_of(
        "Clip", np.float32([-np.inf, -2, -1, 0, 1, 2, np.inf]), np.array(-1, np.float32), np.array(1, np.float32)
    )
    outputs, grads = run(backend, g, feeds, ["x0", "x1", "x2"])
    np.testing.assert_array_equal(outputs["y"], [-1, -1, -1, 0, 1, 1, 1])
    np.testing.assert_array_equal(grads["x0"], [0, 0, 1, 1, 1, 0, 0])
    assert grads["x1"] == grads["x2"] == 2


@on_every_backend
def test_clip_between_crossed_bounds_depends_on_the_upper_one_alone(backend):
    g, feeds = graph_of("Clip", np.float32([-2, 0, 2]), np.array(1, np.float32), np.array(-1, np.float32))
    outputs, grads = run(backend, g, feeds, ["x0", "x1", "x2"])
    np.testing.assert_array_equal(outputs["y"], [-1, -1, -1])
    np.testing.assert_array_equal(grads["x0"], [0, 0, 0])
    assert (grads["x1"], grads["x2"]) == (0, 3)


# ---- dtypes -------------------------------------------------------------------------------------------

SMALLEST = {
    op: min((c for c in ROWS if c.op == op), key=lambda c: (not c.wrt, bool(c.skip), c.size))
    for op in sorted({c.op for c in ROWS})
}
FLOATING = [c for c in SMALLEST.values() if any(a.dtype.kind == "f" for a in c.fed.values())]


@pytest.mark.parametrize("case", FLOATING, ids=repr)
def test_bfloat16_stays_bfloat16(case):
    """Outputs and gradients keep the dtype, and are what float64 says of the same inputs, as far as it can tell."""
    graph, feeds = case.graph(ml_dtypes.bfloat16), case.feeds(ml_dtypes.bfloat16)
    wide = {k: a.astype(np.float64) if a.dtype == ml_dtypes.bfloat16 else a for k, a in feeds.items()}
    exact, d_exact = run("numpy", case.graph(np.float64), wide, case.wrt)
    for backend in BACKENDS:
        outputs, grads = run(backend, graph, feeds, case.wrt)
        for got, want in [(outputs[o], exact[o]) for o in exact] + [(grads[w], d_exact[w]) for w in d_exact]:
            assert got.dtype == (ml_dtypes.bfloat16 if want.dtype.kind == "f" else want.dtype), backend
            if want.dtype.kind == "f":
                large = np.abs(want[np.isfinite(want)]).max(initial=1.0)
                np.testing.assert_allclose(
                    np.asarray(got, np.float64), want, rtol=0.05, atol=0.05 * large, err_msg=backend
                )


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "int64"])
@pytest.mark.parametrize(
    "op",
    [
        "Add",
        "Sub",
        "Mul",
        "Div",
        "Mod",
        "Max",
        "Min",
        "Abs",
        "Neg",
        "Sign",
        "Clip",
        "Where",
        "Equal",
        "Less",
        "GreaterOrEqual",
        "BitwiseAnd",
        "BitwiseNot",
        "Pow",
        "PRelu",
        "Relu",
    ],
)
def test_integers_stay_integers(op, dtype):
    a, b = np.array([[7, 6, 5], [1, 2, 3]], dtype), np.array([2, 3, 1], dtype)
    a = a if dtype == "uint8" else a * np.array([[-1], [1]], dtype)
    inputs = {
        "Abs": (a,),
        "Neg": (a,),
        "Sign": (a,),
        "Relu": (a,),
        "BitwiseNot": (a,),
        "Clip": (a, 1, b[0]),
        "Where": (a > 2, a, b),
    }.get(op, (a, b))
    g, feeds = graph_of(op, *(np.asarray(i) if isinstance(i, np.generic) else i for i in inputs))
    with jax.enable_x64(dtype == "int64"):
        by_jax, by_numpy = (np.asarray(run(backend, g, feeds)[0]["y"]) for backend in ("jax", "numpy"))
    np.testing.assert_array_equal(by_jax, by_numpy)
    assert by_jax.dtype == by_numpy.dtype == (bool if op in ("Equal", "Less", "GreaterOrEqual") else dtype)


def test_a_power_has_the_dtype_of_its_base():
    for x, e in [
        (np.float32([4, 9]), np.int32([2, 1])),
        (np.int32([4, 9]), np.float32([0.5, 2])),
        (np.float32([4, 9]), np.array([0.5, 2], ml_dtypes.bfloat16)),
    ]:
        g, feeds = graph_of("Pow", x, e)
        found = [np.asarray(run(backend, g, feeds)[0]["y"]) for backend in ("jax", "numpy")]
        np.testing.assert_allclose(found[0], found[1], rtol=1e-6)
        assert found[0].dtype == found[1].dtype == x.dtype


def test_the_gradient_of_an_exponent_has_the_dtype_of_the_exponent():
    g, feeds = graph_of("Pow", np.float32([2, 3]), np.array([2, 1], ml_dtypes.bfloat16))
    grads = run("jax", g, feeds, ["x0", "x1"])[1]
    assert grads["x0"].dtype == np.float32 and grads["x1"].dtype == ml_dtypes.bfloat16


# ---- what has no gradient, and what ONNX takes in float32 alone ---------------------------------------


@on_every_backend
@pytest.mark.parametrize("op", ["Sign", "Floor", "Ceil", "Round", "Hardmax"])
def test_no_gradient_passes_a_step(op, backend):
    g = Graph(op)
    x = g.input("x", (1, 3))
    g.output(g.op.Add(x, getattr(g.op, op)(x)))
    grads = run(backend, g, {"x": np.float32([[-1.5, 0.0, 2.0]])}, ["x"])[1]
    np.testing.assert_array_equal(grads["x"], [[1, 1, 1]])


def test_celu_in_onnx_is_float32():
    case = Case("Celu", (np.float32([[-3, -0.5, 0, 2]]),), alpha=0.4)
    model = onnxio.to_model(case.graph())
    assert [n.op_type for n in model.graph.node] == ["Celu"]
    want = case.program().forward({}, {}, case.feeds(), jax.random.key(0))[0]["y0"]
    found = onnx.reference.ReferenceEvaluator(model).run(None, case.feeds())[0]
    np.testing.assert_allclose(found, want, rtol=1e-6)
    again = reference.execute(onnxio.read(model), case.feeds())["y0"]
    np.testing.assert_allclose(again, want, rtol=1e-6)
