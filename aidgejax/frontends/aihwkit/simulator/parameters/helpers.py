"""aihwkit.simulator.parameters.helpers"""

from ...simulator._in_memory import lookup

__all__ = []

__getattr__ = lookup(__name__, "get_bindings_class parameters_to_bindings tile_parameters_to_bindings")
