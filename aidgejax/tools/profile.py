"""Where the time of a step goes: every node of forward and gradient executed alone, on its real inputs.

XLA joins nodes into one program, so a step takes less than the sum of its nodes; `whole` is what it takes.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..drawing.charts import Picture, bar_chart
from ..drawing.html import table
from ..dtypes import x64_for_arrays
from ..errors import SettingError
from ..execution.program import Arrays, Program, bind_inputs, check_program
from ..files import write_atomically
from ..graph import Graph, Node, Value
from ..interpreter.evaluate import Evaluator
from ..passes.gradient import grad_name
from .inspect import flops

SHOWN = 20  # rows of the printed table and of the picture


@dataclass(frozen=True)
class Cost:
    """One node.  kind: "forward" or "gradient"; seconds: the fastest of the repeats; bytes: read and written."""

    kind: str
    node: str
    op: str
    seconds: float
    bytes: int
    flops: float

    def __str__(self) -> str:
        return (
            f"{self.kind:9} {1e6 * self.seconds:10.1f} {self.bytes:13,} {self.flops:14,.0f}  {self.op:24} {self.node}"
        )


@dataclass(frozen=True)
class Profile:
    """rows: every node in order of execution.  call: seconds that any compiled call takes, within each row's.

    whole: seconds of the forward and of forward and gradient, each as one program.
    """

    graph: str
    rows: tuple[Cost, ...]
    call: float
    whole: Mapping[str, float]
    device: str

    def seconds(self, kind: str) -> float:
        """The sum over the nodes of one kind."""
        return sum(r.seconds for r in self.rows if r.kind == kind)

    @property
    def heaviest(self) -> list[Cost]:
        return sorted(self.rows, key=lambda r: -r.seconds)

    def __str__(self) -> str:
        head = f"{'':9} {'us':>10} {'bytes':>13} {'operations':>14}  {'operator':24} node"
        lines = [head, *map(str, self.heaviest[:SHOWN])]
        if len(self.rows) > SHOWN:
            lines.append(f"and {len(self.rows) - SHOWN} more")
        return "\n".join([*lines, *self._sums()])

    def _sums(self) -> list[str]:
        count = {kind: sum(r.kind == kind for r in self.rows) for kind in ("forward", "gradient")}
        return [
            f"node by node: forward {1e3 * self.seconds('forward'):.3f} ms in {count['forward']} nodes, gradient "
            f"{1e3 * self.seconds('gradient'):.3f} ms in {count['gradient']}; of each node {1e6 * self.call:.1f} us "
            f"are the call",
            "as one program: "
            + ", ".join(f"{k} {1e3 * v:.3f} ms" for k, v in self.whole.items())
            + f" on {self.device}",
        ]

    def _repr_html_(self) -> str:
        head = ["", "node", "operator", "µs", "bytes", "operations"]
        rows = [
            [r.kind, r.node, r.op, f"{1e6 * r.seconds:.1f}", f"{r.bytes:,}", f"{r.flops:,.0f}"] for r in self.heaviest
        ]
        return table([head, *rows[:SHOWN]], left=3) + "<p>" + "<br>".join(self._sums()) + "</p>"

    def picture(self) -> Picture:
        """The heaviest nodes as bars."""
        rows = {
            f"{r.node} ({r.op}{', gradient' * (r.kind == 'gradient')})": 1e6 * r.seconds for r in self.heaviest[:SHOWN]
        }
        return bar_chart(rows, title=f"{self.graph}: the heaviest nodes", unit="µs")

    def trace(self) -> dict[str, Any]:
        """In the trace event format that chrome://tracing and Perfetto open; nodes one after the other."""
        events: list[dict[str, Any]] = []
        clock = 0.0
        for r in self.rows:
            events.append(
                {
                    "name": r.node,
                    "cat": r.kind,
                    "ph": "X",
                    "ts": clock,
                    "dur": 1e6 * r.seconds,
                    "pid": 1,
                    "tid": 1 if r.kind == "forward" else 2,
                    "args": {"operator": r.op, "bytes": r.bytes, "operations": r.flops},
                }
            )
            clock += 1e6 * r.seconds
        names = [
            {"name": "thread_name", "ph": "M", "pid": 1, "tid": tid, "args": {"name": kind}}
            for tid, kind in ((1, "forward"), (2, "gradient"))
        ]
        return {"traceEvents": [*names, *events], "displayTimeUnit": "ms"}

    def write_trace(self, path: str | Path) -> None:
        """Write `trace()` as JSON."""
        write_atomically(json.dumps(self.trace()).encode(), str(path))


