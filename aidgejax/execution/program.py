"""Graph -> pure JAX functions.

    program = make_program(graph)
    outputs, saved, buffers = program.forward(params, buffers, batch, key)
    grads = program.backward(params, saved, d_outputs, grads=None)
    print(program.gradient)                      # the backward pass is a Graph as well

Both graphs are executed by one evaluator, see interpreter/evaluate.py.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..arguments import takes_graph
from ..drawing import graphs
from ..dtypes import x64_for_arrays
from ..errors import GraphError, SettingError, about
from ..graph import Graph, Value
from ..interpreter.evaluate import LAYOUTS, Arrays, Evaluator, Fetches, Tensors
from ..interpreter.repeats import Stacked, Stacks, stack_name
from ..interpreter.shape_inference import infer_shapes
from ..interpreter.sizes import Size, parse, symbol
from ..interpreter.sizes import value as expression_value
from ..ops.attention import KINDS_OF_ATTENTION, kind_of_attention
from ..passes.gradient import grad_name, make_gradient
from ..passes.mode import normalized, state_updates, statistics_that_stay
from ..passes.recompute import results_to_hold, with_recomputation
from .devices import brought_to


@dataclass(frozen=True)
class Program:
    """Pure functions of one graph.  Make it with `make_program`.

    graph: the graph that is executed, shapes inferred; gradient: its gradient (see gradient.make_gradient).
    seeds: the outputs from which the gradient starts; wrt: the tensors it is taken for.
    """

    graph: Graph
    seeds: tuple[str, ...]
    wrt: tuple[str, ...]
    layout: str = "NHWC"
    unreachable: str = "raise"
    scan_blocks: bool = False
    attention: str = "own"

    @cached_property
    def _reading_all(self) -> Graph:
        """The gradient that reads whatever its rules name."""
        return infer_shapes(make_gradient(self.graph, self.seeds, self.wrt, unreachable=self.unreachable))

    @cached_property
    def gradient(self) -> Graph:
        return infer_shapes(with_recomputation(self.graph, self._reading_all))

    @cached_property
    def _held(self) -> frozenset[str]:
        return frozenset(results_to_hold(self.graph, self._reading_all))

    def to_svg(self) -> str:
        """The graph beside its gradient, joined where the gradient reads back what the forward computed."""
        return graphs.joined(self.graph, self.gradient)

    def _repr_html_(self) -> str:
        return f'<div style="overflow:auto;max-height:800px">{self.to_svg()}</div>'

    @cached_property
    def saves(self) -> tuple[str, ...]:
        """The forward's tensors that the gradient reads: what `forward` returns as `saved`."""
        own = {*self.graph.params, *(grad_name(s) for s in self.seeds)}
        read = (i for i in self.gradient.inputs if i not in own)
        return tuple(dict.fromkeys([*read, *self.parameter_updates.values()]))

    @property
    def updates(self) -> dict[str, str]:
        """{buffer: the tensor that is its next value}"""
        return state_updates(self.graph, self.graph.buffers)

    @property
    def parameter_updates(self) -> dict[str, str]:
        """{parameter that the forward itself moves, such as an input range: the tensor that takes its place}"""
        return state_updates(self.graph, self.graph.params, moves=True)

    def with_graph(self, graph: Graph) -> Program:
        """The same seeds, wrt and layout for another graph with those tensors, such as one in lower precision."""
        return replace(self, graph=infer_shapes(graph))

    def with_updated_params(self, params: Arrays, saved: Arrays) -> Arrays:
        """The parameters as `forward` left them: what an optimizer is to start from."""
        moves = self.parameter_updates
        return {**params, **{p: saved[t] for p, t in moves.items()}} if moves else params

    @cached_property
    def _evaluate_forward(self) -> Evaluator:
        return Evaluator(self.graph, self.layout, scan_blocks=self.scan_blocks)

    @cached_property
    def _evaluate_backward(self) -> Evaluator:
        given = self._evaluate_forward.channels_last
        return Evaluator(self.gradient, self.layout, given=given, scan_blocks=self.scan_blocks)

    @cached_property
    def _forward_stacks(self) -> dict[str, tuple[str, ...]]:
        """What the forward's loops may leave as one array for all blocks, of that which the gradient reads."""
        read = set(self.gradient.inputs)
        return {k: names for k, names in self._evaluate_forward.stacks().items() if not read.isdisjoint(names)}

    @cached_property
    def block_stacks(self) -> dict[str, tuple[str, ...]]:
        """{name: parameters of equal blocks, or buffers, that `forward` takes as one array: a Stacked of that name}."""
        found: dict[str, tuple[str, ...]] = {}
        moved, wrt = set(self.parameter_updates), set(self.wrt)
        for run in self._evaluate_forward.runs.values():
            for names in run.stacked.values():
                own = any(kind.issuperset(names) for kind in (set(self.graph.params) - moved, set(self.graph.buffers)))
                apart = all(wrt.issuperset(n) or wrt.isdisjoint(n) for n in (names, set(names)))
                if own and apart and len(set(names)) == len(names) and set().union(*found.values()).isdisjoint(names):
                    found[stack_name(names)] = names
        return found

    def forward(
        self,
        params: Arrays,
        buffers: Arrays,
        batch: Arrays,
        key: Any = None,
        save: bool = True,
        *,
        fetch: Fetches | None = None,
    ) -> tuple[Arrays, Arrays, Arrays]:
        """(outputs, saved, buffers): the graph's outputs, what `backward` wants back, and the updated buffers.

        params, buffers: {producer: array}; batch: {input: array}; key: a PRNG key where the graph draws
        random numbers (GraphError where it is missing).  `saved` is for `backward` alone: images in it may be stored
        channels-last.  save=False leaves it empty.
        fetch: {tensor: f(array, what is there already, node) -> the array that this node reads}, see Evaluator.
        """
        updates = self.updates
        saves = self.saves if save else ()
        with x64_for_arrays(params, buffers, batch), kind_of_attention(self.attention):
            env = self._bound(params, *brought_to(params, (buffers, batch)))
            read, behind = (*self.graph.outputs, *updates.values(), *saves), self._held if save else ()
            found = self._evaluate_forward(env, key, read, fetch, behind)
            outputs = {o: found.in_graph_layout(o) for o in self.graph.outputs}
            stacks = {s: found.arrays[s] for s in self._forward_stacks if s in found.arrays} if save else {}
            held = {n for s in stacks for n in self._forward_stacks[s] if found.arrays.in_a_stack(n)}
            saved = {s: found.in_storage_layout(s) for s in saves if s not in held} | stacks
            return outputs, saved, {b: self._next(b, v, found) for b, v in buffers.items()}

    def _bound(self, params: Arrays, buffers: Arrays, batch: Arrays) -> Arrays:
        """What an evaluation starts from; the parameters of a stack are there once that is."""
        stacks = {k: v.blocks for k, v in {**params, **buffers}.items() if isinstance(v, Stacked)}
        if not stacks:
            return bind_inputs(self.graph, params, buffers, batch)
        names = {k: self.block_stacks[k] for k in stacks}
        like = {n: jax.ShapeDtypeStruct(a.shape[1:], a.dtype) for k, a in stacks.items() for n in names[k]}
        apart = lambda tree: {k: v for k, v in tree.items() if k not in stacks}
        env = bind_inputs(self.graph, {**apart(params), **like}, apart(buffers), batch)
        return Stacks({k: v for k, v in env.items() if k not in like} | stacks, names)

    def _next(self, buffer: str, value: Any, found: Tensors) -> Any:
        updates = self.updates
        if not isinstance(value, Stacked):
            return found.in_graph_layout(updates[buffer]) if buffer in updates else value
        names = self.block_stacks[buffer]
        return Stacked(found.arrays.stacked([updates.get(n, n) for n in names]))

    def backward(
        self,
        params: Arrays,
        saved: Arrays,
        d_outputs: Arrays,
        grads: Arrays | None = None,
        *,
        fetch: Fetches | None = None,
    ) -> Arrays:
        """{name: dL/d name} for every name of `wrt`.

        d_outputs: {seed: dL/d seed}, each of the seed's shape; a number for a seed that is one.
        grads: what to add the result to (grad.no_reset); None starts from zero.  fetch: as for `forward`.
        """
        if set(d_outputs) != set(self.seeds):
            raise GraphError(
                f"backward of {self.graph.name!r} needs the cotangents of {list(self.seeds)}, got {list(d_outputs)}"
            )
        with x64_for_arrays(params, saved, d_outputs), kind_of_attention(self.attention):
            saved, d_outputs = brought_to(params, (saved, d_outputs))
            names = {k: v for k, v in (self.block_stacks | self._forward_stacks).items() if k in params or k in saved}
            env = {**params, **saved, **{grad_name(s): self._cotangent(s, d_outputs[s]) for s in self.seeds}}
            env = {k: env[k] for k in (*self.gradient.inputs, *names) if k in env} | self.gradient.constants
            env = {k: v.blocks if isinstance(v, Stacked) else v for k, v in env.items()}
            found = self._evaluate_backward(Stacks(env, names), None, self.gradient.outputs, fetch)
            of = dict(zip(self.wrt, self.gradient.outputs, strict=True))
            joined = {k: n for k, n in names.items() if k in params and set(n) <= set(of)}
            alone = set(of).difference(*joined.values())
            fresh = {w: found.in_graph_layout(o) for w, o in of.items() if w in alone}
            fresh |= {k: Stacked(self._joined(found, [of[n] for n in names])) for k, names in joined.items()}
            return fresh if grads is None else {w: jax.tree.map(jnp.add, grads[w], g) for w, g in fresh.items()}

    def _joined(self, found: Tensors, names: list[str]) -> Any:
        if self._evaluate_backward.channels_last.isdisjoint(names):
            return found.arrays.stacked(names)
        return jnp.stack([found.in_graph_layout(n) for n in names])

    def _cotangent(self, seed: str, d: Any) -> Any:
        like = self.graph.value(seed)
        if isinstance(d, int | float):
            d = jnp.asarray(d, like.dtype)
        shape = jnp.shape(d)
        wrong = like.shape is not None and (
            len(shape) != like.rank
            or any(isinstance(want, int) and got != want for got, want in zip(shape, like.shape, strict=True))
        )
        if wrong:
            raise GraphError(f"backward of {self.graph.name!r}: the cotangent of {like} has shape {list(shape)}")
        return jnp.asarray(d)


