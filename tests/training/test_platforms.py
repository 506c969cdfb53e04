"""The compiled epoch of every model of the zoo is lowered for a GPU and a TPU, on whatever this machine has."""

import inspect

import jax
import pytest

import aidgejax as aj
from aidgejax.dtypes import NARROWED
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


def abstract_epoch(graph, steps=2, rows=4):
    """(epoch, state, batches) of which nothing is computed."""
    program = aj.make_program(graph, training=True)
    optimizer = aj.optim.adam()
    epoch = aj.make_epoch(aj.make_step(program, optimizer, aj.schedule.constant(0.1)), on_nonfinite="raise")
    state = jax.eval_shape(lambda: aj.start(program, optimizer, jax.random.key(0)))
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


def test_no_model_of_the_zoo_is_left_out():
    made = {n for n, f in inspect.getmembers(zoo, inspect.isfunction) if f.__module__ == zoo.__name__ and n[0] != "_"}
    assert made == set(SMALL)
