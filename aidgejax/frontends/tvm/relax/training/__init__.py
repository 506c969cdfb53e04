"""tvm.relax.training: SetupTrainer, Trainer, AppendLoss, and the losses and optimizers they take."""

from . import loss, optimizer, utils
from .setup_trainer import SetupTrainer
from .trainer import Trainer
from .utils import AppendLoss

__all__ = ["AppendLoss", "SetupTrainer", "Trainer", "loss", "optimizer", "utils"]
