"""singa.model: Model, a layer that trains itself.

    class MLP(model.Model):
        def __init__(self): ...
        def forward(self, x): ...
        def train_one_batch(self, x, y):
            out = self.forward(x)
            loss = self.softmax_cross_entropy(out, y)
            self.optimizer(loss)
            return out, loss

    m = MLP()
    m.set_optimizer(opt.SGD(lr=0.05))
    m.compile([tx], is_train=True, use_graph=True)
    out, loss = m(tx, ty)

With use_graph the whole train_one_batch, optimizer included, is one compiled program.  Python runs it once per set of
input shapes, with traced arrays inside the tensors; afterwards only the program runs.  Unlike SINGA's it takes the
tensors that are passed to it, of any batch size.
"""

from __future__ import annotations

import os
from contextlib import nullcontext
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec, SingleDeviceSharding

from ...graph import Graph
from ...training.placed_arrays import put
from .._shared.traced_step import CompiledStep
from ._ctensor import DTYPES, CTensor
from ._dist import DistOpt
from ._errors import NotATensor, StatesError, Unsupported
from ._export import to_graph
from ._layer_base import Layer, LayerMeta
from ._mode import set_training, training_set_to
from ._states import read_states, write_states
from ._tensor import Tensor

__all__ = ["Model", "ModelMeta"]

ModelMeta = LayerMeta


