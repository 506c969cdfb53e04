"""Executing a graph with JAX, node by node: the walker, its layouts, and the shapes that it finds.

Layout.  Graphs say NCHW, as ONNX does.  With layout "NHWC", convolutions and pools run channels-last, element-wise
nodes between them follow, and an image is turned only where it enters or leaves.  Nothing above knows.

Metadata.  What decides a shape (a Reshape's target) must be known before the program is compiled.  The nodes that
compute it, from constants and from the shapes of tensors, are executed while tracing, in int64.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .errors import AidgeJaxError, GraphError
from .graph import Graph, Node, Value
from .ops import Operator, lookup
from .ops._operator import asking_for_shapes
from .ops.structure import check_written_out, is_structural

Arrays = dict[str, Any]
LAYOUTS = ("NHWC", "NCHW")
IMAGE_RANKS = (3, 4, 5)
FOLD_LIMIT = 1 << 20  # elements; metadata larger than this is a mistake, not a shape


@dataclass(frozen=True)
class Step:
    """One node, with everything decided that can be: how each input is to lie, what the forward is called with.

    reads: per input "natural", "last", "static" or "literal".
    """

    node: Node
    operator: Operator
    reads: tuple[str, ...]
    keywords: dict[str, Any]
    last: tuple[bool, ...]
    rank: int
    folded: bool


class Walker:
    """Executes the nodes of one graph in order.

    given: inputs that arrive channels-last (what the forward stored for the backward).
    last: all tensors that lie channels-last.
    """

    def __init__(self, graph: Graph, layout: str = "NCHW", given: Iterable[str] = ()) -> None:
        self.graph = graph
        self.metadata = metadata(graph)
        self.last = {g for g in given if g in graph.inputs}
        self.steps: list[Step] = []
        for node in graph.nodes:
            step = self._plan(node, layout)
            self.steps.append(step)
            self.last.update(o for o, last in zip(node.outputs, step.last, strict=True) if last and o)

    def __call__(self, env: Arrays, key: Any, read: Iterable[str]) -> Tensors:
        """Execute.  env: {name: array} of all inputs and producers; read: what the caller takes from the result."""
        tensors = Tensors(env, self.last)
        read = {*read, *(i for n in self.graph.nodes for i in n.input_names)}
        for k, step in enumerate(self.steps):
            results = self._execute(step, k, tensors, key, read)
            for name, array in zip(step.node.outputs, results, strict=False):
                if name is not None:
                    tensors.arrays[name] = array
        return tensors

    def _plan(self, node: Node, layout: str) -> Step:
        operator = lookup(node.op)
        shows = operator.images if layout == "NHWC" else None
        ranks = {n: self.graph.value(i).rank for n, i in enumerate(node.inputs) if isinstance(i, str)}
        last, turned = [False] * len(node.outputs), set()
        rank = max((r for r in ranks.values() if r is not None), default=0)
        if shows == "same" and None not in ranks.values() and rank in IMAGE_RANKS:
            if any(node.inputs[n] in self.last for n, r in ranks.items() if r == rank):
                last, turned = [True] * len(node.outputs), set(ranks)
        elif isinstance(shows, tuple):
            ins, outs = shows
            found = {ranks[n] for n in ins if n in ranks}
            if len(found) == 1 and found <= set(IMAGE_RANKS):
                last, turned = [k in outs for k in range(len(node.outputs))], set(ins)
        reads = []
        for n, i in enumerate(node.inputs):
            named = operator.inputs[n] if n < len(operator.inputs) else None
            if not isinstance(i, str):
                reads.append("literal")
            else:
                reads.append("static" if named in operator.static else "last" if n in turned else "natural")
        keywords = dict(node.attrs)
        if "layout" in operator.keywords - operator.attributes.keys():
            keywords["layout"] = "NHWC" if turned else "NCHW"
        return Step(
            node,
            operator,
            tuple(reads),
            keywords,
            tuple(last),
            rank,
            folded=any(o in self.metadata for o in node.output_names),
        )

    def _execute(self, step: Step, k: int, tensors: Tensors, key: Any, read: set[str]) -> tuple:
        node, operator, keywords = step.node, step.operator, dict(step.keywords)
        if operator.random:
            keywords["key"] = None if key is None else jax.random.fold_in(key, k)
        if "wanted" in operator.keywords:
            keywords["wanted"] = tuple(o in read for o in operator.pad_outputs(node.outputs))
        try:
            args = [self._argument(step, n, tensors) for n in range(len(node.inputs))]
            result = fold(operator, args, keywords) if step.folded else self._forward(operator, args, keywords)
        except AidgeJaxError as e:
            raise type(e)(f"{self._where(node, tensors)}: {e}") from None
        except (TypeError, ValueError, IndexError, ZeroDivisionError) as e:
            raise GraphError(f"{self._where(node, tensors)}: {_first_line(e)}") from e
        return result if isinstance(result, tuple) else (result,)

    def _forward(self, operator: Operator, args: list, keywords: dict[str, Any]) -> Any:
        return operator.forward(*args, **keywords)

    def _argument(self, step: Step, n: int, tensors: Tensors) -> Any:
        i, how = step.node.inputs[n], step.reads[n]
        if how == "literal":
            return np.asarray(i, np.int64) if isinstance(i, tuple) else i
        if how == "last":
            return tensors.channels_last(i, step.rank if step.operator.images == "same" else None)
        value = tensors.natural(i)
        if (how == "static" or (step.folded and not step.operator.of_shape)) and not _is_known(value):
            raise GraphError(
                f"its input {i!r} must be known when the graph is lowered, but it is computed from data; "
                f"make it a constant, or compute it from shapes alone"
            )
        return np.asarray(value) if how == "static" else value

    def _where(self, node: Node, tensors: Tensors) -> str:
        took = []
        for i in node.inputs:
            if isinstance(i, str) and i in tensors.arrays:
                a = tensors.natural(i)
                took.append(str(Value(i, tuple(np.shape(a)), jnp.result_type(a).name)))
            else:
                took.append(str(i))
        return f"node {node.name!r} ({node.op}) of graph {self.graph.name!r} with inputs {', '.join(took)}"


class Tensors:
    """What a walk has computed; each tensor is turned at most once."""

    def __init__(self, arrays: Arrays, last: set[str]) -> None:
        self.arrays, self._last = dict(arrays), last
        self._turned: dict[Any, Any] = {}

    def stored(self, name: str) -> Any:
        """As it lies."""
        return self.arrays[name]

    def natural(self, name: str) -> Any:
        """Channels first, as the graph says."""
        if name not in self._last:
            return self.arrays[name]
        if name not in self._turned:
            self._turned[name] = jnp.moveaxis(self.arrays[name], -1, 1)
        return self._turned[name]

    def channels_last(self, name: str, rank: int | None = None) -> Any:
        """Channels last; with `rank`, a smaller tensor is first given leading axes of size 1, as broadcasting would."""
        array = self.arrays[name]
        if name in self._last or jnp.ndim(array) == 0:
            return array
        if (name, rank) not in self._turned:
            if rank is not None and jnp.ndim(array) < rank:
                array = jnp.reshape(array, (1,) * (rank - jnp.ndim(array)) + jnp.shape(array))
            self._turned[name, rank] = jnp.moveaxis(array, 1, -1)
        return self._turned[name, rank]


def _is_known(x: Any) -> bool:
    return not isinstance(x, jax.core.Tracer | jax.ShapeDtypeStruct)


def fold(operator: Operator, args: list, keywords: dict[str, Any]) -> tuple:
    """Execute a node while tracing; the results are NumPy arrays, with int64 kept."""
    shaped = [a if _is_known(a) else jax.ShapeDtypeStruct(np.shape(a), a.dtype) for a in args]
    question = _question(operator, args, keywords, {k: str(s) for k, s in enumerate(shaped) if not _is_known(s)})
    return _remembered(question and ("folded", *question), lambda: _folded(operator, args, shaped, keywords))


def _folded(operator: Operator, args: list, shaped: list, keywords: dict[str, Any]) -> tuple:
    if not operator.of_shape:
        with jax.enable_x64(True), asking_for_shapes():
            # In 64 bits: where everything is computed at once, eval_shape would compute too
            sizes = jax.tree.leaves(jax.eval_shape(lambda: operator.forward(*args, **keywords)))
        if sum(s.size for s in sizes) > FOLD_LIMIT:
            raise GraphError(
                f"it would compute {sum(s.size for s in sizes)} elements while the graph is lowered; "
                f"a shape has fewer than {FOLD_LIMIT}"
            )
    with jax.ensure_compile_time_eval(), jax.enable_x64(True):
        if not operator.of_shape:  # a NumPy int64 that meets what was compiled for 32 bits would be cut down to it
            named = (*operator.inputs, *[None] * len(args))
            args = [
                jnp.asarray(a) if isinstance(a, np.ndarray) and name not in operator.static else a
                for name, a in zip(named, args, strict=False)
            ]
        result = operator.forward(*(shaped if operator.of_shape else args), **keywords)
    results = result if isinstance(result, tuple) else (result,)
    return tuple(None if r is None else np.asarray(r) for r in results)


# ---- what is asked again and again --------------------------------------------------------------------

# The shapes that come out of a forward depend on its settings, on small values, and on the shapes of the rest.
# Networks repeat themselves, and are asked about when they are read, differentiated, lowered and written.
SMALL = 64
MOST_ANSWERS = 1 << 14
_ANSWERS: dict[Any, Any] = {}


def _remembered(question: Any, answer: Callable[[], Any]) -> Any:
    if question is None:
        return answer()
    if question not in _ANSWERS:
        if len(_ANSWERS) >= MOST_ANSWERS:
            _ANSWERS.clear()
        _ANSWERS[question] = answer()
    return _ANSWERS[question]


def _question(operator: Operator, args: list, keywords: dict[str, Any], structs: dict[int, str]) -> Any:
    """Something hashable that is equal where the answer is; None where that cannot be told."""
    told = [structs[k] if k in structs else _told(a) for k, a in enumerate(args)]
    told += [_told(v) for v in keywords.values()]
    return None if None in told else (operator.forward, *keywords, *told)


def _told(value: Any) -> str | None:
    if value is None or isinstance(value, bool | int | float | str):
        return repr(value)
    if isinstance(value, tuple | list):
        parts = [_told(v) for v in value]
        return None if None in parts else f"({','.join(map(str, parts))})"
    plain = isinstance(value, np.ndarray | np.generic | jax.Array) and isinstance(value.dtype, np.dtype)
    if plain and _is_known(value) and value.dtype != object and np.size(value) <= SMALL:
        array = np.asarray(value)
        return f"{array.dtype}{array.shape}{array.tobytes().hex()}"
    return None


def metadata(graph: Graph) -> frozenset[str]:
    """The tensors whose values must be known when the graph is lowered."""
    found: set[str] = set()
    for node in reversed(graph.nodes):
        if is_structural(node):
            continue
        operator = lookup(node.op)
        for n, i in enumerate(node.inputs):
            named = operator.inputs[n] if n < len(operator.inputs) else None
            if isinstance(i, str) and named in operator.static:
                found.add(i)
        if found.intersection(node.output_names) and not operator.of_shape:
            found.update(node.input_names)
    return frozenset(found)


# ---- shapes -------------------------------------------------------------------------------------------

# Symbolic sizes are replaced by numbers, twice, and what changes in the results tells how a size depends on them.
# The first pair has many divisors, so that a Reshape that splits a symbolic axis goes through; a graph that
# cannot take sizes so large (a table of positions) gets the smaller ones.
PROBES = (840, 48, 16, 4, 2)


def infer_shapes(graph: Graph) -> Graph:
    """The same graph, knowing the shape and dtype of every tensor; symbolic sizes stay symbolic.

    Raises GraphError naming the node whose inputs do not fit.
    """
    check_written_out(graph.nodes, f"graph {graph.name!r}")
    unknown = [str(v) for v in graph.inputs.values() if v.shape is None or None in v.shape]
    if unknown:
        raise GraphError(
            f"graph {graph.name!r} does not say the shape of its input {', '.join(unknown)}; "
            f"give every size as a number or a name"
        )
    symbols = symbols_of(graph)
    primes = (1, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47)
    prober = Prober(graph)
    for n, probe in enumerate(PROBES):
        first = {s: probe * primes[k % len(primes)] for k, s in enumerate(symbols)}
        second = {s: 2 * v for s, v in first.items()}
        try:
            small = prober.probe(first)
            large = prober.probe(second) if symbols else small
            break
        except GraphError:
            if not symbols or n == len(PROBES) - 1:
                raise
    twin = graph.copy()
    for node in graph.nodes:
        for o in node.output_names:
            a, b = small[o], large[o]
            shape = tuple(_size(p, q, first, second) for p, q in zip(a.shape, b.shape, strict=True))
            twin.values[o] = Value(o, shape, a.dtype.name)
    return twin


def symbols_of(graph: Graph) -> list[str]:
    """The symbols that the sizes of a graph's inputs are made of."""
    return list(
        dict.fromkeys(
            s for v in graph.inputs.values() for d in v.shape or () if isinstance(d, str) for s in _parsed(d)[1]
        )
    )


