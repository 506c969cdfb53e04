"""SINGA's first documented example, a perceptron from operations; only imports and undefined names are added."""

import numpy as np

from aidgejax.frontends.singa import autograd, opt
from aidgejax.frontends.singa.tensor import Tensor

rng = np.random.default_rng(0)
data = rng.normal(size=(64, 2)).astype(np.float32)
label = (data[:, 0] > data[:, 1]).astype(np.int32)

w0 = Tensor(shape=(2, 3), requires_grad=True, stores_grad=True)
w0.gaussian(0.0, 0.1)
b0 = Tensor(shape=(1, 3), requires_grad=True, stores_grad=True)
b0.set_value(0.0)

w1 = Tensor(shape=(3, 2), requires_grad=True, stores_grad=True)
w1.gaussian(0.0, 0.1)
b1 = Tensor(shape=(1, 2), requires_grad=True, stores_grad=True)
b1.set_value(0.0)

inputs = Tensor(data=data)  # data matrix
target = Tensor(data=label)  # label vector
autograd.training = True  # for training
sgd = opt.SGD(0.05)  # optimizer

for i in range(10):  # noqa: B007
    x = autograd.matmul(inputs, w0)  # matrix multiplication
    x = autograd.add_bias(x, b0)  # add the bias vector
    x = autograd.relu(x)  # ReLU activation operation

    x = autograd.matmul(x, w1)
    x = autograd.add_bias(x, b1)

    loss = autograd.softmax_cross_entropy(x, target)

    for p, g in autograd.backward(loss):
        sgd.update(p, g)

print(f"loss {float(loss):.4f}")
