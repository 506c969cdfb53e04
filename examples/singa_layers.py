"""SINGA's second documented example, a CNN from autograd's layers; only imports and undefined names are added."""

import numpy as np

from aidgejax.frontends.singa import autograd, device, opt, tensor

rng = np.random.default_rng(0)
dev = device.get_default_device()
sgd = opt.SGD(0.001)
epochs, batch_number, batch_sz = 1, 3, 4
y_train = rng.integers(0, 10, batch_number * batch_sz).astype(np.int32)
x_train = rng.normal(size=(len(y_train), 1, 28, 28)).astype(np.float32) + y_train[:, None, None, None] / 5

conv1 = autograd.Conv2d(1, 32, 3, padding=1, bias=False)
bn1 = autograd.BatchNorm2d(32)
pooling1 = autograd.MaxPool2d(3, 1, padding=1)
conv21 = autograd.Conv2d(32, 16, 3, padding=1)
conv22 = autograd.Conv2d(32, 16, 3, padding=1)
bn2 = autograd.BatchNorm2d(32)
linear = autograd.Linear(32 * 28 * 28, 10)
pooling2 = autograd.AvgPool2d(3, 1, padding=1)


def forward(x, t):
    # x is the input data (a batch of images)
    # t is the label vector (a batch of integers)
    y = conv1(x)  # Conv layer
    y = autograd.relu(y)  # ReLU operation
    y = bn1(y)  # BN layer
    y = pooling1(y)  # Pooling Layer

    # two parallel convolution layers
    y1 = conv21(y)
    y2 = conv22(y)
    y = autograd.cat((y1, y2), 1)  # cat operation
    y = autograd.relu(y)  # ReLU operation
    y = bn2(y)
    y = pooling2(y)

    y = autograd.flatten(y)  # flatten operation
    y = linear(y)  # Linear layer
    loss = autograd.softmax_cross_entropy(y, t)  # operation
    return loss, y


autograd.training = True
for _epoch in range(epochs):
    for i in range(batch_number):
        inputs = tensor.Tensor(device=dev, data=x_train[i * batch_sz : (1 + i) * batch_sz], stores_grad=False)
        targets = tensor.Tensor(
            device=dev, data=y_train[i * batch_sz : (1 + i) * batch_sz], requires_grad=False, stores_grad=False
        )

        loss, y = forward(inputs, targets)  # forward the net

        for p, gp in autograd.backward(loss):  # auto backward
            sgd.update(p, gp)
        print(f"loss {float(loss):.4f}")
