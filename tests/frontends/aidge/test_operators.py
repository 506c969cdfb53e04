"""Operators that the recorded numbers leave out: they run on both backends, agree, and have a gradient."""

import numpy as np
import pytest

from aidgejax.frontends import aidge_core as ac

from ._golden import BACKENDS

R = np.random.default_rng(0)
IMAGE = R.normal(size=(2, 4, 5, 6)).astype(np.float32)
ROWS = R.normal(size=(3, 4)).astype(np.float32)
INSIDE = R.uniform(-0.9, 0.9, (3, 4)).astype(np.float32)

# (node, inputs): parameters that a factory attaches are drawn
MADE = [
    *[(lambda k=k: getattr(ac, k)(name="op"), [ROWS]) for k in ("GeLU", "SiLU", "ELU", "SELU", "Softsign", "Mish")],
    *[(lambda k=k: getattr(ac, k)(name="op"), [INSIDE]) for k in ("Acos", "Asinh", "Atanh")],
    (lambda: ac.GeLU("tanh", name="op"), [ROWS]),
    (lambda: ac.HardSwish(0.2, 0.4, name="op"), [ROWS]),
    (lambda: ac.PReLU(4, name="op"), [IMAGE]),
    (lambda: ac.GlobalMaxPooling("op"), [IMAGE]),
    (lambda: ac.LpPooling2D([2, 2], name="op", p=3), [np.abs(IMAGE)]),
    (lambda: ac.AvgPooling3D([2, 2, 2], name="op"), [IMAGE[:, None]]),
    (lambda: ac.MaxPooling3D([2, 1, 2], name="op", stride_dims=[2, 1, 1]), [IMAGE[:, None]]),
    (lambda: ac.PaddedAvgPooling2D([3, 3], name="op", padding_dims=[1, 0, 1, 2], count_include_pad=False), [IMAGE]),
    (lambda: ac.PaddedConvDepthWise2D(4, [3, 3], name="op", padding_dims=[1, 1, 0, 2], stride_dims=[2, 1]), [IMAGE]),
    (lambda: ac.Conv2D(4, 3, [2, 2], name="op", dilation_dims=[2, 2]), [IMAGE]),
    (lambda: ac.PaddedConvTranspose2D(4, 3, [3, 3], stride_dims=[2, 2], padding_dims=[1, 1, 1, 1], name="op"), [IMAGE]),
    (lambda: ac.ConvTranspose1D(4, 2, [3], name="op"), [IMAGE[:, :, 0]]),
    (lambda: ac.LayerNorm([6], -1, name="op"), [IMAGE]),
    (lambda: ac.GroupNorm(2, 4, name="op"), [IMAGE]),
    (lambda: ac.Gemm(4, 2, alpha=0.5, beta=2.0, name="op"), [ROWS]),
    (lambda: ac.ReduceProd([1], name="op"), [ROWS]),
    (lambda: ac.ReduceL2([0], False, name="op"), [ROWS]),
    (lambda: ac.Pad([1, 0, 0, 2], name="op", mode="reflect"), [IMAGE]),
    (lambda: ac.Trilu(name="op"), [ROWS]),
    (lambda: ac.Mean(2, name="op"), [ROWS, ROWS[:1]]),
    (lambda: ac.Mod(name="op", fmod=True), [ROWS, ROWS[:1] + 3]),
    (lambda: ac.Fold2D([4, 4], [2, 2], name="op", stride_dims=[2, 2]), [IMAGE[:, :, :4, 0]]),
    (lambda: ac.DepthToSpace(2, name="op"), [IMAGE]),
    (lambda: ac.Transpose(name="op"), [ROWS]),
    (lambda: ac.Resize(scale=[2.0, 1.5], axes=[2, 3], interpolation_mode="cubic", name="op"), [IMAGE]),
    (lambda: ac.Resize(size=[3, 9], axes=[2, 3], interpolation_mode="linear", antialias=True, name="op"), [IMAGE]),
    (lambda: ac.GridSample("bilinear", "border", True, name="op"), [IMAGE, INSIDE[:2, :2].reshape(2, 1, 1, 2)]),
    (lambda: ac.GatherElements(1, [[0, 2], [1, 1], [3, 0]], [3, 2], name="op"), [ROWS]),
    (lambda: ac.Stack(name="op"), [ROWS]),
]


