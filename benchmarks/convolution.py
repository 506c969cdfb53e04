"""What do the hand-written forms of convolutions and pools save, alone and inside lax.scan?

Per shape: the forward, the gradient of the image and that of the weight, ours against lax's forward and jax.vjp of it.
Both sides must agree before anything is timed.  Rounds are interleaved; each ratio is taken within its round, so that a
busy machine slows both sides.

    python benchmarks/convolution.py [--shapes "3x3, 16 to 16" "depthwise, 48"] [--rounds 7] [--steps 4]
"""

from __future__ import annotations

import argparse
import time
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from aidgejax.ops import lookup

# name: batch, size, channels in and out, kernel, stride, padding, group
CONVOLUTIONS = {
    "LeNet, 1 to 6": (64, 28, 1, 6, 5, 1, 2, 1),
    "LeNet, 6 to 16": (64, 14, 6, 16, 5, 1, 0, 1),
    "3x3, 3 to 16": (64, 32, 3, 16, 3, 1, 1, 1),
    "3x3, 16 to 16": (64, 32, 16, 16, 3, 1, 1, 1),
    "3x3, 16 to 32, stride 2": (64, 32, 16, 32, 3, 2, 1, 1),
    "3x3, 32 to 32": (64, 16, 32, 32, 3, 1, 1, 1),
    "3x3, 32 to 64, stride 2": (64, 16, 32, 64, 3, 2, 1, 1),
    "3x3, 64 to 64": (64, 8, 64, 64, 3, 1, 1, 1),
    "1x1, 16 to 32, stride 2": (64, 32, 16, 32, 1, 2, 0, 1),
    "1x1, 64 to 64": (32, 12, 64, 64, 1, 1, 0, 1),
    "depthwise, 48": (32, 48, 8, 8, 3, 1, 1, 8),
    "depthwise, 48, stride 2": (32, 48, 16, 16, 3, 2, 1, 16),
    "depthwise, 12": (32, 12, 64, 64, 3, 1, 1, 64),
    "four groups": (32, 16, 32, 32, 3, 1, 1, 4),
}
# name: batch, size, channels, kernel, stride, padding
POOLS = {
    "pool 2x2, stride 2": (64, 28, 6, 2, 2, 0),
    "pool 3x3, stride 2": (32, 32, 32, 3, 2, 1),
}


