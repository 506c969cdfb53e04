"""singa.opt: optimizers and schedules.  The rules are aidgejax.optim's, the formulas of schedules aidgejax.schedule's.

    sgd = SGD(lr=ExponentialDecay(0.1, 100, 0.5), momentum=0.9)
    sgd(loss)                                   # backward, an update of every parameter, one step
    for p, g in autograd.backward(loss):        # the same by hand
        sgd.apply(p.name, p, g)
    sgd.step()

State belongs to a tensor, not to its name, so two parameters called "W" do not share their momentum.
"""

from ._dist import DistOpt
from ._optimizers import SGD, AdaGrad, Adam, Optimizer, RMSProp
from ._schedules import Constant, DecayScheduler, ExponentialDecay

__all__ = [
    "SGD",
    "AdaGrad",
    "Adam",
    "Constant",
    "DecayScheduler",
    "DistOpt",
    "ExponentialDecay",
    "Optimizer",
    "RMSProp",
]
