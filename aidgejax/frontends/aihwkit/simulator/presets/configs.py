"""aihwkit.simulator.presets.configs"""

from ...simulator._in_memory import lookup

__all__ = []

__getattr__ = lookup(
    __name__,
    """
    AGADCapacitorPreset AGADEcRamMOPreset AGADEcRamPreset AGADIdealizedPreset AGADReRamESPreset
    AGADReRamSBPreset Capacitor2Preset Capacitor4Preset CapacitorPreset ChoppedTTv2CapacitorPreset
    ChoppedTTv2EcRamMOPreset ChoppedTTv2EcRamPreset ChoppedTTv2IdealizedPreset ChoppedTTv2ReRamESPreset
    ChoppedTTv2ReRamSBPreset EcRam2Preset EcRam4Preset EcRamMO2Preset EcRamMO4Preset EcRamMOPreset EcRamPreset
    GokmenVlasovPreset Idealized2Preset Idealized4Preset IdealizedPreset MixedPrecisionCapacitorPreset
    MixedPrecisionEcRamMOPreset MixedPrecisionEcRamPreset MixedPrecisionGokmenVlasovPreset
    MixedPrecisionIdealizedPreset MixedPrecisionPCMPreset MixedPrecisionReRamESPreset
    MixedPrecisionReRamSBPreset PCMPreset ReRamES2Preset ReRamES4Preset ReRamESPreset ReRamSB2Preset
    ReRamSB4Preset ReRamSBPreset TTv2CapacitorPreset TTv2EcRamMOPreset TTv2EcRamPreset TTv2IdealizedPreset
    TTv2ReRamESPreset TTv2ReRamSBPreset TikiTakaCapacitorPreset TikiTakaEcRamMOPreset TikiTakaEcRamPreset
    TikiTakaIdealizedPreset TikiTakaReRamESPreset TikiTakaReRamSBPreset
    """,
)
