"""C for a chip: compiled by the host's compiler, every output the same as NumPy's."""

import numpy as np
import pytest

import aidgejax as aj
from aidgejax import quant
from aidgejax.errors import GraphError
from aidgejax.graph import Graph
from aidgejax.quant.c_form import compiler, program_of, verify_c

from ._drawn import drawn
from .test_deploy import SHIFTS, data, deployed, lenet

pytestmark = pytest.mark.skipif(compiler() is None, reason="no compiler on this machine")


def differing(integers, x):
    program, name = program_of(integers)
    return verify_c(integers, program, name, x, ()).differing


def test_a_folder_with_one_function_and_a_program_for_the_host(tmp_path):
    q, integers, x = lenet()
    report = quant.write(integers, tmp_path / "lenet", "c", graph=q, data=x, grade="proved", runtimes=["numpy"])
    assert report.exact and report.rows[-1].runtime == "c" and report.rows[-1].values == 160
    assert "flash 22" in str(report) and "RAM" in str(report)
    assert {p.name for p in (tmp_path / "lenet").iterdir()} == {"net.c", "net.h", "test_net.c"}
    source = (tmp_path / "lenet" / "net.c").read_text()
    assert not any(word in source for word in ("float", "double", "malloc", "math.h"))
    assert source.count("void net_run(") == 1


def test_two_bits_and_sixteen(tmp_path):
    _, integers, x = deployed(aj.zoo.mlp((6, 8, 8, 3)), quant.Scheme(quant.Grid(2), quant.Grid(16), **SHIFTS))
    assert differing(integers, x) == 0


@pytest.mark.parametrize("seed", [3, *(pytest.param(s, marks=pytest.mark.slow) for s in range(60) if s != 3)])
def test_drawn_networks(seed):
    scheme = quant.bits((8, 4, 2)[seed % 3], **({} if seed == 4 else SHIFTS))
    if seed == 3:
        scheme = quant.Scheme(quant.Grid(8), quant.Grid(8, symmetric=False), **SHIFTS)
    _, integers, x = deployed(drawn(seed), scheme)
    assert differing(integers, x) == 0


@pytest.mark.slow
def test_a_ds_cnn():
    _, integers, x = deployed(aj.zoo.ds_cnn(16), quant.bits(4, **SHIFTS))
    assert differing(integers, x) == 0


def test_one_dimension_pads_and_transposes():
    g = Graph("signal")
    rng = np.random.default_rng(0)
    w = [g.parameter(f"w{k}", rng.normal(size=s).astype(np.float32)) for k, s in enumerate([(4, 2, 3), (16, 3)])]
    y = g.op.Relu(g.op.Conv(g.input("x", ("N", 2, 9)), w[0], strides=(2,), auto_pad="SAME_UPPER"))
    y = g.op.Transpose(g.op.MaxPool(y, kernel_shape=(2,), strides=(1,)), perm=(0, 2, 1))
    g.output(g.op.MatMul(g.op.Flatten(y), w[1]))
    _, integers, x = deployed(aj.infer_shapes(g), quant.bits(8, **SHIFTS))
    assert differing(integers, x) == 0


def test_joins_moves_means_and_products_and_a_softmax_left_to_the_host(tmp_path):
    g = Graph("kinds")
    rng = np.random.default_rng(1)
    op, x = g.op, g.input("x", ("N", 4, 4, 4))
    w = [g.parameter(f"w{k}", rng.normal(0, 0.5, s).astype(np.float32)) for k, s in enumerate([(4, 4, 1, 1), (8, 3)])]
    y = op.Relu(op.Conv(x, w[0]))
    a, b = op.Split(y, (2, 2), axis=1, outputs=2)
    y = op.Concat(op.Max(a, b), op.Min(a, b), axis=1)
    y = op.Mul(y, op.GlobalAveragePool(y))  # one number per channel, spread
    y = op.SpaceToDepth(op.Slice(y, (0, 0), (4, 2), (1, 2)), blocksize=2)
    y = op.Reshape(op.ReduceMean(y, (3,), keepdims=0), (0, 8, 2))
    y = op.Reshape(op.MatMul(y, op.Transpose(y, perm=(0, 2, 1))), (0, 8, 8))
    g.output(op.Softmax(op.MatMul(op.ReduceMean(y, (1,), keepdims=0), w[1]), axis=-1))
    q, integers, x = deployed(aj.infer_shapes(g), quant.bits(8, **SHIFTS))
    report = quant.write(integers, tmp_path / "c", "c", graph=q, data=x, grade="proved", runtimes=["numpy"])
    assert report.exact and report.rows[-1].runtime == "c" and report.rows[-1].values == 48
    assert "Left to the host, in floating point: Softmax (axis -1)" in (tmp_path / "c" / "net.h").read_text()


def test_what_is_not_in_integers_is_refused_by_name():
    g = Graph("soft")
    w = g.parameter("w", np.eye(4, dtype=np.float32))
    y = g.op.MatMul(g.op.Softmax(g.op.MatMul(g.input("x", ("N", 4)), w), name="soften"), w)
    g.output(y)
    _, integers, _ = deployed(aj.infer_shapes(g), quant.bits(8, **SHIFTS))
    with pytest.raises(GraphError, match="'soften'.*Softmax"):
        quant.c_program(integers)
    assert data(g)["x"].shape == (16, 4)
