"""aihwkit.nn.modules.conv_mapped"""

from .conv import AnalogConv1dMapped, AnalogConv2dMapped, AnalogConv3dMapped

__all__ = ["AnalogConv1dMapped", "AnalogConv2dMapped", "AnalogConv3dMapped"]
