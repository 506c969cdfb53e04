"""What the operators that move, cut, pick, multiply and reduce say to a mistake, word by word; and what their
gradients cost."""

import jax
import numpy as np
import pytest

from aidgejax.errors import GraphError
from aidgejax.execution.program import make_program
from aidgejax.graph import Graph
from aidgejax.interpreter.shape_inference import infer_shapes
from aidgejax.ops import lookup
from aidgejax.passes.gradient import make_gradient

OUTSIDE = "axis: axis 2 is outside a tensor of rank 2 (-2 to 1)"

MISTAKES = [
    ("Reshape", ((2, 3), (4, -1)), {}, "6 elements do not make a tensor of shape [4, -1]"),
    ("Reshape", ((2, 3), (-1, -1)), {}, "6 elements do not make a tensor of shape [-1, -1]"),
    (
        "Reshape",
        ((2, 3), (6, 1, 0)),
        {},
        "shape [6, 1, 0] keeps the size of axis 2, and the input has 2 axes; set allowzero=1 if a size of 0 is meant",
    ),
    ("Flatten", ((2, 3),), {"axis": 3}, "axis 3 is outside -2 to 2, the places where a tensor of rank 2 can be parted"),
    ("Squeeze", ((2, 3), (1,)), {}, "axis 1 has size 3: only an axis of size 1 can be squeezed out"),
    ("Unsqueeze", ((2, 3), (0, -4)), {}, "axes [0, -4] name an axis twice, in a result of rank 4"),
    ("Unsqueeze", ((2, 3), (4,)), {}, "axes: axis 4 is outside a tensor of rank 3 (-3 to 2)"),
    ("Transpose", ((2, 3),), {"perm": (0, 0)}, "perm is [0, 0], expected an order of the axes 0 to 1"),
    (
        "Cast",
        ((2, 3),),
        {"to": 8},
        "no tensor type 8: it is one of 1 (float32), 2 (uint8), 3 (int8), 4 (uint16), "
        "5 (int16), 6 (int32), 7 (int64), 9 (bool), 10 (float16), 11 (float64), 12 (uint32), 13 (uint64), "
        "16 (bfloat16), 17 (float8_e4m3fn), 18 (float8_e4m3fnuz), 19 (float8_e5m2), 20 (float8_e5m2fnuz), 21 (uint4), "
        "22 (int4), 23 (float4_e2m1fn), 24 (float8_e8m0fnu), 25 (uint2), 26 (int2), as ONNX numbers them",
    ),
    ("DepthToSpace", ((1, 3, 2, 2),), {"blocksize": 2}, "3 channels cannot be laid out as blocks of 2 by 2 pixels"),
    ("DepthToSpace", ((1, 4, 2, 2),), {"blocksize": 2, "mode": "RCD"}, "mode is 'RCD', expected 'DCR' or 'CRD'"),
    ("SpaceToDepth", ((1, 1, 3, 2),), {"blocksize": 2}, "an image of 3 by 2 pixels is not made of blocks of 2 by 2"),
    ("SpaceToDepth", ((3, 2),), {"blocksize": 2}, "expected images [n, c, h, w], got a tensor of rank 2"),
    (
        "Expand",
        ((2, 3), (4,)),
        {},
        "shapes [2, 3] and [4] do not broadcast: counted from the back, sizes are equal or one of them is 1",
    ),
    ("Tile", ((2, 3), (4,)), {}, "1 repeats for a tensor of rank 2: expected one per axis"),
    ("Range", (0, 3, 0), {}, "delta is 0: the range would never end"),
    ("EyeLike", ((3,),), {}, "expected a matrix, got a tensor of rank 1"),
    ("Concat", ((2, 3), (3, 2)), {"axis": 1}, "shapes [2, 3], [3, 2] differ, expected equal ones but for axis 1"),
    ("Concat", ((2, 3), (2,)), {"axis": 1}, "shapes [2, 3], [2] differ, expected equal ones but for axis 1"),
    ("Concat", ((2, 3),), {"axis": 2}, OUTSIDE),
    ("Split", ((2, 3),), {}, "Split needs either the input `split` or the attribute `num_outputs`, got neither"),
    ("Split", ((2, 3), (1, 1)), {"axis": 1}, "split is [1, 1], expected sizes that add up to 3, the size of axis 1"),
    ("Split", ((2, 3),), {"num_outputs": 4}, "axis 0 of size 2 makes no 4 pieces of size 1"),
    ("Slice", ((2, 3), (0, 0), (1,)), {}, "Slice got 2 starts, 1 ends, 2 axes and 2 steps; expected as many of each"),
    ("Slice", ((2, 3), (0,), (1,), None, (0,)), {}, "steps are [0], expected none of them to be 0"),
    (
        "Pad",
        ((2, 3), (1, 1)),
        {},
        "2 pads for 2 axes: expected two per axis, all that come before, then all that come after",
    ),
    ("Pad", ((2, 3), (0, -2, 0, -2)), {}, "pads -2 and -2 leave nothing of axis 1 of size 3"),
    (
        "Pad",
        ((2, 3), (0, -3, 0, 2)),
        {"mode": "edge"},
        "pads -3 and 2 leave nothing of axis 1 of size 3 for mode 'edge' to repeat",
    ),
    (
        "Pad",
        ((2, 3), (0, 0, 0, 0)),
        {"mode": "mirror"},
        "mode is 'mirror', expected 'constant', 'reflect', 'edge' or 'wrap'",
    ),
    ("Gather", ((2, 3), 3), {"axis": 1}, "index 3 is outside axis 1 of size 3 (-3 to 2)"),
    ("Gather", ((2, 3), (0, -3)), {}, "index -3 is outside axis 0 of size 2 (-2 to 1)"),
    ("Gather", ((2, 3), 0), {"axis": 2}, OUTSIDE),
    ("TopK", ((2, 3), 4), {}, "k is 4, expected 0 to 3, the size of axis 1"),
    ("ArgMax", ((2, 3),), {"axis": 2}, OUTSIDE),
    ("CumSum", ((2, 3), 2), {}, OUTSIDE),
    ("MatMul", ((2, 3), (2, 3)), {}, "rows of 3 elements on the left do not fit columns of 2 on the right"),
    (
        "MatMul",
        ((2, 3, 4), (3, 4, 2)),
        {},
        "shapes [2] and [3] do not broadcast: counted from the back, sizes are equal or one of them is 1",
    ),
    ("MatMul", ((), (3,)), {}, "a product of matrices or vectors, got shapes [] and [3]; scalars are for Mul"),
    ("Gemm", ((2, 3), (3,)), {}, "Gemm multiplies matrices, got tensors of rank 2 and 1; MatMul takes others"),
    (
        "Gemm",
        ((2, 3), (2, 3)),
        {"transA": 1, "transB": 1},
        "rows of 2 elements on the left do not fit columns of 3 on the right",
    ),
    ("Gemm", ((1, 3), (3, 2), (4, 2)), {}, "C of shape [4, 2] does not broadcast to the product, of shape [1, 2]"),
    ("Einsum", ((2, 3),), {"equation": "ij,jk"}, "equation 'ij,jk' has 2 terms for 1 operands"),
    (
        "Einsum",
        ((2, 3), (3,)),
        {"equation": "ij,jk"},
        "term 'jk' of equation 'ij,jk' does not fit operand 1, of rank 1",
    ),
    ("Einsum", ((2, 3), (4, 3)), {"equation": "ij,jk"}, "'j' of equation 'ij,jk' is 3 and 4, expected one size"),
    ("ReduceSum", ((2, 3), (2,)), {}, "axes: axis 2 is outside a tensor of rank 2 (-2 to 1)"),
    ("ReduceMax", ((2, 3),), {"ties": "last"}, "ties is 'last', expected 'split' or 'first'"),
]


