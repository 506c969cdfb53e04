"""How a figure, accuracy for example, changes with noise, bits or time: measured, as a table, as a picture."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import numpy as np

from ..errors import GraphError, SettingError


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
    rows = []
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
        rows.append({field: value, "mean": float(np.mean(found)), "low": min(found), "high": max(found)})
    return rows


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
    """The same as a picture, mean and spread over the draws.  SettingError where matplotlib is missing."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise SettingError('matplotlib is missing: pip install "aidgejax[examples]" brings it') from None
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for name, rows in sweeps.items():
        field = next(iter(rows[0]))
        x = [r[field] for r in rows]
        (line,) = axes.plot(x, [r["mean"] for r in rows], marker="o", label=name)
        axes.fill_between(x, [r["low"] for r in rows], [r["high"] for r in rows], alpha=0.2, color=line.get_color())
        axes.set_xlabel("t (s)" if field == "t" else field)
        if field == "t":  # from a second to a year
            axes.set_xscale("symlog" if min(x) <= 0 else "log")
    axes.set_ylabel(ylabel)
    axes.legend()
    figure.savefig(path, dpi=150)
