"""What a user of SINGA meets: names and defaults, the tape, models in one program, files, and what is refused."""

import importlib
import inspect
import json
import runpy
import zipfile
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from aidgejax.errors import AidgeJaxError
from aidgejax.execution.program import make_program
from aidgejax.frontends.singa import autograd, device, initializer, layer, model, opt, singa_wrap, sonnx, tensor

PREFIX = "aidgejax.frontends.singa"
ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def training():
    autograd.training = True
    yield
    autograd.training = False


def given(*shape, seed=0, **flags):
    return tensor.Tensor(data=np.random.default_rng(seed).normal(size=shape).astype(np.float32), **flags)


# ---- names ----------------------------------------------------------------------------------------------

SIGNATURES = {
    "tensor.Tensor": {
        "shape": (),
        "device": None,
        "dtype": tensor.float32,
        "data": None,
        "requires_grad": True,
        "stores_grad": False,
        "creator": None,
        "name": None,
    },
    "opt.SGD": {"lr": 0.1, "momentum": 0, "dampening": 0, "weight_decay": 0, "nesterov": False},
    "opt.RMSProp": {"lr": 0.1, "rho": 0.9, "epsilon": 1e-8, "weight_decay": 0},
    "opt.AdaGrad": {"lr": 0.1, "epsilon": 1e-8, "weight_decay": 0},
    "opt.Adam": {"lr": 0.1, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8, "weight_decay": 0},
    "model.Model.compile": {"is_train": True, "use_graph": False, "sequential": False},
    "autograd.leakyrelu": {"a": 0.01},
    "autograd.elu": {"alpha": 1},
    "autograd.selu": {"alpha": 1.67326, "gamma": 1.0507},
    "autograd.gemm": {"C": None, "alpha": 1.0, "beta": 1.0, "transA": 0, "transB": 0},
    "autograd.dropout": {"seed": 0, "ratio": 0.5},
    "autograd.ranking_loss": {"M": 0.2},
    "layer.Conv2d": {
        "stride": 1,
        "padding": 0,
        "dilation": 1,
        "group": 1,
        "bias": True,
        "pad_mode": "NOTSET",
        "activation": "NOTSET",
    },
}
NAMES = {
    "autograd": (
        "axis_helper back_broadcast infer_dependency gradients backward ctensor2numpy mean relu less "
        "clip identity matmul greater add_bias reshape prelu add elu equal selu softmax sum "
        "binary_cross_entropy cross_entropy ranking_loss softmax_cross_entropy mse_loss flatten "
        "scatter_elements cat conv2d batchnorm_2d pooling_2d tanh cos cosh acos acosh sin sinh asin "
        "asinh tan atan atanh sigmoid mul unsqueeze transpose add_all abs exp leakyrelu sign pow "
        "softsign sqrt softplus sub min log hardsigmoid squeeze div shape max _and _or _not _xor "
        "negative reciprocal gemm globalaveragepool constant_of_shape dropout reduce_sum reduce_mean "
        "slice ceil floor split gather tile nonzero cast onehot cossim expand pad upsample "
        "depth_to_space space_to_depth where round rounde embedding erf Operation Operator Layer Linear "
        "Conv2d SeparableConv2d BatchNorm2d Pooling2d MaxPool2d AvgPool2d MaxPool1d AvgPool1d RNN_Base "
        "RNN LSTM training Dummy"
    ),
    "tensor": (
        "from_numpy to_numpy to_host from_raw_tensor from_raw_tensors zeros ones random zeros_like "
        "ones_like product sizeof contiguous reshape transpose copy_data_to_from abs exp ceil log "
        "sigmoid sign sqrt square tanh sum pow average softmax lt le gt ge eq add sub eltwise_mult mult "
        "div einsum tensordot repeat axpy bernoulli gaussian uniform add_column add_row sum_columns "
        "sum_rows concatenate PlaceHolder float32 int32 float16"
    ),
    "opt": ("Optimizer SGD RMSProp AdaGrad Adam DecayScheduler Constant ExponentialDecay DistOpt"),
    "layer": (
        "Layer Linear Gemm Embedding Conv2d SeparableConv2d BatchNorm2d Pooling2d MaxPool2d AvgPool2d "
        "MaxPool1d AvgPool1d RNN LSTM ReLU Sigmoid Add Flatten SoftMaxCrossEntropy SoftMax "
        "MeanSquareError CrossEntropy BinaryCrossEntropy Dropout Cat Reshape CudnnRNN"
    ),
    "device": (
        "get_default_device create_cpu_device create_cuda_gpu create_cuda_gpus create_cuda_gpu_on "
        "create_cuda_gpus_on enable_lazy_alloc"
    ),
    "initializer": (
        "he_uniform he_normal glorot_uniform glorot_normal lecun_uniform lecun_normal eye orthogonal "
        "gaussian xavier glorot msra uniform"
    ),
    "sonnx": ("to_onnx prepare run_node SONNXModel get_op save"),
    "model": ("Model"),
    "utils": ("get_padding_shape"),
    "singa_wrap": ("USE_CUDA USE_DIST Tensor Gaussian"),
}


