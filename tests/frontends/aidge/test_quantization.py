"""aidge_quantization: inserted nodes, outputs, first steps and whole trainings against the real Aidge's numbers."""

import json
from pathlib import Path

import numpy as np
import pytest

from aidgejax.frontends import aidge_core as ac
from aidgejax.frontends import aidge_learning as al
from aidgejax.frontends import aidge_quantization as aq

FOLDER = Path(__file__).parents[2] / "golden/aidge_quantization"
GRAPHS = json.loads((FOLDER / "qat_graphs.json").read_text())
TRAINING = json.loads((FOLDER / "qat_training.json").read_text())["cases"]


def tensor(array):
    made = ac.Tensor(np.asarray(array, np.float32))
    made.set_backend("cpu")
    return made


def built(model, values):
    graph, nodes = ac.GraphView(), {}
    for factory, given, name, sources in model:
        nodes[name] = getattr(ac, factory)(**given, name=name)
        for k, source in enumerate(sources):
            if source != "x":
                nodes[source].add_child(nodes[name], 0, k)
        graph.add(nodes[name])
    graph.set_backend("cpu")
    for name, value in values.items():
        if graph.get_node(name) is not None:
            graph.get_node(name).get_operator().get_output(0).copy_from(tensor(value))
    return graph


def called(text, graph, nb_bits, x=()):
    names = {"lsq": aq.lsq, "sat": aq.sat, "fixedq": aq.fixedq, "DoReFaMode": aq.DoReFaMode}
    exec(text, {**names, "g": graph, "nb": nb_bits, "x": x})
    graph.set_backend("cpu")


def close(a, b):
    return np.allclose(np.asarray(a, np.float64), np.asarray(b, np.float64), rtol=1e-5)


@pytest.mark.parametrize("case", GRAPHS["cases"], ids=lambda c: c["name"])
def test_inserted_nodes_and_outputs(case):
    data, stored = case["data"], dict(np.load(FOLDER / "qat_graphs.npz"))
    values = {k.split("/")[-1]: stored[k] for k in stored if k.startswith(f"{data}/init/")}
    graph = built(GRAPHS["models"][data]["model"], values)
    batches = [tensor(x) for x in stored[f"{data}/x"]]
    called(case["calls"], graph, case["nb_bits"], batches)
    assert sorted(n.type() for n in graph.get_nodes()) == case["types"]
    for q in case["quantizers"]:
        attributes = graph.get_node(q["name"]).get_operator().attr.dict()
        assert all(close(attributes[k], v) for k, v in q["attrs"].items()), q["name"]
    scheduler = ac.SequentialScheduler(graph)
    got = [np.array(scheduler.forward(True, data=[x])[0]) for x in batches]
    want = stored[f"{data}/{case['name'][len(data) + 1 :]}/output"]
    np.testing.assert_allclose(np.array(got).reshape(want.shape), want, rtol=1e-4, atol=1e-5)
    for name, step in case["steps"].items():
        assert graph.get_node(name).get_operator().get_output(0)[0] == pytest.approx(step, rel=1e-5)
    if "post_steps" in case:
        _becomes_integers(case, graph, stored)


