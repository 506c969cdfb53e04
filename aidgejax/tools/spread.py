"""What a training step takes on each of several devices, and what it sends between them: of the compiled program."""

from __future__ import annotations

from typing import Any

import jax

from ..errors import GraphError
from ..execution.communication import communication
from ..execution.program import make_program
from ..graph import Graph
from ..interpreter.shape_inference import infer_shapes
from ..passes.loss import with_loss
from ..training import optim, schedule
from ..training.loop import make_epoch, make_step, start
from ..training.parallel import Placement


def spread(graph: Graph, optimizer: optim.Optimizer, placement: Placement, *, batch_size: int) -> str:
    """Bytes per device and communication of one step of this model, in words.  It is compiled, and does not run.

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
    lines = [f"a training step of {graph.name}, {batch_size} rows, on {placement}", "  bytes on each device:"]
    for name, tree, places in (
        ("parameters", here.params, shardings.params),
        ("optimizer", here.opt, shardings.opt),
        ("buffers", here.buffers, shardings.buffers),
    ):
        held = jax.tree.map(_bytes, tree, places)
        lines.append(f"    {name:12} {sum(jax.tree.leaves(held)):16,}")
    lines.append(f"    {'temporary':12} {compiled.memory_analysis().temp_size_in_bytes:16,}")
    sent = communication(compiled)
    lines.append("  sent by each step:" if sent else "  nothing is sent")
    lines += [f"    {c.kind:20} {c.number:6} times {c.bytes:16,} bytes" for c in sent]
    return "\n".join(lines)


def _bytes(x: Any, sharding: Any) -> int:
    count = x.dtype.itemsize
    for n in sharding.shard_shape(x.shape):
        count *= n
    return count
