"""tvm.script.parser: the same names at TVM's older path."""

from .. import ir, relax, tir, tirx
from .._text import from_source

parse = from_source

__all__ = ["from_source", "ir", "parse", "relax", "tir", "tirx"]
