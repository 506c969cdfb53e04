"""Run by an interpreter that has onnxruntime-training 1.19.2: trains artifacts there; prints the losses
and what is frozen.

    python _peer.py FOLDER DATA.npz LEARNING_RATE

The package imports torch for a part that is not used here; where torch is missing, an empty stand-in takes its place.
"""

import importlib.util
import json
import sys
from importlib.machinery import ModuleSpec
from unittest.mock import MagicMock

import numpy as np


class Stub:
    def find_spec(self, name, path=None, target=None):
        return ModuleSpec(name, self, is_package=True) if name.split(".")[0] == "torch" else None

    def create_module(self, spec):
        module = MagicMock(name=spec.name)
        module.__path__, module.__spec__, module.__name__, module.__version__ = [], spec, spec.name, "2.1.0"
        return module

    def exec_module(self, module):
        pass


if importlib.util.find_spec("torch") is None:
    sys.meta_path.insert(0, Stub())

from onnxruntime.training.api import CheckpointState, Module, Optimizer  # noqa: E402

folder, data, rate = sys.argv[1], np.load(sys.argv[2]), float(sys.argv[3])
state = CheckpointState.load_checkpoint(f"{folder}/checkpoint")
module = Module(f"{folder}/training_model.onnx", state, f"{folder}/eval_model.onnx")
optimizer = Optimizer(f"{folder}/optimizer_model.onnx", module)
optimizer.set_learning_rate(rate)
losses = []
for i in range(10):
    found = module(*(data[f"data/{n}"][i % 3] for n in module.input_names()))
    losses.append(float(np.ravel(found[0] if isinstance(found, list | tuple) else found)[0]))
    optimizer.step()
    module.lazy_reset_grad()
frozen = {name: p.data.tolist() for name, p in state.parameters if not p.requires_grad}
print(json.dumps([losses, frozen]))
