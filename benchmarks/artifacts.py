"""What does a training step of the artifacts cost in plain onnxruntime, against ONNX Runtime's own training build?

The training build trains the artifacts that it made itself of the same model.  All sides must compute the same losses;
they take turns step by step, and a ratio is the median of the ratios of the rounds, ours over theirs.

    python benchmarks/artifacts.py [--peer PYTHON] [--rounds 15] [--threads 1] [--models resnet8] [--cpu-time]

PYTHON: an interpreter with onnxruntime-training 1.19.2; without one, only our side is timed, in onnxruntime and in JAX.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import warnings
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np
import onnx

from aidgejax import onnxio
from aidgejax.frontends.onnxruntime.training import artifacts
from aidgejax.frontends.onnxruntime.training.api import CheckpointState, Module, Optimizer
from aidgejax.interpreter.shape_inference import infer_shapes
from aidgejax.tools import zoo

THERE = """
import json, sys, time
from importlib.machinery import ModuleSpec
from unittest.mock import MagicMock
import numpy as np

class Stub:  # the package imports torch for a part that is not used here
    def find_spec(self, name, path=None, target=None):
        return ModuleSpec(name, self, is_package=True) if name.split(".")[0] == "torch" else None
    def create_module(self, spec):
        m = MagicMock(name=spec.name)
        m.__path__, m.__spec__, m.__name__, m.__version__ = [], spec, spec.name, "2.1.0"
        return m
    def exec_module(self, module):
        pass

sys.meta_path.append(Stub())
import onnx, onnxruntime
from onnxruntime.training import artifacts
from onnxruntime.training.api import CheckpointState, Module, Optimizer
folder, threads, clock = sys.argv[1], int(sys.argv[2]), getattr(time, sys.argv[3])
names = json.load(open(f"{folder}/names.json"))
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = threads
artifacts.generate_artifacts(onnx.load(f"{folder}/model.onnx"), requires_grad=names["trainable"],
    frozen_params=names["frozen"], loss=artifacts.LossType.CrossEntropyLoss, optimizer=artifacts.OptimType.AdamW,
    artifact_directory=folder, prefix="ort_")
if onnx.load(f"{folder}/ort_optimizer_model.onnx").ir_version > 10:
    m = onnx.load(f"{folder}/ort_optimizer_model.onnx"); m.ir_version = 10
    onnx.save(m, f"{folder}/ort_optimizer_model.onnx")
data = np.load(f"{folder}/data.npz")
state = CheckpointState.load_checkpoint(f"{folder}/ort_checkpoint")
module = Module(f"{folder}/ort_training_model.onnx", state, session_options=options)
optimizer = Optimizer(f"{folder}/ort_optimizer_model.onnx", module)
for _ in sys.stdin:
    start = clock()
    loss = module(data["x"], data["labels"])
    optimizer.step(); module.lazy_reset_grad()
    print(json.dumps([float(np.ravel(loss)[0]), clock() - start]), flush=True)