@takes_graph
def make_program(
    graph: Graph,
    *,
    seeds: Iterable[str] | None = None,
    wrt: Iterable[str] | None = None,
    training: bool | None = None,
    layout: str = "NHWC",
    unreachable: str = "raise",
    scan_blocks: bool = False,
    attention: str = "own",
) -> Program:
    """Lower a graph to a Program.

    seeds: outputs from which the gradient starts; default: the output named "loss", or else all floating ones.
    wrt: what the gradient is taken for; default: all parameters.
    training: True or False puts BatchNormalization and Dropout into that mode, but for BatchNormalization whose
        statistics are frozen (see freeze_statistics); None leaves the graph's own.
    layout: how images are stored inside: "NHWC" (fast in compiled loops on CPU) or "NCHW".
    scan_blocks: runs of equal blocks, such as the layers of a transformer, become loops over their stacked parameters,
        each block compiled once.  An epoch stacks them once, not in every step.  On a CPU 12 blocks compile in 0.82 of
        the time, 24 in 0.65, 48 in 0.43, few or unequal ones no faster; a step takes 0.98 to 1.1 times as long.
    attention: "cudnn": Attention nodes in 16 bits without a given mask by cuDNN's fused kernels where the program is
        lowered for CUDA, and JAX has them as this version expects; elsewhere, and by default ("own"), by ours.  Not
        tried on a device yet.
    Raises UnknownOperator, NoGradientRule or GraphError, each naming the node.
    """
    if layout not in LAYOUTS:
        raise GraphError(f"layout {layout!r}: expected one of {', '.join(LAYOUTS)}")
    if attention not in KINDS_OF_ATTENTION:
        raise GraphError(f"attention {attention!r}: expected one of {', '.join(KINDS_OF_ATTENTION)}")
    graph = infer_shapes(normalized(graph, training))
    if training and (still := statistics_that_stay(graph)):
        warnings.warn(
            f"graph {graph.name!r}: the running statistics of {', '.join(map(repr, still[:4]))} never move, their "
            f"momentum is 1.0, as PyTorch up to 1.0 wrote it; read the model with momentum=0.9, or freeze them",
            stacklevel=2,
        )
    if seeds is None:
        floats = [o for o in graph.outputs if graph.value(o).is_float]
        seeds = ["loss"] if "loss" in floats else floats
    wrt = list(graph.params) if wrt is None else list(wrt)
    for name in (*seeds, *wrt):
        graph.value(name)
    return Program(graph, tuple(seeds), tuple(wrt), layout, unreachable, scan_blocks, attention)