def profile(program: Program, batch: Mapping[str, Any], *, repeats: int = 10, seed: int = 0) -> Profile:
    """Time and bytes of every node of a program's forward and gradient.

    batch: {input: array}.  repeats: executions of a node of which the fastest counts, after one that compiles.
    Nodes of one operator, attributes and shapes are compiled once.  Raises SettingError for repeats below 1.
    """
    check_program(program, "profile")
    if repeats < 1:
        raise SettingError(f"repeats is {repeats}; expected 1 or more")
    graph, key = program.graph, jax.random.key(seed)
    with x64_for_arrays(graph.params, graph.buffers, batch):
        batch = {k: jnp.asarray(batch[k]) for k in graph.inputs if k in batch}
        env = bind_inputs(graph, graph.params, graph.buffers, batch)
        evaluator = Evaluator(graph, program.layout)
        clock = _Clock(repeats)
        trains = bool(program.wrt and program.seeds)
        kept = {*program.updates.values(), *(program.saves if trains else ())}
        rows, found = _evaluated("forward", graph, evaluator, program.layout, env, key, kept, clock)
        run = jax.jit(lambda p, b, x: program.forward(p, b, x, key, save=False)[0])
        whole = {"forward": clock.time(run, graph.params, graph.buffers, batch)}
        if trains:
            cotangents = {
                s: jnp.ones_like(_in_graph_layout(found[s], s in evaluator.channels_last)) for s in program.seeds
            }
            own = {**graph.params, **{grad_name(s): d for s, d in cotangents.items()}}
            backward = program.gradient
            given = {k: own[k] if k in own else found[k] for k in backward.inputs} | backward.constants
            second = Evaluator(backward, program.layout, given=evaluator.channels_last)
            more, _ = _evaluated("gradient", backward, second, program.layout, given, key, (), clock)
            rows += more

            @jax.jit
            def both(p: Arrays, b: Arrays, x: Arrays, d: Arrays) -> tuple[Arrays, Arrays]:
                outputs, saved, _ = program.forward(p, b, x, key)
                return outputs, program.backward(p, saved, d)

            whole["forward and gradient"] = clock.time(both, graph.params, graph.buffers, batch, cotangents)
        device = jax.devices()[0]
        return Profile(graph.name, tuple(rows), clock.call, whole, f"{device.platform} ({device.device_kind})")


def _in_graph_layout(array: Any, last: bool) -> Any:
    return jnp.moveaxis(array, -1, 1) if last else array


class _Clock:
    """The shortest time of compiled calls: what other work on the machine adds is not the node's."""

    def __init__(self, repeats: int) -> None:
        self.repeats = repeats
        self.call = self.time(jax.jit(lambda x: x + 1), jnp.zeros(()))

    def time(self, run: Callable, *args: Any) -> float:
        jax.block_until_ready(run(*args))
        times = []
        for _ in range(self.repeats):
            begun = time.perf_counter()
            jax.block_until_ready(run(*args))
            times.append(time.perf_counter() - begun)
        return min(times)


