"""Training artifacts: written here, trained on a device without JAX, and trained on here.

python examples/onnxruntime_artifacts.py
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

import aidgejax as aj
from aidgejax.frontends.onnxruntime.training import artifacts
from aidgejax.frontends.onnxruntime.training.api import CheckpointState, Module, Optimizer

folder = Path(tempfile.mkdtemp())
digits = aj.digits().columns
x, labels = digits["x"].reshape(len(digits["x"]), 64).astype("float32"), digits["target"].astype("int64")

model = folder / "model.onnx"
graph = aj.zoo.mlp(sizes=(64, 32, 10))
aj.onnxio.write(graph, None, model)
artifacts.generate_artifacts(
    str(model),
    requires_grad=list(graph.params),
    loss=artifacts.LossType.CrossEntropyLoss,
    optimizer=artifacts.OptimType.AdamW,
    artifact_directory=folder,
    additional_output_names=graph.outputs,
)

# What goes to the device: two models, and the numbers as NumPy stores them.
state = CheckpointState.load_checkpoint(folder / "checkpoint")
np.savez(folder / "parameters.npz", **{name: p.data for name, p in state.parameters})
np.savez(folder / "data.npz", x=x, labels=labels)
subprocess.run([sys.executable, Path(__file__).with_name("onnxruntime_on_device.py"), folder, "60"], check=True)

# And back: the same artifacts go on in JAX.
with np.load(folder / "parameters.npz") as trained:
    for name, p in state.parameters:
        p.data = trained[name]
module = Module(folder / "training_model.onnx", state, folder / "eval_model.onnx")
optimizer = Optimizer(folder / "optimizer_model.onnx", module)
optimizer.set_learning_rate(0.003)
for k in range(60):
    batch = slice(32 * k % 1024, 32 * k % 1024 + 32)
    loss, _ = module(x[batch], labels[batch])
    optimizer.step()
    module.lazy_reset_grad()
    if k % 20 == 0 or k == 59:
        print(f"  in JAX         step {k:3}  loss {loss:.4f}")

module.eval()
_, scores = module(x[1024:], labels[1024:])
print(f"accuracy on images that neither has seen: {np.mean(scores.argmax(1) == labels[1024:]):.3f}")
