"""A small LeNet, hardware-aware-trained in torch style and once more in compiled epochs: the same numbers, both timed.

    python examples/aihwkit_lenet.py [--epochs 4] [--picture drift.png]

The torch half needs torch and is left out without it.  Afterwards the trained network is programmed on phase-change
memory, drifts for a year with and without drift compensation, and its accuracy over time is printed (and drawn).
"""

from __future__ import annotations

import argparse
import time

import jax
import jax.numpy as jnp
import numpy as np

import aidgejax
from aidgejax import analog
from aidgejax.frontends.aihwkit.simulator.configs import (
    BoundManagementType,
    InferenceRPUConfig,
    NoiseManagementType,
    WeightClipType,
)
from aidgejax.graph import Graph
from aidgejax.training import loop, optim, schedule

BATCH, RATE, MOMENTUM = 50, 0.05, 0.9
SHAPES = {"conv1": (8, 1, 3, 3), "conv2": (16, 8, 3, 3), "fc1": (32, 64), "fc2": (10, 32)}


def hardware(**changes) -> InferenceRPUConfig:
    """8-bit converters and learned input ranges; no noise in training, so that both halves can be compared."""
    config = InferenceRPUConfig()
    config.forward.inp_res = config.forward.out_res = 1 / 254
    config.forward.out_noise = 0.0
    config.forward.noise_management = NoiseManagementType.NONE
    config.forward.bound_management = BoundManagementType.NONE
    config.pre_post.input_range.enable = True
    config.mapping.weight_scaling_omega = 1.0
    config.clip.type, config.clip.fixed_value = WeightClipType.FIXED_VALUE, 1.0
    for name, value in changes.items():
        setattr(config, name, value)
    return config


def first_weights() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {k: rng.normal(0, np.prod(s[1:]) ** -0.5, s).astype(np.float32) for k, s in SHAPES.items()}


def torch_style(x: np.ndarray, y: np.ndarray, epochs: int) -> list[float]:
    """The loss of each step, as an aihwkit script would train."""
    import torch

    from aidgejax.frontends.aihwkit.nn import AnalogConv2d, AnalogLinear, AnalogSequential
    from aidgejax.frontends.aihwkit.optim import AnalogSGD

    config, nn = hardware(), torch.nn
    layers = {
        "conv1": AnalogConv2d(1, 8, 3, padding=1, rpu_config=config),
        "conv2": AnalogConv2d(8, 16, 3, padding=1, rpu_config=config),
        "fc1": AnalogLinear(64, 32, rpu_config=config),
        "fc2": AnalogLinear(32, 10, rpu_config=config),
    }
    for name, weight in first_weights().items():
        layers[name].set_weights(weight, np.zeros(len(weight), np.float32))
    model = AnalogSequential(
        layers["conv1"], nn.Tanh(), nn.MaxPool2d(2), layers["conv2"], nn.Tanh(), nn.MaxPool2d(2), nn.Flatten(),
        layers["fc1"], nn.Tanh(), layers["fc2"],
    )  # fmt: skip
    optimizer = AnalogSGD(model.parameters(), lr=RATE, momentum=MOMENTUM)
    optimizer.regroup_param_groups(model)
    images, classes, losses = torch.tensor(x), torch.tensor(y), []
    for epoch in range(epochs):
        began = time.perf_counter()
        for at in range(0, len(x), BATCH):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(images[at : at + BATCH]), classes[at : at + BATCH])
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        took = (time.perf_counter() - began) / (len(x) // BATCH) * 1e3
        print(f"torch style      epoch {epoch}  loss {np.mean(losses[-len(x) // BATCH :]):.4f}  {took:7.2f} ms a step")
    return losses


def network() -> Graph:
    g = Graph("lenet")
    op, weights = g.op, first_weights()
    held = {
        k: (g.parameter(f"{k}.w", w), g.parameter(f"{k}.b", np.zeros(len(w), np.float32))) for k, w in weights.items()
    }
    y = g.input("x", ("N", 1, 8, 8))
    for name in ("conv1", "conv2"):
        y = op.MaxPool(
            op.Tanh(op.Conv(y, *held[name], pads=(1, 1, 1, 1), name=name)), kernel_shape=(2, 2), strides=(2, 2)
        )
    y = op.Tanh(op.Gemm(op.Flatten(y), *held["fc1"], transB=1, name="fc1"))
    (out,) = g.add("Gemm", [y, *held["fc2"]], {"transB": 1}, names=["logits"], name="fc2")
    g.output(out)
    return aidgejax.infer_shapes(g)


def compiled_epochs(x: np.ndarray, y: np.ndarray, epochs: int) -> tuple[Graph, list[float]]:
    """(the trained graph, the loss of each step): every epoch is one compiled program."""
    graph = analog.convert_to_analog(network(), hardware(), unfold=True)
    program = aidgejax.make_program(aidgejax.with_loss(graph, "cross_entropy", reduction="rows"), training=True)
    rule = analog.with_post_update(optim.sgd(MOMENTUM), graph)
    state = loop.start(program, rule, jax.random.key(0))
    epoch_of = loop.make_epoch(loop.make_step(program, rule, schedule.constant(RATE)))
    target = next(i for i in program.graph.inputs if i != "x")
    batches = {"x": x.reshape(-1, BATCH, 1, 8, 8), target: y.reshape(-1, BATCH)}
    losses: list[float] = []
    for epoch in range(epochs):
        began = time.perf_counter()
        state, history = epoch_of(state, batches)
        losses += [float(v) for v in jax.block_until_ready(history["loss"])]
        took = (time.perf_counter() - began) / (len(x) // BATCH) * 1e3
        print(f"compiled epochs  epoch {epoch}  loss {np.mean(losses[-len(x) // BATCH :]):.4f}  {took:7.2f} ms a step")
    return graph.with_params(state.params, state.buffers), losses


def over_a_year(trained: Graph, x: np.ndarray, y: np.ndarray, compensation) -> list[dict[str, float]]:
    """Accuracy at times after programming, over 8 devices."""
    made = analog.convert_to_analog(analog.to_digital(trained), hardware(drift_compensation=compensation))
    made = made.with_params({f"{t}.input_range": np.float32([r]) for t, r in analog.input_ranges(trained).items()})
    program = aidgejax.make_program(made, wrt=[], seeds=[], training=False)

    def accuracy(params, buffers, key):
        logits = program.forward(params, buffers, {"x": x}, key, save=False)[0]["logits"]
        return jnp.mean(jnp.argmax(logits, axis=1) == y)

    return analog.over_time(made, accuracy, [1.0, 3600.0, 86400.0, 2.6e6, 3.2e7], seeds=8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--picture", default=None)
    args = parser.parse_args()
    data = aidgejax.digits()
    x, y = data.columns["x"], data.columns["target"].astype(np.int64)
    trained, losses = compiled_epochs(x[:1500], y[:1500], args.epochs)
    try:
        other = torch_style(x[:1500], y[:1500], args.epochs)
        print(
            f"largest difference between the losses of their steps: {np.max(np.abs(np.subtract(losses, other))):.1e}\n"
        )
    except ImportError:
        print("torch is not installed: only compiled epochs\n")
    found = {
        "with compensation": over_a_year(trained, x[1500:], y[1500:], analog.GlobalDriftCompensation()),
        "without": over_a_year(trained, x[1500:], y[1500:], None),
    }
    print(analog.table(found))
    if args.picture:
        analog.picture(found, args.picture)
        print(f"\n{args.picture}")


if __name__ == "__main__":
    main()
