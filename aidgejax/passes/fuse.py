"""Fusing: several nodes that mean one operator become that operator.

Attention.  A product, a scale, masks, Softmax and a product, in whatever form an exporter chose, become ONNX's
`Attention`, whose forward and gradient need not hold the scores of all pairs of positions in memory.  The search
(attention_search.py) starts at each softmax; this file writes the node:

* the products are MatMul or Einsum; batch and heads are axes of their own, one axis, more than two, or none;
* the scale stands before the product (on the queries, on the keys, or its root on both) or after it, as a number,
  computed from sizes that are known, or a tensor by which the queries are multiplied instead;
* masks are added, or chosen by Where with minus infinity or a large negative number, from either side, before or after
  the scale;
* the scores may have a soft cap, `cap * tanh(scores / cap)`, before the masks;
* the softmax may be written out (softmax_forms.py);
* queries, or keys and values, may be the same for the whole batch;
* keys and values of grouped heads are read before they are repeated;
* a guard `Where(IsNaN(p), 0, p)` for rows that may look at nothing, and casts around the Softmax, are part of it.

A Dropout of the weights that training needs stays, and with it the nodes around it; so do weights and scores that
somebody else reads.
"""

from __future__ import annotations

from typing import Any

from ..dtypes import ONNX_CODES
from ..graph import Builder, Graph, Value
from ..interpreter.shape_inference import infer_shapes
from .attention_mask import Mask, mask_of
from .attention_search import Found, Placed, Search
from .axes import Group
from .join_products import join_products
from .softmax_forms import ENDS, SoftmaxForms


def fuse(graph: Graph, *, attention: bool = True, products: bool | None = None) -> Graph:
    """The same graph with every attention made of elementary nodes as one `Attention` node, and fewer products.

    attention: False leaves those nodes as they are.  products: whether products of one tensor with several weights, as
    queries, keys and values are made, become one (see join_products.py); None: as `attention`.  The names of outputs
    and parameters do not change; a node that the fused one replaces is gone if nothing else reads it.  Count what was
    found with `fused.count()`: "Attention", "MatMul".
    """
    graph = infer_shapes(graph)
    graph = _with_attention(_with_narrow_masks(graph)) if attention else graph
    return join_products(graph) if (attention if products is None else products) else graph


def _with_narrow_masks(graph: Graph) -> Graph:
    """Attention broadcasts its mask: one that was expanded, as files for runtimes have it, is read before that."""
    copy = graph.copy()
    writer = {o: n for n in copy.nodes for o in n.output_names}
    for k, node in enumerate(copy.nodes):
        mask = node.inputs[3] if node.op == "Attention" and len(node.inputs) > 3 else None
        expand = writer.get(mask) if isinstance(mask, str) else None
        if expand is not None and expand.op == "Expand" and isinstance(expand.inputs[0], str):
            before, after = (copy.value(str(name)).shape for name in (expand.inputs[0], mask))
            if before and after and before[-1] == after[-1]:  # a mask that is too short hides the other keys
                copy.nodes[k] = node.replace(inputs=(*node.inputs[:3], expand.inputs[0], *node.inputs[4:]))
    if copy.nodes == graph.nodes:
        return graph
    copy.prune()
    return copy


def _with_attention(graph: Graph) -> Graph:
    alive = graph.copy()
    alive.prune()  # what no output needs reads nothing
    forms = SoftmaxForms(alive)
    for name in [n.name for n in alive.nodes if n.op in ENDS]:
        softmax = forms.ended_by(name)
        found = None if softmax is None else Search(softmax[0]).attention(softmax[1])
        fused = None if found is None or softmax is None else _replaced(softmax[0], found)
        if fused is not None:
            graph = alive = fused
            forms = SoftmaxForms(alive)
    return graph


