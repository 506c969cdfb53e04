"""onnxruntime.training.onnxblock.optim: blocks that write an optimizer model into an empty base.

    with onnxblock.empty_base() as accessor:
        onnxblock.optim.AdamW(weight_decay=0.01)(trainable_params)
        model = accessor.model

The formulas are those of aidgejax.optim, written as nodes by onnxio/artifacts/optimizer_model.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import Any

from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper

from ......onnxio.artifacts.optimizer_model import optimizer_model, ort_optimizer_model
from ......onnxio.artifacts.sequence_optimizer import sequence_inputs, write_sequence_optimizer
from ......onnxio.artifacts.training_model import opset_of
from ......training import optim
from ..._errors import TrainingError, WrongType
from ..model_accessor import accessor
from ..onnxblock import Block, check_tensors

Parameters = Sequence[TensorProto] | tuple[Sequence[TensorProto], Sequence[TensorProto]]


class ClipGradNorm(Block):
    """gradient * min(1, max_norm / (norm + 1e-6)), and norm is that of all gradients together."""

    def __init__(self, max_norm: float) -> None:
        super().__init__()
        if not isinstance(max_norm, Real) or not max_norm > 0:
            raise TrainingError(f"ClipGradNorm: max_norm is {max_norm!r}; expected a number above 0")
        self.max_norm: float = float(max_norm)

    def build(self, *gradient_names: str) -> list[str] | str:
        if len(gradient_names) == 1 and self._info(gradient_names[0]).type.HasField("sequence_type"):
            return self._of_sequence(gradient_names[0])
        squares = [self._node("ReduceSum", self._node("Mul", g, g), keepdims=0) for g in gradient_names]
        total = squares[0] if len(squares) == 1 else self._node("Sum", *squares)
        factor = self._factor(total)
        return [self._node("Mul", g, factor) for g in gradient_names]

    def _factor(self, squares: str) -> str:
        norm = self._node("Add", self._node("Sqrt", squares), self._constant(1e-6))
        return self._node("Min", self._node("Div", self._constant(self.max_norm), norm), self._constant(1.0))

    def _of_sequence(self, gradients: str) -> str:
        """The same of a sequence of gradients, however many they are: two loops, for the norm and for the products."""
        count = self._node("SequenceLength", gradients)
        number = helper.make_tensor_value_info("total", TensorProto.FLOAT, [])
        squares = self._loop(
            count,
            self._constant(0.0),
            number,
            [
                helper.make_node("SequenceAt", [gradients, "i"], ["g"]),
                helper.make_node("Mul", ["g", "g"], ["gg"]),
                helper.make_node("ReduceSum", ["gg"], ["square"], keepdims=0),
                helper.make_node("Add", ["total", "square"], ["next"]),
            ],
        )
        factor = self._factor(squares)
        tensor = helper.make_tensor_type_proto(TensorProto.FLOAT, None)
        clipped = helper.make_value_info("total", helper.make_sequence_type_proto(tensor))
        return self._loop(
            count,
            self._node("SequenceEmpty", dtype=TensorProto.FLOAT),
            clipped,
            [
                helper.make_node("SequenceAt", [gradients, "i"], ["g"]),
                helper.make_node("Mul", ["g", factor], ["scaled"]),
                helper.make_node("SequenceInsert", ["total", "scaled"], ["next"]),
            ],
        )

    def _loop(self, count: str, start: str, carried: ValueInfoProto, nodes: list[NodeProto]) -> str:
        """`nodes` for each i below `count`: they read "i" and "total", and write "next", which is the next total."""
        after = ValueInfoProto()
        after.CopyFrom(carried)
        after.name = "next"
        goes = helper.make_tensor_value_info("goes", TensorProto.BOOL, [])
        on = helper.make_tensor_value_info("on", TensorProto.BOOL, [])
        body = helper.make_graph(
            [*nodes, helper.make_node("Identity", ["goes"], ["on"])],
            "body",
            [helper.make_tensor_value_info("i", TensorProto.INT64, []), goes, carried],
            [on, after],
        )
        return self._node("Loop", count, "", start, body=body)


class BuiltinOptimizer(Block):
    """settings: what onnxio/artifacts/optimizer_model.py takes.

    Called with what `parameters()` of a TrainingBlock returns, as ONNX Runtime has it, its inputs are sequences of all
    parameters; called with a list of those to train, an input per parameter, as generate_artifacts writes it.  Both in
    ONNX's own operators; in `empty_base(runtime="onnxruntime-training")` it is that build's one node over sequences.
    """

    rule = ""
    _model: ModelProto | None = None

    def __init__(self, clip_grad: ClipGradNorm | None, **settings: Any) -> None:
        super().__init__()
        if clip_grad is not None and not isinstance(clip_grad, ClipGradNorm):
            raise WrongType(f"clip_grad is {clip_grad!r}; expected a ClipGradNorm")
        self.settings: dict[str, Any] = settings | {"max_norm": clip_grad.max_norm if clip_grad else None}

    def build(self, parameters: Parameters) -> list[str]:
        """parameters: what `parameters()` of a TrainingBlock returns, or those to train alone."""
        is_pair = isinstance(parameters, tuple) and len(parameters) == 2 and not isinstance(parameters[0], TensorProto)
        trained: Any = parameters[0] if is_pair else parameters
        self._check_parameters(trained)
        model = self.base
        if len(model.graph.node) or len(model.graph.input):
            raise TrainingError(f"{type(self).__name__} writes a whole model: call it in an onnxblock.empty_base()")
        if is_pair and accessor().runtime == "standard":
            self._write_sequences(model, trained)
        else:
            model.CopyFrom(self._made(trained, opset_of(model), accessor().runtime))
        self._model = ModelProto()
        self._model.CopyFrom(model)
        return [o.name for o in model.graph.output]

    def _write_sequences(self, model: ModelProto, parameters: Sequence[TensorProto]) -> None:
        kinds = {p.data_type for p in parameters}
        if len(kinds) > 1 or not kinds <= {TensorProto.FLOAT, TensorProto.DOUBLE}:
            raise TrainingError(
                f"{type(self).__name__}: a sequence holds parameters of one dtype, float or double, got "
                f"{', '.join(sorted(TensorProto.DataType.Name(k) for k in kinds))}; call it with parameters()[0], "
                f"which makes an input per parameter"
            )
        (kind,) = kinds
        model.graph.input.extend(sequence_inputs(self.rule, kind))
        clip = self.settings["max_norm"]
        gradients = "gradients" if clip is None else str(ClipGradNorm(clip).build("gradients"))
        settings = {k: v for k, v in self.settings.items() if v is not None}
        write_sequence_optimizer(model, self.rule, settings, gradients, kind)

    def to_model_proto(self) -> ModelProto:
        """The optimizer model; RuntimeError before it was built."""
        if self._model is None:
            raise TrainingError("Please build the optimizer model first before trying to retrieve it.")
        return self._model

    def _check_parameters(self, parameters: Any) -> None:
        if not parameters:
            raise TrainingError(f"{type(self).__name__} was given no parameters to train")
        check_tensors(parameters, f"the parameters of {type(self).__name__}")

    def _made(self, parameters: Any, opset: int, runtime: str) -> ModelProto:
        if runtime != "standard":
            return ort_optimizer_model(self.rule, opset, **self.settings)
        like = {p.name: (tuple(p.dims), helper.tensor_dtype_to_np_dtype(p.data_type)) for p in parameters}
        return optimizer_model(rule_of(self.rule, self.settings), like, opset=opset)


class AdamW(BuiltinOptimizer):
    """Adam with decoupled decay after the step (Hugging Face): aidgejax.optim.adamw(decay="after")."""

    rule = "adamw"

    def __init__(
        self,
        bias_correction: bool = True,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        clip_grad: ClipGradNorm | None = None,
    ) -> None:
        if not isinstance(betas, Sequence) or len(betas) != 2:
            raise TrainingError(f"AdamW: betas is {betas!r}; expected two numbers")
        _check_number("betas[0]", betas[0], below=1)
        _check_number("betas[1]", betas[1], below=1)
        _check_number("eps", eps)
        _check_number("weight_decay", weight_decay)
        super().__init__(
            clip_grad,
            beta1=float(betas[0]),
            beta2=float(betas[1]),
            epsilon=float(eps),
            weight_decay=float(weight_decay),
            bias_correction="rate" if bias_correction else "none",
        )


class SGD(BuiltinOptimizer):
    """p - learning_rate * gradient."""

    rule = "sgd"

    def __init__(self, clip_grad: ClipGradNorm | None = None) -> None:
        super().__init__(clip_grad)


def rule_of(name: str, settings: dict[str, Any]) -> optim.Optimizer:
    """The optimizer of aidgejax.optim that one of ONNX Runtime's is; settings as read_ort_optimizer gives them."""
    settings = dict(settings)
    max_norm = settings.pop("max_norm", None)
    rule = optim.adamw(**{"decay": "after", **settings}) if name == "adamw" else optim.sgd()
    return optim.clipped(rule, max_norm) if max_norm is not None else rule


def _check_number(name: str, value: Any, below: float = float("inf")) -> None:
    if not isinstance(value, Real) or not 0 <= float(value) < below:
        raise TrainingError(f"AdamW: {name} is {value!r}; expected a number of at least 0 and below {below}")


__all__ = ["SGD", "AdamW", "ClipGradNorm"]
