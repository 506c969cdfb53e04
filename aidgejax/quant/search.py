"""Bit widths per layer under a budget, by many short trainings at once: levels are data, a candidate is a lane."""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..arguments import checked_call, whole_number
from ..errors import SettingError
from ..execution.program import Program, make_program
from ..graph import Graph
from ..interpreter.shape_inference import infer_shapes
from ..passes.loss import with_loss, with_scores
from ..training import optim, schedule
from ..training.data import Dataset, batch_order
from ..training.loop import TrainState, make_step, start
from .batches import labelled
from .calibrate import calibrate
from .convert import Layer, convert, layers
from .describe import macs_of
from .optimizer import with_steps
from .scheme import Grid, Scheme

BUDGETS = ("bytes", "bit_operations")


@dataclass(frozen=True)
class Candidate:
    """bits: {layer: its bits}; cost: of the budget's kind; loss: after the short training, on held-out rows."""

    bits: dict[str, int]
    cost: int
    loss: float


@dataclass(frozen=True)
class SearchResult:
    """candidates: all that were trained, cheapest first; best: of least loss within the budget.
    specific: for `convert(graph, scheme, specific=result.specific)`."""

    candidates: tuple[Candidate, ...]
    best: Candidate
    scheme: Scheme
    kind: str
    budget: float

    @property
    def specific(self) -> dict[str, Scheme | None]:
        return {n: with_bits(self.scheme, b) for n, b in self.best.bits.items()}

    @property
    def front(self) -> tuple[Candidate, ...]:
        """Those that no other beats in cost and loss."""
        kept: list[Candidate] = []
        for c in self.candidates:
            if not kept or c.loss < kept[-1].loss:
                kept.append(c)
        return tuple(kept)

    def __str__(self) -> str:
        names = list(self.best.bits)
        lines = [f"{self.kind:>16}  {'loss':>8}  bits of {' '.join(names)}"]
        for c in self.candidates:
            mark = " <- best" if c is self.best else ""
            lines.append(f"{c.cost:>16}  {c.loss:8.4f}  {' '.join(str(c.bits[n]) for n in names)}{mark}")
        return "\n".join(lines)

    def picture(self, path: Any) -> None:
        """Loss against cost, with the front; needs matplotlib."""
        figure = importlib.import_module("matplotlib.figure").Figure(figsize=(6, 4), layout="constrained")
        axes = figure.add_subplot()
        axes.plot([c.cost for c in self.candidates], [c.loss for c in self.candidates], "o", alpha=0.5)
        axes.plot([c.cost for c in self.front], [c.loss for c in self.front], "-")
        axes.plot([self.best.cost], [self.best.loss], "*", markersize=14)
        axes.axvline(self.budget, linestyle=":")
        axes.set(xlabel=self.kind.replace("_", " "), ylabel="loss after short training")
        figure.savefig(path)


def with_bits(scheme: Scheme, bits: int) -> Scheme:
    return replace(
        scheme,
        weights=replace(scheme.weights, bits=bits),
        activations=replace(scheme.activations, bits=bits),
        ends=None,
    )


@checked_call
def search(
    graph: Graph,
    data: Dataset,
    budget: Mapping[str, float],
    *,
    choices: Sequence[int] = (2, 4, 8),
    scheme: Scheme | None = None,
    loss: str = "cross_entropy",
    target: str = "target",
    lanes: int = 12,
    epochs: int = 4,
    batch_size: int = 32,
    rate: float = 2e-3,
    seed: int = 0,
) -> SearchResult:
    """The bits of each layer (weights and input alike) with the least loss within a budget.

    budget: {"bytes": of all weights} or {"bit_operations": MACs times bits of weight and input, for one row}.
    scheme: everything but the bits; default: learned powers of two, weights per channel.
    First each layer is tried alone at each choice (sensitivity); of the assignments that this makes promising, `lanes`
    within the budget are trained for `epochs`, all in one compiled program; a fifth of the rows is held out to compare.
    Raises SettingError where even the fewest bits are over the budget.
    """
    if not isinstance(budget, Mapping) or len(budget) != 1 or next(iter(budget)) not in BUDGETS:
        raise SettingError(f"budget {budget!r}: expected one of {', '.join(BUDGETS)} and a number")
    ((kind, most),) = budget.items()
    if not isinstance(most, int | float | np.number) or not most > 0:
        raise SettingError(f"a budget of {most!r} {kind}: expected a number above 0")
    choices = _choices(choices)
    for name, value in (("lanes", lanes), ("epochs", epochs), ("batch_size", batch_size)):
        whole_number(name, value, 1)
    data = labelled(graph, data, target)
    scheme = scheme or Scheme(Grid(8, per="channel"), step="power_of_two")
    training, held = data.split(0.2, seed=seed)
    lane = _Lanes(graph, choices, scheme)
    costs = {n: {b: lane.cost(n, b, kind) for b in choices} for n in lane.names}
    least = sum(c[choices[0]] for c in costs.values())
    if least > most:
        raise SettingError(f"budget of {most:g} {kind}: with {choices[0]} bits everywhere it takes {least}")
    lane.prepare(training, loss, target)
    alone = lane.losses_alone(training)
    tried = _promising(lane.names, choices, costs, alone, most, lanes)
    losses = lane.train(tried, training, held, epochs, batch_size, rate, seed)
    found = [
        Candidate(dict(zip(lane.names, t, strict=True)), _total(lane.names, t, costs), float(x))
        for t, x in zip(tried, losses, strict=True)
    ]
    found.sort(key=lambda c: (c.cost, c.loss))
    best = min((c for c in found if c.cost <= most), key=lambda c: c.loss)
    return SearchResult(tuple(found), best, scheme, kind, float(most))


