"""AppendLoss: a function and a loss as one function."""

from __future__ import annotations

from typing import Any

from .....passes.edit import inline
from ...._shared.absent_names import absent_name
from ...errors import InternalError
from ..expr import Var
from ..function import Function, IRModule, declare, type_of_structure
from ..structure import flat, mapped
from ..transform import Pass


class AppendLoss(Pass):
    """Adds `<func_name>_loss` (or new_func_name): the function, and a loss of its first num_backbone_outputs results.

    It takes the function's parameters, then the loss's further ones (targets, weights), and returns the loss, followed
    by the function's other results.
    """

    def __init__(
        self, func_name: str, loss_function: Function, num_backbone_outputs: int = 1, new_func_name: str | None = None
    ) -> None:
        self._name, self._loss, self._taken = func_name, loss_function, num_backbone_outputs
        self._new_name = new_func_name or f"{func_name}_loss"

    def transform_module(self, mod: IRModule) -> IRModule:
        backbone, loss = mod[self._name], self._loss
        self._check(backbone)
        function = backbone.copy(self._new_name)
        results = list(flat(backbone.result))
        given: dict[str, str] = {}
        for p, r in zip(loss.params[: self._taken], results, strict=False):
            given[loss.names[p]] = r
        more = [Var(p.name_hint, p.struct_info) for p in loss.params[self._taken :]]
        for p, own in zip(loss.params[self._taken :], more, strict=True):
            function.names[own] = declare(function.graph, own)
            given |= dict(zip(flat(loss.names[p]), flat(function.names[own]), strict=True))
        names = inline(function.graph, loss.graph, given)
        found = mapped(lambda n: names[n], loss.result)
        rest = results[self._taken :]
        after = mod.copy()
        after[self._new_name] = Function(
            self._new_name,
            function.graph,
            [*backbone.params, *more],
            (found, *rest) if rest else found,
            function.names,
            attrs={**backbone.attrs, "global_symbol": self._new_name},
            starts=function.starts,
            ends=function.ends,
        )
        return after

    def _check(self, backbone: Function) -> None:
        loss, taken = self._loss, self._taken
        if not loss.is_dataflow:
            raise InternalError("The loss function should have only one DataflowBlock")
        if not isinstance(loss.result, str) or loss.graph.value(loss.result).shape != ():
            raise InternalError(
                f"The loss function must return a scalar(0-dim Tensor) Var; {loss.name!r} returns "
                f"{loss.ret_struct_info}. Use reduction='mean' or 'sum'"
            )
        results = (backbone.result,) if isinstance(backbone.result, str) else backbone.result
        if not all(isinstance(r, str) for r in results):
            raise InternalError("The return value of the backbone should be either a Var or a Tuple of Vars")
        if len(results) < taken:
            raise InternalError(
                f"The number of return values of the backbone function is {len(results)}, which is "
                f"less than the given num_backbone_outputs {taken}"
            )
        if len(loss.params) < taken:
            raise InternalError(
                f"The number of parameters of the loss function is {len(loss.params)}, which is less "
                f"than the given num_backbone_outputs {taken}"
            )
        for k, p in enumerate(loss.params[:taken]):
            type_ = type_of_structure(backbone.graph, results[k])
            if type_ != p.struct_info:
                raise InternalError(
                    f"The type of the {k}-th return value of backbone function is: {type_} while the "
                    f"corresponding type of parameter of loss function is {p.struct_info}, which is "
                    f"different."
                )
        if not backbone.is_dataflow:
            raise InternalError("Backbone should have only one DataflowBlock")


ABSENT = {"register_te_gradient": "tensor expressions are out of scope; every operator of relax.op has its gradient"}


def __getattr__(name: str) -> Any:
    raise absent_name(__name__, name, ABSENT)
