"""aihwkit.inference.converter.wpo"""

from ...simulator._in_memory import lookup

__all__ = []

__getattr__ = lookup(
    __name__,
    """
    WeightProgrammingOptimizer denormalize downsample_weight_distribution loss_fxn loss_rpu_config loss_weights
    partition_parameters reformat_x_g shuffle_weights span_of_remaining_pairs stop_criterion
    """,
)
