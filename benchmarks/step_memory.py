"""The memory of a training step: predicted before compiling against XLA's, and what recomputation saves.

A step (Adam, gradients and update) is compiled, not scanned: arguments, results that take no argument's place, and
temporary memory.  With --policies each network once more under every policy of `recompute`: its loss and gradients
against those that keep everything, bit by bit, and its temporary memory; compiled for an H100 too where JAX has the
plugin (see gpu_kernels.py).

    python benchmarks/step_memory.py [--models mlp transformer12] [--policies] [--h100]
"""

from __future__ import annotations

import argparse
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from compile_time import MODELS
from gpu_kernels import H100, OPTIONS
from jax.experimental import topologies
from jax.sharding import SingleDeviceSharding

import aidgejax as aj
from aidgejax.passes import recompute
from aidgejax.tools import zoo
from aidgejax.tools.step_memory import step_memory

TALL = {"transformer4": (partial(zoo.transformer_encoder, depth=4, width=64, length=32), 64)}


def arrays_of(program, batch, make):
    return {
        v.name: make((batch, *v.shape[1:]), jnp.dtype(v.dtype if v.is_float else "int32"))
        for v in program.graph.inputs.values()
    }


def predicted(name, graph, batch):
    program, optimizer = aj.make_program(graph, training=True), aj.optim.adam()
    step = aj.make_step(program, optimizer, aj.schedule.constant(0.1))
    state = jax.eval_shape(lambda: aj.start(program, optimizer, jax.random.key(0)))
    lowered = jax.jit(step, donate_argnums=0).lower(state, arrays_of(program, batch, jax.ShapeDtypeStruct))
    found = lowered.compile().memory_analysis()
    fresh = found.output_size_in_bytes - found.alias_size_in_bytes
    whole = found.argument_size_in_bytes + fresh + found.temp_size_in_bytes
    peak = step_memory(program, optimizer, sizes={"N": batch}).peak
    print(f"{name:16} predicted {peak / 1e6:7.1f} MB, XLA {whole / 1e6:7.1f} MB, {peak / whole:.2f}", flush=True)


def gradients(graph):
    program = aj.make_program(graph, training=True)

    def f(params, buffers, batch):
        outputs, saved, buffers = program.forward(params, buffers, batch, jax.random.key(0))
        loss = outputs["loss"]
        return loss, buffers, program.backward(params, saved, {"loss": jnp.ones_like(loss) / loss.size})

    return program, jax.jit(f)


def policies(name, graph, batch, h100):
    rng = np.random.default_rng(0)
    program, _ = gradients(graph)
    classes = program.graph.value(program.graph.outputs[0]).shape[-1]
    drawn = lambda s, t: rng.normal(size=s).astype(t) if t.kind == "f" else rng.integers(0, classes, s).astype(t)
    half = step_memory(program, aj.optim.adam(), sizes={"N": batch}).saved_bytes // 2
    data = arrays_of(program, batch, drawn)
    exact = before = there = None
    for label, policy, every in [
        ("none", "none", 1),
        ("blocks", "blocks", 1),
        ("every 2nd block", "blocks", 2),
        ("products", "products", 1),
        (f"{half / 1e6:.1f} MB", half, 1),
    ]:
        try:
            _, f = gradients(recompute(graph, policy, every=every, sizes={"N": batch}))
        except aj.SettingError as e:
            print(f"{name:16} {label:16} {e}")
            continue
        given = graph.params, graph.buffers, data
        compiled = f.lower(*given).compile()
        found, bytes_ = jax.tree.leaves(compiled(*given)), compiled.memory_analysis().temp_size_in_bytes
        gpu = temporaries_there(f, given) if h100 else None
        exact, before, there = (found, bytes_, gpu) if exact is None else (exact, before, there)
        differ = sum(not np.array_equal(a, b) for a, b in zip(found, exact, strict=True))
        largest = max(np.max(np.abs(b)) for b in exact)
        worst = max(np.max(np.abs(a - b)) for a, b in zip(found, exact, strict=True)) / largest
        line = f"{name:16} {label:16} CPU {bytes_ / 1e6:7.1f} MB ({bytes_ / before:.2f})"
        line += f", H100 {gpu / 1e6:7.1f} MB ({gpu / there:.2f})" if h100 else ""
        print(
            f"{line}; {differ} of {len(found)} arrays differ in bits, by {worst:.1e} of the largest number at most",
            flush=True,
        )


def temporaries_there(f, given):
    device = topologies.get_topology_desc(platform="cuda", topology="1x1x1", target_config=H100).devices[0]
    there = SingleDeviceSharding(device)
    shapes = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=there), given)
    lowered = f.trace(*shapes).lower(lowering_platforms=("cuda",))
    return lowered.compile(compiler_options=OPTIONS).memory_analysis().temp_size_in_bytes


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    models = MODELS | TALL
    p.add_argument("--models", nargs="+", choices=models, default=["mlp", "lenet", "resnet8", "transformer4"])
    p.add_argument("--policies", action="store_true")
    p.add_argument("--h100", action="store_true")
    args = p.parse_args()
    for name in args.models:
        make, batch = models[name]
        graph = aj.infer_shapes(aj.with_loss(aj.infer_shapes(make()), "cross_entropy", reduction="rows"))
        if args.policies:
            policies(name, graph, batch, args.h100)
        else:
            predicted(name, graph, batch)


if __name__ == "__main__":
    main()