def _replaced(graph: Graph, found: Found) -> Graph | None:
    """The graph with the Attention that was found; None where it would need a size that is not known."""
    copy, scratch = graph.copy(), graph.copy()
    scratch.nodes = []
    y = _written(scratch, found, Builder(scratch, f"{found.final.name}/"))
    if y is None:
        return None
    new = [
        n.replace(outputs=tuple(found.final.outputs[0] if o == y.name else o for o in n.outputs)) for n in scratch.nodes
    ]
    at = next(k for k, node in enumerate(copy.nodes) if node.name == found.final.name)
    copy.nodes[at : at + 1] = new
    copy.values |= {o: scratch.values[o] for n in scratch.nodes for o in n.output_names if o != y.name}
    copy.producers |= {k: p for k, p in scratch.producers.items() if k not in copy.producers}
    copy.prune()
    return infer_shapes(copy)


def _written(scratch: Graph, found: Found, op: Builder) -> Value | None:
    axes = found.axes
    batch, heads, query, key, size, value_size = (
        axes.leaves(g) for g in (found.batch, found.heads, found.query, found.key, found.size, found.value_size)
    )
    for place in (*found.q, *found.k, *found.v):
        axes.known_from(place.name, place.layout)
    want = (batch, heads, query, size)
    place = min(reversed(found.q), key=lambda p: axes.cost(p.layout, want))
    q = axes.converted(op, scratch.value(place.name), place.layout, want, full=True)
    for kind, factor in found.factors:
        if key[0] in axes.leaves(a for g in factor.layout for a in g):  # by which queries cannot be multiplied
            return None
        by = axes.converted(op, scratch.value(factor.name), factor.layout, (batch, heads, query, ()))
        if q is None or by is None:
            return None
        q = getattr(op, kind)(q, by)
    shared = min(_absent(found, found.k, heads), _absent(found, found.v, heads))
    own = heads[: len(heads) - shared]
    k, v = (
        _of_heads(scratch, found, places, op, heads, (batch, own, key, width))
        for places, width in ((found.k, size), (found.v, value_size))
    )
    dtype = scratch.value(found.q[0].name).dtype
    mask = mask_of(scratch, found, op, dtype)
    if q is None or k is None or v is None or mask is None:
        return None
    return _node(op, found, mask, q, k, v)


def _node(op: Builder, found: Found, mask: Mask, q: Value, k: Value, v: Value) -> Value | None:
    attrs: dict[str, Any] = {"scale": found.scale}
    if found.softcap:
        attrs["softcap"] = found.softcap
    if mask.causal:
        attrs["is_causal"] = 1
    if found.softmax_dtype is not None:
        attrs["softmax_precision"] = ONNX_CODES[found.softmax_dtype]
    if mask.seen is not None:  # a query that sees nothing has equal weights by a mask's finite number
        q = op.Where(mask.seen, q, 0.0)
    y = op.Attention(*((q, k, v) if mask.tensor is None else (q, k, v, mask.tensor)), **attrs)
    axes = found.axes
    have = axes.settled((found.batch, found.heads, found.query, found.value_size))
    return axes.converted(op, y, have, found.output)


def _absent(found: Found, places: list[Placed], heads: Group) -> int:
    """How many of the last atoms of the heads such keys or values lack, at most: their heads are shared."""
    return max(_lacks(found, place, heads) for place in places)


def _lacks(found: Found, place: Placed, heads: Group) -> int:
    here = found.axes.leaves(a for g in place.layout for a in g)
    last = len(heads)
    while last and heads[last - 1] not in here:
        last -= 1
    return len(heads) - last if all(a in here for a in heads[:last]) else 0


def _of_heads(
    scratch: Graph, found: Found, places: list[Placed], op: Builder, heads: Group, want: tuple[Group, ...]
) -> Value | None:
    """Keys or values in the layout that is wanted, from the place that is nearest to it."""
    shared = len(heads) - len(want[1])
    fit = [p for p in places if _lacks(found, p, heads) >= shared] or places
    place = min(reversed(fit), key=lambda p: (_lacks(found, p, heads) != shared, found.axes.cost(p.layout, want)))
    return found.axes.converted(op, scratch.value(place.name), place.layout, want, full=True)
