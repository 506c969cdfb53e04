"""SINGA's operations as objects, `ReLU()(x)[0]`, and the places where SINGA's arithmetic is wider than ONNX's."""

import numpy as np
import pytest

from aidgejax.frontends.singa import autograd, layer, tensor

X = np.random.default_rng(0).normal(size=(2, 4)).astype(np.float32)
W = np.random.default_rng(1).normal(size=(4, 3)).astype(np.float32)
IMAGE = np.random.default_rng(2).normal(size=(1, 4, 2, 2)).astype(np.float32)


@pytest.fixture(autouse=True)
def training():
    autograd.training = True
    yield
    autograd.training = False


def t(array, **flags):
    return tensor.Tensor(data=array, **flags)


# name: (arguments of the constructor, tensors, the function of the same name)
CALLS = {
    "Mean": ((), (X, X + 1), lambda a, b: autograd.mean(a, b)),
    "Less": ((), (X, -X), autograd.less),
    "Clip": ((-0.5, 0.5), (X,), lambda x: autograd.clip(x, -0.5, 0.5)),
    "Matmul": ((), (X, W), autograd.matmul),
    "Greater": ((), (X, -X), autograd.greater),
    "AddBias": ((0,), (X, W[:, 0]), autograd.add_bias),
    "Reshape": (((4, 2),), (X,), lambda x: autograd.reshape(x, (4, 2))),
    "Elu": ((0.7,), (X,), lambda x: autograd.elu(x, 0.7)),
    "Equal": ((), (X, X), autograd.equal),
    "SeLU": ((1.5, 1.1), (X,), lambda x: autograd.selu(x, 1.5, 1.1)),
    "SoftMax": ((), (X,), autograd.softmax),
    "Sum": ((), (X, X), autograd.sum),
    "Flatten": ((2,), (IMAGE,), lambda x: autograd.flatten(x, 2)),
    "Concat": ((1,), (X, X), lambda a, b: autograd.cat((a, b), 1)),
    "Unsqueeze": (([1],), (X,), lambda x: autograd.unsqueeze(x, [1])),
    "Transpose": (((1, 0),), (X,), lambda x: autograd.transpose(x, (1, 0))),
    "LeakyRelu": ((0.2,), (X,), lambda x: autograd.leakyrelu(x, 0.2)),
    "Min": ((), (X, -X), autograd.min),
    "HardSigmoid": ((0.3, 0.4), (X,), lambda x: autograd.hardsigmoid(x, 0.3, 0.4)),
    "Squeeze": ((0,), (X[:1],), lambda x: autograd.squeeze(x, 0)),
    "Shape": ((), (X,), autograd.shape),
    "Max": ((), (X, -X), autograd.max),
    "And": ((), (X > 0, X < 1), autograd._and),
    "Or": ((), (X > 0, X < 1), autograd._or),
    "Not": ((), (X > 0,), autograd._not),
    "Xor": ((), (X > 0, X < 1), autograd._xor),
    "Gemm": ((2.0, 0.5, 0, 0), (X, W, X[:, :3]), lambda a, b, c: autograd.gemm(a, b, c, 2.0, 0.5)),
    "GlobalAveragePool": (("channel_last",), (IMAGE,), lambda x: autograd.globalaveragepool(x, "channel_last")),
    "ConstantOfShape": ((2.0,), (np.array([2, 3]),), lambda x: autograd.constant_of_shape(x, 2.0)),
    "ReduceSum": (([1], 0), (X,), lambda x: autograd.reduce_sum(x, [1], 0)),
    "ReduceMean": ((None, 1), (X,), autograd.reduce_mean),
    "Slice": (([1], [3], [1]), (X,), lambda x: autograd.slice(x, [1], [3], [1])),
    "Split": ((1, [1, 3]), (X,), lambda x: autograd.split(x, 1, [1, 3])[0]),
    "Gather": ((1, [0, 0, 2]), (X,), lambda x: autograd.gather(x, 1, [0, 0, 2])),
    "Tile": (([1, 2],), (X,), lambda x: autograd.tile(x, [1, 2])),
    "NonZero": ((), (X * (X > 0),), autograd.nonzero),
    "Cast": ((tensor.int32,), (X * 3,), lambda x: autograd.cast(x, tensor.int32)),
    "OneHot": ((-1, 3, [0.0, 5.0]), (np.array([0, 2]),), lambda i: autograd.onehot(-1, i, 3, [0.0, 5.0])),
    "CosSim": ((), (X, X + 1), autograd.cossim),
    "Expand": (((3, 2, 4),), (X,), lambda x: autograd.expand(x, (3, 2, 4))),
    "Pad": (("edge", [0, 1, 0, 1]), (X,), lambda x: autograd.pad(x, "edge", [0, 1, 0, 1])),
    "UpSample": (("nearest", [1, 1, 2, 2]), (IMAGE,), lambda x: autograd.upsample(x, "nearest", [1, 1, 2, 2])),
    "DepthToSpace": ((2,), (IMAGE,), lambda x: autograd.depth_to_space(x, 2)),
    "SpaceToDepth": ((2,), (IMAGE,), lambda x: autograd.space_to_depth(x, 2)),
    "Where": ((X > 0,), (X, -X), lambda a, b: autograd.where(a, b, X > 0)),
    "Round": ((), (X * 3,), autograd.round),
    "Rounde": ((), (X * 3,), autograd.rounde),
    "Embedding": ((), (np.array([2, 0, 2]), W), autograd.embedding),
    "ScatterElements": (
        (np.array([[0, 1, 0, 1]]), np.full((1, 4), 9.0), 0),
        (X,),
        lambda x: autograd.scatter_elements(x, np.array([[0, 1, 0, 1]]), np.full((1, 4), 9.0), 0),
    ),
    "MeanSquareError": ((t(X + 1),), (X,), lambda x: autograd.mse_loss(x, t(X + 1))),
}


