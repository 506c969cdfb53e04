# ruff: noqa: F401, F403  (this module collects them)
"""All operations of singa.autograd, as functions."""

from ._elementwise import *
from ._elementwise import _and, _not, _or, _xor
from ._losses import *
from ._network import *
from ._parts import *
from ._products import *
from ._shaping import *