class Prober(Walker):
    """Walks through shapes and dtypes instead of arrays; what decides a shape is computed as ever."""

    def start(self, sizes: Mapping[str, int]) -> Tensors:
        """What there is before the first node, symbolic sizes being these numbers."""
        env = {k: _struct(v, sizes) for k, v in self.graph.inputs.items()}
        env |= {p.name: _struct(p.value, sizes) for p in self.graph.producers.values() if p.role != "constant"}
        return Tensors(env | self.graph.constants, self.last)

    def visit(self, node: Node, tensors: Tensors) -> None:
        """Add the outputs of one node, which need not be the graph's."""
        with jax.enable_x64(True):
            results = self._execute(self._plan(node, "NCHW"), 0, tensors, jax.random.key(0), set(node.output_names))
        tensors.arrays |= {o: a for o, a in zip(node.outputs, results, strict=False) if o is not None}

    def probe(self, sizes: Mapping[str, int]) -> dict[str, jax.ShapeDtypeStruct]:
        """What every node writes."""
        written = [o for n in self.graph.nodes for o in n.output_names]
        with jax.enable_x64(True):
            found = self(self.start(sizes).arrays, jax.random.key(0), written).arrays
            return {o: jax.ShapeDtypeStruct(np.shape(found[o]), jnp.result_type(found[o])) for o in written}

    def _forward(self, operator: Operator, args: list, keywords: dict[str, Any]) -> Any:
        static = {k for k, name in enumerate(operator.inputs) if name in operator.static}
        abstract = [k for k, a in enumerate(args) if not _is_known(a) or np.size(a) > SMALL and k not in static]
        structs = [
            jax.ShapeDtypeStruct(np.shape(args[k]), args[k].dtype, weak_type=getattr(args[k], "weak_type", False))
            for k in abstract
        ]
        key = keywords.pop("key", None)

        def call(key: Any, *arrays: Any) -> Any:
            full = list(args)
            for k, a in zip(abstract, arrays, strict=True):
                full[k] = a
            with asking_for_shapes():
                return operator.forward(*full, **keywords, **({} if key is None else {"key": key}))

        question = _question(operator, args, keywords, {k: str(s) for k, s in zip(abstract, structs, strict=True)})
        return _remembered(question, lambda: jax.eval_shape(call, key, *structs))


