"""A training step in one file, executed by plain onnxruntime, against the compiled step."""

import json

import jax
import numpy as np
import onnx
import onnxruntime as ort
import pytest

import aidgejax as aj
from aidgejax.errors import AidgeJaxError, ModelFileError, SettingError
from aidgejax.execution.run import run
from aidgejax.onnxio.step.write import KEY, step_graph
from aidgejax.training import optim, schedule
from aidgejax.training.loop import start
from aidgejax.training.optimizers import rules

ort.set_default_logger_severity(3)


def data(graph, step, rows, seed=0):
    rng = np.random.default_rng(seed)
    batch = {}
    for name in step.batch:
        v = graph.value(name)
        shape = tuple(rows if isinstance(d, str) else d for d in v.shape)
        whole = "int" in v.dtype
        batch[name] = (rng.integers(0, 2, shape) if whole else rng.normal(size=shape)).astype(v.dtype)
    return batch


class Loop:
    """The loop that a user writes."""

    def __init__(self, step):
        self.session = ort.InferenceSession(step.path, providers=["CPUExecutionProvider"])
        self.step, self.state = step, dict(step.initial)
        self.names = [o.name for o in self.session.get_outputs()]

    def __call__(self, batch, **scalars):
        kinds = {i.name: i.type for i in self.session.get_inputs()}
        wide = {"tensor(double)": np.float64, "tensor(int64)": np.int64}
        feeds = {k: np.asarray(v, wide.get(kinds[k], np.float32)) for k, v in scalars.items()}
        found = dict(zip(self.names, self.session.run(None, {**batch, **self.state, **feeds}), strict=True))
        self.state = {name: found[new] for name, new in self.step.state.items()}
        return found[self.step.loss]


def losses_of_both(graph, path, rule, steps, rows=4, rate=0.01, **how):
    step = aj.onnxio.write_step(graph, None, path, optimizer=rule, **how)
    program = aj.make_program(graph, training=True)
    compiled = jax.jit(aj.make_step(program, rule, schedule.constant(rate)))
    state, loop = start(program, rule, jax.random.key(0)), Loop(step)
    pairs = []
    for k in range(steps):
        batch = data(program.graph, step, rows, k)
        mine = loop(batch, learning_rate=rate)
        state, record = compiled(state, batch)
        pairs.append((float(mine), float(record["loss"])))
    return np.array(pairs), loop, state


def with_cross_entropy(graph):
    return aj.with_loss(aj.infer_shapes(graph), "cross_entropy")


MODELS = {
    "mlp": lambda: aj.zoo.mlp(sizes=(8, 6, 4)),
    "lenet": lambda: aj.zoo.lenet(8),
    "transformer": lambda: aj.zoo.transformer_encoder(8, 4, width=8, heads=2, depth=1, classes=3),
}


@pytest.mark.parametrize("name", MODELS)
def test_sixty_steps_are_the_compiled_steps(tmp_path, name):
    """And the same file takes batches of 1, 7 and 32 rows.  GRU, LSTM and Loop: see test_situations."""
    graph = aj.infer_shapes(with_cross_entropy(MODELS[name]()))
    pairs, loop, state = losses_of_both(graph, tmp_path / "s.onnx", optim.sgd(0.9), 60)
    np.testing.assert_allclose(pairs[:, 0], pairs[:, 1], atol=1e-5)
    for p, w in state.params.items():
        np.testing.assert_allclose(loop.state[p], w, atol=1e-5)
    for rows in (1, 7, 32):
        batch = data(graph, loop.step, rows)
        want = run(graph, batch, params={p: loop.state[p] for p in state.params}, backend="numpy")[
            graph.outputs.index("loss")
        ]
        np.testing.assert_allclose(loop(batch, learning_rate=0.01), want, rtol=1e-5)


