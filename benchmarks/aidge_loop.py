"""How fast is Aidge's imperative loop here, against compiled epochs, and against the real Aidge where it is installed?

LeNet, batch 64, SGD with momentum.  All sides start from the same weights, and give the same loss before any is timed.
Rounds are interleaved; each ratio is taken within its round, so that a busy machine slows all sides.  The real Aidge
computes with OpenMP, and nothing else here does: OMP_NUM_THREADS (1 unless it is set) is its number of threads alone.
"""

import argparse
import os
from time import perf_counter

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before anything loads OpenMP

import jax
import numpy as np

from aidgejax.frontends import aidge_core, aidge_learning


def lenet(core):
    """LeNet-5 on 28 x 28 images, in the words of either aidge_core."""
    return core.sequential(
        [
            core.Conv2D(1, 6, [5, 5], name="c1"),
            core.ReLU(name="r1"),
            core.MaxPooling2D([2, 2], stride_dims=[2, 2], name="p1"),
            core.Conv2D(6, 16, [5, 5], name="c2"),
            core.ReLU(name="r2"),
            core.MaxPooling2D([2, 2], stride_dims=[2, 2], name="p2"),
            core.Flatten(name="flat"),
            core.FC(256, 120, name="f1"),
            core.ReLU(name="r3"),
            core.FC(120, 84, name="f2"),
            core.ReLU(name="r4"),
            core.FC(84, 10, name="f3"),
        ]
    )


def prepared(core, learning, weights):
    """(model, optimizer) with these weights."""
    model = lenet(core)
    model.set_backend("cpu")
    for node in core.producers(model):
        node.get_operator().set_output(0, core.Tensor(weights[node.name()]))
    opt = learning.SGD(momentum=0.9)
    opt.set_parameters(core.producers(model))
    opt.set_learning_rate_scheduler(learning.constant_lr(0.01))
    return model, opt


def loop(core, learning, model, opt, batches):
    scheduler = core.SequentialScheduler(model)

    def run():
        for x, y in batches:
            pred = scheduler.forward(data=[x])[0]
            opt.reset_grad()
            loss = learning.loss.CELoss(pred, y)
            scheduler.backward()
            opt.update()
        return float(loss[0])

    return run


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    x = rng.normal(size=(args.steps, 64, 1, 28, 28)).astype(np.float32)
    y = np.eye(10, dtype=np.float32)[rng.integers(0, 10, (args.steps, 64))]
    shapes = {n.name(): n.get_operator().get_output(0).dims for n in aidge_core.producers(lenet(aidge_core))}
    weights = {
        k: (rng.normal(size=s) * np.sqrt(2 / np.prod(s[1:])) if len(s) > 1 else np.zeros(s)).astype(np.float32)
        for k, s in shapes.items()
    }
    sides = {}

    def tensors(core):
        return [(core.Tensor(a), core.Tensor(b)) for a, b in zip(x, y, strict=True)]

    sides["the loop"] = loop(
        aidge_core, aidge_learning, *prepared(aidge_core, aidge_learning, weights), tensors(aidge_core)
    )
    model, opt = prepared(aidge_core, aidge_learning, weights)
    arrays = list(zip(x, y, strict=True))
    sides["compiled epochs"] = lambda: aidge_learning.fit(model, arrays, opt, epochs=1)[-1]["loss"]
    try:
        import aidge_backend_cpu  # noqa: F401
        import aidge_core as real_core
        import aidge_learning as real_learning

        sides["real Aidge"] = loop(
            real_core, real_learning, *prepared(real_core, real_learning, weights), tensors(real_core)
        )
    except ImportError:
        print("the real Aidge is not installed (pip install aidge-core aidge-learning aidge-backend-cpu)")

    firsts = {}
    for name, run in sides.items():
        began = perf_counter()
        firsts[name] = run(), perf_counter() - began
    # The loop returns the last loss, an epoch the mean one; the loops are compared with one another, and the weights.
    if "real Aidge" in firsts:
        np.testing.assert_allclose(firsts["the loop"][0], firsts["real Aidge"][0], rtol=1e-3)
    print(
        f"LeNet 28x28, batch 64, {args.steps} steps, {args.repeats} rounds, f32, jax {jax.__version__}, "
        f"{os.cpu_count()} cores, the real Aidge on {os.environ['OMP_NUM_THREADS']} thread(s)"
    )
    times = {name: [] for name in sides}
    for _ in range(args.repeats):
        for name, run in sides.items():
            began = perf_counter()
            run()
            times[name].append((perf_counter() - began) / args.steps * 1e3)
    for name, t in times.items():
        low, mid, high = np.quantile(t, [0, 0.5, 1])
        print(f"{name:16} first {firsts[name][1]:5.2f} s   then {mid:7.3f} ms/step  ({low:.3f} to {high:.3f})")
    if "real Aidge" in times:
        for name in ("the loop", "compiled epochs"):
            low, mid, high = np.quantile(np.divide(times["real Aidge"], times[name]), [0.25, 0.5, 0.75])
            best = min(times["real Aidge"]) / min(times[name])
            print(
                f"{name} is {mid:.1f} times as fast as the real Aidge ({low:.1f} to {high:.1f}; "
                f"best round against best round {best:.1f})"
            )


if __name__ == "__main__":
    main()
