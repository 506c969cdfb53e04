"""Nodes of domains that aidgejax does not know: taken out before a model is read, and put back as they were."""

from __future__ import annotations

from collections.abc import Iterable

import onnx
from onnx import ModelProto, NodeProto, TensorProto

from ...errors import ModelFileError, NoGradientRule
from ...graph import Graph
from ..importer.validate import domain_of
from ..schemas import registered

MINE = "com.microsoft"


class Foreign:
    """rest: the model without them, in which their outputs are inputs.  reads: what they take from the rest."""

    def __init__(self, model: ModelProto, outputs: Iterable[str]) -> None:
        local = {(domain_of(f.domain), f.name) for f in model.functions}
        self.nodes: list[NodeProto] = [
            n
            for n in model.graph.node
            if domain_of(n.domain) not in ("", MINE)
            and (domain_of(n.domain), n.op_type) not in local
            and registered(domain_of(n.domain), n.op_type) is None
        ]
        self.model, self.wanted = model, set(outputs)
        self.outputs = {o: n for n in self.nodes for o in n.output if o}
        written = {o for n in model.graph.node for o in n.output} - set(self.outputs)
        self.reads = tuple(dict.fromkeys(i for n in self.nodes for i in n.input if i in written))
        self.rest = self._without(model) if self.nodes else model

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
        missing = [
            f"{o!r} of node {n.name!r} ({n.domain}::{n.op_type})" for o, n in self.outputs.items() if o not in known
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
        read = {i for n in kept for i in n.input}
        inputs = [i for i in model.graph.input if i.name in read or i.type.tensor_type.elem_type != TensorProto.STRING]
        del rest.graph.input[:]
        rest.graph.input.extend([*inputs, *(known[o] for o in self.outputs)])
        outputs = [o for o in rest.graph.output if o.name not in self.outputs]
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
        if not self.nodes:
            return model
        outputs = [o for o in model.graph.output if o.name not in self.reads or o.name in self.wanted]
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
        needed = {i for n in wanted for i in n.input}
        inputs = [i for i in self.model.graph.input if i.name in needed and i.name not in there] + inputs
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
