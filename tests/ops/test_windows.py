"""Convolutions and pools: what they say to a mistake, word by word; every form computes the same; where they run."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aidgejax import onnxio
from aidgejax.errors import GraphError
from aidgejax.execution.program import make_program
from aidgejax.graph import Graph
from aidgejax.interpreter.shape_inference import infer_shapes
from aidgejax.ops import _convolution, lookup
from aidgejax.ops._pixel_packing import packing
from aidgejax.ops._windows import windows
from aidgejax.ops.conv import conv_windows
from aidgejax.passes.gradient import grad_name, make_gradient

from .cases import TABLE

FAMILY = ("Conv", "ConvTranspose", "MaxPool", "AveragePool", "LpPool", "GlobalMaxPool", "GlobalAveragePool")
ROWS = [pytest.param(c, id=f"{n}-{c!r}") for n, c in enumerate(TABLE) if c.op in FAMILY and c.wrt]
CONVOLUTIONS = [r for r in ROWS if r.values[0].op == "Conv"]

IMAGE, WEIGHT = (2, 4, 8, 8), (6, 4, 3, 3)
POOL = {"kernel_shape": (2, 2)}
MISTAKES = [
    (
        "Conv",
        ((2, 4), (6, 4)),
        {},
        "got an image of rank 2 and a weight of rank 2, expected the same rank, 3 or "
        "more: image [n, c, *spatial], weight with two sizes for channels, then *kernel",
    ),
    (
        "Conv",
        (IMAGE, (6, 4, 3)),
        {},
        "got an image of rank 4 and a weight of rank 3, expected the same rank, 3 or "
        "more: image [n, c, *spatial], weight with two sizes for channels, then *kernel",
    ),
    (
        "Conv",
        (IMAGE, (6, 3, 3, 3)),
        {},
        "an image of 4 channels does not fit a weight of shape [6, 3, 3, 3] with "
        "group=1: the weight's second size is channels / group, and group divides its first",
    ),
    (
        "Conv",
        (IMAGE, (5, 2, 3, 3)),
        {"group": 2},
        "an image of 4 channels does not fit a weight of shape [5, 2, 3, 3] "
        "with group=2: the weight's second size is channels / group, and group divides its first",
    ),
    ("Conv", (IMAGE, WEIGHT, (4,)), {}, "the bias has shape [4], expected [6]: one per output channel"),
    ("Conv", (IMAGE, WEIGHT), {"kernel_shape": (3, 2)}, "kernel_shape is [3, 2], but the weight has [3, 3]"),
    ("Conv", (IMAGE, WEIGHT), {"strides": (0, 1)}, "strides is [0, 1], expected 2 integers of at least 1"),
    ("Conv", (IMAGE, WEIGHT), {"dilations": (2,)}, "dilations is [2], expected 2 integers of at least 1"),
    ("Conv", (IMAGE, WEIGHT), {"pads": (1, 1)}, "pads is [1, 1], expected 4 integers of at least 0"),
    ("Conv", (IMAGE, WEIGHT), {"pads": (1, 1, -1, 1)}, "pads is [1, 1, -1, 1], expected 4 integers of at least 0"),
    (
        "Conv",
        (IMAGE, WEIGHT),
        {"auto_pad": "SAME"},
        "auto_pad is 'SAME', expected one of NOTSET, VALID, SAME_UPPER, SAME_LOWER",
    ),
    (
        "Conv",
        (IMAGE, WEIGHT),
        {"auto_pad": "SAME_UPPER", "pads": (1, 1, 1, 1)},
        "auto_pad=SAME_UPPER and pads=[1, 1, 1, 1] contradict each other: give one of them",
    ),
    (
        "Conv",
        ((2, 4, 8, 4), WEIGHT),
        {"dilations": (1, 3), "pads": (0, 1, 0, 1)},
        "a window of 7 positions does not fit on spatial axis 1, which has 4, or 6 with padding; use a smaller "
        "kernel_shape or dilation, or more padding",
    ),
    (
        "ConvTranspose",
        (IMAGE, (3, 4, 3, 3)),
        {},
        "an image of 4 channels does not fit a weight of shape [3, 4, 3, 3] "
        "with group=1: the weight's first size is the number of channels, which group divides",
    ),
    ("ConvTranspose", (IMAGE, (4, 3, 3, 3), (4,)), {}, "the bias has shape [4], expected [3]: one per output channel"),
    (
        "ConvTranspose",
        (IMAGE, (4, 3, 3, 3)),
        {"output_padding": (0, 1)},
        "output_padding is [0, 1], expected each "
        "smaller than its stride or dilation (strides [1, 1], dilations [1, 1])",
    ),
    (
        "ConvTranspose",
        ((1, 4, 1, 1), (4, 3, 3, 3)),
        {"pads": (2, 1, 1, 1)},
        "pads=[2, 1, 1, 1] leave nothing of an output of [3, 3]; use smaller pads",
    ),
    (
        "ConvTranspose",
        (IMAGE, (4, 3, 3, 3)),
        {"strides": (2, 2), "output_shape": (19, 18)},
        "output_shape is [19, 18], "
        "but an input of [8, 8] reaches only [17, 17], and at most stride - 1 more; use a smaller output_shape, "
        "or larger strides",
    ),
    (
        "ConvTranspose",
        (IMAGE, (4, 3, 3, 3)),
        {"output_shape": (9,)},
        "output_shape is [9], expected 2 integers of at least 1",
    ),
    ("MaxPool", (IMAGE,), {}, "a pool needs the attribute kernel_shape, e.g. kernel_shape=(2, 2)"),
    ("MaxPool", ((2, 4),), POOL, "got a tensor of rank 2, expected an image [n, c, *spatial] of rank 3 or more"),
    (
        "MaxPool",
        (IMAGE,),
        {"kernel_shape": (9, 2)},
        "a window of 9 positions does not fit on spatial axis 0, which has "
        "8, or 8 with padding; use a smaller kernel_shape or dilation, or more padding",
    ),
    (
        "MaxPool",
        (IMAGE,),
        POOL | {"pads": (0, 2, 0, 0)},
        "pads=[0, 2, 0, 0] make windows of [2, 2] that see nothing but padding; use pads smaller than the window",
    ),
    ("AveragePool", (IMAGE,), {"kernel_shape": (2,)}, "kernel_shape is [2], expected 2 integers of at least 1"),
    ("AveragePool", (IMAGE,), POOL | {"strides": (2, 0)}, "strides is [2, 0], expected 2 integers of at least 1"),
    ("LpPool", (IMAGE,), POOL | {"p": 0}, "p is 0, expected an integer of at least 1: the norm that is taken"),
    (
        "GlobalAveragePool",
        ((2, 4),),
        {},
        "got a tensor of rank 2, expected an image [n, c, *spatial] of rank 3 or more",
    ),
    (
        "ConvGradInput",
        ((2, 6, 8, 8), WEIGHT, IMAGE),
        {},
        "the cotangent has 6 channels of [8, 8], expected 6 of [6, 6]",
    ),
    (
        "ConvGradWeight",
        (IMAGE, (2, 5, 6, 6), WEIGHT),
        {},
        "the cotangent has 5 channels of [6, 6], expected 6 of [6, 6]",
    ),
    (
        "MaxPoolGrad",
        ((2, 4, 4, 4), IMAGE, (2, 4, 4, 4)),
        POOL,
        "the cotangent has 4 channels of [4, 4], expected 4 of [7, 7]",
    ),
]


def graph_of(op, shapes, attrs):
    g = Graph("g")
    g.add(op, [g.input(f"x{k}", s) for k, s in enumerate(shapes)], attrs, names=["y"], name="here")
    g.output("y")
    return g


@pytest.mark.parametrize("op, shapes, attrs, message", MISTAKES, ids=lambda v: v if isinstance(v, str) else "")
def test_a_mistake_is_named(op, shapes, attrs, message):
    with pytest.raises(GraphError) as error:
        make_program(graph_of(op, shapes, attrs))
    assert str(error.value).startswith(f"node 'here' ({op}) of graph 'g' with inputs x0:float32")
    assert str(error.value).endswith(f": {message}")


def test_pads_of_zero_beside_auto_pad_say_nothing():
    assert windows((5,), (3,), auto_pad="SAME_UPPER", pads=(0, 0)).begin == (1,)


COSTS = [
    ("Conv", (IMAGE, WEIGHT, (6,)), {}, {"ConvGradInput": 1, "ConvGradWeight": 1, "ReduceSum": 1}),
    (
        "ConvTranspose",
        (IMAGE, (4, 6, 3, 3)),
        {"strides": (2, 2), "output_padding": (1, 0), "pads": (1, 1, 1, 1)},
        {"Conv": 1, "ConvGradWeight": 1},
    ),
    ("MaxPool", (IMAGE,), POOL, {"MaxPoolGrad": 1}),
    ("AveragePool", (IMAGE,), POOL, {"AveragePoolGrad": 1}),
    ("GlobalAveragePool", (IMAGE,), {}, {"GlobalAveragePoolGrad": 1}),
]


@pytest.mark.parametrize("op, shapes, attrs, nodes", COSTS, ids=lambda v: v if isinstance(v, str) else "")
def test_a_gradient_costs_no_more_than_this(op, shapes, attrs, nodes):
    g = graph_of(op, shapes, attrs)
    assert make_gradient(infer_shapes(g), wrt=list(g.inputs)).count() == nodes


def test_flops():
    flops = lambda op, ins, out: lookup(op).flops(ins, [out], dict(lookup(op).attributes))
    assert flops("Conv", [(2, 4, 8, 8), (6, 2, 3, 3)], (2, 6, 6, 6)) == 2 * (2 * 6 * 6 * 6) * 2 * 9
    assert flops("ConvTranspose", [(2, 4, 3, 3), (4, 5, 2, 2)], (2, 5, 6, 6)) == 2 * (2 * 4 * 3 * 3) * 5 * 4


# ---- every form says the same -------------------------------------------------------------------------


def tensors_of(case):
    """x, w, dy channels-last and the windows, float64."""
    x, w = (case.feeds(np.float64)[k] for k in "xw")
    attrs = {k: v for k, v in case.attrs.items() if k not in ("group", "kernel_shape")}
    x, group = np.moveaxis(x, 1, -1), case.attrs.get("group", 1)
    win = conv_windows(x.shape, w.shape, None, group=group, **attrs)
    dy = np.random.default_rng(1).normal(size=(x.shape[0], *win.out, w.shape[0]))
    return x, np.moveaxis(w, (0, 1), (-1, -2)), dy, win, group


@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_the_forms_of_other_platforms_agree_with_those_of_the_cpu(case):
    with jax.enable_x64(True):
        x, w, dy, win, group = tensors_of(case)
        ours = jax.jit(
            lambda x, w, dy: (
                _convolution.convolve(x, w, win, group),
                _convolution.convolve_input(dy, w, win, group),
                _convolution.convolve_weight(x, dy, win, group),
            )
        )(x, w, dy)
        theirs = jax.jit(
            lambda x, w, dy: (
                _convolution._plain(x, w, win, group),
                _convolution._plain_input(dy, w, win, group),
                _convolution._plain_weight(x, dy, win, group),
            )
        )(x, w, dy)
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


FOLDED = [
    ((7, 8), (2, 5), (0, 0, 0, 0), 3, 4),
    ((5, 6), (3, 3), (1, 2, 1, 0), 2, 2),
    ((9,), (4,), (3, 1), 1, 2),
    ((4, 3, 6), (2, 2, 4), (0, 0, 2, 1, 0, 0), 5, None),
    ((4, 6), (3, 3), (1, 1, 1, 1), 12, 2),  # the input's gradient is a convolution, itself of wide pixels
    ((4, 8), (3, 3), (0, 3, 0, 1), 12, 2),  # more padding than a window reaches over: that one leaves out columns
]


@pytest.mark.parametrize("sizes, kernel, pads, channels, pixels", FOLDED)
def test_wide_pixels_say_the_same(sizes, kernel, pads, channels, pixels):
    win = windows(sizes, kernel, pads=pads)
    packed = packing(win, 8)
    assert (packed and packed.pixels) == pixels
    rng = np.random.default_rng(0)
    x, w, dy = (
        jnp.asarray(rng.normal(size=s).astype(np.float32))
        for s in ((2, *sizes, channels), (*kernel, channels, 8), (2, *win.out, 8))
    )
    for ours, theirs, a, b in [
        (_convolution.convolve, _convolution._plain, x, w),
        (_convolution.convolve_input, _convolution._plain_input, dy, w),
        (_convolution.convolve_weight, _convolution._plain_weight, x, dy),
    ]:
        both = jax.jit(lambda a, b, ours=ours, theirs=theirs: (ours(a, b, win, 1), theirs(a, b, win, 1)))
        np.testing.assert_allclose(*both(a, b), rtol=1e-4, atol=1e-4)


def test_what_is_not_folded():
    for how in ({"strides": (1, 2)}, {"dilations": (1, 2)}):
        assert packing(windows((8, 8), (3, 3), **how), 4) is None
    assert packing(windows((8, 8), (3, 3)), 4).pixels == 2
    assert packing(windows((8, 8), (3, 3)), 17) is None  # wide enough
    assert packing(windows((8, 9), (3, 3)), 4) is None  # a row of 7


@pytest.mark.parametrize("group, images", [(1, 7), (1, 8), (4, 7)])
def test_a_weight_gradient_in_pieces_of_the_batch(group, images, monkeypatch):
    x = jax.random.normal(jax.random.key(0), (images, 9, 9, 4))
    win = windows((9, 9), (3, 3), strides=(2, 1), pads=(1, 1, 1, 1))
    dy = jax.random.normal(jax.random.key(1), (images, *win.out, 4))
    run = lambda: jax.jit(lambda x, dy: _convolution.convolve_weight(x, dy, win, group))(x, dy)
    whole = run()
    for limit in ("PIECE_BYTES", "SHARED_PIECE_BYTES"):
        monkeypatch.setattr(_convolution, limit, 3 * (9 * 9 * 4 + 5 * 9 * 4) * 4)
    monkeypatch.setattr(_convolution, "DEPTHWISE_PIECE_BYTES", 1)
    np.testing.assert_allclose(run(), whole, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("case", ROWS[::2])
def test_channels_first_says_the_same(case):
    """The checks run channels-last."""
    last = case.program()
    first = make_program(case.graph(), seeds=last.seeds, wrt=last.wrt, layout="NCHW")
    want, got = jax.jit(lambda feeds: [both_ways(p, feeds) for p in (last, first)])(case.feeds())
    for k in want:
        np.testing.assert_allclose(got[k], want[k], rtol=1e-5, atol=1e-5, err_msg=k)


def both_ways(program, feeds):
    outputs, saved, _ = program.forward({}, {}, feeds)
    return outputs | program.backward({}, saved, {s: jnp.cos(outputs[s]) for s in program.seeds})


# ---- where they run -----------------------------------------------------------------------------------

VARIED = [r for r in ROWS if not {"three", "-inf"} & set(r.values[0].why.split())][::5]


@pytest.mark.parametrize("case", VARIED)
def test_under_vmap(case):
    program = case.program()
    many = {k: jnp.stack([a, 2 - a, a * a]) for k, a in case.feeds().items()}

    @jax.jit
    def run(feeds):
        outputs, saved, _ = program.forward({}, {}, feeds)
        return outputs, program.backward({}, saved, {s: outputs[s] for s in program.seeds})

    got = jax.jit(jax.vmap(run))(many)
    for k in range(3):
        want = run({n: a[k] for n, a in many.items()})
        jax.tree.map(lambda g, w, k=k: np.testing.assert_allclose(g[k], w, rtol=1e-4, atol=1e-4), got, want)


@pytest.mark.parametrize("case", VARIED)
def test_compiles_for_every_platform(case):
    program = case.program()

    def run(feeds):
        outputs, saved, _ = program.forward({}, {}, feeds)
        return program.backward({}, saved, {s: outputs[s] for s in program.seeds})

    exported = jax.export.export(jax.jit(run), platforms=["cpu", "cuda", "tpu"])(case.feeds())
    jax.tree.map(
        lambda g, w: np.testing.assert_allclose(g, w, rtol=1e-5, atol=1e-5),
        exported.call(case.feeds()),
        jax.jit(run)(case.feeds()),
    )


@pytest.mark.parametrize("case", VARIED)
def test_in_bfloat16(case):
    program = case.program()
    feeds = {k: jnp.asarray(a, jnp.bfloat16) for k, a in case.feeds().items()}

    def run(feeds):
        outputs, saved, _ = program.forward({}, {}, feeds)
        return outputs, program.backward({}, saved, {s: jnp.ones_like(outputs[s]) for s in program.seeds})

    got, want = jax.jit(lambda *both: list(map(run, both)))(feeds, {k: a.astype(jnp.float32) for k, a in feeds.items()})
    for g, w in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        if jnp.issubdtype(w.dtype, jnp.floating):
            assert g.dtype == jnp.bfloat16
            np.testing.assert_allclose(g.astype(jnp.float32), w, rtol=3e-2, atol=3e-2 * float(jnp.abs(w).max()))


def test_gradients_reach_the_cpu_as_convolutions_in_the_usual_order():
    g = Graph("g")
    x = g.input("x", (4, 12, 9, 9))
    y = g.op.Conv(x, g.parameter("v", np.ones((16, 12, 3, 3), np.float32)), pads=(1, 1, 1, 1))
    g.output(g.op.Conv(y, g.parameter("w", np.ones((24, 16, 3, 3), np.float32)), strides=(2, 2), pads=(1, 1, 1, 1)))
    program = make_program(g, wrt=["v", "w", "x"])

    def run(params, x):
        outputs, saved, _ = program.forward(params, {}, {"x": x})
        return program.backward(params, saved, outputs)

    text = jax.jit(run).lower(g.params, np.ones((4, 12, 9, 9), np.float32)).as_text()
    found = re.findall(
        r"stablehlo\.convolution.*?dim_numbers = (\S+), .*?lhs_dilate = (\[.*?\])",
        text.replace("[b, 0, 1, f]x[0, 1, i, o]->[b, 0, 1, f]", "usual"),
    )
    assert len(found) == text.count("stablehlo.convolution") == 5  # the strided one's gradient to its image is a dot
    assert set(found) == {("usual", "[1, 1]")}


# ONNX Runtime, too, counts padding among the indices where a window is -inf, and wants output_padding < stride.
EXPORTED = [
    r
    for r in ROWS
    if {"onnx_gradient", "onnx_reference"} & set(r.values[0].skip)
    and "-inf" not in r.values[0].why
    and "below the dilation" not in r.values[0].why
]


@pytest.mark.parametrize("case", EXPORTED)
def test_what_onnx_gets_wrong_onnxruntime_gets_right(case):
    runtime = pytest.importorskip("onnxruntime")
    program = case.program()
    feeds = case.feeds()
    outputs, saved, _ = jax.jit(lambda feeds: program.forward({}, {}, feeds))(feeds)
    dy = case.cotangents({s: outputs[s] for s in program.seeds})
    dy = {s: d.astype(np.float32) for s, d in dy.items()}
    grads = jax.jit(lambda saved, dy: program.backward({}, saved, dy))(saved, dy)
    known = {**feeds, **outputs, **{grad_name(s): d for s, d in dy.items()}}
    forward, backward = [outputs[o] for o in program.graph.outputs], [grads[w] for w in program.wrt]
    for graph, want in [(program.graph, forward), (program.gradient, backward)]:
        session = runtime.InferenceSession(
            onnxio.to_model(graph).SerializeToString(), providers=["CPUExecutionProvider"]
        )
        got = session.run(None, {i.name: np.asarray(known[i.name]) for i in session.get_inputs()})
        for g, w in zip(got, want, strict=True):
            np.testing.assert_allclose(g, w, rtol=1e-4, atol=1e-5)


def test_a_decomposition_that_needs_fixed_sizes_says_so():
    g = Graph("g")
    g.output(g.op.AveragePool(g.input("x", ("N", 3, "H", "W")), kernel_shape=(2, 2), name="here"))
    gradient = infer_shapes(make_gradient(infer_shapes(g), wrt=["x"]))
    with pytest.raises(
        GraphError,
        match=r"AveragePoolGrad can be decomposed into standard operators only where the "
        r"spatial sizes are numbers, got x:float32\[N, 3, H, W\]; declare the image "
        r"with fixed height and width",
    ):
        onnxio.to_model(gradient)
