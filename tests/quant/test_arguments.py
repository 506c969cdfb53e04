"""What the calls of aidgejax.quant say of arguments that make no sense: an error of our family that names the cure."""

import numpy as np
import pytest

import aidgejax as aj
from aidgejax import quant
from aidgejax.errors import AidgeJaxError, DataError, SettingError

X = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
Y = np.arange(40) % 3


@pytest.fixture(scope="module")
def nets():
    graph = aj.infer_shapes(aj.zoo.mlp((6, 8, 3)))
    q = quant.calibrate(quant.convert(graph, quant.bits(4)), {"x": X})
    return graph, q, quant.to_integer(q)


def calls(nets):
    """{call: what it is usually given}"""
    graph, q, integers = nets
    data = aj.Dataset(x=X, target=Y)
    return {
        quant.convert: (graph,), quant.calibrate: (q, {"x": X}), quant.finetune: (q, data),
        quant.distill: (q, {"x": X}),
        quant.verify: (q, integers, {"x": X}), quant.write: (integers, "m.onnx"), quant.describe: (q, {"x": X}),
        quant.sensitivity: (q, data), quant.search: (graph, data, {"bytes": 90}), quant.equalize: (graph,),
        quant.correct_bias: (q, {"x": X}), quant.round_learned: (q, {"x": X}), quant.to_integer: (q,),
        quant.from_qdq: (integers,), quant.in_form: (integers, "qdq"), quant.integer_graph: (integers,),
        quant.misfits: (integers, "shift"), quant.layers: (q,), quant.largest_sums: (integers,), quant.restored: (q,),
        quant.step_names: (q,), quant.unproved: (integers,), quant.c_program: (integers,),
        quant.each_batch: (q, {"x": X}), quant.is_calibrated: (q,), quant.arrived_quantized: (graph,),
    }  # fmt: skip


def test_every_call_names_what_it_does_not_take(nets):
    for call, given in calls(nets).items():
        with pytest.raises(SettingError, match=f"{call.__name__} takes no 'epoch'.*it takes "):
            call(*given, epoch=1)
        with pytest.raises(SettingError, match=f"{call.__name__}: missing a required argument.*it takes"):
            call()
        for strange in (None, "abc", 5, X, []):
            with pytest.raises(SettingError, match=f"{call.__name__} was given .* expected a Graph"):
                call(strange, *given[1:])
    with pytest.raises(SettingError, match=r"distill takes no 'epoch' .did you mean 'epochs'"):
        quant.distill(nets[1], {"x": X}, epoch=1)
    with pytest.raises(SettingError, match=r"Grid takes no 'bit' .did you mean 'bits'"):
        quant.Grid(bit=4)
    with pytest.raises(SettingError, match=r"Scheme takes no 'weight' .did you mean 'weights'"):
        quant.Scheme(weight=quant.Grid(4))


def test_widths_and_settings():
    for b in (0, 1, 9, 33, -1, 4.0, "4", True, None):
        with pytest.raises(SettingError, match="a grid of .* bits: expected 2 to 8, or 16"):
            quant.Grid(b)
    assert quant.Grid(np.int64(4)) == quant.Grid(4)
    for given in ({"block": "x"}, {"block": 0}, {"symmetric": "yes"}, {"narrow": 2.5}, {"per": "chanel"}):
        with pytest.raises(SettingError, match="expected"):
            quant.Grid(4, **given)
    for name, value in (("method", "lsqq"), ("step", 4), ("rounding", "up"), ("weights", 4), ("ends", 33)):
        with pytest.raises(SettingError, match="expected|halves"):
            quant.Scheme(**{name: value})


WRONG = {
    "empty": {}, "no rows": {"x": X[:0]}, "none": None, "a number": 5, "another name": {"zz": X},
    "ragged": {"x": [[1, 2], [3]]}, "text": {"x": np.array([["a"] * 6])}, "nan": {"x": np.where(X > 2, np.nan, X)},
    "inf": {"x": np.where(X > 2, np.inf, X)}, "another shape": {"x": X[:, :5]}, "another rank": {"x": X[0]},
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_data_that_do_not_fit(nets, name):
    data = WRONG[name]
    graph, q, integers = nets
    labelled = data if not isinstance(data, dict) else data | {"target": Y[: len(data.get("x", Y))]}
    for call in (quant.calibrate, quant.describe, quant.correct_bias, quant.distill):
        with pytest.raises(AidgeJaxError):
            call(q, data)
    with pytest.raises(AidgeJaxError):
        quant.verify(q, integers, data, "numpy")
    if name not in ("nan", "inf", "another name"):  # training says so of itself, and takes the only column there is
        with pytest.raises(AidgeJaxError):
            quant.finetune(q, labelled, epochs=1)
    with pytest.raises(AidgeJaxError):
        quant.sensitivity(q, data)


def test_other_arguments(nets, tmp_path):
    graph, q, integers = nets
    data = aj.Dataset(x=X, target=Y)
    for wrong in (
        lambda: quant.finetune(q, data, batch_size=0), lambda: quant.finetune(q, data, epochs="a"),
        lambda: quant.finetune(q, data, seed=-1), lambda: quant.finetune(q, data, rate=np.nan),
        lambda: quant.distill(q, {"x": X}, rows=0), lambda: quant.distill(q, {"x": X}, "teacher"),
        lambda: quant.distill(q, {"x": X}, blocks=True, on_epoch=5), lambda: quant.with_steps("adam", q),
        lambda: quant.calibrate(q, {"x": X}, percentile=None), lambda: quant.calibrate(q, {"x": X}, sigmas=np.inf),
        lambda: quant.convert(graph, exclude=5), lambda: quant.convert(graph, specific="fc1"),
        lambda: quant.convert(graph, specific=lambda *a: 5), lambda: quant.to_integer(q, []),
        lambda: quant.search(graph, data, {"bytes": "a"}), lambda: quant.search(graph, data, {"bytes": 90}, choices=()),
        lambda: quant.verify(q, integers, {"x": X}, []), lambda: quant.verify(q, integers, {"x": X}, None),
        lambda: quant.write(integers, None), lambda: quant.write(integers, 5, "c"), lambda: quant.targets["cortexm"],
        lambda: quant.Target("x", weights=5),
    ):  # fmt: skip
        with pytest.raises(SettingError):
            wrong()
    with pytest.raises(DataError, match="lacks 'target'.*it has 'x'"):
        quant.finetune(q, {"x": X}, epochs=1)
    with pytest.raises(AidgeJaxError, match="quantized already: equalize the floating-point graph"):
        quant.equalize(q)
    with pytest.raises(AidgeJaxError, match="'fc9'"):
        quant.convert(graph, exclude="fc9")