def _choices(given: Sequence[int]) -> list[int]:
    """Bits to choose from, in order."""
    if not isinstance(given, Iterable) or isinstance(given, str) or not list(given):
        raise SettingError(f"choices is {given!r}: expected bits to choose from, such as (2, 4, 8)")
    return sorted({Grid(b).bits for b in given})


def _total(names: Sequence[str], bits: Sequence[int], costs: dict[str, dict[int, int]]) -> int:
    return sum(costs[n][b] for n, b in zip(names, bits, strict=True))


def _promising(
    names: list[str],
    choices: Sequence[int],
    costs: dict[str, dict[int, int]],
    alone: dict[str, dict[int, float]],
    most: float,
    lanes: int,
) -> list[tuple[int, ...]]:
    """Assignments within the budget: of least summed loss at many prices, each filled up, and the uniform ones."""
    found: dict[tuple[int, ...], float] = {}

    def fill(bits: list[int]) -> tuple[int, ...]:
        """More bits where they help most for their cost, as long as they fit."""
        while True:
            best, gain = -1, -np.inf
            for k, n in enumerate(names):
                at = list(choices).index(bits[k])
                if at + 1 < len(choices):
                    more = costs[n][choices[at + 1]] - costs[n][bits[k]]
                    if _total(names, bits, costs) + more <= most:
                        value = (alone[n][bits[k]] - alone[n][choices[at + 1]]) / max(more, 1)
                        if value > gain:
                            best, gain = k, value
            if best < 0:
                return tuple(bits)
            bits[best] = choices[list(choices).index(bits[best]) + 1]

    def priced(n: str, price: float, b: int) -> float:
        return alone[n][b] + price * costs[n][b]

    scales = [abs(alone[n][b]) / max(costs[n][b], 1) for n in names for b in choices]
    for price in np.geomspace(max(min(scales), 1e-12) * 1e-3, max(scales) * 1e3 + 1e-9, 40):
        bits = [min(choices, key=partial(priced, n, price)) for n in names]
        if _total(names, bits, costs) <= most:
            t = fill(bits)
            found[t] = sum(alone[n][b] for n, b in zip(names, t, strict=True))
    for b in choices:
        if _total(names, [b] * len(names), costs) <= most:
            found[tuple([b] * len(names))] = -1.0  # the plain alternative is always among them
            found.setdefault(fill([b] * len(names)), 0.0)
    for t in list(found):  # one layer less, what that frees spent elsewhere
        for k in range(len(names)):
            if t[k] > choices[0]:
                other = list(t)
                other[k] = choices[list(choices).index(t[k]) - 1]
                again = fill(other)
                found.setdefault(again, sum(alone[n][b] for n, b in zip(names, again, strict=True)))
    return list(itertools.islice(sorted(found, key=lambda t: found[t]), lanes))


