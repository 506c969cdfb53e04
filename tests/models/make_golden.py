"""Writes tests/models/golden: small exports of torch, and what torch makes of them.

    python -m tests.models.make_golden        needs torch==2.13.0 and onnxscript

Each is exported with a batch of 1; `<net>.npz` holds four rows of inputs, the target, and torch's loss and gradients in
float32: of the module as exported, and with its batch normalizations training ("train/...").
"""

import json
from pathlib import Path

import numpy as np
import torch
from torch import nn

from .against_torch import exported, torch_gradients
from .nets import InvertedResidual, ViT, conv, lively

FOLDER = Path(__file__).parent / "golden"


def vit():
    return ViT(dim=12, heads=3, depth=1), (3, 32, 32)


def squeeze_excite():
    return nn.Sequential(
        conv(3, 8, 3, 2, act=nn.SiLU()),
        InvertedResidual(8, 8, 1, 2, 3, squeeze=4, act=nn.SiLU),
        InvertedResidual(8, 12, 2, 2, 5, squeeze=4, act=nn.ReLU6),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(12, 10),
    ), (3, 16, 16)


def main():
    FOLDER.mkdir(exist_ok=True)
    for make, exporter in ((vit, "dynamo"), (squeeze_excite, "script")):
        torch.manual_seed(0)
        rng = np.random.default_rng(0)
        module, shape = make()
        lively(module).eval()
        x, target = rng.normal(size=(4, *shape)).astype(np.float32), rng.integers(0, 10, 4)
        model = exported(module, {"x": x[:1]}, exporter, symbolic=False)
        for n in model.graph.node:  # traces of the machine that wrote it
            n.doc_string = ""
            del n.metadata_props[:]
        del model.graph.value_info[:], model.metadata_props[:]
        (FOLDER / f"{make.__name__}.onnx").write_bytes(model.SerializeToString())
        kept = {"x": x, "target": target}
        for mode in ("", "train/") if any(isinstance(m, nn.BatchNorm2d) for m in module.modules()) else ("",):
            module.train(bool(mode))
            loss, grads, given, y = torch_gradients(module, {"x": x}, target, "cross_entropy")
            kept |= {f"{mode}loss": np.float32(loss), f"{mode}y": y, f"{mode}grad/x": given["x"]}
            kept |= {f"{mode}grad/{k}": g for k, g in grads.items()}
        np.savez_compressed(FOLDER / f"{make.__name__}.npz", **kept)
    (FOLDER / "made_with.json").write_text(json.dumps({"torch": torch.__version__}) + "\n")


if __name__ == "__main__":
    main()
