"""Programs of one operator or form each, against what apache-tvm 0.27 prints for them and computes.

tests/golden/tvm/programs.json holds them.  Each is read, its text and TVM's are read again, and all are one program;
what it computes is asked of the NumPy backend, and of some of JAX.
"""

import json
import zlib

import numpy as np
import pytest

from aidgejax import run
from aidgejax.frontends import tvm
from aidgejax.frontends.tvm.relax.structure import flat, refill
from aidgejax.frontends.tvm.relax.types import ShapeType, TupleType

from .programs import GOLDEN

PROGRAMS = json.loads((GOLDEN / "programs.json").read_text())["programs"]
SIZES = {"n": 5, "m": 3}
# XLA compiles each: a few kinds are enough, as tests/ops compares both backends for every operator.
BY_JAX = ["fn.if2", "fn.sym4", "fn.sym3", "fn.tuples", "nn.adaptive_avg_pool2d_u", "index_put", "median", "take_wrap"]


def text_of(program):
    if isinstance(program, list):
        parameters, expression = program
        body = f"with R.dataflow():\n            gv = {expression}\n            R.output(gv)\n        return gv"
        program = f"    @R.function\n    def main({parameters}):\n        {body}\n"
    return f"@I.ir_module\nclass Module:\n{program}"


def drawn(name, type_, rng):
    """An argument.  By its name: p positive, p1 above 1, j small and positive, k2 and k3 places below 2 and 3."""
    if isinstance(type_, TupleType):
        return tuple(drawn(name, t, rng) for t in type_.fields)
    shape, dtype = tuple(SIZES.get(d, 4) if isinstance(d, str) else d for d in type_.shape), type_.dtype
    if dtype == "bool":
        return rng.randint(0, 2, shape).astype(bool)
    if dtype.startswith("int"):
        low, high = {"j": (1, 6)}.get(name, (0, 2 if name.startswith("k2") else 3) if name[0] == "k" else (-9, 9))
        return rng.randint(low, high, shape).astype(dtype)
    value = rng.uniform(-1, 1, shape)
    scale = {"p": lambda v: abs(v) + (1.1 if name.startswith("p1") else 0.3), "x": lambda v: 2 * v}
    return scale.get("x" if name[0] in "xy" else name[0], lambda v: v)(value).astype(dtype)


def arguments(name, function):
    rng = np.random.RandomState(zlib.crc32(name.encode()) % 10000)
    return [() if isinstance(p.ty, ShapeType) else drawn(p.name, p.ty, rng) for p in function.params]


def same(found, wanted):
    if isinstance(wanted, list):
        return isinstance(found, tuple) and len(found) == len(wanted) and all(map(same, found, wanted))
    found = np.asarray(found)
    if found.dtype.name != wanted["dtype"] or list(found.shape) != wanted["shape"]:
        return False
    kept = np.linspace(0, found.size - 1, 24).astype(int) if found.size > 24 else slice(None)
    tolerance = 2e-3 if found.dtype == np.float16 else 2e-4
    return np.allclose(found.ravel()[kept].astype(np.float64), wanted["values"], rtol=tolerance, atol=1e-5)


def function_of(mod):
    return mod["main"] if "main" in mod else mod[mod.get_global_vars()[0]]


def computed(function, given):
    leaves = flat([a for p, a in zip(function.params, given, strict=True) if not isinstance(p.ty, ShapeType)])
    return refill(function.result, run(function.graph, leaves, backend="numpy"))


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_reads_as_tvm_prints_it_and_computes_what_tvm_does(name):
    row = PROGRAMS[name]
    mod = tvm.script.from_source(text_of(row["program"]))
    again = tvm.script.from_source(mod.script())
    tvm.ir.assert_structural_equal(mod, again)
    # TVM prints the sizes that a -1 or a 0 stands for, and linear as the operators that it is made of.
    printed = tvm.script.from_source(row["printed"])
    if name not in ("reshape_m", "reshape_0"):
        tvm.ir.assert_structural_equal(mod, printed)
    if "value" in row:
        function = function_of(printed)
        assert same(computed(function, arguments(name, function)), row["value"])


@pytest.mark.parametrize("name", BY_JAX)
def test_the_compiled_program_computes_the_same(name):
    function = function_of(tvm.script.from_source(PROGRAMS[name]["printed"]))
    found = function(*arguments(name, function))
    numbers = lambda v: tuple(map(numbers, v)) if isinstance(v, tuple) else v.numpy()
    assert same(numbers(found), PROGRAMS[name]["value"])
