"""aidge_learning.loss: each returns its value and leaves its gradient in prediction.grad, overwriting it.

`scaling` multiplies the gradient alone, as in Aidge.  The formulas are those of aidgejax.ops.loss; a loss is one
compiled call that gives value and gradient.  Targets are one-hot (or soft) rows of the prediction's dtype, or class
indices.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from ...errors import AidgeJaxError, DataError, NoGradientRule
from ...execution.cache import PROGRAMS, holds_64_bits
from ...execution.numpy_program import NumpyProgram
from ...execution.program import Program, make_program
from ...graph import Builder, Graph, Value
from ...training.data import check_labels
from .._shared.tensor_cell import beside
from ..aidge_core.errors import ProviderError as LabelError
from ..aidge_core.errors import TensorError, TensorTypeError
from ..aidge_core.lowering import static_shape
from ..aidge_core.tensor import Tensor, as_tensor


class Loss:
    """How a loss is written in the core's operators: emit(op, prediction, target, **options) -> loss f[]."""

    def __init__(self, name: str, emit: Callable[..., Value], shape: tuple[int, ...] = (1, 1)) -> None:
        self.name, self.emit, self.shape = name, emit, shape

    def __call__(self, tensors: dict[str, Tensor], wrt: tuple[str, ...], scaling: float, **options: Any) -> Tensor:
        first = next(iter(tensors.values()))
        call = _compiled(
            self,
            tuple((k, t.cell.shape, t.cell.dtype.name) for k, t in tensors.items()),
            wrt,
            tuple(options.items()),
            first.backend == "numpy",
        )
        if first.backend == "numpy":
            arrays = {k: t.cell.read() for k, t in tensors.items()}
        else:
            arrays = beside(first.array(), {k: t.array() for k, t in tensors.items()})
        value, grads = call(arrays, scaling)
        for w in wrt:
            tensors[w].own_gradient().seed(grads[w])
        result = Tensor(dims=self.shape, kind=first.cell.dtype)
        result.made_like(first)
        result.put(value)
        return result


def _compiled(loss: Loss, *settings: Any) -> Callable:
    return PROGRAMS.get(("aidge loss", loss.name, *settings), lambda: _compile(loss, *settings))


def _compile(loss: Loss, tensors: tuple, wrt: tuple[str, ...], options: tuple, by_numpy: bool) -> Callable:
    graph = Graph(loss.name)
    values = [graph.input(name, shape, kind) for name, shape, kind in tensors]
    graph.output(loss.emit(graph.op, *values, **dict(options)))
    program = make_program(graph, wrt=wrt)
    (output,) = graph.outputs
    if by_numpy:
        return lambda arrays, scaling: _by_numpy(program, output, arrays, scaling, loss.shape)

    def both(arrays: dict, scaling: Any) -> tuple[Any, dict]:
        outputs, saved, _ = program.forward({}, {}, arrays)
        seed = jax.numpy.asarray(scaling, outputs[output].dtype)
        return outputs[output].reshape(loss.shape), program.backward({}, saved, {output: seed})

    compiled, wide = jax.jit(both), holds_64_bits(program.graph)

    def call(arrays: dict, scaling: float) -> tuple[Any, dict]:
        with jax.enable_x64(wide):
            return compiled(arrays, np.float32(scaling) if not wide else np.float64(scaling))

    return call


def _by_numpy(program: Program, output: str, arrays: dict, scaling: float, shape: tuple) -> tuple[Any, dict]:
    numpy = NumpyProgram(program)
    outputs, saved, _ = numpy.forward({}, {}, arrays)
    value = np.asarray(outputs[output])
    seed = {output: value.dtype.type(scaling)}
    try:
        return value.reshape(shape), numpy.backward({}, saved, seed)
    except NoGradientRule:  # no plain backward for some operator: the rules, executed in NumPy
        return value.reshape(shape), numpy.backward_from_gradient_graph(saved, seed)


# ---- the losses in the core's words -----------------------------------------------------------------------


def _cross_entropy(op: Builder, p: Value, t: Value) -> Value:
    if t.is_float:
        return op.SoftLabelCrossEntropy(p, t, axis=1, assume_normalized=1)
    return op.SoftmaxCrossEntropyLoss(p, t)


def _distillation(op: Builder, student: Value, teacher: Value, temperature: float) -> Value:
    aims = op.Softmax(op.Div(teacher, temperature), axis=-1)
    return op.SoftLabelCrossEntropy(op.Div(student, temperature), aims, axis=-1)


