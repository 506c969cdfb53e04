"""tvm.relax.frontend.onnx: an ONNX model as a module with a function `main`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..... import onnxio
from .....passes.mode import normalized
from ...runtime import tensor
from ..expr import Var
from ..function import Function, IRModule, type_of

__all__ = ["detach_params", "from_onnx"]


def from_onnx(
    model: Any,
    shape_dict: Mapping[str, Any] | None = None,
    dtype_dict: Any = "float32",
    opset: int | None = None,
    keep_params_in_input: bool = False,
    sanitize_input_names: bool = True,
) -> IRModule:
    """A module with the function `main` of a model's inputs: a path, a ModelProto or bytes.

    shape_dict: shapes of inputs, in the place of those that the model declares.
    keep_params_in_input: weights are further parameters of `main`, behind the inputs; `detach_params` gives their
    values.  Otherwise they are constants.  The dtypes are the model's; any opset that aidgejax reads is taken.
    """
    graph = onnxio.read(model, shapes={k: tuple(v) for k, v in shape_dict.items()} if shape_dict else None)
    graph = normalized(graph, training=False).copy()
    inputs, weights = len(graph.inputs), {**graph.params, **graph.buffers}
    graph.name = "main"
    for name in weights:
        if keep_params_in_input:
            graph.inputs[name] = graph.producers.pop(name).value
        else:
            graph.producers[name].role = "constant"
    params = [Var(k, type_of(v)) for k, v in graph.inputs.items()]
    outputs = tuple(graph.outputs)
    result = outputs if len(outputs) > 1 else outputs[0]
    attrs: dict[str, Any] = {"global_symbol": "main", "num_input": inputs}
    if keep_params_in_input:
        attrs["params"] = [tensor(a) for a in weights.values()]
    function = Function("main", graph, params, result, {p: p.name_hint for p in params}, attrs=attrs)
    function.imported = True
    return IRModule({"main": function})


def detach_params(mod: IRModule) -> tuple[IRModule, dict[str, list[Any]]]:
    """(the module without the values of its parameters, {function: values}), of a module with params in its inputs."""
    changed, found = mod.copy(), dict[str, list[Any]]()
    for name, function in mod.relax_functions().items():
        if "params" in function.attrs:
            found[str(name)] = list(function.attrs["params"])
            bare = function.with_attr({})
            bare.attrs.pop("params")
            changed[name] = bare
    return changed, found
