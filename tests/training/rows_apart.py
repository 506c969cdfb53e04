"""What the rows of the operators' table send on eight devices whose rows are split; prints JSON.

No row of a batch needs another one: gradients are summed, and nothing else is sent.  Batches are large, so that forms
which walk through a batch in pieces do; nothing is computed, programs are compiled alone.

    python -m tests.training.rows_apart    # all rows of the zoo's operators, and of those that once gathered a batch
"""

import json

import jax
import numpy as np

if __name__ == "__main__":
    jax.config.update("jax_num_cpu_devices", 8)
    jax.config.update("jax_disable_most_optimizations", True)  # compiles in half of the time

from aidgejax import infer_shapes, make_program, with_loss, zoo  # noqa: E402
from aidgejax.execution.communication import communication  # noqa: E402
from aidgejax.ops import rows_split_over  # noqa: E402
from aidgejax.training.parallel import ROWS, data_parallel  # noqa: E402

from ..ops.cases import TABLE  # noqa: E402

REPEATS = 8 * 256  # of a row's own batch
GATHERED = {"GRU", "GatherElements", "ScatterElements", "GatherND", "TopK", "DFT", "TensorScatter"}
MIXED = {  # rows of a batch meet in these, by what they are
    "Tile: plain",
    "ScatterND: along one axis",
}
PLACEMENT = data_parallel()


def of_the_zoo():
    """The operators of the zoo's models, forward and back."""
    models = (
        zoo.mlp((8, 8, 4)),
        zoo.lenet(8),
        zoo.resnet8(size=8),
        zoo.mobilenet_v1(size=32),
        zoo.ds_cnn(),
        zoo.transformer_encoder(width=32, heads=4, depth=1),
    )
    found = set()
    for model in models:
        program = make_program(with_loss(infer_shapes(model), "cross_entropy"), training=True)
        found |= {n.op for n in (*program.graph.nodes, *program.gradient.nodes)}
    return found


def picked(operators):
    """Their rows that have a batch."""
    return [
        c for c in TABLE if c.op in operators and c.batch and "symbolic_batch" not in c.skip and repr(c) not in MIXED
    ]


def gathered_once():
    """A row of each operator whose form once gathered its batch."""
    return list({c.op: c for c in reversed(picked(GATHERED))}.values())


def program_of(case):
    """(f(feeds), the shapes of the feeds, each split by its rows where it has them)"""
    program = case.program(np.float32, symbolic=True)
    feeds = {}
    for k, a in enumerate(case.inputs):
        if (name := case._name(k)) not in case.fed:
            continue
        rows = k in case.batch and np.ndim(a) > 0
        shape = (len(a) * REPEATS, *a.shape[1:]) if rows else a.shape
        where = PLACEMENT.by_rows() if rows else PLACEMENT.everywhere
        dtype = jax.dtypes.canonicalize_dtype(case.cast(a, np.float32).dtype)
        feeds[name] = jax.ShapeDtypeStruct(shape, dtype, sharding=where)
    key = jax.random.key(0) if case.operator.random else None

    def f(feeds):
        outputs, saved, _ = program.forward({}, {}, feeds, key)
        return outputs, program.backward({}, saved, {s: outputs[s] for s in program.seeds}) if case.wrt else {}

    return f, feeds


def sent(cases):
    """[what is sent beside sums, as text] by these rows, compiled as one program."""
    programs = [program_of(c) for c in cases]

    def all_of_them(feeds):
        with rows_split_over(PLACEMENT.mesh, ROWS):
            return [f(given) for (f, _), given in zip(programs, feeds, strict=True)]

    compiled = jax.jit(all_of_them).lower([feeds for _, feeds in programs]).compile()
    return [str(c) for c in communication(compiled) if c.kind != "all-reduce"]


if __name__ == "__main__":
    table = picked(of_the_zoo() | GATHERED | {"RNN", "LSTM", "STFT"})
    print(json.dumps({"rows": len(table), "sent": {repr(c): more for c in table if (more := sent([c]))}}))
