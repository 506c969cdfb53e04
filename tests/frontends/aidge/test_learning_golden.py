"""Losses, schedulers, optimizers, metrics and fillers against the numbers of the real Aidge."""

import numpy as np
import pytest

from aidgejax.frontends import aidge_core, aidge_learning

from ._golden import BACKENDS, CLOSE, array, cases, optimizer, recorded, scheduler, tensor, value

# What Aidge gets wrong, and the mathematical value.
RIGHT_VALUE = {"CELoss_edge_large_logits_NaN": 0.0}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("case", cases("losses"), ids=lambda c: c["name"])
def test_losses(case, backend):
    tensors = [tensor(a, backend) for a in case["inputs"]]
    found = getattr(aidge_learning.loss, case["loss"])(*tensors, **case["kwargs"])
    want = array(case["value"])
    if case["name"] in RIGHT_VALUE:
        want = np.full_like(want, RIGHT_VALUE[case["name"]])
    assert found.dims == list(want.shape)
    np.testing.assert_allclose(np.array(found), want, **CLOSE)
    for t, stored in zip(tensors, case["grads"], strict=True):
        assert t.has_grad() == (stored is not None)
        if stored is not None:
            want = array(stored)
            if case["loss"] == "KD":  # Aidge leaves 1 / (n T) out
                want = want / len(want) / case["kwargs"].get("temperature", 2.0)
            np.testing.assert_allclose(np.array(t.grad), want, **CLOSE)


@pytest.mark.parametrize("case", cases("schedulers"), ids=lambda c: c["name"])
def test_schedulers(case):
    made = scheduler(case["scheduler"])
    profile = made.lr_profile(60)
    np.testing.assert_allclose(profile, case["lr_profile_60"], rtol=1e-5, atol=1e-8)
    seen, steps = [], []
    for _ in range(60):
        seen.append(made.learning_rate())
        steps.append(made.step())
        made.update()
    # With warm-up Aidge's training is off by one from its own profile; ours is the profile.
    want = case["lr_profile_60"] if case["scheduler"].get("warmup") else case["lr_sequence_60"]
    np.testing.assert_allclose(seen, want, rtol=1e-5, atol=1e-8)
    assert steps == case["step_sequence"]
    assert made.lr_profile(60) == profile


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("case", [c for c in cases("optimizers") if c["grads"]], ids=lambda c: c["name"])
def test_optimizers(case, backend):
    nodes = [aidge_core.Producer(tensor(a, backend), f"p{k}") for k, a in enumerate(case["init"])]
    opt = optimizer(case["optimizer"])
    opt.set_parameters(nodes)
    if case["scheduler"]:
        opt.set_learning_rate_scheduler(
            recorded(case["lr_used"]) if case["scheduler"].get("warmup") else scheduler(case["scheduler"])
        )
    for step, (grads, after) in enumerate(zip(case["grads"], case["params_after_step"], strict=True)):
        if "lr_used" in case:
            assert opt.learning_rate() == pytest.approx(case["lr_used"][step], rel=1e-5)
        opt.reset_grad()
        for node, g in zip(nodes, grads, strict=True):
            node.get_operator().get_output(0).grad.copy_from(tensor(g))
        opt.update()
        for node, want in zip(nodes, after, strict=True):
            np.testing.assert_allclose(value(node), array(want), **CLOSE)


@pytest.mark.parametrize("case", [c for c in cases("optimizers") if not c["grads"]], ids=lambda c: c["name"])
def test_weight_decay_is_not_written_into_the_gradient(case):
    (node,) = [aidge_core.Producer(tensor(a), "p") for a in case["init"]]
    opt = optimizer(case["optimizer"])
    opt.set_parameters([node])
    opt.set_learning_rate_scheduler(scheduler(case["scheduler"]))
    node.get_operator().get_output(0).grad = tensor(case["grad_set_once"][0])
    for after in case["params_after_step"][:2]:  # from the third update on Aidge's own gradient has changed
        opt.update()
        np.testing.assert_allclose(value(node), array(after[0]), **CLOSE)
    np.testing.assert_array_equal(np.array(node.get_operator().get_output(0).grad), array(case["grad_set_once"][0]))


@pytest.mark.parametrize("case", [c for c in cases("metrics") if "prediction" in c], ids=lambda c: c["name"])
def test_accuracy(case):
    found = aidge_learning.metrics.Accuracy(tensor(case["prediction"]), tensor(case["target"]), case["axis"])
    assert found.dims == [1, 1] and found.dtype == aidge_core.dtype.float32
    assert found[0] == case["value"]["data"][0]


def test_confusion_matrix():
    (case,) = [c for c in cases("metrics") if c["name"] == "confusion_matrix"]
    targets, predictions = case["target_indices"], case["pred_indices"]
    by_list, one_by_one, by_scores = (aidge_learning.metrics.ConfusionMatrix(4) for _ in range(3))
    by_list.aggregate(targets, predictions)
    for t, p in zip(targets, predictions, strict=True):
        one_by_one.aggregate(t, p)
    eye = np.eye(4, dtype=np.float32)
    by_scores.aggregate(aidge_core.Tensor(eye[targets]), aidge_core.Tensor(eye[predictions]))
    for matrix in (by_list, one_by_one, by_scores):
        np.testing.assert_array_equal(np.array(matrix.tensor()), array(case["matrix"]))
    assert by_list.tensor().dtype == aidge_core.dtype.uint64
    for table, want in zip(by_list.get_confusion_tables(), case["tables"], strict=True):
        for name, number in want.items():
            found = getattr(table, name)
            assert (found() if callable(found) else found) == pytest.approx(number, nan_ok=True), name
    by_list.clear()
    assert not np.array(by_list.tensor()).any()


@pytest.mark.parametrize("case", cases("fillers_statistics"), ids=lambda c: c["name"])
def test_fillers(case):
    aidge_core.random.Generator.set_seed(3)
    t = aidge_core.Tensor(np.zeros(case["shape"], np.float32))
    kwargs = dict(case["kwargs"])
    if "varianceNorm" in kwargs:
        kwargs["varianceNorm"] = aidge_core.VarianceNorm[kwargs["varianceNorm"]]
    getattr(aidge_core, case["filler"])(t, **kwargs)
    drawn = np.array(t)
    assert drawn.std() == pytest.approx(case["std"], rel=0.03, abs=1e-9)
    assert drawn.mean() == pytest.approx(case["mean"], abs=0.03 * case["std"] + 1e-6)
    if "normal" not in case["filler"] and not case["filler"].startswith("he"):
        assert (drawn.min(), drawn.max()) == pytest.approx((case["min"], case["max"]), rel=0.01, abs=1e-6)
