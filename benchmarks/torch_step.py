"""What does a training step take on a CPU, against torch eager, torch.compile and jax.grad of our own forward?

The networks are torch's own (tests/models/nets.py), exported and read, so that both sides start from the same numbers;
SGD with momentum, the same batches.  Before anything is timed, the losses of the first steps must agree.  The sides
take turns; each ratio is taken within its round, theirs over ours.  By the clock, with all threads, a network can wait
for one of them: on a machine with other work `--pin` gives each worker thread of both sides a core of its own, as an
idle machine would.  `taskset -c 0 env OMP_NUM_THREADS=1 python ... --cpu-time` counts the seconds of one core.

    pip install torch==2.13.0 onnxscript
    python benchmarks/torch_step.py [--models mobilenet_v1 ds_cnn vit bert resnet8] [--batch 64] [--cpu-time]
    python benchmarks/torch_step.py --models mlp lenet --steps 50 --compile
"""

from __future__ import annotations

import argparse
import copy
import os
import sys
import time
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import torch
import torch.nn.functional as F
from core_distance import of_this_machine
from epoch import by_jax_grad, through

sys.path.insert(0, str(Path(__file__).parents[1]))

import aidgejax as aj  # noqa: E402
from tests.models import against_torch  # noqa: E402
from tests.models.nets import NETS  # noqa: E402

RATE, MOMENTUM = 0.001, 0.9  # small, so that rounding is not amplified before the comparison


def two_more():
    """The networks of the MNIST pages, as functions of the batch like those of NETS."""
    relu, pool = torch.nn.ReLU(), torch.nn.MaxPool2d(2)
    lenet = [torch.nn.Conv2d(1, 6, 5, padding=2), relu, pool, torch.nn.Conv2d(6, 16, 5), relu, pool, torch.nn.Flatten()]
    layers = {"mlp": ([], (784, 512, 512, 10), (784,)), "lenet": (lenet, (400, 120, 84, 10), (1, 28, 28))}

    def build(first, widths, shape, batch):
        torch.manual_seed(0)
        dense = [part for i, o in zip(widths, widths[1:], strict=False) for part in (torch.nn.Linear(i, o), relu)][:-1]
        rng = np.random.default_rng(batch)
        x = rng.normal(size=(batch, *shape)).astype(np.float32)
        return torch.nn.Sequential(*first, *dense), {"x": x}, rng.integers(0, 10, batch), "cross_entropy"

    return {name: partial(build, *how) for name, how in layers.items()}


NETS = NETS | two_more()


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--models", nargs="+", choices=NETS, default=["mobilenet_v1", "ds_cnn", "vit", "bert", "resnet8"])
    p.add_argument("--batch", type=int, default=64)
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--steps", type=int, default=3)
    p.add_argument("--jax-grad", action="store_true", help="jax.grad scanned too, which may be slow")
    p.add_argument("--compile", action="store_true", help="torch.compile too")
    p.add_argument("--pin", action="store_true", help="each worker thread on a core of its own")
    p.add_argument("--cpu-time", action="store_true", help="seconds of the processor instead of the clock's")
    args = p.parse_args()
    print(
        f"{jax.devices()[0].device_kind}{', CPU time' if args.cpu_time else ''}, {torch.get_num_threads()} threads, "
        f"jax {jax.__version__}, torch "
        f"{torch.__version__}, batch {args.batch}, {args.steps} steps, {args.rounds} rounds"
    )
    for name in args.models:
        print(of_this_machine())
        one(name, args)
        jax.clear_caches()
    print(of_this_machine())


