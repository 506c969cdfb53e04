"""Running a graph once, on either backend; and a Program that computes in NumPy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .. import reference
from ..arguments import takes_graph
from ..errors import BackendError, GraphError
from ..graph import Graph, Node, Producer, Value
from ..interpreter.constant_folding import compile_time_values
from ..ops import lookup
from ..passes.control_flow import flat_feeds, is_dynamic, unrolled
from .budget import check_memory
from .cache import PROGRAMS, holds_64_bits, signature, without_data
from .devices import brought_to
from .numpy_program import NumpyProgram
from .program import Arrays, Program, bind_inputs, make_program

BACKENDS = ("jax", "numpy")


@takes_graph
def run(
    graph: Graph,
    inputs: Mapping[str, Any] | Sequence[Any],
    backend: str = "jax",
    *,
    params: Mapping[str, Any] | None = None,
    training: bool | None = None,
    key: Any = None,
) -> list[np.ndarray]:
    """The outputs of a graph, in its order, with the dtypes that it declares.

    inputs: {name: array}, or arrays in the order of the graph's inputs; a sequence is a list, an optional input that is
    absent is None or left out.  backend: "jax" or "numpy".
    Control flow that depends on the inputs is decided first, by computing what decides on the same backend; what is
    left is one program.
    params: arrays that replace the graph's own parameters and buffers.
    training: see make_program; key: for graphs that draw random numbers.
    The same graph called again, with inputs of the same shapes, is neither traced nor compiled again.
    Raises GraphError for inputs that do not fit, BackendError for a backend that there is not.
    """
    if backend not in BACKENDS:
        raise BackendError(f"unknown backend {backend!r}; expected {' or '.join(map(repr, BACKENDS))}")
    feeds = _named(graph, inputs)
    graph = graph.with_params(dict(params)) if params else graph
    items: list[Any] = list(graph.outputs)
    if is_dynamic(graph):
        graph, items = unrolled(graph, feeds, reference.compute if backend == "numpy" else _compute)
        feeds = flat_feeds(feeds)
        graph.inputs = {k: v for k, v in graph.inputs.items() if k in feeds}
    graph, feeds = with_constant_shape_inputs(graph, feeds)
    program, call = _compiled(graph, training)
    check_memory(program.graph, feeds)
    if backend == "numpy":
        with jax.enable_x64(True):
            bind_inputs(program.graph, graph.params, graph.buffers, feeds)  # refuses what does not fit
        outputs, _, _ = NumpyProgram(program).forward(graph.params, graph.buffers, feeds, key, save=False)
    else:
        outputs = call(graph.params, graph.buffers, feeds, key)
    return [_gathered(item, outputs) for item in items]


def _compiled(graph: Graph, training: bool | None) -> tuple[Program, Callable[..., Arrays]]:
    """The program of a graph, and its compiled forward: made once for all graphs that are alike."""

    def make() -> tuple[Program, Callable[..., Arrays]]:
        with jax.enable_x64(True):
            program = make_program(without_data(graph), wrt=[], training=training)
        compiled = jax.jit(lambda p, b, x, key: program.forward(p, b, x, key, save=False)[0])
        wide = holds_64_bits(program.graph)

        def call(params: Arrays, buffers: Arrays, feeds: Arrays, key: Any) -> Arrays:
            with jax.enable_x64(wide):
                return compiled(params, *brought_to(params, (buffers, feeds)), key)

        return program, call

    return PROGRAMS.get(("run", graph.name, signature(graph), training), make)


def _compute(node: Node, args: Sequence[Any]) -> tuple:
    """One node by JAX, at once."""
    with jax.enable_x64(True):
        try:
            results = lookup(node.op).forward(*args, **node.attrs)
        except (TypeError, ValueError, IndexError, ZeroDivisionError) as e:
            raise GraphError(f"node {node.name!r} ({node.op}): {e}") from e
        return tuple(np.asarray(r) for r in (results if isinstance(results, tuple) else (results,)))


def _gathered(item: Any, outputs: Arrays) -> Any:
    """A tensor, a list of them, or None, as `unrolled` says."""
    if isinstance(item, list):
        return [_gathered(i, outputs) for i in item]
    return None if item is None else np.asarray(outputs[item])


def with_constant_shape_inputs(graph: Graph, feeds: Arrays) -> tuple[Graph, Arrays]:
    """The inputs that decide shapes (a Reshape's target given at run time), or whether a Dropout drops anything, turned
    into constants of the graph."""
    decides = compile_time_values(graph).union(*(n.input_names[1:] for n in graph.nodes if n.op == "Dropout"))
    known = [k for k in graph.inputs if k in decides]
    unknown = [k for k, v in graph.inputs.items() if v.shape is None or None in v.shape]
    if not known and not unknown:
        return graph, feeds
    graph = graph.copy()
    for k in unknown:
        graph.inputs[k] = type(graph.inputs[k])(k, tuple(np.shape(feeds[k])), graph.inputs[k].dtype)
    for k in known:
        del graph.inputs[k]
        graph.producers[k] = Producer(k, np.asarray(feeds[k]), "constant")
    return graph, {k: v for k, v in feeds.items() if k not in known}


def _named(graph: Graph, inputs: Mapping[str, Any] | Sequence[Any]) -> Arrays:
    if not isinstance(inputs, Mapping):
        if len(inputs) != len(graph.inputs):
            raise GraphError(
                f"graph {graph.name!r} takes {len(graph.inputs)} inputs ({', '.join(graph.inputs)}), got {len(inputs)}"
            )
        inputs = dict(zip(graph.inputs, inputs, strict=True))
    foreign = [k for k in inputs if k not in graph.inputs and k not in graph.producers]
    if foreign:
        raise GraphError(
            f"graph {graph.name!r} has no input {', '.join(map(repr, foreign))}; it takes "
            f"{', '.join(map(repr, graph.inputs)) or 'none'}"
        )
    missing = [str(v) for k, v in graph.inputs.items() if k not in inputs and not str(v.dtype).startswith("optional(")]
    if missing:
        raise GraphError(f"graph {graph.name!r} was not given {', '.join(missing)}")
    return {k: _converted(graph, graph.value(k), a, graph.value(k).dtype or "float32") for k, a in inputs.items()}


def _converted(graph: Graph, value: Value, fed: Any, kind: str) -> Any:
    """What was fed, as an array of the declared dtype, a list of such arrays, or None."""
    if kind.startswith("optional("):
        return None if fed is None else _converted(graph, value, fed, kind[9:-1])
    if kind.startswith("sequence("):
        if not isinstance(fed, list | tuple):
            raise GraphError(f"graph {graph.name!r}, {value}: got {type(fed).__name__}, expected a list of arrays")
        return [_converted(graph, value, a, kind[9:-1]) for a in fed]
    if fed is None:
        raise GraphError(f"graph {graph.name!r}, {value}: got None, expected an array")
    try:
        a, want = np.asarray(fed), jnp.dtype(kind)
    except ValueError as e:  # rows of different lengths
        raise GraphError(f"graph {graph.name!r}, {value}: what was given is no array: {e}") from None
    if a.dtype != want and a.dtype.kind != want.kind:
        raise GraphError(
            f"graph {graph.name!r}, {value}: got an array of dtype {a.dtype}; convert it with .astype({want.name!r})"
        )
    return a.astype(want, copy=False)
