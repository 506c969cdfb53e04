"""aihwkit.nn.low_precision_modules.conversion_utils"""

from ...simulator._in_memory import lookup

__all__ = []

__getattr__ = lookup(__name__, "append_default_conversions get_module_args")
