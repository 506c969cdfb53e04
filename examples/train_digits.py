"""Handwritten digits with compiled epochs: the main job as a script.

python examples/train_digits.py
"""

import aidgejax as aj

training, test = aj.digits().split(0.2, seed=0)

graph = aj.infer_shapes(aj.zoo.lenet(size=8))  # or aj.onnxio.read("model.onnx")
graph = aj.with_loss(graph, "cross_entropy", reduction="rows")  # one loss per row, so that padding can be left out
program = aj.make_program(graph, training=True)

EPOCHS, BATCH = 20, 32
steps = EPOCHS * -(-len(training) // BATCH)
learning_rate = aj.schedule.warmup(aj.schedule.cosine(3e-3, steps), 20)

state, history = aj.fit(
    program, aj.optim.adam(), learning_rate, training, epochs=EPOCHS, batch_size=BATCH, last="pad",
    metrics={"accuracy": lambda outputs, batch: aj.metrics.accuracy(outputs["logits"], batch["target"])},
    test=test, test_program=aj.make_program(graph, training=False),
    on_epoch=lambda r: print(f"epoch {r['epoch']:2}  loss {r['loss']:.4f}  lr {r['learning_rate']:.5f}  "
                             f"test accuracy {r['test_accuracy']:.4f}  {r['seconds']:.2f} s"))  # fmt: skip

print(f"{len(history)} updates; the backward pass is a graph of {len(program.gradient.nodes)} nodes:")
print("\n".join(str(program.gradient).splitlines()[-12:]))
