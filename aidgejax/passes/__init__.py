"""Graph passes: `pass(graph, ...) -> Graph`, pure, each named after what it does."""

from .float_weights import float_weights
from .fold_batchnorm import fold_batchnorm
from .freeze import cut_at, freeze_body, freeze_statistics
from .fuse import fuse
from .gradient import make_gradient
from .lora import lora, merge_lora
from .loss import with_loss
from .precision import precision
from .recompute import recompute

__all__ = [
    "cut_at",
    "float_weights",
    "fold_batchnorm",
    "freeze_body",
    "freeze_statistics",
    "fuse",
    "lora",
    "make_gradient",
    "merge_lora",
    "precision",
    "recompute",
    "with_loss",
]
