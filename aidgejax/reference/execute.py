"""Executing a Graph node by node in NumPy, and going back through it by the plain backwards."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ..errors import GraphError, NoGradientRule, UnknownOperator
from ..graph import Graph, Node
from ._definition import BACKWARDS, DEFINITIONS

Arrays = dict[str, Any]  # not from dtypes.py, which imports JAX


def execute(
    graph: Graph,
    feeds: Arrays,
    *,
    dtype: Any = None,
    given: Arrays | None = None,
    rng: np.random.Generator | None = None,
) -> Arrays:
    """Every tensor of the graph, by name.

    feeds: {input or producer: array}; producers that are not fed keep the graph's own data.
    dtype: compute floating tensors in this precision (np.float64, say); default: as fed.
    given: tensors that are taken as they are instead of computed, e.g. the masks that another backend drew.
    rng: where operators that draw random numbers draw them, for what is not given.
    Raises UnknownOperator listing all operators without a definition, GraphError naming a node that fails.
    """
    unknown = sorted({n.op for n in graph.nodes} - set(DEFINITIONS))
    if unknown:
        raise UnknownOperator(
            f"the NumPy backend has no definition of {', '.join(unknown)}, used by graph "
            f"{graph.name!r}; add it in aidgejax/reference/"
        )
    missing = [str(v) for k, v in graph.inputs.items() if k not in feeds]
    if missing:
        raise GraphError(f"graph {graph.name!r} was not given {', '.join(missing)}")
    found = {**{p.name: p.data for p in graph.producers.values()}, **feeds}
    found = {k: _as(v, dtype) for k, v in found.items()}
    given = {k: _as(v, dtype) for k, v in (given or {}).items()}
    for node in graph.nodes:
        if all(o in given for o in node.output_names):
            results = tuple(None if o is None else given.get(o) for o in node.outputs)
        else:
            results = _call(
                graph,
                node,
                [_argument(i, found) for i in node.inputs],
                rng,
                tuple(None if o is None else given.get(o) for o in node.outputs),
            )
        for name, array in zip(node.outputs, results, strict=False):
            if name is not None:
                found[name] = given.get(name, array)
    return found


def compute(node: Node, args: Sequence[Any]) -> tuple:
    """The outputs of one node, given its inputs."""
    if node.op not in DEFINITIONS:
        raise UnknownOperator(f"the NumPy backend has no definition of {node.op}; add it in aidgejax/reference/")
    return _call(Graph(node.name), node, list(args), None)


def gradients(graph: Graph, found: Arrays, d_outputs: Arrays, wrt: Iterable[str]) -> Arrays:
    """{name: gradient} by the plain backwards, given what `execute` found and the cotangents of outputs.

    Raises NoGradientRule where the sweep meets an operator without a plain backward.
    """
    wrt = list(wrt)
    active = set(wrt)
    for n in graph.nodes:
        if active.intersection(n.input_names):
            active.update(n.output_names)
    arrived = {k: np.asarray(v, np.asarray(found[k]).dtype) * np.ones_like(found[k]) for k, v in d_outputs.items()}
    for node in reversed(graph.nodes):
        if not active.intersection(node.input_names) or not any(o in arrived for o in node.output_names):
            continue
        if node.op not in BACKWARDS:
            raise NoGradientRule(f"the NumPy backend has no backward of its own for {node.op!r} (node {node.name!r})")
        inputs = _padded(node, [_argument(i, found) for i in node.inputs])
        outputs = _call(graph, node, [_argument(i, found) for i in node.inputs], np.random.default_rng(0))
        named = [*node.outputs, *([None] * (len(outputs) - len(node.outputs)))]
        outputs = tuple(found[o] if o else r for o, r in zip(named, outputs, strict=True))
        cotangents = [arrived[o] if o in arrived else np.zeros_like(r) for o, r in zip(named, outputs, strict=True)]
        attrs = _accepted(BACKWARDS[node.op], node.attrs)
        shares = _computed(BACKWARDS[node.op], [*inputs, *outputs, *cotangents], attrs)
        for i, g in zip(node.inputs, shares, strict=False):
            if isinstance(i, str) and i in active and g is not None:
                arrived[i] = arrived.get(i, 0) + _sum_to(np.asarray(g), np.shape(found[i]))
    return {w: arrived.get(w, np.zeros_like(found[w])) for w in wrt}


def _as(value: Any, dtype: Any) -> Any:
    array = np.asarray(value)
    if dtype is not None and _is_float(array):
        return array.astype(dtype)
    return array


def _argument(i: Any, found: Arrays) -> Any:
    return found[i] if isinstance(i, str) else np.asarray(i, np.int64) if isinstance(i, tuple) else i


def _padded(node: Node, args: list) -> list:
    params = inspect.signature(DEFINITIONS[node.op]).parameters.values()
    if any(p.kind is p.VAR_POSITIONAL for p in params):
        return args
    return args + [None] * (sum(p.kind is p.POSITIONAL_OR_KEYWORD for p in params) - len(args))


def _accepted(function: Any, attrs: dict[str, Any]) -> dict[str, Any]:
    params = inspect.signature(function).parameters
    if any(p.kind is p.VAR_KEYWORD for p in params.values()):
        return attrs
    return {k: v for k, v in attrs.items() if k in params}


def _call(graph: Graph, node: Node, args: list, rng: np.random.Generator | None, drawn: tuple = ()) -> tuple:
    draws = _accepted(DEFINITIONS[node.op], {"rng": rng, "drawn": drawn})
    try:
        result = _computed(DEFINITIONS[node.op], args, {**node.attrs, **draws})
    except (TypeError, ValueError, IndexError, KeyError, ZeroDivisionError) as e:
        raise GraphError(
            f"NumPy backend, node {node.name!r} ({node.op}) of graph {graph.name!r} with inputs of shape "
            f"{', '.join(str(np.shape(a)) for a in args)}: {e}"
        ) from e
    return result if isinstance(result, tuple) else (result,)


def _computed(function: Any, args: list, keywords: dict[str, Any]) -> Any:
    """function(*args, **keywords); bfloat16, in which NumPy has few operations, is computed in float32 and rounded."""
    floats = {a.dtype for a in args if isinstance(a, np.ndarray | np.generic) and _is_float(a)}
    short = floats.pop() if len(floats) == 1 and not {"to", "dtype"} & set(keywords) else None
    with np.errstate(all="ignore"):
        if short is None or short.name != "bfloat16":
            return function(*args, **keywords)
        result = function(
            *(a.astype(np.float32) if hasattr(a, "dtype") and a.dtype == short else a for a in args), **keywords
        )
    rounded = [
        r.astype(short) if r is not None and _is_float(np.asarray(r)) else r
        for r in (result if isinstance(result, tuple) else (result,))
    ]
    return tuple(rounded) if isinstance(result, tuple) else rounded[0]


def _is_float(a: Any) -> bool:
    return a.dtype.kind == "f" or a.dtype.name == "bfloat16"


def _sum_to(g: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    g = g.sum(axis=tuple(range(g.ndim - len(shape))))
    return g.sum(axis=tuple(k for k, d in enumerate(shape) if d == 1 and g.shape[k] != 1), keepdims=True)
