"""aihwkit.simulator.digital_low_precision.range_estimators"""

from ...simulator._in_memory import lookup

__all__ = []

__getattr__ = lookup(
    __name__,
    """
    AllMinMaxEstimator CrossEntropyEstimator CurrentMinMaxEstimator MSE_Estimator NoDataPassedError OptMethod
    RangeEstimatorBase RangeEstimatorMap RangeEstimators RunningMinMaxEstimator
    """,
)
