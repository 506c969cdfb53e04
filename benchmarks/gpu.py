"""What does a training step cost on this accelerator, against jax.grad of the same model and against torch?

Milliseconds per step of an epoch scanned without a guard, recording the loss; the share of the matrix product rate
measured here; seconds until the first result, compilation included, and temporary memory (torch: all that it
allocates).  jax.grad is JAX's derivative of our own forward, scanned, recording the same.  torch, where it is installed
for CUDA, is a whole step of the same network compiled by torch.compile and captured as a CUDA graph, the fastest that
its users get by hand; in bfloat16 once with float32 parameters (autocast, as ours) and once with bfloat16 ones.
All sides start from the same state and see the same batches; the losses before and after the first update must agree
before anything is timed.  The sides take turns.  The front ends compute first, with their accelerator chosen and data
on the host.  No row is begun after 8 minutes.

    python benchmarks/gpu.py               # on an accelerator
    python benchmarks/gpu.py --rehearse    # the same at small sizes, anywhere
"""

from __future__ import annotations

import argparse
import os
import re
import time
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # torch has its part of the device

import jax
import jax.numpy as jnp
import numpy as np
from epoch import by_jax_grad, through
from spread import resnet50

from aidgejax.execution.program import make_program
from aidgejax.graph import Graph
from aidgejax.interpreter.shape_inference import infer_shapes
from aidgejax.passes import fuse, precision, recompute, with_loss
from aidgejax.tools import zoo
from aidgejax.tools.inspect import flops
from aidgejax.training import optim, schedule
from aidgejax.training.loop import make_epoch, make_step, start

try:
    import torch_peers
    from torch.cuda import is_available as there_is_cuda
except ImportError:  # torch is not here
    there_is_cuda = bool

SIDES = ("ours", "guarded", "jax.grad", "torch")
RATE = 0.001  # small, so that an update does not amplify rounding
LARGE = {
    "batch": 64, "steps": 50, "resnet": {}, "mobilenet": {},
    "transformer": {"length": 512, "width": 768, "heads": 12, "depth": 12}, "rows": 32, "product": 8192,
    "resnet50": {}, "images": 128,
}  # fmt: skip
SMALL = {
    "batch": 8, "steps": 3, "resnet": {"size": 16}, "mobilenet": {"size": 64},
    "transformer": {"length": 32, "width": 32, "heads": 2, "depth": 2}, "rows": 4, "product": 256,
    "resnet50": {"base": 8, "size": 64}, "images": 8,
}  # fmt: skip
# Both sides multiply the same numbers and add them in another order, and loss and norm are means over many of them, so
# that they may part by a few units of the coarsest format inside: TF32's last place is 2**-11, bfloat16's 2**-8.
# Observed on a CPU: at most 1e-7 and 1e-3.
TOLERANCE = {"float32": 4 * 2.0**-11, "bfloat16": 2 * 2.0**-8}


class Row(NamedTuple):
    """One line of the table.  peer: how torch_peers.peer writes the same network, None: it does not."""

    name: str
    graph: Graph
    batch: int
    steps: int
    attention: str = "own"
    scan_blocks: bool = False
    bfloat16: bool = False
    peer: dict | None = None
    source: Graph | None = None  # the graph without passes, for the peer


def rows(sizes):
    classified = lambda g: infer_shapes(with_loss(infer_shapes(g), "cross_entropy", reduction="rows"))
    few = min(sizes["steps"], 10)  # of large steps
    small = lambda name, graph: Row(name, classified(graph), sizes["batch"], sizes["steps"], peer={}, source=graph)
    yield small("MLP 784-512-512-10", zoo.mlp())
    yield small("LeNet 28x28", zoo.lenet(size=28))
    resnet = small("ResNet-8", zoo.resnet8(**sizes["resnet"]))
    yield resnet
    plain = zoo.transformer_encoder(1000, **sizes["transformer"])
    encoder, fused = classified(plain), fuse(classified(plain))
    shape = {"heads": sizes["transformer"]["heads"], "depth": sizes["transformer"]["depth"]}
    row = Row("transformer", encoder, sizes["rows"], few)
    low = row._replace(graph=precision(fused), bfloat16=True)
    cudnn = low._replace(name="transformer, bfloat16, cuDNN's attention", attention="cudnn", peer=shape, source=plain)
    yield cudnn
    deep = resnet50(**sizes["resnet50"])
    yield Row(
        "ResNet-50, bfloat16", precision(classified(deep)), sizes["images"], few,
        bfloat16=True, peer={"channels_last": True}, source=deep,
    )  # fmt: skip
    yield resnet._replace(name="ResNet-8, bfloat16", graph=precision(resnet.graph), bfloat16=True)
    yield small("MobileNetV1 0.25", zoo.mobilenet_v1(**sizes["mobilenet"]))
    yield low._replace(name="transformer, bfloat16, fused")
    yield cudnn._replace(name="transformer, the same, blocks scanned", scan_blocks=True, peer=None)
    recomputed = recompute(precision(fused), "blocks", every=2)
    yield cudnn._replace(name="transformer, the same, blocks recomputed", graph=recomputed, peer=None)
    yield low._replace(name="transformer, bfloat16", graph=precision(encoder))
    yield row


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
        a = jax.random.normal(jax.random.key(0), (n, n), dtype)
        product = jax.jit(jnp.matmul)
        jax.block_until_ready(product(a, a))
        times = []
        for _ in range(5):
            begun = time.perf_counter()
            jax.block_until_ready(product(a, a))
            times.append(time.perf_counter() - begun)
        rates[dtype] = n**3 / float(np.median(times))
    return rates