def _multi_step(op: Builder, p: Value, t: Value, steps: int) -> Value:
    """The sum over the steps of the cross-entropy of each."""
    if t.is_float:
        mean = op.SoftLabelCrossEntropy(p, op.ExpandLike(t, p), axis=2, assume_normalized=1)
    else:
        times, n, classes = static_shape(p)
        rows = op.Reshape(p, (-1, classes))
        mean = op.SoftmaxCrossEntropyLoss(rows, op.Reshape(op.Expand(t, (times, n)), (-1,)))
    return op.Mul(mean, float(steps))


def _robust(op: Builder, low: Value, high: Value, t: Value) -> Value:
    claimed = op.ReduceSum(op.Mul(t, low), (1,), keepdims=0)
    return op.ReduceMean(op.Sub(op.ReduceLogSumExp(high, (1,), keepdims=0), claimed), keepdims=0)


LOSSES = {
    "MSE": Loss("MSE", lambda op, p, t: op.MeanSquaredError(p, t)),
    "BCE": Loss("BCE", lambda op, p, t: op.BinaryCrossEntropy(p, t, slope="quotient")),
    "CELoss": Loss("CELoss", _cross_entropy),
    "KD": Loss("KD", _distillation),
    "multiStepCELoss": Loss("multiStepCELoss", _multi_step, (1,)),
    "RobustCELoss": Loss("RobustCELoss", _robust),
}


# ---- what users call --------------------------------------------------------------------------------------


def MSE(graph: Tensor, target: Tensor, scaling: float = 1.0) -> Tensor:  # noqa: N802
    """Mean over all elements of (p - t)**2.  f[n, c], f[n, c] -> f[1, 1]."""
    return LOSSES["MSE"](_pair("MSE", graph, target), ("prediction",), _number("MSE", "scaling", scaling))


def BCE(graph: Tensor, target: Tensor, scaling: float = 1.0) -> Tensor:  # noqa: N802
    """Mean of -(t log(c + e) + (1 - t) log(1 - c + e)) of c = clip(p, 0, 1), probabilities.  f[n, c] -> f[1, 1]."""
    return LOSSES["BCE"](_pair("BCE", graph, target), ("prediction",), _number("BCE", "scaling", scaling))


def CELoss(graph: Tensor, target: Tensor, scaling: float = 1.0) -> Tensor:  # noqa: N802
    """Mean over rows of -t . log softmax(p).  f[n, c], f[n, c] or class indices i[n] -> f[1, 1]."""
    tensors = _pair("CELoss", graph, target, classes=True)
    return LOSSES["CELoss"](tensors, ("prediction",), _number("CELoss", "scaling", scaling))


def KD(student_prediction: Tensor, teacher_prediction: Tensor, temperature: float = 2.0) -> Tensor:  # noqa: N802
    """Mean over rows of -softmax(teacher / T) . log softmax(student / T).  f[n, c], f[n, c] -> f[1, 1].

    The gradient is the derivative of this value, with its 1 / (n T); Aidge leaves both out.
    """
    tensors = _pair("KD", student_prediction, teacher_prediction, ("student_prediction", "teacher_prediction"))
    t = _number("KD", "temperature", temperature)
    if not t > 0:
        raise TensorError(f"KD: the temperature is {temperature!r}; expected a number above 0")
    return LOSSES["KD"](tensors, ("student_prediction",), 1.0, temperature=t)


def multiStepCELoss(graph: Tensor, target: Tensor, nbTimeSteps: int, scaling: float = 1.0) -> Tensor:  # noqa: N802, N803
    """The sum over time steps of CELoss.  f[steps, n, c], f[n, c] or i[n] -> f[1]."""
    p = _tensor("multiStepCELoss", "prediction", graph)
    t = _target("multiStepCELoss", target, p)
    if isinstance(nbTimeSteps, bool) or not isinstance(nbTimeSteps, int | np.integer) or nbTimeSteps < 1:
        raise TensorError(f"multiStepCELoss: nbTimeSteps is {nbTimeSteps!r}; expected 1 or more")
    if p.ndim == 2 and p.cell.shape[0] % nbTimeSteps == 0:
        raise TensorError(
            f"multiStepCELoss: the prediction has shape {p.dims}; expected [steps, batch, classes]: "
            f"reshape it to [{nbTimeSteps}, {p.cell.shape[0] // nbTimeSteps}, {p.cell.shape[1]}]"
        )
    if p.ndim != 3 or p.cell.shape[0] != nbTimeSteps:
        raise TensorError(
            f"multiStepCELoss: the prediction has shape {p.dims}; expected [{nbTimeSteps}, batch, classes]"
        )
    t = _fitting("multiStepCELoss", p.cell.shape[1:], p, t, classes=True)
    return LOSSES["multiStepCELoss"](
        {"prediction": p, "target": t},
        ("prediction",),
        _number("multiStepCELoss", "scaling", scaling),
        steps=int(nbTimeSteps),
    )


