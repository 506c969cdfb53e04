"""A step file against its program: the file by the NumPy backend, the program as one compiled step."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from typing import Any

import jax
import numpy as np

from ..dtypes import ONNX_CODES
from ..errors import AidgeJaxError, DataError, SettingError
from ..execution.program import Program, make_program
from ..execution.run import run
from ..graph import Graph
from ..interpreter.shape_inference import infer_shapes
from ..onnxio.step.write import ORT_LOSSES, Step, read_step, step_graph
from ..passes.loss import with_loss
from ..passes.seeded import with_seeded_draws
from ..passes.training_step import BATCHES, SEED, UPDATES
from ..training import loop
from ..training import schedule as schedules
from ..training.optim import Optimizer, clipped
from ..training.optimizers import rule_of
from ..training.schedule import Schedule, constant


@dataclass(frozen=True)
class StepReport:
    """differences: {"loss" or a tensor of the state: the largest |file - program| / (|program's largest| + 1e-6)}."""

    differences: dict[str, float]
    steps: int
    tolerance: float
    in_float64: dict[str, float] | None = None  # the same in float64, where float32 left the question open

    @property
    def ok(self) -> bool:
        found = self.differences if self.in_float64 is None else self.in_float64
        return all(d <= self.tolerance for d in found.values())

    def __str__(self) -> str:
        verdict = f"step file and program {'agree' if self.ok else 'DIFFER'} after {self.steps} steps"
        if self.in_float64 is None:
            return f"{verdict}: at most {_worst(self.differences)}, tolerance {self.tolerance:g}"
        return (
            f"{verdict} in float64: at most {_worst(self.in_float64)}, tolerance {self.tolerance:g}; in float32 "
            f"{_worst(self.differences)}{': rounding grows there' if self.ok else ''}"
        )


def _worst(differences: Mapping[str, float]) -> str:
    name = max(differences, key=lambda n: differences[n])
    return f"{differences[name]:.1e} ({name})"


def compare_step(
    path: str | os.PathLike,
    graph: Graph,
    optimizer: Optimizer | None = None,
    *,
    loss: str | None = None,
    clip_norm: float | None = None,
    accumulate: int | None = None,
    schedule: Schedule | None = None,
    batches: Sequence[Mapping[str, Any]] | None = None,
    steps: int = 5,
    rate: float = 0.01,
    tolerance: float = 1e-4,
    seed: int = 0,
) -> StepReport:
    """Train `steps` steps with both, from the file's initial state, and compare losses, parameters and buffers.

    graph: as write_step was given it.  optimizer, loss, clip_norm, accumulate, schedule: None for what the file says
    it was written with.  batches: one per step; default: random ones.  rate: of a file whose rate is an input.
    Random numbers are those of the file, from `seed`: the program draws them by the same arithmetic.
    Of a loss, differences in the last bit of float32 count for nothing.  Where the two part in float32, they are
    compared in float64.
    Raises ModelFileError for another file, SettingError where the file names no optimizer, or a schedule that is not
    one of training.schedule.
    """
    step = read_step(path)
    made = step.made
    every = int(made.get("accumulate") or 1) if accumulate is None else accumulate
    rule = _clipped(optimizer or _noted(step), made.get("clip_norm") if clip_norm is None else clip_norm)
    graph, loss = _with_loss(graph, str(made.get("loss", "loss")) if loss is None else loss, made.get("prediction"))
    inside = step_graph(step)
    batches = batches or [_random(inside, step, seed + k) for k in range(steps)]
    how: dict[str, Any] = {"batches": batches, "rule": rule, "loss": loss, "every": every, "seed": seed}
    rate = float(np.float32(rate))  # as schedules have it, so that wide parameters see the same number
    how["scalars"] = {"learning_rate": rate, SEED: seed}
    how["schedule"] = constant(rate) if "learning_rate" in step.scalars else schedule or _noted_schedule(step)
    report = StepReport(_differences(step, inside, graph, **how), len(batches), tolerance)
    if not report.ok:  # a gradient that is 0 but for rounding, which some rules divide by its own size?
        step = replace(step, initial={n: _wide_array(a) for n, a in step.initial.items()})
        how["batches"] = [{n: _wide_array(a) for n, a in b.items()} for b in batches]
        with suppress(AidgeJaxError), jax.enable_x64(True):
            report = replace(report, in_float64=_differences(step, _wide(inside), _wide(graph), **how))
    return report


def _differences(
    step: Step,
    inside: Graph,
    graph: Graph,
    *,
    batches: Sequence[Mapping[str, Any]],
    rule: Optimizer,
    loss: str,
    every: int,
    schedule: Schedule,
    scalars: Mapping[str, float],
    seed: int,
) -> dict[str, float]:
    """StepReport.differences of the file's graph `inside` and the program of `graph`."""
    draws = SEED in step.scalars
    with jax.enable_x64(draws or any(v.dtype == "float64" for v in inside.inputs.values())):
        program = make_program(graph, training=True, wrt=list(step.parameters))
        counter = BATCHES if BATCHES in step.state else UPDATES
        if draws:
            program = _with_the_files_draws(program, step, loss, counter)
        if every == 1:
            compiled = jax.jit(loop.make_step(program, rule, schedule, loss=loss))
        else:
            compiled = jax.jit(loop.make_accumulating_step(program, rule, schedule, every, loss=loss))
        params = {**program.graph.params, **{p: step.initial[p] for p in step.parameters}}
        buffers = {**program.graph.buffers, **{b: step.initial[b] for b in step.buffers}}
        key = jax.random.key(seed)
        state = loop.start(program, rule, key, params, buffers, accumulate=None if every == 1 else ())
        held: dict[str, Any] = dict(step.initial)
        found: dict[str, float] = {}
        total = 0.0
        for k, batch in enumerate(batches):
            given = {n: np.asarray(scalars[n], inside.inputs[n].dtype) for n in step.scalars}
            drawn = {SEED: given[SEED], counter: held[counter]} if draws else {}
            feeds = {**batch, **held, **given}
            outputs = dict(zip(inside.outputs, run(inside, feeds, backend="numpy"), strict=True))
            held = {name: outputs[new] for name, new in step.state.items()}
            state, record = compiled(state, {**batch, **drawn})
            total += float(outputs[step.loss])
            if (k + 1) % every == 0:  # the record is of the batches since the last update
                _note(found, "loss", total / every, record["loss"])
                total = 0.0
        for name in (*step.parameters, *step.buffers):
            _note(found, name, held[name], {**state.params, **state.buffers}[name])
    return found


@dataclass(frozen=True)
class _SeededProgram(Program):
    """A program whose forward draws by plain arithmetic, with the gradient of the one that it was made of."""

    own: Graph | None = None

    @property
    def gradient(self) -> Graph:  # type: ignore[override]  # what is computed there is given here
        return self.own if self.own is not None else super().gradient


def _with_the_files_draws(program: Program, step: Step, loss: str, counter: str) -> Program:
    """The program that draws what the file draws, from two inputs more: the seed and the counter of steps."""
    graph = program.graph.copy()
    wanted = (loss, *step.outputs, *program.parameter_updates.values(), *program.updates.values(), *program.saves)
    graph.outputs = [t for t in dict.fromkeys(wanted) if graph.has(t)]
    graph.prune()  # draws are told apart by their place among those that the step needs
    graph.input(SEED, (), "int64")
    graph.input(counter, (), "int32")
    graph = with_seeded_draws(graph, SEED, counter)
    graph.outputs = [loss]
    made = {f.name: getattr(program, f.name) for f in fields(program)}
    return _SeededProgram(**{**made, "graph": infer_shapes(graph)}, own=program.gradient)


def _wide(graph: Graph) -> Graph:
    """The graph in float64 where it is in float32."""
    double = graph.copy()
    double.inputs = {n: replace(v, dtype="float64") if v.dtype == "float32" else v for n, v in graph.inputs.items()}
    for p in double.producers.values():
        p.data = _wide_array(p.data)
    codes = {"to": ONNX_CODES["float32"]}
    double.nodes = [
        n.replace(attrs={**n.attrs, "to": ONNX_CODES["float64"]}) if codes.items() <= n.attrs.items() else n
        for n in graph.nodes
    ]
    double.values = {k: replace(v, dtype=None, shape=None) for k, v in graph.values.items()}
    return infer_shapes(double)


def _wide_array(array: Any) -> Any:
    array = np.asarray(array)
    return array.astype(np.float64) if array.dtype == np.float32 else array


def batches_of(path: str | os.PathLike, columns: Mapping[str, Any], steps: int) -> list[dict[str, np.ndarray]]:
    """Of rows by the names of the file's inputs, as many batches as there are, at most `steps`, one after another.

    Raises DataError for columns or rows that are missing.
    """
    step = read_step(path)
    inside = step_graph(step)
    if missing := [n for n in step.batch if n not in columns]:
        raise DataError(f"{step.path!r} needs {', '.join(map(repr, missing))}; the data have {', '.join(columns)}")
    rows = min(len(columns[n]) for n in step.batch)
    sizes = [s[0] for n in step.batch if (s := inside.value(n).shape or ())]
    each = next((d for d in sizes if isinstance(d, int)), min(32, rows))
    if rows < each:
        raise DataError(f"{step.path!r} takes batches of {each} rows; the data have {rows}")
    starts = range(0, rows - each + 1, each)[:steps]
    kinds = {n: inside.value(n).dtype for n in step.batch}
    return [{n: np.asarray(columns[n][k : k + each]).astype(kinds[n]) for n in step.batch} for k in starts]


def _noted(step: Step) -> Optimizer:
    """The optimizer that the file says it was written with."""
    noted = step.made.get("optimizer")
    if not isinstance(noted, dict):
        raise SettingError(f"{step.path!r} does not say which optimizer it was written with: give it")
    try:
        return rule_of(str(noted["name"]))(**noted["settings"])
    except (KeyError, TypeError) as e:
        raise SettingError(f"{step.path!r} was written with {noted!r}, which is no optimizer here: {e}") from None


def _noted_schedule(step: Step) -> Schedule:
    """The learning-rate schedule that the file says it was written with."""
    noted = step.made.get("schedule")
    if not isinstance(noted, dict):
        raise SettingError(
            f"{step.path!r} computes its learning rate by a function that is none of training.schedule: give it as "
            f"schedule="
        )
    return _schedule_of(step, noted)


def _schedule_of(step: Step, noted: Mapping[str, Any]) -> Schedule:
    try:
        settings = {k: _schedule_of(step, v) if isinstance(v, dict) else v for k, v in noted["settings"].items()}
        return getattr(schedules, str(noted["name"]))(**settings)
    except (AttributeError, KeyError, TypeError) as e:
        raise SettingError(f"{step.path!r} was written with {noted!r}, which is no schedule here: {e}") from None


def _clipped(rule: Optimizer, norm: float | None) -> Optimizer:
    return rule if norm is None else clipped(rule, norm)


def _with_loss(graph: Graph, loss: str, prediction: str | None) -> tuple[Graph, str]:
    """The graph with this loss, appended where it is a name of one, and what the loss is called."""
    loss = ORT_LOSSES.get(loss, loss)
    graph = infer_shapes(graph)
    if graph.has(loss):
        return graph, loss
    return infer_shapes(with_loss(graph, loss, prediction=prediction)), "loss"


def _note(found: dict[str, float], name: str, got: Any, want: Any) -> None:
    slack = np.spacing(np.asarray(want)) if name == "loss" else 0.0
    got, want = np.asarray(got, np.float64), np.asarray(want, np.float64)
    off = float(
        np.max(np.maximum(np.abs(got - want) - slack, 0.0), initial=0.0) / (np.max(np.abs(want), initial=0.0) + 1e-6)
    )
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
