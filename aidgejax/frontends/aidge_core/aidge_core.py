"""aidge_core.aidge_core: the names of aidge_core at the path of Aidge's compiled module."""

import sys


def __getattr__(name: str) -> object:
    return getattr(sys.modules[__name__.rpartition(".")[0]], name)
