"""onnx's own node tests against what we read and compute.

tests/onnxio/node_tests/{jax,numpy}.txt hold the names of the tests that pass; the lists only grow.  Each is computed
by our operators: no compiled program calls back into Python.  A sample runs always, everything with `-m slow`.

    python -m tests.onnxio.node_tests --write      # after an operator was added: what passes now joins the lists
"""

import zlib

import jax
import onnx
import pytest
from jax.extend.core import ClosedJaxpr, Jaxpr

from aidgejax.errors import AidgeJaxError
from aidgejax.execution.cache import PROGRAMS

from .node_tests import BACKENDS, SLOW_TO_MAKE, check, listed, node_tests

# One of so many runs always; of JAX fewer, as each is compiled.
ONE_OF = {"numpy": 5, "jax": 30}
# Tests that draw random numbers: their results are those of onnx's own generator.
RANDOM = ("test_bernoulli", "test_training_dropout", "test_random")
# Results that are as right as the precision allows, and compared more narrowly than that: a last place of float16
# against rtol 1e-3, and zeros that are left over from sums of numbers near 500, in float32, against atol 1e-7.
ROUNDED = ("test_causal_conv_with_state_silu_fp16", "test_dft")


def in_core(backend, name):
    slow = any(word in name for word in SLOW_TO_MAKE)
    return not slow and zlib.crc32(name.encode()) % ONE_OF[backend] == 0


def rows(backend, core):
    return pytest.mark.parametrize("name", [n for n in listed(backend) if in_core(backend, n) == core])


@pytest.fixture
def no_way_back(monkeypatch):
    """Every program that is compiled is looked through for calls back into Python."""
    jit, seen = jax.jit, []

    def watched(function, **options):
        def call(*args):
            if any(isinstance(a, jax.core.Tracer) for a in jax.tree.leaves(args)):  # a call within a program
                return jit(function, **options)(*args)
            traced = jit(function, **options).trace(*args)
            seen.append(set(primitives(traced.jaxpr.jaxpr)))
            return traced.lower().compile()(*args)

        return call

    PROGRAMS.clear()  # the NumPy backend was asked before, and left the program there
    monkeypatch.setattr("aidgejax.execution.run.jax.jit", watched)
    yield seen
    assert seen, "nothing was compiled"
    assert [p for found in seen for p in found if "callback" in p or "python" in p] == []


def primitives(jaxpr):
    for equation in jaxpr.eqns:
        yield equation.primitive.name
        for value in jax.tree.leaves(equation.params, is_leaf=lambda v: isinstance(v, ClosedJaxpr | Jaxpr)):
            if isinstance(value, ClosedJaxpr | Jaxpr):
                yield from primitives(value.jaxpr if isinstance(value, ClosedJaxpr) else value)


def named(name, everything):
    tests = node_tests(everything=everything)
    if name not in tests:
        pytest.skip(f"the installed onnx {onnx.__version__} has no such test")
    return tests[name]


@rows("numpy", core=True)
def test_core_in_numpy(name):
    check(named(name, False), "numpy")


@rows("jax", core=True)
def test_core_in_jax(name, no_way_back):
    check(named(name, False), "jax")


@pytest.mark.slow
@rows("numpy", core=False)
def test_all_in_numpy(name):
    check(named(name, True), "numpy")


@pytest.mark.slow
@rows("jax", core=False)
def test_all_in_jax(name, no_way_back):
    check(named(name, True), "jax")


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
def test_what_passes_is_listed(backend):
    """And what does not pass is refused by an error of the family, draws random numbers, or is off by a rounding."""
    missing, odd = [], []
    for name, test in node_tests().items():
        if name not in listed(backend):
            try:
                check(test, backend)
                missing.append(name)
            except AidgeJaxError:
                continue
            except Exception as e:
                if not name.startswith(RANDOM + ROUNDED):
                    odd.append(f"{name}: {type(e).__name__}")
    assert missing == [], "run python -m tests.onnxio.node_tests --write"
    assert odd == []


def test_the_lists_are_long_and_sorted():
    for backend in BACKENDS:
        names = listed(backend)
        assert names == sorted(set(names)) and len(names) >= 1800
