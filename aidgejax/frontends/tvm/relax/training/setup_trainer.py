"""SetupTrainer: a backbone becomes a module that can be trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .....errors import GraphError
from ...errors import RelaxValueError
from ..function import IRModule
from ..graphs import in_mode
from ..transform import Gradient, LegalizeOps, Pass
from .loss import Loss
from .optimizer import Optimizer
from .utils import AppendLoss


class SetupTrainer(Pass):
    """`SetupTrainer(loss, optimizer, loss_args)(mod)`: the module with four functions, each an explicit Graph.

        backbone                (inputs, params, states) -> as given; BatchNormalization in inference form
        backbone_loss           (inputs, params, states, targets) -> loss, or (loss, updated states ...); training form
        backbone_loss_adjoint   the same arguments -> (what backbone_loss returns, gradients of the params)
        optimizer               (params, gradients, optimizer states) -> (params, optimizer states)

    The module that goes in has a function `backbone` and integers param_num and state_num; what comes out has
    input_num and optim_state too, the optimizer's initial state.  loss_args: the types of the loss's arguments.
    legalize: see to it that both backends can execute every operator; False leaves that to the build.
    """

    BACKBONE_FUNC = "backbone"
    BACKBONE_LOSS_FUNC = "backbone_loss"
    ADJOINT_FUNC = "backbone_loss_adjoint"
    OPTIMIZER_FUNC = "optimizer"
    PARAM_NUM_ATTR_KEY = "param_num"
    STATE_NUM_ATTR_KEY = "state_num"

    def __init__(self, loss: Loss, optimizer: Optimizer, loss_args: Sequence[Any], legalize: bool = True) -> None:
        self._loss: Any = loss
        self._optimizer, self._loss_args, self._legalize = optimizer, list(loss_args), legalize

    def transform_module(self, mod: IRModule) -> IRModule:
        self._check_well_formed(mod)
        params, states = _count(mod, "param_num"), _count(mod, "state_num")
        backbone = mod[self.BACKBONE_FUNC]
        inputs = len(backbone.params) - params - states
        loss = self._loss(*self._loss_args)
        mod = AppendLoss(self.BACKBONE_FUNC, loss, self._loss.num_backbone_outputs, self.BACKBONE_LOSS_FUNC)(mod)
        mod[self.BACKBONE_FUNC] = in_mode(mod[self.BACKBONE_FUNC], training=False)
        mod[self.BACKBONE_LOSS_FUNC] = in_mode(mod[self.BACKBONE_LOSS_FUNC], training=True)
        trained = backbone.params[inputs : inputs + params]
        mod = Gradient(self.BACKBONE_LOSS_FUNC, require_grads=trained, target_index=0)(mod)
        self._optimizer.init(trained)
        mod[self.OPTIMIZER_FUNC] = self._optimizer.get_function().with_attr("global_symbol", self.OPTIMIZER_FUNC)
        mod = mod.with_attrs(
            {"input_num": inputs, "param_num": params, "state_num": states, "optim_state": self._optimizer.state}
        )
        return LegalizeOps()(mod) if self._legalize else mod

    def _check_well_formed(self, mod: IRModule) -> None:
        if self.BACKBONE_FUNC not in mod:
            raise RelaxValueError(
                "SetupTrainer: The backbone module does not contain a function named backbone; it "
                f"has {', '.join(mod.functions) or 'none'}"
            )
        backbone = mod[self.BACKBONE_FUNC]
        try:
            backbone.graph.check()
        except GraphError as e:
            raise RelaxValueError(f"SetupTrainer: The backbone module is not well formed. {e}") from None
        for key in (self.PARAM_NUM_ATTR_KEY, self.STATE_NUM_ATTR_KEY):
            value = mod.attrs.get(key)
            value = getattr(value, "value", value)
            if isinstance(value, bool) or not isinstance(value, int | np.integer):
                raise RelaxValueError(
                    f"SetupTrainer: The backbone module should has an integer attribute named {key}; "
                    f"set it with mod.with_attrs({{{key!r}: ...}})"
                )
        params, states = _count(mod, "param_num"), _count(mod, "state_num")
        if params < 0 or states < 0 or len(backbone.params) < params + states:
            raise RelaxValueError(
                f"SetupTrainer: The number of parameters of the predict function should be no less "
                f"than the number of parameters and states: it has {len(backbone.params)}, "
                f"param_num is {params} and state_num is {states}"
            )
        if states and (isinstance(backbone.result, str) or len(backbone.result) <= states):
            raise RelaxValueError(
                f"SetupTrainer: When model state exists, the predict function should return a tuple "
                f"of length more than the number of states: state_num is {states}, it returns "
                f"{backbone.ret_struct_info}"
            )


def _count(mod: IRModule, key: str) -> int:
    """An integer attribute, which may be wrapped as tvm.tir.IntImm wraps it."""
    value = mod.attrs.get(key)
    return int(getattr(value, "value", value))
