"""CudnnRNN against recurrences written out in NumPy, from the weights as cuDNN packs them; DistOpt's forms."""

import numpy as np
import pytest

from aidgejax.frontends.singa import autograd, layer, opt, tensor

X = np.random.default_rng(0).normal(size=(2, 4, 3)).astype(np.float32)
HIDDEN = 5


@pytest.fixture(autouse=True)
def training():
    autograd.training = True
    yield
    autograd.training = False


def sigmoid(v):
    return 1 / (1 + np.exp(-v))


def lstm(x, h, c, wx, wh, b):
    i, f, g, o = np.split(x @ wx.T + h @ wh.T + b.sum(0), 4, axis=1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def gru(x, h, c, wx, wh, b):
    (rx, zx, nx), (rh, zh, nh) = np.split(x @ wx.T + b[0], 3, axis=1), np.split(h @ wh.T + b[1], 3, axis=1)
    z = sigmoid(zx + zh)
    return (1 - z) * np.tanh(nx + sigmoid(rx + rh) * nh) + z * h, c


def relu(x, h, c, wx, wh, b):
    return np.maximum(x @ wx.T + h @ wh.T + b.sum(0), 0), c


CELLS = {"lstm": (lstm, 4), "gru": (gru, 3), "vanilla": (relu, 1)}


def expected(w, mode, layers, directions):
    """All states of the last layer, [n, steps, directions * hidden]."""
    step, gates = CELLS[mode]
    rows, places, at = gates * HIDDEN, [], 0
    for k in range(layers):
        for _ in range(directions):
            columns = 3 if k == 0 else HIDDEN * directions
            wx = w[at : at + rows * columns].reshape(rows, columns)
            at += wx.size
            wh = w[at : at + rows * HIDDEN].reshape(rows, HIDDEN)
            at += wh.size
            places.append((wx, wh))
    biases = w[at:].reshape(layers * directions, 2, rows)
    x = X.astype(np.float64)
    for k in range(layers):
        outs = []
        for d in range(directions):
            h = c = np.zeros((len(X), HIDDEN))
            states = []
            for t in range(X.shape[1])[:: 1 - 2 * d]:
                j = k * directions + d
                h, c = step(x[:, t], h, c, *places[j], biases[j])
                states.append(h)
            outs.append(np.stack(states[:: 1 - 2 * d], axis=1))
        x = np.concatenate(outs, axis=2)
    return x


@pytest.mark.parametrize(("mode", "layers", "both"), [("lstm", 1, False), ("gru", 2, True), ("vanilla", 2, True)])
def test_states_are_those_of_the_recurrence(mode, layers, both):
    rnn = layer.CudnnRNN(HIDDEN, activation="relu", rnn_mode=mode, num_layers=layers, bidirectional=both)
    y = rnn(tensor.from_numpy(X))
    want = expected(tensor.to_numpy(rnn.W).astype(np.float64), mode, layers, 1 + both)
    np.testing.assert_allclose(tensor.to_numpy(y), want, atol=1e-5)


def test_the_last_step_alone_and_steps_that_do_not_count():
    whole = layer.CudnnRNN(HIDDEN)
    states = tensor.to_numpy(whole(tensor.from_numpy(X)))
    for options, lengths in (({}, [4, 4]), ({"use_mask": True}, [2, 4])):
        rnn = layer.CudnnRNN(HIDDEN, return_sequences=False, **options)
        given = {"seq_lengths": tensor.from_numpy(np.array(lengths))} if options else {}
        rnn(tensor.from_numpy(X), **given)
        rnn.W.copy_from(whole.W)
        got = tensor.to_numpy(rnn(tensor.from_numpy(X), **given))
        np.testing.assert_allclose(got, states[[0, 1], np.array(lengths) - 1], atol=1e-6)


def test_it_trains():
    rnn, sgd = layer.CudnnRNN(HIDDEN, return_sequences=False), opt.SGD(0.5)
    target = tensor.from_numpy(np.full((2, HIDDEN), 0.3, np.float32))
    losses = []
    for _ in range(15):
        loss = autograd.mse_loss(rnn(tensor.from_numpy(X)), target)
        sgd(loss)
        losses.append(float(tensor.to_numpy(loss)[0]))
    assert losses[-1] < 0.5 * losses[0]


def test_it_refuses_what_it_does_not_know():
    with pytest.raises(AssertionError, match="expected 'lstm', 'gru'"):
        layer.CudnnRNN(3, rnn_mode="transformer")
    with pytest.raises(AssertionError, match="3 axes"):
        layer.CudnnRNN(3)(tensor.from_numpy(X[0]))


@pytest.mark.parametrize(
    "form", ["backward_and_update_half", "backward_and_partial_update", "backward_and_sparse_update"]
)
def test_forms_that_send_less_are_the_plain_update_and_say_so(form):
    values = []
    for how in ("backward_and_update", form):
        w = tensor.Tensor(data=np.ones((3, 1), np.float32), stores_grad=True)
        loss = autograd.mse_loss(autograd.matmul(tensor.from_numpy(X[0]), w), tensor.from_numpy(np.zeros((4, 1), "f")))
        optimizer = opt.DistOpt(opt.SGD(0.1))
        if how == form:
            with pytest.warns(UserWarning, match="plain update"):
                getattr(optimizer, how)(loss)
        else:
            getattr(optimizer, how)(loss)
        values.append(tensor.to_numpy(w))
    np.testing.assert_array_equal(*values)


def test_half_form_clips_gradients_where_asked():
    w = tensor.Tensor(data=np.ones((3, 1), np.float32), stores_grad=True)
    loss = autograd.reduce_sum(autograd.matmul(tensor.from_numpy(100 * np.ones((2, 3), np.float32)), w))
    with pytest.warns(UserWarning):
        opt.DistOpt(opt.SGD(1.0)).backward_and_update_half(loss, clipping=True, clip_Value=2.0)
    np.testing.assert_array_equal(tensor.to_numpy(w), np.full((3, 1), -1.0))


def test_states_to_begin_with_and_a_graph_for_any_batch():
    rnn = layer.CudnnRNN(HIDDEN, rnn_mode="gru")
    x, zeros = tensor.from_numpy(X), tensor.from_numpy(np.zeros((1, 2, HIDDEN), np.float32))
    y = rnn(x)
    np.testing.assert_array_equal(tensor.to_numpy(rnn(x, zeros)), tensor.to_numpy(y))
    first = tensor.from_numpy(tensor.to_numpy(y)[None, :, 1])
    later = tensor.to_numpy(rnn(tensor.from_numpy(X[:, 2:]), first))
    np.testing.assert_allclose(later, tensor.to_numpy(y)[:, 2:], atol=1e-6)
    graph = autograd.to_graph({"y": y}, {"x": x}, rnn.get_params())
    assert graph.inputs["x"].shape[0] == "N" and graph.value("y").shape == ("N", 4, HIDDEN)