def _struct(v: Value, sizes: Mapping[str, int]) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct([number_of(d, sizes) for d in v.shape or ()], jnp.dtype(v.dtype))


# A size as `_size` spells it: "3*N*M", "2*N+1", "N-1", "N/2".
DERIVED = re.compile(r"(?:(\d+)\*)?([A-Za-z_]\w*)(?:\*([A-Za-z_]\w*))?(?:/([1-9]\d*))?([+-]\d+)?")


def _parsed(size: str) -> tuple[int, tuple[str, ...], int, int]:
    """(factor, symbols, divisor, offset); any other string is a symbol of its own."""
    match = DERIVED.fullmatch(size)
    if match is None:
        return 1, (size,), 1, 0
    factor, one, other, divisor, offset = match.groups()
    return int(factor or 1), (one, other) if other else (one,), int(divisor or 1), int(offset or 0)


def number_of(size: Any, sizes: Mapping[str, int]) -> int:
    """A size as a number, symbols looked up in `sizes`; KeyError for one that is not there."""
    if not isinstance(size, str):
        return size
    factor, symbols, divisor, offset = _parsed(size)
    return factor * math.prod(sizes[s] for s in symbols) // divisor + offset


def _size(a: int, b: int, first: dict[str, int], second: dict[str, int]) -> int | str:
    if a == b:
        return a
    for s in first:
        if (a, b) == (first[s], second[s]):
            return s
    multiples = []
    for s in first:
        factor, rest = divmod(b - a, second[s] - first[s])
        offset = a - factor * first[s]
        if rest == 0 and factor > 0 and abs(offset) < first[s]:
            multiples.append((offset != 0, factor, s, offset))
    if multiples:
        _, factor, s, offset = min(multiples)
        return (f"{factor}*{s}" if factor > 1 else s) + (f"{offset:+d}" if offset else "")
    for s, t in itertools.combinations_with_replacement(first, 2):
        factor, rest = divmod(a, first[s] * first[t])
        if rest == 0 and factor and b == factor * second[s] * second[t]:
            return f"{factor}*{s}*{t}" if factor > 1 else f"{s}*{t}"
    for s in first:
        if first[s] % a == 0 and second[s] % b == 0 and first[s] // a == second[s] // b:
            return f"{s}/{first[s] // a}"
    return f"?{a}"


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0] or type(error).__name__
