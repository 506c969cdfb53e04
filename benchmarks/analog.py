"""What does analog training cost over the plain step, and against aihwkit's torch tile where that is installed?

Analog: 8-bit inputs and outputs, output noise 0.04 and weight noise 0.05 drawn anew in every step, learned ranges,
weights clipped after the step.  Both sides are scanned epochs at the same batch.  An ideal tile is first shown to
compute what the plain graph does.  "no range": the same without learned ranges, whose gradient needs that of each
layer's input, the data's too.  On a machine with other work: `taskset -c 0 python ... --cpu-time`.
"""

from __future__ import annotations

import argparse
import time

import jax
import numpy as np

import aidgejax
from aidgejax import analog
from aidgejax.frontends.aihwkit.simulator import configs
from aidgejax.tools import zoo
from aidgejax.training import optim, schedule


def hardware() -> configs.TorchInferenceRPUConfig:
    c = configs.TorchInferenceRPUConfig()
    c.forward.inp_res = c.forward.out_res = 1 / 254
    c.forward.out_noise = 0.04
    c.forward.noise_management = configs.NoiseManagementType.NONE
    c.forward.bound_management = configs.BoundManagementType.NONE
    c.pre_post.input_range.enable = True
    c.mapping.weight_scaling_omega, c.mapping.weight_scaling_columnwise = 1.0, True
    c.mapping.max_input_size = c.mapping.max_output_size = 0
    c.modifier.type, c.modifier.std_dev = configs.WeightModifierType.ADD_NORMAL, 0.05
    c.clip.type = configs.WeightClipType.LAYER_GAUSSIAN
    return c


def nets() -> dict:
    return {"mlp 784-256-128-10": (zoo.mlp((784, 256, 128, 10)), (784,)), "lenet 28x28": (zoo.lenet(28), (1, 28, 28))}


def epoch_of(graph, steps, batch, shape):
    program = aidgejax.make_program(aidgejax.with_loss(aidgejax.infer_shapes(graph), "cross_entropy"), training=True)
    rule = analog.with_post_update(optim.sgd(), graph)
    state = aidgejax.start(program, rule, jax.random.key(0))
    epoch = aidgejax.make_epoch(aidgejax.make_step(program, rule, schedule.constant(0.01)))
    rng = np.random.default_rng(0)
    label = next(k for k in program.graph.inputs if k != "x")
    x = rng.normal(size=(steps, batch, *shape)).astype(np.float32)
    feeds = {"x": x, label: rng.integers(0, 10, (steps, batch))}
    feeds = jax.tree.map(jax.numpy.asarray, feeds)
    return epoch, state, feeds


def same(graph, shape) -> None:
    ideal = hardware()
    ideal.forward.is_perfect, ideal.pre_post.input_range.enable = True, False
    x = {"x": np.random.default_rng(0).normal(size=(4, *shape)).astype(np.float32)}
    made = analog.convert_to_analog(graph, ideal)
    np.testing.assert_allclose(aidgejax.run(made, x)[0], aidgejax.run(graph, x)[0], rtol=1e-3, atol=1e-3)


