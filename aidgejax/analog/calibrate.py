"""Setting input ranges from data: the four calibrations of aihwkit.

    state = calibrate(analog_graph, batches, "MAX", params=state.params, buffers=state.buffers)

Data flows through the graph outside training.  MAX, CACHE_QUANTILE: every product is ideal, and inputs are clipped only
where a range is already set (a range that init_from_data has still to set clips nothing).  The other two: ranges move
as batches come.  Then each tile's range is set.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..dtypes import Arrays
from ..errors import GraphError, SettingError
from ..execution.program import make_program
from ..graph import Graph, Node
from ..ops.analog import spread

CALIBRATIONS = ("MAX", "CACHE_QUANTILE", "MOVING_QUANTILE", "MOVING_STD")


def calibrate(
    graph: Graph,
    batches: Iterable[Arrays],
    kind: str = "MAX",
    *,
    quantile: float = 0.99995,
    max_samples: int = 1000,
    std_alpha: float | None = None,
    params: Arrays | None = None,
    buffers: Arrays | None = None,
    key: Any = None,
) -> tuple[Arrays, Arrays]:
    """(params, buffers) with the input range of every tile that has one set from these batches, {input: array} each.

    MAX: the largest |x|.  CACHE_QUANTILE: the quantile of all x (signed), of at most max_samples rows.
    MOVING_QUANTILE: mean over batches of each one's quantile (of |x| where quantile is 1).  MOVING_STD: mean of
    std_alpha (default: the layer's init_std_alpha) times the standard deviation.  Rows of zeros do not count.  The
    moving means go on from the range and counter that are there, batch k with weight 1 / (k + 1), as aihwkit's.
    Afterwards the ranges are no longer set by the first batches of training: build the graph with init_from_data=0, or
    leave the counter as it is returned, beyond init_from_data.
    """
    if kind not in CALIBRATIONS:
        raise SettingError(f"calibration {kind!r}: expected one of {', '.join(CALIBRATIONS)}")
    if not 0 < quantile <= 1:
        raise SettingError(f"quantile is {quantile!r}: expected a fraction above 0 and at most 1")
    params = dict(graph.params if params is None else params)
    buffers = dict(graph.buffers if buffers is None else buffers)
    tiles = {n.inputs[1].removesuffix("input_range"): n for n in graph.nodes if n.op == "InputRangeInit"}
    if not tiles:
        raise GraphError(
            f"graph {graph.name!r} has no tile with an input range to calibrate: convert it with a config "
            f"whose pre_post.input_range.enable is True"
        )
    clipping = tuple(
        t
        for t, n in tiles.items()
        if float(np.reshape(buffers[f"{t}input_range_update_idx"], ())) >= n.attrs["init_from_data"]
    )
    watch = _watching(graph, tiles, kind in ("MAX", "CACHE_QUANTILE"), clipping)
    alphas = {t: std_alpha if std_alpha is not None else n.attrs["init_std_alpha"] for t, n in tiles.items()}
    measure = Measure(kind, quantile, max_samples, alphas)
    for b, batch in enumerate(batches):
        now = None if key is None else jax.random.fold_in(key, b)
        seen = watch(params, buffers, batch, now)
        for n, tile in enumerate(tiles):
            # A range that moves changes what the tiles behind it see of this very batch.
            if n and kind.startswith("MOVING"):
                seen = watch(params, buffers, batch, now)
            x = seen[tile]
            at = params if f"{tile}input_range" in params else buffers
            r, k = at[f"{tile}input_range"], buffers[f"{tile}input_range_update_idx"]
            r, k = measure.take(tile, rows(x), r, k)
            at[f"{tile}input_range"], buffers[f"{tile}input_range_update_idx"] = r, k
    for tile in tiles:
        found = measure.result(tile)
        if found is not None:
            at = params if f"{tile}input_range" in params else buffers
            at[f"{tile}input_range"] = jnp.full(1, found, jnp.float32)
    return params, buffers


def rows(x: Any) -> np.ndarray:
    """f[n, features], without those rows that are all zero."""
    x = np.asarray(x)
    x = x.reshape(-1, x.shape[-1])
    return x[np.any(x != 0, axis=1)]


class Measure:
    """What is known of each tile's inputs so far."""

    def __init__(self, kind: str, quantile: float, max_samples: int, alphas: dict[str, float]) -> None:
        self.kind, self.quantile, self.max_samples, self.alphas = kind, quantile, max_samples, alphas
        self.largest: dict[str, float] = {}
        self.cache: dict[str, np.ndarray] = {}

    def take(self, tile: str, x: np.ndarray, r: Any, k: Any) -> tuple[Any, Any]:
        """The range and counter after these rows."""
        if x.size == 0:
            return r, k
        if self.kind == "MAX":
            self.largest[tile] = max(self.largest.get(tile, 0.0), float(np.abs(x).max()))
            return r, k
        if self.kind == "CACHE_QUANTILE":
            old = self.cache.get(tile)
            x = x if old is None else np.concatenate([old, x])
            if len(x) > self.max_samples:
                x = x[np.random.default_rng(len(x)).permutation(len(x))[: self.max_samples]]
            self.cache[tile] = x
            return r, k
        if self.kind == "MOVING_STD":
            if float(np.reshape(k, ())) >= self.max_samples:
                return r, k
            now = self.alphas[tile] * float(spread(jnp.asarray(x)))
        else:
            now = float(np.abs(x).max()) if self.quantile == 1 else float(np.quantile(x, self.quantile))
        return (jnp.asarray(r) * k + now) / (jnp.asarray(k) + 1), jnp.asarray(k) + 1

    def result(self, tile: str) -> float | None:
        if self.kind == "MAX":
            return self.largest.get(tile)
        return float(np.quantile(self.cache[tile], self.quantile)) if tile in self.cache else None


def _watching(
    graph: Graph, tiles: dict[str, Node], ideal: bool, clipping: tuple[str, ...]
) -> Callable[[Arrays, Arrays, Arrays, Any], Arrays]:
    """f(params, buffers, batch, key) -> {tile: its input, features last}, one compiled call."""
    copy = graph.copy()
    if ideal:
        copy.nodes = [_ideal(n, tuple(tiles), clipping) for n in copy.nodes]
    ins = {t: n.inputs[0] for t, n in tiles.items()}
    copy.outputs = list(dict.fromkeys([*ins.values()]))
    copy.prune()
    program = make_program(copy, wrt=[], seeds=[], training=False)
    given = {*program.graph.inputs}

    @jax.jit
    def run(params: Arrays, buffers: Arrays, batch: Arrays, key: Any) -> Arrays:
        found, _, _ = program.forward(params, buffers, batch, key, save=False)
        return {t: _features_last(found[i], graph, tiles[t]) for t, i in ins.items()}

    return lambda params, buffers, batch, key: run(params, buffers, {k: v for k, v in batch.items() if k in given}, key)


def _features_last(x: Any, graph: Graph, node: Node) -> Any:
    rank = graph.value(node.inputs[0]).rank
    weight = graph.producers[node.inputs[1].removesuffix("input_range") + "weight"].data
    return jnp.moveaxis(x, 1, -1) if weight.ndim > 2 and rank == weight.ndim else x


def _ideal(node: Node, tiles: tuple[str, ...], clipping: tuple[str, ...]) -> Node:
    """The node without what its tile does to a perfect product; a range is left to the tiles that clip."""
    if not node.name.startswith(tiles) or (node.op == "InputRange" and node.name.startswith(clipping)):
        return node
    passed_on = {"RoundTo": 0, "InputRange": 0, "Clip": 0, "Where": 2}
    if node.op in passed_on or node.name.endswith(".out_scale"):
        return node.replace(op="Identity", inputs=(node.inputs[passed_on.get(node.op, 0)],), attrs={})
    if node.op in ("GaussianNoise", "RandomUniformLike"):
        return node.replace(op="ZerosLike", attrs={})
    return node
