"""How do loading and compiling grow with the number of nodes?  Chains from 10 to 2000 nodes, training steps included.

    python benchmarks/loading.py --nodes 10 100 1000 --networks dense

For each chain: reading the ONNX model, writing the gradient graph, lowering the whole training step (tracing to
StableHLO), XLA's compilation, and writing the model, in seconds of CPU time (of all threads: other programs do not
count); then the power of the number of nodes by which each grew from about 100 nodes on (1 is linear).  The loaded
model's output is compared with onnxruntime's before anything is timed, where it is there.
"""

import argparse
import importlib.util
import time

import jax
import numpy as np
from onnx import TensorProto, helper, numpy_helper

from aidgejax import make_program, onnxio
from aidgejax.passes.loss import with_loss
from aidgejax.training import optim, schedule
from aidgejax.training.loop import make_step, start

WIDTH = 8


def dense(nodes, rng):
    """MatMul, Add, Relu, and a skip connection in every block of four."""
    made, tensors, last = [], {}, "x"
    for k in range(nodes // 4):
        tensors[f"w{k}"] = rng.normal(0, 0.1, (WIDTH, WIDTH)).astype(np.float32)
        tensors[f"b{k}"] = rng.normal(0, 0.1, WIDTH).astype(np.float32)
        made += [
            ("MatMul", [last, f"w{k}"], f"m{k}", {}),
            ("Add", [f"m{k}", f"b{k}"], f"a{k}", {}),
            ("Relu", [f"a{k}"], f"r{k}", {}),
            ("Add", [f"r{k}", last], f"s{k}", {}),
        ]
        last = f"s{k}"
    return made, tensors, (WIDTH,)


def convolution(nodes, rng):
    """Conv, BatchNormalization, Relu, and a skip connection in every block of four, on images of 4 x 4."""
    made, tensors, last = [], {}, "x"
    for k in range(nodes // 4):
        tensors[f"w{k}"] = rng.normal(0, 0.1, (WIDTH, WIDTH, 3, 3)).astype(np.float32)
        tensors |= {f"{n}{k}": np.full(WIDTH, v, np.float32) for n, v in (("g", 1), ("b", 0), ("m", 0), ("v", 1))}
        made += [
            ("Conv", [last, f"w{k}"], f"c{k}", {"pads": [1, 1, 1, 1]}),
            ("BatchNormalization", [f"c{k}", f"g{k}", f"b{k}", f"m{k}", f"v{k}"], f"n{k}", {}),
            ("Relu", [f"n{k}"], f"r{k}", {}),
            ("Add", [f"r{k}", last], f"s{k}", {}),
        ]
        last = f"s{k}"
    return made, tensors, (WIDTH, 4, 4)


def attention(nodes, rng):
    """A head of self-attention with the Shape, Gather and Reshape that exporters write around it: 20 nodes a block."""
    made, last, length = [], "x", 4
    tensors = {
        "zero": np.array(0),
        "one": np.array(1),
        "heads": np.array([2]),
        "size": np.array([WIDTH // 2]),
        "all": np.array([WIDTH]),
        "first": np.array([0]),
    }
    for k in range(nodes // 20):
        n = lambda s, k=k: f"{s}{k}"
        made += [
            ("Shape", [last], n("shape"), {}),
            ("Gather", [n("shape"), "zero"], n("n"), {}),
            ("Gather", [n("shape"), "one"], n("s"), {}),
            ("Unsqueeze", [n("n"), "first"], n("n1_"), {}),
            ("Unsqueeze", [n("s"), "first"], n("s1_"), {}),
            ("Concat", [n("n1_"), n("s1_"), "heads", "size"], n("split"), {"axis": 0}),
            ("Concat", [n("n1_"), n("s1_"), "all"], n("join"), {"axis": 0}),
        ]
        for h, perm in (("q", [0, 2, 1, 3]), ("k", [0, 2, 3, 1]), ("v", [0, 2, 1, 3])):
            tensors[n(f"w{h}")] = rng.normal(0, 0.3, (WIDTH, WIDTH)).astype(np.float32)
            made += [
                ("MatMul", [last, n(f"w{h}")], n(f"{h}1_"), {}),
                ("Reshape", [n(f"{h}1_"), n("split")], n(f"{h}2_"), {}),
                ("Transpose", [n(f"{h}2_")], n(f"{h}3_"), {"perm": perm}),
            ]
        made += [
            ("MatMul", [n("q3_"), n("k3_")], n("scores"), {}),
            ("Softmax", [n("scores")], n("p"), {"axis": -1}),
            ("MatMul", [n("p"), n("v3_")], n("mixed"), {}),
            ("Transpose", [n("mixed")], n("turned"), {"perm": [0, 2, 1, 3]}),
            ("Reshape", [n("turned"), n("join")], n("joined"), {}),
            ("Add", [n("joined"), last], n("out"), {}),
        ]
        last = n("out")
    return made, tensors, (length, WIDTH)


NETWORKS = {"dense": dense, "convolution": convolution, "attention": attention}


def model_of(network, nodes):
    made, tensors, shape = NETWORKS[network](nodes, np.random.default_rng(0))
    last = made[-1][2]
    protos = [helper.make_node(op, i, [o], f"{op}_{k}", **attrs) for k, (op, i, o, attrs) in enumerate(made)]
    info = lambda name, shape: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
    body = helper.make_graph(
        protos,
        network,
        [info("x", ["N", *shape])],
        [info(last, ["N", *shape])],
        [numpy_helper.from_array(a, n) for n, a in tensors.items()],
    )
    return helper.make_model(body, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), shape


def check(model, graph, x):
    if importlib.util.find_spec("onnxruntime") is None:
        return
    import onnxruntime

    from aidgejax import run

    want = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})[0]
    np.testing.assert_allclose(run(graph, {"x": x})[0], want, rtol=1e-4, atol=1e-4 * np.abs(want).max())


def measure(network, nodes, batch=4):
    """(nodes of the graph and of its gradient, seconds of each phase)"""
    model, shape = model_of(network, nodes)
    x = np.random.default_rng(1).normal(size=(batch, *shape)).astype(np.float32)
    data = model.SerializeToString()
    times = {}

    def timed(phase, f):
        began = time.process_time()
        result = f()
        times[phase] = time.process_time() - began
        return result

    graph = timed("read", lambda: onnxio.read(data))
    if nodes <= 100:
        check(model, graph, x)
    program = make_program(with_loss(graph, "mse"), training=True)
    timed("gradient", lambda: program.gradient)
    optimizer = optim.sgd()
    step = jax.jit(make_step(program, optimizer, schedule.constant(0.01)))
    state = start(program, optimizer, jax.random.key(0))
    lowered = timed("lower", lambda: step.lower(state, {"x": x, "target": x}))
    timed("compile", lowered.compile)
    timed("write", lambda: onnxio.to_model(graph))
    return (len(graph.nodes), len(program.gradient.nodes)), times


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, nargs="+", default=[10, 30, 100, 300, 1000, 2000])
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=list(NETWORKS))
    args = parser.parse_args()
    for network in args.networks:
        measure(network, 20)  # so that imports and first calls are not counted
        print(f"\n{network}\n{'nodes':>6} {'gradient':>8}   seconds: read  gradient     lower   compile     write")
        rows = []
        for n in args.nodes:
            (nodes, backward), times = measure(network, max(n, 20 if network == "attention" else 4))
            rows.append((nodes, times))
            print(f"{nodes:6} {backward:8}     " + " ".join(f"{t:9.3f}" for t in times.values()), flush=True)
        rows = [r for r in rows if r[0] >= 100]
        if len(rows) > 1:
            (a, ta), (b, tb) = rows[0], rows[-1]
            grown = [np.log(tb[p] / ta[p]) / np.log(b / a) for p in tb]
            print(f"{'grew with the power':>20} " + " ".join(f"{g:9.2f}" for g in grown))


if __name__ == "__main__":
    main()
