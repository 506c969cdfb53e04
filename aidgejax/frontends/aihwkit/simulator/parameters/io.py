"""aihwkit.simulator.parameters.io"""

from .....analog.config_io import IOParameters, IOParametersIRDropT

__all__ = ["IOParameters", "IOParametersIRDropT"]
