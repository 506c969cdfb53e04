"""Random damage: whatever is done to a file, reading it ends soon, in a graph or in an exception of our family."""

import faulthandler
import resource
import signal

import numpy as np
import pytest
from onnx import TensorProto, helper

from aidgejax import onnxio
from aidgejax.errors import AidgeJaxError
from aidgejax.graph import Graph
from aidgejax.tools import zoo

from ._models import info, model, node

SECONDS = 5
GIB = 1 << 20  # in the kilobytes of ru_maxrss
NUMBERS = (0, 1, -1, 2, 3, 7, 255, -128, 1 << 15, (1 << 31) - 1, -(1 << 31), 1 << 40, (1 << 63) - 1, -(1 << 63))


def old_fashioned():
    """Nodes whose settings were attributes, in opset 9."""
    return model(
        [
            node("Conv", "x,w", "a", "conv", kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[1, 1]),
            node("Clip", "a", "b", "clip", min=0.0, max=6.0),
            node("Pad", "b", "c", "pad", pads=[0, 0, 1, 0, 0, 0, 1, 0], mode="reflect"),
            node("Slice", "c", "d", "slice", axes=[2], starts=[1], ends=[-1]),
            node("MaxPool", "d", "e", "pool", kernel_shape=[2, 2], strides=[2, 2]),
            node("Split", "e", "f,g", "split", axis=1, split=[1, 3]),
            node("Concat", "g,f", "h", "concat", axis=1),
            node("ReduceMean", "h", "i", "mean", axes=[2, 3], keepdims=1),
            node("Squeeze", "i", "j", "squeeze", axes=[2, 3]),
            node("Constant", [], "k", "constant", value=helper.make_tensor("v", TensorProto.INT64, [2], [-1, 2])),
            node("Reshape", "j,k", "l", "reshape"),
            node("Softmax", "l", "m", "softmax", axis=-1),
            node("Dropout", "m", "y", "dropout", ratio=0.5),
        ],
        [info("x", ["N", 2, 6, 6])],
        [info("y", None)],
        {"w": np.ones((4, 2, 3, 3), np.float32)},
        opset=9,
        ir=4,
    )


def with_control_flow():
    """An If, a Loop and a Scan that the model itself decides, a sequence, a function, one that ONNX decomposes."""
    bool_, int64 = TensorProto.BOOL, TensorProto.INT64
    yes = helper.make_graph([node("Relu", "x", "t")], "then", [], [info("t", None)])
    no = helper.make_graph([node("Neg", "x", "e")], "else", [], [info("e", None)])
    round_ = helper.make_graph(
        [
            node("Identity", "go", "again"),
            node("MatMul", "h,w", "p"),
            node("Tanh", "p", "h_next"),
            node("Identity", "h_next", "seen"),
        ],
        "round",
        [info("k", [], int64), info("go", [], bool_), info("h", None)],
        [info("again", [], bool_), info("h_next", None), info("seen", [2, 3])],
    )
    step = helper.make_graph(
        [node("Add", "s,row", "s_next"), node("Identity", "s_next", "sum")],
        "step",
        [info("s", [3]), info("row", [3])],
        [info("s_next", [3]), info("sum", [3])],
    )
    m = model(
        [
            node("If", "flag", "a", "choice", then_branch=yes, else_branch=no),
            node("Loop", "trips,flag,a", "b,all", "rounds", body=round_),
            node("ReduceMean", "all,zero", "c", "mean", keepdims=0),
            node("Scan", "start,c", "d,sums", "scan", body=step, num_scan_inputs=1),
            node("SplitToSequence", "sums", "list", "split", axis=1),
            node("SequenceAt", "list,last", "e", "at"),
            node("Twice", "e", "f", "twice", domain="own"),
            node("CenterCropPad", "f,size", "y", "crop", axes=[0]),
        ],
        [info("x", [2, 3])],
        [info("y", None)],
        {
            "flag": np.array(True),
            "trips": np.array(3),
            "zero": np.array([0]),
            "start": np.zeros(3, np.float32),
            "last": np.array(-1),
            "size": np.array([1]),
            "w": np.eye(3, dtype=np.float32),
        },
        opset=18,
        domains=["own"],
    )
    m.functions.append(
        helper.make_function("own", "Twice", ["i"], ["o"], [node("Add", "i,i", "o")], [helper.make_opsetid("", 18)])
    )
    return m


