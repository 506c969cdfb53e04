"""Every optimizer of training.optim has a NumPy counterpart that takes the same settings and moves alike."""

import inspect
import pickle

import numpy as np
import pytest

import aidgejax as aj
from aidgejax import reference
from aidgejax.training import optim, schedule
from aidgejax.training.optimizers import rules

OPTIONS = {
    "sgd": [{}, {"momentum": 0.9, "dampening": 0.1, "weight_decay": 0.05}, {"momentum": 0.8, "nesterov": True},
            {"momentum": 0.9, "first": "dampened"}, {"momentum": 0.9, "weight_decay": 0.1, "first": "bare"},
            {"dampening": 0.5, "dampen_always": True}],
    "adam": [{}, {"weight_decay": 0.1}, {"bias_correction": "rate"}, {"bias_correction": "products"},
             {"bias_correction": "none"}],
    "adamw": [{}, {"decay": "after"}, {"weight_decay": 0.3, "bias_correction": "none"}],
    "rmsprop": [{}, {"epsilon_at": "inside", "weight_decay": 0.1}],
    "adagrad": [{}, {"initial": 0.1, "epsilon_at": "inside", "epsilon": 1e-8}],
}  # fmt: skip


def test_numpy_has_every_optimizer_and_it_takes_the_same_settings():
    assert set(rules()) >= set(OPTIONS)
    for name, rule in rules().items():
        counterpart = getattr(reference.optim, name, None)
        assert counterpart is not None, f"training.optim.{name} has no counterpart in reference.optim"
        ours, theirs = (inspect.signature(f).parameters for f in (rule, counterpart))
        assert [(p.name, p.default, p.kind) for p in ours.values()] == [
            (p.name, p.default, p.kind) for p in theirs.values()
        ], name


@pytest.mark.parametrize("name, options", [(n, o) for n, each in OPTIONS.items() for o in each])
def test_both_move_alike(name, options):
    rng = np.random.default_rng(0)
    p = q = rng.normal(size=(3, 4)).astype(np.float32)
    rule, counterpart = getattr(optim, name)(**options), getattr(reference.optim, name)(**options)
    state, memory = rule.init({"p": p}), counterpart.init(q)
    mine = {"p": p}
    for k in range(6):
        g = rng.normal(size=p.shape).astype(np.float32)
        mine, state = rule.update(mine, {"p": g}, state, 0.1 / (k + 1))
        q, memory = counterpart.update(q, g, memory, 0.1 / (k + 1))
        assert q.dtype == np.float32
        np.testing.assert_allclose(mine["p"], q, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("name", sorted(OPTIONS))
def test_compare_trains_with_it(name):
    graph = aj.with_loss(aj.infer_shapes(aj.zoo.mlp(sizes=(4, 5, 3))), "cross_entropy")
    assert aj.compare(graph, steps=2, optimizer=name, lr=1e-4).ok
    with pytest.raises(aj.SettingError, match="there is no optimizer 'luck'"):
        aj.compare(graph, steps=1, optimizer="luck")


def test_optimizers_and_schedules_pickle_and_are_equal_by_their_settings():
    for made in (
        optim.adam(beta1=0.8),
        optim.clipped(optim.sgd(0.9), 1.0),
        schedule.warmup(schedule.cosine(0.1, 100), 5),
        schedule.step_lr(0.1, 7),
    ):
        again = pickle.loads(pickle.dumps(made))
        assert again == made and hash(again) == hash(made)
    assert optim.adam() != optim.adam(beta1=0.5) != optim.adamw() and optim.sgd() == optim.sgd()
    assert float(pickle.loads(pickle.dumps(schedule.step_lr(0.1, 7)))(7)) == float(schedule.step_lr(0.1, 7)(7))
