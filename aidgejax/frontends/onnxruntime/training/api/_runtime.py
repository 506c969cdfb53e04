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
    model, encoders = _without_label_encoders(model)
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
        if encoders:
            feeds = {**feeds, **{node.output[0]: _encoded(node, feeds[node.input[0]]) for node in encoders}}
        wide = any(getattr(a, "dtype", None) == np.float64 for a in feeds.values())
        with jax.enable_x64(True) if wide else nullcontext():
            return call({k: feeds[k] for k in program.graph.inputs}, np.uint32(calls))

    return run


def _without_label_encoders(model: ModelProto) -> tuple[ModelProto, list[onnx.NodeProto]]:
    """The model in which what a LabelEncoder makes of an input is an input, and these nodes.

    Strings never reach JAX: they are looked up before a call.
    """
    inputs = {i.name: i for i in model.graph.input}
    found = [
        n for n in model.graph.node if n.op_type == "LabelEncoder" and n.domain == "ai.onnx.ml" and n.input[0] in inputs
    ]
    if not found:
        return model, []
    twin = ModelProto()
    twin.CopyFrom(model)
    kept = [n for n in model.graph.node if n not in found]
    read = {i for n in kept for i in n.input}
    del twin.graph.node[:]
    twin.graph.node.extend(kept)
    left = [i for i in model.graph.input if i.name in read or i.name not in {n.input[0] for n in found}]
    del twin.graph.input[:]
    twin.graph.input.extend(left)
    for node in found:
        info = onnx.ValueInfoProto()
        info.CopyFrom(inputs[node.input[0]])
        info.name = node.output[0]
        info.type.tensor_type.elem_type = helper.np_dtype_to_tensor_dtype(_encoded(node, np.zeros(0, object)).dtype)
        twin.graph.input.append(info)
    return twin, found


def _encoded(node: onnx.NodeProto, keys: Any) -> np.ndarray:
    """ONNX ai.onnx.ml LabelEncoder-2."""
    attrs = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    kind = next(k for k in ("int64", "float", "string") if f"values_{k}s" in attrs)
    asked = next(attrs[f"keys_{k}s"] for k in ("int64", "float", "string") if f"keys_{k}s" in attrs)

    def plain(v: Any) -> Any:
        return v.decode() if isinstance(v, bytes) else v

    table = dict(zip(map(plain, asked), map(plain, attrs[f"values_{kind}s"]), strict=True))
    default = plain(attrs.get(f"default_{kind}", {"int64": -1, "float": 0.0, "string": "_Unused"}[kind]))
    dtype = {"int64": np.int64, "float": np.float32, "string": object}[kind]
    array = np.asarray(keys)
    return np.array([table.get(plain(k), default) for k in array.ravel().tolist()], dtype).reshape(array.shape)


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


def is_ortvalue(value: Any) -> bool:
    """Is it one of onnxruntime's OrtValues?"""
    return type(value).__name__ == "OrtValue" and type(value).__module__.startswith("onnxruntime")


def ortvalue(array: np.ndarray) -> Any:
    """The array as an OrtValue of its own memory; as it is where onnxruntime is not installed."""
    try:
        from onnxruntime import OrtValue
    except ImportError:
        return array
    return OrtValue.ortvalue_from_numpy(np.array(array))


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
