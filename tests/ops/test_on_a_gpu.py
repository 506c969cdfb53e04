"""Forms that are chosen when a program is lowered for a GPU, run here as they are: they compute what the others do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import aidgejax as aj
from aidgejax.ops import _channel_sums, _patches
from aidgejax.ops._convolution import convolve, convolve_weight
from aidgejax.ops._windows import windows
from aidgejax.tools import zoo

WINDOWS = {
    "padded": windows((9, 8), (5, 5), pads=(2, 2, 2, 2)),
    "strided": windows((9, 8), (3, 2), strides=(2, 3), pads=(1, 0, 0, 1)),
    "dilated": windows((9, 8), (2, 3), strides=(1, 2), dilations=(3, 2), pads=(0, 1, 2, 0)),
}


@pytest.mark.parametrize("win", WINDOWS.values(), ids=WINDOWS)
@pytest.mark.parametrize("channels", [1, 3])
def test_patches_convolve_as_taps_do(win, channels):
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(2, 9, 8, channels)), rng.normal(size=(*win.kernel, channels, 4))
    x, w = x.astype(np.float32), w.astype(np.float32)
    y = _patches.convolve_by_patches(x, w, win)
    np.testing.assert_allclose(y, convolve(x, w, win, 1), rtol=1e-5, atol=1e-5)
    dy = rng.normal(size=y.shape).astype(np.float32)
    found = _patches.weight_by_patches(x, dy, win)
    np.testing.assert_allclose(found, convolve_weight(x, dy, win, 1), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(("rows", "channels"), [((64, 8, 8), 64), ((16, 32, 32), 6), ((3, 1024, 5), 2)])
def test_folded_sums_add_every_row_once(rows, channels):
    x = np.random.default_rng(0).integers(-9, 9, (*rows, channels)).astype(np.float32)  # exact in any order
    fold = _channel_sums.rows_side_by_side(int(np.prod(rows)), channels)
    assert fold > 1
    np.testing.assert_array_equal(_channel_sums.folded_sum(x, fold), x.sum((0, 1, 2)))


@pytest.mark.parametrize(("rows", "channels", "fold"), [(64, 4, 1), (1023 * 3, 4, 1), ("N", 4, 1), (4096, 64, 64)])
def test_few_rows_and_unknown_ones_are_added_at_once(rows, channels, fold):
    assert _channel_sums.rows_side_by_side(rows, channels) == fold


def lowered(graph, batch, platform):
    program = aj.make_program(aj.infer_shapes(graph), training=True)
    spec = lambda tree: {k: jax.ShapeDtypeStruct(v.shape, jnp.asarray(v).dtype) for k, v in tree.items()}
    rows = {v.name: jax.ShapeDtypeStruct((batch, *v.shape[1:]), v.dtype) for v in program.graph.inputs.values()}

    def both(params, buffers, rows):
        outputs, saved, _ = program.forward(params, buffers, rows)
        return program.backward(params, saved, {s: jnp.ones_like(outputs[s]) for s in program.seeds})

    traced = jax.jit(both).trace(spec(program.graph.params), spec(program.graph.buffers), rows)
    return traced.lower(lowering_platforms=(platform,)).as_text()


def test_lowered_for_a_gpu_few_channels_are_products_and_many_convolutions():
    assert lowered(zoo.lenet(size=8), 4, "cuda").count("stablehlo.convolution") == 0
    resnet = lowered(zoo.resnet8(size=16), 64, "cuda")  # of nine layers the first has few, two are equal, written once
    assert resnet.count("stablehlo.convolution") == 3 * 7
    assert resnet.count("optimization_barrier") > 0
