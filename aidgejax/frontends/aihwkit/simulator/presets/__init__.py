"""aihwkit.simulator.presets"""

from .....analog.presets import FloatingPointPreset, PresetIOParameters, StandardHWATrainingPreset, StandardIOParameters
from ...simulator._in_memory import lookup

__all__ = ["FloatingPointPreset", "PresetIOParameters", "StandardHWATrainingPreset", "StandardIOParameters"]

__getattr__ = lookup(
    __name__,
    """
    AGADCapacitorPreset AGADEcRamMOPreset AGADEcRamPreset AGADIdealizedPreset AGADReRamESPreset
    AGADReRamSBPreset Capacitor2Preset Capacitor4Preset CapacitorPreset CapacitorPresetDevice
    ChoppedTTv2CapacitorPreset ChoppedTTv2EcRamMOPreset ChoppedTTv2EcRamPreset ChoppedTTv2IdealizedPreset
    ChoppedTTv2ReRamESPreset ChoppedTTv2ReRamSBPreset EcRam2Preset EcRam4Preset EcRamMO2Preset EcRamMO4Preset
    EcRamMOPreset EcRamMOPresetDevice EcRamPreset EcRamPresetDevice GokmenVlasovPreset GokmenVlasovPresetDevice
    Idealized2Preset Idealized4Preset IdealizedPreset IdealizedPresetDevice MixedPrecisionCapacitorPreset
    MixedPrecisionEcRamMOPreset MixedPrecisionEcRamPreset MixedPrecisionGokmenVlasovPreset
    MixedPrecisionIdealizedPreset MixedPrecisionPCMPreset MixedPrecisionReRamESPreset
    MixedPrecisionReRamSBPreset PCMPreset PCMPresetDevice PCMPresetUnitCell PresetUpdateParameters
    ReRamArrayHfO2PresetDevice ReRamArrayOMPresetDevice ReRamES2Preset ReRamES4Preset ReRamESPreset
    ReRamESPresetDevice ReRamSB2Preset ReRamSB4Preset ReRamSBPreset ReRamSBPresetDevice TTv2CapacitorPreset
    TTv2EcRamMOPreset TTv2EcRamPreset TTv2IdealizedPreset TTv2ReRamESPreset TTv2ReRamSBPreset
    TikiTakaCapacitorPreset TikiTakaEcRamMOPreset TikiTakaEcRamPreset TikiTakaIdealizedPreset
    TikiTakaReRamESPreset TikiTakaReRamSBPreset
    """,
)
