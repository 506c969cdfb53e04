"""What does training with quantization cost, what does it keep, and is what is written the same everywhere?

python benchmarks/quant.py cost                     # epoch and compile time against the plain network
python benchmarks/quant.py accuracy --seeds 5       # LeNet on digits at 8, 4 and 2 bits; --net resnet8
python benchmarks/quant.py accuracy --save folder   # then quant_brevitas.py folder: a peer on the same split and budget
python benchmarks/quant.py equality                 # values that differ, per network and bits
"""

from __future__ import annotations

import argparse
import os
import time

import jax
import numpy as np

import aidgejax as aj
from aidgejax import quant

NETS = {
    "lenet 8x8": lambda seed=0: aj.zoo.lenet(8, seed=seed),
    "lenet 28x28": lambda seed=0: aj.zoo.lenet(28, seed=seed),
    "resnet8 32x32": lambda seed=0: aj.zoo.resnet8(size=32, seed=seed),
    "mobilenet_v1 48x48": lambda seed=0: aj.zoo.mobilenet_v1(size=48, seed=seed),
    "ds_cnn 49x10": lambda seed=0: aj.zoo.ds_cnn(seed=seed),
}


def rows_for(graph: aj.Graph, rows: int) -> aj.Dataset:
    rng = np.random.default_rng(0)
    classes = graph.value("logits").shape[-1]
    shape = (rows, *graph.inputs["x"].shape[1:])
    return aj.Dataset(x=rng.normal(size=shape).astype(np.float32), target=rng.integers(0, classes, rows))


def epoch_of(graph: aj.Graph, data: aj.Dataset, batch: int, rule: aj.optim.Optimizer):
    """(CPU seconds to compile and run once, a function that runs an epoch, waits, and says its CPU seconds)."""
    program = aj.make_program(aj.with_loss(graph, "cross_entropy", reduction="rows"), training=True)
    epoch = aj.make_epoch(aj.make_step(program, rule, aj.schedule.constant(1e-3)))
    rows, _ = aj.batch_order(len(data), batch, seed=0)
    resident = data.on_device()
    state = aj.start(program, rule, jax.random.key(0))
    began = time.process_time()
    state, _ = epoch(state, rows, None, resident)
    jax.block_until_ready(state.params)
    first = time.process_time() - began
    held = [state]

    def run() -> float:
        began = time.process_time()
        held[0], _ = epoch(held[0], rows, None, resident)
        jax.block_until_ready(held[0].params)
        return time.process_time() - began

    return first, run


def cost(args: argparse.Namespace) -> None:
    print(f"{jax.devices()[0].device_kind}  f32  batch {args.batch}, {args.rows} rows; CPU seconds, best of "
          f"{args.repeats} epochs in turn, median of 3 first calls in turn")  # fmt: skip
    print(f"{'network':20} {'plain':>9} {'quantized':>9} {'ratio':>6}   compile  plain  quantized  ratio")
    for name in args.nets or NETS:
        plain = aj.passes.fold_batchnorm(aj.infer_shapes(NETS[name]()))
        data = rows_for(plain, args.rows)
        q = quant.convert(plain, quant.bits(4, step=args.step))
        q = quant.calibrate(q, {"x": data.columns["x"][:64]})
        firsts = []
        for _ in range(3):
            jax.clear_caches()
            first, run = epoch_of(plain, data, args.batch, aj.optim.adam())
            jax.clear_caches()
            qfirst, qrun = epoch_of(q, data, args.batch, quant.with_steps(aj.optim.adam(), q))
            firsts.append((first, qfirst))
        pairs = [(run(), qrun()) for _ in range(args.repeats)]  # in turn: the machine may be busy
        a, b = min(p for p, _ in pairs), min(p for _, p in pairs)
        ca, cb = np.median(firsts, axis=0) - (a, b)
        ratio = np.median([(q - b) / (p - a) for p, q in firsts])
        print(f"{name:20} {a:8.3f}s {b:8.3f}s {b / a:6.2f}           {ca:5.1f}s {cb:8.1f}s {ratio:6.2f}", flush=True)


