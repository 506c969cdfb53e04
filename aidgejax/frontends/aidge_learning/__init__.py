"""aidge_learning: losses, optimizers, learning-rate schedulers and metrics, with Aidge 0.10.1's names.

    opt = SGD(momentum=0.9)
    opt.set_parameters(aidge_core.producers(model))
    opt.set_learning_rate_scheduler(cosine_lr(0.1, 1000))
    pred = scheduler.forward(data=[x])[0]
    opt.reset_grad()
    loss.CELoss(pred, label)
    scheduler.backward()
    opt.update()

and `fit(model, dataprovider, opt, loss.CELoss, epochs=10)` gives the same weights with compiled epochs.

Where it differs from Aidge on purpose: warm-up follows lr_profile (Aidge's training is off by one); KD's gradient is
the derivative of its value; losses of huge scores are finite; weight decay is not written into the stored gradient;
float64 parameters train; running statistics of BatchNorm are left to BatchNorm; poly_lr stays at its end.
"""

from ..aidge_core.version import get_git_hash, get_project_version, show_version
from . import loss, metrics
from .batchnorm import init_batchnorm_producers, insert_batchnorm_nodes, set_batchnorm_training_mode
from .lr import LRScheduler, constant_lr, cosine_lr, poly_lr, step_lr
from .optimizer import SGD, Adam, Optimizer
from .training import fit

__all__ = [
    "SGD", "Adam", "LRScheduler", "Optimizer", "constant_lr", "cosine_lr", "fit", "get_git_hash",
    "get_project_version", "init_batchnorm_producers", "insert_batchnorm_nodes", "loss", "metrics", "poly_lr",
    "set_batchnorm_training_mode", "show_version", "step_lr",
]  # fmt: skip
