"""What tests/training/test_parallel.py asks about, computed in one process of eight devices; prints JSON."""

import json
import os
import sys
import tempfile
import time
import warnings
from pathlib import Path
from unittest import mock

import jax
import numpy as np

jax.config.update("jax_num_cpu_devices", int(os.environ.get("DEVICES", 8)))  # of each process, for two_processes.py
jax.config.update("jax_disable_most_optimizations", True)  # compiles in half of the time
warnings.simplefilter("error")

from aidgejax import infer_shapes, make_program, quant, with_loss, zoo  # noqa: E402
from aidgejax.errors import AidgeJaxError, NonFiniteError  # noqa: E402
from aidgejax.execution.communication import communication  # noqa: E402
from aidgejax.execution.numpy_program import NumpyProgram  # noqa: E402
from aidgejax.graph import Graph  # noqa: E402
from aidgejax.passes.precision import precision  # noqa: E402
from aidgejax.passes.recompute import recompute  # noqa: E402
from aidgejax.tools.spread import spread  # noqa: E402
from aidgejax.training import metrics, optim, pytrees, schedule  # noqa: E402
from aidgejax.training.checkpoint import load, save  # noqa: E402
from aidgejax.training.data import Dataset, digits  # noqa: E402
from aidgejax.training.fit import fit  # noqa: E402
from aidgejax.training.loop import make_epoch, make_step, start  # noqa: E402
from aidgejax.training.parallel import data_parallel, replicated, sharded  # noqa: E402
from aidgejax.training.placed_arrays import bytes_per_device  # noqa: E402

EPOCHS = 10
found = {}


def lenet():
    """A LeNet with batch normalization and dropout, for images of 8 x 8."""
    rng = np.random.default_rng(0)
    graph = Graph("lenet")
    op = graph.op

    def weight(name, *shape):
        return graph.parameter(name, (rng.normal(size=shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32))

    def norm(name, y, n):
        ones, zeros = np.ones(n, np.float32), np.zeros(n, np.float32)
        own = graph.parameter(f"{name}.scale", ones), graph.parameter(f"{name}.bias", zeros)
        return op.BatchNormalization(y, *own, graph.buffer(f"{name}.mean", zeros), graph.buffer(f"{name}.var", ones))

    x = graph.input("x", ("N", 1, 8, 8))
    y = op.Relu(norm("bn1", op.Conv(x, weight("c1", 8, 1, 3, 3), kernel_shape=(3, 3), pads=(1, 1, 1, 1)), 8))
    y = op.MaxPool(y, kernel_shape=(2, 2), strides=(2, 2))
    y = op.Relu(norm("bn2", op.Conv(y, weight("c2", 16, 8, 3, 3), kernel_shape=(3, 3)), 16))
    y = op.Dropout(op.Flatten(y), 0.25, True)
    y = op.Relu(op.Gemm(y, weight("f1", 64, 64), transB=1))
    graph.output(op.Gemm(y, weight("f2", 10, 64), transB=1, name="logits"))
    return graph


class Training:
    """A graph with its programs, made once so that they are compiled once for each placement."""

    def __init__(self, graph, data, test=None, rate=0.01, **more):
        graph = with_loss(infer_shapes(graph), "cross_entropy", reduction="rows")
        self.program, self.data, self.test = make_program(graph, training=True), data, test
        self.tested = make_program(graph, training=False) if test is not None else None
        self.optimizer, self.rate = optim.sgd(momentum=0.9), schedule.constant(rate)
        self.metrics = {"accuracy": lambda outputs, batch: metrics.accuracy(outputs["logits"], batch["target"])}
        self.more = {"batch_size": 64} | more

    def __call__(self, placement, epochs=EPOCHS, **more):
        began = time.perf_counter()
        out = fit(
            self.program,
            self.optimizer,
            self.rate,
            self.data,
            epochs=epochs,
            metrics=self.metrics,
            placement=placement,
            test=self.test,
            test_program=self.tested,
            **self.more | more,
        )
        print(f"{self.program.graph.name}, {placement}: {time.perf_counter() - began:.1f} s", file=sys.stderr)
        return out


def distance(a, b):
    a, b = (jax.device_get((s.params, s.buffers)) for s in (a, b))
    return max(float(np.abs(np.float64(x) - y).max()) for x, y in zip(*map(jax.tree.leaves, (a, b)), strict=True))


def equal(a, b):
    a, b = (jax.tree.leaves(jax.device_get(s._replace(key=jax.random.key_data(s.key)))) for s in (a, b))
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def share(state):
    """Parameters and optimizer state: the bytes on the fullest device, of all bytes."""
    both = state.params, state.opt
    return bytes_per_device(both) / sum(x.nbytes for x in jax.tree.leaves(both))


def parts(state):
    """A sharded state written in pieces, as by several processes; read onto 8, 2 and 1 devices, and into NumPy."""
    places = state, sharded(mesh=2).place(state), jax.device_put(state, jax.devices()[0])
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "state.ckpt")
        with mock.patch.object(pytrees, "is_split", lambda x: isinstance(x, jax.Array) and not x.is_fully_replicated):
            save(file, state)
            save(file, state)  # which takes the part of the first away
        beside = len(list(Path(folder).iterdir()))
        plain = all(np.array_equal(load(file)["params"][k], v) for k, v in state.params.items())
        return beside, plain, [equal(state, load(file, like=place)) for place in places]


