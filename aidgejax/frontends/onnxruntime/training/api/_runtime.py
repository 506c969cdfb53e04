"""Who executes an artifact: JAX, as one compiled call, or plain onnxruntime."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from typing import Any

import jax
import numpy as np
import onnx
from onnx import ModelProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from .....errors import AidgeJaxError
from .....execution.program import make_program
from .....onnxio.artifacts.custom_ops import Foreign
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
    foreign = Foreign(model, [o.name for o in model.graph.output])
    before, after = _around(foreign)
    graph = read_with_label_shapes(foreign.rest)
    for p in graph.producers.values():
        p.role = "constant"  # what training changes is an input of the artifact
    for name in foreign.reads:
        if name not in graph.outputs:
            graph.output(name)
    program = make_program(graph, seeds=(), wrt=())
    key = jax.random.key(0)
    calls = 0

    @jax.jit
    def call(feeds: dict[str, Any], number: Any) -> dict[str, Any]:
        return program.forward({}, {}, feeds, jax.random.fold_in(key, number), save=False)[0]

    def run(feeds: Mapping[str, Any]) -> dict[str, Any]:
        nonlocal calls
        calls += 1
        known = dict(feeds)
        for node in before:
            known |= _on_the_host(node, known, model)
        wide = any(getattr(a, "dtype", None) == np.float64 for a in known.values())
        with jax.enable_x64(True) if wide else nullcontext():
            found = call({k: known[k] for k in program.graph.inputs}, np.uint32(calls))
        if foreign.nodes or foreign.strings:
            known |= found
            for node in after:
                known |= _on_the_host(node, known, model)
            found = {o.name: known[o.name] for o in model.graph.output}
        return found

    return run


def _around(foreign: Foreign) -> tuple[list[onnx.NodeProto], list[onnx.NodeProto]]:
    """The nodes of strings, those executed before a call and those after it.  Strings never reach JAX."""
    odd = [n for n in foreign.nodes if n.domain not in ("", "ai.onnx", "ai.onnx.ml")]
    if odd:
        raise TrainingError(
            f"node {odd[0].name!r} is {odd[0].op_type} of domain {odd[0].domain!r}, which is not known here; "
            f"backend='onnxruntime' executes it where its library is registered"
        )
    late = set(foreign.reads)
    before: list[onnx.NodeProto] = []
    after: list[onnx.NodeProto] = []
    for node in foreign.nodes:
        if late.isdisjoint(node.input):
            before.append(node)
        else:
            after.append(node)
            late.update(node.output)
    read = {i for n in foreign.rest.graph.node for i in n.input}
    back = [o for n in after for o in n.output if o in read]
    if back:
        raise TrainingError(
            f"tensor {back[0]!r} is computed from strings that are themselves computed, in the middle of the model; "
            f"strings are looked up before a call, or written after it"
        )
    return before, after


def _on_the_host(node: onnx.NodeProto, known: Mapping[str, Any], model: ModelProto) -> dict[str, Any]:
    """{output: array} of one node of strings."""
    arrays = {n: np.asarray(known[n]) for n in node.input if n in known}
    if node.op_type == "LabelEncoder":
        return {node.output[0]: _encoded(node, arrays[node.input[0]])}
    stored = [t for t in model.graph.initializer if t.name in node.input]
    infos = [helper.make_empty_tensor_value_info(n) for n in arrays]
    results = [helper.make_empty_tensor_value_info(o) for o in node.output if o]
    body = helper.make_graph([node], "strings", infos, results, stored)
    part = helper.make_model(body, opset_imports=model.opset_import)
    found = ReferenceEvaluator(part).run(None, arrays)
    return dict(zip((o for o in node.output if o), found, strict=True))


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
    """The array as an OrtValue of its own memory; as it is where onnxruntime is not installed, or holds strings."""
    try:
        from onnxruntime import OrtValue
    except ImportError:
        return array
    array = np.ascontiguousarray(array).reshape(np.shape(array))
    if array.dtype.kind not in "fiub":
        return array
    # ortvalue_from_numpy borrows the array's memory, and what its numpy() gives outlives neither: `f(x).numpy()` would
    # read freed memory.
    value = OrtValue.ortvalue_from_shape_and_type(list(array.shape), array.dtype.type)
    if array.size:
        value.update_inplace(array)
    return value


def with_constants(model: ModelProto, arrays: Mapping[str, np.ndarray]) -> ModelProto:
    """The model with these inputs turned into initializers."""
    copy = ModelProto()
    copy.CopyFrom(model)
    inputs = [i for i in model.graph.input if i.name not in arrays]
    stored = [
        numpy_helper.from_array(np.asarray(arrays[i.name]), i.name) for i in model.graph.input if i.name in arrays
    ]
    del copy.graph.input[:]
    copy.graph.input.extend(inputs)
    copy.graph.initializer.extend(stored)
    return copy


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
    copy = with_constants(model, arrays)
    needed = set(outputs)
    kept: list[onnx.NodeProto] = []
    for node in reversed(model.graph.node):
        if needed.intersection(node.output):
            kept.insert(0, node)
            needed.update(i for i in node.input if i)
    graph = copy.graph
    inputs = [i for i in graph.input if i.name in needed]
    stored = [t for t in graph.initializer if t.name in needed]
    infos = [known.get(o) or helper.make_empty_tensor_value_info(o) for o in outputs]
    for field, items in (("node", kept), ("input", inputs), ("initializer", stored), ("output", infos)):
        del getattr(graph, field)[:]
        getattr(graph, field).extend(items)
    del graph.value_info[:]
    return copy
