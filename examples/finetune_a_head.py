"""An exported network learns new classes: its body stays frozen, its head is trained and written back.

    python examples/finetune_a_head.py [--model body.onnx --features NAME]

Without --model, a small CNN is first trained to tell the digits 0 to 4 and written to `pretrained.onnx`, with a batch
of 1, as many exporters do.  That file is then all there is: it is read for any batch, gets a head for ten classes on
the tensor `--features`, learns from a fifth of the digits, and is written to `finetuned.onnx`.
"""

import argparse

import jax
import numpy as np

import aidgejax as aj
from aidgejax.training import fillers, optim, schedule

EPOCHS, BATCH = 20, 16


def train(graph, data, test, epochs=EPOCHS):
    """(state, accuracy on the test set)"""
    graph = aj.with_loss(graph, "cross_entropy", reduction="rows")
    logits = graph.outputs[0]
    program = aj.make_program(graph, training=True)
    state, history = aj.fit(
        program,
        optim.adam(),
        schedule.constant(3e-3),
        data,
        epochs=epochs,
        batch_size=BATCH,
        last="drop",
        metrics={"accuracy": lambda out, batch: aj.metrics.accuracy(out[logits], batch["target"])},
        test=test,
        test_program=aj.make_program(graph, training=False),
    )
    return state, history[-1]["test_accuracy"]


def small_cnn(classes):
    """Two convolutions with batch normalization; an image at a time."""
    rng = np.random.default_rng(0)
    g = aj.Graph("digits")
    op, y = g.op, g.input("x", (1, 1, 8, 8))
    for k, (i, o) in enumerate(((1, 12), (12, 24))):
        w = g.parameter(f"conv{k}.w", rng.normal(0, np.sqrt(2 / (9 * i)), (o, i, 3, 3)).astype(np.float32))
        norm = [g.parameter(f"norm{k}.{n}", np.full(o, v, np.float32)) for n, v in (("scale", 1), ("bias", 0))]
        norm += [g.buffer(f"norm{k}.{n}", np.full(o, v, np.float32)) for n, v in (("mean", 0), ("var", 1))]
        y = op.Relu(op.BatchNormalization(op.Conv(y, w, pads=(1, 1, 1, 1)), *norm))
        y = op.MaxPool(y, kernel_shape=(2, 2), strides=(2, 2))
    (y,) = g.add("Reshape", [y, (1, 96)], names=["features"])
    g.output(with_head(g, y, 96, classes, "head"))
    return g


def with_head(graph, features, size, classes, name):
    """logits = features @ w + b"""
    w = graph.parameter(f"{name}.w", fillers.he_normal(jax.random.key(0), (classes, size)))
    b = graph.parameter(f"{name}.b", np.zeros(classes, np.float32))
    return graph.add("Gemm", [features, w, b], {"transB": 1}, names=[f"{name}.logits"])[0]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=None)
    parser.add_argument("--features", default="features")
    args = parser.parse_args()
    digits, test = aj.digits().split(0.2, seed=0)

    if args.model is None:
        few, few_test = (d[np.flatnonzero(d.columns["target"] < 5)] for d in (digits, test))
        graph = aj.onnxio.read(aj.onnxio.to_model(small_cnn(5)), batch="N")
        state, accuracy = train(graph, few, few_test)
        fixed = small_cnn(5).with_params(state.params, state.buffers)
        aj.onnxio.write(fixed, None, "pretrained.onnx")
        print(f"pretrained.onnx tells 0 to 4: test accuracy {accuracy:.3f}")

    graph = aj.onnxio.read(args.model or "pretrained.onnx", batch="N")
    body = {n: a.copy() for n, a in {**graph.params, **graph.buffers}.items()}
    graph = aj.cut_at(graph, args.features)
    graph.outputs = [with_head(graph, args.features, graph.value(args.features).shape[1], 10, "ten").name]
    graph = aj.freeze_body(aj.infer_shapes(graph), args.features)  # BatchNormalization's statistics as well
    print(f"trained: {', '.join(graph.params)}; frozen: {', '.join(n for n in body if n in graph.constants)}")
    state, _ = train(graph, digits[: len(digits) // 5], test)
    aj.onnxio.write(graph.with_params(state.params), None, "finetuned.onnx")

    again = aj.onnxio.read("finetuned.onnx")
    (logits,) = aj.run(again, {"x": test.columns["x"]})
    accuracy = np.mean(logits.argmax(axis=1) == test.columns["target"])
    same = all(np.array_equal(again.producers[n].data, a) for n, a in body.items() if n in again.constants)
    print(
        f"finetuned.onnx tells 0 to 9: test accuracy {accuracy:.3f}; "
        f"the body is {'what it was, bit for bit' if same else 'changed'}"
    )


if __name__ == "__main__":
    main()
