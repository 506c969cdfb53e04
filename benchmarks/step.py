"""How fast is a training step in one file, in plain onnxruntime?  Against onnxsim 0.8.1, against our own training and
optimizer models, and in the operators of a target.

    python benchmarks/step.py --onnxsim /path/to/venv/bin/python [--models lenet mlp] [--rounds 15]

onnxsim (pip install onnxsim==0.8.1 onnxruntime, in an environment of its own) is handed each model in the operators
that it takes: Flatten as Reshape, Gelu as Erf, a rank-1 Gather, its batch a number, BatchNormalization frozen; ours
trains it.  All files are executed in turns by the onnxruntime of this environment, one thread, SGD with momentum 0.9.
"""

import argparse
import json
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort

import aidgejax as aj
from aidgejax.onnxio.artifacts.generate import write_artifacts
from aidgejax.onnxio.exporter.opset_downgrade import at_opset
from aidgejax.onnxio.step.write import make_step, to_model
from aidgejax.passes.rewrite import replace_nodes
from aidgejax.training import optim

MODELS = {
    "mlp": (lambda: aj.zoo.mlp(sizes=(64, 32, 10)), 32),
    "lenet": (lambda: aj.zoo.lenet(8), 32),
    "resnet8": (aj.zoo.resnet8, 8),
    "mobilenet": (lambda: aj.zoo.mobilenet_v1(size=48), 4),
    "transformer": (aj.zoo.transformer_encoder, 16),
}
RIVAL = """
import json, sys, onnx
from onnxsim.compile_training import compile_training_loop
model = onnx.load(sys.argv[1])
frozen = {i for n in model.graph.node if n.op_type == "BatchNormalization" for i in n.input[3:]}
read = {i for n in model.graph.node for i in n.input}
params = [t.name for t in model.graph.initializer if t.data_type == 1 and t.name not in frozen and t.name in read
          and not t.name.startswith("const")]
loop = compile_training_loop(model, "loss", params, optimizer="sgd_momentum")
onnx.save(loop.step_graph.model, sys.argv[2])
"""


def plain(graph, rows):
    """The forward pass in what onnxsim takes, and a cross entropy against one-hot targets."""

    def replacement(node):
        if node.op == "Flatten":
            return lambda op, x, **how: op.Reshape(x, (rows, -1))
        if node.op == "Gelu":
            return lambda op, x, **how: op.Mul(op.Mul(x, 0.5), op.Add(op.Erf(op.Mul(x, 0.5**0.5)), 1.0))
        if node.op == "Gather":
            length = next(iter(graph.inputs.values())).shape[1]
            return lambda op, x, ids, **how: op.Reshape(
                op.Gather(x, op.Reshape(ids, (-1,)), axis=0), (rows, length, x.shape[1])
            )
        return None

    copy = graph.copy()
    for name, v in graph.inputs.items():
        copy.inputs[name] = aj.graph.Value(name, (rows, *v.shape[1:]), v.dtype)
    copy = aj.infer_shapes(replace_nodes(aj.infer_shapes(copy), replacement))
    (scores,) = copy.outputs
    classes = copy.value(scores).shape[1]
    hot = copy.input("hot", (rows, classes))
    op = copy.op
    each = op.Mul(op.Log(op.Softmax(scores, axis=1)), hot)
    copy.add("Mul", [op.ReduceSum(each, keepdims=0), -1.0 / rows], names=["loss"])
    copy.outputs = ["loss"]
    return copy


def feeds_of(session):
    rng = np.random.default_rng(0)
    kinds = {"tensor(float)": np.float32, "tensor(int64)": np.int64, "tensor(int32)": np.int32, "tensor(bool)": bool}
    return {
        i.name: np.asarray(rng.integers(0, 2, i.shape) if "int" in i.type else rng.normal(size=i.shape) * 0.05).astype(
            kinds[i.type]
        )
        for i in session.get_inputs()
    }


def session_of(model):
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    data = model if isinstance(model, str) else model.SerializeToString()
    return ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def in_turns(calls, rounds):
    """{name: (the fastest milliseconds, the median over the rounds of its time divided by ours)}"""
    times = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            times[name].append((time.perf_counter() - start) * 1e3)
    ours = np.array(times["ours"])
    return {name: (min(t), float(np.median(np.array(t) / ours))) for name, t in times.items()}


def runs(session):
    feeds = feeds_of(session)
    return lambda: session.run(None, feeds)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--onnxsim", help="the python of an environment with onnxsim 0.8.1")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args()
    ort.set_default_logger_severity(3)
    print(f"onnxruntime {ort.__version__}, 1 thread, the fastest of {args.rounds} rounds in turns")
    for name in args.models:
        build, rows = MODELS[name]
        start = time.perf_counter()
        step = make_step(build(), optimizer=optim.sgd(momentum=0.9), loss="cross_entropy", batch=rows)
        model = to_model(step)
        wrote = time.perf_counter() - start
        calls = {"ours": runs(session_of(model))}
        sizes = {"ours": len(model.graph.node)}
        for target in ("webnn", "elementary"):
            bound = to_model(step, target=target)
            calls[target], sizes[target] = runs(session_of(bound)), len(bound.graph.node)
        with tempfile.TemporaryDirectory() as folder:
            folder = Path(folder)
            calls["artifacts"] = artifacts(build(), rows, folder)
            if args.onnxsim:
                forward, rival = str(folder / "forward.onnx"), str(folder / "rival.onnx")
                onnx.save(at_opset(plain(build(), rows), 17)[0], forward)
                done = subprocess.run([args.onnxsim, "-c", RIVAL, forward, rival], capture_output=True, text=True)
                if done.returncode:
                    print(f"{name}: onnxsim refuses: {done.stderr.strip().splitlines()[-1][:200]}")
                else:
                    calls["onnxsim"] = runs(session_of(rival))
                    sizes["onnxsim"] = len(onnx.load(rival).graph.node)
            for call in calls.values():
                call()
            best = in_turns(calls, args.rounds)
        print(f"{name:12} batch {rows:3}  written in {wrote:.1f} s  nodes {json.dumps(sizes)}")
        fastest = best["ours"][0]
        shown = {k: f"{v:.2f} ms, {v / fastest:.2f} x, in pairs {pair:.2f} x" for k, (v, pair) in best.items()}
        print("   " + "; ".join(f"{k} {v}" for k, v in shown.items()))


def artifacts(graph, rows, folder):
    """Our training and optimizer models, one after the other."""
    for name, v in list(graph.inputs.items()):
        graph.inputs[name] = aj.graph.Value(name, (rows, *v.shape[1:]), v.dtype)
    onnx.save(aj.onnxio.to_model(graph), folder / "m.onnx")
    write_artifacts(folder / "m.onnx", folder, loss="CrossEntropyLoss", optimizer=optim.sgd(momentum=0.9))
    both = [runs(session_of(str(folder / f"{n}_model.onnx"))) for n in ("training", "optimizer")]
    return lambda: [call() for call in both]


if __name__ == "__main__":
    main()
