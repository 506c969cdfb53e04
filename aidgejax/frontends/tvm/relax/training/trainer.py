"""Trainer: holds parameters, states and the optimizer's state, and runs the module that SetupTrainer made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .....graph import Graph
from .....training.parallel import Placement
from .....training.placed_arrays import on_host, put
from ...._shared.tensor_cell import moved_to
from ...errors import NotReady, RelaxValueError, SymbolicShape, WrongTargets
from ...runtime import Device, Tensor, check, profiling, unwrap
from ...runtime.profiling import Report
from ..expr import Var
from ..function import IRModule
from ..graphs import with_producers
from ..structure import flat
from ..vm import VirtualMachine
from .setup_trainer import SetupTrainer
from .step import Layout, TrainingStep

Arrays = Sequence[Any] | Mapping[str, Any]


class Trainer:
    """Trains a module from SetupTrainer, built into a VirtualMachine.

    zero_init_param_state: begin with zeros in all parameters and states, whose shapes must be numbers then.
    placement: over which devices, as aidgejax.fit takes it: data_parallel() lays the rows of each batch over them,
        sharded() the parameters and the optimizer's state as well, whose shapes must be numbers then.
    The optimizer's state is copied from the module, so that two trainers of one module do not meet.
    """

    BACKBONE_FUNC = SetupTrainer.BACKBONE_FUNC
    BACKBONE_LOSS_FUNC = SetupTrainer.BACKBONE_LOSS_FUNC
    ADJOINT_FUNC = SetupTrainer.ADJOINT_FUNC
    OPTIMIZER_FUNC = SetupTrainer.OPTIMIZER_FUNC

    def __init__(
        self,
        train_mod: IRModule,
        vm: VirtualMachine,
        device: Device,
        zero_init_param_state: bool = True,
        placement: Placement | None = None,
    ) -> None:
        missing = [k for k in ("input_num", "param_num", "state_num", "optim_state") if k not in train_mod.attrs]
        if missing:
            raise RelaxValueError(
                f"the module lacks the attributes {', '.join(missing)}: "
                f"make it with SetupTrainer(loss, optimizer, loss_args)(mod)"
            )
        if device != vm.device:
            raise RelaxValueError(f"the trainer was given device {device}, its VirtualMachine runs on {vm.device}")
        self._placement = placement
        self.mod, self.vm, self.device = train_mod.without_attr("optim_state"), vm, device
        inputs, params = (int(train_mod.attrs[k]) for k in ("input_num", "param_num"))
        declared = train_mod[self.BACKBONE_FUNC].params
        self._input_vars, self._param_vars = declared[:inputs], declared[inputs : inputs + params]
        self._state_vars = declared[inputs + params :]
        self._target_vars = train_mod[self.BACKBONE_LOSS_FUNC].params[len(declared) :]
        self._params: list[Any] = [None] * len(self._param_vars)
        self._states: list[Any] = [None] * len(self._state_vars)
        self._layout = None if placement is None else self._laid_out(placement)
        self._optim_state = self._own(train_mod.attrs["optim_state"])
        self._step = TrainingStep(
            vm[self.ADJOINT_FUNC].lowered,
            vm[self.OPTIMIZER_FUNC].lowered,
            (inputs, params, len(self._state_vars)),
            self._layout,
        )
        self._updates = 0
        if zero_init_param_state:
            self.zero_init_params()
            self.zero_init_states()

    # ---- parameters and states ------------------------------------------------------------------------

    def zero_init_params(self) -> None:
        self._params = self._placed([np.zeros(_static(v), jnp.dtype(v.struct_info.dtype)) for v in self._param_vars])

    def zero_init_states(self) -> None:
        self._states = [self._place(np.zeros(_static(v), jnp.dtype(v.struct_info.dtype))) for v in self._state_vars]

    def xaiver_uniform_init_params(self) -> None:
        """Draw every parameter, biases too, from sqrt(6 / sum(shape)) * U(-1, 1), with NumPy's global generator.

        Source: TVM; the sum is over all sizes, which for a matrix is Glorot's rule.
        """
        shapes = [_static(v) for v in self._param_vars]
        scalars = [v.name_hint for v, s in zip(self._param_vars, shapes, strict=True) if sum(s) == 0]
        if scalars:
            raise RelaxValueError(
                f"parameter {', '.join(scalars)} is a scalar or empty: the rule divides by the sum "
                f"of its sizes. Set it with load_params({{{scalars[0]!r}: ...}})"
            )
        drawn = [np.sqrt(6.0 / np.sum(s)) * np.random.uniform(-1.0, 1.0, s) for s in shapes]
        self._params = self._placed(
            [d.astype(jnp.dtype(v.struct_info.dtype)) for d, v in zip(drawn, self._param_vars, strict=True)]
        )

    xavier_uniform_init_params = xaiver_uniform_init_params

    def load_params(self, params: Arrays) -> None:
        """Set all parameters (a list) or some by name (a dict); nothing changes when anything is wrong."""
        found = self._loaded(self._params, self._param_vars, params, "params", "Parameter", "parameters")
        self._params = self._placed(found)

    def load_states(self, states: Arrays) -> None:
        """Set all states (a list) or some by name (a dict); nothing changes when anything is wrong."""
        self._states = self._loaded(self._states, self._state_vars, states, "states", "State", "model states")

    def export_params(self) -> dict[str, Tensor]:
        """{name: tensor} in the order of the backbone's parameters."""
        self._check_ready(states=False)
        return {v.name_hint: Tensor(a) for v, a in zip(self._param_vars, self._params, strict=True)}

    def export_states(self) -> dict[str, Tensor]:
        self._check_ready(params=False)
        return {v.name_hint: Tensor(a) for v, a in zip(self._state_vars, self._states, strict=True)}

    def export_optim_states(self) -> dict[str, Tensor]:
        """{name: tensor} of the optimizer's state, copied: the number of steps first, then as the optimizer says."""
        return dict(zip(self._optim_names, map(Tensor, self._own(self._optim_state)), strict=True))

    def load_optim_states(self, states: Arrays) -> None:
        """Set the optimizer's state from what export_optim_states gave, or its values in order."""
        declared = [Var(n, t) for n, t in zip(self._optim_names, self._optim_types, strict=True)]
        found = self._loaded(self._optim_state, declared, states, "optim_states", "Optimizer state", "optimizer states")
        self._optim_state = self._own(found)

    export_optim_state, load_optim_state = export_optim_states, load_optim_states

    # ---- running --------------------------------------------------------------------------------------

    def predict(self, *input_instances: Any) -> Any:
        """What the backbone returns but for the updated states: a tensor, or a list of several.  Inference form."""
        self._check_inputs(input_instances)
        self._check_ready()
        found = self.vm[self.BACKBONE_FUNC](*input_instances, *self._params, *self._states)
        if isinstance(found, Tensor):
            return found
        found = list(found)[: len(found) - len(self._state_vars)]
        return found[0] if len(found) == 1 else found

    def update(self, input_instances: Any, targets: Any) -> Tensor:
        """One training step; each argument is an array, or a list (tuple) of several.  Returns the loss before it.

        One compiled program per step; nothing waits for it until a value is read.
        """
        batch = self._batch(input_instances, targets)
        with jax.enable_x64(True):
            loss, self._params, self._states, self._optim_state = self._step(
                self._params, self._states, self._optim_state, batch, np.int32(self._updates)
            )
        self._updates += 1
        return Tensor(loss)

    def update_many(self, input_instances: Any, targets: Any) -> Tensor:
        """As many training steps as axis 0 has entries, as one compiled program.  Returns f[steps], the losses."""
        batch = self._batch(input_instances, targets, stacked=True)
        with jax.enable_x64(True):
            losses, self._params, self._states, self._optim_state = self._step.scanned(
                self._params, self._states, self._optim_state, batch, np.int32(self._updates)
            )
        self._updates += losses.shape[0]
        return Tensor(losses)

    def profile_adjoint(self, input_instances: Any, targets: Any) -> Report:
        """Execute backbone_loss_adjoint node by node and report what each took; nothing is updated.

        The configuration has the time of the same adjoint, and of a whole update, as one compiled program.  Under a
        placement the nodes and the adjoint are timed on the first device alone, which then holds whole parameters, and
        the update on all.
        """
        if not self.vm.profile_enabled:
            raise NotReady(
                "profile_adjoint needs a VirtualMachine that was made with profile=True: "
                "VirtualMachine(ex, device, profile=True)"
            )
        batch = self._batch(input_instances, targets)
        lowered, inputs = self._step.adjoint, len(self._input_vars)
        with jax.enable_x64(True):
            held, given = [self._params, self._states], batch
            batch = jax.device_put(list(batch), self.device.jax)
            if self._placement is None:
                given = batch
            else:
                held = jax.device_put(on_host(held), self.device.jax)
            arrays = [*batch[:inputs], *held[0], *held[1], *batch[inputs:]]
            key = self._step.key(np.int32(self._updates)) if lowered.is_random else None
            fused, whole = jax.jit(lowered), self._step.undonated
            beside = {
                "Fused adjoint (us)": lambda: fused(arrays, key),
                "Fused step (us)": lambda: whole(
                    self._params, self._states, self._optim_state, given, np.int32(self._updates)
                ),
            }
            known = dict(zip(lowered.graph.inputs, arrays, strict=True)) | lowered.graph.constants
            return profiling.profile(lowered.evaluator, known, self.device.jax, beside, key=key)

    def graph(self, *, loss: bool = False) -> Graph:
        """The backbone as a Graph of aidgejax that brings the trained arrays along: for onnxio, artifacts, backends.

        loss: the training form instead, its first output named "loss": for make_program, make_step and fit.
        """
        self._check_ready()
        function = self.mod[self.BACKBONE_LOSS_FUNC if loss else self.BACKBONE_FUNC]
        results = flat(function.result)
        results = results[: len(results) - len(self._state_vars)]
        named = {r: r for r in results[1 if loss else 0 :]}
        outputs = {"loss": results[0], **named} if loss else named
        params, states = (
            {leaf: a for v, a in zip(vs, arrays, strict=True) for leaf in flat(function.names[v])}
            for vs, arrays in ((self._param_vars, self._params), (self._state_vars, self._states))
        )
        return with_producers(function, params, states, outputs)

    # ---- inside ---------------------------------------------------------------------------------------

    @property
    def _optim_names(self) -> list[str]:
        function = self.mod[self.OPTIMIZER_FUNC]
        return flat(function.names[function.params[2]])

    @property
    def _optim_types(self) -> list[Any]:
        return list(self.mod[self.OPTIMIZER_FUNC].params[2].struct_info.fields)

    def _place(self, array: Any) -> Any:
        with jax.enable_x64(True):
            return jax.device_put(array, self._where, may_alias=False)  # the caller may write into it, a step does

    def _placed(self, params: list[Any]) -> list[Any]:
        """Parameters where they lie; None stays for one that is not there yet."""
        if self._layout is None:
            return [None if a is None else self._place(a) for a in params]
        pairs = zip(params, self._layout.params, strict=True)
        return [None if a is None else put(a, s) for a, s in pairs]

    def _laid_out(self, placement: Placement) -> Layout:
        split = placement.splits or placement.rules
        shapes = {v.name_hint: _static(v) if split else () for v in self._param_vars}
        states = {n: tuple(t.shape) for n, t in zip(self._optim_names, self._optim_types, strict=True)}
        return Layout(placement, shapes, states, [jnp.dtype(v.struct_info.dtype) for v in self._param_vars])

    @property
    def _where(self) -> Any:
        return self.device.jax if self._placement is None else self._placement.everywhere

    def _laid(self, array: Any, before: int) -> Any:
        """A batch over the devices, by axis `before`; on one device where the trainer is, wherever it was made."""
        if self._placement is None:
            return moved_to(self.device.jax, array)
        if np.ndim(array) <= before:
            return put(array, self._placement.everywhere)
        self._placement.check_batch(np.shape(array)[before])
        return put(array, self._placement.by_rows(before))

    def _own(self, tensors: Sequence[Any]) -> list[Any]:
        """Copies on the device: a step gives these buffers away."""
        where = self._where if self._layout is None else self._layout.optim_state
        with jax.enable_x64(True):
            return [jnp.array(a, copy=True) for a in jax.device_put([unwrap(t) for t in tensors], where)]

    def _loaded(self, old: list[Any], declared: list[Var], given: Arrays, what: str, one: str, many: str) -> list[Any]:
        if isinstance(given, Mapping):
            at = {v.name_hint: k for k, v in enumerate(declared)}
            unknown = [k for k in given if k not in at]
            if unknown:
                raise RelaxValueError(
                    f"{one} {', '.join(map(str, unknown))} is not found in the model; it has {', '.join(at) or 'none'}"
                )
            pairs = [(at[k], a) for k, a in given.items()]
        elif isinstance(given, list):
            if len(given) != len(declared):
                raise RelaxValueError(
                    f"The length of extern {many.split()[-1]} is {len(given)}, which does not match "
                    f"the number of {many} {len(declared)}"
                )
            pairs = list(enumerate(given))
        else:
            raise RelaxValueError(
                f"The type of extern_{what} should be either list or dict, got {type(given).__name__}"
            )
        new = list(old)
        for k, a in pairs:
            type_ = declared[k].struct_info
            new[k] = check(f"{one} {declared[k].name_hint}: {type_}", a, type_.shape, type_.dtype)
        placed = self._place([new[k] for k, _ in pairs])
        for (k, _), a in zip(pairs, placed, strict=True):
            new[k] = a
        return new

    def _check_ready(self, params: bool = True, states: bool = True) -> None:
        for arrays, what, asked in ((self._params, "parameter", params), (self._states, "model state", states)):
            for k, a in enumerate(arrays):
                if asked and a is None:
                    raise NotReady(
                        f"The {k}-th {what} is not initialized before training or inference. Load it, or "
                        f"call zero_init_{'params' if what == 'parameter' else 'states'}()"
                    )

    def _check_inputs(self, given: Sequence[Any]) -> None:
        if len(given) != len(self._input_vars):
            raise RelaxValueError(
                f"The length of the input does not match the backbone: got {len(given)}, expected "
                f"{len(self._input_vars)} ({', '.join(v.name_hint for v in self._input_vars)})"
            )

    def _batch(self, inputs: Any, targets: Any, stacked: bool = False) -> list[Any]:
        """Inputs and targets, checked; stacked: with an axis of steps in front."""
        inputs, targets = _listed(inputs), _listed(targets)
        self._check_inputs(inputs)
        if len(targets) != len(self._target_vars):
            raise WrongTargets(
                f"The number of targets does not match the loss: got {len(targets)}, expected "
                f"{len(self._target_vars)} ({', '.join(v.name_hint for v in self._target_vars)})"
            )
        self._check_ready()
        sizes: dict[str, int] = {}
        lead = ("steps",) if stacked else ()
        checked = [
            check(
                f"{self.ADJOINT_FUNC}, {v.name_hint}: {v.struct_info}",
                a,
                lead + v.struct_info.shape,
                v.struct_info.dtype,
                sizes,
            )
            for v, a in zip([*self._input_vars, *self._target_vars], [*inputs, *targets], strict=True)
        ]
        return [self._laid(a, len(lead)) for a in checked]


def _listed(arrays: Any) -> list[Any]:
    return list(arrays) if isinstance(arrays, list | tuple) else [arrays]


def _static(var: Var) -> tuple[int, ...]:
    if not var.struct_info.is_static:
        raise SymbolicShape(
            f"{var.name_hint} has type {var.struct_info}, and an initialization needs every size as a "
            f"number. Use Trainer(..., zero_init_param_state=False) and load {var.name_hint}"
        )
    return var.struct_info.shape