def measured(sides: dict, steps: int, repeats: int, clock=time.perf_counter) -> dict[str, tuple[float, np.ndarray]]:
    """{side: (seconds of the first call, ms per step of each later one)}, the sides taking turns."""
    first, times, states = {}, {s: [] for s in sides}, {}
    for name, (epoch, state, feeds) in sides.items():
        began = clock()
        states[name], _ = jax.block_until_ready(epoch(state, feeds))
        first[name] = clock() - began
    for _ in range(repeats):
        for name, (epoch, _, feeds) in sides.items():
            began = clock()
            states[name], _ = jax.block_until_ready(epoch(states[name], feeds))
            times[name].append((clock() - began) / steps * 1e3)
    return {n: (first[n], np.asarray(t)) for n, t in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--threads", type=int, nargs="*", default=[1, 2, 4], help="of torch")
    parser.add_argument("--cpu-time", action="store_true", help="seconds of the processor instead of the clock's")
    args = parser.parse_args()
    config = hardware()
    print(f"{jax.devices()[0].device_kind}  f32  batch {args.batch}  steps {args.steps}\n{config}\n")
    for name, (graph, shape) in nets().items():
        same(graph, shape)
        sides = {
            "plain": epoch_of(graph, args.steps, args.batch, shape),
            "analog": epoch_of(analog.convert_to_analog(graph, config), args.steps, args.batch, shape),
        }
        fixed = hardware()
        fixed.pre_post.input_range.enable = False
        sides["no range"] = epoch_of(analog.convert_to_analog(graph, fixed), args.steps, args.batch, shape)
        found = measured(sides, args.steps, args.repeats, time.process_time if args.cpu_time else time.perf_counter)
        for side, (first, t) in found.items():
            low, mid, high = np.quantile(t, [0.1, 0.5, 0.9])
            print(f"{name:20} {side:8} first {first:5.2f} s   then {mid:7.3f} ms/step  ({low:.3f} to {high:.3f})")
        for side in ("analog", "no range"):
            ratio = found[side][1] / found["plain"][1]
            print(f"{name:20} {side} / plain {np.median(ratio):.2f} ({ratio.min():.2f} to {ratio.max():.2f})")
        ours = found["analog"][1]
        for threads, t in torch_tile(name, args).items():
            print(
                f"{name:20} aihwkit, {threads} threads {np.median(t):7.3f} ms/step (best {t.min():.3f}), "
                f"{np.median(t) / np.median(ours):.1f} times ours, of the best {t.min() / ours.min():.1f}"
            )


def torch_tile(name: str, args) -> dict[int, np.ndarray]:
    """{torch's threads: ms of each step of aihwkit's torch tile}; nothing where it is not installed."""
    try:
        import torch
        from aihwkit.nn.conversion import convert_to_analog
        from aihwkit.optim import AnalogSGD
        from aihwkit.simulator import configs as theirs
        from aihwkit.simulator.parameters import enums
    except ImportError:
        print("aihwkit is not installed: no comparison with it")
        return {}
    c = theirs.TorchInferenceRPUConfig()
    c.forward.inp_res = c.forward.out_res = 1 / 254
    c.forward.out_noise = 0.04
    c.forward.noise_management = enums.NoiseManagementType.NONE
    c.forward.bound_management = enums.BoundManagementType.NONE
    c.pre_post.input_range.enable = True
    c.mapping.weight_scaling_omega, c.mapping.weight_scaling_columnwise = 1.0, True
    c.mapping.max_input_size = c.mapping.max_output_size = 0
    c.modifier.type, c.modifier.std_dev = enums.WeightModifierType.ADD_NORMAL, 0.05
    c.clip.type = enums.WeightClipType.LAYER_GAUSSIAN
    nn = torch.nn
    if name.startswith("mlp"):
        net = nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 10))
        x = torch.randn(args.batch, 784)
    else:
        net = nn.Sequential(
            nn.Conv2d(1, 6, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 16, 5),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(400, 120),
            nn.ReLU(),
            nn.Linear(120, 84),
            nn.ReLU(),
            nn.Linear(84, 10),
        )
        x = torch.randn(args.batch, 1, 28, 28)
    model = convert_to_analog(net, c)
    optimizer = AnalogSGD(model.parameters(), lr=0.01)
    optimizer.regroup_param_groups(model)
    target = torch.randint(0, 10, (args.batch,))
    clock = time.process_time if args.cpu_time else time.perf_counter
    found = {}
    for threads in args.threads:
        torch.set_num_threads(threads)
        times = []
        for _ in range(args.steps * 2 + 5):
            began = clock()
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), target).backward()
            optimizer.step()
            times.append((clock() - began) * 1e3)
        found[threads] = np.array(times[5:])
    return found


if __name__ == "__main__":
    main()