def of_convolution(batch, size, inputs, outputs, kernel, stride, padding, group):
    """{what: (ours, JAX's, arguments)}; images are channels-last on both sides."""
    how = {"strides": (stride,) * 2, "pads": (padding,) * 4, "group": group, "layout": "NHWC"}
    conv, grad_input, grad_weight = (lookup(n).forward for n in ("Conv", "ConvGradInput", "ConvGradWeight"))

    def theirs(x, w):
        return lax.conv_general_dilated(
            x,
            jnp.transpose(w, (2, 3, 1, 0)),
            (stride,) * 2,
            [(padding,) * 2] * 2,
            feature_group_count=group,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )

    rng = np.random.default_rng(0)
    x = rng.normal(size=(batch, size, size, inputs)).astype(np.float32)
    w = rng.normal(size=(outputs, inputs // group, kernel, kernel)).astype(np.float32)
    dy = rng.normal(size=jax.eval_shape(theirs, x, w).shape).astype(np.float32)
    return {
        "forward": (partial(conv, **how), theirs, (x, w)),
        "image": (
            lambda dy, w: grad_input(dy, w, jnp.zeros(x.shape), **how),
            lambda dy, w: jax.vjp(lambda x: theirs(x, w), jnp.zeros(x.shape))[1](dy)[0],
            (dy, w),
        ),
        "weight": (
            lambda dy, x: grad_weight(x, dy, jnp.zeros(w.shape), **how),
            lambda dy, x: jax.vjp(lambda w: theirs(x, w), jnp.zeros(w.shape))[1](dy)[0],
            (dy, x),
        ),
    }


def of_pool(batch, size, channels, kernel, stride, padding):
    how = {"kernel_shape": (kernel,) * 2, "strides": (stride,) * 2, "pads": (padding,) * 4, "layout": "NHWC"}
    pool, grad = lookup("MaxPool").forward, lookup("MaxPoolGrad").forward

    def theirs(x):
        return lax.reduce_window(
            x,
            -jnp.inf,
            lax.max,
            (1, kernel, kernel, 1),
            (1, stride, stride, 1),
            [(0, 0), (padding,) * 2, (padding,) * 2, (0, 0)],
        )

    rng = np.random.default_rng(0)
    x = rng.normal(size=(batch, size, size, channels)).astype(np.float32)
    y = np.asarray(theirs(x))
    dy = rng.normal(size=y.shape).astype(np.float32)
    return {
        "forward": (lambda x: pool(x, **how)[0], theirs, (x,)),
        "image": (lambda dy, x, y: grad(dy, x, y, **how), lambda dy, x, y: jax.vjp(theirs, x)[1](dy)[0], (dy, x, y)),
    }


def in_scan(f, steps):
    """f once per step of a scan, on arguments that change."""

    def run(*stacks):
        def step(total, args):
            return 0.5 * total + f(*args), None

        first = jax.eval_shape(f, *(a[0] for a in stacks))
        return lax.scan(step, jnp.zeros(first.shape), stacks)[0]

    return jax.jit(run), lambda args: tuple(jnp.stack([a * (1 + k / steps) for k in range(steps)]) for a in args)


def alone(f, steps):
    """One jitted call after another."""
    call = jax.jit(f)

    def run(*args):
        for _ in range(steps):
            y = call(*args)
        return y

    return run, lambda args: tuple(map(jnp.asarray, args))


def times_of(runs, args, steps, rounds):
    """{side: ms per step of every round}, after the sides have agreed."""
    want = np.asarray(runs["JAX"](*args))
    for side, run in runs.items():
        np.testing.assert_allclose(run(*args), want, rtol=1e-3, atol=1e-4 * np.abs(want).max(), err_msg=side)
    times = {side: [] for side in runs}
    for _ in range(rounds):
        for side, run in runs.items():
            begun = time.perf_counter()
            jax.block_until_ready(run(*args))
            times[side].append((time.perf_counter() - begun) / steps * 1e3)
    return {side: np.array(t) for side, t in times.items()}


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--shapes", nargs="+", choices=[*CONVOLUTIONS, *POOLS], default=[*CONVOLUTIONS, *POOLS])
    p.add_argument("--rounds", type=int, default=7)
    p.add_argument("--steps", type=int, default=4)
    args = p.parse_args()
    d = jax.devices()[0]
    print(
        f"{d.platform} {d.device_kind}, jax {jax.__version__}, float32, {args.steps} steps a round, {args.rounds} "
        f"rounds; ms per step, median: ours / JAX's, and JAX's / ours within a round (quartiles)"
    )
    for name in args.shapes:
        work = of_convolution(*CONVOLUTIONS[name]) if name in CONVOLUTIONS else of_pool(*POOLS[name])
        for what, (ours, theirs, given) in work.items():
            line = f"{name:25} {what:8}"
            for where, place in [("alone", alone), ("scan", in_scan)]:
                mine, inputs = place(ours, args.steps)
                runs = {"ours": mine, "JAX": place(theirs, args.steps)[0]}
                t = times_of(runs, inputs(given), args.steps, args.rounds)
                low, mid, high = np.quantile(t["JAX"] / t["ours"], [0.25, 0.5, 0.75])
                line += (
                    f"   {where} {np.median(t['ours']):7.2f} / {np.median(t['JAX']):7.2f}"
                    f"  x {mid:5.1f} ({low:.1f} to {high:.1f})"
                )
            print(line, flush=True)


if __name__ == "__main__":
    main()
