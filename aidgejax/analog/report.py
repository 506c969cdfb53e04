"""What the tiles of a graph look like, and how accuracy falls with noise or bits."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import numpy as np

from ..errors import GraphError
from ..execution.program import make_program
from ..graph import Graph
from .convert import input_ranges, layers

Arrays = dict[str, Any]


def describe(
    graph: Graph,
    batch: Arrays | None = None,
    *,
    params: Arrays | None = None,
    buffers: Arrays | None = None,
    key: Any = None,
) -> str:
    """A line for each tile: size, range, scales; with a batch also the share of inputs and outputs that is clipped."""
    held = {**graph.params, **graph.buffers, **(params or {}), **(buffers or {})}
    ranges = input_ranges(graph, params, buffers)
    shares = clipped_share(graph, batch, params=params, buffers=buffers, key=key) if batch else {}
    lines = [
        f"{'tile':24} {'weight':16} {'max |w|':>8} {'range':>8} {'scale':>17} {'in clipped':>11} {'out clipped':>12}"
    ]
    for layer in layers(graph):
        for part in layer.parts:
            name, w = part.prefix[:-1], np.asarray(held[f"{part.prefix}weight"])
            scales = held.get(f"{part.prefix}mapping_scales")
            scale = "-" if scales is None else f"{np.min(scales):.3g} to {np.max(scales):.3g}"
            into, out = shares.get(name, (None, None))
            share = lambda v: "-" if v is None else f"{100 * v:.2f} %"  # noqa: E731
            lines.append(
                f"{name:24} {'x'.join(map(str, w.shape)):16} {np.abs(w).max():8.3g} "
                f"{ranges.get(name, float('nan')):8.3g} {scale:>17} {share(into):>11} {share(out):>12}"
            )
    return "\n".join(lines)


def clipped_share(
    graph: Graph, batch: Arrays, *, params: Arrays | None = None, buffers: Arrays | None = None, key: Any = None
) -> dict[str, tuple[float | None, float | None]]:
    """{tile: (share of inputs outside the range, share of outputs at the bound)}; None where nothing is clipped."""
    if not layers(graph):
        raise GraphError(f"graph {graph.name!r} has no analog layers")
    twin = graph.copy()
    twin.outputs = []
    watched: dict[str, dict[str, Any]] = {}
    for layer in layers(graph):
        for part in layer.parts:
            watched[part.prefix[:-1]] = seen = {}
            for n in graph.nodes:
                if not n.name.startswith(part.prefix):
                    continue
                if n.op == "InputRange":
                    seen["in"] = n.inputs[:2]
                elif n.op == "Clip":  # the last of a tile is that of its outputs
                    seen["out"] = (n.inputs[0], layer.settings.io.out_bound)
            if layer.settings.io.out_bound <= 0 or layer.settings.io.is_perfect:
                seen.pop("out", None)
            for names in seen.values():
                twin.outputs += [i for i in names if isinstance(i, str)]
    twin.outputs = list(dict.fromkeys(twin.outputs))
    program = make_program(twin, wrt=[], seeds=[], training=False)
    fed = {k: v for k, v in batch.items() if k in twin.inputs}
    found, _, _ = jax.jit(lambda *a: program.forward(*a, key, save=False))(
        {**graph.params, **(params or {})}, {**graph.buffers, **(buffers or {})}, fed
    )

    def share(pair: tuple | None) -> float | None:
        if pair is None:
            return None
        x, bound = np.asarray(found[pair[0]]), found[pair[1]] if isinstance(pair[1], str) else pair[1]
        return float(np.mean(np.abs(x) > np.abs(np.reshape(np.asarray(bound), ()))))

    return {tile: (share(seen.get("in")), share(seen.get("out"))) for tile, seen in watched.items()}


def sweep(
    evaluate: Callable[[Any, Any], float],
    config: Any,
    field: str,
    values: Iterable[Any],
    *,
    draws: int = 5,
    seed: int = 0,
) -> list[dict[str, float]]:
    """How a figure changes with one field of a config: [{field: value, "mean", "low", "high"}], of `draws` noise keys.

    evaluate(config, key) -> the figure, accuracy for example; field: dotted, such as "forward.out_noise".
    """
    told = []
    for value in values:
        changed = copy.deepcopy(config)
        *where, last = field.split(".")
        owner = changed
        for w in where:
            owner = getattr(owner, w)
        if not hasattr(owner, last):
            raise GraphError(f"the config has no field {field!r}")
        setattr(owner, last, value)
        found = [float(evaluate(changed, jax.random.fold_in(jax.random.key(seed), d))) for d in range(draws)]
        told.append({field: value, "mean": float(np.mean(found)), "low": min(found), "high": max(found)})
    return told


def table(sweeps: Mapping[str, list[dict[str, float]]]) -> str:
    """Sweeps of several models side by side: a row for each value, mean (low to high) for each model."""
    field = next(iter(next(iter(sweeps.values()))[0]))
    names = list(sweeps)
    lines = [f"{field:24} " + " ".join(f"{n:>28}" for n in names)]
    for k in range(len(sweeps[names[0]])):
        rows = [sweeps[n][k] for n in names]
        lines.append(
            f"{rows[0][field]!s:24.24} "
            + " ".join(f"{r['mean']:>9.4f} ({r['low']:.4f} to {r['high']:.4f})".rjust(28) for r in rows)
        )
    return "\n".join(lines)


def picture(sweeps: Mapping[str, list[dict[str, float]]], path: str, ylabel: str = "accuracy") -> None:
    """The same as a picture, mean and spread over the draws.  Needs matplotlib."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    for name, rows in sweeps.items():
        field = next(iter(rows[0]))
        x = [r[field] for r in rows]
        (line,) = axes.plot(x, [r["mean"] for r in rows], marker="o", label=name)
        axes.fill_between(x, [r["low"] for r in rows], [r["high"] for r in rows], alpha=0.2, color=line.get_color())
        axes.set_xlabel(field)
    axes.set_ylabel(ylabel)
    axes.legend()
    figure.savefig(path, dpi=150)
    plt.close(figure)