def one(name, args):
    clock = time.process_time if args.cpu_time else time.perf_counter
    module, first, _, loss = NETS[name](args.batch)
    for m in module.modules():
        if isinstance(m, torch.nn.Dropout):
            m.p = 0.0  # masks cannot be equal
    module.train()
    drawn = [NETS[name](args.batch)[1:3] if k == 0 else draw(first, name, args.batch, k) for k in range(args.steps)]
    batches = {k: np.stack([b[0][k] for b in drawn]) for k in first} | {"target": np.stack([b[1] for b in drawn])}

    graph = aj.onnxio.read(against_torch.exported(copy.deepcopy(module), first, "script"))
    program = aj.make_program(against_torch.with_loss(graph, loss), training=True)
    optimizer, rate = aj.optim.sgd(momentum=MOMENTUM), aj.schedule.constant(RATE)
    fresh = partial(aj.start, program, optimizer, jax.random.key(0))
    recorded = ("loss",)  # as the loops of torch
    steps = {"ours": aj.make_step(program, optimizer, rate, record=recorded)}
    if args.jax_grad:
        steps["jax.grad"] = by_jax_grad(through(program), optimizer, rate, recorded)
    epochs = {side: aj.make_epoch(step) for side, step in steps.items()}
    data = {k: jnp.asarray(v) for k, v in batches.items()}
    compiling = {}
    for side, epoch in epochs.items():
        begun = clock()
        _, history = jax.block_until_ready(epoch(fresh(), data))
        compiling[side] = clock() - begun
        if side == "ours":
            mine = np.asarray(history["loss"])
    theirs = torch_losses(copy.deepcopy(module), batches, loss)
    # The first two: before and after an update.  Later ones amplify the rounding of deep networks.
    off = np.max((np.abs(mine - theirs) / np.abs(theirs))[:2])
    if not off < 2e-4:
        raise SystemExit(f"{name}: losses differ, {mine} and {theirs}; nothing is timed")
    loops = {"torch": TorchLoop(module, batches, loss)}
    if args.compile:
        loops["compiled"] = TorchLoop(module, batches, loss, compiled=True)
    if args.pin:
        pin(loops["torch"])
    times = {side: [] for side in (*epochs, *loops)}
    for _ in range(args.rounds):
        for side, epoch in epochs.items():
            state = jax.block_until_ready(fresh())
            begun = clock()
            jax.block_until_ready(epoch(state, data))
            times[side].append((clock() - begun) / args.steps * 1e3)
        for side, loop in loops.items():
            loop.run()  # the caches are its own now, too
            begun = clock()
            loop.run()
            times[side].append((clock() - begun) / args.steps * 1e3)
    shown = ", ".join(f"compile {side} {s:.1f} s" for side, s in compiling.items())
    print(f"{name}: losses before and after an update differ by {off:.1e}; {shown}")
    for side, t in times.items():
        ratio = np.array(t) / np.array(times["ours"])
        print(
            f"  {side:9} {np.median(t):9.3f} ms per step, x{np.median(ratio):.2f} of ours "
            f"({ratio.min():.2f} to {ratio.max():.2f})",
            flush=True,
        )


def draw(first, name, batch, k):
    """Another batch of the kind of the first."""
    rng = np.random.default_rng(k)
    _, inputs, target, _ = NETS[name](batch)
    mixed = {n: a[rng.permutation(batch)] for n, a in inputs.items()}
    return mixed, target[rng.permutation(batch)]


class TorchLoop:
    """A copy of a module, trained over the batches again and again."""

    def __init__(self, module, batches, loss, *, compiled=False):
        self.module = copy.deepcopy(module)
        self.optimizer = torch.optim.SGD(self.module.parameters(), lr=RATE, momentum=MOMENTUM)
        self.forward = torch.compile(self.module) if compiled else self.module
        self.compare = F.cross_entropy if loss == "cross_entropy" else F.mse_loss
        self.target = torch.from_numpy(batches["target"])
        self.inputs = [torch.from_numpy(a) for n, a in batches.items() if n != "target"]
        if compiled:
            self.run()

    def run(self):
        """The losses of one epoch."""
        found = []
        for k, target in enumerate(self.target):
            self.optimizer.zero_grad(set_to_none=True)
            value = self.compare(self.forward(*(a[k] for a in self.inputs)), target)
            value.backward()
            self.optimizer.step()
            found.append(value.detach())
        return np.array([float(v) for v in found])


def torch_losses(module, batches, loss):
    return TorchLoop(module, batches, loss).run()


def pin(loop):
    """XLA's workers, and the threads that torch computes on, this one first, each on a core of its own."""

    def threads():
        return {int(t): Path(f"/proc/self/task/{t}/stat").read_text() for t in os.listdir("/proc/self/task")}

    def seconds(stat):
        return sum(map(int, stat.rsplit(")", 1)[1].split()[11:13]))

    cores = sorted(os.sched_getaffinity(0))
    before, begun = threads(), time.monotonic()
    while time.monotonic() - begun < 0.5:
        loop.run()
    after = threads()
    used = {t: seconds(stat) - seconds(before.get(t, stat)) for t, stat in after.items()}
    of_xla = [t for t, stat in after.items() if "XLAEigen" in stat]
    of_torch = sorted((t for t in used if t not in of_xla and used[t] > 5), key=lambda t: t != os.getpid())
    for each in (of_xla, of_torch):
        for k, t in enumerate(each):
            os.sched_setaffinity(t, {cores[k % len(cores)]})


if __name__ == "__main__":
    main()
