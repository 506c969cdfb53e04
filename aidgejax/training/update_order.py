"""Parameters are overwritten once nothing reads them any more, so that XLA on CPU keeps no copy of them.

In a loop XLA may write a parameter's next value over the last one only where every reader is known to come before.
The product that passes a gradient on to an earlier layer reads the weight, and nothing says that the weight's update
comes after it: each weight but the first was copied in every step, a tenth of the step of a network of three products
and a third of its temporary memory.  So the rate waits for the gradients that are computed last.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from ..execution.program import Arrays
from ..execution.program_like import ProgramLike
from ..ops.materialize import materialize


def last_gradients(program: ProgramLike) -> tuple[str, ...]:
    """Of each node that reads a parameter and what others led to, the one parameter that was used first on the way.

    Its gradient needs that which the node passes on; one parameter of a chain stands for all of the others.
    """
    oldest = {w: w for w in program.wrt}
    used: dict[str, int] = {}
    found: dict[str, None] = {}
    for node in program.graph.nodes:
        ways = list(dict.fromkeys(oldest[name] for name in node.input_names if name in oldest))
        for w in ways:
            used.setdefault(w, len(used))
        if not ways:
            continue
        first = min(ways, key=used.__getitem__)
        if len(ways) > 1:
            found[first] = None
        oldest |= dict.fromkeys(node.output_names, first)
    return tuple(found)


def rate_after(rate: Any, grads: Arrays) -> Any:
    """The same rate, on a CPU known once these gradients are; None and arrays without an element are not waited for."""
    awaited = [g for g in grads.values() if g is not None and jnp.size(g)]
    return materialize(_unchanged, rate, awaited) if awaited else rate


def _unchanged(rate: Any, grads: Any) -> Any:
    seen = sum(g[(0,) * g.ndim].astype(jnp.float32) for g in grads)
    # No number is less, and NaN is not either; XLA does not see through it.
    return jnp.where(seen < -jnp.inf, 0.0, rate)