@pytest.mark.parametrize("make, inputs", MADE, ids=lambda v: v().type() if callable(v) else "")
def test_both_backends_agree(make, inputs):
    found = {}
    for backend in BACKENDS:
        node = make()
        graph = ac.get_connected_graph_view(node)
        graph.set_backend(backend)
        rng = np.random.default_rng(1)
        for n in ac.producers(graph):
            t = n.get_operator().get_output(0)
            t.fill(rng.uniform(0.2, 1.0, t.dims))
        run = ac.SequentialScheduler(graph)
        given = [ac.Tensor(a) for a in inputs]
        for t in given:
            t.grad  # noqa: B018
        y = run.forward(data=given)[0]
        y.grad.fill(np.cos(np.arange(y.size, dtype=np.float32)).reshape(y.dims))
        run.backward()
        found[backend] = (
            [np.array(y)]
            + [np.array(t.grad) for t in given]
            + [np.array(n.get_operator().get_output(0).grad) for n in ac.producers(graph)]
        )
    for a, b in zip(*found.values(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    assert any(g.any() for g in found["cpu"][1:])


def test_what_is_absent_says_so():
    from aidgejax.frontends.aidge_core.absent import NAMES, OPERATORS

    for name in (*OPERATORS, *NAMES):
        assert not hasattr(ac, name)
    with pytest.raises(AttributeError, match="aidge_core.STFT is an operator of Aidge's that aidgejax does not have"):
        ac.STFT  # noqa: B018
    with pytest.raises(
        ImportError, match="aidge_core.inject_faults is not in aidgejax: fault injection is out of scope"
    ):
        from aidgejax.frontends.aidge_core import inject_faults  # noqa: F401
    with pytest.raises(ImportError, match="has no attribute 'nonsense'"):
        from aidgejax.frontends.aidge_core import nonsense  # noqa: F401


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("where", ["attribute", "producer", "input"])
def test_int64_indices_are_differentiated_through(where, backend):
    """Each row gets the gradients of all places that it was copied to."""
    table = ac.Producer(ac.Tensor(np.arange(12, dtype=np.float32).reshape(4, 3)), "table")
    indices = np.array([1, 1, 3])
    view = ac.GraphView()
    fed = []
    if where == "attribute":
        node = ac.Gather(0, [1, 1, 3], [3], name="g")
    else:
        node = ac.Gather(0, name="g")
        source = ac.Identity(name="i")
        if where == "producer":
            source = ac.Producer(ac.Tensor(indices), "i", True)
        else:
            fed = [ac.Tensor(indices)]
        source.add_child(node, 0, 1)
        view.add(source)
    table.add_child(node, 0, 0)
    for n in (table, node):
        view.add(n)
    view.set_backend(backend)
    scheduler = ac.SequentialScheduler(view)
    y = scheduler.forward(data=fed)[0]
    np.testing.assert_array_equal(np.array(y), np.arange(12.0).reshape(4, 3)[indices])
    np.array(y.grad, copy=False)[...] = 1
    scheduler.backward()
    got = np.array(table.get_operator().get_output(0).grad)
    np.testing.assert_array_equal(got, np.array([0, 2, 0, 1.0])[:, None] * np.ones(3))


ROUNDED = {  # of -2.5, -1.5, -0.6, 0.4, 0.5, 2.5
    "AWAY_FROM_ZERO": [-3, -2, -1, 1, 1, 3],
    "TOWARD_ZERO": [-2, -1, 0, 0, 0, 2],
    "DOWN": [-3, -2, -1, 0, 0, 2],
    "UP": [-2, -1, 0, 1, 1, 3],
    "HALF_AWAY_FROM_ZERO": [-3, -2, -1, 0, 1, 3],
    "HALF_TOWARD_ZERO": [-2, -1, -1, 0, 0, 2],
    "HALF_DOWN": [-3, -2, -1, 0, 0, 2],
    "HALF_UP": [-2, -1, -1, 0, 1, 3],
    "HALF_TO_EVEN": [-2, -2, -1, 0, 0, 2],
    "HALF_TO_ODD": [-3, -1, -1, 0, 1, 3],
}


def test_every_rounding_mode():
    assert set(ROUNDED) == {m.name for m in ac.RoundingMode}
    x = ac.Producer(ac.Tensor(np.array([-2.5, -1.5, -0.6, 0.4, 0.5, 2.5], np.float32)), "x")
    rounds = [ac.Round(rounding_mode=ac.RoundingMode[m], name=m) for m in ROUNDED]
    for node in rounds:
        x.add_child(node)
    view = ac.get_connected_graph_view(x)
    view.set_backend("cpu")
    ac.SequentialScheduler(view).forward()
    for node in rounds:
        np.testing.assert_array_equal(np.array(node.get_operator().get_output(0)).ravel(), ROUNDED[node.name()])


def test_averages_of_integers_are_rounded_as_they_say():
    settings = {"half_away_from_zero": (2, -2), "down": (1, -2), "half_toward_zero": (2, -1), "half_to_even": (2, -2)}
    image = np.array([[[[1, 2], [2, 2]], [[-1, -2], [-2, -1]]]], np.int32)  # averages 1.75 and -1.5
    x, asked = ac.Producer(ac.Tensor(image), "x"), []
    for mode, want in settings.items():
        asked += [(ac.AvgPooling2D([2, 2], rounding_mode=mode), want)]
        asked += [(ac.GlobalAveragePooling(rounding_mode=mode), want)]
        asked += [(ac.ReduceMean([2, 3], rounding_mode=ac.RoundingMode[mode.upper()]), want)]
    for node, _ in asked:
        x.add_child(node)
    view = ac.get_connected_graph_view(x)
    view.set_backend("cpu")
    view.set_datatype(ac.dtype.int32)
    ac.SequentialScheduler(view).forward()
    for node, want in asked:
        assert np.array(node.get_operator().get_output(0)).ravel().tolist() == list(want), node.type()
    with pytest.raises(RuntimeError, match="no rounding_mode 'nearest'; it is one of half_away"):
        view = ac.sequential([ac.GlobalAveragePooling(rounding_mode="nearest")])
        view.set_backend("cpu")
        ac.SequentialScheduler(view).forward(data=[ac.Tensor(image.astype(np.float32))])
