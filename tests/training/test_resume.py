"""A run that is stopped, saved, loaded and gone on with has the bits of one that never stopped: 36 configurations."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import aidgejax as aj
from aidgejax import analog
from aidgejax.training import checkpoint, optim, schedule
from aidgejax.training.callbacks import STOP, every_steps

from ..analog.test_convert import config

RNG = np.random.default_rng(0)
ROWS = 58  # the last batch of 6 is short
DATA = aj.Dataset(x=RNG.normal(size=(ROWS, 1, 8, 8)).astype(np.float32), target=RNG.integers(0, 4, ROWS))
OPTIMIZERS = {
    "sgd": lambda: optim.sgd(0.9, nesterov=True),
    "adam": optim.adam,
    "adamw": optim.adamw,
    "rmsprop": optim.rmsprop,
    "adagrad": optim.adagrad,
    "adam products": lambda: optim.adam(bias_correction="products"),
}
SCHEDULES = {
    "constant": lambda: schedule.constant(1e-2),
    "cosine": lambda: schedule.cosine(1e-2, 24),
    "step": lambda: schedule.step_lr(1e-2, 7),
    "warmup": lambda: schedule.warmup(schedule.exponential(1e-2, 24, 0.1), 5),
}
KINDS = ("statistics", "dropout", "ranges")
CONFIGURATIONS = [
    (o, s, kind, accumulate)
    for (o, s), kind, accumulate in itertools.product(
        zip(OPTIMIZERS, itertools.cycle(SCHEDULES), strict=False), KINDS, (1, 3)
    )
]


def network(kind):
    draw = np.random.default_rng(1)
    graph = aj.Graph(kind)
    x, op = graph.input("x", ("N", 1, 8, 8)), graph.op
    weight = lambda name, *shape: graph.parameter(name, draw.normal(0, 0.3, shape).astype(np.float32))  # noqa: E731
    y = op.Conv(x, weight("k", 3, 1, 3, 3), pads=(1, 1, 1, 1), name="conv")
    if kind == "statistics":
        ones, zeros = np.ones(3, np.float32), np.zeros(3, np.float32)
        scale, shift = graph.parameter("s", ones), graph.parameter("b", zeros)
        y = op.BatchNormalization(y, scale, shift, graph.buffer("m", zeros), graph.buffer("v", ones))
    y = op.Flatten(op.Relu(y))
    if kind == "dropout":
        y = op.Dropout(y, 0.3)
    graph.output(op.MatMul(y, weight("w", 192, 4), name="logits"))
    if kind == "ranges":
        graph = analog.convert_to_analog(graph, config())
    return aj.with_loss(aj.infer_shapes(graph), "cross_entropy", reduction="rows")


def bits(tree):
    return [
        np.asarray(jax.random.key_data(a) if jnp.issubdtype(a.dtype, jax.dtypes.prng_key) else a).tobytes()
        for a in jax.tree.leaves(tree)
    ]


@pytest.mark.slow  # test_fit.py has two of them in every run
@pytest.mark.parametrize("optimizer, rate, kind, accumulate", CONFIGURATIONS)
def test_stopped_between_epochs_and_inside_one(tmp_path, optimizer, rate, kind, accumulate):
    program, rule, lr = aj.make_program(network(kind), training=True), OPTIMIZERS[optimizer](), SCHEDULES[rate]()
    last = "drop" if program.updates else "pad"  # batch statistics take no padding

    def fit(epochs, **more):
        return aj.fit(
            program, rule, lr, DATA, epochs=epochs, batch_size=6, accumulate=accumulate, last=last, seed=3, **more
        )

    whole, history = fit(2)
    for name, callbacks in (("epoch", []), ("inside", [every_steps(2, lambda record, state: STOP)])):
        state, begun = fit(1, callbacks=callbacks)
        checkpoint.save(tmp_path / name, state)
        state, rest = fit(2 if name == "inside" else 1, state=checkpoint.load(tmp_path / name, like=state))
        assert bits(state) == bits(whole), name
        assert begun + rest == history, name
