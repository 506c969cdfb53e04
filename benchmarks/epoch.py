"""How much faster is an epoch compiled as one scan of hand-written rules?

Against (a) our own jitted step in a Python loop, (b) jax.grad of the same model, jitted per step, and (c) jax.grad
scanned.  (b) and (c) take the model as a JAX user writes it (lax.conv_general_dilated, reduce_window; images NHWC), and
once more, as (b*) and (c*), our own forward, whose forms of convolution help JAX's derivative too.  All start from the
same state, see the same batches and must end with the same parameters before anything is timed.  Rounds are
interleaved; each ratio is taken within its round, so that a busy machine slows all sides.

    python benchmarks/epoch.py [--models mlp lenet resnet8] [--rounds 9] [--steps 20]
"""

from __future__ import annotations

import argparse
import time
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from aidgejax.execution.program import make_program
from aidgejax.interpreter.shape_inference import infer_shapes
from aidgejax.passes.loss import with_loss
from aidgejax.tools import zoo
from aidgejax.training import optim, schedule
from aidgejax.training.counter import counted
from aidgejax.training.loop import make_epoch, make_step, start

MODELS = {
    "mlp": (lambda: zoo.mlp(sizes=(784, 512, 512, 10)), (784,)),
    "lenet": (lambda: zoo.lenet(size=28), (1, 28, 28)),
    "resnet8": (lambda: zoo.resnet8(), (3, 32, 32)),
}


def plain(graph):
    """The graph's forward as a JAX user writes it: (params, buffers, batch, key) -> (mean loss, buffers)."""

    def mean_loss(params, buffers, batch, key):
        env, moved = {**params, **buffers, "target": batch["target"]}, {}
        x = batch["x"]
        env["x"] = jnp.moveaxis(x, 1, -1) if x.ndim == 4 else x
        for n in graph.nodes:
            a, at = [env.get(i) for i in n.inputs], n.attrs
            if n.op == "Conv":
                pads = at.get("pads") or (0, 0, 0, 0)
                y = lax.conv_general_dilated(
                    a[0],
                    jnp.transpose(a[1], (2, 3, 1, 0)),
                    at.get("strides") or (1, 1),
                    [(pads[0], pads[2]), (pads[1], pads[3])],
                    dimension_numbers=("NHWC", "HWIO", "NHWC"),
                    feature_group_count=at.get("group", 1),
                )
                y = y if len(a) < 3 else y + a[2]
            elif n.op == "MaxPool":
                window, strides = (1, *at["kernel_shape"], 1), (1, *at["strides"], 1)
                y = lax.reduce_window(a[0], -jnp.inf, lax.max, window, strides, "VALID")
            elif n.op == "BatchNormalization":
                mean, var = jnp.mean(a[0], (0, 1, 2)), jnp.var(a[0], (0, 1, 2))
                y = (a[0] - mean) * lax.rsqrt(var + at.get("epsilon", 1e-5)) * a[1] + a[2]
                m = at.get("momentum", 0.9)
                moved |= {n.inputs[3]: m * a[3] + (1 - m) * mean, n.inputs[4]: m * a[4] + (1 - m) * var}
            elif n.op == "Gemm":
                y = a[0] @ a[1].T + a[2]
            elif n.op == "Flatten":
                y = jnp.reshape(jnp.moveaxis(a[0], -1, 1) if a[0].ndim == 4 else a[0], (len(a[0]), -1))
            elif n.op == "GlobalAveragePool":
                y = jnp.mean(a[0], (1, 2), keepdims=True)
            elif n.op == "Add":
                y = a[0] + a[1]
            elif n.op == "Relu":
                y = jax.nn.relu(a[0])
            else:
                raise SystemExit(f"this benchmark does not know how a JAX user writes {n.op}")
            env[n.outputs[0]] = y
            if n.outputs[0] == "logits":
                break
        rows = jax.nn.log_softmax(env["logits"])[jnp.arange(len(x)), batch["target"]]
        return -jnp.mean(rows), {**buffers, **moved}

    return mean_loss


def through(program):
    """The same of our own forward."""

    def mean_loss(params, buffers, batch, key):
        outputs, _, buffers = program.forward(params, buffers, batch, key, save=False)
        return jnp.mean(outputs["loss"]), buffers

    return mean_loss


def by_jax_grad(mean_loss, optimizer, learning_rate, record=("loss", "learning_rate", "gradient_norm")):
    """make_step with JAX's own derivative."""

    def step(state, batch, weights=None, last=False):
        key, now = jax.random.split(state.key)
        (loss, buffers), grads = jax.value_and_grad(mean_loss, has_aux=True)(state.params, state.buffers, batch, now)
        lr = learning_rate(state.step.low)
        params, opt = optimizer.update(state.params, grads, state.opt, lr)
        told = {"loss": loss, "learning_rate": lr, "gradient_norm": optim.global_norm(grads)}
        state = state._replace(params=params, buffers=buffers, opt=opt, key=key, step=counted(state.step))
        return state, {name: told[name] for name in record}

    return step


