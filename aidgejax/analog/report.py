"""What the tiles of a graph look like."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from ..dtypes import Arrays
from ..errors import GraphError
from ..execution.program import make_program
from ..graph import Graph
from .convert import input_ranges, layers


def describe(
    graph: Graph,
    batch: Arrays | None = None,
    *,
    params: Arrays | None = None,
    buffers: Arrays | None = None,
    key: Any = None,
) -> str:
    """A line for each tile: size, range, scales; with a batch also the share of inputs and outputs that is clipped.

    key: of what the tiles draw meanwhile; default jax.random.key(0), so that one graph is described in one way.
    """
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
            share = lambda v: "-" if v is None else f"{100 * v:.2f} %"
            lines.append(
                f"{name:24} {'x'.join(map(str, w.shape)):16} {np.abs(w).max():8.3g} "
                f"{ranges.get(name, float('nan')):8.3g} {scale:>17} {share(into):>11} {share(out):>12}"
            )
    return "\n".join(lines)


def clipped_share(
    graph: Graph, batch: Arrays, *, params: Arrays | None = None, buffers: Arrays | None = None, key: Any = None
) -> dict[str, tuple[float | None, float | None]]:
    """{tile: (share of inputs outside the range, share of outputs at the bound)}; None where nothing is clipped.

    key: as for `describe`.
    """
    if not layers(graph):
        raise GraphError(f"graph {graph.name!r} has no analog layers")
    copy = graph.copy()
    copy.outputs = []
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
                copy.outputs += [i for i in names if isinstance(i, str)]
    copy.outputs = list(dict.fromkeys(copy.outputs))
    program = make_program(copy, wrt=[], seeds=[], training=False)
    fed = {k: v for k, v in batch.items() if k in copy.inputs}
    key = jax.random.key(0) if key is None else key
    run = jax.jit(lambda params, buffers, batch: program.forward(params, buffers, batch, key, save=False))
    found, _, _ = run({**graph.params, **(params or {})}, {**graph.buffers, **(buffers or {})}, fed)

    def share(pair: tuple | None) -> float | None:
        if pair is None:
            return None
        x, bound = np.asarray(found[pair[0]]), found[pair[1]] if isinstance(pair[1], str) else pair[1]
        return float(np.mean(np.abs(x) > np.abs(np.reshape(np.asarray(bound), ()))))

    return {tile: (share(seen.get("in")), share(seen.get("out"))) for tile, seen in watched.items()}