class _Lanes:
    """One graph whose levels are buffers, and what each choice of bits starts from."""

    def __init__(self, graph: Graph, choices: Sequence[int], scheme: Scheme) -> None:
        self.choices = choices
        self.held = {b: convert(graph, with_bits(scheme, b)) for b in choices}
        self.graph = self.held[choices[-1]]
        self.layers: tuple[Layer, ...] = layers(self.graph)
        self.names = [layer.name for layer in self.layers]
        self.owner: dict[str, str] = {}
        for layer in self.layers:
            for node in (layer.weight, layer.input):
                if node is not None:
                    self.owner.setdefault(node.name, layer.name)

    def prepare(self, data: Dataset, loss: str, target: str) -> None:
        """Calibrate each choice of bits, and make the program that trains all."""
        plain = {k: v for k, v in data.columns.items() if k != target}
        self.held = {b: calibrate(q, plain) for b, q in self.held.items()}
        self.graph = self.held[self.choices[-1]]
        net = _with_levels(self.graph, self.owner)
        net, scores = with_scores(infer_shapes(net), loss)
        net = infer_shapes(with_loss(net, loss, prediction=scores, target=target, reduction="rows"))
        self.program: Program = make_program(net, training=True)
        self.evaluated: Program = make_program(net, training=False)

    def cost(self, name: str, bits: int, kind: str) -> int:
        layer = next(x for x in self.layers if x.name == name)
        if kind == "bit_operations":
            return macs_of(self.graph, layer.node) * bits * bits
        size = int(
            np.prod([d for d in self.graph.value(layer.weight.output_names[0]).shape or () if isinstance(d, int)])
        )
        return -(-size * bits // 8)

    def start_of(self, bits: Mapping[str, int]) -> tuple[dict[str, Any], dict[str, Any]]:
        """(params, buffers) of one assignment: the levels, and the steps that belong to them."""
        params: dict[str, Any] = dict(self.graph.params)
        buffers: dict[str, Any] = dict(self.program.graph.buffers)
        for b in self.choices:
            writer = {n.name: n for n in self.held[b].nodes if n.op == "FakeQuantize"}
            for node, layer in self.owner.items():
                if bits[layer] != b:
                    continue
                n = writer[node]
                buffers[f"{node}/low"], buffers[f"{node}/high"] = (np.float32(v) for v in n.inputs[3:5])
                step = _source(self.held[b], n.inputs[1])
                if step in params:
                    params[step] = self.held[b].params[step]
        return params, buffers

    def _stacked(self, tried: Sequence[Sequence[int]]) -> tuple[Any, Any]:
        starts = [self.start_of(dict(zip(self.names, t, strict=True))) for t in tried]
        stack = lambda trees: jax.tree.map(lambda *a: jnp.stack([jnp.asarray(x) for x in a]), *trees)
        return stack([p for p, _ in starts]), stack([b for _, b in starts])

    def _loss_of(self, params: Any, buffers: Any, batch: Any) -> Any:
        outputs, _, _ = self.evaluated.forward(params, buffers, batch, jax.random.key(0), save=False)
        return jnp.mean(outputs["loss"])

    def losses_alone(self, data: Dataset, rows: int = 256) -> dict[str, dict[int, float]]:
        """{layer: {bits: the loss with it so, and the others at most bits}}"""
        top = self.choices[-1]
        tried = [[b if n == m else top for m in self.names] for n in self.names for b in self.choices]
        params, buffers = self._stacked(tried)
        batch = self._batch(data, rows)
        losses = np.asarray(jax.jit(jax.vmap(self._loss_of, (0, 0, None)))(params, buffers, batch)).reshape(
            len(self.names), -1
        )
        return {
            n: dict(zip(self.choices, map(float, row), strict=True)) for n, row in zip(self.names, losses, strict=True)
        }

    def _batch(self, data: Dataset, rows: int) -> dict[str, Any]:
        held = data[:rows].on_device()
        return {k: held[k] for k in self.program.graph.inputs}

    def train(
        self,
        tried: Sequence[Sequence[int]],
        data: Dataset,
        held: Dataset,
        epochs: int,
        batch_size: int,
        rate: float,
        seed: int,
    ) -> np.ndarray:
        """f[candidates]: the loss of each on held-out rows, after training all at once."""
        rule = with_steps(optim.adam(), self.graph)
        batch_size = min(batch_size, len(data))
        total = epochs * (len(data) // batch_size)
        step = make_step(self.program, rule, schedule.cosine(rate, total, periodic=False))
        params, buffers = self._stacked(tried)
        columns = self._batch(data, len(data))

        def one(params: Any, buffers: Any) -> TrainState:
            return start(self.program, rule, jax.random.key(seed), params, buffers)

        def epoch(state: TrainState, rows: Any) -> TrainState:
            def advance(s: TrainState, at: Any) -> tuple[TrainState, None]:
                batch = {k: v[at] for k, v in columns.items()}
                s, _ = jax.vmap(step, (0, None))(s, batch)
                return s, None

            return jax.lax.scan(advance, state, rows)[0]

        state = jax.jit(jax.vmap(one))(params, buffers)
        run = jax.jit(epoch, donate_argnums=0)
        for e in range(epochs):
            rows, _ = batch_order(len(data), batch_size, seed=seed, epoch=e)
            state = run(state, rows)
        scored = jax.jit(jax.vmap(self._loss_of, (0, 0, None)))
        return np.asarray(scored(state.params, state.buffers, self._batch(held, len(held))))


def _source(graph: Graph, step: str) -> str:
    writer = graph.writer()
    while step in writer:
        step = writer[step].inputs[0]
    return step


def _with_levels(graph: Graph, owner: Mapping[str, str]) -> Graph:
    """The graph with the levels of these quantizers in buffers `<quantizer>/low` and `/high`."""
    copy = graph.copy()
    copy.nodes = []
    for n in graph.nodes:
        if n.name in owner:
            ends = [
                copy.buffer(f"{n.name}/{k}", np.float32(v)).name
                for k, v in zip(("low", "high"), n.inputs[3:5], strict=True)
            ]
            n = n.replace(inputs=(*n.inputs[:3], *ends))
        copy.nodes.append(n)
    copy.metadata = {}
    return infer_shapes(copy.check())
