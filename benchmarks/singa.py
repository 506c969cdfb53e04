"""What does SINGA's define-by-run cost here?  The CNN of SINGA's page: eager, use_graph, and compiled epochs.

    python benchmarks/singa.py --batch 8 --steps 4
    python benchmarks/singa.py --tape        # CPU time of an eager step on small arrays

The three train from the same weights on the same batches; their losses are compared before anything is timed.
"""

import argparse
import time

import jax
import numpy as np

from aidgejax.execution.program import make_program
from aidgejax.frontends.singa import autograd, layer, model, opt, tensor
from aidgejax.passes.loss import with_loss
from aidgejax.training.loop import make_epoch, make_step, start


class Cnn(model.Model):
    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = layer.Conv2d(32, 3, padding=1, bias=False), layer.BatchNorm2d()
        self.pool1, self.pool2 = layer.MaxPool2d(3, 1, padding=1), layer.AvgPool2d(3, 1, padding=1)
        self.conv21, self.conv22 = layer.Conv2d(16, 3, padding=1), layer.Conv2d(16, 3, padding=1)
        self.bn2, self.linear = layer.BatchNorm2d(), layer.Linear(10)

    def forward(self, x):
        y = self.pool1(self.bn1(autograd.relu(self.conv1(x))))
        y = autograd.relu(autograd.cat((self.conv21(y), self.conv22(y)), 1))
        return self.linear(autograd.flatten(self.pool2(self.bn2(y))))

    def train_one_batch(self, x, t):
        loss = autograd.softmax_cross_entropy(self.forward(x), t)
        self.optimizer(loss)
        return loss


def tape(steps=200, rounds=5):
    """Two dense layers, batch 16: 6 operations forward, their gradients, 4 updates."""
    rng = np.random.default_rng(0)

    def held(a, trained=True):
        return tensor.Tensor(data=np.asarray(a, np.float32), requires_grad=trained, stores_grad=trained)

    w1, b1 = held(rng.normal(size=(20, 30)) * 0.1), held(np.zeros(30))
    w2, b2 = held(rng.normal(size=(30, 10)) * 0.1), held(np.zeros(10))
    x, y = held(rng.normal(size=(16, 20)), False), held(np.eye(10)[rng.integers(0, 10, 16)], False)
    sgd = opt.SGD(0.05)

    def step():
        hidden = autograd.relu(autograd.add_bias(autograd.matmul(x, w1), b1))
        loss = autograd.softmax_cross_entropy(autograd.add_bias(autograd.matmul(hidden, w2), b2), y)
        for p, g in autograd.backward(loss):
            sgd.update(p, g)
        return loss

    autograd.training = True
    first, times = float(step()), []
    for _ in range(rounds):
        began = time.process_time()
        for _ in range(steps):
            loss = step()
        last = float(loss)
        times.append((time.process_time() - began) / steps * 1e3)
    assert last < first, (first, last)
    print(f"tape: {np.median(times):.2f} ms/step ({min(times):.2f} to {max(times):.2f}), 16 compiled calls")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--tape", action="store_true")
    args = parser.parse_args()
    if args.tape:
        return tape()
    rng = np.random.default_rng(0)
    xs = rng.normal(size=(args.steps, args.batch, 1, 28, 28)).astype(np.float32)
    ys = rng.integers(0, 10, (args.steps, args.batch)).astype(np.int32)

    cnn = Cnn()
    cnn.set_optimizer(opt.SGD(1e-4))
    cnn.compile([tensor.Tensor(data=xs[0])])
    weights = {k: np.asarray(t) for k, t in cnn.get_states().items()}
    graph = with_loss(cnn.to_graph(), "cross_entropy", target="y")
    program = make_program(graph, training=True)
    optimizer, schedule = cnn.optimizer.core()
    scan = make_epoch(make_step(program, optimizer, schedule))

    def by_model(use_graph):
        def run():
            cnn.set_states(weights)
            cnn.graph(use_graph)
            losses = [
                cnn(tensor.Tensor(data=x), tensor.Tensor(data=y, dtype=tensor.int32))
                for x, y in zip(xs, ys, strict=True)
            ]
            return np.array([float(t) for t in losses])

        return run

    def epochs():
        held = {k: v for k, v in weights.items() if k in graph.params}
        state = start(
            program, optimizer, jax.random.key(0), held, {k: v for k, v in weights.items() if k in graph.buffers}
        )
        _, history = scan(state, {"x": xs, "y": ys.astype(graph.inputs["y"].dtype)})
        return np.asarray(history["loss"])

    print(f"{jax.devices()[0].device_kind}  f32  SINGA's CNN  batch {args.batch}  steps {args.steps}")
    expected = None
    for name, run in (("eager", by_model(False)), ("use_graph", by_model(True)), ("compiled epoch", epochs)):
        began = time.perf_counter()
        losses = run()
        first = time.perf_counter() - began
        expected = losses if expected is None else expected
        np.testing.assert_allclose(losses, expected, rtol=2e-2)
        times = []
        for _ in range(args.repeats):
            began = time.perf_counter()
            run()
            times.append((time.perf_counter() - began) / args.steps * 1e3)
        print(
            f"{name:16} first {first:6.2f} s   then {np.median(times):8.2f} ms/step "
            f"({min(times):.2f} to {max(times):.2f})"
        )


if __name__ == "__main__":
    main()
