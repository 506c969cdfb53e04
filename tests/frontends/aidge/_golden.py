"""Reading the numbers that the real Aidge 0.10.1 computed."""

import json
from functools import cache
from pathlib import Path

import numpy as np

from aidgejax.frontends import aidge_core, aidge_learning

FOLDER = Path(__file__).parents[2] / "golden/aidge"
CLOSE = {"rtol": 1e-4, "atol": 1e-5}
BACKENDS = ("cpu", "numpy")


@cache
def golden(name):
    return json.loads((FOLDER / f"{name}.json").read_text())


def cases(name):
    return golden(name)["cases"]


def array(stored):
    return None if stored is None else np.array(stored["data"], stored["dtype"]).reshape(stored["shape"])


def tensor(stored, backend="cpu"):
    made = aidge_core.Tensor(array(stored))
    made.set_backend(backend)
    return made


def scheduler(described):
    settings = dict(described)
    make = getattr(aidge_learning, f"{settings.pop('kind')}_lr")
    warmup = settings.pop("warmup", 0)
    made = make(**settings)
    if warmup:
        made.set_nb_warmup_steps(warmup)
    return made


def recorded(rates):
    """A scheduler that gives the rates that Aidge used (with warm-up its training is off by one)."""
    import jax.numpy as jnp

    table = jnp.asarray(rates, jnp.float32)
    return aidge_learning.LRScheduler(lambda step: table[jnp.minimum(step, len(rates) - 1)])


def optimizer(described):
    settings = dict(described)
    return getattr(aidge_learning, settings.pop("kind"))(**settings)


def grad(node):
    return np.array(node.get_operator().get_output(0).grad)


def value(node):
    return np.array(node.get_operator().get_output(0))
