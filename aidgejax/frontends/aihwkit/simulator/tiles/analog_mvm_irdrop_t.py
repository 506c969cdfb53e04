"""aihwkit.simulator.tiles.analog_mvm_irdrop_t"""

from ...simulator._in_memory import lookup

__all__ = []

__getattr__ = lookup(__name__, "AnalogMVMIRDropT")
