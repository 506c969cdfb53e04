"""aihwkit.optim.context"""

from typing import Any

from ..nn.modules._holder import context_class
from ..nn.modules._module import in_torch
from ..simulator._in_memory import NotSimulated

__all__ = ["AnalogContext"]


class _OfTiles(type):
    def __instancecheck__(cls, instance: Any) -> bool:
        return in_torch() and isinstance(instance, context_class())


class AnalogContext(NotSimulated, metaclass=_OfTiles):
    """Tiles make their contexts themselves: `isinstance(parameter, AnalogContext)` finds them.

    The parameters are torch's, which may be imported later than this.  ConfigError when one is made by hand.
    """
