"""aidge_onnx: ONNX models as GraphViews, and back.

    model = load_onnx("model.onnx")
    export_onnx(model, "copy.onnx", inputs_dims={"conv1": [[1, 1, 28, 28]]})

A loaded node keeps the operator that the file has, whatever its attributes, and bears Aidge's type, so that queries
such as "Producer-1>(Conv2D|FC)" find its weights.  Initializers become Producers of their own names.
A node whose operator aidgejax does not have becomes a GenericOperator, and a warning in the log.
"""

from .._shared.absent_names import absent_name
from .convert import (
    check_onnx_validity,
    convert_aidge_to_onnx,
    convert_onnx_to_aidge,
    export_onnx,
    has_native_coverage,
    load_onnx,
    native_coverage_report,
)

ABSENT = {"check_isomorphism": "compare two models with `python -m aidgejax compare a.onnx b.onnx`"}


def __getattr__(name: str) -> object:
    raise absent_name(__name__, name, ABSENT)


__all__ = [
    "check_onnx_validity",
    "convert_aidge_to_onnx",
    "convert_onnx_to_aidge",
    "export_onnx",
    "has_native_coverage",
    "load_onnx",
    "native_coverage_report",
]
