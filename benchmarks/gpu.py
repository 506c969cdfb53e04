"""What does a training step cost on this accelerator, against jax.grad of the same model, in float32 and bfloat16?

One table: first call (compilation included), milliseconds per step of a scanned epoch, the ratio to jax.grad of our own
forward scanned in the same rounds, temporary memory of both, and the share of the matrix product rate measured here.
Both sides start from the same state and see the same batches; loss and gradient norm before and after the first update
must agree before anything is timed.  Afterwards the front ends train a few steps with their accelerator chosen and data
on the host.
Takes at most 8 minutes on one H100.

    python benchmarks/gpu.py               # on an accelerator
    python benchmarks/gpu.py --rehearse    # the same at small sizes, anywhere
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from epoch import by_jax_grad, through

from aidgejax.execution.program import make_program
from aidgejax.graph import Graph
from aidgejax.interpreter.shape_inference import infer_shapes
from aidgejax.passes import fuse, precision, recompute, with_loss
from aidgejax.tools import zoo
from aidgejax.tools.inspect import flops
from aidgejax.training import optim, schedule
from aidgejax.training.loop import make_epoch, make_step, start

LARGE = {
    "batch": 64, "steps": 50, "resnet": {}, "mobilenet": {},
    "transformer": {"length": 512, "width": 768, "heads": 12, "depth": 12}, "rows": 32, "product": 8192,
}  # fmt: skip
SMALL = {
    "batch": 8, "steps": 3, "resnet": {"size": 16}, "mobilenet": {"size": 64},
    "transformer": {"length": 32, "width": 32, "heads": 2, "depth": 2}, "rows": 4, "product": 256,
}  # fmt: skip
# Both sides multiply the same numbers and add them in another order, and loss and norm are means over many of them, so
# that they may part by a few units of the coarsest format inside: TF32's last place is 2**-11, bfloat16's 2**-8.
# Observed on a CPU: at most 1e-7 and 1e-3.
TOLERANCE = {"float32": 4 * 2.0**-11, "bfloat16": 2 * 2.0**-8}


def rows(sizes):
    """(name, graph with a loss per row, batch)"""
    classified = lambda g: infer_shapes(with_loss(infer_shapes(g), "cross_entropy", reduction="rows"))
    yield "MLP 784-512-512-10", classified(zoo.mlp()), sizes["batch"]
    yield "LeNet 28x28", classified(zoo.lenet(size=28)), sizes["batch"]
    resnet = classified(zoo.resnet8(**sizes["resnet"]))
    yield "ResNet-8", resnet, sizes["batch"]
    yield "ResNet-8, bfloat16", precision(resnet), sizes["batch"]
    yield "MobileNetV1 0.25", classified(zoo.mobilenet_v1(**sizes["mobilenet"])), sizes["batch"]
    encoder = classified(zoo.transformer_encoder(**sizes["transformer"]))
    yield "transformer", encoder, sizes["rows"]
    yield "transformer, bfloat16", precision(encoder), sizes["rows"]
    yield "transformer, bfloat16, fused", precision(fuse(encoder)), sizes["rows"]
    yield "the same, cuDNN's attention", precision(fuse(encoder)), sizes["rows"]
    yield "the same, blocks scanned", precision(fuse(encoder)), sizes["rows"]
    yield "the same, blocks recomputed", recompute(precision(fuse(encoder)), "blocks", every=2), sizes["rows"]


def batches_of(graph: Graph, steps: int, batch: int):
    rng = np.random.default_rng(0)
    found = {}
    for name, value in graph.inputs.items():
        shape = (steps, batch, *(value.shape or ())[1:])
        if value.is_float:
            found[name] = jnp.asarray(rng.normal(size=shape).astype(np.float32))
        else:
            found[name] = jnp.asarray(rng.integers(0, 2, shape), jnp.int32)
    return found


def product_rate(n: int) -> dict[str, float]:
    """{dtype: multiply-adds per second of an n x n x n product}"""
    rates = {}
    for dtype in ("float32", "bfloat16"):
        a = jnp.ones((n, n), dtype)
        product = jax.jit(jnp.matmul)
        jax.block_until_ready(product(a, a))
        times = []
        for _ in range(5):
            begun = time.perf_counter()
            jax.block_until_ready(product(a, a))
            times.append(time.perf_counter() - begun)
        rates[dtype] = n**3 / float(np.median(times))
    return rates


def measure(name, graph, batch, args, sizes, rates):
    kind = "cudnn" if "cuDNN" in name else "own"
    program = make_program(graph, training=True, scan_blocks="scanned" in name, attention=kind)
    differentiable = replace(program, attention="own")  # JAX finds no derivative of cuDNN's kernel there
    optimizer, learning_rate = optim.sgd(momentum=0.9), schedule.constant(0.01)
    fresh = partial(start, program, optimizer, jax.random.key(0))
    steps_here = min(sizes["steps"], 10) if batch == sizes["rows"] else sizes["steps"]  # large steps, fewer of them
    data = batches_of(graph, steps_here, batch)
    steps = {
        "ours": make_step(program, optimizer, learning_rate),
        "jax.grad": by_jax_grad(through(differentiable), optimizer, learning_rate),
    }
    low = "bfloat16" in name or name.startswith("the same")
    first, times, memory, runs, records = {}, {side: [] for side in steps}, {}, {}, {}
    for side, step in steps.items():  # compiled once for everything: a deep network takes half a minute
        begun = time.perf_counter()
        runs[side] = make_epoch(step).lower(fresh(), data).compile()
        records[side] = jax.block_until_ready(runs[side](fresh(), data))[1]
        first[side] = time.perf_counter() - begun
        memory[side] = runs[side].memory_analysis().temp_size_in_bytes / 1e6
    worst = agree(records["ours"], records["jax.grad"], TOLERANCE["bfloat16" if low else "float32"], name)
    for _ in range(args.rounds):
        for side, run in runs.items():
            state = jax.block_until_ready(fresh())
            begun = time.perf_counter()
            jax.block_until_ready(run(state, data))
            times[side].append((time.perf_counter() - begun) / steps_here * 1e3)
    ours, theirs = np.array(times["ours"]), np.array(times["jax.grad"])
    work = sum(flops(graph, node, {"N": batch}) for node in graph.nodes)
    share = 3 * work / 2 / (np.median(ours) / 1e3) / rates["bfloat16" if low else "float32"]
    print(
        f"{name:30} {first['ours']:7.1f} {np.median(ours):9.3f} {np.median(theirs / ours):8.2f} "
        f"{memory['ours']:9.0f} {memory['jax.grad']:9.0f} {share:7.1%} {worst:9.1e}",
        flush=True,
    )


def agree(ours, theirs, tolerance, name) -> float:
    """The largest relative difference of loss and gradient norm, before and after the first update."""
    worst = 0.0
    for figure in ("loss", "gradient_norm"):
        a, b = np.asarray(ours[figure], np.float64)[:2], np.asarray(theirs[figure], np.float64)[:2]
        worst = max(worst, float(np.max(np.abs(a - b) / np.abs(b))))
    if not worst <= tolerance:
        raise SystemExit(f"{name}: loss or gradient norm differ by {worst:.1e}; nothing is timed")
    return worst


def front_ends(platform: str) -> None:
    """A few steps of each front end with the accelerator chosen and data that starts on the host."""
    from aidgejax.frontends.singa import device as singa_device
    from aidgejax.frontends.singa import tensor as singa_tensor

    place = singa_device.create_cuda_gpu() if platform in ("gpu", "cuda") else singa_device.get_default_device()
    x = singa_tensor.from_numpy(np.ones((4, 3), np.float32))
    x.to_device(place)
    print(f"SINGA on {place}: sum {float(singa_tensor.to_numpy(singa_tensor.sum(x)).sum())}")
    from aidgejax.frontends import tvm

    array = tvm.runtime.tensor(
        np.ones((4, 3), np.float32), tvm.device("cuda" if platform in ("gpu", "cuda") else "cpu")
    )
    print(f"TVM on {array.device}: sum {float(array.numpy().sum())}")


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--rehearse", action="store_true", help="small sizes")
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--only", default="", metavar="WORD", help="the rows whose name holds this")
    args = p.parse_args()
    sizes = SMALL if args.rehearse else LARGE
    d = jax.devices()[0]
    print(f"{d.platform} {d.device_kind}, jax {jax.__version__}, {sizes['steps']} steps, {args.rounds} rounds")
    rates = product_rate(sizes["product"])
    print("matrix product: " + ", ".join(f"{k} {v / 1e12:.2f} T multiply-adds/s" for k, v in rates.items()))
    print(
        f"{'':30} {'first s':>7} {'ms/step':>9} {'jax.grad':>8} {'temp MB':>9} {'theirs':>9} {'peak':>7} {'differ':>9}"
    )
    for name, graph, batch in rows(sizes):
        if args.only in name:
            try:
                measure(name, graph, batch, args, sizes, rates)
            except (RuntimeError, ValueError) as e:  # one row that a device refuses costs no other
                print(f"{name:30} failed: {type(e).__name__}: {str(e).splitlines()[0][:90]}", flush=True)
    front_ends(d.platform)


if __name__ == "__main__":
    main()
