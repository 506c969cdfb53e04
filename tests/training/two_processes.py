"""The LeNet and the transformer of eight_devices.py, ten epochs on the processes and devices that there are.

Writes the parameters and buffers that they end with, and the first and last loss, to the file that is named.
"""

import sys
from pathlib import Path

from aidgejax.training.processes import is_first, join, leave

several = join()  # before JAX is used

import numpy as np  # noqa: E402
from eight_devices import Training, digits, lenet, transformer  # noqa: E402

from aidgejax.training.callbacks import BestWeights, checkpoints, csv_log  # noqa: E402
from aidgejax.training.parallel import data_parallel, sharded  # noqa: E402
from aidgejax.training.placed_arrays import on_host  # noqa: E402
from aidgejax.training.stream import Stream  # noqa: E402

found = {}
lenets = Training(lenet(), digits()[:640], digits()[1600:1797])
ways = {"data parallel": data_parallel(), "sharded": sharded()} if several else {"alone": None}
for name, train in (("lenet", lenets), ("transformer", transformer())):
    for way, placement in ways.items():
        beside = {}
        if (name, way) == ("lenet", "sharded"):
            folder, best = Path(sys.argv[1]).parent, BestWeights("test_loss")
            beside["callbacks"] = [best, csv_log(folder / "log.csv"), checkpoints(folder / "kept", keep=1)]
        state, history = train(placement, **beside)
        if beside and history[-1]["step"] == best.record["step"]:
            np.testing.assert_array_equal(best.params["f1"], on_host(state.params["f1"]))
        found |= {f"{name}/{way}/{k}": v for k, v in on_host({**state.params, **state.buffers}).items()}
        found[f"{name}/{way}/losses"] = np.array([history[0]["loss"], history[-1]["loss"]])
if several:  # each reads its own half of every batch
    lenets.data = Stream.of_rows(lenets.data.columns, batch_size=64, ahead=4)
    state, _ = lenets(data_parallel())
    found |= {f"lenet/streamed/{k}": v for k, v in on_host({**state.params, **state.buffers}).items()}
if is_first():
    np.savez(sys.argv[1], **found)
leave(0)
