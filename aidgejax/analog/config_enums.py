"""aihwkit's enums; which members a tile supports, aidgejax.analog.settings says."""

from enum import Enum


class RPUDataType(Enum):
    """Precision of a tile."""

    FLOAT = "Float"
    DOUBLE = "Double"
    HALF = "Half"


class BoundManagementType(Enum):
    """What happens when an output exceeds the bound: nothing, or the input is halved until it does not."""

    NONE = "None"
    ITERATIVE = "Iterative"
    ITERATIVE_WORST_CASE = "IterativeWorstCase"
    SHIFT = "Shift"


class NoiseManagementType(Enum):
    """By what an input row is divided before it enters the tile."""

    NONE = "None"
    ABS_MAX = "AbsMax"
    ABS_MAX_NP_SUM = "AbsMaxNPSum"
    MAX = "Max"
    CONSTANT = "Constant"
    AVERAGE_ABS_MAX = "AverageAbsMax"
    AVERAGE_ABS_MAX_SINGLE_VALUE = "AverageAbsMaxSingleValue"


class WeightNoiseType(Enum):
    """Noise of the weights, drawn anew with each product."""

    NONE = "None"
    ADDITIVE_CONSTANT = "AdditiveConstant"
    PCM_READ = "PCMRead"


class AnalogMVType(Enum):
    """How the product is carried out."""

    IDEAL = "Ideal"
    ONE_PASS = "OnePass"
    POS_NEG_SEPARATE = "PosNegSeparate"
    POS_NEG_SEPARATE_DIGITAL_SUM = "PosNegSeparateDigitalSum"
    SPLIT_MODE = "SplitMode"
    BIT_WISE = "BitWise"


class WeightModifierType(Enum):
    """What a training pass does to the weight; see the operator WeightModifier."""

    NONE = "None"
    COPY = "Copy"
    DISCRETIZE = "Discretize"
    MULT_NORMAL = "MultNormal"
    ADD_NORMAL = "AddNormal"
    DISCRETIZE_ADD_NORMAL = "DiscretizeAddNormal"
    DOREFA = "DoReFa"
    POLY = "Poly"
    PCM_NOISE = "PCMNoise"
    PROG_NOISE = "ProgNoise"
    DROP_CONNECT = "DropConnect"


class WeightClipType(Enum):
    """Where weights are cut off after a step; see the operator ClipWeight."""

    NONE = "None"
    FIXED_VALUE = "FixedValue"
    LAYER_GAUSSIAN = "LayerGaussian"
    AVERAGE_CHANNEL_MAX = "AverageChannelMax"


class WeightRemapType(Enum):
    """How weights are mapped anew after a step; see the operator RemapWeight."""

    NONE = "None"
    LAYERWISE_SYMMETRIC = "LayerwiseSymmetric"
    CHANNELWISE_SYMMETRIC = "ChannelwiseSymmetric"


class PulseType(Enum):
    """How a device is pulsed; NONE for inference, which is all there is here."""

    NONE = "None"
    STOCHASTIC_COMPRESSED = "StochasticCompressed"
    STOCHASTIC = "Stochastic"
    NONE_WITH_DEVICE = "NoneWithDevice"
    MEAN_COUNT = "MeanCount"
    DETERMINISTIC_IMPLICIT = "DeterministicImplicit"


class VectorUnitCellUpdatePolicy(Enum):
    """Which device of a unit cell is updated; of in-memory training."""

    ALL = "All"
    SINGLE_FIXED = "SingleFixed"
    SINGLE_SEQUENTIAL = "SingleSequential"
    SINGLE_RANDOM = "SingleRandom"


class AnalogContextDataViewMode(Enum):
    """How an analog context shows the weights; it shows none here."""

    PLACEHOLDER = "Placeholder"
    READONLY = "ReadOnly"
