"""What people try first, with names and arguments as other libraries have them: an answer that leads on."""

import numpy as np
import pytest

import aidgejax as aj
from aidgejax import analog, quant
from aidgejax.errors import AidgeJaxError, CheckpointError, SettingError

GRAPH = aj.zoo.mlp((3, 2))
OF_A_GRAPH = [
    aj.make_program, aj.infer_shapes, aj.summary, aj.compare, aj.inspect, aj.make_gradient, aj.freeze_statistics,
    aj.plot_weights, quant.convert, lambda g: aj.with_loss(g, "mse"), lambda g: aj.run(g, {}),
    lambda g: aj.cut_at(g, "x"), lambda g: analog.convert_to_analog(g, None),
    lambda g: aj.onnxio.write_step(g, None, "s.onnx", optimizer=aj.optim.sgd()),
]  # fmt: skip
OF_A_PROGRAM = [
    aj.as_jax, lambda p: aj.profile(p, {}), lambda p: aj.start(p, aj.optim.sgd(), 0),
    lambda p: aj.make_step(p, aj.optim.sgd(), 0.1),
    lambda p: aj.fit(p, aj.optim.sgd(), 0.1, {}, epochs=1, batch_size=1),
]  # fmt: skip


@pytest.mark.parametrize("function", OF_A_GRAPH)
def test_a_path_for_a_graph(function):
    with pytest.raises(SettingError, match="was given 'm.onnx', expected a Graph: aidgejax.onnxio.read makes one"):
        function("m.onnx")


@pytest.mark.parametrize("function", OF_A_PROGRAM)
def test_a_graph_for_a_program(function):
    with pytest.raises(SettingError, match="was given <Graph 'mlp'.*, expected a program: aidgejax.make_program"):
        function(GRAPH)


def test_names_of_other_libraries_lead_to_ours():
    with pytest.raises(AttributeError, match="no attribute 'load_model'; that is onnxio.read"):
        _ = aj.load_model
    assert not hasattr(aj, "nothing_of_the_kind")
    with pytest.raises(SettingError, match="train has no option 'epoch'; did you mean 'epochs'"):
        aj.train(GRAPH, {}, epoch=3)
    with pytest.raises(CheckpointError, match="'m.onnx' is a model, not a checkpoint: aidgejax.onnxio.read"):
        aj.load("m.onnx")


def test_a_result_is_one_line_and_takes_an_array(tmp_path):
    x = np.random.default_rng(0).normal(size=(32, 3)).astype("float32")
    result = aj.train(GRAPH, {"x": x, "target": (x[:, 0] > 0).astype(int)}, epochs=1)
    assert (
        repr(result).startswith("<Result of 'mlp', cross_entropy on logits: 1 epochs; loss ")
        and len(repr(result)) < 120
    )
    assert np.array_equal(result.predict(x)["logits"], result.predict({"x": x})["logits"])
    with pytest.raises(AidgeJaxError, match="got an array of shape"):
        result.predict(x[:, :2])
    (tmp_path / "d.csv").write_text("a,b,c,y\n" + "\n".join(f"{r[0]},{r[1]},{r[2]},{int(r[0] > 0)}" for r in x))
    by_path, by_array = (quant.calibrate(quant.convert(GRAPH), d, "max") for d in (tmp_path / "d.csv", {"x": x}))
    assert all(np.allclose(by_path.producers[k].data, v.data) for k, v in by_array.producers.items())
