"""Reads TVMScript: the source of classes and functions becomes modules and functions of Relax.

Expressions are evaluated as Python with the names that the source sees; statements become calls of a BlockBuilder.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import linecache
from collections import ChainMap
from functools import lru_cache, partial
from types import FrameType, FunctionType
from typing import Any, TypeVar

import numpy as np

from ....errors import AidgeJaxError
from ..errors import ScriptError
from ..relax.block_builder import BlockBuilder
from ..relax.expr import Applied, Call, Constant, Expr, Var
from ..relax.function import Function, IRModule
from ..relax.prim_func import PrimFunc
from ..relax.structure import mapped
from ..relax.types import ShapeType, TensorType, TupleType
from ..runtime import tensor
from ..tir import Var as SizeVar
from ._forms import dataflow, func_attr, output

Names = ChainMap[str, Any]
# ---- from Python ------------------------------------------------------------------------------------------


def module_of_class(cls: type, frame: FrameType) -> IRModule:
    """The module that a decorated class states.  frame: where the class stands."""
    found = [f for f in vars(cls).values() if isinstance(f, FunctionType)]
    try:
        file = inspect.getsourcefile(found[0]) if found else inspect.getsourcefile(cls)
        tree = _tree("".join(linecache.getlines(file or "")) or inspect.getsource(inspect.getmodule(cls) or cls))
    except (OSError, TypeError) as e:
        raise ScriptError(f"the source of class {cls.__name__} cannot be had: {e}") from None
    lines = [f.__code__.co_firstlineno for f in found]
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and node.name == cls.__name__:
            inside = node.lineno <= (lines[0] if lines else frame.f_lineno) <= (node.end_lineno or node.lineno)
            if inside or (not lines and _starts(node) == frame.f_lineno):
                return ModuleReader(node, _seen(frame), file or "").read()
    raise ScriptError(f"class {cls.__name__} is not found in {file}")


def function_of_source(f: Any, frame: FrameType, private: bool = False) -> Any:
    """The Function that a decorated Python function states; in the body of a class it is left for I.ir_module."""
    if "__qualname__" in frame.f_locals and "__module__" in frame.f_locals:
        return f
    file = inspect.getsourcefile(f) or ""
    tree = _tree("".join(linecache.getlines(file)))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name == f.__name__ and _starts(node) == f.__code__.co_firstlineno:
            names = _seen(frame).new_child(_closure(f))
            return FunctionReader(node, names, file).read(private)
    raise ScriptError(f"the source of function {f.__name__} cannot be had from {file or 'where it was typed'}")


@lru_cache(maxsize=8)
def _tree(text: str) -> ast.Module:
    return ast.parse(text)


def _starts(node: Any) -> int:
    return min([node.lineno, *(d.lineno for d in node.decorator_list)])


class Seen(ChainMap[str, Any]):
    """The names that a source sees; a TypeVar is a symbolic size."""

    def __getitem__(self, name: str) -> Any:
        value = super().__getitem__(name)
        return SizeVar(value.__name__) if isinstance(value, TypeVar) else value


def _seen(frame: FrameType) -> ChainMap[str, Any]:
    return Seen({}, dict(frame.f_locals), frame.f_globals, vars(builtins))


def _closure(f: Any) -> dict[str, Any]:
    cells = zip(f.__code__.co_freevars, f.__closure__ or (), strict=True)
    return {n: c.cell_contents for n, c in cells if _is_filled(c)}


def _is_filled(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018  raises where the name is bound later
    except ValueError:
        return False
    return True


def says(node: ast.FunctionDef, option: str, default: Any) -> Any:
    """What a decorator sets an option to."""
    keywords = [k for d in node.decorator_list if isinstance(d, ast.Call) for k in d.keywords]
    found = [k.value.value for k in keywords if k.arg == option and isinstance(k.value, ast.Constant)]
    return found[0] if found else default


def is_prim_func(node: ast.FunctionDef) -> bool:
    """Is it decorated as a function of TIR?"""
    called = [d.func if isinstance(d, ast.Call) else d for d in node.decorator_list]
    return any(getattr(d, "attr", getattr(d, "id", "")) == "prim_func" for d in called)


# ---- reading ----------------------------------------------------------------------------------------------


class Evaluator:
    """Expressions of one scope."""

    def __init__(self, names: Names, file: str) -> None:
        self.names, self.file = names, file

    def value(self, node: ast.expr) -> Any:
        try:
            code = compile(ast.Expression(node), self.file or "<script>", "eval")
            return eval(code, {"__builtins__": {}}, self.names)
        except AidgeJaxError as e:
            if isinstance(e, ScriptError) or not e.args or not isinstance(e.args[0], str):
                raise
            e.args = (f"{e.args[0]} ({self.place(node)})", *e.args[1:])
            raise
        except (NameError, AttributeError, TypeError, ValueError, LookupError, SyntaxError) as e:
            raise ScriptError(f"{self.place(node)}: {ast.unparse(node)}: {e}") from None

    def place(self, node: Any) -> str:
        return f"{self.file.rsplit('/', 1)[-1] or 'script'}, line {node.lineno}"


class ModuleReader:
    """One class: its functions, each read when it is first needed, and its attributes."""

    def __init__(self, node: ast.ClassDef, names: Names, file: str) -> None:
        self._node, self._names, self._file = node, names, file
        self._defined = {n.name: n for n in node.body if isinstance(n, ast.FunctionDef)}
        self._read: dict[str, Any] = {}
        self._open: list[str] = []

    def read(self) -> IRModule:
        cls = _Callee(self)
        self._names.update({self._node.name: cls, "cls": cls})
        for name in self._defined:
            self.function(name)
        attrs: dict[str, Any] = {}
        evaluator = Evaluator(self._names, self._file)
        for s in self._node.body:
            called = s.value if isinstance(s, ast.Expr) and isinstance(s.value, ast.Call) else None
            if called is not None and isinstance(called.func, ast.Attribute) and called.func.attr == "module_attrs":
                attrs |= mapped_constants(evaluator.value(called.args[0]))
        return IRModule({name: self._read[name] for name in self._defined}, attrs)

    def function(self, name: str) -> Any:
        if name not in self._read:
            if name not in self._defined:
                raise ScriptError(f"module {self._node.name} has no function {name!r}")
            if name in self._open:
                raise ScriptError(f"module {self._node.name}: function {name!r} calls itself; a graph has no recursion")
            self._open.append(name)
            node = self._defined[name]
            if is_prim_func(node):
                self._open.pop()
                self._read[name] = PrimFunc(name, ast.unparse(node))
                return self._read[name]
            self._read[name] = FunctionReader(node, self._names.new_child(), self._file).read()
            self._open.pop()
        return self._read[name]


def mapped_constants(attrs: Any) -> Any:
    """Attributes of a module or a function: constants are tensors there."""
    if isinstance(attrs, dict):
        return {k: mapped_constants(v) for k, v in attrs.items()}
    if isinstance(attrs, list | tuple):
        return tuple(mapped_constants(v) for v in attrs)
    return tensor(attrs.data) if isinstance(attrs, Constant) else attrs


class _Callee:
    """`cls` and the name of the class: `cls.f(x)` calls another function of the module."""

    def __init__(self, reader: ModuleReader) -> None:
        self._reader = reader

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        reader = self._reader

        def call(*args: Any) -> Call:
            if isinstance(reader.function(name), PrimFunc):
                reader.function(name)(*args)  # says that it is out of scope
            return call_function(name, reader.function(name), *args)

        return call


def call_function(name: str, function: Function, *args: Any, named: bool = True) -> Call:
    """The nodes of another function, written where it is called.  named: it is one of the module, and printed so."""
    if len(args) != len(function.params):
        raise ScriptError(f"function {name!r} takes {len(function.params)} arguments, got {len(args)}")

    def write(op: Any, *values: Any) -> Any:
        known: dict[str, Any] = {k: p.data for k, p in function.graph.producers.items()}
        for p, v in zip(function.params, values, strict=True):
            _pair(function.names[p], v, known)
        for node in function.graph.nodes:
            inputs = [known[i] if isinstance(i, str) else i for i in node.inputs]
            written = getattr(op, node.op)(*inputs, outputs=len(node.outputs), **node.attrs)
            found = written if isinstance(written, tuple) else (written,)
            known |= {o: v for o, v in zip(node.outputs, found, strict=True) if o is not None}
        return mapped(lambda n: known[n], function.result)

    call = Call(f"relax.call.{name}", args, write)
    if named:
        call.applied = Applied("call_function", {"name": name, "args": list(args)}, {})
    return call


def _pair(structure: Any, value: Any, known: dict[str, Any]) -> None:
    if isinstance(structure, tuple):
        for s, v in zip(structure, value, strict=True):
            _pair(s, v, known)
    else:
        known[structure] = value


class FunctionReader:
    """One function."""

    def __init__(self, node: ast.FunctionDef, names: Names, file: str) -> None:
        self._node, self._names, self._file = node, names, file
        self._evaluator = Evaluator(names, file)
        self._builder = BlockBuilder()
        self._returned = False

    def read(self, private: bool = False) -> Function:
        """The function.  private, and as its decorator says."""
        node, name = self._node, self._node.name
        private, pure = private or bool(says(node, "private", False)), bool(says(node, "pure", True))
        if node.args.vararg or node.args.kwarg or node.args.kwonlyargs or node.args.defaults:
            raise self._error(node, "a function takes positional parameters without defaults")
        params = [self._param(a) for a in node.args.args]
        self._names.update({p.name_hint: p for p in params})
        attrs = self._attributes()
        with self._builder.function(name, params, attrs, private=private, pure=pure):
            self._statements(node.body, None)
            if not self._returned:
                raise self._error(node, f"function {name!r} returns nothing: end it with `return`")
        function = self._builder.get()[name]
        if "global_symbol" in attrs:
            function.name = function.graph.name = attrs["global_symbol"]
        self._check_result(function)
        return function

    def _param(self, a: ast.arg) -> Var:
        if a.annotation is None:
            raise self._error(a, f"parameter {a.arg!r} needs an annotation, such as R.Tensor((3, 4), 'float32')")
        type_ = self._evaluator.value(a.annotation)
        if isinstance(type_, str):
            type_ = self._evaluator.value(ast.parse(type_, mode="eval").body)
        type_ = type_() if callable(type_) else type_
        if not isinstance(type_, TensorType | TupleType | ShapeType):
            raise self._error(a, f"parameter {a.arg!r} is annotated by {ast.unparse(a.annotation)}, which is no type")
        return Var(a.arg, type_)

    def _attributes(self) -> dict[str, Any]:
        attrs: dict[str, Any] = {}
        for s in self._node.body:
            if isinstance(s, ast.Expr) and isinstance(s.value, ast.Call) and self._calls(s.value, func_attr):
                attrs |= mapped_constants(self._evaluator.value(s.value.args[0]))
        return attrs

    def _calls(self, call: ast.Call, form: Any) -> bool:
        named = isinstance(call.func, ast.Attribute | ast.Name)
        name = getattr(call.func, "attr", getattr(call.func, "id", ""))
        return named and name == form.__name__ and self._evaluator.value(call.func) is form

    def _statements(self, body: list[ast.stmt], outputs: dict[str, int] | None) -> None:
        """outputs: in a dataflow block, the line of the last binding of each Var that it hands out."""
        for s in body:
            if isinstance(s, ast.Assign | ast.AnnAssign):
                self._assignment(s, outputs)
            elif isinstance(s, ast.With):
                self._block(s)
            elif isinstance(s, ast.If):
                self._if(s)
            elif isinstance(s, ast.FunctionDef):
                inner = FunctionReader(s, self._names.new_child(), self._file).read(private=True)
                self._names[s.name] = partial(call_function, s.name, inner, named=False)
            elif isinstance(s, ast.Return):
                if s.value is None:
                    raise self._error(s, "`return` needs an expression")
                self._builder.emit_func_output(self._evaluator.value(s.value))
                self._returned = True
            elif isinstance(s, ast.Expr) and isinstance(s.value, ast.Call):
                if not self._calls(s.value, func_attr) and not self._calls(s.value, output):
                    self._builder.emit(self._evaluator.value(s.value), "_")
            elif not isinstance(s, ast.Pass) and not (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant)):
                what = {ast.For: "for", ast.While: "while"}
                raise self._error(s, f"{what.get(type(s), type(s).__name__)} is not read: a function is bindings")

    def _if(self, s: ast.If) -> None:
        """Both branches end by binding one name, which is bound to what the branch that is taken computes."""
        ends = [b[-1] if b else None for b in (s.body, s.orelse)]
        names = [
            t.id
            for e in ends
            for t in (e.targets if isinstance(e, ast.Assign) else [e.target] if isinstance(e, ast.AnnAssign) else [])
            if isinstance(t, ast.Name)
        ]
        if len(names) != 2 or names[0] != names[1]:
            raise self._error(s, "both branches of an if end with a binding of the same name")
        seen = self._names

        def branch(body: list[ast.stmt]) -> Any:
            self._names = self._evaluator.names = seen.new_child()
            try:
                self._statements(body, None)
                return self._names[names[0]]
            finally:
                self._names = self._evaluator.names = seen

        cond = self._evaluator.value(s.test)
        branches = [partial(branch, s.body), partial(branch, s.orelse)]
        self._names[names[0]] = self._builder.emit_branches(cond, branches, names[0])

    def _block(self, s: ast.With) -> None:
        context = s.items[0].context_expr
        if len(s.items) != 1 or not isinstance(context, ast.Call) or not self._calls(context, dataflow):
            raise self._error(s, "`with` takes R.dataflow() alone")
        handed = [
            a.id
            for c in s.body
            if isinstance(c, ast.Expr) and isinstance(c.value, ast.Call) and self._calls(c.value, output)
            for a in c.value.args
            if isinstance(a, ast.Name)
        ]
        outputs = {}
        for c in s.body:
            for t in c.targets if isinstance(c, ast.Assign) else [c.target] if isinstance(c, ast.AnnAssign) else []:
                if isinstance(t, ast.Name) and t.id in handed:
                    outputs[t.id] = c.lineno
        missing = [n for n in handed if n not in outputs]
        if missing:
            raise self._error(s, f"R.output names {', '.join(missing)}, which the dataflow block does not bind")
        with self._builder.dataflow():
            self._statements(s.body, outputs)

    def _assignment(self, s: ast.Assign | ast.AnnAssign, outputs: dict[str, int] | None) -> None:
        target = s.targets[0] if isinstance(s, ast.Assign) else s.target
        if isinstance(target, ast.Tuple) and isinstance(s.value, ast.Tuple):  # n, m = T.int64(), T.int64()
            for one, value in zip(target.elts, s.value.elts, strict=True):
                self._assignment(ast.copy_location(ast.Assign([one], value), s), outputs)
            return
        if s.value is None or not isinstance(target, ast.Name) or (isinstance(s, ast.Assign) and len(s.targets) > 1):
            raise self._error(s, "a binding is `name = expression`; take fields of a tuple by number, t[0]")
        value = self._evaluator.value(s.value)
        if isinstance(value, SizeVar):
            self._names[target.id] = value if value.name else SizeVar(target.id, value.dtype)
            return
        if isinstance(value, _Callee) or not isinstance(value, Expr | tuple | list | int | float | np.ndarray):
            self._names[target.id] = value
            return
        at = self._evaluator.place(s)
        try:
            if outputs is not None and outputs.get(target.id) == s.lineno:
                var = self._builder.emit_output(value, target.id)
            else:
                var = self._builder.emit(value, target.id)
        except AidgeJaxError as e:
            if e.args and isinstance(e.args[0], str):
                e.args = (f"{e.args[0]} ({at})", *e.args[1:])
            raise
        if isinstance(s, ast.AnnAssign):
            self._agree(var.struct_info, self._evaluator.value(s.annotation), s, f"{target.id!r}")
        self._names[target.id] = var

    def _check_result(self, function: Function) -> None:
        if self._node.returns is not None:
            declared = self._evaluator.value(self._node.returns)
            self._agree(function.ret_struct_info, declared, self._node.returns, "the result")

    def _agree(self, found: Any, declared: Any, at: Any, what: str) -> None:
        """Raise ScriptError where an annotation contradicts what was inferred; symbols may stand for anything."""
        if isinstance(found, TensorType) and isinstance(declared, TensorType):
            sizes = zip(found.shape, declared.shape, strict=False)
            wrong = found.ndim != declared.ndim or found.dtype != declared.dtype
            wrong = wrong or any(a != b and isinstance(a, int) and isinstance(b, int) for a, b in sizes)
        elif isinstance(found, TupleType) and isinstance(declared, TupleType):
            wrong = len(found.fields) != len(declared.fields)
            for a, b in zip(found.fields, declared.fields, strict=False):
                self._agree(a, b, at, what)
        else:
            wrong = isinstance(declared, TensorType | TupleType) and isinstance(found, TensorType | TupleType)
        if wrong:
            raise self._error(at, f"{what} is annotated {declared}, but it is {found}")

    def _error(self, node: Any, text: str) -> ScriptError:
        return ScriptError(f"{self._evaluator.place(node)}: {text}")
