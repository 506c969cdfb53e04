"""From the imperative loop to compiled epochs: `fit` gives the weights that the loop gives."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from functools import partial
from time import perf_counter
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ...errors import DataError, SettingError
from ...execution.cache import PROGRAMS, holds_64_bits, signature
from ...execution.numpy_program import NumpyProgram
from ...execution.program import Program, make_program
from ...execution.program_like import ProgramLike
from ...graph import Builder, Graph
from ...training import metrics as core_metrics
from ...training.counter import Counter
from ...training.data import check_labels
from ...training.loop import Accumulator, TrainState, make_accumulating_step, make_epoch, make_step
from ...training.parallel import Placement
from ...training.placed_arrays import on_host
from ..aidge_core.errors import AidgeError, OrderError, ProviderError, TensorTypeError
from ..aidge_core.graphview import GraphView
from ..aidge_core.lowering import Lowered, lower, place_of_model, require_backend, static_shape
from ..aidge_core.node_by_node import connect_and_start
from ..aidge_core.random import Generator
from ..aidge_core.tensor import Tensor
from . import loss as losses
from . import metrics as front_end_metrics
from .optimizer import Optimizer

CHUNK_BYTES = 256 << 20  # what is stacked on the host, and put on the device, at once


class FitError(SettingError, AidgeError):
    """An argument of fit that makes no sense."""


def fit(
    model: GraphView,
    dataprovider: Iterable[Any],
    opt: Optimizer,
    loss: Callable = losses.CELoss,
    *,
    epochs: int = 1,
    accumulate: int = 1,
    metrics: Sequence[Callable] = (),
    on_epoch: Callable[[dict], Any] | None = None,
    placement: Placement | None = None,
) -> list[dict[str, Any]]:
    """Train like the loop of the module's docstring, with one compiled program per epoch.

    dataprovider: an iterable of (inputs..., target): a DataProvider, a torch DataLoader, a list of arrays; it is
        iterated once per epoch.
    opt: with its parameters and scheduler set; training goes on where it stands, and it may go on by hand afterwards.
    loss: loss.CELoss, MSE, BCE or KD (whose target is the teacher's prediction).
    accumulate: update after so many batches, each loss scaled by 1 / accumulate, and at the end of the epoch.
    metrics: metrics.Accuracy, reported as the share of rows that are right, or functions (prediction, target) -> number
        of JAX arrays.
    placement: data_parallel() or sharded() of aidgejax, to train on several devices; the model's tensors come back to
        its own.
    Returns one record per epoch: epoch, loss, metrics, learning_rate, updates, seconds; the loss is the mean over the
    batches, not scaled.
    """
    _check(model, opt, loss, epochs, accumulate)
    backend = require_backend(model)
    history = []
    for e in range(epochs):
        began, records, accumulator = perf_counter(), [], None
        for batches, last in _chunks(dataprovider, len(model.get_ordered_inputs()), loss):
            found, accumulator = _train(
                model, backend, opt, loss, accumulate, tuple(metrics), batches, last, accumulator, placement
            )
            records.append(found)
        if not records:
            raise ProviderError("fit: the dataprovider gave no batch")
        columns = {k: np.concatenate([np.asarray(r[k], np.float64).reshape(-1) for r in records]) for k in records[0]}
        at = np.flatnonzero(columns.pop("updated", np.ones(len(columns["loss"]))))  # records are of whole groups
        groups = np.diff(at, prepend=-1)
        record = {"epoch": e} | {
            k: float(np.average(v[at], weights=groups))
            for k, v in columns.items()
            if k not in ("learning_rate", "gradient_norm")
        }
        record |= {
            "learning_rate": float(columns["learning_rate"][at[-1]]),
            "updates": len(at),
            "seconds": perf_counter() - began,
        }
        history.append(record)
        if on_epoch:
            on_epoch(record)
    return history


def _check(model: Any, opt: Any, loss: Any, epochs: Any, accumulate: Any) -> None:
    if not isinstance(model, GraphView):
        raise TensorTypeError(f"fit: model is {type(model).__name__}; expected a GraphView")
    if not isinstance(opt, Optimizer) or not opt.kind:
        raise TensorTypeError(f"fit: opt is {type(opt).__name__}; expected an SGD or an Adam")
    if not opt.parameters():
        raise OrderError(f"fit: {opt.kind} has no parameters; call opt.set_parameters(producers(model)) first")
    if getattr(loss, "__name__", "") not in ("CELoss", "MSE", "BCE", "KD"):
        raise FitError(
            f"fit: loss is {getattr(loss, '__name__', loss)!r}; expected aidge_learning.loss.CELoss, MSE, BCE or KD"
        )
    for name, value in (("epochs", epochs), ("accumulate", accumulate)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise FitError(f"fit: {name} is {value!r}; expected 1 or more")


# ---- data -------------------------------------------------------------------------------------------------


def _chunks(provider: Iterable[Any], inputs: int, loss: Callable) -> Iterator[tuple[list[np.ndarray], bool]]:
    """Stacked runs of batches of one shape: ([f[steps, batch, ...] per column], whether it is the epoch's last)."""
    held: list[list[np.ndarray]] = []
    kind: Any = None
    for n, item in enumerate(provider):
        batch = _columns(item, inputs, n)
        shapes = [(a.shape, a.dtype) for a in batch]
        if held and (shapes != kind or sum(a.nbytes for a in batch) * len(held) >= CHUNK_BYTES):
            yield [np.stack(c) for c in zip(*held, strict=True)], False
            held = []
        kind = shapes
        held.append(batch)
    if held:
        yield [np.stack(c) for c in zip(*held, strict=True)], True


def _columns(item: Any, inputs: int, n: int) -> list[np.ndarray]:
    if not isinstance(item, list | tuple) or len(item) != inputs + 1:
        raise ProviderError(
            f"batch {n} is {type(item).__name__}"
            f"{f' of {len(item)}' if isinstance(item, list | tuple) else ''}; expected {inputs} "
            f"input(s) and a target"
        )
    return [t.cell.read() if isinstance(t, Tensor) else np.asarray(t) for t in item]


# ---- compiled ---------------------------------------------------------------------------------------------


def _train(
    model: GraphView,
    backend: str,
    opt: Optimizer,
    loss: Callable,
    accumulate: int,
    metrics: tuple,
    columns: list[np.ndarray],
    last: bool,
    accumulator: Any,
    placement: Placement | None,
) -> tuple[dict[str, Any], Any]:
    """The batches of one chunk: the state is taken from the tensors, and put back into them."""
    *inputs, target = columns
    ports = model.get_ordered_inputs()
    connect_and_start(model, [Tensor(a[0]) for a in inputs])
    low = lower(model, {port: Tensor(a[0]) for port, a in zip(ports, inputs, strict=True)})
    target = _as_target(loss, low, target)
    graph = _with_loss(low, loss, target[0])
    names = {id(t): name for name, t in low.params.items()}
    known = {*names, *map(id, low.buffers.values())}
    foreign = [repr(n.name()) for n in opt.parameters() if id(n.get_operator().get_output(0)) not in known]
    if foreign:
        raise FitError(f"fit: the optimizer has parameters that are not in the model: {', '.join(foreign[:5])}")
    wrt = tuple(names[id(t)] for t in opt.trained())
    rates = opt.learning_rate_scheduler()
    built_in = (rates.rate, accumulate, metrics, backend, placement)
    key = (signature(graph), wrt, opt.kind, tuple(opt.attr.dict().items()), *built_in)
    make = partial(_compile, graph, wrt, opt, *built_in, low.outputs[0])
    epoch, wide = PROGRAMS.get(("aidge fit", *key), make)
    batches = dict(zip([name for name, _, _ in low.inputs], inputs, strict=True)) | {"target": target}
    with jax.enable_x64(True) if wide else nullcontext():
        state = _state(low, opt, wrt, rates.step())
        if accumulate > 1:
            reported = ("loss", *(m.__name__ for m in metrics))
            state = state._replace(
                accumulator=accumulator
                or Accumulator(
                    {w: jnp.zeros_like(state.params[w]) for w in wrt},
                    jnp.float32(0),
                    {name: jnp.float32(0) for name in reported},
                    jnp.int32(0),
                )
            )
        place = place_of_model(model)
        if placement is None:
            placed = jax.device_put(batches, place, may_alias=True)  # just stacked: nobody else writes there
        else:
            state, placed = placement.place(state), placement.place_batches(batches)
        found, records = epoch(state, placed, None, None, last)
        records = jax.device_get(records)
        if placement is not None:
            found = jax.device_put(on_host(found), place)
    for name, tensor in {**low.params, **low.buffers}.items():
        if name in wrt or name in low.buffers:
            tensor.put(found.params[name] if name in found.params else found.buffers[name])
    opt.continue_from([found.opt[w] for w in wrt])
    rates.continue_from(int(found.step))
    for node in opt.parameters():
        node.get_operator().get_output(0).grad.set_to_zero()
    return records, found.accumulator


def _as_target(loss: Callable, low: Lowered, target: np.ndarray) -> np.ndarray:
    if loss.__name__ != "CELoss" or target.dtype.kind not in "iu":
        return target
    classes = static_shape(low.compiled.graph.value(low.outputs[0]))[-1]
    flat = target.reshape(*target.shape[:2]) if target.ndim == 3 and target.shape[2] == 1 else target
    if flat.ndim == 2:
        try:
            check_labels(flat.reshape(-1), classes)
        except DataError as e:
            raise ProviderError(f"fit: {e}") from None
        return flat.astype(np.int32)
    return target


def _with_loss(low: Lowered, loss: Callable, target: np.ndarray) -> Graph:
    """The model's graph with an input `target` and an output `loss`."""
    known = low.compiled.graph
    graph = known.copy()
    prediction = known.value(low.outputs[0])
    graph.outputs = [prediction.name]
    shape = static_shape(prediction)
    want = shape[:1] if target.dtype.kind in "iu" else shape
    if target.shape != want or (target.dtype.kind == "f" and target.dtype.name != prediction.dtype):
        raise ProviderError(
            f"fit: the model's prediction is {prediction}, the target "
            f"{target.dtype}{list(target.shape)}; {loss.__name__} needs them alike"
            + (", or class indices of an integer dtype" if loss.__name__ == "CELoss" else "")
        )
    aim = graph.input("target", target.shape, target.dtype.name)
    options = {"temperature": 2.0} if loss.__name__ == "KD" else {}
    found = losses.LOSSES[loss.__name__].emit(Builder(graph, "loss/"), prediction, aim, **options)
    graph.add("Identity", [found], names=["loss"], name="loss/Identity")
    graph.output("loss")
    return graph


def _compile(
    graph: Graph,
    wrt: tuple[str, ...],
    opt: Optimizer,
    rate: Callable,
    accumulate: int,
    metrics: tuple,
    backend: str,
    placement: Placement | None,
    prediction: str,
) -> tuple[Callable, bool]:
    program: Program = make_program(graph, seeds=["loss"], wrt=wrt, unreachable="zeros")
    chosen = {m.__name__: _metric(m, prediction) for m in metrics}
    given: ProgramLike = NumpyProgram(program) if backend == "numpy" else program
    step = (
        make_step(given, opt.rule()[0], rate, metrics=chosen)
        if accumulate == 1
        else make_accumulating_step(given, opt.rule()[0], rate, accumulate, metrics=chosen, remainder="scaled")
    )
    return make_epoch(step, compiled=backend != "numpy", placement=placement), holds_64_bits(program.graph)


def _metric(metric: Callable, prediction: str) -> Callable:
    if metric is front_end_metrics.Accuracy:
        return lambda outputs, batch: core_metrics.accuracy(outputs[prediction], batch["target"])
    return lambda outputs, batch: metric(outputs[prediction], batch["target"])


def _state(low: Lowered, opt: Optimizer, wrt: tuple[str, ...], step: int) -> TrainState:
    """Copies: the compiled epoch may overwrite what it is given."""
    params, buffers = ({k: t.array() for k, t in tensors.items()} for tensors in (low.params, low.buffers))
    held = dict(zip(wrt, opt.state_of([params[w] for w in wrt]), strict=True))
    params, buffers, held = _copies((params, buffers, held))
    return TrainState(params, buffers, held, Generator.key(), Counter.at(step))


@jax.jit
def _copies(tree: Any) -> Any:
    return jax.tree.map(jnp.copy, tree)
