"""A small CNN for handwritten digits: trained digitally, then hardware-aware, compared under growing noise.

    python examples/analog_digits.py [--epochs 20] [--picture noise.png]

Hardware-aware: 8-bit inputs and outputs, a learned input range for each tile, noise of weights and outputs while it
trains.  Both networks are then run on the same simulated hardware, whose noise grows; the picture needs matplotlib.
"""

from __future__ import annotations

import argparse

import jax
import numpy as np

import aidgejax
from aidgejax import analog
from aidgejax.frontends.aihwkit.simulator.configs import (
    BoundManagementType,
    NoiseManagementType,
    TorchInferenceRPUConfig,
    WeightClipType,
    WeightModifierType,
)
from aidgejax.graph import Graph
from aidgejax.training import optim, schedule


def network() -> Graph:
    rng = np.random.default_rng(0)
    g = Graph("digits")
    op, x = g.op, g.input("x", ("N", 1, 8, 8))

    def weight(name, *shape):
        bound = np.sqrt(2 / np.prod(shape[1:]))
        return g.parameter(f"{name}.w", rng.normal(0, bound, shape).astype(np.float32)), g.parameter(
            f"{name}.b", np.zeros(shape[0], np.float32)
        )

    y = op.Relu(op.Conv(x, *weight("conv1", 8, 1, 3, 3), pads=(1, 1, 1, 1), name="conv1"))
    y = op.MaxPool(y, kernel_shape=(2, 2), strides=(2, 2))
    y = op.Relu(op.Conv(y, *weight("conv2", 16, 8, 3, 3), pads=(1, 1, 1, 1), name="conv2"))
    y = op.Flatten(op.MaxPool(y, kernel_shape=(2, 2), strides=(2, 2)))
    (out,) = g.add("Gemm", [y, *weight("fc", 10, 64)], {"transB": 1}, names=["logits"], name="fc")
    g.output(out)
    return aidgejax.infer_shapes(g)


def hardware(noise: float = 0.1) -> TorchInferenceRPUConfig:
    config = TorchInferenceRPUConfig()
    config.forward.inp_res = config.forward.out_res = 1 / 254
    config.forward.out_noise = noise
    config.forward.noise_management = NoiseManagementType.NONE
    config.forward.bound_management = BoundManagementType.NONE
    config.pre_post.input_range.enable = True
    config.mapping.weight_scaling_omega, config.mapping.weight_scaling_columnwise = 1.0, True
    config.modifier.type, config.modifier.std_dev = WeightModifierType.ADD_NORMAL, 0.1
    config.clip.type = WeightClipType.LAYER_GAUSSIAN
    return config


def train(graph: Graph, data, epochs: int, lr: float):
    """(graph with what was learned, history)"""
    program = aidgejax.make_program(aidgejax.with_loss(graph, "cross_entropy", reduction="rows"), training=True)
    rule = analog.with_post_update(optim.sgd(0.9), graph)
    state, history = aidgejax.fit(program, rule, schedule.constant(lr), data, epochs=epochs, batch_size=32)
    return graph.with_params(state.params, state.buffers), history


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--picture", default=None)
    args = parser.parse_args()
    data = aidgejax.digits()
    train_set, test = data[:1500], data[1500:]

    digital, history = train(network(), train_set, args.epochs, 0.05)
    print(f"digital: loss {history[-1]['loss']:.4f}")
    aware, history = train(analog.convert_to_analog(digital, hardware()), train_set, args.epochs, 0.02)
    print(f"hardware-aware: loss {history[-1]['loss']:.4f}\n")
    batch = {"x": test.columns["x"]}
    print(analog.describe(aware, batch, key=jax.random.key(0)), "\n")

    def accuracy_of(trained: Graph):
        """The digital weights of a network, on hardware whose ranges are those it has, or are calibrated."""
        back = analog.to_digital(trained) if analog.layers(trained) else trained
        ranges = analog.input_ranges(trained) if analog.layers(trained) else None

        def accuracy(config, key):
            config.pre_post.input_range.init_from_data = 0
            made = analog.convert_to_analog(back, config)
            if ranges is None:
                params, buffers = analog.calibrate(made, [{"x": train_set.columns["x"][:500]}], "MAX", key=key)
                made = made.with_params(params, buffers)
            else:
                made = made.with_params({f"{t}.input_range": np.float32([r]) for t, r in ranges.items()})
            logits = aidgejax.run(made, batch, key=key)[0]
            return np.mean(logits.argmax(axis=1) == test.columns["target"])

        return accuracy

    levels = (0.0, 0.1, 0.2, 0.4, 0.8)
    found = {
        name: analog.sweep(accuracy_of(g), hardware(), "forward.out_noise", levels, draws=3)
        for name, g in (("trained digitally", digital), ("hardware-aware", aware))
    }
    print(analog.table(found))
    if args.picture:
        analog.picture(found, args.picture)
        print(f"\n{args.picture}")


if __name__ == "__main__":
    main()
