"""Which of ONNX's operators can be trained through in an artifact: those that have a rule here."""

from __future__ import annotations

from ...ops import OPERATORS

WITHOUT_SLOPE = "constant or discrete: no gradient passes"


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
        rows.append(f"| {name} | {opset} | {OPERATORS[name].gradient_exports if rule else WITHOUT_SLOPE} |")
    return "\n".join(rows)
