"""Whole networks exported by torch, against torch: pip install torch==2.13.0 onnxscript.

Loss and the gradient of every parameter, through both of torch's exporters: the norm of a difference is at most 1e-4 of
that gradient's norm plus 1e-6 of the largest; deep networks are held to 1e-7 in float64, and their float32 figure is
printed (-s).
"""

import logging

import jax
import numpy as np
import onnxruntime
import pytest

import aidgejax as aj
from aidgejax import onnxio

pytestmark = [pytest.mark.peer, pytest.mark.filterwarnings("ignore")]
pytest.importorskip("torch")

from . import against_torch  # noqa: E402
from .nets import NETS  # noqa: E402

EXPORTERS = ["script", "dynamo"]
logging.getLogger("torch.onnx").setLevel(logging.ERROR)
every_net = pytest.mark.parametrize("name", NETS)
every_exporter = pytest.mark.parametrize("exporter", EXPORTERS)


def wide(module, inputs, target):
    """The same in float64."""
    turn = lambda a: a.astype(np.float64) if a.dtype.kind == "f" else a
    return module.double(), {k: turn(a) for k, a in inputs.items()}, turn(target)


def difference(got, want):
    """Relative to the largest number."""
    got = np.asarray(got)
    assert got.shape == want.shape
    return np.max(np.abs(got - want)) / np.max(np.abs(want))


def compared(graph, module, inputs, target, loss, training=None):
    """(largest share of what is allowed, see worst; whose; relative errors of loss and output; buffers)"""
    value, theirs, given, y = against_torch.torch_gradients(module, inputs, target, loss)
    found = against_torch.matched(graph, module)
    assert {n for n, _ in found.values()} == set(theirs), "a parameter of the module is missing"
    ours, grads, got, buffers = against_torch.our_gradients(
        graph, inputs, target, loss, wrt=[*found, *given], training=training
    )
    want = {k: theirs[n].T if turned else theirs[n] for k, (n, turned) in found.items()} | given
    share, whose = against_torch.worst(grads, want)
    return share, whose, abs(ours - value) / abs(value), difference(got, y), buffers


@every_exporter
@every_net
def test_loss_and_every_gradient(name, exporter, capsys):
    build = NETS[name]
    module, inputs, target, loss = build(3)
    share, whose, off, y, _ = compared(
        onnxio.read(against_torch.exported(module, inputs, exporter)), module, inputs, target, loss
    )
    assert off < 1e-5 and y < 1e-4
    with capsys.disabled():
        print(f"\n{name}, {exporter}: float32 {share:.1e} ({whose}), loss {off:.1e}", end="")
    if not build.deep:
        assert share < 1e-4, whose
        return
    module, inputs, target = wide(module, inputs, target)
    share, whose, off, y, _ = compared(
        onnxio.read(against_torch.exported(module, inputs, exporter)), module, inputs, target, loss
    )
    with capsys.disabled():
        print(f"; float64 {share:.1e} ({whose})", end="")
    assert share < 1e-7 and off < 1e-10 and y < 1e-10, whose


@every_exporter
@every_net
def test_as_users_export_it(name, exporter):
    """With the exporter's own folding and fusion, in which parameters are merged or change their names: the output, and
    the gradient that reaches the input."""
    module, inputs, target, loss = NETS[name](3)
    graph = onnxio.read(against_torch.exported(module, inputs, exporter, folded=True))
    value, _, given, y = against_torch.torch_gradients(module, inputs, target, loss)
    ours, grads, got, _ = against_torch.our_gradients(graph, inputs, target, loss, wrt=[*graph.params, *given])
    assert abs(ours - value) < 1e-5 * abs(value) and difference(got, y) < 1e-4
    assert all(np.linalg.norm(grads[k] - g) < 1e-4 * np.linalg.norm(g) for k, g in given.items())


