"""Graph passes: `pass(graph, ...) -> Graph`, pure, each named after what it does."""

from .fold_batchnorm import fold_batchnorm
from .freeze import cut_at, freeze_body, freeze_statistics
from .fuse import fuse
from .gradient import make_gradient
from .loss import with_loss
from .precision import precision
from .recompute import recompute

__all__ = [
    "cut_at",
    "fold_batchnorm",
    "freeze_body",
    "freeze_statistics",
    "fuse",
    "make_gradient",
    "precision",
    "recompute",
    "with_loss",
]
