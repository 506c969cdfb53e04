"""What SINGA's example scripts do, each in few lines of our own: every one trains."""

import numpy as np
import pytest

from aidgejax.frontends.singa import autograd, device, layer, model, opt, singa_wrap, tensor

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def seeded():
    device.get_default_device().SetRandSeed(0)
    was = autograd.training
    autograd.training = True
    yield
    autograd.training = was


def number(loss):
    return float(np.ravel(tensor.to_numpy(loss))[0])


class Trained(model.Model):
    """One training method that dispatches on how gradients are combined, as the scripts have it."""

    def set_optimizer(self, optimizer):
        self.optimizer = optimizer

    def train_one_batch(self, x, y, dist_option="plain", spars=None):
        out = self.forward(x)
        loss = autograd.softmax_cross_entropy(out, y)
        if dist_option == "plain":
            self.optimizer(loss)
        elif dist_option == "half":
            self.optimizer.backward_and_update_half(loss)
        elif dist_option == "partialUpdate":
            self.optimizer.backward_and_partial_update(loss)
        else:
            self.optimizer.backward_and_sparse_update(loss, topK=dist_option == "sparseTopK", spars=spars)
        return out, loss


class Perceptron(Trained):
    def __init__(self):
        super().__init__()
        self.first, self.act, self.second = layer.Linear(8), layer.ReLU(), layer.Linear(2)

    def forward(self, x):
        return self.second(self.act(self.first(x)))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("option", ["plain", "half", "partialUpdate", "sparseTopK", "sparseThreshold"])
def test_a_model_with_a_distributed_optimizer_and_its_reducer(option):
    """On one device every way of combining gradients is the plain one; a sum over processes is the number itself."""
    x, y = tensor.Tensor((16, 2)), tensor.Tensor((16,), dtype=tensor.int32)
    x.copy_from_numpy(RNG.normal(size=(16, 2)).astype(np.float32))
    y.copy_from_numpy((tensor.to_numpy(x)[:, 0] > 0).astype(np.int32))
    net, sgd = Perceptron(), opt.DistOpt(opt.SGD(lr=0.3, momentum=0.9, weight_decay=1e-5))
    net.set_optimizer(sgd)
    net.compile([x], is_train=True, use_graph=False, sequential=True)
    losses = [number(net(x, y, option, 0.05)[1]) for _ in range(6)]
    assert losses[-1] < losses[0]
    reducer = tensor.Tensor((1,))
    reducer.copy_from_numpy(np.array([losses[-1]], np.float32))
    sgd.all_reduce(reducer.data)
    sgd.wait()
    assert number(reducer) / sgd.world_size == pytest.approx(losses[-1])
    net.eval()
    assert net(x).shape == (16, 2)
    with pytest.raises(AttributeError, match="communicator is not in aidgejax: one process holds all devices"):
        sgd.communicator  # noqa: B018


def test_two_networks_in_one_model_are_trained_in_turns():
    """A generator and a discriminator: parameters are chosen by their names while the gradients come."""

    class Pair(model.Model):
        def __init__(self):
            super().__init__()
            self.gen_a, self.gen_b, self.dis_a = layer.Linear(6), layer.Linear(4), layer.Linear(1)
            self.act, self.squash, self.bce = layer.ReLU(), layer.Sigmoid(), layer.BinaryCrossEntropy()
            self.optimizer = opt.Adam(lr=0.01)

        def forward_gen(self, z):
            return self.squash(self.gen_b(self.act(self.gen_a(z))))

        def forward(self, z):
            return self.squash(self.dis_a(self.forward_gen(z)))

        def train_one_batch(self, z, y):
            loss = self.bce(self.forward(z), y)
            for p, g in autograd.backward(loss):
                if "gen" in p.name:
                    self.optimizer.apply(p.name, p, g)
            return loss

    z, y = tensor.Tensor((5, 3)), tensor.Tensor((5, 1))
    z.gaussian(0.0, 1.0)
    y.set_value(1.0)
    net = Pair()
    net.compile([z], is_train=True, use_graph=False, sequential=True)
    before = {k: tensor.to_numpy(v).copy() for k, v in net.get_params().items()}
    losses = [number(net(z, y)) for _ in range(8)]
    moved = {k for k, v in net.get_params().items() if not np.array_equal(tensor.to_numpy(v), before[k])}
    assert losses[-1] < losses[0]
    assert moved == {"gen_a.W", "gen_a.b", "gen_b.W", "gen_b.b"}