def sides_of(row: Row, sides):
    """{side: (epoch, state, batches) -> losses f[steps]}, compiled, and what each took: seconds, MB."""
    program = make_program(row.graph, training=True, scan_blocks=row.scan_blocks, attention=row.attention)
    differentiable = replace(program, attention="own")  # JAX finds no derivative of cuDNN's kernel there
    optimizer, learning_rate = optim.sgd(momentum=0.9), schedule.constant(RATE)
    data = batches_of(row.graph, row.steps, row.batch)
    fresh = partial(start, program, optimizer, jax.random.key(0))
    step = partial(make_step, program, optimizer, learning_rate)
    epochs = {
        "ours": make_epoch(step(record=("loss",))),
        "guarded": make_epoch(step(), on_nonfinite="raise"),
        "jax.grad": make_epoch(by_jax_grad(through(differentiable), optimizer, learning_rate, record=("loss",))),
    }
    if "transformer" in row.name or "50" in row.name:
        del epochs["guarded"]  # large steps do not notice it
    for side, epoch in epochs.items():
        if side not in sides:
            continue
        begun = time.perf_counter()
        compiled = epoch.lower(fresh(), data).compile()
        took = time.perf_counter() - begun
        memory = compiled.memory_analysis()

        def run(compiled=compiled):
            state = jax.block_until_ready(fresh())
            begun = time.perf_counter()
            _, record = jax.block_until_ready(compiled(state, data))
            return time.perf_counter() - begun, np.asarray(record["loss"], np.float64)

        yield side, run, took, memory.temp_size_in_bytes / 1e6, compiled
    if row.peer is not None and there_is_cuda() and "torch" in sides:
        yield from torch_sides(row, data)


def torch_sides(row: Row, data):
    import torch

    x, y = (torch.utils.dlpack.from_dlpack(data[name]) for name in ("x", "target"))
    y, last = y.long(), row.peer.get("channels_last", False)
    batches = [b.contiguous(memory_format=torch.channels_last) for b in x] if last else list(x)
    for kind in ("autocast", "bfloat16") if row.bfloat16 else ("float32",):
        begun = time.perf_counter()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        module = torch_peers.peer(row.source, **row.peer)
        captured = torch_peers.CapturedStep(module, batches[0], y[0], kind=kind, channels_last=last)
        took = time.perf_counter() - begun

        def run(captured=captured):
            captured.restart()
            torch.cuda.synchronize()
            begun = time.perf_counter()
            losses = captured.run(batches, y)
            return time.perf_counter() - begun, losses.double().cpu().numpy()

        yield f"torch {kind}", run, took, (torch.cuda.max_memory_allocated() - before) / 1e6, None


def measure(row: Row, args, rates, until):
    """{side: (milliseconds, of ours)}; TimeoutError where a side would begin after `until`."""
    runs, losses, times, first, memory = {}, {}, {}, {}, {}
    for side, run, took, held, compiled in sides_of(row, args.sides):
        runs[side], first[side], memory[side], times[side] = run, took, held, []
        losses[side] = run()[1]
        if time.perf_counter() > until:
            raise TimeoutError
        if args.save and compiled is not None:
            Path(args.save).mkdir(parents=True, exist_ok=True)
            name = "".join(c if c.isalnum() else "_" for c in f"{row.name} {side}")
            (Path(args.save) / f"{name}.txt").write_text(compiled.as_text())
    apart = {side: difference(losses["ours"], losses[side]) for side in runs}
    tolerance = TOLERANCE["bfloat16" if row.bfloat16 else "float32"]
    for side, found in apart.items():  # torch rounds in other places; parameters of 16 bits are other numbers
        if not found <= tolerance * (4 if "torch" in side else 1) and side != "torch bfloat16":
            raise ValueError(f"the first losses of ours and {side} differ by {found:.1e}; nothing is timed")
    for _ in range(args.rounds):
        for side, run in runs.items():
            times[side].append(run()[0] / row.steps * 1e3)
    ours = np.array(times["ours"])
    work = sum(flops(row.graph, node, {"N": row.batch}) for node in row.graph.nodes)
    share = 3 * work / 2 / (np.median(ours) / 1e3) / rates["bfloat16" if row.bfloat16 else "float32"]
    print(f"{row.name}: {share:.1%} of the matrix product rate", flush=True)
    for side, took in times.items():
        ratio = np.array(took) / ours
        print(
            f"    {side:16} {np.median(took):9.4f} ms, {np.median(ratio):6.2f} of ours ({ratio.min():.2f} to "
            f"{ratio.max():.2f}); first {first[side]:5.1f} s, {memory[side]:6.0f} MB; losses {apart[side]:.1e} apart",
            flush=True,
        )
    if args.profile:
        profile(runs["ours"], row.steps)
    return {side: (float(np.median(t)), float(np.median(np.array(t) / ours))) for side, t in times.items()}