@pytest.mark.parametrize("module", NAMES)
def test_names_are_there(module):
    found = importlib.import_module(f"{PREFIX}.{module}")
    assert [n for n in NAMES[module].split() if not hasattr(found, n)] == []


@pytest.mark.parametrize("path", SIGNATURES)
def test_defaults_are_those_of_singa(path):
    module, *rest = path.split(".")
    found = importlib.import_module(f"{PREFIX}.{module}")
    for name in rest:
        found = getattr(found, name)
    defaults = {k: p.default for k, p in inspect.signature(found).parameters.items()}
    assert {k: defaults[k] for k in SIGNATURES[path]} == SIGNATURES[path]
    assert autograd.Layer is layer.Layer and autograd.Operation is autograd.Operator


# ---- the tape -------------------------------------------------------------------------------------------


class Cube(autograd.Operation):
    def forward(self, x):
        self.x = x
        return x**3

    def backward(self, dy):
        return dy * 3 * self.x**2


@pytest.mark.parametrize("use_graph", [False, True])
def test_a_users_operation_works_on_raw_arrays(use_graph):
    class Cubed(model.Model):
        def __init__(self):
            super().__init__()
            self.linear = layer.Linear(1)

        def forward(self, x):
            return Cube()(self.linear(x))[0]

        def train_one_batch(self, x, t):
            loss = autograd.mse_loss(self.forward(x), t)
            self.optimizer(loss)
            return loss

    m, x, t = Cubed(), given(4, 2), given(4, 1, seed=1)
    m.set_optimizer(opt.SGD(lr=0.1))
    m.compile([x], use_graph=use_graph)
    m.set_params({"linear.W": np.ones((2, 1)), "linear.b": np.zeros(1)})
    m(x, t)
    a, b = np.asarray(x), np.asarray(t)
    h = a @ np.ones((2, 1))
    slope = a.T @ (2 * (h**3 - b) / 4 * 3 * h**2)
    np.testing.assert_allclose(tensor.to_numpy(m.linear.W), 1 - 0.1 * slope, rtol=1e-4)


def test_each_gradient_comes_once_and_complete():
    w = given(3, 3, stores_grad=True, name="w")
    x = given(2, 3, stores_grad=True, requires_grad=False, name="x")
    h = autograd.matmul(x, w)
    h.stores_grad = True
    y = autograd.add(autograd.matmul(autograd.tanh(h), w), h)
    loss = autograd.mse_loss(y, given(2, 3, seed=5))
    first = [(p.name, np.asarray(g)) for p, g in autograd.backward(loss)]
    again = [(p.name, np.asarray(g)) for p, g in autograd.backward(loss)]
    assert [n for n, _ in first] == [h.name, "x", "w"]
    for (_, a), (_, b) in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
    assert set(autograd.gradients(loss)) == {id(h), id(x), id(w)}


def test_backward_refuses_by_name():
    y = autograd.relu(given(2, 2, stores_grad=True, name="x"))
    with pytest.raises(AssertionError, match="single value;size of y is  4"):
        next(autograd.backward(y))
    with pytest.raises(AssertionError, match=r"Matmul#\d+ with inputs a:float32\[2, 3\], b:float32\[2, 3\]"):
        autograd.matmul(given(2, 3, name="a"), given(2, 3, name="b"))
    with pytest.raises(TypeError, match="only Tensor instances"):
        autograd.relu(np.ones(3))
    autograd.training = False
    loss = autograd.mse_loss(given(2, stores_grad=True), given(2))
    with pytest.raises(AttributeError, match="MeanSquareError#.*Please set training as True"):
        next(autograd.backward(loss))
    autograd.training = True
    flat = autograd.less(given(1), given(1))
    with pytest.raises(AssertionError, match="Less#.*no gradient"):
        next(autograd.backward(flat))
    with pytest.raises(AidgeJaxError, match="'empty' of shape .* nothing has been written"):
        tensor.to_numpy(tensor.Tensor((2, 2), name="empty"))


