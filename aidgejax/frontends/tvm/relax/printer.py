"""Functions and modules as TVMScript, which tvm.script.from_source reads again."""

from __future__ import annotations

import json
import keyword
import re
from collections.abc import Iterable
from typing import Any

import numpy as np

from .. import tir
from ..errors import RelaxValueError
from ..runtime import Tensor
from .body import BindingBlock, If, SeqExpr, VarBinding, calls_in
from .expr import Call, Constant, Expr, MatchCast, ShapeExpr, Tuple, TupleGetItem, Var
from .metadata import Metadata
from .prim_func import PrimFunc
from .symbols import Symbols
from .types import ShapeType, TensorType, TupleType, size_of

TYPE_VAR_HEADER = "# from typing import TypeVar\n"
HEADER = "# from tvm.script import ir as I\n# from tvm.script import relax as R\n"
TIR_HEADER = "# from tvm.script import tir as T\n"
LARGEST = 64  # elements of a constant that stands in the text; a larger one stands in the metadata
TAKEN = {"R", "I", "T", "tvm", "cls", "metadata", "Module", "True", "False", "None"}


class FunctionPrinter:
    """One function.  Names of Vars become identifiers, numbered where they repeat.

    symbols: the symbolic sizes of the whole text, which stand above it.
    """

    def __init__(self, metadata: Metadata, symbols: Symbols) -> None:
        self._metadata, self._symbols = metadata, symbols
        self._names: dict[Var, str] = {}
        self._used = set(TAKEN)

    def lines(self, name: str, params: Iterable[Var], body: SeqExpr, returns: Any, attrs: dict[str, Any]) -> list[str]:
        options = [] if "global_symbol" in attrs else ["private=True"]
        options += [] if attrs.pop("relax.pure", True) else ["pure=False"]
        if attrs.get("global_symbol") == name:
            attrs.pop("global_symbol")
        shown = ", ".join(f"{self.name_of(p)}: {self.type_text(p.struct_info, declares=True)}" for p in params)
        lines = ["@R.function" + (f"({', '.join(options)})" if options else "")]
        inside = []
        if attrs:
            inside.append(f"R.func_attr({attribute_text(attrs, self._metadata)})")
        if any(c.applied is not None and c.applied.name == "call_function" for c in calls_in(body)):
            inside.append("cls = Module")
        inside += self._blocks(body.blocks)
        returned = tuple(body.body) if isinstance(body.body, list) else body.body
        inside.append(f"return {self.text(returned)}")
        lines.append(f"def {name}({shown}) -> {self.type_text(returns, declares=True)}:")
        new = self._symbols.introduced()
        return lines + ["    " + line for line in [*(f"{n} = T.int64()" for n in new), *inside]]

    def _blocks(self, blocks: Iterable[BindingBlock]) -> list[str]:
        lines: list[str] = []
        for block in blocks:
            inside = [line for b in block.bindings for line in self._binding(b)]
            if block.dataflow:
                out = [self.name_of(b.var) for b in block.bindings if b.is_output]
                lines += ["with R.dataflow():", *("    " + line for line in [*inside, f"R.output({', '.join(out)})"])]
            else:
                lines += inside
        return lines

    def _binding(self, b: VarBinding) -> list[str]:
        if isinstance(b.value, If):
            return self._branches(b.var, b.value)
        value = self.text(b.value)  # before the name is taken: the value may bear it
        return [f"{self.name_of(b.var)}: {self.type_text(b.var.struct_info)} = {value}"]

    def _branches(self, var: Var, value: If) -> list[str]:
        lines = [f"if {self.text(value.cond)}:"]
        name, used = self.name_of(var), dict(self._names)
        for branch, otherwise in ((value.true_branch, False), (value.false_branch, True)):
            lines += ["else:"] if otherwise else []
            lines += ["    " + line for line in self._blocks(branch.blocks)]
            lines.append(f"    {name}: {self.type_text(var.struct_info)} = {self.text(branch.body)}")
            self._names = dict(used)
        return lines

    def name_of(self, var: Var) -> str:
        if var not in self._names:
            stem = re.sub(r"\W", "_", var.name_hint) or "v"
            stem = f"v{stem}" if stem[0].isdigit() or keyword.iskeyword(stem) else stem
            name, k = stem, 0
            while name in self._used:
                k += 1
                name = f"{stem}_{k}"
            self._used.add(name)
            self._names[var] = name
        return self._names[var]

    def text(self, value: Any) -> str:
        """An expression as it is written."""
        if isinstance(value, Var):
            return self.name_of(value)
        if isinstance(value, Constant):
            return self._constant(value.data)
        if isinstance(value, TupleGetItem):
            return f"{self.text(value.tuple_value)}[{value.index}]"
        if isinstance(value, Tuple):
            return self._tuple(value.fields)
        if isinstance(value, ShapeExpr):
            return f"R.shape({self._sizes(value.values)})"
        if isinstance(value, MatchCast):
            return f"R.match_cast({self.text(value.value)}, {self.type_text(value.struct_info)})"
        if isinstance(value, Call):
            return self._call(value)
        if isinstance(value, np.ndarray):
            return self._constant(value)
        if isinstance(value, list):
            return f"[{', '.join(map(self.text, value))}]"
        if isinstance(value, tuple):
            return self._tuple(value)
        if isinstance(value, TensorType | TupleType | ShapeType):
            return self.type_text(value)
        return self._symbols.text(value.name) if isinstance(value, tir.Var) else argument_text(value)

    def type_text(self, type_: Any, declares: bool = False) -> str:
        """An annotation.  declares: of a parameter or a result, where a formula stands in quotes."""
        if isinstance(type_, TupleType):
            return f"R.Tuple({', '.join(self.type_text(t, declares) for t in type_.fields)})"
        if isinstance(type_, ShapeType):
            return f"R.Shape({self._sizes(type_.values, declares)})"
        if type_ is None:
            return "R.Object()"
        if not type_.is_known:
            return f'R.Tensor(dtype="{type_.dtype}", ndim={type_.ndim})'
        sizes = self._sizes(type_.shape, declares)[1:-1]
        return f'R.Tensor(({sizes}{"," if len(type_.shape) == 1 else ""}), dtype="{type_.dtype}")'

    def _sizes(self, values: Iterable[Any], declares: bool = False) -> str:
        return f"[{', '.join(self._symbols.text(d, declares) if isinstance(d, str) else str(d) for d in values)}]"

    def _shape(self, value: Any) -> str:
        """The shape that an operator is given; one with a -1 or a 0 is a tuple, which the operator completes."""
        if isinstance(value, Var):
            return self.text(value)
        sizes = [size_of(d) for d in getattr(value, "values", [value] if isinstance(value, int) else value)]
        text = self._sizes(sizes)
        if any(isinstance(d, int) and d < 1 for d in sizes):
            return f"({text[1:-1]}{',' if len(sizes) == 1 else ''})"
        return f"R.shape({text})"

    def _tuple(self, fields: Iterable[Any]) -> str:
        shown = [self.text(f) for f in fields]
        return f"({', '.join(shown)}{',' if len(shown) == 1 else ''})"

    def _constant(self, data: np.ndarray) -> str:
        if data.size > LARGEST:
            return self._metadata.add(data)
        return f'R.const({_numbers(data.tolist())}, "{data.dtype.name}")'

    def _call(self, call: Call) -> str:
        if call.applied is None:
            raise RelaxValueError(f"a call of {call.op} that is no operator of relax.op cannot be written as TVMScript")
        given, applied = call.applied.arguments, call.applied
        if applied.name == "call_pure_packed":
            inputs = "".join(f", {self._operand(i)}" for i in given["inputs"])
            types = given["types"]
            several = [self.type_text(t) for t in types] if isinstance(types, list) else []
            shown = f"[{', '.join(several)}]" if isinstance(types, list) else self.type_text(types)
            return (
                f"R.call_pure_packed({json.dumps(given['func'])}{inputs}, R.str({json.dumps(given['attrs'])}), "
                f"sinfo_args={shown})"
            )
        if applied.name == "call_function":
            return f"cls.{given['name']}({', '.join(map(self.text, given['args']))})"
        parts, positional = [], True
        for name, value in given.items():
            is_shape = name == "shape" or (name, applied.name.partition(".")[0]) == ("size", "image")
            positional = positional and (is_shape or _is_operand(value))
            text = self._shape(value) if is_shape else self.text(value)
            if name in ("on_value", "off_value") and isinstance(value, int | float):
                text = f"R.prim_value({text})"
            parts.append(text if positional else f"{name}={text}")
        return f"R.{applied.name}({', '.join(parts)})"

    def _operand(self, value: Any) -> str:
        if value is None:
            return "R.null_value()"
        return self.text(value) if isinstance(value, Expr) else f"R.prim_value({argument_text(value)})"


