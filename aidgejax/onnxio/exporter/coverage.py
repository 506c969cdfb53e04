"""Which of ONNX's operators can be trained through in an artifact: those that have a rule here."""

from __future__ import annotations

from ...ops import OPERATORS

WITHOUT_SLOPE = "constant or discrete: no gradient passes"
SIZES, STEPS = "yes, with spatial sizes that are numbers", "yes, step by step: the number of time steps is a number"
CONDITIONS = {
    "Conv": SIZES, "AveragePool": SIZES, "LpPool": SIZES, "GridSample": SIZES, "AffineGrid": SIZES,
    "RNN": STEPS, "GRU": STEPS, "LSTM": STEPS,
    "CumProd": "yes, step by step: the axis is a number in the node",
    "Det": "yes, with a size of the matrices that is known",
    "InstanceNormalization": "yes, with a number of channels that is known",
    "Resize": "yes, unless a keep_aspect_ratio_policy decides the sizes",
}  # fmt: skip


def exportable() -> dict[str, tuple[int, bool]]:
    """{operator of ONNX: (the opset of the form it has here, does it have a gradient rule?)}"""
    return {
        name: (o.onnx[1], o.vjp is not None)
        for name, o in sorted(OPERATORS.items())
        if o.onnx is not None and o.onnx[0] == ""
    }


def table() -> str:
    """The same as a Markdown table."""
    rows = ["| operator | ONNX | gradient in artifacts |", "|---|---|---|"]
    for name, (opset, rule) in exportable().items():
        rows.append(f"| {name} | {opset} | {CONDITIONS.get(name, 'yes') if rule else WITHOUT_SLOPE} |")
    return "\n".join(rows)