def check_program(program: Any, caller: str) -> None:
    """Raises SettingError for a Graph, or anything else that is no program."""
    if not (hasattr(program, "graph") and hasattr(program, "forward")):
        how = "aidgejax.make_program(graph, training=True) makes one"
        raise SettingError(f"{caller} was given {repr(program)[:60]}, expected a program: {how}")


def as_jax(program: Program) -> Callable[..., tuple[Arrays, Arrays]]:
    """f(params, buffers, batch, key=None) -> (outputs, buffers), differentiable by JAX through our rules.

    A jax.custom_vjp function: jax.grad, jit and vmap work on it, and reverse mode walks program.gradient.  It is
    differentiable with respect to params and to the floating inputs of the batch; buffers take no gradient.
    """
    check_program(program, "as_jax")
    inputs = [v.name for v in program.graph.inputs.values() if v.is_float]
    wrt = list(dict.fromkeys([*program.wrt, *program.graph.params, *inputs]))
    seeds = [o for o in program.graph.outputs if program.graph.value(o).is_float]
    full = Program(
        program.graph, tuple(seeds), tuple(wrt), program.layout, "zeros", program.scan_blocks, program.attention
    )

    @jax.custom_vjp
    def call(params: Any, buffers: Any, batch: Any, key: Any) -> Any:
        outputs, _, buffers = full.forward(params, buffers, batch, key, save=False)
        return outputs, buffers

    def forward(params: Any, buffers: Any, batch: Any, key: Any) -> Any:
        outputs, saved, updated = full.forward(params, buffers, batch, key)
        return (outputs, updated), (params, buffers, batch, key, saved)

    def backward(residual: Any, cotangents: Any) -> Any:
        params, buffers, batch, key, saved = residual
        grads = full.backward(params, saved, {s: cotangents[0][s] for s in seeds})
        return (
            {p: grads[p] if p in grads else _no_gradient(a) for p, a in params.items()},
            {b: _no_gradient(a) for b, a in buffers.items()},
            {i: grads[i] if i in grads else _no_gradient(a) for i, a in batch.items()},
            None if key is None else _no_gradient(key),
        )

    call.defvjp(forward, backward)

    def apply(params: Any, buffers: Any, batch: Any, key: Any = None) -> Any:
        return call(params, buffers, batch, key)

    return apply


