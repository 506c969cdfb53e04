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
    roots = _Roots(first.jaxpr)
    found: dict[Any, int] = {}  # variable of the first -> its number among those handed over
    numbers: list[Any] = []  # variables of the first
    arrays: list[Any] = []
    places: list[tuple[bool, int, list[Any]] | None] = []
    for k, variable in enumerate(first.jaxpr.outvars[at : at + len(shapes)]):
        if k not in read:
            places.append(None)
            continue
        root, steps = roots.of(variable)
        one = root.aval.shape in ((), (1,)) and root.aval.dtype == jnp.float32
        known = None if isinstance(root, Literal) else found.get(root)
        if known is None:
            into = numbers if one else arrays
            known = len(into)
            into.append(root)
            if not isinstance(root, Literal):
                found[root] = known
        places.append((one, known, steps))
    first = first.replace(jaxpr=first.jaxpr.replace(outvars=[*first.jaxpr.outvars[:at], *numbers, *arrays]))
    forward_of, backward_of = jaxpr_as_fun(first), jaxpr_as_fun(second)

    def forward(*given: Any) -> tuple[list[Any], list[Any]]:
        outputs = forward_of(*jax.tree.leaves(given))
        ones, others = outputs[at : at + len(numbers)], outputs[at + len(numbers) :]
        packed = [jnp.stack([jnp.reshape(n, ()) for n in ones])] if ones else []
        # An output that is an input would be the caller's own memory, which may be written.
        own = [jnp.copy(o) if any(o is g for g in jax.tree.leaves(given)) else o for o in others]
        return outputs[:at], [*packed, *own]

    def backward(handed: Sequence[Any], *rest: Any) -> list[Any]:
        vector, others = (handed[0], handed[1:]) if numbers else (jnp.zeros(0), handed)
        leaves = []
        for place, shape in zip(places, shapes, strict=True):
            if place is None:
                leaves.append(jnp.zeros(shape.shape, shape.dtype))
                continue
            one, known, steps = place
            leaf = vector[known].reshape(numbers[known].aval.shape) if one else others[known]
            for eqn in steps:
                leaf = eqn.primitive.bind(leaf, **eqn.params)
            leaves.append(leaf)
        return backward_of(*leaves, *jax.tree.leaves(rest))

    handed = [jax.ShapeDtypeStruct(v.aval.shape, v.aval.dtype) for v in arrays]
    vector = [jax.ShapeDtypeStruct((len(numbers),), "float32")] if numbers else []
    return forward, backward, [*vector, *handed]


class _Roots:
    """What an array was before it was laid out otherwise: an output of a program has its axes in order, and so a
    transposed one would be written once more for it."""

    def __init__(self, jaxpr: Any) -> None:
        self._writers = {v: eqn for eqn in jaxpr.eqns for v in eqn.outvars}

    def of(self, variable: Any) -> tuple[Any, list[Any]]:
        """(the variable that is laid out, the steps in order)."""
        steps: list[Any] = []
        while not isinstance(variable, Literal) and variable in self._writers:
            eqn = self._writers[variable]
            if eqn.primitive.name not in ("transpose", "reshape", "squeeze", "expand_dims"):
                break
            if isinstance(eqn.invars[0], Literal) or eqn.invars[0] not in self._writers:
                break
            steps.append(eqn)
            variable = eqn.invars[0]
        return variable, steps[::-1]


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