def test_a_boltzmann_machine_without_a_tape():
    """Gradients are worked out by hand and applied by name."""
    data = tensor.from_numpy((RNG.random((20, 12)) > 0.5).astype(np.float32))
    w = tensor.Tensor((12, 5))
    w.gaussian(0.0, 0.1)
    visible, hidden = (tensor.from_numpy(np.zeros(n, np.float32)) for n in (12, 5))
    sgd = opt.SGD(lr=0.02, momentum=0.9, weight_decay=2e-4)
    errors = []
    for _ in range(12):
        up = tensor.mult(data, w)
        up.add_row(hidden)
        up = tensor.sigmoid(up)
        chance = tensor.Tensor(up.shape)
        chance.uniform(0.0, 1.0)
        down = tensor.mult(tensor.gt(up, chance), w.T())
        down.add_row(visible)
        down = tensor.sigmoid(down)
        again = tensor.mult(down, w)
        again.add_row(hidden)
        again = tensor.sigmoid(again)
        errors.append(number(tensor.sum(tensor.square(data - down))))
        sgd.apply("w", w, tensor.mult(down.T(), again) - tensor.mult(data.T(), up))
        sgd.apply("visible", visible, tensor.sum(down, 0) - tensor.sum(data, 0))
        sgd.apply("hidden", hidden, tensor.sum(again, 0) - tensor.sum(up, 0))
        sgd.step()
    assert errors[-1] < errors[0]


def test_a_recurrent_language_model_that_carries_its_state():
    class Letters(model.Model):
        def __init__(self, letters, size):
            super().__init__()
            self.rnn, self.cat, self.dense = layer.LSTM(letters, size), layer.Cat(), layer.Linear(size, letters)
            self.to_rows, self.to_column = layer.Reshape(), layer.Reshape()
            self.optimizer, self.size = opt.SGD(1.0), size

        def initialize(self, inputs):
            self.h, self.c = (tensor.Tensor((inputs[0].shape[0], self.size)) for _ in range(2))
            self.reset()

        def reset(self):
            self.h.set_value(0.0)
            self.c.set_value(0.0)

        def forward(self, inputs):
            x, h, c = self.rnn(inputs, (self.h, self.c))
            self.h.copy_data(h)
            self.c.copy_data(c)
            return self.dense(self.to_rows(self.cat(x), (-1, self.size)))

        def train_one_batch(self, x, y):
            loss = autograd.softmax_cross_entropy(self.forward(x), self.to_column(y, (-1, 1)))
            self.optimizer(loss)
            return loss

    text = np.arange(9) % 3
    one_hot = np.eye(3, dtype=np.float32)[text]
    inputs = [tensor.from_numpy(np.stack([one_hot[t], one_hot[t + 1]])) for t in range(4)]
    labels = tensor.from_numpy(np.stack([[text[t + 1], text[t + 2]] for t in range(4)]).astype(np.float32)[..., None])
    net = Letters(3, 6)
    net.graph(False, False)
    net.train()
    losses = [number(net(inputs, labels)) for _ in range(4)]
    assert losses[-1] < losses[0]
    assert np.any(tensor.to_numpy(net.h))
    net.eval()
    net.reset()
    assert net(inputs).shape == (8, 3)


def test_an_operation_of_ones_own_on_raw_tensors():
    """relu by SINGA's C++ names, as its page on autograd writes it."""

    class MyReLU(autograd.Operation):
        def forward(self, x):
            if autograd.training:
                self.input = x
            return singa_wrap.ReLU(x)

        def backward(self, dy):
            dx = singa_wrap.GTFloat(self.input, 0.0)
            dx *= dy
            return dx

    x = tensor.Tensor(data=np.array([[-1.0, 2.0, 3.0]], np.float32), requires_grad=True, stores_grad=True)
    loss = autograd.reduce_mean(MyReLU()(x)[0])
    ((found, gradient),) = autograd.backward(loss)
    assert found is x
    np.testing.assert_allclose(tensor.to_numpy(gradient), [[0.0, 1 / 3, 1 / 3]], rtol=1e-6)


def test_an_optimizer_of_ones_own():
    """Written as SINGA's are: it brings everything to one device, and changes the parameter in place."""

    class Signs(opt.Optimizer):
        def apply(self, param_name, param_value, param_grad):
            self.device_check(param_value, self.step_counter, self.lr_value, param_grad)
            tensor.axpy(-float(tensor.to_numpy(self.lr_value)[0]), tensor.sign(param_grad), param_value)

    w = tensor.Tensor(data=np.array([[1.0, -2.0]], np.float32), requires_grad=True, stores_grad=True)
    signs = Signs(opt.ExponentialDecay(0.5, 1, 0.5))
    for _ in range(2):
        signs(autograd.mse_loss(w, tensor.Tensor(data=np.zeros((1, 2), np.float32), requires_grad=False)))
    np.testing.assert_allclose(tensor.to_numpy(w), [[1 - 0.5 - 0.25, -2 + 0.5 + 0.25]])
