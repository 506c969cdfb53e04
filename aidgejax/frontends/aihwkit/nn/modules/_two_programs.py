"""Forward and backward as two compiled programs that hand over no more than the second one reads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Literal, jaxpr_as_fun


def two_programs(
    run: Callable[..., Any],
    back: Callable[..., Any] | None,
    given: Sequence[Any],
    rest: Callable[[Any], Sequence[Any]],
) -> tuple[Callable[..., Any], Callable[..., Any], list[Any]]:
    """(forward, backward, shapes of handed): forward(*given) -> (leaves of front, handed); backward(handed, *rest).

    Neither is compiled.  run(*given) -> (front, saved); back(saved, *rest) -> a tree, whose leaves backward gives;
    None: nothing is handed over.  given, and rest(shapes of front), are shapes of arrays.  Of saved, an array is
    handed over once even if it stands there twice, not at all if back asks for its shape alone, and all that are one
    number of float32 are one vector: an output of a program, and an input, costs microseconds and a pass over memory.
    """
    first, (front, saved) = jax.make_jaxpr(run, return_shape=True)(*given)
    at = len(jax.tree.leaves(front))
    shapes = jax.tree.leaves(saved)
    if back is None:
        shapes, back = [], lambda *_: ()
    second = jax.make_jaxpr(back)(saved, *rest(front))
    read = _read_inputs(second.jaxpr)
    found: dict[Any, int] = {}  # variable of the first -> its number among those handed over
    numbers: list[int] = []  # outputs of the first
    arrays: list[int] = []
    places: list[tuple[bool, int] | None] = []
    for k, (variable, shape) in enumerate(zip(first.jaxpr.outvars[at:], shapes, strict=False)):
        if k not in read:
            places.append(None)
            continue
        one = shape.shape in ((), (1,)) and shape.dtype == jnp.float32
        known = None if isinstance(variable, Literal) else found.get(variable)
        if known is None:
            into = numbers if one else arrays
            known = len(into)
            into.append(at + k)
            if not isinstance(variable, Literal):
                found[variable] = known
        places.append((one, known))
    forward_of, backward_of = jaxpr_as_fun(first), jaxpr_as_fun(second)

    def forward(*given: Any) -> tuple[list[Any], list[Any]]:
        outputs = forward_of(*jax.tree.leaves(given))
        packed = [jnp.stack([jnp.reshape(outputs[n], ()) for n in numbers])] if numbers else []
        return outputs[:at], [*packed, *(outputs[n] for n in arrays)]

    def backward(handed: Sequence[Any], *rest: Any) -> list[Any]:
        vector, others = (handed[0], handed[1:]) if numbers else (jnp.zeros(0), handed)
        leaves = []
        for place, shape in zip(places, shapes, strict=True):
            if place is None:
                leaves.append(jnp.zeros(shape.shape, shape.dtype))
            else:
                leaves.append(vector[place[1]].reshape(shape.shape) if place[0] else others[place[1]])
        return backward_of(*leaves, *jax.tree.leaves(rest))

    vector = [jax.ShapeDtypeStruct((len(numbers),), "float32")] if numbers else []
    return forward, backward, [*vector, *(shapes[n - at] for n in arrays)]


def _read_inputs(jaxpr: Any) -> set[int]:
    """Numbers of the inputs that some output depends on."""
    needed = _variables(jaxpr.outvars)
    for eqn in reversed(jaxpr.eqns):
        if eqn.effects or needed.intersection(eqn.outvars):
            inner = eqn.params.get("jaxpr") if eqn.primitive.name in ("pjit", "jit") else None
            if inner is None:
                needed |= _variables(eqn.invars)
            else:
                reads = _read_inputs(inner.jaxpr)
                needed |= _variables(v for k, v in enumerate(eqn.invars) if k in reads)
    return {k for k, v in enumerate(jaxpr.invars) if v in needed}


def _variables(atoms: Iterable[Any]) -> set[Any]:
    return {a for a in atoms if not isinstance(a, Literal)}
