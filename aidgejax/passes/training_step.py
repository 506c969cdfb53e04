"""A whole training step as one explicit graph: forward, loss, gradient, optimizer; state goes in and comes out.

    step = make_step_graph(graph, optim.adam(), loss="loss")
    step.graph     # batch, scalars and state -> loss, and the next state
    step.initial   # the state before the first step

What it computes is what training.loop's step computes: the same joint graph, the same optimizer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..errors import GraphError, SettingError
from ..graph import Builder, Graph, Value
from ..interpreter.shape_inference import infer_shapes
from ..ops import lookup
from .edit import inline, with_renamed_tensors
from .from_jax import as_graph
from .gradient import grad_name
from .joint import make_joint
from .mode import normalized, state_updates
from .optimizer_graph import OptimizerGraph, Rule, optimizer_graph
from .seeded import with_seeded_draws

RATE, SEED, UPDATES, BATCHES = "learning_rate", "seed", "updates", "batches"


@dataclass(frozen=True)
class StepGraph:
    """graph: inputs batch, scalars, state -> outputs loss, further outputs, the next state.

    state: {input: the output that takes its place in the next step}; initial: {input: array}.
    batch, scalars: the names of the other inputs; loss: the name of the first output.
    parameters, buffers: those of `state` that the trained model is made of.
    """

    graph: Graph
    state: dict[str, str]
    initial: dict[str, np.ndarray]
    batch: tuple[str, ...]
    scalars: tuple[str, ...]
    loss: str
    outputs: tuple[str, ...]
    parameters: tuple[str, ...]
    buffers: tuple[str, ...]


def make_step_graph(
    graph: Graph,
    optimizer: Rule,
    *,
    loss: str = "loss",
    train: Iterable[str] | None = None,
    outputs: Iterable[str] = (),
    accumulate: int = 1,
    schedule: Callable | float | None = None,
    clip_norm: float | None = None,
) -> StepGraph:
    """The training step of `graph`, whose shapes are known, or symbolic in the batch.

    loss: the tensor that is minimized; of several numbers, their mean.  train: the parameters to train; default: all.
        The others stay in the graph as constants.  outputs: tensors to output beside the loss.
    accumulate: batches per update: their gradients are averaged, and only the last of them moves the parameters.
    clip_norm: gradients are clipped to this common norm.
    schedule: the learning rate as a function of the updates made so far, or one number; without it, it is an input.
    Inputs that are needed alone are there: "learning_rate"; "seed" (int64) where the graph draws random numbers.
    Raises GraphError and NoGradientRule as passes.joint does, SettingError for settings that do not fit.
    """
    if isinstance(accumulate, bool) or not isinstance(accumulate, int) or accumulate < 1:
        raise SettingError(f"accumulate is {accumulate!r}: an update needs at least 1 batch")
    with jax.enable_x64(any(v.dtype == "float64" for v in (p.value for p in graph.producers.values()))):
        return _Maker(graph, optimizer, loss, train, tuple(outputs), accumulate, schedule, clip_norm).step()


class _Maker:
    def __init__(
        self,
        graph: Graph,
        optimizer: Rule,
        loss: str,
        train: Iterable[str] | None,
        outputs: tuple[str, ...],
        accumulate: int,
        schedule: Callable | float | None,
        clip_norm: float | None,
    ) -> None:
        self.optimizer, self.trained = optimizer, _trained(graph, train)
        copy = graph.copy()
        for p in copy.producers.values():
            if p.role == "parameter" and p.name not in self.trained:
                p.role = "constant"
        forward = infer_shapes(normalized(_with_mean(copy, loss), training=True))
        self.moved = state_updates(forward, forward.params, moves=True)
        self.statistics = state_updates(forward, forward.buffers)
        self.buffers = [b for b in forward.buffers if b in self.statistics]
        for b in forward.buffers:  # what nothing moves stays in the file
            if b not in self.statistics:
                forward.producers[b] = replace(forward.producers[b], role="constant")
        self.loss, self.outputs, self.accumulate = loss, outputs, accumulate
        forward.outputs = []
        for o in dict.fromkeys((loss, *outputs, *self.moved.values(), *self.statistics.values())):
            forward.output(o)
        forward.prune()
        self.batch = tuple(forward.inputs)
        for name in (RATE, SEED, UPDATES, BATCHES):
            if forward.has(name):
                raise GraphError(f"graph {graph.name!r} has a tensor {name!r}: a step needs this name; rename it")
        self.graph, self.gradients = make_joint(forward, loss, self.trained)
        held = {p: forward.params[p] for p in self.trained}
        widest = "float64" if any(a.dtype == np.float64 for a in held.values()) else "float32"
        self.update: OptimizerGraph = optimizer_graph(
            optimizer,
            held,
            rate=RATE,
            rate_dtype=widest,
            schedule=schedule,
            max_norm=clip_norm,
            counter=UPDATES,
        )
        self.random = any(lookup(n.op).random for n in self.graph.nodes)
        self.state: dict[str, str] = {}
        self.initial: dict[str, np.ndarray] = {}

    def step(self) -> StepGraph:
        whole = self.graph
        whole.name = f"{whole.name}_step"
        for name in (*self.trained, *self.buffers):
            p = whole.producers.pop(name)
            self._input(name, p.data)
        parts = self.update
        for s in parts.state:
            self._input(s.name, s.initial)
        if parts.rate:
            v = parts.graph.inputs[parts.rate]
            whole.input(RATE, (), v.dtype or "float32")
        self._input(UPDATES, np.zeros((), np.int32))
        if self.random:
            whole.input(SEED, (), "int64")
        gradients, last = self._accumulated()
        given = {n: n for n in parts.graph.inputs}
        given |= {grad_name(p): g for p, g in gradients.items()}
        given |= self.moved
        owners = {f"{p}_out": p for p in self.trained} | {f"{s.name}_out": s.parameter for s in parts.state}
        found = inline(whole, _named_after_parameters(parts.graph, owners), given)
        for name in (*self.trained, *(s.name for s in parts.state), UPDATES):
            new = found[f"{name}_out"]
            if last is not None:
                before = self.moved.get(name, name)
                new = Builder(whole, f"{name}/").Where(last, new, before).name
            self.state[name] = new
        self.state |= {b: self.statistics[b] for b in self.buffers}
        self._after_update()
        self._drop_idle_counter()
        whole.outputs = [self.loss, *self.outputs]
        names = {}
        for name, value in self.state.items():
            wanted = whole.fresh(f"{name}.next")
            whole.add("Identity", [value], names=[wanted], name=wanted)
            names[name] = wanted
            whole.outputs.append(wanted)
        whole.prune()
        if self.random:
            counter = BATCHES if BATCHES in self.state else UPDATES
            whole = with_seeded_draws(whole, SEED, counter)
        return StepGraph(
            infer_shapes(whole),
            names,
            self.initial,
            self.batch,
            tuple(n for n in (RATE, SEED) if n in whole.inputs),
            self.loss,
            self.outputs,
            tuple(self.trained),
            tuple(self.buffers),
        )

    def _input(self, name: str, initial: np.ndarray) -> None:
        data = np.array(initial)
        self.graph.input(name, data.shape, data.dtype.name)
        self.initial[name] = data

    def _accumulated(self) -> tuple[dict[str, str], str | None]:
        """({parameter: the gradient to update it by}, whether this batch is the last before an update)."""
        if self.accumulate == 1:
            return self.gradients, None
        whole = self.graph
        self._input(BATCHES, np.zeros((), np.int32))
        op = Builder(whole, f"{BATCHES}/")
        count = op.Add(BATCHES, 1)
        self.state[BATCHES] = count.name
        last = op.Equal(op.Mod(count, self.accumulate), 0).name
        means = {}
        for p, g in self.gradients.items():
            held = f"{p}.accumulated"
            like = whole.value(p)
            self._input(held, np.zeros(self.initial[p].shape, self.initial[p].dtype))
            own = Builder(whole, f"{held}/")
            total = own.Add(held, g)
            means[p] = own.Mul(total, 1 / self.accumulate).name
            self.state[held] = own.Where(last, own.ZerosLike(like), total).name
        return means, last

    def _after_update(self) -> None:
        """What the optimizer does to all parameters and buffers after each update: clipped weights of analog tiles."""
        after = getattr(self.optimizer, "post_update", None)
        if after is None:
            return
        whole = self.graph
        params, buffers = list(self.trained), list(self.buffers)
        inputs = [Value(n, self.initial[n].shape, self.initial[n].dtype.name) for n in (*params, *buffers)]

        def update(*arrays: Any) -> list[Any]:
            given = dict(zip((*params, *buffers), arrays, strict=True))
            held = {k: jnp.asarray(v) for k, v in whole.constants.items()}
            new, moved = after({p: given[p] for p in params}, held | {b: given[b] for b in buffers})
            return [*(new[p] for p in params), *(moved[b] for b in buffers)]

        made = as_graph("post_update", update, inputs, [f"{n}_out" for n in (*params, *buffers)])
        found = inline(whole, made, {n: self.state[n] for n in (*params, *buffers)})
        self.state |= {n: found[f"{n}_out"] for n in (*params, *buffers)}

    def _drop_idle_counter(self) -> None:
        """A counter that nothing but itself depends on is no state."""
        own = self.state[UPDATES]
        needed = {self.loss, *self.outputs, *(v for k, v in self.state.items() if k != UPDATES)}
        for node in reversed(self.graph.nodes):
            if needed.intersection(node.output_names):
                needed.update(node.input_names)
        if UPDATES not in needed and not self.random:
            del self.state[UPDATES], self.initial[UPDATES], self.graph.inputs[UPDATES]
            self.graph.nodes = [n for n in self.graph.nodes if own not in n.output_names]


def _named_after_parameters(graph: Graph, owners: Mapping[str, str | None]) -> Graph:
    """The optimizer's nodes called "<parameter>.update/<operator>"; "update/<operator>" where several need them.

    owners: {output: the parameter that it belongs to, or None}.
    """
    serves: dict[str, set[str | None]] = {o: {owners.get(o)} for o in graph.outputs}
    prefix: dict[str, str] = {}
    for node in reversed(graph.nodes):
        own = set().union(*(serves.get(o, set()) for o in node.output_names))
        for i in node.input_names:
            serves.setdefault(i, set()).update(own)
        (owner,) = own if len(own) == 1 else (None,)
        prefix[node.name] = "update" if owner is None else f"{owner}.update"
    names, called, taken = {o: o for o in graph.outputs}, {}, set()
    for node in graph.nodes:
        base = name = f"{prefix[node.name]}/{node.op}"
        count = 0
        while name in taken:
            count += 1
            name = f"{base}_{count}"
        taken.add(name)
        called[node.name] = name
        for at, o in enumerate(node.output_names):
            names.setdefault(o, f"{name}.{at}" if at else name)
    return with_renamed_tensors(graph, names).map_nodes(lambda n: n.replace(name=called[n.name]))


def _trained(graph: Graph, train: Iterable[str] | None) -> list[str]:
    if train is None:
        found = list(graph.params)
    else:
        found = list(dict.fromkeys(train))
        for name in found:
            if name not in graph.producers or not graph.producers[name].value.is_float:
                raise GraphError(
                    f"cannot train {name!r}: graph {graph.name!r} has no floating-point tensor of that name; its "
                    f"parameters are {', '.join(map(repr, graph.params)) or 'none'}"
                )
    if not found:
        raise SettingError(f"graph {graph.name!r} has no parameter to train")
    return found


def _with_mean(graph: Graph, loss: str) -> Graph:
    """The loss as one number."""
    value = infer_shapes(graph).value(loss)
    if value.shape == () or value.rank is None:
        return graph
    copy = graph.copy()
    inside = copy.fresh(f"{loss}.each")
    copy.nodes = [n.replace(outputs=tuple(inside if o == loss else o for o in n.outputs)) for n in graph.nodes]
    copy.values[inside] = Value(inside, value.shape, value.dtype)
    copy.values.pop(loss, None)
    copy.add("ReduceMean", [inside], {"keepdims": 0}, names=[loss])
    copy.outputs = [o for o in graph.outputs if o != loss] + [loss]
    return copy