OPTIMIZERS = {
    "sgd": optim.sgd(0.9, 0.1, 0.01, True),
    "adam": optim.adam(),
    "products": optim.adam(bias_correction="products"),
    "adamw": optim.adamw(weight_decay=0.1),
    "rmsprop": optim.rmsprop(),
    "adagrad": optim.adagrad(),
    "clipped": optim.clipped(optim.adam(), 0.1),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer(tmp_path, name):
    assert set(rules()) <= set(OPTIMIZERS)
    graph = with_cross_entropy(aj.zoo.mlp(sizes=(5, 4, 3)))
    pairs, loop, state = losses_of_both(graph, tmp_path / "s.onnx", OPTIMIZERS[name], 20)
    np.testing.assert_allclose(pairs[:, 0], pairs[:, 1], atol=1e-6)
    for p, w in state.params.items():
        np.testing.assert_allclose(loop.state[p], w, atol=1e-6)


def test_accumulated_batches_are_one_large_batch(tmp_path):
    graph = with_cross_entropy(aj.zoo.mlp(sizes=(8, 6, 4)))
    one = aj.onnxio.write_step(graph, None, tmp_path / "one.onnx", optimizer=optim.adam(), clip_norm=0.1)
    two = aj.onnxio.write_step(graph, None, tmp_path / "two.onnx", optimizer=optim.adam(), clip_norm=0.1, accumulate=2)
    whole, parts = Loop(one), Loop(two)
    for k in range(3):
        batch = data(aj.infer_shapes(graph), one, 8, k)
        whole(batch, learning_rate=0.01)
        for half in (slice(0, 4), slice(4, 8)):
            parts({n: a[half] for n, a in batch.items()}, learning_rate=0.01)
    for p in one.parameters:
        np.testing.assert_allclose(parts.state[p], whole.state[p], atol=1e-6)
    assert parts.state["batches"] == 6
    assert parts.state["updates"] == 3


def test_a_schedule_makes_the_rate_no_input(tmp_path):
    graph = with_cross_entropy(aj.zoo.mlp(sizes=(5, 3)))
    how = {"optimizer": optim.sgd(), "batch": 4}
    a = aj.onnxio.write_step(graph, None, tmp_path / "a.onnx", schedule=schedule.step_lr(0.1, 2, 0.5), **how)
    b = aj.onnxio.write_step(graph, None, tmp_path / "b.onnx", **how)
    assert (a.scalars, b.scalars) == ((), ("learning_rate",))
    inside, given = Loop(a), Loop(b)
    for k in range(5):
        batch = data(aj.infer_shapes(graph), a, 4, k)
        np.testing.assert_allclose(inside(batch), given(batch, learning_rate=0.1 * 0.5 ** (k // 2)), rtol=1e-6)


def dropping():
    g = aj.Graph("dropping")
    x, w = g.input("x", ("N", 50)), g.parameter("w", np.full((50, 40), 0.1, np.float32))
    (y,) = g.add("Dropout", [g.op.MatMul(x, w), 0.25, True], names=["y"])
    g.output(y)
    return aj.with_loss(aj.infer_shapes(g), "mse")


def test_dropout_draws_from_the_seed(tmp_path):
    step = aj.onnxio.write_step(dropping(), None, tmp_path / "s.onnx", optimizer=optim.sgd(), outputs=["y"])
    assert step.scalars == ("learning_rate", "seed")
    session = ort.InferenceSession(step.path)
    feeds = {"x": np.ones((60, 50), np.float32), "target": np.zeros((60, 40), np.float32), **step.initial}
    feeds["learning_rate"] = np.zeros((), np.float32)

    def drawn(seed, updates):
        given = {**feeds, "seed": np.array(seed, np.int64), "updates": np.array(updates, np.int32)}
        return session.run(["y"], given)[0]

    first = drawn(1, 0)
    np.testing.assert_array_equal(first, drawn(1, 0))
    dropped = first == 0
    assert abs(dropped.mean() - 0.25) < 0.03
    np.testing.assert_allclose(first[~dropped], 5 / 0.75, rtol=1e-5)
    for other in (drawn(1, 1), drawn(2, 0)):
        assert abs(np.corrcoef(dropped.ravel(), (other == 0).ravel())[0, 1]) < 0.1


def test_float64_weights_keep_their_digits(tmp_path):
    g = aj.Graph("wide")
    x, w = g.input("x", ("N", 3), "float64"), g.parameter("w", np.linspace(-1, 1, 6).reshape(3, 2))
    g.output(g.op.Tanh(g.op.MatMul(x, w)))
    with jax.enable_x64(True):
        graph = aj.with_loss(aj.infer_shapes(g), "mse")
        _, loop, state = losses_of_both(graph, tmp_path / "s.onnx", optim.adam(), 10, rate=2.0**-7)
    np.testing.assert_allclose(loop.state["w"], state.params["w"], rtol=1e-9)


def test_float16_weights_train_from_a_master(tmp_path):
    g = aj.Graph("half")
    x, w = g.input("x", ("N", 3), "float16"), g.parameter("w", np.ones((3, 2), np.float16))
    g.output(g.op.MatMul(x, w))
    step = aj.onnxio.write_step(g, None, tmp_path / "s.onnx", optimizer=optim.sgd(), loss="mse")
    loop = Loop(step)
    batch = {"x": np.ones((4, 3), np.float16), "target": np.zeros((4, 2), np.float16)}
    first = loop(batch, learning_rate=1e-5)
    for _ in range(5):
        last = loop(batch, learning_rate=1e-5)
    assert loop.state["w.master"].dtype == np.float32
    assert (loop.state["w.master"] < 1).all()  # moves too small for float16 are kept
    assert last <= first


def test_the_file_says_all_that_a_loop_needs(tmp_path):
    graph = with_cross_entropy(aj.zoo.mlp(sizes=(5, 3)))
    step = aj.onnxio.write_step(graph, None, tmp_path / "s.onnx", optimizer=optim.sgd(0.9), batch=4)
    known = json.loads({p.key: p.value for p in onnx.load(step.path).metadata_props}[KEY])
    assert known["loss"] == "loss"
    assert [b["name"] for b in known["batch"]] == ["x", "target"]
    raw = (tmp_path / "s.bin").read_bytes()
    for s in known["state"]:
        stored = np.frombuffer(raw[s["offset"] : s["offset"] + s["bytes"]], s["dtype"]).reshape(s["shape"])
        np.testing.assert_array_equal(stored, step.initial[s["input"]])
        assert s["output"] == f"{s['input']}.next"
    again = aj.onnxio.read_step(step.path)
    assert (again.state, again.scalars, again.parameters) == (step.state, step.scalars, step.parameters)
    updates = [n.name for n in step.model.graph.node if "update/" in n.name]
    # the first two of the weight stand in its gradient's product
    assert len(updates) == 6 and all(n.startswith(("fc1.weight.update/", "fc1.bias.update/")) for n in updates)
    opset = {i.domain: i.version for i in step.model.opset_import}
    assert opset == {"": 17}


def test_a_saved_state_becomes_a_model(tmp_path):
    model = aj.zoo.mlp(sizes=(5, 3))
    step = aj.onnxio.write_step(model, None, tmp_path / "s.onnx", optimizer=optim.adam(), loss="mse", batch=4)
    loop = Loop(step)
    loop(
        data(aj.infer_shapes(with_cross_entropy(model)), step, 4) | {"target": np.ones((4, 3), "f")}, learning_rate=0.1
    )
    (tmp_path / "t.bin").write_bytes(b"".join(loop.state[n].tobytes() for n in step.initial))
    np.savez(tmp_path / "t.npz", **loop.state)
    for name in ("t.bin", "t.npz"):
        aj.onnxio.write(model, aj.onnxio.read_trained(step, tmp_path / name), tmp_path / "t.onnx")
        trained = aj.onnxio.read(tmp_path / "t.onnx")
        for p in step.parameters:
            np.testing.assert_array_equal(trained.params[p], loop.state[p])
    (tmp_path / "short.bin").write_bytes((tmp_path / "t.bin").read_bytes()[:-4])
    (tmp_path / "long.bin").write_bytes((tmp_path / "t.bin").read_bytes() + b"1234")
    (tmp_path / "no.npz").write_bytes(b"PK nonsense")
    np.savez(tmp_path / "other.npz", **{p: np.ones(2) for p in step.parameters})
    for name in ("short.bin", "long.bin", "no.npz", "other.npz", "absent.bin"):
        with pytest.raises(ModelFileError, match="holds no state of the step"):
            aj.onnxio.read_trained(step, tmp_path / name)


def test_both_backends_execute_the_file(tmp_path):
    graph = with_cross_entropy(aj.zoo.mlp(sizes=(5, 3)))
    step = aj.onnxio.write_step(graph, None, tmp_path / "s.onnx", optimizer=optim.adam(), batch=4)
    batch = data(aj.infer_shapes(graph), step, 4)
    feeds = {**batch, **step.initial, "learning_rate": np.array(0.1, np.float32)}
    jax_, numpy_ = (run(step_graph(step), feeds, backend=b) for b in ("jax", "numpy"))
    for a, b in zip(jax_, numpy_, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_some_parameters_are_left_alone(tmp_path):
    graph = with_cross_entropy(aj.zoo.mlp(sizes=(5, 4, 3)))
    first, *rest = graph.params
    step = aj.onnxio.write_step(graph, None, tmp_path / "s.onnx", optimizer=optim.sgd(), frozen=[first])
    assert step.parameters == tuple(rest)


def test_bad_settings_write_nothing(tmp_path):
    graph = with_cross_entropy(aj.zoo.mlp(sizes=(5, 3)))
    for how, error in [
        ({"loss": "hinge"}, SettingError),
        ({"frozen": ["no"]}, SettingError),
        ({"train": ["no"]}, AidgeJaxError),
        ({"accumulate": 0}, SettingError),
        ({"batch": 0}, SettingError),
        ({"clip_norm": -1}, SettingError),
        ({"target": "tflite"}, SettingError),
        ({"target": {"MatMul"}}, ModelFileError),
    ]:
        with pytest.raises(error):
            aj.onnxio.write_step(graph, None, tmp_path / "s.onnx", optimizer=optim.sgd(), **how)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "s.bin").mkdir()
    with pytest.raises(ModelFileError, match="is a folder"):
        aj.onnxio.write_step(graph, None, tmp_path / "s.onnx", optimizer=optim.sgd())
    assert [p.name for p in tmp_path.iterdir()] == ["s.bin"]
    with pytest.raises(ModelFileError, match="no folder|cannot write"):
        aj.onnxio.write_step(graph, None, tmp_path / "no" / "s.onnx", optimizer=optim.sgd())
