"""aihwkit.inference.compensation.drift"""

from .....analog.compensation import (
    GlobalDriftCompensation,
    GlobalDriftCompensationWithExactReference,
    PerColumnDriftCompensation,
)

__all__ = ["GlobalDriftCompensation", "GlobalDriftCompensationWithExactReference", "PerColumnDriftCompensation"]
