"""aihwkit.simulator.presets.devices"""

from ...simulator._in_memory import lookup

__all__ = []

__getattr__ = lookup(
    __name__,
    """
    CapacitorPresetDevice EcRamMOPresetDevice EcRamPresetDevice GokmenVlasovPresetDevice IdealizedPresetDevice
    PCMPresetDevice ReRamArrayHfO2PresetDevice ReRamArrayOMPresetDevice ReRamESPresetDevice ReRamSBPresetDevice
    """,
)
