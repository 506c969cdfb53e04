"""A graph built by hand, its gradient as a graph, both backends, and ONNX.

python examples/build_a_graph.py
"""

import jax
import numpy as np

import aidgejax as aj

graph = aj.Graph("by_hand")
op = graph.op
x = graph.input("x", ("N", 4))  # N: any batch
w = graph.parameter("w", aj.fillers.he_normal(jax.random.key(0), (3, 4)))
b = graph.parameter("b", np.zeros(3, np.float32))
hidden = op.Gemm(x, w, b, transB=1, name="hidden")
graph.output(op.Softmax(op.Relu(hidden), name="y"))

program = aj.make_program(graph)
print(program.graph)
print()
print(program.gradient)

batch = {"x": np.linspace(-1, 1, 8, dtype=np.float32).reshape(2, 4)}
print()
for backend in ("jax", "numpy"):
    print(f"{backend:5}", *aj.run(graph, batch, backend))
print(aj.compare(graph, batch=batch, steps=3))

aj.onnxio.write(graph, None, "by_hand.onnx")
print("by_hand.onnx:", *aj.run(aj.onnxio.read("by_hand.onnx"), batch))