def _no_gradient(x: Any) -> Any:
    """JAX's zero cotangent for x: float0 for what is not floating."""
    if jnp.issubdtype(jnp.result_type(x), jnp.inexact):
        return jnp.zeros_like(x)
    return np.zeros(jnp.shape(x), jax.dtypes.float0)


# ---- preparing a graph --------------------------------------------------------------------------------


def bind_inputs(graph: Graph, params: Arrays, buffers: Arrays, batch: Arrays) -> Arrays:
    """Everything that executing the graph starts from, by name; wrong names, ranks, sizes and dtypes are refused."""
    given = {**params, **buffers, **batch}
    needed = {**graph.inputs, **{p.name: p.value for p in graph.producers.values() if p.role != "constant"}}
    missing = [str(v) for k, v in needed.items() if k not in given]
    if missing:
        raise GraphError(
            f"graph {graph.name!r} was not given {', '.join(missing)}; got {', '.join(given) or 'nothing'}"
        )
    sizes: dict[str, tuple[int, str]] = {}
    env: Arrays = {}
    for name, value in needed.items():
        env[name] = _checked(graph, value, given[name], sizes)
    _check_expressions(graph, env, {name: n for name, (n, _) in sizes.items()})
    return env | graph.constants


def _check_expressions(graph: Graph, env: Arrays, sizes: dict[str, int]) -> None:
    """Sizes that are computed from others, such as "2*((H+1)//2)", where those are known."""
    for v in graph.inputs.values():
        for k, d in enumerate(v.shape or ()):
            size = parse(d) if isinstance(d, str) else d
            if isinstance(size, Size) and size != symbol(str(d)) and set(size.symbols) <= set(sizes):
                wanted, got = expression_value(size, sizes), jnp.shape(env[v.name])[k]
                if wanted != got:
                    given = ", ".join(f"{s} = {sizes[s]}" for s in size.symbols)
                    raise GraphError(f"graph {graph.name!r}, {v}: axis {k} is {got}; {d} is {wanted} at {given}")


