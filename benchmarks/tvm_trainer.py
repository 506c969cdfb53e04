"""How long is one Trainer.update() here, and in TVM?

The same script states the same backbone through both, starts both from the same parameters, and asks for the same
losses before anything is timed.  TVM (pip install apache-tvm==0.27.0.post1 "numpy<2.3") is optional: without it our
side runs alone.  Rounds are interleaved, so that a busy machine slows both sides.

    python benchmarks/tvm_trainer.py [--models mlp cnn] [--rounds 7] [--steps 10]
"""

from __future__ import annotations

import argparse
import importlib.util
import time

import jax
import numpy as np

from aidgejax.frontends import tvm as ours
from aidgejax.frontends.tvm import relax as our_relax
from aidgejax.frontends.tvm.relax import training as our_training

BATCH = 64


def mlp(relax, types, sizes=(784, 512, 512, 10)):
    x = relax.Var("x", types((BATCH, sizes[0]), "float32"))
    layers = list(zip(sizes[:-1], sizes[1:], strict=True))
    params = [
        relax.Var(f"{kind}{k}", types(shape, "float32"))
        for k, (n, m) in enumerate(layers)
        for kind, shape in (("w", (n, m)), ("b", (m,)))
    ]
    bb = relax.BlockBuilder()
    with bb.function("backbone", [x, *params]):
        with bb.dataflow():
            y = x
            for k in range(len(layers)):
                y = bb.emit(relax.op.add(bb.emit(relax.op.matmul(y, params[2 * k])), params[2 * k + 1]))
                y = bb.emit(relax.op.nn.relu(y)) if k < len(layers) - 1 else y
            out = bb.emit_output(y)
        bb.emit_func_output(out)
    return bb.get().with_attrs({"param_num": len(params), "state_num": 0}), (BATCH, sizes[0])


def cnn(relax, types):
    x = relax.Var("x", types((BATCH, 1, 28, 28), "float32"))
    w0, w1 = relax.Var("w0", types((8, 1, 3, 3), "float32")), relax.Var("w1", types((16, 8, 3, 3), "float32"))
    w2, b2 = relax.Var("w2", types((16 * 7 * 7, 10), "float32")), relax.Var("b2", types((10,), "float32"))
    bb = relax.BlockBuilder()
    with bb.function("backbone", [x, w0, w1, w2, b2]):
        with bb.dataflow():
            y = x
            for w in (w0, w1):
                y = bb.emit(relax.op.nn.relu(bb.emit(relax.op.nn.conv2d(y, w, padding=[1, 1, 1, 1]))))
                y = bb.emit(relax.op.nn.max_pool2d(y, pool_size=[2, 2], strides=[2, 2]))
            y = bb.emit(relax.op.reshape(y, (BATCH, 16 * 7 * 7)))
            out = bb.emit_output(relax.op.add(bb.emit(relax.op.matmul(y, w2)), b2))
        bb.emit_func_output(out)
    return bb.get().with_attrs({"param_num": 4, "state_num": 0}), (BATCH, 1, 28, 28)


MODELS = {"mlp": mlp, "cnn": cnn}


def trainer(model, tvm, relax, training, types):
    """(trainer, the shape of its input)"""
    mod, shape = MODELS[model](relax, types)
    mod = training.SetupTrainer(
        training.loss.CrossEntropyLoss(),
        training.optimizer.Adam(0.001),
        [types((BATCH, 10), "float32"), types((BATCH,), "int64")],
    )(mod)
    vm = relax.VirtualMachine(tvm.compile(mod, "llvm"), tvm.cpu())
    made = training.Trainer(mod, vm, tvm.cpu())
    np.random.seed(0)
    made.xaiver_uniform_init_params()
    return made, shape


def sides(model):
    found = {"aidgejax": trainer(model, ours, our_relax, our_training, our_relax.TensorType)}
    if importlib.util.find_spec("tvm"):
        import tvm
        from tvm import relax
        from tvm.relax import training

        types = getattr(relax, "TensorType", None) or relax.TensorStructInfo
        found["TVM"] = trainer(model, tvm, relax, training, types)
    return found


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    p.add_argument("--rounds", type=int, default=7)
    p.add_argument("--steps", type=int, default=10)
    args = p.parse_args()
    d = jax.devices()[0]
    print(
        f"{d.platform} {d.device_kind}, jax {jax.__version__}, float32, batch {BATCH}, {args.steps} steps a round, "
        f"{args.rounds} rounds; ms per update: median (lowest to highest)"
    )
    for model in args.models:
        rng = np.random.default_rng(0)
        trainers = sides(model)
        shape = trainers["aidgejax"][1]
        x, y = rng.normal(size=shape).astype(np.float32), rng.integers(0, 10, BATCH)
        first = {name: [float(t.update(x, y).numpy()) for _ in range(3)] for name, (t, _) in trainers.items()}
        for told in first.values():
            np.testing.assert_allclose(told, first["aidgejax"], rtol=2e-3)
        times = {name: [] for name in trainers}
        for _ in range(args.rounds):
            for name, (t, _) in trainers.items():
                start = time.perf_counter()
                for _ in range(args.steps):
                    loss = t.update(x, y)
                loss.numpy()
                times[name].append((time.perf_counter() - start) / args.steps * 1e3)
        for name, spent in times.items():
            print(f"{model:4} {name:9} {np.median(spent):8.3f}  ({min(spent):.3f} to {max(spent):.3f})")
        if len(times) > 1:
            ratio = np.median(np.array(times["TVM"]) / np.array(times["aidgejax"]))
            print(f"{model:4} TVM takes {ratio:.1f} times as long")


if __name__ == "__main__":
    main()
