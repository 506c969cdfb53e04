"""aihwkit.simulator.presets.web"""

from .....analog.presets import (
    OldWebComposerInferenceRPUConfig,
    OldWebComposerMappingParameter,
    WebComposerInferenceRPUConfig,
    WebComposerIOParameters,
    WebComposerMappingParameter,
    WebComposerWeightClipParameter,
    WebComposerWeightModifierParameter,
)

__all__ = [
    "OldWebComposerInferenceRPUConfig", "OldWebComposerMappingParameter", "WebComposerIOParameters",
    "WebComposerInferenceRPUConfig", "WebComposerMappingParameter", "WebComposerWeightClipParameter",
    "WebComposerWeightModifierParameter",
]  # fmt: skip
