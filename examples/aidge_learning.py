"""Aidge's own two training scripts (docs "Aidge learning API"), with only the imports changed and the dots filled in.

A line that is Aidge's stands here as it does there; what its page leaves open is marked.
"""

# ruff: noqa: B007, E402, F841, I001
from tqdm import tqdm

from aidgejax.frontends import aidge_core, aidge_learning

# ---- left open by the page: a model, and data ----------------------------------------------------------
import numpy as np

from aidgejax.training.data import digits

ROWS = 256


def small_cnn(name=""):
    return aidge_core.sequential(
        [
            aidge_core.Conv2D(1, 8, [3, 3], name="conv1"),
            aidge_core.ReLU(name="relu1"),
            aidge_core.MaxPooling2D([2, 2], stride_dims=[2, 2], name="pool1"),
            aidge_core.FC(72, 10, name="fc1"),
        ],
        name=name,
    )


class Digits(aidge_core.Database):
    def __init__(self, rows=ROWS):
        aidge_core.Database.__init__(self)
        data = digits()[:rows]
        self.x, self.y = data.columns["x"], data.columns["target"]

    def get_item(self, index):
        return [aidge_core.Tensor(self.x[index]), aidge_core.Tensor(np.eye(10, dtype=np.float32)[self.y[index]])]

    def len(self):
        return len(self.x)

    def get_nb_modalities(self):
        return 2


def available(backend):
    return backend in aidge_core.Tensor.get_available_backends()


aidge_core.random.Generator.set_seed(1)

# ---- the page's first script ---------------------------------------------------------------------------
# Define the model (or load an existing ONNX one)
model = small_cnn()
if available("cuda"):
    model.set_backend("cuda")
else:
    model.set_backend("cpu")
# Initialize parameters (weights and biases)
aidge_core.init_producer(model, "Producer-1>(Conv2D|FC)", aidge_core.he_filler)
aidge_core.init_producer(model, "Producer-2>(Conv2D|FC)", lambda x: aidge_core.constant_filler(x, 0.01))
# Define the data provider (using either aidge_backend_opencv or torch DataLoader)
dataprovider = aidge_core.DataProvider(Digits(), 16)
# Define the optimizer and set the parameters to train
opt = aidge_learning.SGD(momentum=0.9)
opt.set_parameters(aidge_core.producers(model))
# Define the learning rate scheduler
learning_rates = aidge_learning.constant_lr(0.01)
opt.set_learning_rate_scheduler(learning_rates)
scheduler = aidge_core.SequentialScheduler(model)
for i, (input, label) in enumerate(tqdm(dataprovider)):
    # Forward pass
    pred = scheduler.forward(data=[input])[0]
    # Reset the gradient
    opt.reset_grad()
    # Compute loss
    loss = aidge_learning.loss.CELoss(pred, label)
    # Compute accuracy (optional)
    acc = aidge_learning.metrics.Accuracy(pred, label, 1)[0]
    # Backward pass
    scheduler.backward()
    # Optimize the parameters
    opt.update()

print(f"first script: loss {loss[0]:.4f}, {acc:.0f} of {label.dims[0]} right in the last batch")

# ---- the page's second script: gradients accumulate over 8 batches --------------------------------------
pbar = tqdm(total=0)
# Number of iterations before each optimizer update step
nb_iters = 8
opt.reset_grad()
for i, (input, label) in enumerate(tqdm(dataprovider)):
    pred = scheduler.forward(False, data=[input])[0]
    loss = aidge_learning.loss.CELoss(pred, label, 1 / nb_iters)
    scheduler.backward()
    if (i + 1) % nb_iters == 0 or (i + 1) == len(dataprovider):
        opt.update()
        opt.reset_grad()
    pbar.set_postfix(loss=f"{loss[0]:.4f}")

print(f"second script: loss {loss[0]:.4f}")

# ---- the page's components ------------------------------------------------------------------------------
train_loader, nb_epochs = dataprovider, 2
max_steps = len(train_loader) * nb_epochs
learning_rate = aidge_learning.step_lr(0.1, max_steps // 4, 0.1)
max_steps = len(train_loader) * nb_epochs
learning_rate = aidge_learning.cosine_lr(0.1, max_steps, 0.0001)
learning_rate.set_nb_warmup_steps(len(train_loader))
# Initialize the weights
aidge_core.init_producer(model, "Producer-1>(Conv2D|FC)", aidge_core.he_filler)
# Initialize the bias
aidge_core.init_producer(model, "Producer-2>(Conv2D|FC)", lambda x: aidge_core.constant_filler(x, 0.01))
print("rates of the first steps:", ", ".join(f"{r:.4f}" for r in learning_rate.lr_profile(5)))