@every_exporter
@every_net
def test_trained_and_written(name, exporter, tmp_path):
    """A step of SGD; then onnxruntime computes what we compute, and every name is what it was."""
    module, inputs, target, loss = NETS[name](3)
    model = against_torch.exported(module, inputs, exporter)
    graph = onnxio.read(model)
    _, grads, before, buffers = against_torch.our_gradients(graph, inputs, target, loss, training=True)
    steps = {k: graph.params[k] - 1e-3 * g / max(1.0, np.linalg.norm(g)) for k, g in grads.items()}
    path = tmp_path / "trained.onnx"
    onnxio.write(graph, steps, path, buffers=buffers)
    trained = onnxio.read(path)
    assert {**trained.inputs} == {**graph.inputs} and trained.outputs == graph.outputs
    assert list(trained.inputs) == [i.name for i in model.graph.input]
    assert trained.outputs == [o.name for o in model.graph.output]
    assert set(trained.params) == set(graph.params) and set(trained.buffers) == set(graph.buffers)
    assert {t.name for t in model.graph.initializer if graph.has(t.name)} <= set(trained.producers)
    written = onnxio.to_model(trained)
    assert written.ir_version <= 9 and written.opset_import[0].version <= 20, "onnxruntime 1.17 would not read it"
    (want,) = onnxruntime.InferenceSession(path.read_bytes()).run(None, inputs)
    (got,) = aj.run(trained, inputs)
    assert difference(got, want) < 1e-5 and difference(got, before) > 1e-6


@every_exporter
@every_net
def test_exported_with_one_row_trained_with_eight(name, exporter):
    module, inputs, _, _ = NETS[name](1)
    graph = onnxio.read(against_torch.exported(module, inputs, exporter, symbolic=False), batch="N")
    assert all(v.shape[0] == "N" for v in graph.inputs.values())
    module, inputs, target, loss = NETS[name](8)
    share, whose, off, y, _ = compared(graph, module, inputs, target, loss)
    assert (share < 1e-4 or NETS[name].deep and share < 1e-3) and off < 1e-5 and y < 1e-4, whose


@pytest.mark.parametrize("name", ["resnet8", "autoencoder", "unet", "ds_cnn"])
@pytest.mark.parametrize("frozen", [False, True], ids=["training", "frozen"])
def test_exported_for_inference_put_back_into_training(name, frozen):
    """As module.train(); with frozen statistics, as module.train() with its batch normalizations in eval mode."""
    from torch import nn

    module, inputs, target, loss = NETS[name](8)
    graph = onnxio.read(against_torch.exported(module, inputs, "script"))
    graph = aj.freeze_statistics(graph) if frozen else graph
    module.train()
    for m in module.modules():
        if isinstance(m, nn.Dropout):
            m.p = 0.0  # nothing of it is left in an export for inference
        if frozen and isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d):
            m.eval()
    old = {k: b.numpy().copy() for k, b in module.named_buffers()}
    share, whose, off, y, buffers = compared(graph, module, inputs, target, loss, training=True)
    assert share < 1e-4 and off < 1e-5 and y < 1e-4, whose
    new = {k: b.numpy() for k, b in module.named_buffers()}
    assert set(buffers) == (set() if frozen else {k for k in new if "running" in k})
    for k, b in buffers.items():
        if k.endswith("mean"):
            np.testing.assert_allclose(b, new[k], rtol=1e-4, atol=1e-6)
            assert np.abs(new[k] - old[k]).max() > 1e-4


def test_dropout_of_a_training_export_keeps_its_rate():
    """Exported in training mode, Dropout stays in the model; in evaluation it is the identity."""
    import io

    import onnx
    import torch

    module, inputs, target, loss = NETS["bert"](3)
    file = io.BytesIO()
    torch.onnx.export(
        module.train(),
        tuple(map(torch.tensor, inputs.values())),
        file,
        dynamo=False,
        opset_version=17,
        training=torch.onnx.TrainingMode.TRAINING,
        do_constant_folding=False,
        input_names=list(inputs),
        output_names=["y"],
        dynamic_axes={n: {0: "batch"} for n in inputs},
    )
    graph = onnxio.read(onnx.load_model_from_string(file.getvalue()))
    assert graph.count()["Dropout"] > 5
    share, whose, off, y, _ = compared(graph, module.eval(), inputs, target, loss, training=False)
    assert share < 1e-4 and off < 1e-5 and y < 1e-4, whose
    program = aj.make_program(graph, training=True)
    draw = lambda seed: np.asarray(program.forward(graph.params, graph.buffers, inputs, jax.random.key(seed))[0]["y"])
    assert np.abs(draw(0) - draw(1)).max() > 1e-3
