"""Models whose loops run over the rows, as torch exports EmbeddingBag, train like the same model without a loop."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper as nh

import aidgejax as aj
from aidgejax.cli.main import main
from aidgejax.training import optim

RNG = np.random.default_rng(5)
IDS = RNG.integers(0, 6, (8, 3))
DATA = {"ids": IDS, "target": IDS.sum(1) % 2}
WEIGHTS = {"e": RNG.normal(size=(6, 4)).astype("f"), "w": RNG.normal(size=(4, 2)).astype("f")}


def bags(rows="N", loop=True):
    """z = mean of e[ids] over each row @ w.  rows: the batch of the file, a number burnt in as exporters do."""
    inits = [nh.from_array(a, n) for n, a in WEIGHTS.items()]
    numbers = {"zero": [0], "one": [1], "three": [3], "flat_shape": [-1], "yes": True, "first": 0, "axis": [0]}
    for name, value in numbers.items():
        inits.append(nh.from_array(np.array(value, bool if value is True else np.int64), name))
    body = h.make_graph(
        [
            h.make_node("Mul", ["i", "three"], ["begin"]),
            h.make_node("Add", ["begin", "three"], ["end"]),
            h.make_node("Slice", ["flat", "begin", "end", "zero"], ["own"]),
            h.make_node("Gather", ["e", "own"], ["each"]),
            h.make_node("ReduceMean", ["each"], ["mean"], axes=[0], keepdims=0),
            h.make_node("Identity", ["yes"], ["on"]),
        ],
        "body",
        [h.make_tensor_value_info("i", T.INT64, []), h.make_tensor_value_info("c", T.BOOL, [])],
        [h.make_tensor_value_info("on", T.BOOL, []), h.make_tensor_value_info("mean", T.FLOAT, [4])],
    )
    if not loop:
        nodes = [
            h.make_node("Gather", ["e", "ids"], ["each"]),
            h.make_node("ReduceMean", ["each"], ["m"], axes=[1], keepdims=0),
        ]
    elif rows == "N":
        nodes = [
            h.make_node("Shape", ["ids"], ["shape"]),
            h.make_node("Gather", ["shape", "first"], ["count"], axis=0),
            h.make_node("Reshape", ["ids", "flat_shape"], ["flat"]),
            h.make_node("Loop", ["count", "yes"], ["m"], body=body),
        ]
    else:
        inits.append(nh.from_array(np.array(rows), "count"))
        nodes = [
            h.make_node("Reshape", ["ids", "flat_shape"], ["flat"]),
            h.make_node("Loop", ["count", "yes"], ["m"], body=body),
        ]
    nodes.append(h.make_node("MatMul", ["m", "w"], ["z"]))
    ends = [h.make_tensor_value_info("ids", T.INT64, [rows, 3])], [h.make_tensor_value_info("z", T.FLOAT, [rows, 2])]
    used = {i for n in [*nodes, *(body.node if loop else ())] for i in n.input}
    kept = [i for i in inits if i.name in used]
    return h.make_model(h.make_graph(nodes, "bags", *ends, kept), opset_imports=[h.make_opsetid("", 15)], ir_version=8)


def trained(model, **how):
    options = {"epochs": 1, "optimizer": optim.sgd(), "lr": 0.5, "batch_size": 4, **how}
    return aj.train(model, DATA, **options)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("N", "shapes: ids is [4, 3]: its loops run once per row, so that batches have 4 rows"),
        (1, "batches: the gradients of 4 rows, taken one by one, make an update"),
        (2, "batch size: 2, which the model fixes"),
    ],
)
def test_bags_train_whatever_the_batch_of_their_file(rows, said, tmp_path):
    result = trained(bags(rows))
    assert said in result.notes
    want = trained(bags(loop=False), batch_size=2 if rows == 2 else 4)
    for name, a in want.state.params.items():
        np.testing.assert_allclose(result.state.params[name], a, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(result.predict(DATA)["z"], want.predict(DATA)["z"], rtol=1e-5, atol=1e-6)
    assert result.evaluate(DATA) == pytest.approx(want.evaluate(DATA), rel=1e-5)
    result.write(tmp_path / "better.onnx")
    written, given = onnx.load(tmp_path / "better.onnx"), bags(rows)
    assert written.graph.node == given.graph.node and written.graph.input == given.graph.input


@pytest.mark.slow
def test_bags_from_the_shell(tmp_path, capsys):
    onnx.save(bags(), tmp_path / "m.onnx")
    np.savez(tmp_path / "d.npz", **DATA)
    model, data, out = (str(tmp_path / n) for n in ("m.onnx", "d.npz", "run"))
    assert main(["train", "--model", model, "--data", data, "--epochs", "1", "--out", out]) == 0
    assert "its loops run once per row" in capsys.readouterr().out
    assert onnx.load(f"{out}/model.onnx").graph.node == bags().graph.node
    assert main(["evaluate", f"{out}/model.onnx", data]) == 0
    assert main(["predict", f"{out}/model.onnx", data, "--out", str(tmp_path / "p.npz")]) == 0
    assert np.load(tmp_path / "p.npz")["z"].shape == (8, 2)
