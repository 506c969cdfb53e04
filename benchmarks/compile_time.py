"""How long does a deep network's scanned epoch take to lower and compile, against jax.grad of the same forward?

CPU seconds of this process, each side compiled anew in every round, the rounds in turns, and the temporary memory of
what was compiled.  "scan_blocks": equal blocks as loops, each compiled once.  Nothing runs.

    python benchmarks/compile_time.py [--models resnet50 transformer] [--rounds 3]
"""

from __future__ import annotations

import argparse
import time
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from epoch import by_jax_grad, through
from spread import resnet50

import aidgejax as aj
from aidgejax.tools import zoo

MODELS = {  # name: (graph, batch)
    "resnet50": (partial(resnet50, base=16, size=64, classes=10), 8),
    "transformer": (partial(zoo.transformer_encoder, depth=12), 16),
    "transformer_128": (partial(zoo.transformer_encoder, depth=12, width=128, length=64), 16),
    "resnet8": (zoo.resnet8, 64),
}


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--models", nargs="+", choices=MODELS, default=["resnet50", "transformer"])
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--steps", type=int, default=4)
    args = p.parse_args()
    for name in args.models:
        make, batch = MODELS[name]
        graph = aj.infer_shapes(aj.with_loss(aj.infer_shapes(make()), "cross_entropy", reduction="rows"))
        optimizer, rate = aj.optim.sgd(momentum=0.9), aj.schedule.constant(0.01)

        def side(kind, graph=graph, optimizer=optimizer, rate=rate):
            program = aj.make_program(graph, training=True, scan_blocks=kind == "scan_blocks")
            step = (
                by_jax_grad(through(program), optimizer, rate)
                if kind == "jax.grad"
                else aj.make_step(program, optimizer, rate)
            )
            return program, aj.make_epoch(step)

        took = {kind: [] for kind in ("ours", "jax.grad", "scan_blocks")}
        memory = {}
        for _ in range(args.rounds):
            for kind, found in took.items():
                jax.clear_caches()
                program, epoch = side(kind)
                state = jax.eval_shape(lambda p=program, o=optimizer: aj.start(p, o, jax.random.key(0)))
                data = {
                    v.name: jax.ShapeDtypeStruct(
                        (args.steps, batch, *v.shape[1:]), jnp.dtype(v.dtype if v.is_float else "int32")
                    )
                    for v in program.graph.inputs.values()
                }
                begun = time.process_time()
                lowered = epoch.lower(state, data)
                middle = time.process_time()
                compiled = lowered.compile()
                found.append((middle - begun, time.process_time() - middle))
                memory[kind] = compiled.memory_analysis().temp_size_in_bytes / 1e6
        whole = {kind: np.sum(found, 1) for kind, found in took.items()}
        for kind, found in took.items():
            lower, xla = np.median(found, 0)
            ratio = whole[kind] / whole["jax.grad"]
            print(
                f"{name:16} {kind:12} lower {lower:6.2f} s, XLA {xla:6.2f} s, / jax.grad {np.median(ratio):.2f} "
                f"({ratio.min():.2f} to {ratio.max():.2f}), temporaries {memory[kind]:6.1f} MB",
                flush=True,
            )


if __name__ == "__main__":
    main()