MODELS = {
    "control flow": with_control_flow,
    "old fashioned": old_fashioned,
    "LeNet": lambda: onnxio.to_model(zoo.lenet(size=8)),
    "transformer": lambda: onnxio.to_model(zoo.transformer_encoder(vocabulary=8, length=4, width=8, heads=2, depth=1)),
}


# ---- ways to damage a model ---------------------------------------------------------------------------


def flip_bytes(m, rng):
    data = bytearray(m.SerializeToString())
    for _ in range(rng.integers(1, 8)):
        data[rng.integers(len(data))] = rng.integers(256)
    return bytes(data)


def flip_bytes_of_the_structure(m, rng):
    """Most bytes of a file are weights; damage what lies between them."""
    for t in m.graph.initializer:
        t.raw_data = t.raw_data[:8]
    return flip_bytes(m, rng)


def cut(m, rng):
    data = m.SerializeToString()
    at, width = rng.integers(len(data)), rng.integers(1, 200)
    return data[:at] if rng.integers(2) else data[:at] + data[at + width :]


def repeat(m, rng):
    data = m.SerializeToString()
    at, width = rng.integers(len(data)), rng.integers(1, 200)
    return data[: at + width] + data[at:]


def rename(m, rng):
    """A tensor of one node becomes another tensor, or none."""
    n = pick(m.graph.node, rng)
    names = [o for k in m.graph.node for o in k.output] + [t.name for t in m.graph.initializer] + ["", "nowhere"]
    side = n.input if len(n.input) and rng.integers(2) else n.output
    if len(side):
        side[rng.integers(len(side))] = pick(names, rng)


def reorder(m, rng):
    nodes = list(m.graph.node)
    kept = [nodes[k] for k in rng.permutation(len(nodes))]
    copies = [type(n).FromString(n.SerializeToString()) for n in kept]
    del m.graph.node[:]
    m.graph.node.extend(copies[: len(copies) - int(rng.integers(2))])


def swap_operators(m, rng):
    a, b = pick(m.graph.node, rng), pick(m.graph.node, rng)
    a.op_type, b.op_type = b.op_type, a.op_type


def change_a_number(m, rng):
    """Of an attribute."""
    attributes = [a for n in m.graph.node for a in n.attribute]
    a = pick(attributes, rng)
    if len(a.ints) and rng.integers(2):
        a.ints[rng.integers(len(a.ints))] = pick(NUMBERS, rng)
    elif len(a.ints):
        a.ints.append(pick(NUMBERS, rng))
    elif a.type == 2:
        a.i = pick(NUMBERS, rng)
    elif a.type == 1:
        a.f = pick((0.0, -1.0, 1e30, float("nan"), float("inf")), rng)
    else:
        a.s = b"nonsense"


def change_an_attribute(m, rng):
    nodes = [n for n in m.graph.node if n.attribute]
    n = pick(nodes, rng)
    a = n.attribute[rng.integers(len(n.attribute))]
    kind = rng.integers(3)
    if kind == 0:
        n.attribute.remove(a)
    elif kind == 1:
        a.name = pick(("axis", "axes", "strides", "value", "nonsense"), rng)
    else:
        a.type = pick((0, 1, 2, 3, 4, 5, 6, 7, 8), rng)


