"""How many bytes does a training step of a convolutional network move on a CPU, and how few could it?

Counted, not timed: of each instruction of the compiled forward and gradient what it reads and writes (of a slice the
slice; a loop's body as often as it runs), and XLA's own count, `cost_analysis()`, which takes a loop's body once.
Against it the least by hand, of activations alone, where each of these is one walk:

    forward     convolution: read x, write y; mean: read y; variance, in a pass of its own: read y; normalize, add
                what a shortcut brings, ReLU: read y (and the other), write z
    gradient    both sums: read dz and y, from which ReLU's mask follows; dy: read dz and y, write dy;
                convolution's input: read dy, write dx; its weight: read x and dy; branches: read one more, write

    python benchmarks/memory_passes.py [--models resnet8 mobilenet_v1 ds_cnn] [--batch 64] [--list]
"""

from __future__ import annotations

import argparse
import math
import re

import jax
import jax.numpy as jnp
from epoch import through

import aidgejax as aj
from aidgejax.tools import zoo

MODELS = {"resnet8": zoo.resnet8, "mobilenet_v1": zoo.mobilenet_v1, "ds_cnn": zoo.ds_cnn}
BYTES = {"f32": 4, "s32": 4, "u32": 4, "pred": 1, "bf16": 2, "f16": 2, "s8": 1, "u8": 1, "s64": 8, "u64": 8, "f64": 8}
FREE = {"parameter", "constant", "bitcast", "tuple", "get-tuple-element", "iota", "after-all", "partition-id"}
LINE = re.compile(r"^\s+(?:ROOT )?%?([\w.\-]+) = (\(.*?\)|\S+) ([\w\-]+)\((.*?)\)(.*)$")


def size(type_text: str) -> int:
    found = re.findall(r"(\w+)\[([\d,]*)\]", type_text)
    return sum(BYTES.get(t, 0) * math.prod(int(d) for d in dims.split(",") if d) for t, dims in found)


def moved(text: str, listing: bool = False) -> int:
    """Bytes read and written by the instructions of an optimized program."""
    computations: dict[str, list] = {}
    name = entry = ""
    for line in text.splitlines():
        head = re.match(r"^(ENTRY )?%?([\w.\-]+) \(.*\{\s*$", line)
        if head:
            name = head.group(2)
            entry = name if head.group(1) else entry
            computations[name] = []
        elif (found := LINE.match(line)) and name:
            computations[name].append(found.groups())

    def called(attributes: str, key: str) -> str:
        return re.search(rf"{key}=%?([\w.\-]+)", attributes).group(1)

    def read(op: str, attributes: str, n: int, whole: int) -> int:
        """Of operand n: all of it, or what a fusion that only slices it takes."""
        if op != "fusion":
            return whole
        body = computations[called(attributes, "calls")]
        own = next((k for k, _, o, a, _ in body if o == "parameter" and a == str(n)), None)
        users = [(t, o) for _, t, o, a, _ in body if own and re.search(rf"%{re.escape(own)}\b", a)]
        if users and all(o in ("dynamic-slice", "slice") for _, o in users):
            return sum(size(t) for t, _ in users)
        return whole

    def walk(name: str, times: int) -> int:
        types, total = {}, 0
        for k, t, op, args, attributes in computations[name]:
            types[k] = t
            if op in FREE:
                continue
            if op == "call":
                total += walk(called(attributes, "to_apply"), times)
            elif op == "while":
                turns = re.search(r"known_trip_count\D*(\d+)", attributes)
                total += walk(called(attributes, "body"), times * int(turns.group(1) if turns else 1))
            else:
                operands = enumerate(re.findall(r"%([\w.\-]+)", args))
                here = size(t) + sum(read(op, attributes, n, size(types.get(a, ""))) for n, a in operands)
                here = 2 * size(t) if op == "dynamic-slice" else here
                total += here * times
                if listing and here * times > 1 << 20:
                    print(f"    {here * times / 1e6:8.2f} MB  {times:2} x {k} {t[:40]}")
        return total

    return walk(entry, 1)


def least(graph, batch) -> int:
    """The hand count above."""
    elements = lambda v: math.prod(d if isinstance(d, int) else batch for d in graph.value(v).shape)
    readers = graph.readers()
    passes = 0
    for n in graph.nodes:
        x, y = elements(n.inputs[0]), elements(n.outputs[0])
        if n.op == "Conv":
            first = n.inputs[0] in graph.inputs
            passes += (x + y) + (0 if first else y + x) + (x + y)
        elif n.op == "BatchNormalization":
            passes += (y + y) + 2 * y + 2 * y + 3 * y
        elif n.op == "Add":
            passes += y
        elif n.op == "GlobalAveragePool":
            passes += x
        passes += 2 * y * (len(readers.get(n.outputs[0], [])) - 1) if y > 1 and n.op == "Relu" else 0
    return 4 * passes


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    p.add_argument("--batch", type=int, default=64)
    p.add_argument("--list", action="store_true", help="every instruction that moves more than a MiB")
    args = p.parse_args()
    print(f"jax {jax.__version__}, {jax.devices()[0].device_kind}, batch {args.batch}, forward and gradient, MB")
    for name in args.models:
        graph = aj.infer_shapes(aj.with_loss(aj.infer_shapes(MODELS[name]()), "cross_entropy", reduction="rows"))
        program = aj.make_program(graph, training=True)
        batch = {
            v.name: jax.ShapeDtypeStruct((args.batch, *v.shape[1:]), v.dtype if v.is_float else "int32")
            for v in program.graph.inputs.values()
        }
        arrays = [
            {k: jax.ShapeDtypeStruct(v.shape, v.dtype) for k, v in d.items()} for d in (graph.params, graph.buffers)
        ]

        def ours(params, buffers, batch, program=program):
            outputs, saved, buffers = program.forward(params, buffers, batch)
            seed = jnp.full_like(outputs["loss"], 1 / args.batch)
            return jnp.mean(outputs["loss"]), buffers, program.backward(params, saved, {"loss": seed})

        def jax_grad(params, buffers, batch, program=program):
            return jax.value_and_grad(through(program), has_aux=True)(params, buffers, batch, None)

        print(f"{name}: least by hand {least(program.graph, args.batch) / 1e6:.0f}")
        for side, f in (("ours", ours), ("jax.grad", jax_grad)):
            compiled = jax.jit(f).lower(*arrays, batch).compile()
            cost, memory = compiled.cost_analysis(), compiled.memory_analysis()
            print(
                f"  {side:9} moved {moved(compiled.as_text(), args.list) / 1e6:7.0f}   XLA's count "
                f"{cost['bytes accessed'] / 1e6:7.0f}   temporaries {memory.temp_size_in_bytes / 1e6:5.0f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
