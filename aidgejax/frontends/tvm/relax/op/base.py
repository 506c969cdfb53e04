"""tvm.relax.op.base: calls of functions that are not written in Relax, all out of scope."""

from __future__ import annotations

from typing import Any

from ...._shared.absent_names import absent_name

__all__: list[str] = []

TIR = "functions of TIR are out of scope; write the computation with operators of relax.op"
ABSENT = {
    **dict.fromkeys(("call_tir", "call_tir_with_grad", "call_tir_inplace", "call_dps_packed"), TIR),
    "call_pure_packed": "TVMScript reads R.call_pure_packed of operators that are ours",
    "register_gradient": "every operator has its gradient; one of your own is a rule in aidgejax.ops (docs/design.md)",
}


def __getattr__(name: str) -> Any:
    raise absent_name(__name__, name, ABSENT)
