"""aihwkit.inference.compensation.base"""

from .....analog.compensation import BaseDriftCompensation

__all__ = ["BaseDriftCompensation"]
