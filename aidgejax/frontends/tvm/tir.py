"""tvm.tir, as far as shapes and attributes need it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Var:
    """A symbolic size: `TensorType((tir.Var("n", "int64"), 3))`."""

    name: str
    dtype: str = "int64"


@dataclass(frozen=True)
class IntImm:
    """An integer attribute: `mod.with_attr("param_num", tir.IntImm("int64", 2))`."""

    dtype: str
    value: int

    def __int__(self) -> int:
        return self.value
