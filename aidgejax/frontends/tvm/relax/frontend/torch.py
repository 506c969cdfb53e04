"""tvm.relax.frontend.torch reads PyTorch programs; it is not here: each name says what to use instead."""

from typing import Any

from ...._shared.absent_names import absent_name

INSTEAD = "export the model with torch.onnx.export and read it with relax.from_onnx"
ABSENT = dict.fromkeys(("dynamo_capture_subgraphs", "from_exported_program", "from_fx", "relax_dynamo"), INSTEAD)


def __getattr__(name: str) -> Any:
    raise absent_name(__name__, name, ABSENT)
