"""Train with a step file and onnxruntime alone: no aidgejax, no JAX in the loop.

    python -m aidgejax step model.onnx --loss cross_entropy --optimizer sgd --momentum 0.9 --batch 32 --out step.onnx
    python examples/step_loop.py step.onnx data.npz --steps 200 --rate 0.05 --out trained.npz

Without arguments it writes the step of a small LeNet, and trains it on handwritten digits.

State stays in onnxruntime's memory: two sets of values take turns, one is read while the other is written.  Never bind
an output onto the input it replaces: under onnxruntime's default order of execution the result is silently wrong.
"""

import argparse
import json
import os
import tempfile
import zlib

import numpy as np
import onnxruntime as ort


class StepLoop:
    """Feeds the state of a step back: `loss = loop(batch, learning_rate=0.05)`.

    state: a .npz to go on from, as `save` writes it; None for the one that was written with the step.
    """

    def __init__(self, path, options=None, state=None):
        self.session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        metadata = self.session.get_modelmeta().custom_metadata_map
        if "aidgejax.step" not in metadata:
            raise SystemExit(f"{path} is no training step: `python -m aidgejax step {path} --out step.onnx` writes one")
        self.known = json.loads(metadata["aidgejax.step"])
        initial = self.read(state or os.path.splitext(path)[0] + ".npz", own=state is None)
        # OrtValues share memory with the array that they are made of: each set has copies of its own
        self.sets = [
            {s["input"]: ort.OrtValue.ortvalue_from_numpy(initial[s["input"]].copy()) for s in self.known["state"]}
            for _ in range(2)
        ]
        self.scalars = {s["name"]: s["dtype"] for s in self.known["scalars"]}

    def read(self, path, own):
        """The arrays of a state; own: they must be those that the step was written with."""
        with np.load(path) as stored:
            arrays = {s["input"]: stored[s["input"]] for s in self.known["state"]}
        checksum = 0
        for s in self.known["state"]:
            array = arrays[s["input"]]
            if (list(array.shape), array.nbytes) != (s["shape"], s["bytes"]):
                raise SystemExit(f"{path}: {s['input']} is {array.dtype}{array.shape}: no state of this step")
            checksum = zlib.crc32(array.tobytes(), checksum)
        if own and checksum != self.known["initial"]["crc32"]:
            raise SystemExit(f"{path} was not written with this step: write both again, or give it as a state")
        return arrays

    def __call__(self, batch, **scalars):
        read, write = self.sets
        binding = self.session.io_binding()
        for name, array in batch.items():
            binding.bind_cpu_input(name, np.ascontiguousarray(array))
        for name, dtype in self.scalars.items():
            binding.bind_cpu_input(name, np.asarray(scalars[name], dtype))
        for s in self.known["state"]:
            binding.bind_ortvalue_input(s["input"], read[s["input"]])
            binding.bind_ortvalue_output(s["output"], write[s["input"]])
        binding.bind_output(self.known["loss"])
        self.session.run_with_iobinding(binding)
        self.sets.reverse()
        names = [o["output"] for o in self.known["state"]]
        return float(binding.get_outputs()[len(names)].numpy())

    def save(self, path):
        """The whole state, to go on from later."""
        np.savez(path, **self.state())

    def state(self, names=None):
        """{name: array} of the state now; names: only these, known["parameters"] say."""
        return {n: v.numpy().copy() for n, v in self.sets[0].items() if names is None or n in names}


def federated_average(states, weights=None):
    """One round of federated averaging: the mean of several loops' states, by how much data each has seen."""
    weights = np.ones(len(states)) if weights is None else np.asarray(weights, float)
    shares = weights / weights.sum()
    return {
        name: sum(s * state[name] for s, state in zip(shares, states, strict=True)).astype(states[0][name].dtype)
        for name in states[0]
    }


def digits(folder):
    """A step of a small LeNet and its data, made with aidgejax."""
    import aidgejax as aj

    graph = aj.with_loss(aj.infer_shapes(aj.zoo.lenet(8)), "cross_entropy")
    step = aj.onnxio.write_step(
        graph, None, os.path.join(folder, "step.onnx"), optimizer=aj.optim.sgd(momentum=0.9), batch=32
    )
    columns = aj.data.digits().columns
    image = next(k for k, v in columns.items() if v.ndim == 4)
    return step.path, {step.batch[0]: columns[image], "target": columns["target"]}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("step", nargs="?")
    parser.add_argument("data", nargs="?", help="arrays named as the step's batch inputs, .npz")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--rate", type=float, default=0.05)
    parser.add_argument("--out", help="where the trained parameters go, .npz")
    parser.add_argument("--state", help="the whole state to go on from, and to save at the end, .npz")
    args = parser.parse_args()
    if args.step:
        if args.data is None:
            parser.error("give the data as well, a .npz")
        path, data = args.step, dict(np.load(args.data))
    else:
        path, data = digits(tempfile.mkdtemp())
    loop = StepLoop(path, state=args.state if args.state and os.path.exists(args.state) else None)
    shapes = {b["name"]: (b["shape"], b["dtype"]) for b in loop.known["batch"]}
    if missing := set(shapes) - set(data):
        raise SystemExit(f"{args.data} has {', '.join(data)}, and the step needs {', '.join(missing)} as well")
    first = next(iter(shapes.values()))[0][0]
    rows = first if isinstance(first, int) else 32
    rng = np.random.default_rng(0)
    for k in range(args.steps):
        chosen = rng.integers(0, len(next(iter(data.values()))), rows)
        batch = {n: data[n][chosen].astype(dtype) for n, (_, dtype) in shapes.items()}
        given = {"learning_rate": args.rate, "seed": 0}
        loss = loop(batch, **{n: given[n] for n in loop.scalars})
        if k % 20 == 0 or k == args.steps - 1:
            print(f"step {k:4}  loss {loss:.4f}")
    if args.state:
        loop.save(args.state)
    if args.out:
        np.savez(args.out, **loop.state(loop.known["parameters"] + loop.known["buffers"]))


if __name__ == "__main__":
    main()
