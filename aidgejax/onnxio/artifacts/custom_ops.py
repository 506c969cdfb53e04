"""Nodes of unknown domains, and those of strings: taken out before a model is read, and put back as they were."""

from __future__ import annotations

from collections.abc import Iterable

import onnx
from onnx import ModelProto, NodeProto, TensorProto

from ...errors import ModelFileError, NoGradientRule
from ...graph import Graph
from ..importer.validate import domain_of
from ..schemas import registered

MINE = "com.microsoft"


def strings_of(model: ModelProto) -> set[str]:
    """The names of the tensors that hold strings."""
    found = {t.name for t in model.graph.initializer if t.data_type == TensorProto.STRING}
    found |= {i.name for i in model.graph.input if i.type.tensor_type.elem_type == TensorProto.STRING}
    if not found and not any(_may_write_strings(n) for n in model.graph.node):
        return found
    try:
        inferred = onnx.shape_inference.infer_shapes(model).graph
    except Exception:  # it may know nothing of a domain
        inferred = model.graph
    infos = (*inferred.value_info, *inferred.output)
    return found | {v.name for v in infos if v.type.tensor_type.elem_type == TensorProto.STRING}


def _may_write_strings(node: NodeProto) -> bool:
    if node.op_type == "Cast":
        return any(a.name == "to" and a.i == TensorProto.STRING for a in node.attribute)
    return node.op_type == "LabelEncoder" or any(a.name.startswith("value_string") for a in node.attribute)