def _checked(graph: Graph, value: Value, array: Any, sizes: dict[str, tuple[int, str]]) -> Any:
    try:
        shape, dtype = jnp.shape(array), getattr(array, "dtype", None) or jnp.result_type(array)
    except TypeError:
        raise GraphError(f"graph {graph.name!r}, {value}: got {type(array).__name__}, expected an array") from None
    if value.shape is not None:
        ok = len(shape) == len(value.shape)
        for got, want in zip(shape, value.shape, strict=False):
            if isinstance(want, str):  # a size that is computed from others is compared afterwards
                first, owner = sizes.setdefault(want, (got, value.name))
                if first != got:
                    raise GraphError(f"graph {graph.name!r}, {value}: {want} is {got} here but {first} in {owner!r}")
            elif want is not None:
                ok = ok and got == want
        if not ok:
            fixed = value.name in graph.inputs and shape[1:] == value.shape[1:] and len(shape) > 0
            cure = f"; its batch is fixed at {value.shape[0]}: read the model with batch='N' for any" if fixed else ""
            cure = cure or wrong_axes(value.shape, shape)
            text = f"graph {graph.name!r}, {value}: got an array of shape {list(shape)}{cure}"
            raise about("input-shape", GraphError(text))
    declared = np.dtype(jnp.dtype(value.dtype or "float32"))
    if np.dtype(dtype) != declared and not _same_kind(np.dtype(dtype), declared):
        raise about(
            "input-dtype",
            GraphError(
                f"graph {graph.name!r}, {value}: got an array of dtype {np.dtype(dtype).name}; "
                f"convert it with .astype({declared.name!r})"
            ),
        )
    return array if isinstance(array, jax.ShapeDtypeStruct) else jnp.asarray(array)


def wrong_axes(expected: Sequence[Any], shape: Sequence[int], first: int = 0) -> str:
    """What of a shape does not fit, from this axis on, as the end of a message; "" where every number does."""
    if len(shape) != len(expected):
        return f"; its rank is {len(shape)}, the model's {len(expected)}"
    pairs = enumerate(zip(shape[first:], expected[first:], strict=True), first)
    return "".join(f"; axis {k} has {a}, the model takes {b}" for k, (a, b) in pairs if isinstance(b, int) and a != b)


def _same_kind(got: np.dtype, want: np.dtype) -> bool:
    """float64 for float32 and the like: the same program in another precision."""
    kinds = [jnp.floating, jnp.signedinteger, jnp.unsignedinteger, jnp.bool_]
    return any(jnp.issubdtype(got, k) and jnp.issubdtype(want, k) for k in kinds)
