"""Steps and zero points of activations from data: one pass, whose memory does not grow with the data.

    q = calibrate(q, batches, "mse")

The network runs with its activations in floating point; each tensor that is to be quantized fills a histogram on the
device.  From these the steps are chosen.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from ..arguments import checked_call
from ..errors import DataError, GraphError, SettingError
from ..execution.program import make_program
from ..graph import Graph, Node
from ..passes.edit import passed_on
from . import histogram
from .batches import Batches, each_batch
from .convert import layers
from .histogram import Histogram
from .notes import memory, noted, restored
from .steps import TINY, candidates, covering

METHODS = ("max", "percentile", "mse", "kl", "sigma")


@checked_call
def calibrate(
    graph: Graph, data: Batches, method: str = "mse", *, percentile: float = 99.99, sigmas: float = 4.0
) -> Graph:
    """The graph with the step (and zero point) of every activation set from data.

    data: a Dataset, {input: array}, or batches {input: array}; labels are not needed.
    method: "max": nothing is cut off.  "percentile": this share (in %) of the values is kept.  "mse": the least squared
    error.  "kl": the least Kullback-Leibler divergence of the quantized distribution (Migacz 2017).  "sigma": so many
    root mean squares.  Tensors on one grid are looked at together.
    Raises GraphError where nothing is quantized, DataError for data that do not fit.
    """
    if method not in METHODS:
        raise SettingError(f"calibration {method!r}: expected one of {', '.join(METHODS)}")
    for name, value, most in (("percentile", percentile, 100.0), ("sigmas", sigmas, np.inf)):
        if not isinstance(value, int | float | np.number) or not 0 < value <= most or not np.isfinite(value):
            upto = " up to 100" if most == 100.0 else ""
            raise SettingError(f"{name} is {value!r}: expected a number above 0{upto}")
    graph = restored(graph)
    quantizers = activation_quantizers(graph)
    if not quantizers:
        raise GraphError(f"graph {graph.name!r} has no quantized activation: convert it first")
    found = distributions(graph, quantizers, data)
    groups: dict[str, list[Node]] = {}
    for n in quantizers:
        groups.setdefault(n.inputs[1], []).append(n)
    copy = graph.copy()
    for step, nodes in groups.items():
        held, shifts = _step_parameter(graph, step)
        if held is None:
            continue
        nodes.sort(key=lambda n: n.inputs[2] is None)  # those with a zero point first
        tries = [(found[n.name], int(n.inputs[3]), int(n.inputs[4])) for n in nodes]
        chosen, zero = choose(tries, method, shifts, nodes[0].inputs[2] is not None, percentile, sigmas)
        copy.producers[held].data = np.asarray(chosen, np.float32).reshape(copy.producers[held].data.shape)
        for n in nodes:
            if n.inputs[2] in copy.producers:
                copy.producers[n.inputs[2]].data = np.asarray(zero, np.float32)
    return noted(copy, calibrated=method)


@checked_call
def is_calibrated(graph: Graph) -> bool:
    return "calibrated" in memory(graph)


def activation_quantizers(graph: Graph) -> list[Node]:
    """The FakeQuantize nodes of data, as against weights."""
    weights = {layer.weight.name for layer in layers(graph)}
    return [n for n in graph.nodes if n.op == "FakeQuantize" and n.name not in weights]


def bypassed(graph: Graph, quantizers: list[Node]) -> Graph:
    """The graph with these quantizers left out."""
    skip = {n.name for n in quantizers}
    copy = graph.map_nodes(lambda n: passed_on(n) if n.name in skip else n)
    copy.metadata = {}
    return copy


def distributions(graph: Graph, quantizers: list[Node], data: Batches) -> dict[str, Histogram]:
    """{quantizer: the histogram of what it is given}, with no activation quantized."""
    watch = bypassed(graph, quantizers)
    watch.outputs = []
    for n in quantizers:
        watch.outputs += [n.inputs[0]] if n.inputs[0] not in watch.outputs else []
    watch.prune()
    used = {i for n in watch.nodes for i in n.input_names} | set(watch.outputs)
    watch.inputs = {k: v for k, v in watch.inputs.items() if k in used}
    program = make_program(watch, wrt=[], training=False)

    def look(state: Histogram, params: Any, buffers: Any, batch: dict[str, Any]) -> Histogram:
        seen, _, _ = program.forward(params, buffers, batch, jax.random.key(0), save=False)
        return histogram.add(state, [seen[t] for t in watch.outputs])

    step: Callable[..., Histogram] = jax.jit(look, donate_argnums=0)
    held = histogram.empty(len(watch.outputs))
    for batch in each_batch(watch, data):
        held = step(held, watch.params, watch.buffers, batch)
    held = jax.device_get(held)
    state = {t: Histogram(*(field[k] for field in held)) for k, t in enumerate(watch.outputs)}
    bad = [t for t, h in state.items() if not np.isfinite([h.low, h.high]).all()]
    if bad:
        raise GraphError(f"graph {graph.name!r}: {graph.value(bad[0])} is not finite on the calibration data")
    flat = [t for t, h in state.items() if t in graph.inputs and h.low == 0 == h.high]
    if flat:
        raise DataError(f"column {flat[0]!r} is zero in all rows of the calibration data: no range can be read off it")
    return {n.name: state[n.inputs[0]] for n in quantizers}


def _step_parameter(graph: Graph, step: str) -> tuple[str | None, bool]:
    """(the producer that a step is made of, is it rounded to a power of two?); None where it is computed otherwise."""
    node = graph.writer().get(step)
    if node is None:
        return step if step in graph.producers else None, False
    if node.op == "PowerOfTwo" and node.inputs[0] in graph.producers:
        return node.inputs[0], True
    return None, False


# ---- choosing -----------------------------------------------------------------------------------------


def choose(
    seen: list[tuple[Histogram, int, int]],
    method: str,
    shifts: bool,
    asymmetric: bool,
    percentile: float = 99.99,
    sigmas: float = 4.0,
) -> tuple[float, float]:
    """(step, zero point) for tensors that share them: (histogram, lowest, highest level) each."""
    if asymmetric:
        low, high = min(float(h.low) for h, _, _ in seen), max(float(h.high) for h, _, _ in seen)
        _, first, last = seen[0]
        if method == "percentile":
            shares = [_share(h, percentile) for h, _, _ in seen]
            low, high = min(a for a, _ in shares), max(b for _, b in shares)
        step = max((max(high, 0.0) - min(low, 0.0)) / (last - first), TINY)
        step = float(candidates(step, True)[1]) if shifts else step
        return step, float(np.clip(np.rint(first - min(low, 0.0) / step), first, last))
    cover = max(float(covering(np.minimum(h.low, 0), np.maximum(h.high, 0), a, b)) for h, a, b in seen)
    if method == "max":
        return cover, 0.0
    if method in ("percentile", "sigma"):
        need = 0.0
        for h, a, b in seen:
            if method == "sigma":
                reach = sigmas * float(np.sqrt(h.squares / max(float(h.size), 1.0)))
                ends = max(float(h.low), -reach), min(float(h.high), reach)
            else:
                ends = _share(h, percentile)
            need = max(need, float(covering(min(ends[0], 0.0), max(ends[1], 0.0), a, b)))
        return max(need, TINY), 0.0
    tries = np.unique(candidates(cover, shifts).reshape(-1))
    cost = _divergence if method == "kl" else _squared_error
    errors = [sum(cost(h, s, a, b) for h, a, b in seen) for s in tries]
    return float(tries[int(np.argmin(errors))]), 0.0


def _share(h: Histogram, percent: float) -> tuple[float, float]:
    """The ends between which this share lies, half of the rest beyond each."""
    values, counts = histogram.points(h)
    upto = np.cumsum(counts) / counts.sum()
    rest = (1 - percent / 100) / 2
    if rest == 0:
        return float(h.low), float(h.high)
    low = float(h.low) if rest < upto[0] else float(values[np.searchsorted(upto, rest)])
    return low, float(values[min(int(np.searchsorted(upto, 1 - rest)), len(values) - 1)])


def _squared_error(h: Histogram, step: float, low: int, high: int) -> float:
    """Of the values, each bin spread evenly: inside a level's reach a bin wider than the step errs by step^2 / 12."""
    values, counts = histogram.points(h)
    q = np.clip(np.rint(values / step), low, high) * step
    width = float(h.top) / histogram.BINS
    inside = (values >= (low - 0.5) * step) & (values <= (high + 0.5) * step)
    error = np.where(inside & (width > step), step**2 / 12, (q - values) ** 2)
    return float(np.sum(counts * error))


def _divergence(h: Histogram, step: float, low: int, high: int) -> float:
    """KL(values cut off at the ends || values spread evenly over the non-empty bins of their level)."""
    values, counts = histogram.points(h)
    level = np.clip(np.rint(values / step), low, high).astype(int) - low
    cut = (values < (low - 0.5) * step) | (values > (high + 0.5) * step)
    p = np.where(cut, 0, counts)
    whole = np.flatnonzero(~cut) if (~cut).any() else np.zeros(1, int)
    p[whole[0]] += counts[values < (low - 0.5) * step].sum()
    p[whole[-1]] += counts[values > (high + 0.5) * step].sum()
    kept = np.where(cut, 0, counts)
    total = np.bincount(level, kept, high - low + 1)
    bins = np.bincount(level, kept > 0, high - low + 1)
    q = np.where(kept > 0, total[level] / np.maximum(bins[level], 1), 0)
    p, q = p / p.sum(), q / max(q.sum(), 1e-30)
    both = p > 0
    return float(np.sum(p[both] * np.log(p[both] / np.maximum(q[both], 1e-12))))
