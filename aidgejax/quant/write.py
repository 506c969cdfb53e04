"""Writing what is deployed, and nothing that was not compared first."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from .. import onnxio
from ..arguments import checked_call
from ..errors import GraphError, SettingError
from ..graph import Graph
from .batches import Batches
from .c_code import Program
from .c_form import program_of, verify_c, write_c
from .compact import compact
from .forms import FORMS, in_form, qoperator_reasons
from .proof import unproved
from .reading import grids_of
from .runtimes import RUNTIMES
from .short_names import short_names
from .verify import Report, verify

DRAWN = 64  # rows, where no data are given


@checked_call
def write(
    integers: Graph,
    path: Any,
    form: str = "qdq",
    *,
    graph: Graph | None = None,
    data: Batches | None = None,
    runtimes: Iterable[str] = RUNTIMES,
    grade: str = "counted",
    packed: bool = False,
    unverified: bool = False,
) -> Report | None:
    """Verify, then write: the file, or GraphError that names the first layer that differs, and no file.

    integers: what `to_integer` made.  form: "qdq", "qoperator", "qonnx", "aidge", or "c" (path is then a folder).
    graph: the converted graph that was trained, to be compared with; default: NumPy's execution of `integers`.
    data: as for `calibrate`; default: 64 rows drawn over the range of each input.
    grade: "proved" also asks for the proof (proof.py); "counted" is content with at most 1 step in 1e-5 of the values.
    packed: weights of at most 4 bits two to a byte (int4), short names for tensors between layers, and scales computed
    where that takes fewer bytes (compact.py).  unverified: write without any comparison; None comes back.
    """
    if form not in FORMS:
        raise SettingError(f"form {form!r}: expected one of {', '.join(FORMS)}")
    if not isinstance(path, str | os.PathLike):
        raise SettingError(f"path is {path!r}: expected the name of a {'folder' if form == 'c' else 'file'}")
    if grade not in ("proved", "counted"):
        raise SettingError(f"grade {grade!r}: expected 'proved' or 'counted'")
    data = _drawn(integers) if data is None else data
    if form == "c":
        return _c(integers, path, graph, data, runtimes, grade, unverified)
    made = in_form(integers, form, packed=packed)
    made = compact(made) if packed and form == "qdq" else made
    report = None
    if not unverified:
        asked = [r for r in runtimes if form != "qonnx" or r != "onnxruntime"]  # it has no Quant
        # With powers of two what stays between DequantizeLinear and QuantizeLinear (Add, pools) is exact as well.
        reasons = qoperator_reasons(made) if form == "qoperator" and unproved(integers) else []
        if form == "qoperator":  # its own arithmetic: a product of steps is rounded before it is used
            report = verify(made, made, data, asked, reasons=reasons)
        else:
            report = verify(graph or integers, integers, data, asked, form=made)
        refuse(report, grade, f"{os.fspath(path)} was not written", _cure(integers, form))
    onnxio.write(short_names(made) if packed else made, None, path)
    return report


def _c(
    integers: Graph,
    path: Any,
    graph: Graph | None,
    data: Batches,
    runtimes: Iterable[str],
    grade: str,
    unverified: bool,
) -> Report | None:
    """The deployed graph is compared as ever, and the compiled program with it."""
    program, name = program_of(integers)
    report = None
    if not unverified:
        report = verify(graph or integers, integers, data, runtimes)
        compiled = verify_c(integers, program, name, data, report.reasons)
        report = replace(report, rows=(*report.rows, *compiled.rows), notes=(_memory(program),))
        refuse(report, grade, f"{os.fspath(path)} was not written", _cure(integers, "c"))
    write_c(program, name, path)
    return report


def _memory(program: Program) -> str:
    return f"flash {program.flash} bytes of constants, RAM {program.ram} bytes of activations"


def _cure(integers: Graph, form: str) -> str:
    """What makes every runtime agree; its products of integers have no form for 16 bits."""
    wide = any(g.high - g.low > 255 for g in grids_of(integers).values() if g.integers not in integers.producers)
    also = "" if wide or form == "qoperator" else ", and so does form 'qoperator'"
    return f"Steps that are powers of two (step='power_of_two') make every runtime agree{also}"


def refuse(report: Report, grade: str, consequence: str, cure: str) -> None:
    """Raise GraphError unless a report is good enough."""
    if not report.passes:
        bad = report.first_bad
        what = (
            ""
            if bad is None
            else (
                f"{bad.tensor!r} (node {bad.node!r}) is the first: {bad.differing} of {bad.values} values differ in "
                f"{bad.runtime}, by up to {bad.largest:g} steps"
            )
        )
        raise GraphError(f"what is deployed is not what was trained: {what}; {consequence}. {cure}")
    if grade == "proved" and report.reasons:
        raise GraphError(
            f"nothing differs on these data, but that is not proved: {report.reasons[0]}; {consequence}. Train with "
            f"step='power_of_two', or ask for grade 'counted'"
        )


def _drawn(graph: Graph) -> dict[str, np.ndarray]:
    grids, rng = grids_of(graph), np.random.default_rng(0)
    readers, found = graph.readers(), {}
    for name, value in graph.inputs.items():
        sizes = [DRAWN if not isinstance(d, int) and k == 0 else d for k, d in enumerate(value.shape or ())]
        shape = [d for d in sizes if isinstance(d, int)]
        if len(shape) < len(sizes):
            raise GraphError(f"{value} of graph {graph.name!r} has sizes that are not known: give data to compare with")
        if not value.is_float:
            found[name] = np.zeros(shape, np.dtype(value.dtype or "int64"))
            continue
        low, high = -1.0, 1.0
        for n in readers.get(name, []):
            if n.op in ("QuantizeLinear", "Clip"):
                grid = next((g for t, g in grids.items() if t.startswith(f"{name}.")), None)
                if grid is not None:
                    low, high = (float((level - grid.zero) * grid.step) for level in (grid.low, grid.high))
        found[name] = rng.uniform(low, high, shape).astype(np.float32)
    return found