def graph_of(op, inputs, attrs):
    """A node; a tuple is the shape of an input in its place, unless the operator wants to know its value."""
    g, given = Graph("g"), []
    for k, spec in enumerate(inputs):
        operator = lookup(op)
        named = operator.inputs[k] if k < len(operator.inputs) else None
        known = named in (*operator.static, "indices") or not isinstance(spec, tuple)
        given.append(spec if known else g.input(f"x{k}", spec))
    g.add(op, given, attrs, names=["y"], name="here")
    g.output("y")
    return g


@pytest.mark.parametrize("op, inputs, attrs, message", MISTAKES, ids=lambda v: str(v) if isinstance(v, str) else "")
def test_a_mistake_is_named(op, inputs, attrs, message):
    with pytest.raises(GraphError) as error:
        make_program(graph_of(op, inputs, attrs))
    assert str(error.value).startswith(f"node 'here' ({op}) of graph 'g' with inputs ")
    assert str(error.value).endswith(f": {message}")


def test_an_index_that_is_data_is_not_clamped_in_silence():
    g = Graph("g")
    g.output(g.op.Gather(g.input("x", (3,)), g.input("i", (2,), "int32")))
    program = make_program(g)
    out, saved, _ = program.forward({}, {}, {"x": np.ones(3, np.float32), "i": np.array([1, 3], np.int32)})
    np.testing.assert_array_equal(out["Gather"], [1, np.nan])


