"""torch's export of a model in training, with the three arguments that ONNX Runtime's documentation asks for.

    python _torch.py torch_export.onnx

wrote the file beside this one, with torch 2.13.
"""

import sys
import warnings
from pathlib import Path

FILE = Path(__file__).with_name("torch_export.onnx")


def network():
    import torch
    from torch import nn

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.bn = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4)
            self.drop, self.fc = nn.Dropout(0.25), nn.Linear(64, 5)

        def forward(self, x, kept=None):
            """kept: what Dropout multiplies with, instead of what it draws."""
            h = torch.flatten(torch.max_pool2d(torch.relu(self.bn(self.conv(x))), 2), 1)
            return self.fc(self.drop(h) if kept is None else h * kept)

    torch.manual_seed(0)
    return Network().train()


def export(model, path):
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            (torch.randn(2, 1, 8, 8),),
            path,
            input_names=["input"],
            output_names=["output"],
            dynamic_axes={"input": {0: "batch"}, "output": {0: "batch"}},
            export_params=True,
            training=torch.onnx.TrainingMode.TRAINING,
            do_constant_folding=False,
            dynamo=False,
        )


if __name__ == "__main__":
    export(network(), sys.argv[1])
