"""Is the JAX backend right?  Checked against the NumPy backend, node by node."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .. import reference
from ..arguments import takes_graph
from ..errors import DataError, GraphError, NoGradientRule, SettingError
from ..execution.budget import check_memory
from ..execution.cache import holds_64_bits
from ..execution.numpy_program import NumpyProgram
from ..execution.program import Arrays, Program, make_program
from ..execution.run import with_constant_shape_inputs
from ..graph import Graph, Node
from ..interpreter.evaluate import Evaluator
from ..ops import lookup
from ..reference import optim as plain_optim
from ..training.optimizers import rule_of
from .rounding import by_rules_in_float64, difference_of, noise_of, nonfinite, size_of, step_of, steps_before

KINDS = ("forward", "gradient", "training")
STEPS = 8  # of 16 bits by which a tensor that was rounded to them may differ: sums are rounded in another order
# A tensor may differ by so many times what 16 bits make of it in NumPy alone: sums of what nearly cancels, say.
NOISE = 4


@dataclass(frozen=True)
class Difference:
    """One tensor, computed by both backends.  difference: max |a - b| relative to the tensor's largest element.

    step: of a tensor that is computed from tensors of 16 bits, the distance between neighbouring numbers of these,
        relative to them; else 0.
    noise: what rounding to 16 bits alone makes of it in NumPy, against NumPy in float64, in the same measure.
    """

    kind: str
    node: str
    op: str
    tensor: str
    difference: float
    step: float = 0.0
    noise: float = 0.0

    @property
    def allowed(self) -> float:
        return max(STEPS * self.step, NOISE * self.noise)

    def __str__(self) -> str:
        steps = f"  ({self.difference / self.step:.1f} steps of 16 bits)" if self.step else ""
        return f"{self.kind:9} {self.difference:9.2e}  {self.op:24} {self.node:24} {self.tensor}{steps}"


@dataclass(frozen=True)
class Report:
    """rows: every comparison, in the order of execution (gradients backwards, then the trained parameters)."""

    graph: str
    rows: tuple[Difference, ...]
    tolerance: float
    steps: int
    by_rules_only: tuple[str, ...]
    nonfinite: tuple[str, ...] = ()  # tensors that hold NaN or infinity on both sides

    @property
    def first_bad(self) -> Difference | None:
        """The first row above the tolerance, or what 16 bits allow it: its node is the one to look at."""
        return next((r for r in self.rows if not r.difference <= max(self.tolerance, r.allowed)), None)

    @property
    def ok(self) -> bool:
        return self.first_bad is None

    def largest(self, kind: str) -> float:
        return max((r.difference for r in self.rows if r.kind == kind), default=0.0)

    def __str__(self) -> str:
        lines = [f"{'':9} {'largest':>9}  {'operator':24} {'node':24} tensor", *map(str, self.rows)]
        if self.by_rules_only:
            lines.append(
                f"gradients by the rules' own graph on both sides, since NumPy has no backward of its own for "
                f"{', '.join(self.by_rules_only)}"
            )
        lines.append(
            f"largest difference: forward {self.largest('forward'):.2e}, gradient "
            f"{self.largest('gradient'):.2e}, after {self.steps} steps {self.largest('training'):.2e}"
        )
        if self.nonfinite:
            lines.append(
                f"not finite on both backends: {', '.join(map(repr, self.nonfinite[:5]))}"
                + (f" and {len(self.nonfinite) - 5} more" if len(self.nonfinite) > 5 else "")
            )
        bad = self.first_bad
        lines.append(
            f"{self.graph}: the backends agree within {self.tolerance:g}"
            if bad is None
            else f"{self.graph}: first bad node {bad.node!r} ({bad.op}), {bad.kind} of {bad.tensor!r}: "
            f"{bad.difference:.2e} is above {self.tolerance:g}"
        )
        return "\n".join(lines)


@takes_graph
def compare(
    graph: Graph,
    params: Mapping[str, Any] | None = None,
    batch: Mapping[str, Any] | None = None,
    *,
    steps: int = 10,
    tolerance: float = 1e-4,
    training: bool | None = True,
    seed: int = 0,
    lr: float = 1e-2,
    optimizer: str = "sgd",
) -> Report:
    """Run a graph on both backends and compare every tensor, every gradient, and the parameters after some steps.

    params: arrays for the graph's parameters and buffers (default: its own).
    batch: {input: array} (default: random, of 4 rows where the batch size is symbolic).
    steps: of training at `lr`, on the output "loss", or else on a random combination of all outputs.
    optimizer: a rule of training.optim with its default settings; NumPy's is that of reference.optim.
    The JAX side takes its gradients by the rules in aidgejax/ops, the NumPy side by its own backwards.
    Raises GraphError where the graph and the batch do not fit, SettingError for an optimizer that there is not.
    """
    if steps < 0:
        raise DataError(f"steps is {steps}: expected 0 or more")
    graph = graph.with_params(dict(params)) if params else graph
    batch = random_batch(graph, seed) if batch is None else {k: np.asarray(v) for k, v in batch.items()}
    graph, batch = with_constant_shape_inputs(graph, batch)
    with jax.enable_x64(holds_64_bits(graph)):
        program = make_program(graph, training=training)
        every = [o for node in program.graph.nodes for o in node.output_names]
        check_memory(program.graph, batch, kept=every, copies=4)  # each tensor and its gradient, on both backends
        batch = {k: np.asarray(batch[k]) for k in program.graph.inputs}
        return _report(program, batch, steps, tolerance, seed, lr, optimizer)


def _report(
    program: Program, batch: Arrays, steps: int, tolerance: float, seed: int, lr: float, optimizer: str
) -> Report:
    graph = program.graph
    key = jax.random.key(seed)
    by_jax = _every_tensor(program, batch, key)
    drawn = {
        o: np.asarray(by_jax[o])
        for n in graph.nodes
        if lookup(n.op).random
        for o in n.output_names
        if graph.value(o).dtype == "bool"
    }
    feeds = {**graph.params, **graph.buffers, **batch}
    by_numpy = reference.execute(graph, feeds, given=drawn)
    rounding = steps_before(graph, {**graph.params, **graph.buffers, **graph.constants, **batch, **by_numpy})
    coarsest = max(rounding.values(), default=0.0)
    exact = reference.execute(graph, feeds, dtype=np.float64, given=drawn) if coarsest else by_numpy
    rows = [
        Difference(
            "forward", n.name, n.op, o, difference_of(by_jax[o], by_numpy[o], size), rounding[o],
            noise_of(by_numpy[o], exact[o], size),
        )
        for n in graph.nodes
        for o in n.output_names
        if o in by_jax
        for size in (size_of(by_numpy[o]),)
    ]  # fmt: skip
    rng = np.random.default_rng(seed)
    cotangents = {
        s: np.ones_like(by_numpy[s])
        if s == "loss" and by_numpy[s].ndim == 0
        else (rng.uniform(-1, 1, by_numpy[s].shape) / max(1, by_numpy[s].size)).astype(by_numpy[s].dtype)
        for s in program.seeds
    }
    gradient_rows, own, by_rules_only = _gradients(program, batch, key, (by_numpy, exact), cotangents, coarsest)
    rows += gradient_rows
    noise = max((r.noise for r in gradient_rows), default=0.0)
    if steps and own:
        rows += [
            replace(r, step=max(r.step, coarsest), noise=noise)
            for r in _after_steps(program, batch, key, cotangents, drawn, steps, lr, optimizer)
        ]
    both = [o for n in graph.nodes for o in n.output_names if o in by_jax and nonfinite(by_jax[o], by_numpy[o])]
    return Report(graph.name, tuple(rows), tolerance, steps, by_rules_only, tuple(both))


def every_tensor(graph: Graph, batch: Mapping[str, Any], *, seed: int = 0) -> dict[str, np.ndarray]:
    """{tensor: array} of all that the nodes of a graph write, by JAX; what only decides shapes is left out."""
    program = make_program(graph)
    batch = {k: np.asarray(batch[k]) for k in program.graph.inputs}
    with jax.enable_x64(holds_64_bits(program.graph)):
        check_memory(program.graph, batch)
        return {k: np.asarray(a) for k, a in _every_tensor(program, batch, jax.random.key(seed)).items()}


def _every_tensor(program: Program, batch: Arrays, key: Any) -> Arrays:
    graph = program.graph
    evaluator = Evaluator(graph, program.layout)
    written = [o for n in graph.nodes for o in n.output_names if o not in evaluator.metadata]

    @jax.jit
    def everything(params: Arrays, buffers: Arrays, batch: Arrays) -> Arrays:
        tensors = evaluator({**graph.constants, **params, **buffers, **batch}, key, written)
        return {o: tensors.in_graph_layout(o) for o in written}

    return everything(graph.params, graph.buffers, {k: jnp.asarray(v) for k, v in batch.items()})


def _gradients(
    program: Program, batch: Arrays, key: Any, both: tuple[Arrays, Arrays], cotangents: Arrays, coarsest: float
) -> tuple[list[Difference], bool, tuple[str, ...]]:
    """Gradients of every tensor between the parameters and the seeds, last node first.

    both: what NumPy found as it is declared, and in float64 where that is finer.
    coarsest: the largest step of the graph's tensors; a gradient has passed through all of them.
    """
    graph, (found, exact) = program.graph, both
    active = set(program.wrt)
    for n in graph.nodes:
        if active.intersection(n.input_names):
            active.update(o for o in n.output_names if graph.value(o).is_float)
    between = [t for t in [*graph.params, *(o for n in graph.nodes for o in n.output_names)] if t in active]
    full = Program(graph, program.seeds, tuple(between), program.layout, unreachable="zeros")
    _, saved, _ = full.forward(graph.params, graph.buffers, batch, key)
    by_jax = jax.jit(lambda s, d: full.backward(graph.params, s, d))(saved, cotangents)
    names: tuple[str, ...] = ()
    own = True
    try:
        by_numpy = reference.gradients(graph, found, cotangents, between)
    except NoGradientRule:
        from ..reference import BACKWARDS

        names, own = tuple(sorted({n.op for n in graph.nodes if lookup(n.op).vjp} - set(BACKWARDS))), False
        by_numpy = NumpyProgram(full).backward_from_gradient_graph({**found, **graph.params}, cotangents)
    finer = by_numpy if exact is found or not own else reference.gradients(graph, exact, cotangents, between)
    noisy = [] if exact is found else [by_rules_in_float64(full, found, exact, cotangents), (by_numpy, finer)]
    floor = max(1e-4, STEPS * coarsest) * max(
        [float(np.max(np.abs(g), initial=0)) for g in by_numpy.values()], default=0.0
    )
    order = {n.name: k for k, n in enumerate(graph.nodes)}
    readers = {t: [n for n in found if n.name in order] for t, found in graph.readers().items()}
    rows = []
    for t in between:
        if t not in readers:
            continue  # an output that nothing reads: its gradient is the cotangent itself
        size = max(size_of(by_numpy[t]), floor)
        gap = difference_of(by_jax[t], by_numpy[t], size)
        noise = max((noise_of(a[t], b[t], size) for a, b in noisy), default=0.0)
        # A gradient is complete at its first reader, which comes last in the backward pass.
        rows.append((order[readers[t][0].name], t, gap, noise))
    rows.sort(key=lambda row: -row[0])
    named = []
    for _, t, gap, noise in rows:
        node = readers[t][0]
        if len(readers[t]) > 1:
            node = _worst_rule(program, readers[t], t, found, by_numpy, cotangents)
        named.append(Difference("gradient", node.name, node.op, t, gap, coarsest, noise))
    return named, own, names


def _worst_rule(
    program: Program, readers: list[Node], tensor: str, found: Arrays, by_numpy: Arrays, cotangents: Arrays
) -> Node:
    """Of several nodes that contribute to a tensor's gradient, the one whose rule differs most, each taken alone."""

    def gap(node: Node) -> float:
        if any(not program.graph.value(o).is_float for o in node.output_names) or lookup(node.op).random:
            return 0.0
        alone = Graph(node.name)
        for i in dict.fromkeys(node.input_names):
            if not program.graph.value(i).is_float:  # a shape among them has to be known before anything runs
                alone.constant(i, np.asarray(found[i] if i in found else program.graph.constants[i]))
            elif i in program.graph.constants:
                alone.constant(i, program.graph.constants[i])
            else:
                alone.input(i, np.shape(found[i]), np.asarray(found[i]).dtype.name)
        alone.add(node.op, node.inputs, node.attrs, names=node.outputs, name=node.name)
        for o in node.output_names:
            alone.output(o)
        arriving = {o: by_numpy.get(o, cotangents.get(o, np.zeros_like(found[o]))) for o in node.output_names}
        single = make_program(alone, wrt=[tensor], seeds=node.output_names, unreachable="zeros")
        feeds = {i: found[i] for i in alone.inputs}
        outputs, saved, _ = single.forward({}, {}, feeds)
        mine = single.backward({}, saved, arriving)[tensor]
        try:
            theirs = reference.gradients(
                single.graph, {**found, **{o: np.asarray(a) for o, a in outputs.items()}}, arriving, [tensor]
            )[tensor]
        except NoGradientRule:
            return 0.0
        return difference_of(mine, theirs, size_of(theirs))

    return max(reversed(readers), key=gap)


