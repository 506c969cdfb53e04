"""One model of Aidge's, trained three ways from the same weights: the loop, compiled epochs, and plain NumPy."""

import numpy as np

from aidgejax.frontends import aidge_core, aidge_learning
from aidgejax.training.data import digits

EPOCHS, BATCH, ROWS = 3, 32, 320
data = digits()[:ROWS]
x, y = data.columns["x"], data.columns["target"]
batches = [(x[k : k + BATCH], y[k : k + BATCH]) for k in range(0, ROWS, BATCH)]


def made(backend):
    """The same model with the same weights, and its optimizer."""
    aidge_core.random.Generator.set_seed(5)
    model = aidge_core.sequential(
        [aidge_core.FC(64, 32, name="fc1"), aidge_core.ReLU(name="relu"), aidge_core.FC(32, 10, name="fc2")]
    )
    model.set_backend(backend)
    aidge_core.init_producer(model, "Producer-1>FC", aidge_core.he_filler)
    aidge_core.init_producer(model, "Producer-2>FC", lambda t: aidge_core.constant_filler(t, 0.0))
    opt = aidge_learning.SGD(momentum=0.9)
    opt.set_parameters(aidge_core.producers(model))
    rates = aidge_learning.cosine_lr(0.1, EPOCHS * len(batches), 0.01)
    rates.set_nb_warmup_steps(5)
    opt.set_learning_rate_scheduler(rates)
    return model, opt


def by_loop(backend):
    model, opt = made(backend)
    scheduler = aidge_core.SequentialScheduler(model)
    for _ in range(EPOCHS):
        for image, label in batches:
            pred = scheduler.forward(data=[image])[0]
            opt.reset_grad()
            aidge_learning.loss.CELoss(pred, label)
            scheduler.backward()
            opt.update()
    return model


def by_epochs():
    model, opt = made("cpu")
    aidge_learning.fit(model, batches, opt, aidge_learning.loss.CELoss, epochs=EPOCHS)
    return model


def weights(model):
    return {n.name(): np.array(n.get_operator().get_output(0)) for n in aidge_core.producers(model)}


def hits(model):
    scores = np.array(aidge_core.SequentialScheduler(model).forward(data=[x])[0])
    return int((scores.argmax(1) == y).sum())


models = {"the loop": by_loop("cpu"), "compiled epochs": by_epochs(), "the loop on NumPy": by_loop("numpy")}
first = weights(models["the loop"])
for name, model in models.items():
    apart = max(np.abs(w - first[k]).max() for k, w in weights(model).items())
    print(f"{name:18} {hits(model):3d} of {ROWS} right; weights differ from the loop's by at most {apart:.1e}")
