"""What does a training step in torch style cost, against the compiled JAX step of the same analog network?

Two LeNets: the 8x8 one of examples/aihwkit_lenet.py and the usual one for 28x28.  InferenceRPUConfig without noise,
batch 50; losses of the first steps must agree before anything is timed.  Blocks of steps take turns; each ratio is
taken within its round.  `apart` are the same layers in a torch module of one's own, so that each is a call of its own
(inside an AnalogSequential neighbours are one).

    python benchmarks/aihwkit_torch.py [--rounds 9] [--steps 40] [--threads 1] [--cpu-time]

On a machine with other work: `taskset -c 0 python ... --cpu-time`, which counts the seconds of one core.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import jax
import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))

import aihwkit_lenet as small  # noqa: E402

import aidgejax  # noqa: E402
from aidgejax import analog  # noqa: E402
from aidgejax.frontends.aihwkit.nn import AnalogConv2d, AnalogLinear, AnalogSequential  # noqa: E402
from aidgejax.frontends.aihwkit.optim import AnalogSGD  # noqa: E402
from aidgejax.graph import Graph  # noqa: E402
from aidgejax.training import loop, optim, schedule  # noqa: E402

nn = torch.nn
BATCH, RATE, MOMENTUM = 50, 0.01, 0.9
# image, convolutions (out, in, k, padding), then linear layers (out, in)
NETS = {
    "LeNet 8x8": (8, [(8, 1, 3, 1), (16, 8, 3, 1)], [(32, 64), (10, 32)]),
    "LeNet 28x28": (28, [(6, 1, 5, 2), (16, 6, 5, 0)], [(120, 400), (84, 120), (10, 84)]),
}


def weights_of(net):
    rng = np.random.default_rng(0)
    shapes = [(o, i, k, k) for o, i, k, _ in net[1]] + list(net[2])
    return [rng.normal(0, np.prod(s[1:]) ** -0.5, s).astype(np.float32) for s in shapes]


def modules_of(net):
    config, weights = small.hardware(), iter(weights_of(net))
    found = []
    for out, inputs, k, padding in net[1]:
        found += [AnalogConv2d(inputs, out, k, padding=padding, rpu_config=config), nn.Tanh(), nn.MaxPool2d(2)]
    found.append(nn.Flatten())
    for out, inputs in net[2]:
        found += [AnalogLinear(inputs, out, rpu_config=config), nn.Tanh()]
    for module in found[:-1]:
        if hasattr(module, "set_weights"):
            weight = next(weights)
            module.set_weights(weight, np.zeros(len(weight), np.float32))
    return found[:-1]


def graph_of(net):
    g = Graph("lenet")
    op, weights = g.op, iter(weights_of(net))
    y = g.input("x", ("N", 1, net[0], net[0]))

    def held(name):
        w = next(weights)
        return g.parameter(f"{name}.w", w), g.parameter(f"{name}.b", np.zeros(len(w), np.float32))

    for k, (*_, p) in enumerate(net[1]):
        y = op.Tanh(op.Conv(y, *held(f"conv{k}"), pads=(p,) * 4, name=f"conv{k}"))
        y = op.MaxPool(y, kernel_shape=(2, 2), strides=(2, 2))
    y = op.Flatten(y)
    for k in range(len(net[2])):
        y = op.Gemm(y, *held(f"fc{k}"), transB=1, name=f"fc{k}")
        y = op.Tanh(y) if k < len(net[2]) - 1 else op.Identity(y)
    g.output(y)
    return aidgejax.infer_shapes(g)


class Apart(nn.Module):
    """The modules one after the other, as a model with a forward of its own calls them."""

    def __init__(self, modules):
        super().__init__()
        self.parts = nn.ModuleList(modules)

    def forward(self, x):
        for part in self.parts:
            x = part(x)
        return x


def torch_side(model, batches):
    optimizer = AnalogSGD(model.parameters(), lr=RATE, momentum=MOMENTUM)
    optimizer.regroup_param_groups(model)
    tensors = [(torch.tensor(x), torch.tensor(y)) for x, y in batches]

    def steps(count):
        losses = []
        for k in range(count):
            x, y = tensors[k % len(tensors)]
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
        return [float(v) for v in losses]

    return steps


def jax_side(net, batches):
    graph = analog.convert_to_analog(graph_of(net), small.hardware(), unfold=True)
    program = aidgejax.make_program(aidgejax.with_loss(graph, "cross_entropy", reduction="rows"), training=True)
    rule = analog.with_post_update(optim.sgd(MOMENTUM), graph)
    held = [loop.start(program, rule, jax.random.key(0))]
    step = jax.jit(loop.make_step(program, rule, schedule.constant(RATE)), donate_argnums=0)
    target = next(i for i in program.graph.inputs if i != "x")

    def steps(count):
        losses = []
        for k in range(count):
            x, y = batches[k % len(batches)]
            held[0], record = step(held[0], {"x": x, target: y})
            jax.block_until_ready(held[0].params)
            losses.append(record["loss"])
        return [float(v) for v in losses]

    return steps


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--rounds", type=int, default=9)
    p.add_argument("--steps", type=int, default=40)
    p.add_argument("--threads", type=int, default=1, help="of torch")
    p.add_argument("--cpu-time", action="store_true", help="seconds of the processor instead of the clock's")
    args = p.parse_args()
    clock = time.process_time if args.cpu_time else time.perf_counter
    torch.set_num_threads(args.threads)
    print(f"jax {jax.__version__}, torch {torch.__version__}, {args.threads} torch threads, batch {BATCH}"
          f"{', CPU time' if args.cpu_time else ''}")  # fmt: skip
    for name, net in NETS.items():
        rng = np.random.default_rng(1)
        size = (BATCH, 1, net[0], net[0])
        batches = [(rng.normal(size=size).astype(np.float32), rng.integers(0, 10, BATCH)) for _ in range(8)]
        sides = {
            "jitted step": jax_side(net, batches),
            "torch style": torch_side(AnalogSequential(*modules_of(net)), batches),
            "apart": torch_side(Apart(modules_of(net)), batches),
        }
        first = {side: steps(8) for side, steps in sides.items()}
        for side, losses in first.items():
            if not np.allclose(losses, first["jitted step"], rtol=1e-3):
                raise SystemExit(f"{name}: losses differ, {side}: {losses}, {first['jitted step']}; nothing is timed")
        times = {side: [] for side in sides}
        for _ in range(args.rounds):
            for side, steps in sides.items():
                began = clock()
                steps(args.steps)
                times[side].append((clock() - began) / args.steps * 1e3)
        print(name)
        for side, t in times.items():
            ratio = np.array(t) / np.array(times["jitted step"])
            print(f"  {side:12} {np.median(t):7.3f} ms a step (best {min(t):.3f})  x{np.median(ratio):.2f} "
                  f"({ratio.min():.2f} to {ratio.max():.2f}), of the best {min(t) / min(times['jitted step']):.2f}",
                  flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