def _after_steps(
    program: Program, batch: Arrays, key: Any, cotangents: Arrays, drawn: Arrays, steps: int, lr: float, optimizer: str
) -> list[Difference]:
    """Training on both sides, from the same parameters, on the same batch."""
    if not hasattr(plain_optim, optimizer):
        raise SettingError(f"there is no optimizer {optimizer!r} in reference.optim")
    rule, plain_rule = rule_of(optimizer)(), getattr(plain_optim, optimizer)()

    @jax.jit
    def jax_step(params: Arrays, buffers: Arrays, state: Any) -> tuple[Arrays, Arrays, Any]:
        _, saved, buffers = program.forward(params, buffers, batch, key)
        grads = program.backward(params, saved, cotangents)
        trained, state = rule.update({k: params[k] for k in grads}, grads, state, lr)
        return {**params, **trained}, buffers, state

    plain = NumpyProgram(program)
    mine, state = program.graph.params, program.graph.buffers
    theirs, theirs_state = program.graph.params, program.graph.buffers
    memory = rule.init({w: mine[w] for w in program.wrt})
    plain_memory = {w: plain_rule.init(theirs[w]) for w in program.wrt}
    for _ in range(steps):
        mine, state, memory = jax_step(mine, state, memory)
        _, saved, theirs_state = plain.forward(theirs, theirs_state, batch, given=drawn)
        grads = plain.backward(theirs, saved, cotangents)
        theirs = dict(theirs)
        for k, g in grads.items():
            theirs[k], plain_memory[k] = plain_rule.update(theirs[k], g, plain_memory[k], lr)
    users = {i: n for n in program.graph.nodes for i in n.input_names}
    return [
        Difference("training", users[k].name, users[k].op, k, difference_of(a, b, max(size_of(b), 1e-3)), step_of(b))
        for k, a, b in [
            *((k, mine[k], theirs[k]) for k in theirs),
            *((k, state[k], theirs_state[k]) for k in theirs_state),
        ]
        if k in users
    ]


