"""TVMScript that comes as text."""

from __future__ import annotations

import ast
import builtins
from collections import ChainMap
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from ..errors import ScriptError
from ..relax.metadata import load_json
from ..tir import Var as SizeVar
from . import ir, relax, tir
from ._reader import Evaluator, FunctionReader, ModuleReader

# What a text may use besides I, R, T and tvm.
SAFE = {name: getattr(builtins, name) for name in ("float", "int", "bool", "range", "len", "list", "tuple")}


def from_source(text: Any, extra_vars: Mapping[str, Any] | None = None) -> Any:
    """The IRModule, or the Function, that a text states: what `script()` wrote, or a person.

    I, R, T and tvm are known without an import, and the names of extra_vars.  Expressions are evaluated: like any
    program, read text of people you trust.  Raises ScriptError, naming the line, for what is no TVMScript.
    """
    if not isinstance(text, str):
        raise ScriptError(f"from_source takes text, got {type(text).__name__}; decorate classes with @I.ir_module")
    try:
        tree = ast.parse(text)
    except SyntaxError as e:
        raise ScriptError(f"line {e.lineno}: {e.msg}") from None
    known: dict[str, Any] = {
        "I": ir,
        "R": relax,
        "T": tir,
        "TypeVar": SizeVar,
        "tvm": SimpleNamespace(ir=SimpleNamespace(load_json=load_json)),
    }
    names: ChainMap[str, Any] = ChainMap(known | dict(extra_vars or {}), SAFE)
    result: Any = None
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            result = ModuleReader(node, names.new_child(), "<text>").read()
        elif isinstance(node, ast.FunctionDef):
            result = FunctionReader(node, names.new_child(), "<text>").read()
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            names[node.targets[0].id] = Evaluator(names, "<text>").value(node.value)
    if result is None:
        raise ScriptError("the text has neither a class under @I.ir_module nor a function under @R.function")
    return result
