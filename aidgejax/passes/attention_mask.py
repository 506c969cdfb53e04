"""The mask of an attention that was found: the one tensor that Attention adds, or the one that says who sees whom.

What hides by minus infinity alone stays a bool tensor; a lower triangle that is known is the attribute is_causal.
Where(visible, scores, -1e9) is not quite adding -1e9: a query that sees nothing then has equal weights, whatever its
scores; so the queries of such rows are set to zero (`Mask.seen`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..graph import Builder, Graph, Value
from .attention_search import LARGE, Found, Placed, Step
from .constants import constant_value


@dataclass
class Mask:
    """tensor: bool or float, or None.  seen: bool[.., 1], False for queries that see nothing; None: not to be asked."""

    tensor: Value | None
    causal: bool = False
    seen: Value | None = None


def mask_of(graph: Graph, found: Found, op: Builder, dtype: str | None) -> Mask | None:
    """What the steps between product and Softmax come to; None where it cannot be written.  graph: to write into."""
    masks = [s for s in found.steps if s.kind != "times"]
    tables = {id(s): _visible(graph, found, s) for s in masks}
    causal = [s for s in masks if _is_causal(tables[id(s)], found, s, alone=len(masks) == 1)]
    steps = [s for s in found.steps if s not in causal]
    rest = [s for s in steps if s.kind != "times"]
    writer = _Writer(graph, found, op, dtype)
    if all(s.kind == "where" and s.fill == -np.inf for s in rest):
        total = writer.condition(rest) if rest else None
        return None if rest and total is None else Mask(total, bool(causal))
    bias: Value | None = None
    for step in steps:
        bias = writer.then(bias, step)
        if bias is None and step.kind != "times":
            return None
    finite = [s for s in rest if s.kind == "where" and s.fill != -np.inf]
    known = [t for s in masks if s.kind == "where" and (t := tables[id(s)]) is not None]
    if not finite or (len(known) == len([s for s in masks if s.kind == "where"]) and _all_see(known)):
        return Mask(bias, bool(causal))
    seen = writer.seen([s for s in masks if s.kind == "where"])
    return None if seen is None else Mask(bias, bool(causal), seen)


def _all_see(tables: list[np.ndarray]) -> bool:
    together = tables[0]
    for table in tables[1:]:
        together = together & table
    return bool(np.all(np.any(together, axis=-1)))


def _visible(graph: Graph, found: Found, step: Step) -> np.ndarray | None:
    """bool[queries, keys] of a mask that is known and the same for all heads; None for another."""
    if step.tensor is None:
        return None
    value = constant_value(graph, step.tensor.name)
    layout = found.axes.settled(step.tensor.layout)
    if value is None or len(layout) < 2 or layout[-2:] != (found.query, found.key):
        return None
    tables = np.reshape(value, (-1, *np.shape(value)[-2:]))
    if not len(tables) or np.any(tables != tables[0]):
        return None
    if step.kind == "where":
        return tables[0].astype(bool) == step.keep
    if step.kind == "add" and np.all((tables[0] == 0) | (tables[0] <= LARGE)):
        return np.asarray(tables[0] == 0)
    return None


def _is_causal(table: np.ndarray | None, found: Found, step: Step, alone: bool) -> bool:
    """A lower triangle, that hides for good: by minus infinity, or by a large number if nothing else hides."""
    if table is None or table.shape[0] != table.shape[1] or found.axes.size(found.query) != len(table):
        return False
    for_good = alone or (step.kind == "where" and step.fill == -np.inf)
    return for_good and np.array_equal(table, np.tril(np.ones_like(table)))


@dataclass
class _Writer:
    graph: Graph
    found: Found
    op: Builder
    dtype: str | None

    def placed(self, tensor: Placed) -> Value | None:
        """A mask's tensor as Attention takes it: [batch, heads, queries, keys], or fewer axes from the front."""
        f = self.found
        want = f.axes.settled((f.batch, f.heads, f.query, f.key))
        have, value = f.axes.settled(tensor.layout), self.graph.value(tensor.name)
        short = want[len(want) - len(have) :] if 2 <= len(have) <= 4 else ()
        if short and all(g in ((), w) for g, w in zip(have, short, strict=True)):
            return value
        return f.axes.converted(self.op, value, have, want)

    def number(self, value: float) -> Any:
        """A constant of the queries' dtype."""
        dtype = self.dtype or "float32"
        name = self.graph.fresh(f"{self.found.final.name}/mask.number")
        return self.graph.constant(name, np.asarray(value, dtype)) if dtype != "bfloat16" else value

    def then(self, bias: Value | None, step: Step) -> Value | None:
        """What is added to the scores, after one more step."""
        if step.kind == "times":
            return None if bias is None else self.op.Mul(bias, self.number(step.fill))
        mask = None if step.tensor is None else self.placed(step.tensor)
        if mask is None or step.tensor is None:
            return None
        if step.kind == "where":
            shown = self.number(0.0) if bias is None else bias
            hidden = self.number(step.fill)
            return self.op.Where(mask, *((shown, hidden) if step.keep else (hidden, shown)))
        if self.graph.value(step.tensor.name).dtype != self.dtype:
            mask = self.op.CastLike(mask, self.graph.value(self.found.q[0].name))
        mask = self.op.Neg(mask) if step.kind == "subtract" else mask
        return mask if bias is None else self.op.Add(bias, mask)

    def condition(self, steps: list[Step]) -> Value | None:
        """bool: who sees whom by all of these Where."""
        total: Value | None = None
        for step in steps:
            part = None if step.tensor is None else self.placed(step.tensor)
            if part is None:
                return None
            part = part if step.keep else self.op.Not(part)
            total = part if total is None else self.op.And(total, part)
        return total

    def seen(self, steps: list[Step]) -> Value | None:
        """bool[.., 1]: does a query see anything?"""
        visible = self.condition(steps)
        if visible is None:
            return None
        return self.op.ReduceMax(visible, (-1,), keepdims=1)
