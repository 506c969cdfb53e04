"""aihwkit.version: of the aihwkit whose names and numbers are followed here."""

__version__ = "1.1.0"
VERSION_INFO = [1, 1, 0]
