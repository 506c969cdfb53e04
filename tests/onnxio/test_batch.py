"""Models exported with a fixed batch, read for any batch."""

import numpy as np
import pytest

from aidgejax import onnxio, run
from aidgejax.errors import GraphError

from ._models import info, model, node


def rows_of(graph, fixed, batch, *shape):
    """The graph at `batch` rows says what the original says row by row."""
    x = np.random.default_rng(0).normal(size=(batch, *shape)).astype(np.float32)
    together = run(graph, [x], "numpy")
    apart = [run(fixed, [x[k : k + 1]], "numpy") for k in range(batch)]
    for k, got in enumerate(together):
        np.testing.assert_allclose(got, np.concatenate([a[k] for a in apart]), rtol=1e-5, atol=1e-6)


def burnt(nodes, tensors, shape, **options):
    return model(nodes, [info("x", [1, *shape])], [info("y", None)], tensors, **options)


@pytest.mark.parametrize(
    "target, after, shape",
    [
        ([1, 12], (0, 12), ("N", 12)),
        ([1, -1], (0, -1), ("N", 12)),
        ([-1, 12], (-1, 12), ("N", 12)),
        ([0, 12], (0, 12), ("N", 12)),
        ([1, 2, 2, 3], (0, 2, 2, 3), ("N", 2, 2, 3)),
        ([4, 3], (-1, 3), ("4*N", 3)),
        ([4, -1], (-1, 3), ("4*N", 3)),
    ],
)
def test_targets_of_reshape_follow_the_batch(target, after, shape):
    m = burnt([node("Reshape", "x,t", "y", "flat")], {"t": np.array(target)}, (4, 3))
    graph = onnxio.read(m, batch="N")
    assert graph.inputs["x"].shape == ("N", 4, 3) and graph.value("y").shape == shape
    given = graph.nodes[0].inputs[1]
    assert (given if isinstance(given, tuple) else tuple(graph.constants[given])) == after
    rows_of(graph, onnxio.read(m), 3, 4, 3)


def test_an_attention_that_was_exported_for_one_sentence():
    """View, transpose, merge, and the way back."""
    w = {k: np.random.default_rng(n).normal(size=(8, 8)).astype(np.float32) for n, k in enumerate("qkvo")}
    tensors = w | {
        "split": np.array([1, 5, 2, 4]),
        "heads": np.array([2, 5, 4]),
        "back": np.array([1, 2, 5, 4]),
        "join": np.array([1, 5, 8]),
    }
    nodes = []
    for k, perm in (("q", [0, 2, 1, 3]), ("k", [0, 2, 3, 1]), ("v", [0, 2, 1, 3])):
        nodes += [
            node("MatMul", f"x,{k}", f"{k}1"),
            node("Reshape", f"{k}1,split", f"{k}2"),
            node("Transpose", f"{k}2", f"{k}3", perm=perm),
        ]
    nodes += [
        node("MatMul", "q3,k3", "s"),
        node("Softmax", "s", "p", axis=-1),
        node("MatMul", "p,v3", "m"),
        node("Reshape", "m,heads", "merged"),
        node("Relu", "merged", "r"),
        node("Reshape", "r,back", "apart"),
        node("Transpose", "apart", "t", perm=[0, 2, 1, 3]),
        node("Reshape", "t,join", "j"),
        node("MatMul", "j,o", "y"),
    ]
    m = burnt(nodes, tensors, (5, 8))
    graph = onnxio.read(m, batch="N")
    assert graph.value("y").shape == ("N", 5, 8) and graph.value("merged").shape == ("2*N", 5, 4)
    rows_of(graph, onnxio.read(m), 4, 5, 8)
    again = onnxio.read(onnxio.to_model(graph))
    rows_of(again, onnxio.read(m), 4, 5, 8)


def test_a_reshape_of_a_weight_is_left_alone():
    m = burnt(
        [node("Reshape", "w,t", "v"), node("Mul", "x,v", "y")],
        {"w": np.float32([1, 2, 3]), "t": np.array([1, 3])},
        (3,),
    )
    graph = onnxio.read(m, batch="N")
    assert graph.nodes[0].inputs == ("w", "t")
    rows_of(graph, onnxio.read(m), 2, 3)


def test_a_model_with_a_symbolic_batch_is_as_it_was():
    m = model([node("Relu", "x", "y")], [info("x", ["M", 3])], [info("y", None)])
    assert str(onnxio.read(m, batch="N")) == str(onnxio.read(m))


def test_a_batch_larger_than_one_and_an_input_of_another_size():
    m = model(
        [node("Mul", "x,mask", "a"), node("Reshape", "a,t", "y")],
        [info("x", [8, 4, 3]), info("mask", [4, 3])],
        [info("y", None)],
        {"t": np.array([8, 12])},
    )
    graph = onnxio.read(m, batch="B")
    assert [v.shape for v in graph.inputs.values()] == [("B", 4, 3), (4, 3)] and graph.value("y").shape == ("B", 12)


def test_a_token_that_was_expanded_to_the_batch_goes_in_front_of_every_row():
    m = burnt(
        [node("Expand", "token,t", "e"), node("Concat", "e,x", "y", "join", axis=1)],
        {"token": np.float32([[[1, 2, 3]]]), "t": np.array([1, 1, 3])},
        (4, 3),
    )
    graph = onnxio.read(m, batch="N")
    assert graph.value("y").shape == ("N", 5, 3) and list(graph.params) == ["token"]
    rows_of(graph, onnxio.read(m), 3, 4, 3)
    rows_of(onnxio.read(onnxio.to_model(graph)), onnxio.read(m), 3, 4, 3)


