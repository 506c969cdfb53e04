"""Compiled epochs give the weights of the imperative loop."""

import numpy as np
import pytest

from aidgejax.errors import AidgeJaxError
from aidgejax.frontends import aidge_core, aidge_learning

from ._golden import value


def batches(count=10, rows=8, last=None):
    rng = np.random.default_rng(2)
    sizes = [rows] * count + ([last] if last else [])
    return [(rng.normal(size=(n, 1, 8, 8)).astype(np.float32), rng.integers(0, 4, n)) for n in sizes]


def model(backend="cpu"):
    aidge_core.random.Generator.set_seed(11)
    graph = aidge_core.sequential(
        [
            aidge_core.Conv2D(1, 3, [3, 3], name="conv", no_bias=True),
            aidge_core.BatchNorm2D(3, training_mode=True, name="bn"),
            aidge_core.ReLU(name="relu"),
            aidge_core.MaxPooling2D([2, 2], stride_dims=[2, 2], name="pool"),
            aidge_core.FC(27, 4, name="fc"),
        ]
    )
    graph.set_backend(backend)
    aidge_core.init_producer(graph, "Producer-1>(Conv2D|FC)", aidge_core.he_filler)
    aidge_learning.init_batchnorm_producers(graph)
    return graph


def optimizer(graph, kind="SGD"):
    opt = aidge_learning.SGD(0.9, 0.1, 1e-3) if kind == "SGD" else aidge_learning.Adam()
    opt.set_parameters(aidge_core.producers(graph))
    rates = aidge_learning.cosine_lr(0.05, 12, 0.1)
    rates.set_nb_warmup_steps(3)
    opt.set_learning_rate_scheduler(rates)
    return opt


def loop(graph, data, opt, epochs, every=1):
    scheduler = aidge_core.SequentialScheduler(graph)
    means = []
    for _ in range(epochs):
        opt.reset_grad()
        seen = []
        for k, (x, y) in enumerate(data):
            pred = scheduler.forward(data=[x])[0]
            seen.append(aidge_learning.loss.CELoss(pred, y, 1 / every)[0])
            scheduler.backward()
            if (k + 1) % every == 0 or k + 1 == len(data):
                opt.update()
                opt.reset_grad()
        means.append(np.mean(seen))
    return means


def weights(graph):
    return {n.name(): value(n) for n in aidge_core.producers(graph)}


@pytest.mark.parametrize("kind, every, last", [("SGD", 4, None), ("Adam", 1, 5)])
def test_epochs_equal_the_loop(kind, every, last):
    data = batches(last=last)
    by_hand, compiled = model(), model()
    opts = [optimizer(g, kind) for g in (by_hand, compiled)]
    means = loop(by_hand, data, opts[0], 3, every)
    history = aidge_learning.fit(
        compiled,
        data,
        opts[1],
        aidge_learning.loss.CELoss,
        epochs=3,
        accumulate=every,
        metrics=[aidge_learning.metrics.Accuracy],
    )
    for name, want in weights(by_hand).items():
        np.testing.assert_allclose(weights(compiled)[name], want, atol=1e-6 if kind == "SGD" else 1e-5, err_msg=name)
    assert opts[0].learning_rate() == opts[1].learning_rate()
    np.testing.assert_allclose([h["loss"] for h in history], means, rtol=1e-5)
    assert history[0]["updates"] == -(-len(data) // every) and 0 <= history[0]["Accuracy"] <= 1
    # The loop may go on where fit stopped.
    loop(by_hand, data[:4], opts[0], 1, every)
    loop(compiled, data[:4], opts[1], 1, every)
    for name, want in weights(by_hand).items():
        np.testing.assert_allclose(weights(compiled)[name], want, atol=2e-6 if kind == "SGD" else 2e-5, err_msg=name)


def test_numpy_trains_the_same():
    data = batches(3)
    found = {}
    for backend in ("cpu", "numpy"):
        graph = model(backend)
        aidge_learning.fit(graph, data, optimizer(graph), epochs=1, accumulate=2)
        found[backend] = weights(graph)
    for name, want in found["cpu"].items():
        np.testing.assert_allclose(found["numpy"][name], want, atol=2e-6, err_msg=name)


def test_refusals():
    graph = model()
    opt = optimizer(graph)
    with pytest.raises(AidgeJaxError, match="epochs is 0; expected 1 or more"):
        aidge_learning.fit(graph, batches(1), opt, epochs=0)
    with pytest.raises(AidgeJaxError, match="gave no batch"):
        aidge_learning.fit(graph, [], opt)
    with pytest.raises(AidgeJaxError, match="label 9 with 4 classes"):
        aidge_learning.fit(graph, [(batches(1)[0][0], np.full(8, 9))], opt)
    with pytest.raises(AidgeJaxError, match="has no parameters"):
        aidge_learning.fit(graph, batches(1), aidge_learning.SGD())
    with pytest.raises(AidgeJaxError, match="expected 1 input"):
        aidge_learning.fit(graph, [batches(1)[0][0]], opt)


@pytest.mark.peer
def test_a_torch_dataloader_is_a_dataprovider():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    x, label = rng.normal(size=(24, 4)).astype(np.float32), rng.integers(0, 3, 24)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.tensor(x), torch.tensor(label)), 8)
    batches = [(x[k : k + 8], label[k : k + 8]) for k in range(0, 24, 8)]
    trained = []
    for provider in (loader, batches):
        model = aidge_core.sequential([aidge_core.FC(4, 3, name="fc")])
        model.set_backend("cpu")
        aidge_core.init_producer(model, "Producer-1>FC", lambda t: aidge_core.constant_filler(t, 0.1))
        opt = aidge_learning.SGD(momentum=0.9)
        opt.set_parameters(aidge_core.producers(model))
        opt.set_learning_rate_scheduler(aidge_learning.constant_lr(0.1))
        scheduler = aidge_core.SequentialScheduler(model)
        for inputs, targets in provider:
            pred = scheduler.forward(data=[inputs])[0]
            opt.reset_grad()
            aidge_learning.loss.CELoss(pred, targets)
            scheduler.backward()
            opt.update()
        aidge_learning.fit(model, provider, opt, aidge_learning.loss.CELoss, epochs=2)
        trained.append(np.array(model.get_node("fc_w").get_operator().get_output(0)))
    np.testing.assert_array_equal(*trained)
