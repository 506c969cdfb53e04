"""What several devices cost and need: time on this machine, bytes from compiled programs, and the rest on paper.

    python benchmarks/spread.py time     # an epoch on 2 host devices against one with the same total work
    python benchmarks/spread.py bytes    # ResNet-50 and a BERT-like network over 8 devices: held, and sent by a step
    python benchmarks/spread.py paper    # the same, and from it the scaling to 8 and 64 H100s

`time` takes turns, and checks first that both end with the same parameters to 1e-5; the ratio of CPU times tells what a
busy machine hides.  `paper` multiplies: nothing of it was run on a GPU, and its assumptions are the constants below.
"""

import argparse
import math
import time
from statistics import median

import jax
import numpy as np

from aidgejax.execution.program import make_program
from aidgejax.graph import Graph
from aidgejax.interpreter.shape_inference import infer_shapes
from aidgejax.passes.loss import with_loss
from aidgejax.tools import zoo
from aidgejax.tools.inspect import flops
from aidgejax.tools.spread import spread
from aidgejax.training import optim, schedule
from aidgejax.training.loop import make_epoch, make_step, start
from aidgejax.training.parallel import data_parallel, sharded

PEAK = 989e12  # operations a second of an H100 SXM in bfloat16, dense (data sheet)
REACHED = 0.35  # the share of it that a step reaches: assumed
NVLINK, NETWORK = 450e9, 50e9  # bytes a second and GPU, each way: NVLink 4; one 400 Gb/s adapter per GPU (data sheets)
NODE = 8  # GPUs that share NVLink


def timed(rounds, steps):
    models = {
        "LeNet 28x28, batch 128": (zoo.lenet(size=28), 128),
        "ResNet-8, batch 32": (zoo.resnet8(), 32),
        "transformer, 2 blocks of width 64, batch 64": (zoo.transformer_encoder(64, 32, width=64, heads=4), 64),
    }
    print(f"{'':45} {'1 device':>10} {'2 devices':>10}  ratio of seconds (lowest to highest), of CPU seconds")
    for name, (graph, batch) in models.items():
        program = make_program(with_loss(infer_shapes(graph), "cross_entropy", reduction="rows"), training=True)
        rng, data = np.random.default_rng(0), {}
        for k, v in program.graph.inputs.items():
            shape = (steps, batch, *v.known_shape[1:])
            data[k] = rng.normal(size=shape).astype(np.float32) if v.is_float else rng.integers(0, 10, shape, np.int32)
        step = make_step(program, optim.sgd(momentum=0.9), schedule.constant(1e-3))
        both = []
        for placement in (None, data_parallel(2)):

            def fresh(program=program, placement=placement):
                return start(program, optim.sgd(momentum=0.9), jax.random.key(0), placement=placement)

            rows = jax.device_put(data) if placement is None else placement.place_batches(data)
            both.append((make_epoch(step, placement=placement), fresh, rows))
        ends = [jax.device_get(epoch(fresh(), rows)[0].params) for epoch, fresh, rows in both]
        for k, w in ends[0].items():
            np.testing.assert_allclose(ends[1][k], w, rtol=0, atol=1e-5)
        walls, work = [], []
        for _ in range(rounds):
            now = []
            for epoch, fresh, rows in both:
                state = jax.block_until_ready(fresh())
                began = time.perf_counter(), time.process_time()
                jax.block_until_ready(epoch(state, rows))
                now.append((time.perf_counter() - began[0], time.process_time() - began[1]))
            walls.append([n[0] for n in now])
            work.append(now[1][1] / now[0][1])
        one, two = (min(w[k] for w in walls) / steps * 1e3 for k in (0, 1))
        ratios = sorted(w[1] / w[0] for w in walls)
        print(
            f"{name:45} {one:7.2f} ms {two:7.2f} ms  {median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}), "
            f"{median(work):.2f}",
            flush=True,
        )