def test_a_target_computed_from_constants_follows_the_batch():
    """As torch writes without constant folding; zeros that are sizes are allowed, and there are none."""
    nodes = [node("Unsqueeze", f"{k},axes", f"{k}1") for k in "ab"]
    m = burnt(
        [*nodes, node("Concat", "a1,b1", "t", axis=0), node("Reshape", "x,t", "y", allowzero=1)],
        {"a": np.array(1), "b": np.array(12), "axes": np.array([0])},
        (4, 3),
    )
    graph = onnxio.read(m, batch="N")
    assert graph.value("y").shape == ("N", 12)
    rows_of(graph, onnxio.read(m), 3, 4, 3)


def test_images_resized_to_sizes_follow_the_batch():
    m = burnt(
        [node("Resize", "x,,,sizes", "y", mode="nearest")], {"sizes": np.array([1, 2, 6, 4])}, (2, 3, 4), opset=18
    )
    graph = onnxio.read(m, batch="N")
    assert graph.value("y").shape == ("N", 2, 6, 4)
    rows_of(graph, onnxio.read(m), 3, 2, 3, 4)


def test_a_batch_that_is_not_the_first_axis():
    """Time first, the batch second, and back."""
    m = burnt(
        [
            node("Transpose", "x", "a", perm=[1, 0, 2]),
            node("Reshape", "a,split", "b"),
            node("Relu", "b", "c"),
            node("Reshape", "c,join", "d"),
            node("Transpose", "d", "y", perm=[1, 0, 2]),
        ],
        {"split": np.array([5, 1, 2, 3]), "join": np.array([5, 1, -1])},
        (5, 6),
    )
    graph = onnxio.read(m, batch="N")
    assert graph.value("b").shape == (5, "N", 2, 3) and graph.value("y").shape == ("N", 5, 6)
    rows_of(graph, onnxio.read(m), 3, 5, 6)


@pytest.mark.parametrize("flat, apart", [([5, 6], [5, 1, 6]), ([5, 3, 2], [5, 1, 6])])
def test_either_neighbour_may_take_the_batch(flat, apart):
    """Time first; which axis takes the batch shows only where the MatMul fits, or rows are mixed."""
    w = np.random.default_rng(3).normal(size=(flat[-1], flat[-1])).astype(np.float32)
    m = burnt(
        [
            node("Transpose", "x", "a", perm=[1, 0, 2]),
            node("Reshape", "a,flat", "b"),
            node("MatMul", "b,w", "c"),
            node("Reshape", "c,apart", "d"),
            node("Softmax", "d", "e", axis=0),
            node("Transpose", "e", "y", perm=[1, 0, 2]),
        ],
        {"flat": np.array(flat), "apart": np.array(apart), "w": w},
        (5, 6),
    )
    graph = onnxio.read(m, batch="N")
    assert graph.value("y").shape == ("N", 5, 6)
    rows_of(graph, onnxio.read(m), 3, 5, 6)


def test_what_remains_burnt_in_is_named():
    m = model(
        [node("Concat", "table,x", "y", "join", axis=1)],
        [info("x", [8, 4, 3])],
        [info("y", None)],
        {"table": np.ones((8, 1, 3), np.float32)},
    )
    with pytest.raises(GraphError, match=r"the batch size 8 is hard-coded: with 'N' in its place, node 'join' "):
        onnxio.read(m, batch="N")


def test_an_output_that_does_not_follow_is_named():
    m = burnt([node("ReduceSum", "x,axes", "y", "sum", keepdims=1)], {"axes": np.array([0])}, (3,))
    with pytest.raises(
        GraphError, match=r"the batch size 1 is hard-coded: output y:float32\[1, 3\] does not follow 'N'"
    ):
        onnxio.read(m, batch="N")


def test_a_message_shows_names_and_no_number_that_was_tried():
    m = model(
        [node("MatMul", "x,w", "q", "product"), node("Concat", "q,table", "y", "join", axis=1)],
        [info("x", [8, "T", 4])],
        [info("y", None)],
        {"w": np.ones((4, 3), np.float32), "table": np.ones((8, 5, 3), np.float32)},
    )
    with pytest.raises(GraphError, match=r"q:float32\[N, T, 3\], table:float32\[8, 5, 3\]: shapes \[N, T, 3\], ") as e:
        onnxio.read(m, batch="N")
    assert "1009" not in str(e.value) and "16" not in str(e.value)


def test_a_reshape_that_takes_rows_apart_is_named():
    m = burnt([node("Reshape", "x,size", "y", "split")], {"size": np.array([3, -1])}, (3, "T"))
    with pytest.raises(GraphError, match=r"node 'split' \(Reshape\) takes the rows of the batch apart"):
        onnxio.read(m, batch="N")


def test_a_name_that_another_axis_has_is_refused():
    m = burnt([node("Relu", "x", "y")], {}, ("N", 4))
    message = r"batch='N': a size of x:float32\[1, N, 4\] has that name already; give another, such as batch='batch'"
    with pytest.raises(GraphError, match=message):
        onnxio.read(m, batch="N")
    assert onnxio.read(m, batch="rows").value("y").shape == ("rows", "N", 4)
