"""aihwkit.simulator.rpu_base: of the C++ module only what scripts ask of it."""


class cuda:  # noqa: N801  # aihwkit's name
    """Whether aihwkit was compiled for CUDA: JAX places the arrays here."""

    @staticmethod
    def is_compiled() -> bool:
        return False


class tiles:  # noqa: N801  # aihwkit's name
    """The C++ tiles, which are not here."""


class devices:  # noqa: N801  # aihwkit's name
    """The C++ devices, which are not here."""


__all__ = ["cuda", "devices", "tiles"]
