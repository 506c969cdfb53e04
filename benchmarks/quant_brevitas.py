"""What Brevitas keeps of the networks that `quant.py accuracy` trains: same weights, split, epochs, batch, rate.

python benchmarks/quant.py accuracy --save folder        # in aidgejax's environment: weights and data of every seed
python benchmarks/quant_brevitas.py folder               # in an environment with brevitas (0.13) and torch

Weights per channel, activations per tensor and unsigned behind ReLU, first and last layer at 8 bits, biases of 32 bits;
steps are Brevitas' defaults: of weights the largest value, of activations learned, from a percentile of first batches.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import brevitas.nn as qnn
import numpy as np
import torch
from brevitas.quant import (
    Int8ActPerTensorFloat,
    Int8WeightPerChannelFloat,
    Int32Bias,
    Uint8ActPerTensorFloat,
)
from torch import nn
from torch.nn import functional as F


class LeNet(nn.Module):
    """aj.zoo.lenet(8), quantized."""

    def __init__(self, bits: int) -> None:
        super().__init__()

        def layer(kind, *sizes, width, **more):
            return kind(
                *sizes, bias=True, weight_quant=Int8WeightPerChannelFloat, weight_bit_width=width,
                bias_quant=Int32Bias, return_quant_tensor=True, **more
            )  # fmt: skip

        def relu(width):
            return qnn.QuantReLU(act_quant=Uint8ActPerTensorFloat, bit_width=width, return_quant_tensor=True)

        self.x = qnn.QuantIdentity(act_quant=Int8ActPerTensorFloat, bit_width=8, return_quant_tensor=True)
        self.conv1 = layer(qnn.QuantConv2d, 1, 6, 5, padding=2, width=8)
        self.conv2 = layer(qnn.QuantConv2d, 6, 16, 5, padding=2, width=bits)
        self.fc1 = layer(qnn.QuantLinear, 64, 120, width=bits)
        self.fc2 = layer(qnn.QuantLinear, 120, 84, width=bits)
        self.fc3 = layer(qnn.QuantLinear, 84, 10, width=8)
        self.relu1, self.relu2, self.relu3, self.relu4 = relu(bits), relu(bits), relu(bits), relu(8)
        self.out = qnn.QuantIdentity(act_quant=Int8ActPerTensorFloat, bit_width=8)

    def forward(self, x):
        x = F.max_pool2d(self.relu1(self.conv1(self.x(x))), 2)
        x = F.max_pool2d(self.relu2(self.conv2(x)), 2).flatten(1)
        return self.out(self.fc3(self.relu4(self.fc2(self.relu3(self.fc1(x))))))


def score(net: nn.Module, held: dict) -> float:
    net.eval()
    with torch.no_grad():
        return 100 * float((net(held["test_x"]).argmax(1) == held["test_y"]).float().mean())


def trained(held: dict, bits: int, rate: float, epochs: int, batch: int, seed: int) -> float:
    torch.manual_seed(seed)
    net = LeNet(bits)
    state = {k.removeprefix("p/"): v for k, v in held.items() if k.startswith("p/")}
    net.load_state_dict(state, strict=False)
    rows = len(held["x"]) // batch * batch
    optimizer = torch.optim.Adam(net.parameters(), lr=rate)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * rows // batch)
    net.train()
    for _ in range(epochs):
        for at in torch.randperm(len(held["x"]))[:rows].split(batch):
            optimizer.zero_grad()
            F.cross_entropy(net(held["x"][at]), held["y"][at]).backward()
            optimizer.step()
            falling.step()
    return score(net, held)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--bits", type=int, nargs="*", default=[8, 4, 2])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--batch", type=int, default=32)
    args = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[int, list[float]] = {}
    for path in sorted(args.folder.glob("seed*.npz")):
        with np.load(path) as arrays:
            held = {k: torch.from_numpy(arrays[k]) for k in arrays.files}
        before, seed = float(held["score"]), int(path.stem.removeprefix("seed"))
        for bits in args.bits:
            rate = {8: 1e-3, 4: 2e-3, 2: 4e-3}[bits]
            found.setdefault(bits, []).append(trained(held, bits, rate, args.epochs, args.batch, seed) - before)
            print(f"seed {seed}  float {before:.2f}  w{bits}a{bits} {found[bits][-1]:+.2f}", flush=True)
    for bits, points in found.items():
        print(f"w{bits}a{bits}: median of {len(points)} seeds {np.median(points):+.2f} points "
              f"({min(points):+.2f} to {max(points):+.2f})")  # fmt: skip
