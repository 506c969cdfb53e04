"""LSQ(...), DoReFa(...) and so on: nodes of the training quantizers, and the classes of their operators."""

from __future__ import annotations

from typing import Any

from ..aidge_core.factories import factory
from ..aidge_core.operators.definition import CLASSES, TYPES
from . import operators

OWN = ("LSQ", "DoReFa", "CGPACT", "FixedQ", "TanhClamp", "ScaleAdjust")
LSQ, DoReFa, CGPACT, FixedQ, TanhClamp, ScaleAdjust = (factory(TYPES[k]) for k in OWN)
LSQOp, DoReFaOp, CGPACTOp, FixedQOp, TanhClampOp, ScaleAdjustOp = (CLASSES[k] for k in OWN)
DoReFaMode: Any = operators.DoReFaMode