def accuracy(args: argparse.Namespace) -> None:
    data, test = aj.digits().split(0.2, seed=1997)
    if args.net == "resnet8":  # takes three channels
        data, test = (aj.Dataset(d.columns | {"x": d.columns["x"].repeat(3, axis=1)}) for d in (data, test))

    def score(graph: aj.Graph) -> float:
        return 100 * float(np.mean(aj.run(graph, {"x": test.columns["x"]})[0].argmax(1) == test.columns["target"]))

    found: dict[int, list[float]] = {}
    for seed in range(args.seeds):
        graph = aj.infer_shapes(
            aj.zoo.lenet(8, seed=seed) if args.net == "lenet" else aj.zoo.resnet8(size=8, seed=seed)
        )
        program = aj.make_program(aj.with_loss(graph, "cross_entropy", reduction="rows"), training=True)
        steps = 20 * (len(data) // 32)
        rate = aj.schedule.cosine(3e-3, steps, periodic=False)
        state, _ = aj.fit(program, aj.optim.adam(), rate, data, epochs=20, batch_size=32, seed=seed)
        graph = graph.with_params(state.params, state.buffers)
        before = score(graph)
        if args.save:  # for benchmarks/quant_brevitas.py
            os.makedirs(args.save, exist_ok=True)
            arrays = {f"p/{k}": v for k, v in graph.params.items()} | {"score": np.float32(before)}
            rows = {"x": data.columns["x"], "y": data.columns["target"]}
            rows |= {"test_x": test.columns["x"], "test_y": test.columns["target"]}
            np.savez(os.path.join(args.save, f"seed{seed}.npz"), **arrays, **rows)
        for bits in args.bits:
            q = quant.calibrate(quant.convert(graph, quant.bits(bits, ends=8, step=args.step)), data)
            calibrated = score(q) - before
            q, _ = quant.finetune(q, data, epochs=20, seed=seed)
            found.setdefault(bits, []).append(score(q) - before)
            print(f"seed {seed}  float {before:.2f}  w{bits}a{bits} calibrated {calibrated:+.2f}  "
                  f"trained {found[bits][-1]:+.2f}", flush=True)  # fmt: skip
    for bits, points in found.items():
        print(f"w{bits}a{bits}: median of {len(points)} seeds {np.median(points):+.2f} points")


def equality(args: argparse.Namespace) -> None:
    for name in args.nets or NETS:
        graph = aj.infer_shapes(NETS[name]())
        x = {"x": rows_for(graph, 32).columns["x"]}
        for bits in (8, 4, 2):
            for per in ("channel", "tensor"):
                scheme = quant.Scheme(quant.Grid(bits, per=per), quant.Grid(bits), ends=8, step=args.step)
                q = quant.calibrate(quant.convert(graph, scheme), x)
                report = quant.verify(q, quant.to_integer(q), x)
                total = sum(r.values for r in report.rows)
                print(f"{name:20} w{bits}a{bits} per {per:8} {report.differing} of {total} values differ, "
                      f"at most {report.largest:g} steps; {report.grade}", flush=True)  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("question", choices=("cost", "accuracy", "equality"))
    parser.add_argument("--nets", nargs="*", choices=tuple(NETS))
    parser.add_argument("--step", default="power_of_two", choices=("power_of_two", "learned"))
    parser.add_argument("--net", default="lenet", choices=("lenet", "resnet8"))
    parser.add_argument("--save", help="folder for the networks in floating point and the data, for a peer")
    parser.add_argument("--bits", type=int, nargs="*", default=[8, 4, 2])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=256)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=5)
    chosen = parser.parse_args()
    {"cost": cost, "accuracy": accuracy, "equality": equality}[chosen.question](chosen)