def table(found, sides) -> None:
    """Every row, those that were not measured too: milliseconds a step of ours, and of the others over ours."""
    print(f"\n{'':44}{'ours, ms':>14}" + "".join(f"{side:>16}" for side in sides if side != "ours"))
    for name, of_sides in found.items():
        if isinstance(of_sides, str):
            print(f"{name[:43]:44}{of_sides:>14}")
            continue
        cells = [f"{of_sides[s][1]:.2f}" if s in of_sides else "-" for s in sides if s != "ours"]
        print(f"{name[:43]:44}{of_sides['ours'][0]:14.4f}" + "".join(f"{c:>16}" for c in cells))


def profile(run, steps) -> None:
    """The kernels that took longest."""
    with TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            run()
        found = Counter()
        number = Counter()
        for file in Path(folder).rglob("*.xplane.pb"):
            for plane in jax.profiler.ProfileData.from_file(str(file)).planes:
                if "/device:" not in plane.name:
                    continue
                for line in plane.lines:
                    if not line.name.startswith("Stream"):
                        continue
                    for event in line.events:
                        found[event.name] += event.duration_ns
                        number[event.name] += 1
    print(f"    {sum(number.values()) / steps:.1f} kernels a step, busy for {sum(found.values()) / steps / 1e6:.4f} ms")
    for name, spent in found.most_common(40):
        print(f"      {spent / steps / 1e3:9.2f} us  {number[name] / steps:6.1f} x  {name[:110]}", flush=True)


def difference(ours, theirs) -> float:
    """The largest relative difference of the first two losses, before and after an update."""
    return float(np.max(np.abs(ours[:2] - theirs[:2]) / np.abs(theirs[:2])))


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
    p.add_argument("--only", nargs="+", default=[""], metavar="NAME", help="rows that match one of these")
    p.add_argument("--minutes", type=float, default=8, help="begin no row after so many")
    p.add_argument("--sides", nargs="+", choices=SIDES, help="all; rehearsed, all but the guard")
    p.add_argument("--profile", action="store_true", help="the kernels that took longest")
    p.add_argument("--save", default="", metavar="FOLDER", help="write the compiled programs there")
    args = p.parse_args()
    sizes = SMALL if args.rehearse else LARGE
    args.sides = args.sides or [side for side in SIDES if not (args.rehearse and side == "guarded")]
    d = jax.devices()[0]
    print(f"{d.platform} {d.device_kind}, jax {jax.__version__}, {sizes['steps']} steps, {args.rounds} rounds")
    rates = product_rate(sizes["product"])
    print("matrix product: " + ", ".join(f"{k} {v / 1e12:.2f} T multiply-adds/s" for k, v in rates.items()))
    begun = time.perf_counter()
    if args.only == [""]:
        front_ends(d.platform)
    wanted = [row for row in rows(sizes) if any(re.search(word, row.name) for word in args.only)]
    found = {row.name: "not measured" for row in wanted}
    try:
        for row in wanted:
            try:
                if time.perf_counter() - begun > 60 * args.minutes:
                    raise TimeoutError
                found[row.name] = measure(row, args, rates, begun + 60 * args.minutes)
            except TimeoutError:
                print(f"{row.name}: not measured, {args.minutes:g} minutes are over")
            except (RuntimeError, ValueError, AssertionError) as e:  # one row that a device refuses costs no other
                found[row.name] = "failed"
                print(f"{row.name:28} failed: {type(e).__name__}: {str(e).splitlines()[0][:200]}", flush=True)
            jax.clear_caches()
    finally:
        table(found, args.sides)


if __name__ == "__main__":
    main()
