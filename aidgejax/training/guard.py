"""Numbers that are not finite: which node made the first one, and which row of the data brought it in.

A step that failed inside a compiled epoch is replayed node by node on the NumPy backend, from the last sound state.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .. import reference
from ..errors import AidgeJaxError
from ..execution.numpy_program import NumpyProgram
from ..execution.program import Arrays, Program
from ..execution.program_like import ProgramLike
from ..graph import Graph
from .data import Dataset
from .loss_scaling import overflowed


def first_bad_number(
    program: ProgramLike,
    state: Any,
    batch: Arrays,
    weights: Any,
    loss: str,
    rows: np.ndarray | None,
    data: Dataset | None,
) -> str:
    """One sentence: where the first number that is not finite stands, when this batch meets this state.

    rows: the rows of `data` that make the batch.
    """
    graph: Graph = program.graph
    for name, array in batch.items():
        at = _first_bad(array)
        if at is not None:
            row = int(rows[at[0]]) if rows is not None and at else (at[0] if at else 0)
            return f"it came in with the data: {_place(data, name, row)} holds {np.asarray(array)[at]}"
    for kind, tree in (("parameter", state.params), ("buffer", state.buffers)):
        for name, array in tree.items():
            at = _first_bad(array)
            if at is not None:
                return f"{kind} {name!r} held {np.asarray(array)[at]} at {list(at)} before the step"
    with np.errstate(all="ignore"):
        return _replayed(program, graph, state, batch, weights, loss)


def _replayed(program: ProgramLike, graph: Graph, state: Any, batch: Arrays, weights: Any, loss: str) -> str:
    plain = NumpyProgram(program) if isinstance(program, Program) else program
    try:
        params, buffers = jax.device_get((state.params, state.buffers))
        _, found, _ = plain.forward(params, buffers, batch, state.key)
    except AidgeJaxError as e:
        return f"the NumPy backend cannot replay the step: {e}"
    for node in graph.nodes:
        for o in node.output_names:
            at = _first_bad(found[o]) if o in found else None
            if at is not None:
                return (
                    f"the first came out of node {node.name!r} ({node.op}): {o!r} is {np.asarray(found[o])[at]} "
                    f"at {list(at)}"
                )
    value = np.asarray(found[loss])
    seed = np.ones_like(value) if weights is None or value.ndim == 0 else np.asarray(weights, value.dtype)
    between = [o for n in graph.nodes for o in n.output_names if graph.value(o).is_float]
    try:
        grads = reference.gradients(graph, found, {loss: seed / max(seed.sum(), 1)}, [*between, *program.wrt])
    except AidgeJaxError:
        return "the forward pass is finite, so the first stands in the gradient"
    for node in reversed(graph.nodes):
        for i in node.input_names:
            if i in grads and _first_bad(grads[i]) is not None:
                return (
                    f"the forward pass is finite; the first came out of the gradient of node {node.name!r} "
                    f"({node.op}), for {i!r}"
                )
    return "loss and gradients are finite when NumPy computes them: the update, or a sum in float32, overflowed"


def _place(data: Dataset | None, name: str, row: int) -> str:
    if data is None:
        return f"column {name!r}, row {row} of the batch"
    return f"column {name!r}, row {data.row_in_source(row)}" + (f" of {data.source!r}" if data.source else "")


def _first_bad(array: Any) -> tuple[int, ...] | None:
    a = np.asarray(array)
    if a.dtype.kind not in "fc" and "float" not in a.dtype.name:
        return None
    bad = np.argwhere(~np.isfinite(a.astype(np.float64) if a.dtype.kind != "c" else a))
    return tuple(int(k) for k in bad[0]) if len(bad) else None


def nonfinite(record: Arrays) -> Any:
    """Whether the loss of a step, or the norm of its gradients, is NaN or infinite; bool[].

    Gradients that overflowed for the factor of loss scaling do not count: there the loss alone is looked at.
    """
    finite = [jnp.isfinite(record["loss"])] if "loss" in record else []
    if "gradient_norm" in record:
        finite.append(jnp.isfinite(record["gradient_norm"]) | overflowed(record))
    return ~jnp.all(jnp.stack(finite)) if finite else jnp.bool_(False)


def all_finite(tree: Any) -> Any:
    """Whether no number of these arrays is NaN or infinite; bool[]."""
    floats = [a for a in jax.tree.leaves(tree) if jnp.issubdtype(jnp.result_type(a), jnp.floating)]
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(a)) for a in floats])) if floats else jnp.bool_(True)
