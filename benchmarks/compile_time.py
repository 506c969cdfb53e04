"""How long does a network's scanned epoch take to lower and compile, against jax.grad of the same forward?

Seconds of the clock and of this process's CPU time, each side compiled anew in every round, the rounds in turns; the
temporary memory of what was compiled, and the kernels of XLA's optimized program: fusions, products, calls.  Nothing
runs.  Both sides take one optimizer, record the same, and are scanned; "jax.grad" by a plain jax.lax.scan.
"scan_blocks": equal blocks as loops, each compiled once.

    python benchmarks/compile_time.py [--models resnet50 transformer12] [--rounds 5] [--sides ours jax.grad]
"""

from __future__ import annotations

import argparse
import re
import time
from collections import Counter
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from epoch import by_jax_grad, through
from spread import resnet50

import aidgejax as aj
from aidgejax.tools import zoo

MODELS = {  # name: (graph, batch)
    "mlp": (zoo.mlp, 64),
    "lenet": (zoo.lenet, 64),
    "resnet8": (zoo.resnet8, 64),
    "mobilenet_v1": (zoo.mobilenet_v1, 16),
    "ds_cnn": (zoo.ds_cnn, 64),
    "transformer2": (partial(zoo.transformer_encoder, depth=2), 16),
    "resnet50": (partial(resnet50, base=16, size=64, classes=10), 8),
    "transformer12": (partial(zoo.transformer_encoder, depth=12), 16),
    "transformer24": (partial(zoo.transformer_encoder, depth=24), 16),
    "transformer48": (partial(zoo.transformer_encoder, depth=48), 16),
    "transformer12_128": (partial(zoo.transformer_encoder, depth=12, width=128, length=64), 16),
}
DEFAULT = [k for k in MODELS if k not in ("transformer24", "transformer48", "transformer12_128")]
SIDES = ("ours", "jax.grad", "scan_blocks")
FREE = {"parameter", "constant", "bitcast", "tuple", "get-tuple-element", "iota"}
OPTIMIZERS = {"sgd": lambda: aj.optim.sgd(momentum=0.9), "adam": aj.optim.adam}


def kernels(text: str) -> Counter:
    """{operation: number} in an optimized program, without what is inside fusions and reductions."""
    inside = set(re.findall(r"(?:calls|to_apply)=%?([\w.\-]+)", text))
    called = set(re.findall(r" call\(.*to_apply=%?([\w.\-]+)", text))
    found: Counter = Counter()
    name = ""
    for line in text.splitlines():
        if head := re.match(r"^(?:ENTRY )?%?([\w.\-]+) \(.*\{$", line):
            name = head.group(1)
        elif name not in inside - called and (
            op := re.match(r"\s+(?:ROOT )?%?[\w.\-]+ = (?:\(.*?\)|\S+) ([\w\-]+)\(", line)
        ):
            found[op.group(1)] += op.group(1) not in FREE
    return +found


def epoch_of(side, graph, optimizer, rate):
    """(program, the epoch to lower)"""
    program = aj.make_program(graph, training=True, scan_blocks=side == "scan_blocks")
    if side != "jax.grad":
        return program, aj.make_epoch(aj.make_step(program, optimizer, rate))
    step = by_jax_grad(through(program), optimizer, rate)
    return program, jax.jit(lambda state, data: jax.lax.scan(step, state, data), donate_argnums=0)


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--models", nargs="+", choices=MODELS, default=DEFAULT)
    p.add_argument("--sides", nargs="+", choices=SIDES, default=SIDES[:2])
    p.add_argument("--optimizer", choices=OPTIMIZERS, default="sgd")
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--steps", type=int, default=4)
    args = p.parse_args()
    for name in args.models:
        make, batch = MODELS[name]
        graph = aj.infer_shapes(aj.with_loss(aj.infer_shapes(make()), "cross_entropy", reduction="rows"))
        optimizer, rate = OPTIMIZERS[args.optimizer](), aj.schedule.constant(0.01)
        took = {side: [] for side in args.sides}
        memory, parts = {}, {}
        for n in range(args.rounds + 1):
            for side, found in took.items():
                jax.clear_caches()
                program, epoch = epoch_of(side, graph, optimizer, rate)
                state = jax.eval_shape(lambda p=program, o=optimizer: aj.start(p, o, jax.random.key(0)))
                data = {
                    v.name: jax.ShapeDtypeStruct(
                        (args.steps, batch, *v.shape[1:]), jnp.dtype(v.dtype if v.is_float else "int32")
                    )
                    for v in program.graph.inputs.values()
                }
                begun = time.process_time(), time.perf_counter()
                lowered = epoch.lower(state, data)
                middle = time.process_time(), time.perf_counter()
                compiled = lowered.compile()
                end = time.process_time(), time.perf_counter()
                if n:  # the first round of a process imports and warms up
                    found.append((*np.subtract(middle, begun), *np.subtract(end, middle)))
                else:
                    memory[side] = compiled.memory_analysis().temp_size_in_bytes / 1e6
                    parts[side] = kernels(compiled.as_text())
        whole = {side: np.array(found)[:, :2] + np.array(found)[:, 2:] for side, found in took.items()}
        for side, found in took.items():
            lower_cpu, lower, xla_cpu, xla = np.median(found, 0)
            line = (
                f"{name:14} {side:11} clock: lower {lower:5.2f} + XLA {xla:5.2f} s, CPU: {lower_cpu:5.2f} + "
                f"{xla_cpu:5.2f} s; temporaries {memory[side]:6.2f} MB; {sum(parts[side].values())} kernels "
                f"{dict(parts[side].most_common(4))}"
            )
            if side != "jax.grad" and "jax.grad" in took:
                cpu, clock = np.median(whole[side] / whole["jax.grad"], 0)
                line += f"; / jax.grad: clock {clock:.2f}, CPU {cpu:.2f}"
                line += f", temporaries {memory[side] / memory['jax.grad']:.2f}"
            print(line, flush=True)


if __name__ == "__main__":
    main()