def _evaluated(
    kind: str,
    graph: Graph,
    evaluator: Evaluator,
    layout: str,
    env: Arrays,
    key: Any,
    kept: Iterable[str],
    clock: _Clock,
) -> tuple[list[Cost], Arrays]:
    """(a row per node, every tensor as it is stored).  What is known before anything runs costs nothing: no row."""
    found = dict(env)
    compiled: dict[Any, tuple[Callable, float]] = {}
    read = {i for n in graph.nodes for i in n.input_names} | {*graph.outputs, *kept}
    fixed = {*evaluator.metadata, *graph.constants}
    rows = []
    for node in graph.nodes:
        wanted = tuple(o for o in node.output_names if o in read) or node.output_names[:1]
        alone = _alone(graph, node, wanted)
        single = Evaluator(alone, layout, given={i for i in node.input_names if i in evaluator.channels_last})
        constants = {i: found[i] for i in node.input_names if i in fixed}
        moving = {i: found[i] for i in node.input_names if i not in fixed}

        def run(
            arrays: list,
            single: Evaluator = single,
            fixed: Arrays = constants,
            names: Any = tuple(moving),
            wanted: Any = wanted,
        ) -> list:
            tensors = single({**fixed, **dict(zip(names, arrays, strict=True))}, key, wanted)
            return [tensors.in_storage_layout(o) for o in wanted]

        if all(o in evaluator.metadata for o in wanted):
            found |= dict(zip(wanted, run(list(moving.values())), strict=True))
            continue
        sign = _signature(node, constants, moving, evaluator.channels_last, wanted)
        if sign not in compiled:
            jitted = jax.jit(run)
            compiled[sign] = jitted, clock.time(jitted, list(moving.values()))
        call, seconds = compiled[sign]
        results = dict(zip(wanted, call(list(moving.values())), strict=True))
        found |= results
        moved = sum(int(a.nbytes) for a in [*constants.values(), *moving.values(), *results.values()])
        rows.append(Cost(kind, node.name, node.op, seconds, moved, _operations(node, found, evaluator.channels_last)))
    return rows, found


def _alone(graph: Graph, node: Node, wanted: Iterable[str]) -> Graph:
    """The node as a graph of its own; shapes as they are known."""
    alone = Graph(graph.name)
    for i in dict.fromkeys(node.input_names):
        if i in graph.constants:
            alone.constant(i, graph.constants[i])
        else:
            value = graph.value(i)
            alone.inputs[i] = value
    alone.add(node.op, node.inputs, node.attrs, names=node.outputs, name=node.name, domain=node.domain)
    alone.values.update({o: graph.value(o) for o in node.output_names})
    for o in wanted:
        alone.output(o)
    return alone


def _signature(node: Node, constants: Arrays, moving: Arrays, last: set[str], wanted: tuple[str, ...]) -> Any:
    """What decides how long a node takes; its own name where that is not said in few words."""
    if any(np.size(a) > 16 for a in constants.values()) or any(isinstance(v, Graph) for v in node.attrs.values()):
        return node.name
    inputs = tuple(
        (np.shape(moving[i]), str(moving[i].dtype), i in last)
        if i in moving
        else (np.asarray(constants[i]).tobytes(), np.shape(constants[i]))
        if i in constants
        else repr(i)
        for i in node.inputs
    )
    same = tuple(node.inputs.index(i) for i in node.inputs)
    attributes = repr(sorted(node.attrs.items()))
    return node.op, attributes, inputs, same, tuple(node.outputs.index(o) for o in wanted)


def _operations(node: Node, found: Arrays, last: set[str]) -> float:
    """Floating-point operations at the sizes that there are."""

    def value(name: str) -> Value:
        shape = np.shape(found[name])
        return Value(name, (shape[0], shape[-1], *shape[1:-1]) if name in last else shape, found[name].dtype.name)

    graph = Graph(node.name)
    graph.inputs = {i: value(i) for i in node.input_names}
    graph.values = {o: value(o) for o in node.output_names if o in found}
    return flops(graph, node.replace(outputs=tuple(o if o in found else None for o in node.outputs)), {})
