"""aihwkit.optim.weight_view"""

from ..simulator._in_memory import lookup

__all__ = []

__getattr__ = lookup(
    __name__,
    """
    PlaceholderDataView ReadOnlyWeightView is_inplace_operation raise_if_readonly_write_target
    raise_readonly_error
    """,
)
