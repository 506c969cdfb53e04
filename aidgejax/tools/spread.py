"""What a training step takes on each of several devices, and what it sends between them: of the compiled program."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax

from ..errors import GraphError
from ..execution.communication import Collective, communication
from ..execution.program import make_program
from ..graph import Graph
from ..interpreter.shape_inference import infer_shapes
from ..passes.loss import with_loss
from ..training import optim, schedule
from ..training.loop import make_epoch, make_step, start
from ..training.parallel import Placement


class Spread(NamedTuple):
    """A step of a model on several devices.  str() says it in words.

    what: the model, its batch and the placement.  held: bytes on each device, of "parameters", "optimizer", "buffers"
    and "temporary".  sent: what the compiled step sends, by kind.  uneven: see Placement.uneven.
    """

    what: str
    held: dict[str, int]
    sent: list[Collective]
    uneven: str = ""

    def __str__(self) -> str:
        lines = [f"a training step of {self.what}", "  bytes on each device:"]
        lines += [f"    {name:12} {held:16,}" for name, held in self.held.items()]
        lines.append("  sent by each step:" if self.sent else "  nothing is sent")
        lines += [f"    {c.kind:20} {c.number:6} times {c.bytes:16,} bytes" for c in self.sent]
        lines += [f"  {self.uneven}"] if self.uneven else []
        return "\n".join(lines)


def spread(graph: Graph, optimizer: optim.Optimizer, placement: Placement, *, batch_size: int) -> Spread:
    """Bytes per device and communication of one step of this model.  It is compiled, and does not run.

    A squared error stands for the loss, whose tensors are few.
    Raises SettingError for a batch that the devices do not divide, GraphError where an input has other open sizes.
    """
    placement.check_batch(batch_size)
    outputs = [o for o in graph.outputs if graph.value(o).is_float]
    with_error = with_loss(infer_shapes(graph), "mse", prediction=outputs[0], reduction="rows")
    program = make_program(with_error, training=True)
    state = jax.eval_shape(lambda: start(program, optimizer, jax.random.key(0)))
    shardings = placement.shardings(state)
    here = jax.tree.map(lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), state, shardings)
    batch = {}
    for name, v in program.graph.inputs.items():
        shape = (1, batch_size, *v.known_shape[1:])
        if not all(isinstance(n, int) for n in shape):
            raise GraphError(f"input {v} has sizes besides the batch that are open: read the model with shapes=")
        dtype = jax.dtypes.canonicalize_dtype(v.known_dtype)
        batch[name] = jax.ShapeDtypeStruct(shape, dtype, sharding=placement.by_rows(1))
    step = make_step(program, optimizer, schedule.constant(0.01))
    epoch: Any = make_epoch(step, placement=placement)  # a jitted function
    compiled = epoch.lower(here, batch).compile()
    trees = {"parameters": (here.params, shardings.params), "optimizer": (here.opt, shardings.opt)}
    trees["buffers"] = here.buffers, shardings.buffers
    held = {name: sum(jax.tree.leaves(jax.tree.map(_bytes, *both))) for name, both in trees.items()}
    held["temporary"] = compiled.memory_analysis().temp_size_in_bytes
    what = f"{graph.name}, {batch_size} rows, on {placement}"
    return Spread(what, held, communication(compiled), placement.uneven(here.params))


def _bytes(x: Any, sharding: Any) -> int:
    count = x.dtype.itemsize
    for n in sharding.shard_shape(x.shape):
        count *= n
    return count
