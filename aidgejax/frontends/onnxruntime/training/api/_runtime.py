"""Who executes an artifact: JAX, as one compiled call, or plain onnxruntime."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from typing import Any

import jax
import numpy as np
import onnx
from onnx import ModelProto, helper, numpy_helper

from .....errors import AidgeJaxError
from .....execution.program import make_program
from .....onnxio.artifacts.label_shapes import read_with_label_shapes
from .._errors import NoFile, TrainingError

BACKENDS = ("jax", "onnxruntime")
Runner = Callable[[Mapping[str, Any]], dict[str, Any]]


def load(path: Any, what: str) -> ModelProto:
    """The model of a file; each failure says which artifact it is."""
    try:
        return onnx.load(path)
    except FileNotFoundError:
        raise NoFile(f"there is no {what} {str(path)!r}") from None
    except Exception as e:  # protobuf's own kinds
        raise TrainingError(f"the {what} {str(path)!r} is not an ONNX model: {e}") from None


def runner(model: ModelProto, backend: str, options: Any = None) -> Runner:
    """What executes `model`: {input: array} -> {output: array}."""
    if backend not in BACKENDS:
        raise TrainingError(f"backend is {backend!r}; expected one of {', '.join(map(repr, BACKENDS))}")
    try:
        return _in_jax(model) if backend == "jax" else _in_onnxruntime(model, options)
    except TrainingError:
        raise
    except AidgeJaxError as e:
        raise TrainingError(str(e)) from None


def _in_jax(model: ModelProto) -> Runner:
    graph = read_with_label_shapes(model)
    for p in graph.producers.values():
        p.role = "constant"  # what training changes is an input of the artifact
    program = make_program(graph, seeds=(), wrt=())
    key = jax.random.key(0)
    calls = 0

    @jax.jit
    def call(feeds: dict[str, Any], number: Any) -> dict[str, Any]:
        return program.forward({}, {}, feeds, jax.random.fold_in(key, number), save=False)[0]

    def run(feeds: Mapping[str, Any]) -> dict[str, Any]:
        nonlocal calls
        calls += 1
        wide = any(getattr(a, "dtype", None) == np.float64 for a in feeds.values())
        with jax.enable_x64(True) if wide else nullcontext():
            return call({k: feeds[k] for k in program.graph.inputs}, np.uint32(calls))

    return run


def _in_onnxruntime(model: ModelProto, options: Any) -> Runner:
    try:
        import onnxruntime
    except ImportError as e:
        raise TrainingError(
            f"backend='onnxruntime' needs onnxruntime, which cannot be imported ({e}): pip install onnxruntime"
        ) from None
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as e:  # onnxruntime's own kinds
        raise TrainingError(f"onnxruntime {onnxruntime.__version__} refuses the model: {e}") from None
    inputs = [i.name for i in session.get_inputs()]
    outputs = [o.name for o in session.get_outputs()]

    def run(feeds: Mapping[str, Any]) -> dict[str, Any]:
        try:
            return dict(zip(outputs, session.run(None, {k: np.asarray(feeds[k]) for k in inputs}), strict=True))
        except Exception as e:  # onnxruntime's own kinds
            raise TrainingError(f"onnxruntime could not execute the model: {e}") from None

    return run


def with_constants(model: ModelProto, arrays: Mapping[str, np.ndarray]) -> ModelProto:
    """The model with these inputs turned into initializers."""
    twin = ModelProto()
    twin.CopyFrom(model)
    inputs = [i for i in model.graph.input if i.name not in arrays]
    stored = [
        numpy_helper.from_array(np.asarray(arrays[i.name]), i.name) for i in model.graph.input if i.name in arrays
    ]
    del twin.graph.input[:]
    twin.graph.input.extend(inputs)
    twin.graph.initializer.extend(stored)
    return twin


def is_standard(model: ModelProto) -> bool:
    """Is the model written in operators that any runtime has?"""
    return all(n.domain in ("", "ai.onnx") and onnx.defs.has(n.op_type) for n in model.graph.node)


def inference_model(model: ModelProto, outputs: Iterable[str], arrays: Mapping[str, np.ndarray]) -> ModelProto:
    """The part of an evaluation model that computes `outputs`, holding its parameters."""
    outputs = list(outputs)
    known = {v.name: v for v in (*model.graph.value_info, *model.graph.output)}
    written = {o for n in model.graph.node for o in n.output}
    missing = [o for o in outputs if o not in written]
    if missing or not outputs:
        raise TrainingError(
            f"the evaluation model computes no {', '.join(map(repr, missing)) or 'output of that name'}"
            f"; its outputs are {', '.join(o.name for o in model.graph.output)}"
        )
    if any(o not in known for o in outputs):
        known |= {v.name: v for v in onnx.shape_inference.infer_shapes(model).graph.value_info}
    twin = with_constants(model, arrays)
    needed = set(outputs)
    kept: list[onnx.NodeProto] = []
    for node in reversed(model.graph.node):
        if needed.intersection(node.output):
            kept.insert(0, node)
            needed.update(i for i in node.input if i)
    graph = twin.graph
    inputs = [i for i in graph.input if i.name in needed]
    stored = [t for t in graph.initializer if t.name in needed]
    infos = [known.get(o) or helper.make_empty_tensor_value_info(o) for o in outputs]
    for field, items in (("node", kept), ("input", inputs), ("initializer", stored), ("output", infos)):
        del getattr(graph, field)[:]
        getattr(graph, field).extend(items)
    del graph.value_info[:]
    return twin
