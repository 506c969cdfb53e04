"""A step file against its program: the file by the NumPy backend, the program as one compiled step."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from ..errors import DataError
from ..execution.program import make_program
from ..execution.run import run
from ..graph import Graph
from ..onnxio.step.write import Step, read_step, step_graph
from ..training import loop, schedule
from ..training.optim import Optimizer


@dataclass(frozen=True)
class StepReport:
    """differences: {"loss" or a tensor of the state: the largest |file - program| / (|program's largest| + 1e-6)}."""

    differences: dict[str, float]
    steps: int
    tolerance: float

    @property
    def ok(self) -> bool:
        return all(d <= self.tolerance for d in self.differences.values())

    def __str__(self) -> str:
        worst = max(self.differences, key=lambda n: self.differences[n])
        verdict = "agree" if self.ok else "DIFFER"
        return (
            f"step file and program {verdict} after {self.steps} steps: at most {self.differences[worst]:.1e} "
            f"({worst}), tolerance {self.tolerance:g}"
        )


def compare_step(
    path: str | os.PathLike,
    graph: Graph,
    optimizer: Optimizer,
    *,
    loss: str = "loss",
    batches: list[Mapping[str, Any]] | None = None,
    steps: int = 5,
    rate: float = 0.01,
    tolerance: float = 1e-4,
    seed: int = 0,
) -> StepReport:
    """Train `steps` steps with both, from the file's initial state, and compare losses, parameters and buffers.

    graph: with the loss, as write_step was given it; optimizer: the same.  batches: one per step; default: random ones.
    Raises ModelFileError for another file, DataError for a step that draws random numbers: theirs are not JAX's.
    """
    step = read_step(path)
    if "seed" in step.scalars:
        raise DataError(f"{step.path!r} draws random numbers, which are not those of JAX: the two cannot be compared")
    inside = step_graph(step)
    batches = batches or [_random(inside, step, seed + k) for k in range(steps)]
    rate = float(np.float32(rate))  # as schedules have it, so that wide parameters see the same number
    program = make_program(graph, training=True, wrt=list(step.parameters))
    compiled = jax.jit(loop.make_step(program, optimizer, schedule.constant(rate), loss=loss))
    state = loop.start(program, optimizer, jax.random.key(seed))
    held: dict[str, Any] = dict(step.initial)
    found: dict[str, float] = {}
    for batch in batches:
        feeds = {**batch, **held, **{n: np.asarray(rate, inside.inputs[n].dtype) for n in step.scalars}}
        outputs = dict(zip(inside.outputs, run(inside, feeds, backend="numpy"), strict=True))
        held = {name: outputs[new] for name, new in step.state.items()}
        state, record = compiled(state, dict(batch))
        _note(found, "loss", outputs[step.loss], record["loss"])
    for name in (*step.parameters, *step.buffers):
        _note(found, name, held[name], {**state.params, **state.buffers}[name])
    return StepReport(found, len(batches), tolerance)


def _note(found: dict[str, float], name: str, got: Any, want: Any) -> None:
    got, want = np.asarray(got, np.float64), np.asarray(want, np.float64)
    off = float(np.max(np.abs(got - want), initial=0.0) / (np.max(np.abs(want), initial=0.0) + 1e-6))
    found[name] = max(found.get(name, 0.0), off if np.isfinite(off) else np.inf)


def _random(graph: Graph, step: Step, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    batch = {}
    for name in step.batch:
        v = graph.value(name)
        shape = tuple(d if isinstance(d, int) else 4 for d in v.shape or ())
        whole = "int" in (v.dtype or "")
        batch[name] = (rng.integers(0, 2, shape) if whole else rng.normal(size=shape)).astype(v.dtype or "float32")
    return batch
