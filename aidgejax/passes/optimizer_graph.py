"""One update of all parameters by an optimizer, as an explicit graph: its rule is traced, not written a second time."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from ..errors import SettingError
from ..graph import Graph, Value
from .from_jax import as_graph
from .gradient import grad_name
from .gradient_norm import scaled_to_norm

COUNTER = "seen"  # the field of a state that counts the updates made
MASTER = "master"  # what the float32 weights of a 16-bit parameter are called here


class Rule(Protocol):
    """What training.optim's optimizers offer."""

    @property
    def init(self) -> Callable[[Any], Any]: ...

    @property
    def update(self) -> Callable[[Any, Any, Any, Any], tuple[Any, Any]]: ...


@dataclass(frozen=True)
class StateTensor:
    """One tensor of an optimizer's state.

    parameter: whose it is; None where all parameters share it.  field: what the optimizer calls it.
    initial: what it holds before the first update.
    """

    name: str
    parameter: str | None
    field: str
    initial: np.ndarray


@dataclass(frozen=True)
class OptimizerGraph:
    """graph: rate, counter, state, p and p_grad of each parameter p -> `<name>_out` of all of them but p_grad."""

    graph: Graph
    state: tuple[StateTensor, ...]
    counter: str
    rate: str | None


def optimizer_graph(
    rule: Rule,
    parameters: Mapping[str, np.ndarray],
    *,
    rate: str = "learning_rate",
    rate_dtype: str = "float32",
    schedule: Callable[[Any], Any] | float | None = None,
    max_norm: float | None = None,
    counter: str = "updates",
    counter_type: tuple[str, bool] = ("int32", False),
    name_of: Callable[[str | None, str, int], str] | None = None,
) -> OptimizerGraph:
    """The update of `parameters` by `rule`, an optimizer of training.optim.

    rate, counter: names of the inputs that hold the learning rate, f[], and the updates made so far, i[].
    schedule: a function of the updates made so far, or one number; the graph then has no input for the rate.
    max_norm: gradients are clipped to this common norm first.
    counter_type: (dtype, one_based).  one_based: the counter is i[1] and is the number of this update, as in ONNX
        Runtime's optimizer models; 0 means 1 too.
    name_of(parameter, field, k): what the k-th state tensor of a parameter is called; default "<parameter>.<field>".
        A tensor that all parameters share, a running power of beta, has None for its parameter.
    Raises GraphError where the rule uses what has no form as a node, SettingError without parameters.
    """
    if max_norm is not None and not (isinstance(max_norm, int | float) and 0 < max_norm < float("inf")):
        raise SettingError(f"the norm to clip gradients to is {max_norm!r}; expected a number above 0")
    if not (schedule is None or callable(schedule) or isinstance(schedule, int | float) and 0 <= schedule < math.inf):
        raise SettingError(f"schedule is {schedule!r}: expected a function of the step, or a number of at least 0")
    if not parameters:
        raise SettingError("an optimizer's graph needs parameters to update, and there are none")
    name_of = name_of or (lambda p, field, k: f"{p}.{field}" if p is not None else f"optimizer.{field}")
    with jax.enable_x64(True):
        held = {p: jnp.asarray(a) for p, a in parameters.items()}
        tree: Any
        leaves, tree = jax.tree_util.tree_flatten_with_path(rule.init(held))
    where = [_where(path, parameters) for path, _ in leaves]
    initial = [np.asarray(leaf) for _, leaf in leaves]
    shared = _shared(where, initial)
    dtype, one_based = counter_type
    slots: dict[str, StateTensor] = {}
    called: list[str | None] = []  # for each leaf of the state its input; None: the counter
    for (parameter, field), array in zip(where, initial, strict=True):
        if field == COUNTER:
            called.append(None)
            continue
        owner = None if field in shared else parameter
        k = sum(s.parameter == owner and s.field != MASTER for s in slots.values())
        name = next((s.name for s in slots.values() if s.parameter == owner and s.field == field), None)
        if name is None:
            name = name_of(owner, field, k)
            slots[name] = StateTensor(name, owner, field, array)
        called.append(name)

    rate_at = schedule if callable(schedule) or schedule is None else lambda step: jnp.asarray(schedule, rate_dtype)
    order = list(parameters)
    inputs = [] if schedule is not None else [Value(rate, (), rate_dtype)]
    inputs += [Value(counter, (1,) if one_based else (), dtype)]
    inputs += [Value(p, a.shape, a.dtype.name) for p, a in parameters.items()]
    inputs += [Value(grad_name(p), a.shape, a.dtype.name) for p, a in parameters.items()]
    inputs += [Value(s.name, s.initial.shape, s.initial.dtype.name) for s in slots.values()]
    outputs = [f"{counter}_out", *(f"{p}_out" for p in order)]
    outputs += [f"{s}_out" for s in slots]

    def update(*arrays: Any) -> list[Any]:
        given = dict(zip((v.name for v in inputs), arrays, strict=True))
        this = jnp.maximum(given[counter], 1) if one_based else given[counter]
        seen = (this - 1).reshape(()) if one_based else this
        seen = seen.astype(jnp.int32)  # as optimizers keep it: their limits are that dtype's
        state = tree.unflatten([seen if n is None else given[n] for n in called])
        grads = {p: given[grad_name(p)] for p in order}
        params, state = rule.update(
            {p: given[p] for p in order},
            grads if max_norm is None else scaled_to_norm(grads, max_norm),
            state,
            given[rate] if rate_at is None else rate_at(seen),
        )
        found: dict[str, Any] = {}
        for name, leaf in zip(called, jax.tree.leaves(state), strict=True):
            found.setdefault(name or "", leaf)
        return [this + 1, *(params[p] for p in order), *(found[s] for s in slots)]

    made = as_graph("optimizer", update, inputs, outputs)
    return OptimizerGraph(made, tuple(slots.values()), counter, rate if schedule is None else None)


def _where(path: tuple[Any, ...], parameters: Mapping[str, Any]) -> tuple[str | None, str]:
    """(parameter, field) of a leaf of the state; the parameter is None where the state is not one per parameter."""
    first, *rest = path or (None,)
    owner = getattr(first, "key", None)
    if owner not in parameters:
        owner, rest = None, list(path)
    keys = [getattr(k, "name", getattr(k, "key", getattr(k, "idx", None))) for k in rest]
    if keys[:1] == ["state"]:  # behind a Master, a 16-bit parameter's float32 weights
        keys = keys[1:]
    elif keys == ["weights"]:
        keys = [MASTER]
    return owner, ".".join(map(str, keys)) or "state"


def _shared(where: list[tuple[str | None, str]], initial: list[np.ndarray]) -> set[str]:
    """Fields that are numbers, the same for every parameter: running powers, counters."""
    groups: dict[str, list[np.ndarray]] = {}
    for (_, field), array in zip(where, initial, strict=True):
        groups.setdefault(field, []).append(array)
    return {
        field
        for field, arrays in groups.items()
        if field.split(".")[0] == "powers" and all(a.ndim == 0 and a == arrays[0] for a in arrays)
    }
