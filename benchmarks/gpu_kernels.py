"""How many kernels does one training step start on a GPU?  Compiled for an H100 on any machine; nothing runs.

XLA compiles for a GPU that it knows by description alone, so that kernels and temporary memory are counted where no GPU
is.  Products are cuBLAS's and no kernel is chosen by timing (autotuning needs the device), so a number can differ by a
few from the device's own program.  Seconds are of lowering and compiling here, by the clock.  Ours is counted with all
figures recorded and with the loss alone; "blocks as loops" is make_program(scan_blocks=True), whose kernels count for
each block; `jax.grad` is JAX's derivative of our forward; "one vector" is our rules with parameters, momentum and
gradients as one flat vector through the loop, which was tried and is not used: what the update saves, cutting the
vector into matrices costs.

    pip install jax-cuda13-plugin==VERSION_OF_JAX jax-cuda13-pjrt==VERSION_OF_JAX        # no driver, no GPU
    JAX_PLATFORMS=cpu python benchmarks/gpu_kernels.py [--models mlp lenet resnet8 transformer] [--list]
"""

from __future__ import annotations

import argparse
import math
import re
import time
from collections import Counter
from functools import partial

import jax
import jax.numpy as jnp
from epoch import by_jax_grad, through
from jax.experimental import topologies
from jax.sharding import SingleDeviceSharding

import aidgejax as aj
from aidgejax.passes import fuse, precision
from aidgejax.tools import zoo

H100 = """
gpu_device_info {
  threads_per_block_limit: 1024 threads_per_warp: 32 shared_memory_per_block: 49152 shared_memory_per_core: 233472
  threads_per_core_limit: 2048 core_count: 132 fpus_per_core: 128 block_dim_limit_x: 2147483647 block_dim_limit_y: 65535
  block_dim_limit_z: 65535 memory_bandwidth: 3352320000000 l2_cache_size: 52428800 clock_rate_ghz: 1.98
  device_memory_size: 84942979072 shared_memory_per_block_optin: 232448 cuda_compute_capability { major: 9 minor: 0 }
  registers_per_core_limit: 65536 registers_per_block_limit: 65536
}
platform_name: "CUDA"
dnn_version_info { major: 9 minor: 12 patch: 0 }
runtime_version { major: 13 minor: 0 patch: 0 }
device_description_str: "NVIDIA H100 80GB HBM3"
"""
OPTIONS = {"xla_gpu_autotune_level": 0, "xla_gpu_enable_triton_gemm": False}
FREE = {"bitcast", "parameter", "tuple", "get-tuple-element", "constant"}
MODELS = {
    "mlp": (zoo.mlp, 64),
    "lenet": (partial(zoo.lenet, size=28), 64),
    "resnet8": (zoo.resnet8, 64),
    "transformer": (partial(zoo.transformer_encoder, length=512, width=768, heads=12, depth=12), 32),
}
RATE = aj.schedule.constant(0.01)


def kernels(text: str) -> Counter:
    """{kind: number} in the body of the loop over steps, of an optimized program."""
    computations: dict[str, list[str]] = {}
    name = ""
    for line in text.splitlines():
        head = re.match(r"^(?:ENTRY )?%?([\w.\-]+) \(.*\{$", line)
        if head:
            name = head.group(1)
        elif name:
            computations.setdefault(name, []).append(line)

    def walk(name: str, times: int = 1) -> Counter:
        found: Counter = Counter()
        for line in computations[name]:
            op = re.match(r"\s+(?:ROOT )?%?[\w.\-]+ = (?:\(.*?\)|\S+) ([\w\-]+)\(", line)
            if op is None or op.group(1) in FREE:
                continue
            if op.group(1) in ("call", "while"):
                turns = re.search(r'known_trip_count":\{"n":"(\d+)"', line)
                inner = re.search(r"(?:to_apply|body)=%?([\w.\-]+)", line).group(1)
                found += walk(inner, times * int(turns[1] if turns else 1))
            elif op.group(1) == "custom-call":
                target = re.search(r'custom_call_target="([^"]+)"', line).group(1)
                found["product" if "cublas" in target else "convolution" if "conv" in target else target] += times
            else:
                found[op.group(1)] += times
        return found

    return max((walk(b) for b in re.findall(r"while\(.*body=%?([\w.\-]+)", text)), key=Counter.total)


