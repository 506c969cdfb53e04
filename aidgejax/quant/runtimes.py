"""Running a deployed graph in every runtime there is: NumPy, JAX, onnxruntime with and without optimization."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import numpy as np

from .. import reference
from ..arguments import checked_call
from ..errors import BackendError, SettingError
from ..execution.program import make_program
from ..graph import Graph
from ..onnxio import to_model

Arrays = dict[str, np.ndarray]
RUNTIMES = ("numpy", "jax", "onnxruntime")
# Each level of optimization is asked by itself: a file can be right at one and wrong at the other.
LEVELS = {"onnxruntime off": "ORT_DISABLE_ALL", "onnxruntime all": "ORT_ENABLE_ALL"}


@checked_call
def has_onnxruntime() -> bool:
    return importlib.util.find_spec("onnxruntime") is not None


def expanded(runtimes: Iterable[str]) -> tuple[list[str], list[str]]:
    """(those that can be asked, those that are missing here); "onnxruntime" is two, by level of optimization."""
    there: list[str] = []
    missing: list[str] = []
    if isinstance(runtimes, str):
        runtimes = (runtimes,)
    if not isinstance(runtimes, Iterable):
        raise SettingError(f"runtimes is {runtimes!r}: expected some of {', '.join(RUNTIMES)}")
    for r in runtimes:
        if r not in RUNTIMES:
            raise BackendError(f"there is no runtime {r!r}; there are {', '.join(RUNTIMES)}")
        if r != "onnxruntime":
            there.append(r)
        elif has_onnxruntime():
            there += list(LEVELS)
        else:
            missing.append(r)
    if not there and not missing:
        raise SettingError(f"there is no runtime to compare in: give some of {', '.join(RUNTIMES)}")
    return there, missing


def runner(graph: Graph, tensors: Sequence[str], runtime: str) -> Callable[[Arrays], Arrays]:
    """f(batch) -> {tensor: array} for these tensors of the graph, by one runtime."""
    if runtime == "numpy":

        def by_numpy(batch: Arrays) -> Arrays:
            found = reference.execute(graph, batch)
            return {t: np.asarray(found[t]) for t in tensors}

        return by_numpy
    watch = graph.copy()
    watch.outputs = list(dict.fromkeys([*graph.outputs, *tensors]))
    if runtime == "jax":
        program = make_program(watch, wrt=[], training=False)
        # Weights as arguments: XLA would compute with constants while it compiles.
        call = jax.jit(lambda params, buffers, batch: program.forward(params, buffers, batch, save=False)[0])

        def by_jax(batch: Arrays) -> Arrays:
            found = jax.device_get(call(watch.params, watch.buffers, batch))
            return {t: np.asarray(found[t]) for t in tensors}

        return by_jax
    session = _session(watch, LEVELS[runtime])

    def by_onnxruntime(batch: Arrays) -> Arrays:
        return dict(zip(tensors, session.run(list(tensors), dict(batch)), strict=True))

    return by_onnxruntime


def _session(graph: Graph, level: str) -> Any:
    """A session for the very file that `write` writes."""
    ort = importlib.import_module("onnxruntime")
    options = ort.SessionOptions()
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, level)
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return ort.InferenceSession(to_model(graph).SerializeToString(), options, ["CPUExecutionProvider"])
    except Exception as e:  # onnxruntime raises many kinds of its own
        first = str(e).strip().split("\n", 1)[0][:300]
        raise BackendError(f"onnxruntime ({level}) does not load graph {graph.name!r}: {first}") from None


def instructions() -> str:
    """The processor's instructions for products of 8-bit integers, where they are known."""
    try:
        with open("/proc/cpuinfo") as f:
            flags = next((line.split(":", 1)[1].split() for line in f if line.startswith(("flags", "Features"))), [])
    except OSError:
        return "unknown"
    known = ("amx_int8", "avx512_vnni", "avx_vnni", "asimddp", "i8mm", "avx512bw", "avx2", "sse4_1")
    return next((k for k in known if k in flags), "none")


def saturates(name: str) -> bool:
    """Do 16-bit sums of uint8 times int8 overflow with these instructions?  onnxruntime's results are then its own."""
    return name in ("avx512bw", "avx2", "sse4_1")