"""


def transformer(vocabulary=64, width=64, length=32, seed=0):
    """One block of attention and one of two layers, on tokens; its output is one row of scores per sequence."""
    draw = np.random.default_rng(seed)
    from aidgejax.graph import Graph

    graph = Graph("transformer")
    op = graph.op
    weight = lambda name, *shape: graph.parameter(name, (draw.normal(size=shape) / shape[0] ** 0.5).astype("f4"))
    tokens = graph.input("x", ("N", length), "int64")
    h = op.Gather(weight("embedding", vocabulary, width), tokens, axis=0)
    q, k, v = (op.MatMul(h, weight(n, width, width)) for n in ("q", "k", "v"))
    scores = op.Mul(op.MatMul(q, op.Transpose(k, perm=(0, 2, 1))), width**-0.5)
    h = op.Add(h, op.MatMul(op.Softmax(scores, axis=-1), v))
    ones, zeros = np.ones(width, np.float32), np.zeros(width, np.float32)
    h, *_ = op.LayerNormalization(
        h, graph.parameter("ln.scale", ones), graph.parameter("ln.bias", zeros), outputs=3, axis=-1
    )
    h = op.Add(h, op.MatMul(op.Relu(op.MatMul(h, weight("up", width, 4 * width))), weight("down", 4 * width, width)))
    graph.output(op.MatMul(op.ReduceMean(h, (1,), keepdims=0), weight("head", width, 10), name="logits"))
    return infer_shapes(graph), draw.integers(0, vocabulary, (64, length))


def resnet8(seed=0):
    return zoo.resnet8(), np.random.default_rng(seed).normal(size=(64, 3, 32, 32)).astype("f4")


def ours(folder, data, backend, threads, clock):
    """One training step, as a function: -> (loss, seconds)."""
    options = None
    if backend == "onnxruntime":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
    state = CheckpointState.load_checkpoint(folder / "checkpoint")
    module = Module(folder / "training_model.onnx", state, session_options=options, backend=backend)
    optimizer = Optimizer(folder / "optimizer_model.onnx", module)

    def step():
        start = clock()
        loss = float(module(data["x"], data["labels"]))
        optimizer.step()
        module.lazy_reset_grad()
        return loss, clock() - start

    return step


@contextmanager
def theirs(python, folder, threads, clock):
    """The same in another interpreter, which makes a step for every line that it is given."""
    with tempfile.TemporaryFile("w+") as errors:
        peer = subprocess.Popen(
            [python, "-c", THERE, folder, str(threads), clock.__name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )

        def step():
            peer.stdin.write("\n")
            peer.stdin.flush()
            if not (line := peer.stdout.readline()):
                errors.seek(0)
                sys.exit(errors.read())
            return json.loads(line)

        try:
            yield step
        finally:
            peer.stdin.close()
            peer.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", metavar="PYTHON")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--models", nargs="+", choices=("resnet8", "transformer"), default=["resnet8", "transformer"])
    parser.add_argument("--cpu-time", action="store_true", help="seconds of the processor instead of the clock's")
    args = parser.parse_args()
    clock = time.process_time if args.cpu_time else time.perf_counter
    for name in args.models:
        graph, x = {"resnet8": resnet8, "transformer": transformer}[name]()
        folder = Path(tempfile.mkdtemp())
        onnxio.write(graph, None, folder / "model.onnx", opset=17 if name == "resnet8" else 18)
        data = {"x": x, "labels": np.random.default_rng(1).integers(0, 10, 64)}
        np.savez(folder / "data.npz", **data)
        names = {"trainable": list(graph.params), "frozen": list(graph.buffers)}
        (folder / "names.json").write_text(json.dumps(names))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            artifacts.generate_artifacts(
                str(folder / "model.onnx"),
                names["trainable"],
                names["frozen"],
                artifacts.LossType.CrossEntropyLoss,
                artifacts.OptimType.AdamW,
                folder,
            )
        peer = theirs(args.peer, folder, args.threads, clock) if args.peer else nullcontext()
        with peer as step:
            sides = {
                "plain onnxruntime": ours(folder, data, "onnxruntime", args.threads, clock),
                "JAX": ours(folder, data, "jax", args.threads, clock),
            }
            if step:
                sides["ORT training 1.19.2"] = step
            rounds = [[take() for take in sides.values()] for _ in range(args.rounds)]
        losses, times = np.moveaxis(np.array(rounds), -1, 0)
        np.testing.assert_allclose(losses[:5], np.broadcast_to(losses[:5, :1], losses[:5].shape), rtol=1e-3)
        nodes = len(onnx.load(folder / "training_model.onnx").graph.node)
        print(f"{name}, batch 64, f32, {args.threads} thread(s) in onnxruntime; {nodes} nodes")
        times = times[2:]  # the first calls prepare
        for who, own in zip(sides, times.T, strict=True):
            low, ratio, high = np.quantile(own / times[:, -1 if step else 0], [0.25, 0.5, 0.75])
            print(f"  {who:20} {np.median(own) * 1e3:8.2f} ms/step   ratio {ratio:5.2f} ({low:.2f} to {high:.2f})")
        for file in sorted(folder.glob("*training_model.onnx")) + sorted(folder.glob("*checkpoint")):
            print(f"  {file.name:26} {file.stat().st_size:9} bytes")


if __name__ == "__main__":
    main()