def random_batch(graph: Graph, seed: int = 0, rows: int = 4) -> Arrays:
    """Numbers for every input: floats normal, integers small, symbolic sizes `rows`."""
    rng = np.random.default_rng(seed)
    batch = {}
    limits = _index_limits(graph)
    for v in graph.inputs.values():
        if v.shape is None:
            raise GraphError(f"graph {graph.name!r} does not say the shape of its input {v}; give a batch")
        shape = tuple(d if isinstance(d, int) else rows for d in v.shape)
        if v.is_float:
            batch[v.name] = rng.normal(size=shape).astype(jnp.dtype(v.dtype))
        elif v.dtype == "bool":
            batch[v.name] = rng.integers(0, 2, shape).astype(bool)
        else:
            batch[v.name] = rng.integers(0, limits.get(v.name, 2), shape).astype(v.dtype)
    return batch


def _index_limits(graph: Graph) -> dict[str, int]:
    """How many values an integer input may take: rows of the table that it picks from, or classes."""
    limits: dict[str, int] = {}
    for n in graph.nodes:
        operator = lookup(n.op)
        for name, (table, along) in operator.index_of.items():
            i, of = (n.inputs[operator.inputs.index(k)] for k in (name, table))
            axis = n.attrs.get(along, operator.attributes[along]) if isinstance(along, str) else along
            shape = graph.value(of).shape if isinstance(of, str) else None
            size = shape[axis] if shape else None
            if isinstance(i, str) and isinstance(size, int):
                limits[i] = size
    return limits