class Foreign:
    """What is computed elsewhere: nodes of unknown domains, and those that read or write strings.

    rest: the model without them, in which their outputs are inputs.  reads: what they take from the rest.
    strings: the names of the tensors that hold strings; none of them is in the rest.
    """

    def __init__(self, model: ModelProto, outputs: Iterable[str]) -> None:
        local = {(domain_of(f.domain), f.name) for f in model.functions}
        self.strings = strings_of(model)
        self.nodes: list[NodeProto] = [
            n
            for n in model.graph.node
            if domain_of(n.domain) not in ("", MINE)
            and (domain_of(n.domain), n.op_type) not in local
            and registered(domain_of(n.domain), n.op_type) is None
            or not self.strings.isdisjoint((*n.input, *n.output))
        ]
        self.model, self.wanted = model, list(outputs)
        self.outputs = {o: n for n in self.nodes for o in n.output if o}
        written = {o for n in model.graph.node for o in n.output} - set(self.outputs)
        self.reads = tuple(dict.fromkeys(i for n in self.nodes for i in n.input if i in written))
        self.rest = self._without(model) if self.nodes or self.strings else model

    def numbers(self, names: Iterable[str]) -> tuple[str, ...]:
        """Those that hold no strings."""
        return tuple(n for n in names if n not in self.strings)

    def _without(self, model: ModelProto) -> ModelProto:
        try:
            inferred = onnx.shape_inference.infer_shapes(model)
        except Exception:  # it may know nothing of the domain
            inferred = model
        known = {
            v.name: v
            for v in (*inferred.graph.value_info, *inferred.graph.output)
            if v.type.tensor_type.HasField("shape")
        }
        numeric = self.numbers(self.outputs)
        missing = [
            f"{o!r} of node {n.name!r} ({n.domain}::{n.op_type})"
            for o, n in self.outputs.items()
            if o in numeric and o not in known
        ]
        if missing:
            raise ModelFileError(
                f"the type and shape of {', '.join(missing)} are unknown: declare them in the model's "
                f"value_info, since nothing is known here of those operators"
            )
        rest = ModelProto()
        rest.CopyFrom(model)
        kept = [n for n in model.graph.node if n not in self.nodes]
        del rest.graph.node[:]
        rest.graph.node.extend(kept)
        inputs = [i for i in model.graph.input if i.name not in self.strings]
        del rest.graph.input[:]
        rest.graph.input.extend([*inputs, *(known[o] for o in numeric)])
        stored = [t for t in model.graph.initializer if t.name not in self.strings]
        if len(stored) < len(model.graph.initializer):
            del rest.graph.initializer[:]
            rest.graph.initializer.extend(stored)
        typed = [v for v in rest.graph.value_info if v.name not in self.strings]
        del rest.graph.value_info[:]
        rest.graph.value_info.extend(typed)
        outputs = [o for o in rest.graph.output if o.name not in self.outputs and o.name not in self.strings]
        if not outputs:
            raise ModelFileError("every output of the model comes straight from a node of a custom domain")
        del rest.graph.output[:]
        rest.graph.output.extend(outputs)
        return rest

    def check_gradient(self, graph: Graph, trainable: Iterable[str], loss: str) -> None:
        """Raise NoGradientRule, by name, if a gradient has to pass one of them on its way to a parameter."""
        edges = [(n.input_names, n.output_names) for n in graph.nodes] + [(n.input, n.output) for n in self.nodes]
        moved, needed = set(trainable), {loss}
        for _ in range(len(self.nodes) + 1):  # the two lists are in order, each in itself
            for inputs, outputs in edges:
                if moved.intersection(inputs):
                    moved.update(outputs)
            for inputs, outputs in reversed(edges):
                if needed.intersection(outputs):
                    needed.update(inputs)
        for node in self.nodes:
            culprits = [i for i in node.input if i in moved]
            if culprits and needed.intersection(node.output):
                raise NoGradientRule(
                    f"no gradient rule for operator {node.op_type!r} of domain {node.domain!r}, met "
                    f"at node {node.name!r}: a gradient has to reach its input {culprits[0]!r}. "
                    f"Freeze the parameters above it, or write it in operators that have a gradient"
                )

    def rejoined(self, model: ModelProto) -> ModelProto:
        """The model with the nodes back in their places."""
        if not self.nodes and not self.strings:
            return model
        outputs = [o for o in model.graph.output if o.name not in self.reads or o.name in self.wanted]
        declared = {o.name: o for o in self.model.graph.output}
        for at, name in enumerate(self.wanted):
            if name in self.strings and name in declared:
                outputs.insert(at, declared[name])
        del model.graph.output[:]
        model.graph.output.extend(outputs)
        read = {i for n in model.graph.node for i in n.input} | {o.name for o in model.graph.output}
        wanted: list[NodeProto] = []
        for node in reversed(self.nodes):
            if read.intersection(node.output):
                wanted.insert(0, node)
                read.update(node.input)
        nodes, written = [], {t.name for t in model.graph.initializer}
        inputs = [i for i in model.graph.input if i.name not in self.outputs]
        there = {i.name for i in inputs}
        needed = {i for n in wanted for i in n.input} | self.strings
        inputs = [i for i in self.model.graph.input if i.name in needed and i.name not in there] + inputs
        order = {i.name: k for k, i in enumerate(self.model.graph.input)}
        inputs.sort(key=lambda i: order.get(i.name, len(order)))
        stored = {t.name: t for t in self.model.graph.initializer}
        for name in [i for n in wanted for i in n.input if i in stored]:
            if name not in written and name not in {i.name for i in inputs}:
                model.graph.initializer.append(stored[name])
                written.add(name)
        written |= {i.name for i in inputs}
        waiting = [*wanted, *model.graph.node]
        while waiting:
            ready = next((n for n in waiting if all(i in written for i in n.input if i)), None)
            if ready is None:
                raise ModelFileError(
                    f"node {waiting[0].name!r} ({waiting[0].op_type}) reads a tensor that the model does not have"
                )
            waiting.remove(ready)
            nodes.append(ready)
            written.update(ready.output)
        del model.graph.node[:]
        model.graph.node.extend(nodes)
        del model.graph.input[:]
        model.graph.input.extend(inputs)
        have = {i.domain for i in model.opset_import}
        for node in wanted:
            if node.domain not in have:
                have.add(node.domain)
                model.opset_import.extend(i for i in self.model.opset_import if i.domain == node.domain)
        return model
