"""The golden cases of ONNX Runtime 1.19.2's training, and the losses they use."""

import json
from pathlib import Path

import numpy as np
import onnx

from aidgejax.frontends.onnxruntime.training import artifacts, onnxblock
from aidgejax.frontends.onnxruntime.training.api import CheckpointState, Module, Optimizer

FOLDER = Path(__file__).parents[2] / "golden" / "ort"
NAMES = sorted(p.name for p in FOLDER.iterdir() if p.is_dir())


class Case:
    def __init__(self, name):
        self.folder = FOLDER / name
        self.__dict__ |= json.loads((self.folder / "case.json").read_text())
        with np.load(self.folder / "data.npz") as data:
            self.data = dict(data)

    @property
    def model(self):
        return onnx.load(self.folder / "model.onnx")

    @property
    def initial(self):
        return {t.name: onnx.numpy_helper.to_array(t) for t in self.model.graph.initializer}

    def batch(self, i):
        return [self.data[f"data/{n}"][i % 3] for n in self.ort["module_inputs"]]

    def write(self, folder, optimizer="adamw", *, model=None, **more):
        settings = dict(self.adamw) if optimizer == "adamw" else {}
        if self.clip_grad_norm:
            settings["clip_grad"] = onnxblock.optim.ClipGradNorm(self.clip_grad_norm)
        block = {"adamw": onnxblock.optim.AdamW, "sgd": onnxblock.optim.SGD}[optimizer](**settings)
        artifacts.generate_artifacts(
            model or str(self.folder / "model.onnx"),
            requires_grad=self.requires_grad,
            frozen_params=self.frozen_params,
            loss=loss_of(*self.loss),
            optimizer=block,
            artifact_directory=folder,
            additional_output_names=self.additional_output_names,
            **more,
        )

    def start(self, folder, **keywords):
        state = CheckpointState.load_checkpoint(folder / "checkpoint")
        module = Module(folder / "training_model.onnx", state, folder / "eval_model.onnx", **keywords)
        optimizer = Optimizer(folder / "optimizer_model.onnx", module)
        optimizer.set_learning_rate(self.learning_rate)
        return state, module, optimizer


def first(outputs):
    """The loss, out of what a module returns."""
    return float(np.ravel(outputs[0] if isinstance(outputs, tuple) else outputs)[0])


class WeightedLoss(onnxblock.Block):
    """The example of ONNX Runtime's documentation, for any number of outputs."""

    def __init__(self, weights):
        self._losses = [onnxblock.loss.MSELoss() for _ in weights]
        self._weights = [onnxblock.blocks.Constant(w) for w in weights]
        self._add = onnxblock.blocks.Add()
        self._mul = onnxblock.blocks.Mul()

    def build(self, *names):
        total = None
        for k, (name, loss, weight) in enumerate(zip(names, self._losses, self._weights, strict=True), start=1):
            part = self._mul(weight(), loss(name, target_name=f"target{k}"))
            total = part if total is None else self._add(total, part)
        return total


def loss_of(name, settings):
    return WeightedLoss(settings["w"]) if name == "weighted" else getattr(onnxblock.loss, name)(**settings)