def test_a_target_that_is_data_is_refused():
    g = Graph("g")
    g.output(g.op.Reshape(g.input("x", (4,)), g.input("shape", (2,), "int64"), name="here"))
    with pytest.raises(GraphError, match=r"'shape'.* must be a compile-time constant"):
        make_program(g).forward({}, {}, {"x": np.ones(4, np.float32), "shape": np.array([2, 2])})


COSTS = [
    ("Unsqueeze", ((3, 4), (0,)), {}, {"Squeeze": 1}),
    ("Transpose", ((3, 4),), {}, {"Transpose": 1}),
    ("Concat", ((3, 4), (3, 5)), {"axis": 1}, {"Split": 1}),
    ("Slice", ((3, 4), (0,), (2,)), {}, {"SliceGrad": 1}),
    ("Pad", ((3, 4), (0, 0, 1, 1)), {}, {"PadGrad": 1}),
    ("Gather", ((3, 4), (0, 0)), {}, {"GatherGrad": 1}),
    ("MatMul", ((3, 4), (4, 5)), {}, {"MatMul": 2, "Transpose": 2}),
    ("MatMul", ((2, 3, 4), (4, 5)), {}, {"MatMul": 2, "Transpose": 2, "Flatten": 2}),
    ("MatMul", ((2, 3, 4), (2, 4, 5)), {}, {"MatMul": 2, "Transpose": 2}),
    ("Gemm", ((3, 4), (5, 4), (5,)), {"transB": 1}, {"Gemm": 2, "SumLike": 1}),
    ("Einsum", ((3, 4), (4, 5)), {"equation": "ij,jk->ik"}, {"Einsum": 2}),
    ("ReduceSum", ((3, 4),), {}, {"SpreadLike": 1}),
    ("ReduceMean", ((3, 4), (1,)), {}, {"Div": 1, "SpreadLike": 1}),
    ("ReduceSumSquare", ((3, 4),), {}, {"Mul": 2, "SpreadLike": 1}),
]


@pytest.mark.parametrize("op, inputs, attrs, nodes", COSTS, ids=lambda v: v if isinstance(v, str) else "")
def test_a_gradient_costs_no_more_than_this(op, inputs, attrs, nodes):
    g = graph_of(op, inputs, attrs)
    assert make_gradient(infer_shapes(g), wrt=list(g.inputs)).count() == nodes


def test_flops_of_products():
    count = lambda op, ins, out, **attrs: lookup(op).flops(ins, [out], {**lookup(op).attributes, **attrs})
    assert count("MatMul", [(2, 3, 4), (4, 5)], (2, 3, 5)) == 2 * 2 * 3 * 4 * 5
    assert count("Gemm", [(4, 3), (5, 4)], (3, 5), transA=1, transB=1) == 2 * 3 * 4 * 5
    assert count("Einsum", [(2, 3), (3, 4)], (4, 2), equation="ij,jk->ki") == 2 * 2 * 3 * 4


def test_a_gradient_of_a_mean_over_a_batch_counts_the_batch():
    g = Graph("g")
    g.output(g.op.ReduceMean(g.input("x", ("N", 3)), (0,)))
    program = make_program(g, wrt=["x"])
    for n in (2, 5):
        x = np.ones((n, 3), np.float32)
        _, saved, _ = program.forward({}, {}, {"x": x})
        grads = jax.jit(program.backward)({}, saved, {"ReduceMean": np.ones((1, 3), np.float32)})
        np.testing.assert_allclose(grads["x"], np.full((n, 3), 1 / n, np.float32), rtol=1e-6)
