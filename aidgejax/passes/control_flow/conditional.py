"""An If that data decides: one node with both branches, of which the one that is taken is computed.

    y, ... = Conditional(condition, a, b, ..., then_branch, else_branch)

The branches are Graphs with the same inputs, a, b, ..., and outputs of the same types; the only control flow inside of
them is of this kind.  They are computed as inference computes them: no dropout, statistics that stay.  The
gradient is a Conditional again, whose branches compute their forward once more and go back through it: nothing of a
branch that is not taken is computed, so its infinities do no harm.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ...errors import GraphError
from ...graph import Builder, Graph, Node, Value
from ...interpreter.constant_folding import compile_time_values
from ...interpreter.evaluate import Evaluator
from ...interpreter.shape_inference import infer_shapes
from ...ops import lookup, operator
from ..edit import renamed
from ..gradient import grad_name, make_gradient

CONDITIONAL = "Conditional"
BRANCHES = ("then_branch", "else_branch")


# ---- the operator -------------------------------------------------------------------------------------


def conditional_vjp(
    op: Builder, condition: Value, *tensors: Any, then_branch: Graph, else_branch: Graph, reached: frozenset[int]
) -> tuple:
    """d captured = the gradient of the branch that was taken; zeros where that branch does not read it."""
    count, outputs = len(then_branch.inputs), len(then_branch.outputs)
    captured, arrived = tensors[:count], tensors[count + outputs :]
    wrt = [k for k in range(count) if k + 1 in reached]
    seeds = [k for k, d in enumerate(arrived) if d is not None]
    branches = {
        attribute: _gradient_branch(branch, captured, wrt, {k: arrived[k] for k in seeds})
        for attribute, branch in zip(BRANCHES, (then_branch, else_branch), strict=True)
    }
    given = [*captured, *(arrived[k] for k in seeds)]
    read = [k for k in range(len(given)) if any(_reads(b, list(b.inputs)[k]) for b in branches.values())]
    for branch in branches.values():
        names = list(branch.inputs)
        branch.inputs = {names[k]: branch.inputs[names[k]] for k in read}
    found = op.Conditional(condition, *(given[k] for k in read), outputs=len(wrt), **branches)
    shares = dict(zip(wrt, (found,) if len(wrt) == 1 else found, strict=True))
    return None, *(shares.get(k) for k in range(count))


def _gradient_branch(branch: Graph, captured: Sequence[Value], wrt: list[int], arrived: Mapping[int, Value]) -> Graph:
    """The forward of a branch and its gradient, from captured tensors and cotangents to cotangents of captured ones."""
    names, forward = list(branch.inputs), _with_inputs(branch, captured)
    seeds = [forward.outputs[k] for k in arrived]
    whole = forward.copy()
    whole.name, whole.outputs = f"{branch.name}_grad", []
    backward = make_gradient(forward, seeds, [names[k] for k in wrt], unreachable="zeros")
    for p in backward.producers.values():
        if not whole.has(p.name):
            whole.constant(p.name, p.data)
    for seed, like in zip(seeds, arrived.values(), strict=True):
        whole.inputs[grad_name(seed)] = Value(grad_name(seed), like.shape, like.dtype)
    written = {o for n in forward.nodes for o in n.output_names}
    for node in backward.nodes:
        if written.isdisjoint(node.output_names):
            whole.nodes.append(node)
            whole.values.update({o: backward.value(o) for o in node.output_names})
    for o in backward.outputs:
        whole.output(o)
    whole.prune()
    return whole


def _reads(graph: Graph, name: str) -> bool:
    return name in graph.outputs or any(name in n.input_names for n in graph.nodes)


@operator(CONDITIONAL, onnx=("", 13), written_as="If", vjp=conditional_vjp, outputs=None, full_precision=True)
def conditional(condition: Any, *captured: Any, then_branch: Graph, else_branch: Graph) -> tuple:
    """then_branch(captured) if condition else else_branch(captured).  b[], t... -> t..."""
    if jnp.size(condition) != 1:
        raise GraphError(f"its condition is a tensor of shape {list(jnp.shape(condition))}; expected one number")
    branches = [_evaluated(b, captured) for b in (then_branch, else_branch)]
    types = [jax.eval_shape(b) for b in branches]
    for name, one, other in zip(then_branch.outputs, *types, strict=True):
        if (one.shape, one.dtype) != (other.shape, other.dtype):
            raise GraphError(
                f"its branches write {name!r} as {one.dtype.name}{list(one.shape)} and as "
                f"{other.dtype.name}{list(other.shape)}; one program needs both to be alike"
            )
    return jax.lax.cond(jnp.reshape(jnp.asarray(condition, bool), ()), *branches)


def _evaluated(branch: Graph, captured: Sequence[Any]) -> Any:
    def call() -> tuple:
        env = dict(zip(branch.inputs, captured, strict=True)) | {p.name: p.data for p in branch.producers.values()}
        tensors = Evaluator(branch, "NHWC")(env, None, branch.outputs)
        found = [jnp.asarray(tensors.in_graph_layout(o)) for o in branch.outputs]
        return tuple(jax.lax.convert_element_type(a, a.dtype) for a in found)

    return call


# ---- from an If, and back -----------------------------------------------------------------------------


def has_conditionals(graph: Graph) -> bool:
    return any(n.op == CONDITIONAL for n in graph.nodes)


def with_branches(graph: Graph, change: Callable[[Graph], Graph]) -> Graph:
    """The graph with change(branch) for every branch; a branch has the shapes that its node's inputs have."""
    if not has_conditionals(graph):
        return graph

    def changed(node: Node) -> Node:
        if node.op != CONDITIONAL:
            return node
        return node.replace(attrs={a: change(b) for a, b in zip(BRANCHES, branches_of(graph, node), strict=True)})

    return graph.map_nodes(changed)


