"""aihwkit.simulator.configs.compounds"""

from ...simulator._in_memory import lookup

__all__ = []

__getattr__ = lookup(
    __name__,
    """
    BufferedTransferCompound ChoppedTransferCompound DifferenceUnitCell DigitalRankUpdateCell
    DynamicTransferCompound MixedPrecisionCompound OneSidedUnitCell ReferenceUnitCell TransferCompound UnitCell
    VectorUnitCell
    """,
)