class Model(Layer):
    """Subclass it with `forward` and `train_one_batch`."""

    def __init__(self) -> None:
        super().__init__()
        self.__dict__.update(training=True, graph_mode=True, sequential=False, _steps={}, _examples=[])

    # ---- what a user calls ----------------------------------------------------------------------------

    def compile(
        self, inputs: list[Tensor], is_train: bool = True, use_graph: bool = False, sequential: bool = False
    ) -> None:
        """Make the parameters by running `forward` once on tensors like `inputs`, and set the mode.

        use_graph: compile train_one_batch as a whole.  sequential: accepted, and without effect: XLA orders what it
        computes, and never runs two operations that depend on each other out of order.
        Nothing is trained, and running statistics stay as they are.
        """
        if not isinstance(inputs, tuple | list) or not inputs or not all(isinstance(t, Tensor) for t in inputs):
            raise NotATensor(
                f"{type(self).__name__}.compile: compile function expects PlaceHolders or Tensors in a "
                f"list, got {inputs!r}"
            )
        self._steps.clear()
        self._examples = [(t.shape, DTYPES[t.dtype], t.device) for t in inputs]
        self.training = False
        with training_set_to(False):
            self.forward(*self._placeholders())
        self._initialized = True
        self.__dict__["_state"] = next(iter(self.get_states().values()), None)
        self.train(is_train)
        self.graph(use_graph, sequential)

    def __call__(self, *inputs: Any, **kwargs: Any) -> Any:
        """train_one_batch in training, forward otherwise.  Tensors on another device are brought to the model's."""
        inputs, kwargs = jax.tree.map(self._brought, (inputs, kwargs), is_leaf=lambda v: v is None)
        if not self.training:
            return self.forward(*inputs, **kwargs)
        if not self.graph_mode or not self._initialized:
            return self.train_one_batch(*inputs, **kwargs)
        return self._in_one_program(inputs, kwargs)

    def forward(self, *inputs: Any) -> Any:
        raise Unsupported(f"{type(self).__name__} has no forward: write one in the class")

    def train_one_batch(self, *inputs: Any, **kwargs: Any) -> Any:
        raise Unsupported(
            f"{type(self).__name__} has no train_one_batch: write one in the class, that calls self.optimizer(loss)"
        )

    def set_optimizer(self, optimizer: Any) -> None:
        """Keep the optimizer as self.optimizer."""
        self.optimizer = optimizer

    def train(self, mode: bool = True) -> None:
        """Training mode, for this model and for autograd."""
        self.training = bool(mode)
        set_training(mode)

    def eval(self) -> None:
        """Evaluation mode: calling the model runs forward."""
        self.train(False)

    def graph(self, mode: bool = True, sequential: bool = False) -> None:
        """Whether train_one_batch is compiled as a whole."""
        self.graph_mode, self.sequential = bool(mode), bool(sequential)

    def __setattr__(self, name: str, value: Any) -> None:
        if "_steps" not in self.__dict__:
            Model.__init__(self)
        if name == "optimizer":
            self._steps.clear()  # its state is part of the compiled steps
        super().__setattr__(name, value)

    # ---- files ------------------------------------------------------------------------------------------

    def save_states(self, fpath: str | os.PathLike, aux_states: dict[str, Tensor] | None = None) -> None:
        """Write all states, and the tensors of aux_states, to a file that does not exist yet: SINGA's zip."""
        if os.path.exists(fpath):
            raise StatesError(
                f"Failed to save states, {os.fspath(fpath)} is already existed. Remove it, or take another name"
            )
        aux = aux_states or {}
        for name, t in aux.items():
            if not isinstance(t, Tensor):
                raise StatesError(f"Only tensor aux state is allowed; {name!r} is {type(t).__name__}")
        states = self.get_states()
        clash = sorted(set(aux) & set(states))
        if clash:
            raise StatesError(f"aux_states: {', '.join(map(repr, clash))} is a state of the model; take another name")
        write_states(fpath, {k: (0, t) for k, t in states.items()} | {k: (1, t) for k, t in aux.items()})

    def load_states(self, fpath: str | os.PathLike) -> dict[str, Tensor]:
        """Read such a file: the model's states are set, the others are returned as {name: Tensor}.

        Raises StatesError where the file is damaged or lacks a state (nothing is changed then), or before `compile`,
        when there is nothing to set yet.
        """
        if not os.path.isfile(fpath):
            raise StatesError(f"Failed to load states, {os.fspath(fpath)} is not exist.")
        found = read_states(fpath)
        own = self.get_states()
        if not own and any(kind == 0 for kind, _ in found.values()):
            raise StatesError(f"{type(self).__name__} has no states to load {os.fspath(fpath)} into: compile it first")
        self.set_states({k: a for k, (kind, a) in found.items() if kind == 0})
        return {
            k: Tensor(data=a, dtype=a.dtype, requires_grad=False, name=k) for k, (kind, a) in found.items() if kind == 1
        }

    # ---- everything else of aidgejax ----------------------------------------------------------------------

    def to_graph(self, inputs: list[Tensor] | None = None, *, batch: str | None = "N") -> Graph:
        """`forward` as an aidgejax Graph, with inputs "x" (or "x0", "x1", ...) and output "output".

        inputs: tensors of the right shapes; by default those of `compile`.  batch: the name of their first size, so
        that the graph takes any; None fixes it.  Train the graph with aidgejax.training after aidgejax.with_loss,
        export it with aidgejax.onnxio.write; hand trained arrays back with `set_states`.
        """
        given = list(inputs) if inputs is not None else self._placeholders()
        if not given:
            raise Unsupported(f"{type(self).__name__}.to_graph: give inputs=[...], or compile the model first")
        mode, self.training = self.training, False
        try:
            with training_set_to(False):
                outputs = self.forward(*given)
        finally:
            self.training = mode
        params = self.get_params()
        names = ["x"] if len(given) == 1 else [f"x{k}" for k in range(len(given))]
        return to_graph(
            outputs,
            dict(zip(names, given, strict=True)),
            params,
            {k: t for k, t in self.get_states().items() if k not in params},
            name=type(self).__name__,
            batch=batch,
        )

    # ---- inside -------------------------------------------------------------------------------------------

    def _placeholders(self) -> list[Tensor]:
        return [
            Tensor(
                device=device,
                data=CTensor(device=device, array=device.place(jnp.zeros(shape, dtype))),
                requires_grad=False,
            )
            for shape, dtype, device in self._examples
        ]

    def _in_one_program(self, inputs: tuple, kwargs: dict[str, Any]) -> Any:
        leaves, tree = jax.tree.flatten((inputs, kwargs), is_leaf=lambda v: v is None)
        tensors = [v for v in leaves if isinstance(v, Tensor)]
        if not tensors:
            raise NotATensor(f"{type(self).__name__}: expect at least one input tensor")
        arrays = [self._placed(t.data.array) for t in tensors]
        rest = [(k, v) for k, v in enumerate(leaves) if not isinstance(v, Tensor)]
        key = (tree, tuple((t.shape, t.dtype, t.requires_grad, t.stores_grad) for t in tensors), repr(rest))
        if key not in self._steps:
            self._steps[key] = _Step(self, leaves, tree, arrays)
        return self._steps[key](arrays)

    def _brought(self, t: Any) -> Any:
        """A tensor that is bound to other devices than the model, on the model's."""
        state = self.__dict__.get("_state")
        if not isinstance(t, Tensor) or state is None or not (_is_bound(t.data.array) and _is_bound(state.data.array)):
            return t
        home = state.data.array.sharding
        if t.data.array.sharding.device_set == home.device_set:
            return t
        whole = home if isinstance(home, SingleDeviceSharding) else NamedSharding(home.mesh, PartitionSpec())
        moved = _like(t, put(t.data.array, whole))
        moved._creator = t._creator
        return moved

    def _placed(self, array: Any) -> Any:
        optimizer = self.__dict__.get("optimizer")
        return optimizer.place(array) if isinstance(optimizer, DistOpt) else array


