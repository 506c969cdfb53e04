"""Two short cuts that TVM lacks: a backbone from an ONNX model, and from any Graph of aidgejax.

mod = relax.from_onnx("resnet8.onnx")
mod = SetupTrainer(loss, optimizer, loss_args)(mod)
trainer = Trainer(mod, vm, tvm.cpu())
trainer.load_params(mod.initial_params); trainer.load_states(mod.initial_states)
"""

from __future__ import annotations

from typing import Any

from .... import onnxio
from ....execution.program import make_program
from ....graph import Graph
from ....passes.mode import normalized
from ..errors import RelaxTypeError
from .expr import Var
from .function import Function, IRModule, type_of


def from_onnx(model: Any, *, batch: str | int | None = None, shapes: Any = None) -> IRModule:
    """A backbone from an ONNX model: a path, a ModelProto or bytes.  Parameters and states are found by themselves.

    batch: a name for axis 0 of the inputs, or a size; default: what the model says.
    """
    graph = onnxio.read(model, batch=batch if isinstance(batch, str) else None, shapes=shapes)
    return from_graph(graph, batch=batch if isinstance(batch, int) else None)


def from_graph(graph: Graph, *, batch: int | None = None) -> IRModule:
    """A module whose `backbone` is this graph: its inputs, then its parameters, then its buffers as states.

    batch: a size in place of a symbolic axis 0.  `mod.initial_params` and `mod.initial_states` hold the graph's arrays.
    Its operators keep their own conventions, such as the slope of Relu at 0.
    """
    if not isinstance(graph, Graph):
        raise RelaxTypeError(f"from_graph takes an aidgejax Graph, got {type(graph).__name__}")
    if batch is not None:
        graph = graph.copy()
        graph.inputs = {
            k: type(v)(k, (batch, *v.shape[1:]), v.dtype) if v.shape and isinstance(v.shape[0], str) else v
            for k, v in graph.inputs.items()
        }
    program = make_program(graph, training=True, seeds=[], wrt=[])
    updates = program.updates
    backbone = normalized(program.graph, training=False)
    params, states = graph.params, graph.buffers
    backbone.name = "backbone"
    for name in (*params, *states):
        backbone.inputs[name] = backbone.producers.pop(name).value
    result = (*graph.outputs, *(updates.get(s, s) for s in states))
    declared = [Var(k, type_of(v)) for k, v in backbone.inputs.items()]
    function = Function(
        "backbone",
        backbone,
        declared,
        result if len(result) > 1 else result[0],
        {v: v.name_hint for v in declared},
        attrs={"global_symbol": "backbone"},
    )
    mod = IRModule({"backbone": function}, {"param_num": len(params), "state_num": len(states)})
    mod.initial_params, mod.initial_states = params, states
    return mod
