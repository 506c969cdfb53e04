"""A streamed epoch over a memory map: does loading overlap with computing, and does memory depend on the length?

    python benchmarks/streaming.py [--rounds 5]

Chunks of batches go through data.chunks and data.prefetch (a thread, two chunks ahead) into one compiled epoch with
gaps=True, as a script does it.  In each round: loading alone, computing alone (the same chunk again and again), both.
Once with a loader that waits, as for a disk or a network, and once with one that works.  Memory is anonymous memory
(RssAnon) above that before the epoch, for a map of 8 and of 32 chunks.  To reach: 1.2 times the larger of the two.
"""

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median

import jax
import numpy as np

from aidgejax.execution.program import make_program
from aidgejax.interpreter.shape_inference import infer_shapes
from aidgejax.passes.loss import with_loss
from aidgejax.tools import zoo
from aidgejax.training import optim, schedule
from aidgejax.training.data import chunks, prefetch
from aidgejax.training.loop import make_epoch, make_step, start

STEPS, BATCH = 16, 128  # of a chunk
WIDTH = 784
WAIT = 0.4  # seconds; longer than computing takes, whatever else the machine does


def anonymous():
    with open("/proc/self/status") as f:
        return 1024 * int(next(line for line in f if line.startswith("RssAnon")).split()[1])


class Source:
    """Batches of a memory map in shuffled order; `wait` seconds of a chunk are spent waiting for each."""

    def __init__(self, path, labels, number, wait):
        self.path, self.labels, self.number, self.wait = path, labels, number, wait

    def __iter__(self):
        x = np.load(self.path, mmap_mode="r")
        order = np.random.default_rng(0).permutation(self.number * STEPS * BATCH).reshape(-1, BATCH)
        for rows in order:
            time.sleep(self.wait / STEPS)
            yield x[rows], self.labels[rows]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    graph = with_loss(infer_shapes(zoo.mlp((WIDTH, 512, 512, 10))), "cross_entropy", reduction="rows")
    program, optimizer = make_program(graph, training=True), optim.sgd(momentum=0.9)
    epoch = make_epoch(make_step(program, optimizer, schedule.constant(1e-3)), gaps=True)
    with tempfile.TemporaryDirectory() as folder:
        path, rng = Path(folder, "x.npy"), np.random.default_rng(0)
        held = np.lib.format.open_memmap(path, "w+", np.float32, (32 * STEPS * BATCH, WIDTH))
        for k in range(0, len(held), 4096):
            held[k : k + 4096] = rng.normal(size=(4096, WIDTH))
        held.flush()
        labels = rng.integers(0, 10, len(held)).astype(np.int32)
        del held

        def streamed(number, wait, compute=True):
            """Seconds of an epoch, and the most memory that it took."""
            state = jax.block_until_ready(start(program, optimizer, jax.random.key(0)))
            before, most, began = anonymous(), 0, time.perf_counter()
            source = chunks(Source(path, labels, number, wait), ("x", "target"), STEPS)
            for batches, weights in prefetch(source):
                if compute:
                    state, _ = epoch(state, batches, weights)
                most = max(most, anonymous() - before)
            jax.block_until_ready((state, batches))
            return time.perf_counter() - began, most

        def computed(number):
            batches, weights = next(iter(chunks(Source(path, labels, 1, 0), ("x", "target"), STEPS)))
            batches = jax.block_until_ready(jax.device_put(batches))
            state = jax.block_until_ready(start(program, optimizer, jax.random.key(0)))
            began = time.perf_counter()
            for _ in range(number):
                state, _ = epoch(state, batches, weights)
            jax.block_until_ready(state)
            return time.perf_counter() - began

        streamed(2, 0)
        chunk = STEPS * BATCH * WIDTH * 4
        for number in (8, 32):
            most = streamed(number, 0)[1] / chunk
            print(f"{number} chunks of {chunk / 1e6:.1f} MB: memory of at most {most:.1f} chunks")
        for name, wait in ((f"loader that waits {WAIT} s a chunk", WAIT), ("loader that works", 0.0)):
            rows = [
                (streamed(8, wait, compute=False)[0], computed(8), streamed(8, wait)[0]) for _ in range(args.rounds)
            ]
            loading, computing, both = (median(r[k] for r in rows) for k in range(3))
            ratios = sorted(r[2] / max(r[:2]) for r in rows)
            print(
                f"{name}: loading {loading:.2f} s, computing {computing:.2f} s, both {both:.2f} s; "
                f"both / the larger: {median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})",
                flush=True,
            )


if __name__ == "__main__":
    main()