@pytest.mark.parametrize("name", CALLS)
def test_the_class_computes_what_the_function_does(name):
    arguments, arrays, function = CALLS[name]
    inputs = [t(np.asarray(a), dtype="int32" if np.asarray(a).dtype.kind == "i" else "float32") for a in arrays]
    operation = getattr(autograd, name)(*arguments)
    got = operation(*inputs)[0]
    assert got.creator is operation and isinstance(operation, autograd.Operation)
    np.testing.assert_array_equal(tensor.to_numpy(got), tensor.to_numpy(function(*inputs)))


def test_dropout_as_a_class_scales_what_it_keeps():
    y = tensor.to_numpy(autograd.Dropout(0, 0.25)(t(np.ones((40, 40), np.float32)))[0])
    assert set(np.unique(y)) <= {np.float32(0), np.float32(1 / 0.75)} and 0.6 < (y > 0).mean() < 0.9


def test_an_operations_own_backward_has_a_gradient_per_input():
    indices, table = t(np.array([1, 1]), dtype="int32"), t(W)
    y = autograd.embedding(indices, table)
    d_indices, d_table = y.creator.backward(t(np.ones((2, 3), np.float32)).data)
    np.testing.assert_array_equal(np.asarray(d_indices), [0, 0])
    np.testing.assert_array_equal(np.asarray(d_table), [[0] * 3, [2] * 3, [0] * 3, [0] * 3])
    scattered = autograd.scatter_elements(t(X), t(np.array([[0] * 4]), dtype="int32"), t(X[:1]))
    dx = scattered.creator.backward(t(np.ones((2, 4), np.float32)).data)
    np.testing.assert_array_equal(np.asarray(dx), [[0] * 4, [1] * 4])
    assert autograd.shape(t(X)).creator.backward(t(np.ones(2)).data) == [2]


def test_updates_that_are_trained_take_a_gradient():
    updates = t(X[:1], stores_grad=True)
    y = autograd.scatter_elements(t(X), np.array([[1] * 4]), updates)
    ((_, g),) = autograd.backward(autograd.reduce_sum(y))
    np.testing.assert_array_equal(tensor.to_numpy(g), np.ones((1, 4)))


def test_prelu_broadcasts_both_ways():
    x = np.array([[-1.0, 2.0]], np.float32)
    slope = np.array([[0.5], [2.0]], np.float32)
    a, b = t(x, stores_grad=True), t(slope, stores_grad=True)
    y = autograd.prelu(a, b)
    np.testing.assert_array_equal(tensor.to_numpy(y), [[-0.5, 2.0], [-2.0, 2.0]])
    found = {p is a: tensor.to_numpy(g) for p, g in autograd.backward(autograd.reduce_sum(y))}
    np.testing.assert_array_equal(found[True], [[2.5, 2.0]])
    np.testing.assert_array_equal(found[False], [[-1.0], [-1.0]])


@pytest.mark.parametrize(("axes", "shape"), [([2, 4, 5], (2, 4, 1, 1, 1)), ([0, 0], (1, 1, 2, 4)), (-1, (2, 4, 1))])
def test_unsqueeze_puts_axes_in_one_after_the_other(axes, shape):
    assert autograd.unsqueeze(t(X), axes).shape == shape


def test_the_class_of_the_mean_square_error_broadcasts_its_target():
    x, target = t(X, stores_grad=True), t(X[:, :1] + 1)
    loss = autograd.MeanSquareError(target)(x)[0]
    np.testing.assert_allclose(tensor.to_numpy(loss), [np.mean((X - X[:, :1] - 1) ** 2)], rtol=1e-6)
    ((_, g),) = autograd.backward(loss)
    np.testing.assert_allclose(tensor.to_numpy(g), 2 * (X - X[:, :1] - 1) / X.size, rtol=1e-5)
    again = layer.MeanSquareError()(x, target)
    np.testing.assert_array_equal(tensor.to_numpy(again), tensor.to_numpy(loss))
    for refused in (lambda: autograd.mse_loss(x, target), lambda: layer.MeanSquareError()(target, x)):
        with pytest.raises(AssertionError, match="shape different"):
            refused()


def test_shapes_are_refused_before_contents_are_missed():
    for axis in (3, -1, 0.1):
        with pytest.raises(AssertionError, match="along axis"):
            autograd.add_bias(tensor.Tensor((10, 10)), tensor.Tensor((10,)), axis)
    with pytest.raises(RuntimeError, match="nothing has been written"):
        autograd.add_bias(tensor.Tensor((10, 10)), tensor.Tensor((10,)))


def test_bernoulli_takes_whole_numbers():
    assert tensor.to_numpy(tensor.Tensor((3,)).bernoulli(1)).tolist() == [1, 1, 1]


def test_rows_and_columns_of_a_tensor_in_place():
    matrix = t(np.ones((2, 3), np.float32))
    matrix.mult_row(t([1.0, 2.0, 3.0]))
    matrix.add_column(t([10.0, 20.0]))
    np.testing.assert_array_equal(tensor.to_numpy(matrix), [[11, 12, 13], [21, 22, 23]])
    matrix.div_column(t([11.0, 21.0]))
    np.testing.assert_allclose(tensor.to_numpy(matrix)[:, 0], [1, 1])