def _is_operand(value: Any) -> bool:
    """Is an argument an expression, or several?"""
    return isinstance(value, Expr) or (isinstance(value, tuple | list) and any(map(_is_operand, value)))


def argument_text(value: Any) -> str:
    """A number, a string, a dtype or None."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return _numbers(value)
    if isinstance(value, str):
        return json.dumps(value)
    if isinstance(value, bool | int | type(None)):
        return repr(value)
    if isinstance(value, tir.IntImm | tir.FloatImm):
        return f"T.{value.dtype}({argument_text(value.value)})"
    if hasattr(value, "name"):
        return argument_text(value.name)
    return json.dumps(str(value))


def attribute_text(value: Any, metadata: Metadata | None = None) -> str:
    """An attribute of a function or module: numbers, strings, arrays, lists and tuples of them."""
    if isinstance(value, Tensor | np.ndarray) and metadata is not None:
        return metadata.add(np.asarray(value))
    if isinstance(value, list | tuple):
        return f"[{', '.join(attribute_text(v, metadata) for v in value)}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{json.dumps(k)}: {attribute_text(v, metadata)}' for k, v in value.items())}}}"
    return argument_text(value)


def _numbers(value: Any) -> str:
    """Nested lists of numbers; floats by their shortest exact form."""
    if isinstance(value, list):
        return f"[{', '.join(map(_numbers, value))}]"
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return f'float("{value}")'
    return repr(value)


def function_text(function: Any) -> str:
    """One function, alone."""
    metadata, symbols = Metadata(), Symbols()
    lines = _function_lines(function, metadata, symbols, function.name)
    return f"# from tvm.script import relax as R\n\n{metadata}{symbols}" + "\n".join(lines)


def module_text(mod: Any) -> str:
    """A module with all its functions."""
    metadata, symbols = Metadata(), Symbols()
    inside = []
    attrs = {k: attribute_text(v, metadata) for k, v in mod.attrs.items()}
    if attrs:
        inside.append(f"I.module_attrs({{{', '.join(f'{json.dumps(k)}: {v}' for k, v in attrs.items())}}})")
    for name, function in mod.functions.items():
        lines = _function_lines(function, metadata, symbols, name)
        inside += ["", *lines] if inside else lines
    body = "\n".join("    " + line if line else "" for line in inside or ["pass"])
    uses_tir = any(isinstance(f, PrimFunc) for f in mod.functions.values()) or "T." in body
    header = (TYPE_VAR_HEADER if str(symbols) else "") + HEADER + TIR_HEADER * uses_tir
    return f"{header}\n{metadata}{symbols}@I.ir_module\nclass Module:\n{body}"


def _function_lines(function: Any, metadata: Metadata, symbols: Symbols, name: str) -> list[str]:
    if isinstance(function, PrimFunc):
        return function.source.splitlines()
    return FunctionPrinter(metadata, symbols).lines(
        re.sub(r"\W", "_", name), function.params, function.body, function.ret_struct_info, dict(function.attrs)
    )