def test_labels_of_any_dtype_and_shape():
    x, index = given(3, 4), np.array([0, 3, 1])
    losses = []
    for t in (index, index.astype(np.float32), np.eye(4)[index], np.eye(4)[index].astype(np.int32) * 5):
        for dtype in (tensor.float32, tensor.int32):
            losses.append(float(autograd.softmax_cross_entropy(x, tensor.Tensor(data=t, dtype=dtype))))
    np.testing.assert_allclose(losses, losses[0], rtol=1e-6)


def test_a_class_that_does_not_exist_is_refused():
    for labels in ([0, 4, 1], [0, -1, 1]):
        with pytest.raises(AssertionError, match="target labels has class .* the classes 0 to 3"):
            autograd.softmax_cross_entropy(given(3, 4), tensor.Tensor(data=labels, name="labels"))


def test_raw_tensors_serve_an_operations_backward():
    y = autograd.relu(given(2, 3))
    raw = singa_wrap.Tensor([2, 3])
    singa_wrap.Gaussian(0.0, 1.0, raw)
    dx = y.creator.backward(raw)
    assert dx.shape() == (2, 3) and tensor.from_raw_tensor(dx).shape == (2, 3)
    assert not singa_wrap.USE_CUDA and not singa_wrap.USE_DIST


# ---- models ---------------------------------------------------------------------------------------------


class Small(model.Model):
    def __init__(self):
        super().__init__()
        self.conv, self.bn, self.fc = layer.Conv2d(2, 3), layer.BatchNorm2d(), layer.Linear(3)
        self.drop = layer.Dropout(0.5)

    def forward(self, x):
        return self.fc(self.drop(autograd.tanh(self.bn(self.conv(x)))))

    def train_one_batch(self, x, y):
        out = self.forward(x)
        loss = autograd.softmax_cross_entropy(out, y)
        self.optimizer(loss)
        return {"out": out, "loss": loss}


@pytest.fixture(scope="module")
def small():
    m, x = Small(), given(4, 1, 5, 5)
    m.set_optimizer(opt.Adam(lr=opt.ExponentialDecay(0.01, 2, 0.5)))
    m.compile([x], use_graph=True)
    return m


def test_a_compiled_step_takes_what_is_passed(small):
    small.train()
    y = tensor.Tensor(data=np.array([0, 1, 2, 0]))
    a = small(given(4, 1, 5, 5, seed=1), y)
    b = small(given(4, 1, 5, 5, seed=2), y)
    assert a["out"].shape == (4, 3) and not np.array_equal(np.asarray(a["out"]), np.asarray(b["out"]))
    assert small(given(2, 1, 5, 5), tensor.Tensor(data=[0, 1]))["out"].shape == (2, 3)
    assert len(small._steps) == 2 and float(small.optimizer.step_counter) == 3
    np.testing.assert_allclose(float(small.optimizer.lr_value), 0.01 * 0.5**1.5, rtol=1e-5)
    assert set(small.optimizer.get_states()["m"]) == set(small.get_params())


def test_states_make_a_safe_round_trip(small, tmp_path):
    path = tmp_path / "checkpoint.zip"
    before = {k: np.asarray(t) for k, t in small.get_states().items()}
    small.save_states(path, {"epoch": tensor.Tensor(data=[3.0])})
    with zipfile.ZipFile(path) as z:
        assert sorted(z.namelist()) == ["states_attr.json", "tensor_dict.npz"]
        assert json.loads(z.read("states_attr.json"))["epoch"] == {"state_type": 1, "shape": [1], "dtype": 0}
    for t in small.get_states().values():
        t.set_value(0.0)
    assert float(small.load_states(path)["epoch"]) == 3
    for k, t in small.get_states().items():
        np.testing.assert_array_equal(np.asarray(t), before[k])
    with pytest.raises(AssertionError, match="is already existed"):
        small.save_states(path)
    with pytest.raises(AssertionError, match="is not exist"):
        small.load_states(tmp_path / "nothing")
    with pytest.raises(AidgeJaxError, match="compile it first"):
        Small().load_states(path)
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as z:
        np.savez(tmp_path / "a.npz", a=np.array([{}], dtype=object))
        z.write(tmp_path / "a.npz", "tensor_dict.npz")
        z.writestr("states_attr.json", "{}")
    with pytest.raises(AidgeJaxError, match="evil"):
        small.load_states(tmp_path / "evil.zip")
    (tmp_path / "cut.zip").write_bytes(path.read_bytes()[:-30])
    with pytest.raises(AidgeJaxError, match="damaged"):
        small.load_states(tmp_path / "cut.zip")


