"""Operations and the tape they leave: every output knows its creator, every creator its sources.

`backward` walks the tape from a loss, in SINGA's order: a stack of operations whose outputs' gradients are complete;
each gradient of a tensor that stores it is yielded as soon as it is complete.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ...errors import AidgeJaxError, GraphError, NoGradientRule
from ._ctensor import DTYPES, CTensor, raw
from ._errors import DoesNotFit, NotATensor, NotDifferentiable, NotFilled, Unsupported
from ._kernel import add_up, hashable, kernel
from ._mode import is_training
from ._tensor import Tensor, makes_leaves
from .device import reason

_counter = itertools.count()


class Operator:
    """An operation: subclass it with `forward` and `backward` on raw arrays, and call it with Tensors.

    forward(*arrays) returns an array or a tuple of them; backward(*gradients of the outputs) returns one gradient per
    input, or None.  The arrays are jax.Arrays (traced ones inside a compiled step).
    """

    op_count = 0
    name: str | None = None
    requires_grad = False
    src: Any = ()
    y_id2idx: Any = None

    def __init__(self, name: str | None = None) -> None:
        self.name = name
        self.src, self.y_id2idx = [], {}

    def __call__(self, *xs: Tensor) -> tuple[Tensor, ...]:
        return self._do_forward(*xs)

    def forward(self, *xs: Any) -> Any:
        raise Unsupported(f"{type(self).__name__} has no forward(self, *arrays): write one that returns the output")

    def backward(self, *dys: Any) -> Any:
        raise Unsupported(
            f"{type(self).__name__} has no backward(self, *gradients): write one that returns a gradient per input"
        )

    def get_params(self) -> list:
        return []

    def output_name(self, idx: int) -> str:
        return f"{self.name}:{idx}"

    def grad_name(self, idx: int) -> str:
        return f"{self.output_name(idx)}_g"

    # ---- inside ----

    def _do_forward(self, *xs: Tensor) -> tuple[Tensor, ...]:
        for x in xs:
            if not isinstance(x, Tensor):
                raise NotATensor(
                    f"operation {self.kind} takes Tensors (xs should include only Tensor instances), "
                    f"got {type(x).__name__}"
                )
        if not xs:
            raise NotATensor(f"operation {self.kind} was called without a Tensor")
        if self.name is None:
            self.name = f"{self.kind}#{next(_counter)}"
        self.requires_grad = any(x.requires_grad for x in xs)
        self.src = [(x.creator, id(x), x if x.stores_grad else None, x.stores_grad) for x in xs]
        device = xs[0].device
        ys = tuple(
            Tensor(
                device=device,
                data=self._wrapped(y, device),
                requires_grad=self.requires_grad,
                creator=self,
                name=self.output_name(k),
            )
            for k, y in enumerate(self._outputs(xs))
        )
        self.y_id2idx = {id(y): k for k, y in enumerate(ys)}
        self._shapes = [(y.shape, DTYPES[y.dtype]) for y in ys]
        return ys

    def _wrapped(self, y: Any, device: Any) -> CTensor:
        y = raw(y)
        try:
            y = jnp.asarray(y)
        except TypeError:
            raise NotATensor(
                f"operation {self.name}: its forward returned {type(y).__name__}, expected an array or a "
                f"tuple of arrays"
            ) from None
        return CTensor(device=device, array=y)

    def _outputs(self, xs: tuple[Tensor, ...]) -> tuple:
        ys = self.forward(*(x.data.array for x in xs))
        return tuple(ys) if isinstance(ys, tuple | list) else (ys,)

    def _do_backward(self, dys: list, like: Any) -> list:
        """Gradients of the inputs; of outputs that nobody used the gradient is zero."""
        dxs = self.backward(*dys)
        dxs = list(dxs) if isinstance(dxs, tuple | list) else [dxs]
        return [None if dx is None else jnp.asarray(raw(dx)) for dx in dxs]

    @property
    def kind(self) -> str:
        return type(self).__name__

    def _wanted(self) -> tuple[int, ...]:
        """The inputs that a gradient is to reach."""
        return tuple(k for k, (source, *_) in enumerate(self.src) if _takes_gradient(source))


Operation = Operator


@makes_leaves
class Dummy(Operator):
    """The creator of a tensor that no operation made: a parameter, or an input."""

    def __init__(self, tensor: Tensor, name: str | None = None) -> None:
        super().__init__(name)
        self.tensor = tensor
        self.src, self.requires_grad = [], False
        self.y_id2idx = {id(tensor): 0}

    def output_name(self, idx: int) -> str:
        return self.name or self.tensor.name

    def __getattr__(self, attribute: str) -> Any:
        if attribute == "tensor":
            raise AttributeError(attribute)
        return getattr(self.tensor, attribute)


class Built(Operator):
    """An operation that is a few nodes of a graph; see _kernel.py.

    A subclass says how: `write(op, *values, **attributes)`, with the attributes that its constructor hands on.
    extras: further inputs that take no gradient (labels, indices, statistics): Tensors or arrays.
    differentiable: False for those whose backward SINGA refuses.
    """

    write: Callable[..., Any]
    differentiable = True

    def __init__(self, extras: tuple = (), **attributes: Any) -> None:
        super().__init__()
        self._attributes, self.extras = hashable(attributes), extras
        self._saved: Any = None

    def forward(self, *xs: Any) -> Any:
        return self._run([CTensor(array=jnp.asarray(raw(x))) for x in xs], None)

    def _outputs(self, xs: tuple[Tensor, ...]) -> tuple:
        return self._run([x.data for x in xs], xs)

    def _run(self, places: list[CTensor], xs: Any) -> tuple:
        count = len(places)
        places = [*places, *map(_place, self.extras)]
        training = is_training() and self.differentiable
        try:  # shapes are looked at before contents, which may not be there yet
            self.kernel = kernel(
                self.kind,
                self.write,
                self._attributes,
                tuple(map(_spec, places)),
                tuple(range(count)) if self.differentiable else (),
            )
            arrays = [p.array for p in places]
            key = xs[0].device.key() if self.kernel.random else None
            outputs, saved = self.kernel.forward(arrays, key, training)
        except (NoGradientRule, NotFilled):
            raise
        except GraphError as e:
            raise DoesNotFit(f"operation {self.name} with inputs {self._shown(places, xs)}: {e}") from None
        except ValueError as e:
            why = reason(e, dict(zip(self._names(xs), arrays, strict=False)))
            raise DoesNotFit(f"operation {self.name} with inputs {self._shown(places, xs)}: {why}") from None
        self._saved = (arrays, saved) if training else None
        return tuple(outputs)

    def _names(self, xs: Any) -> list[str]:
        names = [x.name for x in xs or ()]
        return names + [getattr(e, "name", None) or f"input {k}" for k, e in enumerate(self.extras, len(names))]

    def _shown(self, places: list[CTensor], xs: Any) -> str:
        named = zip(self._names(xs), places, strict=False)
        return ", ".join(f"{n}:{DTYPES[p.data_type()]}{list(p.shape())}" for n, p in named)

    def backward(self, *dys: Any) -> Any:
        """The gradients of all inputs, zeros for those that take none; CTensors, unless the gradients given are arrays.
        Without a gradient it is 1."""
        dxs = self._do_backward([raw(d) for d in dys or (1.0,)], tuple(range(len(self.src))))
        dxs = [jnp.zeros_like(a) if d is None else d for d, a in zip(dxs, self._saved[0], strict=False)]
        if not any(isinstance(d, jax.Array | np.ndarray) for d in dys):
            dxs = [CTensor(array=d) for d in dxs]
        return dxs[0] if len(dxs) == 1 else tuple(dxs)

    def _do_backward(self, dys: list, like: Any) -> list:
        if not self.differentiable:
            raise NotDifferentiable(
                f"operation {self.name} has no gradient: {self.kind} is not differentiable. Set "
                f"requires_grad=False on its result to stop there"
            )
        if self._saved is None:
            raise NotDifferentiable(
                f"operation {self.name} ran outside training and kept nothing for a backward: "
                f"set autograd.training = True before the forward "
                f"(Please set training as True before do BP.)"
            )
        arrays, saved = self._saved
        dys = [*dys, *[None] * (len(self.kernel.outputs) - len(dys))]
        try:
            found = self.kernel.backward(arrays, saved, dys, like)
        except (AidgeJaxError, ValueError, TypeError) as e:
            shown = [None if d is None else list(np.shape(d)) for d in dys]
            raise DoesNotFit(f"backward of operation {self.name} with gradients of shape {shown}: {e}") from None
        dxs = [None] * len(self.src)
        for k, dx in zip(like, found, strict=True):
            dxs[k] = dx
        return dxs


def _spec(place: CTensor) -> tuple[tuple[int, ...], str]:
    return place.shape(), place.held.dtype.name if place.filled else DTYPES[place.data_type()]


def _place(extra: Any) -> CTensor:
    if isinstance(extra, Tensor):
        return extra.data
    return extra if isinstance(extra, CTensor) else CTensor(array=jnp.asarray(extra))


def takes_gradient(tensor: Any) -> bool:
    """Would a gradient of this tensor reach a tensor that stores it?"""
    return isinstance(tensor, Tensor) and _takes_gradient(tensor.creator)


# ---- backward -----------------------------------------------------------------------------------------


def _takes_gradient(source: Operator) -> bool:
    return source.stores_grad if isinstance(source, Dummy) else source.requires_grad


def infer_dependency(op: Operator) -> tuple[Counter, Counter]:
    """How often each operation, and each (operation, id of its output), is a source of what leads to `op`."""
    operations: Counter[Operator] = Counter()
    tensors: Counter[tuple[Operator, int]] = Counter()
    pending = [op]
    while pending:
        for source, tensor, _, _ in pending.pop().src:
            if source not in operations and source.requires_grad:
                pending.append(source)
            operations[source] += 1
            tensors[source, tensor] += 1
    return operations, tensors


def backward(y: Tensor, dy: Any = None) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (tensor, its gradient) for every tensor that stores its gradient, each once, as soon as it is complete.

    y: a tensor of one element.  dy: its gradient, a Tensor or a number; 1 by default.
    Nothing happens until the generator is iterated.
    """
    if not isinstance(y, Tensor):
        raise NotATensor(f"backward: wrong input type. It starts from a Tensor, got {type(y).__name__}")
    if y.size() != 1:
        raise DoesNotFit(
            f"backward from {y.name}: y must be a Tensor with a single value;size of y is  {y.size()}. "
            f"Reduce it to a loss first"
        )
    operations, tensors = infer_dependency(y.creator)
    dy = (
        jnp.full(y.shape, 1.0 if dy is None else dy, DTYPES[y.dtype])
        if dy is None or isinstance(dy, int | float)
        else jnp.reshape(raw(dy), y.shape)
    )
    if y.stores_grad:
        yield y, _gradient(y, dy, f"{y.name}_g")
    slots: dict[Operator, list] = {y.creator: [None] * max(len(y.creator.y_id2idx), 1)}
    slots[y.creator][y.creator.y_id2idx.get(id(y), 0)] = dy
    ready = [y.creator]
    while ready:
        op = ready.pop()
        dys = slots.pop(op)
        if isinstance(op, Dummy) or not op.requires_grad:
            continue
        reached = any(d is not None for d in dys)
        dxs = op._do_backward(_filled(op, dys), op._wanted()) if reached else [None] * len(op.src)
        if len(dxs) != len(op.src):
            raise DoesNotFit(
                f"operation {op.name}: the number of src ops (={len(op.src)}) and dx (={len(dxs)}) not "
                f"match: its backward has to return one gradient per input"
            )
        for (source, tensor, stored, stores), dx in zip(op.src, dxs, strict=True):
            operations[source] -= 1
            tensors[source, tensor] -= 1
            if not _takes_gradient(source):
                continue
            k = source.y_id2idx[tensor]
            waiting = slots.setdefault(source, [None] * len(source.y_id2idx))
            if dx is not None:
                waiting[k] = dx if waiting[k] is None else add_up(waiting[k], dx)
            if stores and tensors[source, tensor] == 0 and waiting[k] is not None:
                yield stored, _gradient(stored, waiting[k], source.grad_name(k))
            if operations[source] == 0 and not isinstance(source, Dummy):
                ready.append(source)


def _filled(op: Operator, dys: list) -> list:
    """A user's backward gets zeros for the outputs that nobody used; Built ones make them inside."""
    if isinstance(op, Built) or None not in dys:
        return dys
    return [jnp.zeros(op._shapes[k][0], op._shapes[k][1]) if d is None else d for k, d in enumerate(dys)]


def _gradient(tensor: Tensor, array: Any, name: str) -> Tensor:
    if array.shape != tensor.shape:
        raise DoesNotFit(
            f"the gradient of {tensor.name} has shape {list(array.shape)}, the tensor "
            f"{list(tensor.shape)}: the backward of an operation that reads it is wrong"
        )
    return Tensor(device=tensor.device, data=CTensor(device=tensor.device, array=array), requires_grad=False, name=name)


def gradients(y: Tensor, dy: Any = None) -> dict[int, Tensor]:
    """{id(tensor): gradient} of all tensors that store theirs."""
    return {id(tensor): gradient for tensor, gradient in backward(y, dy)}
