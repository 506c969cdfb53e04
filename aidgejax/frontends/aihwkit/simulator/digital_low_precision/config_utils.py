"""aihwkit.simulator.digital_low_precision.config_utils"""

from ...simulator._in_memory import lookup

__all__ = []

__getattr__ = lookup(
    __name__,
    """
    CrossEntropyEstimatorParams CurrentMinMaxEstimatorParams MSEEstimatorParams RunningMinMaxEstimatorParams
    convert_act_config_to_kwargs_dict convert_configs_to_kwargs_dict convert_weight_config_to_kwargs_dict
    """,
)
