"""aihwkit.simulator.digital_low_precision.quantizers"""

from ...simulator._in_memory import lookup

__all__ = []

__getattr__ = lookup(
    __name__,
    """
    AsymmetricUniformQuantizer FloorStraightThrough QMethodMap QMethods QuantizerBase
    QuantizerNotInitializedError RoundStraightThrough SymmetricUniformQuantizer
    """,
)
