"""aihwkit.nn.low_precision_modules.quantization_states"""

from ...simulator._in_memory import lookup

__all__ = []

__getattr__ = lookup(
    __name__,
    """
    enable_quant_states estimate_act_ranges estimate_ranges estimate_ranges_train fix_act_ranges fix_ranges
    fix_weight_ranges full_precision full_precision_acts full_precision_weights learn_ranges quantized
    quantized_acts quantized_weights reset_act_ranges set_quant_state
    """,
)