def flat_epoch(program, rate=0.01, momentum=0.9):
    """(epoch, state): our rules, with everything that is trained as one vector, and what a step records as two."""
    shapes = {k: program.graph.params[k].shape for k in program.wrt}

    def cut(vector):
        found, at = {}, 0
        for k, shape in shapes.items():
            found[k] = vector[at : at + math.prod(shape)].reshape(shape)
            at += math.prod(shape)
        return found

    def step(state, batch):
        vector, velocity, buffers, counters, key = state
        outputs, saved, buffers = program.forward(cut(vector), buffers, batch, None)
        loss = outputs["loss"]
        grads = program.backward(cut(vector), saved, {"loss": jnp.ones_like(loss) / loss.size}, grads=None)
        flat = jnp.concatenate([grads[k].reshape(-1) for k in shapes])
        velocity = momentum * velocity + flat
        record = jnp.stack([jnp.mean(loss), jnp.sqrt(jnp.sum(flat * flat))])
        key = jax.random.split(key)[0]
        return (vector - rate * velocity, velocity, buffers, counters + 1, key), record

    whole = jax.ShapeDtypeStruct((sum(map(math.prod, shapes.values())),), jnp.float32)
    rest = jax.eval_shape(lambda: (jnp.zeros(4 + len(shapes), jnp.int32), jax.random.key(0)))
    buffers = jax.eval_shape(lambda: {k: jnp.asarray(v) for k, v in program.graph.buffers.items()})
    return jax.jit(lambda s, b: jax.lax.scan(step, s, b), donate_argnums=0), (whole, whole, buffers, *rest)


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--models", nargs="+", choices=MODELS, default=["mlp", "lenet", "resnet8"])
    p.add_argument("--steps", type=int, default=50)
    p.add_argument("--list", action="store_true", help="kinds of kernel, not only how many")
    args = p.parse_args()
    device = topologies.get_topology_desc(platform="cuda", topology="1x1x1", target_config=H100).devices[0]
    there = partial(
        jax.tree.map,
        lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=SingleDeviceSharding(device)),
    )
    print(f"compiled for an H100 by jax {jax.__version__}, kernels of a step; temporary memory of the epoch, seconds")
    for name in args.models:
        make, batch = MODELS[name]
        graph = aj.infer_shapes(aj.with_loss(aj.infer_shapes(make()), "cross_entropy", reduction="rows"))
        graph = precision(fuse(graph)) if name == "transformer" else graph
        program, optimizer = aj.make_program(graph, training=True), aj.optim.sgd(momentum=0.9)
        loops = aj.make_program(graph, training=True, scan_blocks=True)
        state = jax.eval_shape(lambda p=program, o=optimizer: aj.start(p, o, jax.random.key(0)))
        data = {
            v.name: jax.ShapeDtypeStruct(
                (args.steps, batch, *v.shape[1:]), jnp.dtype(v.dtype if v.is_float else "int32")
            )
            for v in program.graph.inputs.values()
        }
        step = partial(aj.make_step, program, optimizer, RATE)
        sides = {
            "ours": (aj.make_epoch(step()), state),
            "ours, the loss alone": (aj.make_epoch(step(record=("loss",))), state),
            "ours, guarded": (aj.make_epoch(step(), on_nonfinite="raise"), state),
            "blocks as loops": (aj.make_epoch(aj.make_step(loops, optimizer, RATE)), state),
            "jax.grad": (aj.make_epoch(by_jax_grad(through(program), optimizer, RATE)), state),
            "one vector": flat_epoch(program),
        }
        for side, (epoch, first) in sides.items():
            begin = time.perf_counter()
            lowered = epoch.trace(there(first), there(data)).lower(lowering_platforms=("cuda",))
            compiled = lowered.compile(compiler_options=OPTIONS)
            seconds = time.perf_counter() - begin
            found = kernels(compiled.as_text())
            memory = compiled.memory_analysis().temp_size_in_bytes / 1e6
            kinds = ", ".join(f"{n} {kind}" for kind, n in found.most_common()) if args.list else ""
            print(f"{name:12} {side:22} {found.total():5} {memory:9.0f} MB {seconds:6.1f} s  {kinds}", flush=True)


if __name__ == "__main__":
    main()
