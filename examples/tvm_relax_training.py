"""TVM's relax.training, ported by changing the imports: state a backbone, set up a trainer, train, profile, export.

python examples/tvm_relax_training.py
"""

import numpy as np

from aidgejax import digits, onnxio
from aidgejax.frontends import tvm
from aidgejax.frontends.tvm import relax
from aidgejax.frontends.tvm.relax.training import SetupTrainer, Trainer
from aidgejax.frontends.tvm.relax.training.loss import CrossEntropyLoss
from aidgejax.frontends.tvm.relax.training.optimizer import Adam

BATCH, EPOCHS = 64, 10
training, test = digits().split(0.2, seed=0)

# A backbone: inputs, then parameters, then states.
f32 = relax.TensorType
x = relax.Var("x", f32(("n", 1, 8, 8)))
w0, gamma, beta = relax.Var("w0", f32((16, 1, 3, 3))), relax.Var("gamma", f32((16,))), relax.Var("beta", f32((16,)))
w1, b1 = relax.Var("w1", f32((16 * 4 * 4, 10))), relax.Var("b1", f32((10,)))
mean, var = relax.Var("mean", f32((16,))), relax.Var("var", f32((16,)))

bb = relax.BlockBuilder()
with bb.function("backbone", [x, w0, gamma, beta, w1, b1, mean, var]):
    with bb.dataflow():
        y = bb.emit(relax.op.nn.conv2d(x, w0, padding=1))
        norm = bb.emit(relax.op.nn.batch_norm(y, gamma, beta, mean, var, axis=1))
        y = bb.emit(relax.op.nn.relu(norm[0]))
        y = bb.emit(relax.op.nn.max_pool2d(y, pool_size=2, strides=2))
        y = bb.emit(relax.op.reshape(y, (-1, 16 * 4 * 4)))
        out = bb.emit_output(relax.op.add(relax.op.matmul(y, w1), b1), "logits")
        new_mean, new_var = bb.emit_output(norm[1], "new_mean"), bb.emit_output(norm[2], "new_var")
    bb.emit_func_output([out, new_mean, new_var])
backbone = bb.get().with_attrs({"param_num": 5, "state_num": 2})

setup = SetupTrainer(CrossEntropyLoss(), Adam(0.005), [f32(("n", 10)), f32(("n",), "int64")])
mod = setup(backbone)
print(mod["backbone_loss_adjoint"])  # the gradient is a graph as well

vm = relax.VirtualMachine(tvm.compile(mod, "llvm"), tvm.cpu(), profile=True)
trainer = Trainer(mod, vm, tvm.cpu())
np.random.seed(0)
trainer.xaiver_uniform_init_params()
trainer.load_params({"gamma": np.ones(16, np.float32), "beta": np.zeros(16, np.float32)})
trainer.load_states({"var": np.ones(16, np.float32)})

images, labels = training.columns["x"], training.columns["target"]
for epoch in range(EPOCHS):
    order = np.random.permutation(len(images))
    losses = [trainer.update(images[rows], labels[rows]) for rows in np.array_split(order, len(order) // BATCH)]
    right = trainer.predict(test.columns["x"]).numpy().argmax(1) == test.columns["target"]
    print(f"epoch {epoch:2}  loss {np.mean([float(t) for t in losses]):.4f}  test accuracy {right.mean():.4f}")

report = trainer.profile_adjoint(images[:BATCH], labels[:BATCH])
print("\n".join(report.table().splitlines()[:6]), "...")
print({k: v for k, v in report.configuration.items() if "(us)" in k})
print(f"{len(onnxio.to_model(trainer.graph()).SerializeToString())} bytes of ONNX")
