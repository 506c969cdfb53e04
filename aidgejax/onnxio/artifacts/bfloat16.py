"""Models of bfloat16 that plain onnxruntime runs: its CPU has kernels of that type for little more than moving data.

What goes in and out, and what is stored, stays bfloat16; between a Cast at each edge everything is float32.
"""

from __future__ import annotations

import numpy as np
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from ..importer.subgraphs import reads

NARROW, WIDE = TensorProto.BFLOAT16, TensorProto.FLOAT


def computed_in_float32(model: ModelProto) -> ModelProto:
    """The model with its nodes in float32 where they were in bfloat16; a Cast to bfloat16 still rounds."""
    if not any(_is_narrow(i) for i in (*model.graph.input, *model.graph.output)):
        return model
    made = ModelProto()
    made.CopyFrom(model)
    graph = made.graph
    wide: dict[str, str] = {}
    casts: list[NodeProto] = []
    used = {i for n in graph.node for i in reads(n)}
    for name in (*(i.name for i in graph.input if _is_narrow(i)), *_narrow_tensors(graph)):
        if name in used and name not in wide:
            wide[name] = f"{name}.float32"
            casts.append(_cast(name, wide[name], WIDE))
    ends = [o.name for o in graph.output if _is_narrow(o) and o.name not in wide]
    wide |= {o: f"{o}.float32" for o in ends}
    nodes = _widened(graph, wide)
    del graph.node[:]
    graph.node.extend([*casts, *nodes, *(_cast(wide[o], o, NARROW) for o in ends)])
    del graph.value_info[:]
    return made


def _widened(graph: GraphProto, wide: dict[str, str]) -> list[NodeProto]:
    nodes = []
    for node in graph.node:
        node.input[:] = [wide.get(i, i) for i in node.input]
        node.output[:] = [wide.get(o, o) for o in node.output]
        rounds = False
        for a in node.attribute:
            if a.name in ("to", "dtype") and a.type == AttributeProto.INT and a.i == NARROW:
                rounds = node.op_type == "Cast"
                a.i = NARROW if rounds else WIDE
            elif a.type == AttributeProto.TENSOR and a.t.data_type == NARROW:
                a.t.CopyFrom(_wide_tensor(a.t))
            elif a.type == AttributeProto.GRAPH:
                _widen_branch(a.g, wide)
        nodes.append(node)
        if rounds:
            (written,) = node.output
            node.output[:] = [f"{written}.rounded"]
            nodes.append(_cast(f"{written}.rounded", written, WIDE))
    return [NodeProto.FromString(n.SerializeToString()) for n in nodes]


def _widen_branch(graph: GraphProto, wide: dict[str, str]) -> None:
    for t in graph.initializer:
        if t.data_type == NARROW:
            t.CopyFrom(_wide_tensor(t))
    nodes = _widened(graph, wide)
    del graph.node[:]
    graph.node.extend(nodes)
    del graph.value_info[:]
    for info in (*graph.input, *graph.output):
        if _is_narrow(info):
            info.type.tensor_type.elem_type = WIDE


def _narrow_tensors(graph: GraphProto) -> list[str]:
    return [t.name for t in graph.initializer if t.data_type == NARROW]


def _wide_tensor(tensor: TensorProto) -> TensorProto:
    return numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name)


def _is_narrow(info: ValueInfoProto) -> bool:
    return info.type.tensor_type.elem_type == NARROW


def _cast(source: str, target: str, to: int) -> NodeProto:
    return helper.make_node("Cast", [source], [target], name=f"{target}/Cast", to=to)
