"""tvm.script: programs of Relax written as Python.

    from aidgejax.frontends.tvm.script import ir as I, relax as R

    @I.ir_module
    class Module:
        @R.function
        def main(x: R.Tensor((3, 4), "float32"), w: R.Tensor((4, 5), "float32")) -> R.Tensor((3, 5), "float32"):
            with R.dataflow():
                y = R.matmul(x, w)
                R.output(y)
            return y

The source of the class or function is read and never executed: assignments are bindings, `with R.dataflow():` is a
dataflow block.  `mod.script()` writes a module so, `from_source` reads text.  Functions of TIR are out of scope.
"""

from . import ir, parser, relax, tir, tirx
from ._text import from_source
from .ir import ir_module
from .relax import function

parse = from_source

__all__ = ["from_source", "function", "ir", "ir_module", "parse", "parser", "relax", "tir", "tirx"]