def branches_of(graph: Graph, node: Node) -> list[Graph]:
    """Both branches of a Conditional, with the shapes that its inputs have in the graph."""
    given = [graph.value(i) for i in node.inputs[1:]]
    return [_with_inputs(node.attrs[a], given) for a in BRANCHES]


def nodes_inside(graph: Graph) -> Iterator[tuple[Graph, Node]]:
    """(the graph that it stands in, node), branches included."""
    for node in graph.nodes:
        yield graph, node
        if node.op == CONDITIONAL:
            for branch in node.attrs.values():
                yield from nodes_inside(branch)


def _with_inputs(branch: Graph, given: Sequence[Value]) -> Graph:
    copy = branch.copy()
    copy.inputs = {n: Value(n, v.shape, v.dtype) for n, v in zip(branch.inputs, given, strict=True)}
    return copy if any(v.shape is None or None in v.shape for v in given) else infer_shapes(copy)


def branch_graph(graph: Graph, nodes: Iterable[Node], outputs: Sequence[str], name: str, fresh: Any) -> Graph:
    """These nodes of `graph` as a graph of their own, whose inputs are what they read of the rest.

    What decides a shape comes along, as constants or with the nodes that compute it; fresh(stem): a name for that.
    """
    branch = Graph(name)
    branch.nodes = list(nodes)
    written = {o for n in branch.nodes for o in n.output_names}
    branch.values = {o: Value(o, None, None) for o in written}
    read = dict.fromkeys(i for n in branch.nodes for i in n.input_names if i not in written)
    branch.inputs = {i: graph.value(i) for i in read}
    decides = [i for i in compile_time_values(branch) if i in branch.inputs]
    writer, names, again = graph.writer(), {}, []
    while decides:
        i = decides.pop()
        if i in names or i in graph.inputs:
            continue
        names[i] = fresh(f"{name}/{i}")
        if i in graph.producers:
            branch.constant(names[i], graph.producers[i].data)
            continue
        again.append(writer[i])
        if not lookup(writer[i].op).shape_only:
            decides += writer[i].input_names
    order = {id(n): k for k, n in enumerate(graph.nodes)}
    first = sorted({id(n): n for n in again}.values(), key=lambda n: order[id(n)])
    for n in first:
        names.update({o: fresh(f"{name}/{o}") for o in n.output_names if o not in names})
    branch.nodes = [renamed(n, names) for n in (*first, *branch.nodes)]
    for n in branch.nodes:
        branch.values.update({o: Value(o, None, None) for o in n.output_names})
    read = dict.fromkeys(i for n in branch.nodes for i in n.input_names)
    branch.inputs = {i: graph.value(i) for i in read if i not in branch.values and i not in branch.producers}
    for o in outputs:
        written_here = o in branch.values and o not in branch.outputs
        if written_here:
            branch.outputs.append(o)
            continue
        if o not in branch.values and o not in branch.inputs and o not in branch.producers:
            branch.inputs[o] = graph.value(o)
        branch.add("Identity", [o], names=[fresh(f"{name}/out")], name=fresh(f"{name}/Identity"))
        branch.outputs.append(branch.nodes[-1].output_names[0])
    return branch


def with_both_branches(graph: Graph) -> Graph:
    """The graph with the nodes of all branches among its own, and a Where between their outputs.

    It computes the same where both branches can be computed; whoever looks at the structure sees all of it.
    """
    if not has_conditionals(graph):
        return graph
    copy = graph.copy()
    copy.nodes = []
    for node in graph.nodes:
        if node.op != CONDITIONAL:
            copy.nodes.append(node)
            continue
        ends = []
        for attribute in BRANCHES:
            branch = with_both_branches(node.attrs[attribute])
            names = dict(zip(branch.inputs, node.inputs[1:], strict=True))
            for p in branch.producers.values():
                names[p.name] = copy.producer(copy.fresh(p.name), p.data, p.role).name
            for n in branch.nodes:
                names.update({o: copy.fresh(o) for o in n.output_names})
                copy.values.update({names[o]: Value(names[o], None, None) for o in n.output_names})
                copy.nodes.append(renamed(n, names))
            ends.append([names[o] for o in branch.outputs])
        for o, one, other in zip(node.outputs, *ends, strict=True):
            if o is not None:
                copy.nodes.append(Node("Where", (node.inputs[0], one, other), (o,), {}, f"{node.name}/{o}"))
    return copy