def change_a_tensor(m, rng):
    t = pick(m.graph.initializer, rng)
    kind = rng.integers(4)
    if kind == 0 and len(t.dims):
        t.dims[rng.integers(len(t.dims))] = pick(NUMBERS, rng)
    elif kind == 1:
        t.data_type = pick(range(24), rng)
    elif kind == 2:
        t.raw_data = t.raw_data[: rng.integers(len(t.raw_data) + 1)]
    else:
        t.dims.append(pick(NUMBERS, rng))


def change_metadata(m, rng):
    """The numbers of an int64 tensor, which decide shapes."""
    ints = [t for t in m.graph.initializer if t.data_type == TensorProto.INT64]
    ints += [a.t for n in m.graph.node for a in n.attribute if a.type == 4 and a.t.data_type == TensorProto.INT64]
    if not ints:
        return
    t = pick(ints, rng)
    numbers = [pick(NUMBERS, rng) for _ in range(int(np.prod(t.dims)))]
    t.CopyFrom(helper.make_tensor(t.name, TensorProto.INT64, list(t.dims), numbers))


def change_a_size(m, rng):
    value = pick([*m.graph.input, *m.graph.output], rng).type.tensor_type
    if rng.integers(3) == 0:
        value.elem_type = pick(range(24), rng)
    elif len(value.shape.dim):
        d = value.shape.dim[rng.integers(len(value.shape.dim))]
        d.dim_value = pick(NUMBERS, rng)


def change_versions(m, rng):
    if rng.integers(3):
        m.opset_import[0].version = pick((*range(-1, 35), *NUMBERS), rng)
    else:
        m.ir_version = pick((*range(-1, 20), *NUMBERS), rng)


DAMAGES = (
    flip_bytes,
    flip_bytes_of_the_structure,
    cut,
    repeat,
    rename,
    reorder,
    swap_operators,
    change_a_number,
    change_an_attribute,
    change_a_tensor,
    change_metadata,
    change_a_size,
    change_versions,
)


def pick(things, rng):
    return things[int(rng.integers(len(things)))]


def damaged(seed):
    """A model, damaged in one to three ways."""
    rng = np.random.default_rng(seed)
    m = pick(list(MODELS.values()), rng)()
    for _ in range(rng.integers(1, 4)):
        m = pick(DAMAGES, rng)(m, rng) or m
        if isinstance(m, bytes):
            return m
    return m.SerializeToString()


# ---- the question -------------------------------------------------------------------------------------


def survives(seed):
    """Reads one damaged model; returns what came of it."""

    def too_late(*_):
        raise TimeoutError(f"seed {seed}: still reading after {SECONDS} s")

    before = signal.signal(signal.SIGALRM, too_late)
    signal.alarm(SECONDS)
    faulthandler.dump_traceback_later(4 * SECONDS, exit=True)  # where no Python code runs, an alarm is not heard
    try:
        return onnxio.read(damaged(seed))
    except AidgeJaxError as e:
        return e
    finally:
        signal.alarm(0)
        faulthandler.cancel_dump_traceback_later()
        signal.signal(signal.SIGALRM, before)


def all_survive(seeds):
    survives(-0)
    start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = [survives(s) for s in seeds]
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start
    assert grown < GIB, f"{grown / GIB:.1f} GiB more memory"
    late = [s for s, e in zip(seeds, found, strict=True) if "TimeoutError" in str(e)]
    assert not late, f"seeds {late} were not read within {SECONDS} s"
    refused = [e for e in found if not isinstance(e, Graph)]
    assert 0.3 * len(seeds) < len(refused) < len(seeds)  # the damage is neither fatal always nor never
    return refused


@pytest.mark.parametrize("part", range(3))
def test_damaged_models_are_read_or_refused(part):
    all_survive(range(100 * part, 100 * part + 100))


@pytest.mark.slow
@pytest.mark.parametrize("part", range(20))
def test_many_damaged_models_are_read_or_refused(part):
    all_survive(range(1000 + 100 * part, 1100 + 100 * part))


def test_the_models_are_sound_before_they_are_damaged():
    for build in MODELS.values():
        assert len(onnxio.read(build().SerializeToString()).nodes) > 10
