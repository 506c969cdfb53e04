"""A LeNet for digits, quantized to 4 bits: trained, compared in every runtime, and written.  About a minute."""

import numpy as np

import aidgejax as aj
from aidgejax import quant

data, test = aj.digits().split(0.2, seed=1997)
graph = aj.infer_shapes(aj.zoo.lenet(8))
program = aj.make_program(aj.with_loss(graph, "cross_entropy", reduction="rows"), training=True)
state, _ = aj.fit(program, aj.optim.adam(), aj.schedule.constant(3e-3), data, epochs=15, batch_size=32)
graph = graph.with_params(state.params)


def accuracy(net: aj.Graph) -> float:
    return float(np.mean(aj.run(net, {"x": test.columns["x"]})[0].argmax(1) == test.columns["target"]))


# From here to a verified file:
q = quant.convert(graph, quant.bits(4, step="power_of_two"))
q = quant.calibrate(q, data, "mse")
q, _ = quant.finetune(q, data, epochs=15)
integers = quant.to_integer(q)
report = quant.write(integers, "digits_w4a4.onnx", graph=q, data=test, grade="proved")

print(report)
print(f"accuracy {accuracy(graph):.3f} -> {accuracy(integers):.3f}; {report.differing} values differ")
