"""Running a graph once, on either backend; and a Program that computes in NumPy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from . import reference
from .errors import BackendError, GraphError
from .gradient import grad_name
from .graph import Graph, Node, Producer, Value
from .lower import Arrays, Program, bind, make_program
from .ops import lookup
from .unroll import flat_feeds, is_open, unrolled
from .walk import metadata

BACKENDS = ("jax", "numpy")


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
    Raises GraphError for inputs that do not fit, BackendError for a backend that there is not.
    """
    if backend not in BACKENDS:
        raise BackendError(f"there is no backend {backend!r}; there are {', '.join(BACKENDS)}")
    feeds = _named(graph, inputs)
    graph = graph.with_params(dict(params)) if params else graph
    items: list[Any] = list(graph.outputs)
    if is_open(graph):
        graph, items = unrolled(graph, feeds, reference.compute if backend == "numpy" else _compute)
        feeds = flat_feeds(feeds)
        graph.inputs = {k: v for k, v in graph.inputs.items() if k in feeds}
    graph, feeds = with_known_shapes(graph, feeds)
    if backend == "numpy":
        with jax.enable_x64(True):
            program = make_program(graph, wrt=[], training=training)
            bind(program.graph, graph.params, graph.buffers, feeds)  # refuses what does not fit
        outputs, _, _ = NumpyProgram(program).forward(graph.params, graph.buffers, feeds, key, save=False)
    else:
        with jax.enable_x64(True):
            program = make_program(graph, wrt=[], training=training)
        with jax.enable_x64(holds_64_bits(program.graph)):
            call = jax.jit(lambda p, b, x: program.forward(p, b, x, key, save=False)[0])
            outputs = call(graph.params, graph.buffers, feeds)
    return [_gathered(item, outputs) for item in items]


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


def holds_64_bits(graph: Graph) -> bool:
    """Does a call of this graph take, keep or return 64-bit data?  Shapes and other metadata do not count."""
    known = metadata(graph)
    tensors = [
        *graph.inputs.values(),
        *(graph.value(o) for o in graph.outputs),
        *(p.value for p in graph.producers.values() if p.role != "constant"),
    ]
    return any(v.dtype in ("int64", "uint64", "float64", "complex128") for v in tensors if v.name not in known)


def with_known_shapes(graph: Graph, feeds: Arrays) -> tuple[Graph, Arrays]:
    """The inputs that decide shapes (a Reshape's target given at run time), or whether a Dropout drops anything, turned
    into constants of the graph."""
    decides = metadata(graph).union(*(n.input_names[1:] for n in graph.nodes if n.op == "Dropout"))
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


@dataclass(frozen=True)
class NumpyProgram:
    """A Program's interface over the NumPy backend.

    Its gradients come from the backend's own backwards, which share nothing with the rules in aidgejax/ops.
    The program lends its prepared graph, seeds and wrt.
    """

    program: Program

    @property
    def graph(self) -> Graph:
        return self.program.graph

    @property
    def seeds(self) -> tuple[str, ...]:
        return self.program.seeds

    @property
    def wrt(self) -> tuple[str, ...]:
        return self.program.wrt

    @cached_property
    def updates(self) -> dict[str, str]:
        return self.program.updates

    def moved(self, params: Arrays, saved: Arrays) -> Arrays:
        """As Program.moved."""
        return self.program.moved(params, saved)

    def forward(
        self,
        params: Arrays,
        buffers: Arrays,
        batch: Arrays,
        key: Any = None,
        save: bool = True,
        given: Arrays | None = None,
    ) -> tuple[Arrays, Arrays, Arrays]:
        """As Program.forward; `saved` is every tensor.  given: see reference.execute."""
        feeds = {
            k: np.asarray(v)
            for k, v in {**params, **buffers, **batch}.items()
            if k in self.graph.inputs or k in self.graph.producers
        }
        rng = None if key is None else np.random.default_rng(np.asarray(jax.random.key_data(key)).tolist())
        found = reference.execute(self.graph, feeds, given=given, rng=rng)
        updates = self.updates
        return (
            {o: found[o] for o in self.graph.outputs},
            found if save else {},
            {b: found[updates[b]] if b in updates else v for b, v in buffers.items()},
        )

    def backward(self, params: Arrays, saved: Arrays, d_outputs: Arrays, grads: Arrays | None = None) -> Arrays:
        fresh = reference.gradients(self.graph, saved, {k: np.asarray(v) for k, v in d_outputs.items()}, self.wrt)
        return fresh if grads is None else {w: np.asarray(grads[w]) + g for w, g in fresh.items()}

    def backward_by_rules(self, saved: Arrays, d_outputs: Arrays) -> Arrays:
        """The rules' gradient graph, executed in NumPy."""
        named = {grad_name(s): np.asarray(d) for s, d in d_outputs.items()}
        backward = self.program.gradient
        found = reference.execute(backward, {k: named.get(k, saved.get(k)) for k in backward.inputs})
        return {w: found[o] for w, o in zip(self.wrt, backward.outputs, strict=True)}


def available_platforms() -> list[str]:
    """The platforms on which JAX can run here, e.g. ["cpu", "cuda"]."""
    found: Iterable[str] = ("cpu", "cuda", "rocm", "tpu", "METAL")
    there = []
    for name in found:
        try:
            if jax.devices(name):
                there.append(name)
        except RuntimeError:
            continue
    return there


def device(name: str) -> Any:
    """The first JAX device of this platform ("cpu", "gpu", "cuda", "tpu"; "auto": JAX's own choice).

    Raises BackendError naming the platforms there are.
    """
    if name == "auto":
        return jax.devices()[0]
    try:
        return jax.devices(name)[0]
    except RuntimeError:
        raise BackendError(f"there is no device {name!r} here; there are {', '.join(available_platforms())}") from None
