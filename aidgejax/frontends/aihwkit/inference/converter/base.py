"""aihwkit.inference.converter.base"""

from .....analog.conductance import BaseConductanceConverter

__all__ = ["BaseConductanceConverter"]