def resnet50(base=64, size=224, classes=1000):
    """ResNet-50 (v1.5, stride in the 3 x 3).  base: its first width."""
    rng = np.random.default_rng(0)
    graph = Graph("ResNet-50")
    op, count = graph.op, 0

    def normed(x, n, out, kernel, stride=1, scale=1.0):
        nonlocal count
        count += 1
        w = graph.parameter(f"conv{count}", _he(rng, out, n, kernel, kernel))
        pads = (kernel // 2,) * 4
        y = op.Conv(x, w, kernel_shape=(kernel, kernel), strides=(stride, stride), pads=pads)
        first = {"scale": scale, "bias": 0.0}
        own = [graph.parameter(f"bn{count}.{k}", np.full(out, v, np.float32)) for k, v in first.items()]
        moved = [graph.buffer(f"bn{count}.{k}", np.full(out, k == "var", np.float32)) for k in ("mean", "var")]
        return op.BatchNormalization(y, *own, *moved)

    x = op.Relu(normed(graph.input("x", ("N", 3, size, size)), 3, base, 7, 2))
    x, before = op.MaxPool(x, kernel_shape=(3, 3), strides=(2, 2), pads=(1, 1, 1, 1)), base
    for times, blocks in ((1, 3), (2, 4), (4, 6), (8, 3)):
        inner, after = times * base, 4 * times * base
        for k in range(blocks):
            stride = 2 if k == 0 and times > 1 else 1
            y = op.Relu(normed(x, before, inner, 1))
            y = normed(op.Relu(normed(y, inner, inner, 3, stride)), inner, after, 1, scale=0.25)
            x = normed(x, before, after, 1, stride) if k == 0 else x
            x, before = op.Relu(op.Add(x, y)), after
    x = op.Flatten(op.GlobalAveragePool(x))
    w, b = graph.parameter("fc.w", _he(rng, classes, before)), graph.parameter("fc.b", np.zeros(classes, np.float32))
    graph.output(graph.add("Gemm", [x, w, b], {"transB": 1}, names=["logits"], name="fc")[0])
    return graph


def _he(rng, *shape):
    return rng.normal(0, math.sqrt(2 / math.prod(shape[1:])), shape).astype(np.float32)


def bert():
    graph = zoo.transformer_encoder(30522, 512, width=768, heads=12, depth=12)
    graph.name = "BERT-like, 12 blocks of width 768, 512 tokens"
    return graph


NETWORKS = {  # and the rows of a GPU
    "resnet50": (resnet50, optim.sgd(momentum=0.9), 128),
    "bert": (bert, optim.adam(), 32),
}


def measured(networks):
    """For each network: (name, rows on a GPU, operations of a row's step, {placement: Spread})."""
    for make, optimizer, rows in (NETWORKS[n] for n in networks):
        graph = infer_shapes(make())
        forward = sum(flops(graph, n, {"N": 1}) for n in graph.nodes)
        ways = {"data parallel": data_parallel(8), "sharded": sharded(mesh=8)}
        found = {name: spread(graph, optimizer, way, batch_size=8 * rows) for name, way in ways.items()}
        yield graph.name, rows, 3 * forward, found


def show_bytes(networks):
    for name, _, work, found in measured(networks):
        print(f"{name}: {work / 1e9:.1f} GFLOP a row and step")
        for figures in found.values():
            print(figures, flush=True)


def on_paper(networks):
    """Seconds of computing and of sending, at n GPUs that each have as many rows as one has alone.

    A ring sends 2 (n - 1) / n of an all-reduce's bytes and (n - 1) / n of an all-gather's through the slowest link;
    over several nodes the GPUs of a node reduce first, so that the network carries an eighth for each of them.  The
    bytes are float32, as counted.  "hidden": the backward pass, two thirds of the step, hides what it can.
    """
    print(f"{REACHED:.0%} of {PEAK / 1e12:.0f} TFLOP/s; {NVLINK / 1e9:.0f} and {NETWORK / 1e9:.0f} GB/s")
    for name, rows, work, found in measured(networks):
        computing = rows * work / (PEAK * REACHED)
        for way, figures in found.items():
            print(figures)
            total = {c.kind: c.bytes for c in figures.sent}
            for n in (8, 64):
                inside = sum(b * (NODE - 1) / NODE * (2 if k == "all-reduce" else 1) for k, b in total.items())
                sending = inside / NVLINK
                if n > NODE:
                    nodes = n // NODE
                    outside = sum(b * (nodes - 1) / nodes * (2 if k == "all-reduce" else 1) for k, b in total.items())
                    sending += outside / NODE / NETWORK
                hidden = max(0.0, sending - computing * 2 / 3)
                print(
                    f"{name}, {way}, {n} GPUs: {sum(total.values()) / 1e6:.0f} MB a step, computing "
                    f"{computing * 1e3:.1f} ms, sending {sending * 1e3:.2f} ms; efficiency "
                    f"{computing / (computing + sending):.3f}, hidden {computing / (computing + hidden):.3f}; "
                    f"{n * rows / (computing + sending):,.0f} rows/s",
                    flush=True,
                )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("time", "bytes", "paper"))
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=10)
    args = parser.parse_args()
    jax.config.update("jax_num_cpu_devices", 2 if args.what == "time" else 8)
    if args.what == "time":
        timed(args.rounds, args.steps)
    else:
        {"bytes": show_bytes, "paper": on_paper}[args.what](args.networks)


if __name__ == "__main__":
    main()
