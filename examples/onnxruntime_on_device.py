"""Training on a device that has numpy and onnxruntime and nothing else: no JAX, no training build.

    python examples/onnxruntime_artifacts.py        # writes the artifacts, and then runs this file

The folder holds training_model.onnx, optimizer_model.onnx, data.npz and parameters.npz, which is written anew.
"""

import sys
from pathlib import Path

import numpy as np
import onnxruntime as ort

if len(sys.argv) != 3:
    sys.exit(__doc__)
folder, steps = Path(sys.argv[1]), int(sys.argv[2])
training = ort.InferenceSession(folder / "training_model.onnx")
optimizer = ort.InferenceSession(folder / "optimizer_model.onnx")
parameters, data = dict(np.load(folder / "parameters.npz")), np.load(folder / "data.npz")

trained = [i.name.removesuffix("_grad") for i in optimizer.get_inputs() if i.name.endswith("_grad")]
buffers = {f"{p}_grad.accumulation.buffer": np.zeros_like(parameters[p]) for p in trained}
moments = {f"{p}_momentum{k}": np.zeros_like(parameters[p]) for p in trained for k in (0, 1)}
step, rate = np.array([1]), np.array(0.003, np.float32)
outputs = [o.name for o in training.get_outputs()]
updates = [o.name for o in optimizer.get_outputs()]

for k in range(steps):
    batch = slice(32 * k % 1024, 32 * k % 1024 + 32)
    found = dict(
        zip(
            outputs,
            training.run(
                None,
                {
                    "x": data["x"][batch],
                    "labels": data["labels"][batch],
                    **parameters,
                    **buffers,
                    "lazy_reset_grad": np.array([True]),
                },
            ),
            strict=True,
        )
    )
    grads = {f"{p}_grad": found[f"{p}_grad.accumulation.out"] for p in trained}
    new = dict(
        zip(
            updates,
            optimizer.run(
                None, {"learning_rate": rate, "step": step, **{p: parameters[p] for p in trained}, **grads, **moments}
            ),
            strict=True,
        )
    )
    parameters |= {p: new[f"{p}_out"] for p in trained}
    parameters |= {n.removesuffix(".updated"): a for n, a in found.items() if n.endswith(".updated")}  # of BatchNorm
    moments = {m: new[f"{m}_out"] for m in moments}
    step = new["step_out"]
    if k % 20 == 0 or k == steps - 1:
        print(f"  on the device  step {k:3}  loss {found[outputs[0]]:.4f}")

np.savez(folder / "parameters.npz", **parameters)
if "jax" in sys.modules:
    raise SystemExit("JAX was imported")