def _is_bound(array: Any) -> bool:
    return isinstance(array, jax.Array) and not isinstance(array, jax.core.Tracer) and array.committed


class _Step:
    """train_one_batch for one set of input shapes, compiled."""

    def __init__(self, model: Model, leaves: list, tree: Any, arrays: list) -> None:
        self._device = next(v.device for v in leaves if isinstance(v, Tensor))
        self._made: Any = None
        optimizer = model.__dict__.get("optimizer")
        self._placement = optimizer.placement if isinstance(optimizer, DistOpt) else None

        def run(*arrays: Any) -> list:
            given = iter(arrays)
            made = [_like(v, next(given)) if isinstance(v, Tensor) else v for v in leaves]
            inputs, kwargs = tree.unflatten(made)
            with nullcontext() if self._placement is None else self._placement.rows_apart():
                returned = model.train_one_batch(*inputs, **kwargs)
            results, structure = jax.tree.flatten(returned, is_leaf=lambda v: v is None)
            self._made = (
                structure,
                [None if isinstance(r, Tensor) else r for r in results],
                [isinstance(r, Tensor) for r in results],
            )
            return [r.data.array for r in results if isinstance(r, Tensor)]

        try:
            self._program = CompiledStep(run, *arrays)
        except (
            jax.errors.ConcretizationTypeError,
            jax.errors.TracerArrayConversionError,
            jax.errors.TracerIntegerConversionError,
            jax.errors.TracerBoolConversionError,
        ) as e:
            raise Unsupported(
                f"{type(model).__name__}.train_one_batch looks at the values of a tensor (to_numpy, float, an if) "
                f"while it is compiled as one program, when there are none yet: look at what it returns, or compile "
                f"the model with use_graph=False"
            ) from e

    def __call__(self, arrays: list) -> Any:
        if self._placement is not None:
            self._program.bring_to(self._placement.everywhere)
        found = iter(self._program(*arrays))
        structure, others, are_tensors = self._made
        return structure.unflatten(
            Tensor(device=self._device, data=CTensor(device=self._device, array=next(found)), requires_grad=False)
            if is_tensor
            else other
            for other, is_tensor in zip(others, are_tensors, strict=True)
        )


def _like(t: Tensor, array: Any) -> Tensor:
    return Tensor(
        device=t.device,
        data=CTensor(device=t.device, array=array),
        requires_grad=t.requires_grad,
        stores_grad=t.stores_grad,
        name=t.name,
    )