def test_the_tape_is_a_graph(small):
    graph = small.to_graph()
    assert graph.value("x").shape == ("N", 1, 5, 5) and set(graph.params) == set(small.get_params())
    assert set(graph.buffers) == {"bn.running_mean", "bn.running_var"}
    x = given(3, 1, 5, 5, seed=4)
    outputs, _, _ = make_program(graph).forward(graph.params, graph.buffers, {"x": jnp.asarray(x.array)}, save=False)
    small.eval()
    np.testing.assert_allclose(outputs["output"], np.asarray(small(x)), rtol=1e-5, atol=1e-6)
    y = small(x)
    rep = sonnx.prepare(sonnx.to_onnx([x], [y]))
    np.testing.assert_allclose(np.asarray(rep.run([x])[0]), np.asarray(y), rtol=1e-5, atol=1e-6)


def test_a_step_that_looks_at_values_is_told_so():
    class Looks(Small):
        def train_one_batch(self, x):
            return float(self.forward(x).array[0, 0])

    m = Looks()
    m.compile([given(2, 1, 5, 5)], use_graph=True)
    with pytest.raises(NotImplementedError, match="Looks.train_one_batch looks at the values.*use_graph=False"):
        m(given(2, 1, 5, 5))


# ---- the rest -------------------------------------------------------------------------------------------


def test_state_belongs_to_a_tensor_and_not_to_its_name():
    sgd = opt.SGD(lr=0.1, momentum=0.9)
    a, b = tensor.ones((2, 3)), tensor.ones((4,))
    for _ in range(2):
        sgd.apply("W", a, tensor.ones((2, 3)))
        sgd.apply("W", b, tensor.ones((4,)))
    np.testing.assert_allclose(np.asarray(b), 1 - 0.1 * (1 + 1.9), rtol=1e-6)
    assert {k: t.shape for k, t in sgd.get_states()["moments"].items()} == {"W": (2, 3), "W#1": (4,)}
    other = opt.SGD(lr=0.1, momentum=0.9)
    other.set_states(sgd.get_states())
    c = tensor.Tensor(data=a.array)
    for o, t in ((sgd, a), (other, c)):
        o.apply("W", t, tensor.ones((2, 3)))
    np.testing.assert_allclose(np.asarray(a), np.asarray(c), rtol=1e-6)
    for bad, message in (
        ({"momentum": -1}, "Invalid momentum value: -1"),
        ({"nesterov": True}, "Nesterov momentum requires a momentum and zero dampening"),
    ):
        with pytest.raises(ValueError, match=message):
            opt.SGD(**bad)
    with pytest.raises(TypeError, match="Wrong learning rate type"):
        opt.SGD(lr="fast")
    with pytest.raises(AssertionError, match="shape mismatch"):
        sgd.apply("W", a, tensor.ones((3,)))


def test_devices_and_initializers():
    dev = device.get_default_device()
    assert dev.id() == -1
    draws = []
    for _ in range(2):
        dev.SetRandSeed(7)
        draws.append(np.asarray(initializer.he_uniform(tensor.Tensor((30, 20)))))
    np.testing.assert_array_equal(*draws)
    assert 0.8 < np.abs(draws[0]).max() / np.sqrt(6 / 30) <= 1
    q = np.asarray(initializer.orthogonal(tensor.Tensor((4, 4))))
    np.testing.assert_allclose(q @ q.T, np.eye(4), atol=1e-5)
    if device.get_num_gpus() == 0:
        with pytest.raises(AssertionError, match="no GPU that JAX can use here; its platforms are cpu"):
            device.create_cuda_gpu()


def test_tensors_compute():
    t = tensor.Tensor(data=[[3.0, -4.0]])
    assert t.l1() == 3.5 and t.l2() == 2.5 and tensor.sum(t).shape == (1, 1) and t[0].shape == (1, 2)
    np.testing.assert_array_equal(np.asarray((t * 2 - 1) / 2 > 0), [[1, 0]])
    with pytest.raises(ValueError, match=r"add\(.*float32\[2\], .*float32\[3\]\)"):
        given(2) + given(3)
    with pytest.raises(AssertionError, match="tensor shape should be the same"):
        t.copy_from_numpy(np.ones(3, np.float32))


@pytest.mark.parametrize("name", ["singa_operations", "singa_model"])
def test_the_documented_examples_run(name, capsys):
    runpy.run_path(str(ROOT / "examples" / f"{name}.py"))
    assert "loss" in capsys.readouterr().out
