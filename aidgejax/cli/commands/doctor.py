"""What is installed and which devices there are; then a few seconds of training as a self-test."""

from __future__ import annotations

import argparse
import platform
import time
from importlib import metadata

import numpy as np

from ...execution.devices import available_platforms, unused_gpu
from ...graph import Graph
from ...tools.compare import compare
from ...tools.train import train
from ...training.data import digits

HELP = "versions, devices, and a self-test of a few seconds"
EXAMPLES = (
    "doctor",
    "doctor --no-test",
)
PACKAGES = ("jax", "jaxlib", "numpy", "onnx", "onnxruntime", "matplotlib", "scikit-learn", "torch")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--no-test", action="store_true", help="leave the self-test out")


def run(args: argparse.Namespace) -> int:
    print(f"Python {platform.python_version()} on {platform.system()} {platform.machine()}")
    for package in ("aidgejax", *PACKAGES):
        print(f"  {package:14} {_version(package)}")
    print(f"devices: {', '.join(available_platforms())}")
    if why := unused_gpu():
        print(f"  {why}")
    return 0 if args.no_test else _self_test()


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _self_test() -> int:
    begun = time.perf_counter()
    training, test = digits().split(0.2, seed=0)
    result = train(_small_network(), training, epochs=10, lr=3e-3)
    accuracy = result.evaluate(test)["accuracy"]
    agree = compare(_small_network(), steps=0).ok
    good = accuracy > 0.8 and agree
    print(
        f"self-test: {'passed' if good else 'FAILED'} in {time.perf_counter() - begun:.1f} s: a small network reaches "
        f"{accuracy:.3f} on digits (above 0.8 is right), both backends {'agree' if agree else 'DISAGREE'}"
    )
    return 0 if good else 1


def _small_network() -> Graph:
    """One convolution and one dense layer: what a step of training needs, compiled in a second or two."""
    rng, graph = np.random.default_rng(0), Graph("small network")
    op = graph.op
    kernel = graph.parameter("kernel", rng.normal(0, 0.5, (8, 1, 3, 3)).astype(np.float32))
    weight = graph.parameter("weight", rng.normal(0, 0.1, (10, 128)).astype(np.float32))
    bias = graph.parameter("bias", np.zeros(10, np.float32))
    x = op.Conv(graph.input("x", ("N", 1, 8, 8)), kernel, pads=(1, 1, 1, 1), name="conv")
    x = op.MaxPool(op.Relu(x, name="relu"), kernel_shape=(2, 2), strides=(2, 2), name="pool")
    graph.output(op.Gemm(op.Flatten(x, name="flatten"), weight, bias, transB=1, name="logits"))
    return graph
