"""Losses: objects that build a function (predictions, targets[, weights]) -> loss for given types."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from .....errors import AidgeJaxError
from .....graph import Value
from ...errors import RelaxTypeError, RelaxValueError
from .. import op as relax_op
from ..block_builder import BlockBuilder
from ..expr import Call, Expr, Var
from ..function import Function
from ..op.nn import check_classes, over_classes
from ..types import TensorType, TupleType

REDUCTIONS = ["mean", "sum", "none"]


class BadReduction(AidgeJaxError, ValueError):
    """A reduction that is none of "mean", "sum", "none".  As in TVM the two parts of its message are two arguments."""

    def __str__(self) -> str:
        return "".join(map(str, self.args))


class Loss:
    """The base of all losses; calling one with types (or Vars, which lend their names) builds its Function.

    loss_name: the name of that function.  num_backbone_outputs: how many of a backbone's results it takes.
    """

    _valid_reductions: ClassVar[list[str]] = REDUCTIONS

    def __init__(self, loss_name: str, num_backbone_outputs: int, reduction: str = "mean") -> None:
        if reduction not in REDUCTIONS:
            raise BadReduction("Reduction can only be one of these values: ", REDUCTIONS)
        self._loss_name, self._num_backbone_outputs, self._reduction = loss_name, num_backbone_outputs, reduction

    @property
    def num_backbone_outputs(self) -> int:
        return self._num_backbone_outputs

    def _create_param_var(self, param: Any, param_name: str) -> Var:
        """A parameter of the function: of this type, or a copy of this Var."""
        if isinstance(param, Var):
            return Var(param.name_hint, param.struct_info)
        if isinstance(param, TensorType | TupleType):
            return Var(param_name, param)
        raise RelaxTypeError(
            f"{param_name} of {self._loss_name} should be a TensorType (TensorStructInfo) or a Var, "
            f"got {type(param).__name__}"
        )

    def _with_reduction(self, expr: Expr) -> Expr:
        """The expression reduced as this loss says."""
        if self._reduction == "none":
            return expr
        return relax_op.mean(expr) if self._reduction == "mean" else relax_op.sum(expr)

    def _function(self, params: list[Var], write: Callable[..., Value]) -> Function:
        """The function of these parameters whose nodes `write(op, *values)` writes."""
        bb = BlockBuilder()
        with bb.function(self._loss_name, params):
            with bb.dataflow():
                loss = bb.emit_output(Call(f"loss.{self._loss_name}", params, write), "loss")
            bb.emit_func_output(loss)
        return bb.get()[self._loss_name]

    def _reduced(self, op: Any, each: Any) -> Value:
        if self._reduction == "none":
            return each
        return op.ReduceMean(each, keepdims=0) if self._reduction == "mean" else op.ReduceSum(each, keepdims=0)


class L1Loss(Loss):
    """|predictions - targets|, its slope at 0 is 1; mean divides by the number of all elements."""

    def __init__(self, reduction: str = "mean") -> None:
        super().__init__("l1_loss", 1, reduction)

    def __call__(self, predictions: Any, targets: Any) -> Function:
        params = [self._create_param_var(predictions, "predictions"), self._create_param_var(targets, "targets")]

        def write(op: Any, p: Any, t: Any) -> Value:
            if p.shape == t.shape:
                return op.MeanAbsoluteError(p, t, reduction=self._reduction, slope_at_zero=1.0)
            return self._reduced(op, op.Abs(op.Sub(p, t), slope_at_zero=1.0))

        return self._function(params, write)


class MSELoss(Loss):
    """(predictions - targets)^2; mean divides by the number of all elements."""

    def __init__(self, reduction: str = "mean") -> None:
        super().__init__("mse_loss", 1, reduction)

    def __call__(self, predictions: Any, targets: Any) -> Function:
        params = [self._create_param_var(predictions, "predictions"), self._create_param_var(targets, "targets")]

        def write(op: Any, p: Any, t: Any) -> Value:
            if p.shape == t.shape:
                return op.MeanSquaredError(p, t, reduction=self._reduction)
            d = op.Sub(p, t)
            return self._reduced(op, op.Mul(d, d))

        return self._function(params, write)


class _OverClasses(Loss):
    """What the two cross-entropies share: their parameters."""

    _write: Callable[..., Value]

    def __init__(self, name: str, reduction: str, ignore_index: int) -> None:
        super().__init__(name, 1, reduction)
        self.ignore_index = ignore_index

    def __call__(self, predictions: Any, targets: Any, weights: Any = None) -> Function:
        params = [self._create_param_var(predictions, "predictions"), self._create_param_var(targets, "targets")]
        if weights is not None:
            params.append(self._create_param_var(weights, "weights"))
        return self._function(params, lambda op, p, t, w=None: self._write(op, p, t, w))


class CrossEntropyLoss(_OverClasses):
    """-weights[target] * log softmax(predictions) at target, classes on axis 1 (0 without a batch).

    mean divides by the sum of the weights of what is not ignored.
    """

    def __init__(self, reduction: str = "mean", ignore_index: int = -100) -> None:
        super().__init__("cross_entropy_loss", reduction, ignore_index)

    def _write(self, op: Any, p: Any, t: Any, w: Any) -> Value:
        return over_classes(op, "SoftmaxCrossEntropyLoss", p, t, w, self._reduction, self.ignore_index)


class CategoricalCrossEntropyLoss(_OverClasses):
    """The same against one-hot targets of an integer dtype.  As in TVM mean divides by the number of all elements.

    With an ignore_index >= 0 it is CrossEntropyLoss of the class that is hot.
    """

    def __init__(self, reduction: str = "mean", ignore_index: int = -100) -> None:
        super().__init__("categorical_cross_entropy_loss", reduction, ignore_index)

    def _write(self, op: Any, p: Any, t: Any, w: Any) -> Value:
        if "int" not in (t.dtype or ""):
            raise RelaxTypeError(
                f"Dtype of targets expected to be int/uint. However, the dtype of targets is {t.dtype}"
            )
        if p.shape != t.shape:
            raise RelaxValueError(
                f"CategoricalCrossEntropyLoss expects one-hot targets of the shape of predictions. "
                f"However, predictions are {p} and targets are {t}"
            )
        axis = min(1, p.rank - 1)
        if self.ignore_index >= 0:
            labels = Value(op.ArgMax(t, axis=axis, keepdims=0).name, (*p.shape[:axis], *p.shape[axis + 1 :]), "int64")
            return over_classes(op, "SoftmaxCrossEntropyLoss", p, labels, w, self._reduction, self.ignore_index)
        each = op.Neg(op.Mul(op.LogSoftmax(p, axis=axis), op.CastLike(t, p)))
        if w is not None:
            check_classes(p, Value("targets", (*p.shape[:axis], *p.shape[axis + 1 :]), "int64"), w)
            positions = tuple(range(1, p.rank - 1))
            each = op.Mul(each, op.Unsqueeze(w, positions) if positions else w)
        return self._reduced(op, each)