def _becomes_integers(case, graph, stored):
    data, key = case["data"], f"{case['data']}/{case['name'][len(case['data']) + 1 :]}"
    transform = aq.lsq if "lsq." in case["calls"] else aq.sat
    transform.post_training_transform(graph, False)
    graph.set_backend("cpu")
    assert {n.name() for n in graph.get_nodes() if n.type() == "Quantizer"} == case["post_steps"].keys()
    for name, steps in case["post_steps"].items():
        assert aq.get_scaling_factor(graph.get_node(name)) == pytest.approx(steps[0][1], rel=1e-5)
    for k in stored:
        if k.startswith(f"{key}/post/"):
            found = np.array(graph.get_node(k.split("/")[-1]).get_operator().get_output(0))
            np.testing.assert_allclose(found, stored[k], rtol=1e-5, err_msg=k)
    want, scheduler = stored[f"{key}/post_output"], ac.SequentialScheduler(graph)
    got = [np.array(scheduler.forward(True, data=[tensor(x)])[0]) for x in stored[f"{data}/x"]]
    np.testing.assert_allclose(np.array(got).reshape(want.shape), want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("case", TRAINING, ids=lambda c: c["name"])
def test_trainings_set_up_by_public_calls(case):
    stored = dict(np.load(FOLDER / case["file"]))
    graph = built(case["model"], {k.removeprefix("init/"): stored[k] for k in stored if k.startswith("init/")})
    losses, i = [], 0
    for text, steps in case["calls"]:
        called(text.replace("; new SGD and scheduler", ""), graph, case["nb_bits"])
        opt = al.SGD(momentum=case["optimizer"]["momentum"])
        opt.set_parameters(ac.producers(graph))
        opt.set_learning_rate_scheduler(al.constant_lr(case["optimizer"]["learning_rate"]))
        scheduler = ac.SequentialScheduler(graph)
        for _ in range(steps):
            y = scheduler.forward(True, data=[tensor(stored["x"][i])])[0]
            opt.reset_grad()
            losses.append(al.loss.CELoss(y, tensor(stored["y"][i]))[0])
            scheduler.backward()
            opt.update()
            i += 1
    want = np.concatenate([stored[k].ravel() for k in ("losses", "first/losses", "second/losses") if k in stored])
    np.testing.assert_allclose(losses, want, rtol=1e-4, atol=1e-5)


def network():
    graph = ac.sequential([ac.FC(6, 8, name="a"), ac.ReLU(name="r"), ac.FC(8, 3, name="b")])
    graph.set_backend("cpu")
    rng = np.random.default_rng(0)
    for p in sorted(ac.producers(graph), key=lambda n: n.name()):
        p.get_operator().get_output(0).fill(rng.normal(size=p.get_operator().dims()).astype(np.float32))
    return graph


def test_compiled_epochs_train_the_steps_as_the_loop_does():
    rng = np.random.default_rng(1)
    batches = [(rng.normal(size=(5, 6)).astype(np.float32), rng.integers(0, 3, 5)) for _ in range(4)]
    found = []
    for compiled in (False, True):
        graph = network()
        aq.lsq.setup_quantizers(graph, 4)
        graph.set_backend("cpu")
        opt = al.SGD(momentum=0.9)
        opt.set_parameters(ac.producers(graph))
        opt.set_learning_rate_scheduler(al.constant_lr(0.01))
        if compiled:
            al.fit(graph, batches, opt, al.loss.CELoss, epochs=1)
        else:
            scheduler = ac.SequentialScheduler(graph)
            for x, y in batches:
                pred = scheduler.forward(data=[tensor(x)])[0]
                opt.reset_grad()
                al.loss.CELoss(pred, y)
                scheduler.backward()
                opt.update()
        found.append({p.name(): np.array(p.get_operator().get_output(0)) for p in ac.producers(graph)})
    assert found[0].keys() == found[1].keys() and "b_lsq_p_ss" in found[0]
    for name, value in found[0].items():
        np.testing.assert_allclose(found[1][name], value, rtol=1e-4, atol=1e-6, err_msg=name)


def test_a_rectifier_that_others_read_stays():
    """Its quantized reader is unsigned and clips by itself; the other reader still gets what is rectified."""
    relu = ac.ReLU(name="r")
    fc, other, add = ac.FC(4, 4, name="f"), ac.Tanh(name="t"), ac.Add(name="a")
    first = ac.Identity(name="i")
    for a, b, k in ((first, relu, 0), (relu, fc, 0), (relu, other, 0), (fc, add, 0), (other, add, 1)):
        a.add_child(b, 0, k)
    graph = ac.get_connected_graph_view(first)
    aq.fixedq.insert_quantizers(graph, 4, 2.0)
    quantizer = graph.get_node("f_fixedq_i")
    assert quantizer.get_operator().attr.is_output_unsigned and quantizer.get_parent(0).name() == "i"
    assert graph.get_node("t").get_parent(0).name() == "r"


def test_what_makes_no_sense_is_refused():
    graph = network()
    for call in (
        lambda: aq.lsq.setup_quantizers(graph, 1),
        lambda: aq.lsq.setup_quantizers("graph", 4),
        lambda: aq.sat.insert_activ_quantizers(graph, 0),
        lambda: aq.fixedq.insert_quantizers(graph, 4, -1.0),
        lambda: aq.get_scaling_factor(graph.get_node("a")),
        lambda: aq.compute_me_clipping([0, 0], 4, 2),
    ):
        with pytest.raises((RuntimeError, TypeError)):
            call()
    aq.lsq.setup_quantizers(graph, 4)
    with pytest.raises(RuntimeError, match="'a' has its quantizers already"):
        aq.lsq.setup_quantizers(graph, 4)
    graph.set_backend("cpu")
    with pytest.raises(RuntimeError, match="zero everywhere, so its step is not known"):
        ac.SequentialScheduler(graph).forward(data=[tensor(np.zeros((2, 6)))])


def test_quantizers_are_read_and_changed():
    node = ac.Quantizer(0.5, name="q", round=True, clip_min=-8.0, clip_max=7.0)
    aq.multiply_scaling_factor(node, 3.0)
    assert aq.get_scaling_factor(node) == 1.5
    aq.set_scaling_factor(node, 0.25)
    aq.set_clip_range(node, -3.0, 3.0)
    graph = ac.sequential([node])
    graph.set_backend("cpu")
    x = np.array([[2.0, -2.0, 100.0, 10.0]], np.float32)
    (y,) = ac.SequentialScheduler(graph).forward(data=[tensor(x)])
    np.testing.assert_array_equal(np.array(y), [[1, 0, 3, 3]])  # halves up
    aq.remove_round(node)
    (y,) = ac.SequentialScheduler(graph).forward(data=[tensor(x)])
    np.testing.assert_array_equal(np.array(y), [[0.5, -0.5, 3, 2.5]])
