"""The files of the page: the step of a small LeNet, its initial state, and its forward pass.

python make_files.py [folder]
"""

import sys
from pathlib import Path

import aidgejax as aj

folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
model = aj.zoo.lenet(8)
aj.onnxio.write(model, None, folder / "model.onnx")
graph = aj.with_loss(aj.infer_shapes(model), "cross_entropy")
aj.onnxio.write_step(graph, None, folder / "step.onnx", optimizer=aj.optim.sgd(momentum=0.9), batch=8)
