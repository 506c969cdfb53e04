"""Does training in 16 bits reach the accuracy of float32?

Digits with a LeNet, MNIST-1D with three convolutions, digits as 16 tokens with a small transformer: the same start, the
same batches, in float32, bfloat16 and float16 with loss scaling; test accuracy of the float32 weights, mean over seeds.

    python benchmarks/precision.py [--seeds 3] [--only digits mnist1d transformer]   # MNIST-1D: pip install mnist1d
"""

from __future__ import annotations

import argparse
import time

import jax
import numpy as np

import aidgejax as aj
from aidgejax.tools import zoo

PRECISIONS = ("float32", "bfloat16", "float16")


def digits():
    training, test = aj.digits().split(0.2, seed=0)
    return zoo.lenet(size=8), training, test, {"epochs": 15, "lr": 3e-3}


def mnist1d():
    from mnist1d.data import get_dataset_args, make_dataset

    found = make_dataset(get_dataset_args())
    column = lambda x, y: aj.Dataset({"x": x[:, None].astype(np.float32), "target": y.astype(np.int64)})
    rng = np.random.default_rng(0)
    weight = lambda *s: (rng.normal(size=s) * np.sqrt(2 / np.prod(s[1:]))).astype(np.float32)
    g = aj.Graph("conv1d")
    h = g.input("x", ("N", 1, 40))
    for k, (before, after) in enumerate(((1, 25), (25, 25), (25, 25))):
        w, b = g.parameter(f"w{k}", weight(after, before, 5)), g.parameter(f"b{k}", np.zeros(after, np.float32))
        h = g.op.Relu(g.op.Conv(h, w, b, strides=(2,), pads=(1, 1)))
    h = g.op.Flatten(h)
    size = aj.infer_shapes(g).value(h.name).shape[1]
    w, b = g.parameter("w", weight(10, size)), g.parameter("b", np.zeros(10, np.float32))
    g.output(g.op.Gemm(h, w, b, transB=1, name="logits"))
    return g, column(found["x"], found["y"]), column(found["x_test"], found["y_test"]), {"epochs": 30, "lr": 3e-3}


def transformer():
    """A digit as 16 tokens, each the brightness of 2 x 2 pixels in 9 steps."""
    parts = []
    for part in aj.digits().split(0.2, seed=0):
        x = np.round(np.asarray(part.columns["x"]).reshape(len(part), 8, 8) * 16 / np.max(part.columns["x"]))
        tokens = x.reshape(len(part), 4, 2, 4, 2).sum((2, 4)).reshape(len(part), 16) // 8
        parts.append(aj.Dataset({"x": tokens.astype(np.int64), "target": part.columns["target"]}))
    return zoo.transformer_encoder(9, 16, width=32, heads=4, depth=2), *parts, {"epochs": 30, "lr": 2e-3}


TASKS = {"digits": digits, "mnist1d": mnist1d, "transformer": transformer}


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--seeds", type=int, default=3)
    p.add_argument("--only", nargs="+", choices=TASKS, default=list(TASKS))
    args = p.parse_args()
    d = jax.devices()[0]
    print(f"{d.platform} {d.device_kind}, jax {jax.__version__}, {args.seeds} seeds; test accuracy, and seconds of all")
    for name in args.only:
        graph, training, test, settings = TASKS[name]()
        graph, means = aj.infer_shapes(graph), {}
        for precision in PRECISIONS:
            begun, found = time.perf_counter(), []
            for seed in range(args.seeds):
                result = aj.train(graph, training, test=test, seed=seed, precision=precision, **settings)
                found.append(result.history[-1]["test_accuracy"])
            means[precision] = float(np.mean(found))
            shown = ", ".join(f"{a:.4f}" for a in found)
            print(
                f"{name:12} {precision:9} {means[precision]:.4f} ({shown})  {time.perf_counter() - begun:.0f} s",
                flush=True,
            )
        worst = min(means.values()) - means["float32"]
        print(f"{name:12} lowest against float32: {100 * worst:+.2f} points", flush=True)


if __name__ == "__main__":
    main()
