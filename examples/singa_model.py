"""SINGA's third documented example, the Model API, whose step is one compiled program; then the same model's Graph
trained in compiled epochs.  Of the example only the imports and the undefined names are added."""

import os
import tempfile

import numpy as np

from aidgejax.execution.program import make_program
from aidgejax.frontends.singa import device, layer, model, opt, tensor
from aidgejax.passes.loss import with_loss
from aidgejax.training.data import Dataset
from aidgejax.training.fit import fit

rng = np.random.default_rng(0)
dev = device.get_default_device()
batch_size, IMG_SIZE, num_classes, num_train_batch = 16, 8, 10, 30
labels = rng.integers(0, num_classes, num_train_batch * batch_size)
images = rng.normal(size=(len(labels), 1, IMG_SIZE, IMG_SIZE)).astype(np.float32)
images[np.arange(len(labels)), 0, 0, labels % IMG_SIZE] += 3
one_hot = np.eye(num_classes, dtype=np.int32)[labels]


class MLP(model.Model):  # model is a subclass of Model
    def __init__(self, data_size=10, perceptron_size=100, num_classes=10):
        super(MLP, self).__init__()  # noqa: UP008

        # init the operators, layers and other objects
        self.relu = layer.ReLU()
        self.linear1 = layer.Linear(perceptron_size)
        self.linear2 = layer.Linear(num_classes)
        self.softmax_cross_entropy = layer.SoftMaxCrossEntropy()

    def forward(self, inputs):  # define the forward function
        y = self.linear1(inputs)
        y = self.relu(y)
        y = self.linear2(y)
        return y

    def train_one_batch(self, x, y):
        out = self.forward(x)
        loss = self.softmax_cross_entropy(out, y)
        self.optimizer(loss)
        return out, loss

    def set_optimizer(self, optimizer):  # attach an optimizer
        self.optimizer = optimizer


# create a model instance
model = MLP()
# initialize optimizer and attach it to the model
sgd = opt.SGD(lr=0.005, momentum=0.9, weight_decay=1e-5)
model.set_optimizer(sgd)
# input and target placeholders for the model
tx = tensor.Tensor((batch_size, 1, IMG_SIZE, IMG_SIZE), dev, tensor.float32)
ty = tensor.Tensor((batch_size, num_classes), dev, tensor.int32)
# compile the model before training
model.compile([tx], is_train=True, use_graph=True, sequential=False)

# train the model iteratively
for b in range(num_train_batch):
    # generate the next mini-batch
    x, y = (a[b * batch_size : (b + 1) * batch_size] for a in (images, one_hot))

    # Copy the data into input tensors
    tx.copy_from_numpy(x)
    ty.copy_from_numpy(y)

    # Training with one batch
    out, loss = model(tx, ty)
print(f"loss {float(loss):.4f}")

with tempfile.TemporaryDirectory() as folder:
    # define the path to save the checkpoint
    checkpointpath = os.path.join(folder, "checkpoint.zip")

    # save a checkpoint
    model.save_states(fpath=checkpointpath)

    # load a checkpoint
    if os.path.exists(checkpointpath):
        model.load_states(fpath=checkpointpath)

# Not SINGA's: whole epochs as one program each, and the result handed back to the model.
graph = with_loss(model.to_graph(), "cross_entropy", target="y")
optimizer, schedule = sgd.core()
state, history = fit(
    make_program(graph, training=True),
    optimizer,
    schedule,
    Dataset({"x": images, "y": labels}),
    epochs=3,
    batch_size=batch_size,
)
model.set_states({**state.params, **state.buffers})
print(f"loss {history[-1]['loss']:.4f} after three more epochs")
