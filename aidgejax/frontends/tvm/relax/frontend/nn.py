"""tvm.relax.frontend.nn builds modules from Python classes; it is not here: each name says what to use instead."""

from typing import Any

from ...._shared.absent_names import absent_name

INSTEAD = "state the network with relax.BlockBuilder or TVMScript, or export it to ONNX for relax.from_onnx"
ABSENT = {
    name: INSTEAD
    for name in (
        "Conv1D Conv2D Conv3D ConvTranspose1D Effect Embedding Exporter ExternModule GELU GroupNorm IOEffect KVCache "
        "LayerNorm Linear Module ModuleList Mutator Object ObjectModule Parameter RMSNorm ReLU SiLU SourceModule "
        "SubroutineMixin Tensor add_extern op spec"
    ).split()
}


def __getattr__(name: str) -> Any:
    raise absent_name(__name__, name, ABSENT)
