"""The compiled epoch of every model of the zoo is lowered for a GPU and a TPU, on whatever this machine has."""

import inspect

import jax
import pytest

import aidgejax as aj
from aidgejax import analog, quant
from aidgejax.dtypes import NARROWED
from aidgejax.frontends.aihwkit.simulator.configs import InferenceRPUConfig
from aidgejax.passes import fuse, precision, recompute
from aidgejax.tools import zoo

SMALL = {
    "ds_cnn": {"width": 8},
    "mlp": {"sizes": (12, 8, 10)},
    "lenet": {"size": 28},
    "resnet8": {"size": 16},
    "mobilenet_v1": {"size": 32},
    "transformer_encoder": {"length": 8, "width": 16, "heads": 2, "depth": 1},
}


def abstract_epoch(graph, steps=2, rows=4, *, guard="raise", accumulate=None, loss_scaling=False, **of_program):
    """(epoch, state, batches) of which nothing is computed."""
    program = aj.make_program(graph, training=True, **of_program)
    optimizer = aj.optim.adam()
    made, more = (aj.make_step, ()) if accumulate is None else (aj.make_accumulating_step, (accumulate,))
    epoch = aj.make_epoch(made(program, optimizer, aj.schedule.constant(0.1), *more), on_nonfinite=guard)
    holds = {} if accumulate is None else {"accumulate": ()}
    state = jax.eval_shape(lambda: aj.start(program, optimizer, jax.random.key(0), loss_scaling=loss_scaling, **holds))
    batches = {
        v.name: jax.ShapeDtypeStruct((steps, rows, *v.shape[1:]), NARROWED.get(v.dtype, v.dtype))
        for v in program.graph.inputs.values()
    }
    return epoch, state, batches


@pytest.mark.parametrize(
    "name", [n if n in ("lenet", "transformer_encoder") else pytest.param(n, marks=pytest.mark.slow) for n in SMALL]
)
def test_the_compiled_epoch_is_lowered_for_other_platforms(name):
    graph = aj.with_loss(aj.infer_shapes(getattr(zoo, name)(**SMALL[name])), "cross_entropy", reduction="rows")
    if name == "transformer_encoder":
        graph = recompute(precision(fuse(graph)), "blocks")
    epoch, state, batches = abstract_epoch(graph)
    traced = epoch.trace(state, batches)
    platforms = ("cuda", "tpu", "cpu") if name == "mobilenet_v1" else ("cuda", "tpu")
    texts = [traced.lower(lowering_platforms=(p,)).as_text() for p in platforms]
    assert all("stablehlo.while" in t for t in texts)
    if name == "mobilenet_v1":  # depthwise convolutions are XLA's own elsewhere, shifted sums on a CPU
        grouped = [t.count("feature_group_count = 8") for t in texts]
        assert grouped[0] == grouped[1] > grouped[2] == 0


SETTINGS = {
    "bfloat16": (lambda g: precision(g, compute="bfloat16"), {}),
    "float16, steps skipped": (lambda g: precision(g, compute="float16"), {"loss_scaling": True, "guard": "skip"}),
    "gradients accumulated": (lambda g: precision(g, compute="bfloat16"), {"accumulate": 2}),
    "recomputed": (lambda g: recompute(g, "products"), {}),
    "blocks scanned": (lambda g: g, {"scan_blocks": True}),
    "blocks scanned in bfloat16": (lambda g: precision(g, compute="bfloat16"), {"scan_blocks": True}),
    "quantized": (lambda g: g, {}),
    "quantized in bfloat16": (lambda g: precision(g, compute="bfloat16"), {"guard": "skip"}),
    "analog": (lambda g: g, {}),
    "cuDNN where it is": (lambda g: precision(fuse(g), compute="bfloat16"), {"attention": "cudnn"}),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "setting"),
    [
        *(("transformer_encoder", s) for s in SETTINGS if s != "analog"),
        *(("resnet8", s) for s in ("bfloat16", "quantized", "analog")),
    ],
)
def test_every_way_to_train_is_lowered_for_other_platforms(name, setting):
    change, more = SETTINGS[setting]
    sizes = {**SMALL[name], "depth": 3} if name == "transformer_encoder" else SMALL[name]
    graph = aj.infer_shapes(getattr(zoo, name)(**sizes))
    if setting.startswith(("quantized", "analog")):  # these change layers, before there is a loss
        analog_layers = lambda g: analog.convert_to_analog(g, InferenceRPUConfig())  # noqa: E731
        graph = aj.infer_shapes((analog_layers if setting == "analog" else quant.convert)(graph))
    graph = aj.with_loss(graph, "cross_entropy", reduction="rows")
    epoch, state, batches = abstract_epoch(change(graph), steps=4, **more)
    traced = epoch.trace(state, batches)
    for platform in ("cuda", "tpu"):
        assert "stablehlo.while" in traced.lower(lowering_platforms=(platform,)).as_text()


def test_no_model_of_the_zoo_is_left_out():
    made = {n for n, f in inspect.getmembers(zoo, inspect.isfunction) if f.__module__ == zoo.__name__ and n[0] != "_"}
    assert made == set(SMALL)
