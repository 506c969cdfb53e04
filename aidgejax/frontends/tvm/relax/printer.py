"""Functions and modules as TVMScript, which tvm.script.from_source reads again."""

from __future__ import annotations

import json
import keyword
import re
from collections.abc import Iterable
from typing import Any

import numpy as np

from ..errors import RelaxValueError
from ..runtime import Tensor
from .body import Binding, SeqExpr, calls_in
from .expr import Call, Constant, Expr, MatchCast, ShapeExpr, Tuple, TupleGetItem, Var
from .metadata import Metadata
from .prim_func import PrimFunc
from .types import ShapeType, TensorType, TupleType

HEADER = "# from tvm.script import ir as I\n# from tvm.script import relax as R\n"
TIR_HEADER = "# from tvm.script import tir as T\n"
LARGEST = 64  # elements of a constant that stands in the text; a larger one stands in the metadata
TAKEN = {"R", "I", "T", "tvm", "cls", "metadata", "Module", "True", "False", "None"}


class FunctionPrinter:
    """One function.  Names of Vars become identifiers, numbered where they repeat."""

    def __init__(self, metadata: Metadata) -> None:
        self._metadata = metadata
        self._names: dict[Var, str] = {}
        self._used = set(TAKEN)

    def lines(self, name: str, params: Iterable[Var], body: SeqExpr, returns: Any, attrs: dict[str, Any]) -> list[str]:
        private = attrs.pop("relax.private", False)
        shown = ", ".join(f"{self.name_of(p)}: {type_text(p.struct_info)}" for p in params)
        lines = [f"@R.function{'(private=True)' if private else ''}"]
        lines.append(f"def {name}({shown}) -> {type_text(returns)}:")
        inside = []
        if attrs:
            inside.append(f"R.func_attr({attribute_text(attrs)})")
        values = [b.value for block in body.blocks for b in block.bindings]
        if any(
            c.applied is not None and c.applied.name == "call_function"
            for v in (*values, body.body)
            for c in calls_in(v)
        ):
            inside.append("cls = Module")
        for block in body.blocks:
            if block.dataflow:
                inside.append("with R.dataflow():")
                inside += ["    " + self._binding(b) for b in block.bindings]
                out = [self.name_of(b.var) for b in block.bindings if b.is_output]
                inside.append(f"    R.output({', '.join(out)})")
            else:
                inside += [self._binding(b) for b in block.bindings]
        returned = tuple(body.body) if isinstance(body.body, list) else body.body
        inside.append(f"return {self.text(returned)}")
        return lines + ["    " + line for line in inside]

    def _binding(self, b: Binding) -> str:
        value = self.text(b.value)  # before the name is taken: the value may bear it
        return f"{self.name_of(b.var)}: {type_text(b.var.struct_info)} = {value}"

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
            return f"R.shape({_sizes(value.values)})"
        if isinstance(value, MatchCast):
            return f"R.match_cast({self.text(value.value)}, {type_text(value.struct_info)})"
        if isinstance(value, Call):
            return self._call(value)
        if isinstance(value, np.ndarray):
            return self._constant(value)
        if isinstance(value, list):
            return f"[{', '.join(map(self.text, value))}]"
        if isinstance(value, tuple):
            return self._tuple(value)
        if isinstance(value, TensorType | TupleType | ShapeType):
            return type_text(value)
        return argument_text(value)

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
            shown = type_text(types) if not isinstance(types, list) else _listed_types(types)
            return (
                f"R.call_pure_packed({json.dumps(given['func'])}{inputs}, R.str({json.dumps(given['attrs'])}), "
                f"sinfo_args={shown})"
            )
        if applied.name == "call_function":
            return f"cls.{given['name']}({', '.join(map(self.text, given['args']))})"
        parts, positional = [], True
        for name, value in given.items():
            default = applied.defaults.get(name, Call)
            if type(value) in (bool, int, float, str, type(None)) and type(default) is type(value) and value == default:
                positional = False
                continue
            positional = positional and (isinstance(value, Expr | list | tuple) or name not in applied.defaults)
            parts.append(self.text(value) if positional else f"{name}={self.text(value)}")
        return f"R.{applied.name}({', '.join(parts)})"

    def _operand(self, value: Any) -> str:
        if value is None:
            return "R.null_value()"
        return self.text(value) if isinstance(value, Expr) else f"R.prim_value({argument_text(value)})"


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
    for held in ("value", "name"):  # tir.IntImm, tir.Var
        if hasattr(value, held):
            return argument_text(getattr(value, held))
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


def type_text(type_: Any) -> str:
    """An annotation."""
    if isinstance(type_, TupleType):
        return f"R.Tuple({', '.join(map(type_text, type_.fields))})"
    if isinstance(type_, ShapeType):
        return f"R.Shape({_sizes(type_.values)})"
    if type_ is None:
        return "R.Object()"
    sizes = ", ".join(json.dumps(d) if isinstance(d, str) else str(d) for d in type_.shape)
    return f'R.Tensor(({sizes}{"," if len(type_.shape) == 1 else ""}), dtype="{type_.dtype}")'


def _listed_types(types: list[Any]) -> str:
    return f"[{', '.join(map(type_text, types))}]"


def _sizes(values: Iterable[Any]) -> str:
    return f"[{', '.join(json.dumps(d) if isinstance(d, str) else str(d) for d in values)}]"


def _numbers(value: Any) -> str:
    """Nested lists of numbers; floats by their shortest exact form."""
    if isinstance(value, list):
        return f"[{', '.join(map(_numbers, value))}]"
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return f'float("{value}")'
    return repr(value)


def function_text(function: Any) -> str:
    """One function, alone."""
    metadata = Metadata()
    lines = _function_lines(function, metadata, function.name)
    return f"# from tvm.script import relax as R\n\n{metadata}" + "\n".join(lines)


def module_text(mod: Any) -> str:
    """A module with all its functions."""
    metadata = Metadata()
    inside = []
    attrs = {k: attribute_text(v, metadata) for k, v in mod.attrs.items()}
    if attrs:
        inside.append(f"I.module_attrs({{{', '.join(f'{json.dumps(k)}: {v}' for k, v in attrs.items())}}})")
    for name, function in mod.functions.items():
        inside += (
            ["", *_function_lines(function, metadata, name)] if inside else _function_lines(function, metadata, name)
        )
    body = "\n".join("    " + line if line else "" for line in inside or ["pass"])
    header = HEADER + TIR_HEADER * any(isinstance(f, PrimFunc) for f in mod.functions.values())
    return f"{header}\n{metadata}@I.ir_module\nclass Module:\n{body}"


def _function_lines(function: Any, metadata: Metadata, name: str) -> list[str]:
    if isinstance(function, PrimFunc):
        return function.source.splitlines()
    attrs = {k: v for k, v in function.attrs.items() if (k, v) != ("global_symbol", name)}
    return FunctionPrinter(metadata).lines(
        re.sub(r"\W", "_", name), function.params, function.body, function.ret_struct_info, attrs
    )