def RobustCELoss(lower_bound: Tensor, upper_bound: Tensor, target: Tensor, scaling: float = 1.0) -> Tensor:  # noqa: N802
    """Mean over rows of logsumexp(upper) - t . lower.  f[n, c] three times -> f[1, 1]; both bounds get a gradient."""
    low = _tensor("RobustCELoss", "lower_bound", lower_bound)
    tensors = _pair("RobustCELoss", upper_bound, target, ("upper_bound", "target"))
    if low.cell.shape != tensors["upper_bound"].cell.shape or low.cell.dtype != tensors["upper_bound"].cell.dtype:
        raise TensorError(
            f"RobustCELoss: 'lower_bound' ({low.cell.dtype.name}{low.dims}) and 'upper_bound' "
            f"({tensors['upper_bound'].cell.dtype.name}{tensors['upper_bound'].dims}) must be alike"
        )
    ordered = {"lower_bound": low, **tensors}
    return LOSSES["RobustCELoss"](ordered, ("lower_bound", "upper_bound"), _number("RobustCELoss", "scaling", scaling))


# ---- checks -----------------------------------------------------------------------------------------------


def _tensor(loss: str, what: str, given: Any) -> Tensor:
    if not isinstance(given, Tensor):
        raise TensorTypeError(
            f"{loss}: '{what}' is {type(given).__name__}; expected a Tensor, in whose .grad the gradient is left"
        )
    if not given.has_data():
        raise TensorError(f"{loss}: '{what}' is an empty Tensor: run a forward first")
    if given.cell.dtype.kind != "f" and given.cell.dtype.name != "bfloat16":
        raise TensorError(f"{loss}: '{what}' has dtype {given.cell.dtype.name}; expected a floating-point Tensor")
    return given


def _target(loss: str, given: Any, like: Tensor, what: str = "target") -> Tensor:
    t = as_tensor(given, f"{loss}: '{what}'")
    if not t.has_data():
        raise TensorError(f"{loss}: '{what}' is an empty Tensor: it has no data")
    return t


def _pair(
    loss: str, p: Any, t: Any, names: tuple[str, str] = ("prediction", "target"), classes: bool = False
) -> dict[str, Tensor]:
    p = _tensor(loss, names[0], p)
    t = _target(loss, t, p, names[1])
    if p.ndim != 2:
        raise TensorError(f"{loss}: '{names[0]}' (shape {p.dims}) must be of 2 dimensions, [batch, classes]")
    return {names[0]: p, names[1]: _fitting(loss, p.cell.shape, p, t, names, classes)}


def _fitting(
    loss: str,
    rows: tuple[int, ...],
    p: Tensor,
    t: Tensor,
    names: tuple[str, str] = ("prediction", "target"),
    classes: bool = False,
) -> Tensor:
    """The target as the loss takes it: rows of the prediction's dtype, or int32 class indices, checked."""
    if classes and t.cell.dtype.kind in "iu" and t.cell.shape in (rows[:1], (rows[0], 1)) and t.cell.shape != rows:
        labels = t.cell.read().reshape(-1)
        try:
            check_labels(labels, rows[1], names[1])
        except DataError as e:
            raise LabelError(f"{loss}: {e}") from None
        return Tensor(labels.astype(np.int32))
    if t.cell.shape != rows:
        also = f"; class indices would have shape {[rows[0]]} and an integer dtype" if classes else ""
        raise TensorError(
            f"{loss}: '{names[0]}' (shape {p.dims}) and '{names[1]}' (shape {t.dims}) Tensors must have "
            f"the same dimensions{also}."
        )
    if t.cell.dtype != p.cell.dtype:
        raise TensorError(
            f"{loss}: '{names[0]}' ({p.cell.dtype.name}) and '{names[1]}' ({t.cell.dtype.name}) Tensors must have "
            f"the same data type; convert the target with .astype({p.cell.dtype.name!r})."
        )
    return t


def _number(loss: str, what: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, AidgeJaxError):
        raise TensorTypeError(f"{loss}: {what} is {value!r}; expected a number") from None