def lenets():
    data, test = digits()[:640], digits()[1600:1797]  # 197 rows to test, which 8 does not divide
    train = Training(lenet(), data, test)
    one, history = train(None)
    for name, placement in (("data parallel", data_parallel()), ("sharded", sharded())):
        many, shared = train(placement)
        figures = max(abs(a[k] - b[k]) for a, b in zip(history, shared, strict=True) for k in a)
        found[f"lenet, {name}"] = {"params": distance(one, many), "figures": figures, "share": share(many)}
        half, _ = train(placement, EPOCHS // 2)
        with tempfile.TemporaryDirectory() as folder:
            save(Path(folder, "half.ckpt"), half)
            read = load(Path(folder, "half.ckpt"), like=half)
            elsewhere = load(Path(folder, "half.ckpt"), like=jax.device_put(jax.device_get(half), jax.devices()[0]))
        found[f"lenet, {name}"]["parts"] = parts(half)
        again, _ = train(placement, EPOCHS // 2, state=read)
        moved, _ = train(None, EPOCHS // 2, state=elsewhere)
        found[f"lenet, {name}"] |= {"restart equal": equal(many, again), "to one device": distance(one, moved)}
    state = jax.eval_shape(lambda: start(train.program, train.optimizer, jax.random.key(0)))
    rows = {"x": np.zeros((2, 64, 1, 8, 8), np.float32), "target": np.zeros((2, 64), np.int32)}
    step = make_step(train.program, train.optimizer, train.rate, placement=data_parallel())
    compiled = make_epoch(step).lower(state, data_parallel().place_batches(rows)).compile()
    found["lenet sends"] = {c.kind: (c.number, c.bytes) for c in communication(compiled, steps=2)}
    found["lenet params"] = sum(v.nbytes for v in train.program.graph.params.values())
    found["lenet loss"] = history[0]["loss"], history[-1]["loss"]


def transformer():
    """Of one block, on the digits as 16 tokens."""
    rows = np.round(digits().columns["x"].reshape(-1, 64)[:256, 1::4] * 16).astype(np.int64)  # 16 tokens of 0 to 16
    data = Dataset(x=rows, target=digits().columns["target"][:256])
    graph = zoo.transformer_encoder(32, 16, width=32, heads=4, depth=1, dropout=0.1)
    return Training(graph, data)


def transformers(ways=("sharded", "by heads")):
    train = transformer()
    one, history = train(None)
    heads = {"*.attention*.weight": (None, "model"), "*.up.weight": (None, "model"), "*.down.weight": ("model",)}
    all_ways = {
        "data parallel": data_parallel,
        "sharded": sharded,
        "by heads": lambda: sharded(heads, {"data": 2, "model": 4}),
    }
    for name in ways:
        many, _ = train(all_ways[name]())
        found[f"transformer, {name}"] = {"params": distance(one, many), "share": share(many)}
    found["transformer loss"] = history[0]["loss"], history[-1]["loss"]


def transformer_by_rows():
    transformers(["data parallel"])


def deep():
    """8 layers of 256 x 256: what lies on a device while a step runs, and what is sent."""
    graph = zoo.mlp((256,) * 9 + (16,))
    rows = {"x": np.zeros((3, 16, 256), np.float32), "target": np.zeros((3, 16), np.int32)}
    low = quant.calibrate(quant.convert(graph, quant.bits(4)), {"x": np.eye(16, 256, dtype=np.float32)})
    ways = {
        "data parallel": (graph, optim.adam(), data_parallel()),
        "sharded": (graph, optim.adam(), sharded()),
        "4 bits in bfloat16": (low, quant.with_steps(optim.sgd(momentum=0.9), low), sharded()),
    }
    layer = 256 * 256 * 4
    for name, (graph, optimizer, placement) in ways.items():
        graph = with_loss(infer_shapes(graph), "cross_entropy", reduction="rows")
        program = make_program(precision(graph) if "bfloat16" in name else graph, training=True)
        step = make_step(program, optimizer, schedule.constant(0.01))
        state = start(program, optimizer, jax.random.key(0), placement=placement)
        compiled = make_epoch(step, placement=placement).lower(state, placement.place_batches(rows)).compile()
        sent = {c.kind: (c.number, c.bytes / layer) for c in communication(compiled, steps=3)}
        temporary = compiled.memory_analysis().temp_size_in_bytes / layer
        found[f"deep, {name}"] = {"share": share(state), "temporaries, layers": temporary, "sent a step": sent}


def uneven():
    """Networks with channels that eight devices do not divide; 84 over four of them and 10 over two is all of eight."""
    found["uneven"] = {}
    found["said"] = sharded().uneven(zoo.mlp((30, 50, 10)).params), sharded().uneven(zoo.lenet(8).params)
    for graph in (zoo.lenet(8), zoo.mobilenet_v1(size=32)):
        params = jax.eval_shape(lambda params: params, graph.params)
        own = sharded().parameter_shardings(params)
        held = sum(v.dtype.itemsize * np.prod(own[k].shard_shape(v.shape)) for k, v in params.items())
        found["uneven"][graph.name] = held / sum(v.dtype.itemsize * v.size for v in params.values())


def finetuned():
    """quant.finetune, as far as levels do not fall on another side."""
    x = digits().columns["x"][:128].reshape(-1, 64)
    data = Dataset(x=x, target=digits().columns["target"][:128])
    q = quant.calibrate(quant.convert(zoo.mlp((64, 32, 10)), quant.bits(8)), {"x": x})
    ends = [quant.finetune(q, data, epochs=1, placement=p)[1][0]["loss"] for p in (None, sharded())]
    found["finetuned"] = abs(ends[0] - ends[1])


def inspected():
    found["inspected"] = str(spread(zoo.mlp((64, 128, 10)), optim.adam(), sharded(), batch_size=32))


def convolved():
    """A convolution whose weight gradient goes through the batch in pieces, by form: nothing of it is compared here."""
    found["convolved"] = {}
    for name, group in (("plain", 1), ("depthwise", 32)):
        graph = Graph("convolved")
        w = graph.parameter("w", np.zeros((32, 32 // group, 3, 3), np.float32))
        y = graph.op.Conv(graph.input("x", ("N", 32, 14, 14)), w, kernel_shape=(3, 3), group=group)
        graph.output(graph.op.GlobalAveragePool(y, name="y"))
        sent = spread(infer_shapes(graph), optim.sgd(), data_parallel(), batch_size=512).sent
        found["convolved"][name] = {c.kind: c.bytes for c in sent}


def gathered():
    from tests.training.rows_apart import gathered_once, sent

    found["gathered"] = sent(gathered_once())


def accumulated():
    """Micro-batches, recomputation and dropout together; and a number that is not finite."""
    graph = recompute(infer_shapes(zoo.mlp((64, 124, 84, 10))), "products")
    rows = digits()[:256]
    data = Dataset(x=rows.columns["x"].reshape(256, 64), target=rows.columns["target"])
    train = Training(graph, data, batch_size=32, accumulate=2)
    one, _ = train(None, 3)
    many, _ = train(sharded(), 3)
    found["accumulated"] = {"params": distance(one, many)}
    bad = dict(data.columns, x=data.columns["x"].copy())
    bad["x"][77, 3] = np.nan
    failing = Training(graph, Dataset(bad), batch_size=32, accumulate=2)
    failing.program, failing.metrics, failing.optimizer, failing.rate = (
        train.program, train.metrics, train.optimizer, train.rate,
    )  # fmt: skip
    try:
        failing(sharded(), 1)
    except NonFiniteError as e:
        found["not finite"] = [str(e), all(bool(np.isfinite(v).all()) for v in e.state.params.values())]
    skipped, history = failing(sharded(), 1, on_nonfinite="skip")
    found["skipped"] = [len(history), all(bool(np.isfinite(v).all()) for v in skipped.params.values())]


def refused():
    program = make_program(with_loss(infer_shapes(zoo.mlp((64, 30, 10))), "cross_entropy", reduction="rows"))
    data = Dataset(x=np.zeros((64, 64), np.float32), target=np.zeros(64, np.int64))

    def message(f, *args, **kwargs):
        try:
            f(*args, **kwargs)
        except AidgeJaxError as e:
            return str(e)

    found["refused"] = {
        "batch": message(
            fit, program, optim.sgd(), schedule.constant(1), data, epochs=1, batch_size=20, placement=data_parallel()
        ),
        "axis": message(sharded({"fc1.weight": ("model",)}, {"model": 4}).parameter_shardings, program.graph.params),
        "rule": message(sharded({"conv*": ("data",)}).parameter_shardings, program.graph.params),
        "mesh axis": message(sharded, {"fc1.weight": ("modle",)}, {"model": 4}),
        "too many": message(data_parallel, 9),
        "numpy": message(make_step, NumpyProgram(program), optim.sgd(), schedule.constant(1), placement=replicated()),
    }


if __name__ == "__main__":
    for part in sys.argv[1:] or (
        "lenets",
        "transformers",
        "deep",
        "uneven",
        "inspected",
        "convolved",
        "gathered",
        "accumulated",
        "refused",
    ):
        globals()[part]()
    print(json.dumps(found, indent=1))