def loop(step):
    jitted = jax.jit(step, donate_argnums=0)

    def run(state, batches):
        for k in range(batches["target"].shape[0]):
            state, _ = jitted(state, {n: a[k] for n, a in batches.items()})
        return state

    return run


def scanned(step):
    epoch = make_epoch(step)
    return lambda state, batches: epoch(state, batches)[0]


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--models", nargs="+", choices=MODELS, default=["mlp", "lenet", "resnet8"])
    p.add_argument("--rounds", type=int, default=9)
    p.add_argument("--steps", type=int, default=20)
    p.add_argument("--batch", type=int, default=64)
    p.add_argument("--slow-steps", type=int, default=3, help="steps of (c), which can be very slow, in the same rounds")
    args = p.parse_args()
    d = jax.devices()[0]
    print(
        f"{d.platform} {d.device_kind}, jax {jax.__version__}, float32, batch {args.batch}, {args.steps} steps, "
        f"{args.rounds} rounds; ms per step: median (lowest to highest)"
    )
    for name in args.models:
        one_model(name, args)


def one_model(name, args):
    make, shape = MODELS[name]
    graph = make()
    (inp,) = graph.inputs.values()
    graph = infer_shapes(with_loss(infer_shapes(graph), "cross_entropy", reduction="rows"))
    program = make_program(graph, training=True)
    optimizer, learning_rate = optim.sgd(momentum=0.9), schedule.constant(0.01)
    rng = np.random.default_rng(0)
    batches = {
        inp.name: jnp.asarray(rng.normal(size=(args.steps, args.batch, *shape)).astype(np.float32)),
        "target": jnp.asarray(rng.integers(0, 10, (args.steps, args.batch)), jnp.int32),
    }
    few = {k: v[: args.slow_steps] for k, v in batches.items()}
    fresh = partial(start, program, optimizer, jax.random.key(0))
    ours = make_step(program, optimizer, learning_rate)
    theirs = by_jax_grad(plain(graph), optimizer, learning_rate)
    mixed = by_jax_grad(through(program), optimizer, learning_rate)
    runs = {
        "scanned epoch": (scanned(ours), batches),
        "(a) loop of jitted steps": (loop(ours), batches),
        "(b) jax.grad, loop": (loop(theirs), batches),
        "(c) jax.grad, scanned": (scanned(theirs), few),
        "(b*) the same, our forward": (loop(mixed), batches),
        "(c*) the same, our forward": (scanned(mixed), few),
    }
    ends, first = {}, {}
    for label, (run, data) in runs.items():
        begun = time.perf_counter()
        ends[label] = jax.block_until_ready(run(fresh(), data))
        first[label] = time.perf_counter() - begun
    want = runs["(b) jax.grad, loop"][0]
    for label, (_, data) in runs.items():
        same(ends[label].params, want(fresh(), data).params, label)
    times = {label: [] for label in runs}
    for _ in range(args.rounds):
        for label, (run, data) in runs.items():
            state = jax.block_until_ready(fresh())
            begun = time.perf_counter()
            jax.block_until_ready(run(state, data))
            times[label].append((time.perf_counter() - begun) / data["target"].shape[0] * 1e3)
    print(f"\n{name}: {sum(a.size for a in graph.params.values()):,} parameters")
    mine = np.array(times["scanned epoch"])
    for label in runs:
        t = np.array(times[label])
        ratio = np.quantile(t / mine, [0.25, 0.5, 0.75])
        print(
            f"  {label:26} first {first[label]:6.2f} s  then {np.median(t):9.3f} ({t.min():.3f} to {t.max():.3f})"
            f"   x {ratio[1]:.2f} of the scanned epoch ({ratio[0]:.2f} to {ratio[2]:.2f})"
        )
    loops = ("(a) loop of jitted steps", "(b) jax.grad, loop", "(b*) the same, our forward")
    best = np.min([times[k] for k in loops], axis=0)
    low, mid, high = np.quantile(mine / best, [0.25, 0.5, 0.75])
    print(f"  scanned / best of (a), (b) and (b*), per round: {mid:.3f} ({low:.3f} to {high:.3f})")
    epoch = make_epoch(ours)
    memory = epoch.lower(fresh(), batches).compile().memory_analysis()
    one_step = jax.jit(theirs, donate_argnums=0).lower(fresh(), {k: v[0] for k, v in batches.items()}).compile()
    print(
        f"  temporary memory: scanned epoch {memory.temp_size_in_bytes / 1e6:.1f} MB, "
        f"one jax.grad step {one_step.memory_analysis().temp_size_in_bytes / 1e6:.1f} MB"
    )


def same(got, want, label):
    for k in want:
        np.testing.assert_allclose(got[k], want[k], rtol=2e-3, atol=2e-4, err_msg=f"{label}: {k}")


if __name__ == "__main__":
    main()
