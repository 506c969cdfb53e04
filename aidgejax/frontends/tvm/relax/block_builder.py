"""BlockBuilder: states a function, one binding after the other; each becomes nodes of an explicit Graph at once."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np

from ....graph import Graph
from ....interpreter.shape_inference import infer_shapes
from ....passes.edit import renamed
from ..._shared.absent_names import AbsentMembers
from .._original_members import MEMBERS
from ..errors import NotReady, NotWritten, RelaxTypeError, RelaxValueError
from .body import BindingBlock, If, SeqExpr, VarBinding, block
from .expr import Call, Constant, DataflowVar, MatchCast, ShapeExpr, Tuple, TupleGetItem, Var
from .function import PURE, Function, GlobalVar, IRModule, declare, type_of_structure
from .sized_builder import SizedBuilder
from .structure import Structure, flat, mapped
from .types import ShapeType, TensorType, TupleType


class BlockBuilder(AbsentMembers):
    """As tvm.relax.BlockBuilder:

    bb = BlockBuilder()
    with bb.function("main", [x, w]):
        with bb.dataflow():
            y = bb.emit(relax.op.matmul(x, w))
            out = bb.emit_output(relax.op.nn.relu(y))
        bb.emit_func_output(out)
    mod = bb.get()
    """

    absent_members = MEMBERS["BlockBuilder"]
    _stack: ClassVar[list[BlockBuilder]] = []

    @staticmethod
    def current() -> BlockBuilder | None:
        """The builder whose function is being stated."""
        return BlockBuilder._stack[-1] if BlockBuilder._stack else None

    def __init__(self, mod: IRModule | None = None) -> None:
        self._mod = mod.copy() if mod is not None else IRModule()
        self._open: _OpenFunction | None = None

    @contextmanager
    def function(
        self,
        name: str,
        params: Any = None,
        attrs: Mapping[str, Any] | None = None,
        pure: bool = True,
        private: bool = False,
    ) -> Iterator[BlockBuilder]:
        if self._open is not None:
            raise NotReady(f"function {name!r} cannot be stated inside function {self._open.graph.name!r}")
        marks = {**({} if private else {"global_symbol": name}), **({} if pure else {PURE: False})}
        self._open = _OpenFunction(name, {**marks, **(attrs or {})})
        BlockBuilder._stack.append(self)
        try:
            if params is not None:
                self._open.declare([params] if isinstance(params, Var) else params)
            yield self
            self._open.check_declared()
            if self._open.result is None:
                raise NotReady(f"function {name!r} has no result: call emit_func_output before its block ends")
            self._mod[name] = self._open.finish()
        finally:
            self._open = None
            BlockBuilder._stack.pop()

    @contextmanager
    def dataflow(self) -> Iterator[BlockBuilder]:
        self._current.begin(True)
        try:
            yield self
        finally:
            if self._open is not None:
                self._open.begin(False)

    def emit(self, expr: Any, name_hint: str = "") -> Var:
        """Bind an expression to a new Var; its shape and dtype are inferred now."""
        dataflow = self._current.dataflow
        return self._current.bind(expr, name_hint, "lv" if dataflow else "gv", DataflowVar if dataflow else Var)

    def emit_output(self, output: Any, name_hint: str = "") -> Var:
        """The same for what the dataflow block hands out."""
        if not self._current.dataflow:
            raise NotReady("emit_output stands inside `with bb.dataflow():`; outside, use emit")
        return self._current.bind(output, name_hint, "gv", Var, is_output=True)

    def emit_branches(self, cond: Any, branches: Any, name_hint: str = "") -> Var:
        """Bind what one of two branches computes.  branches: two functions, which emit bindings and return the result.

        Both are computed, and `cond`, a tensor of one bool, takes one: they are pure, so that nobody can see it.
        """
        current, written = self._current, list[SeqExpr]()
        for branch in branches:
            blocks = current.set_aside()
            returned = branch()
            written.append(SeqExpr([b for b in current.set_aside(blocks) if b.bindings], returned))
        return current.bind(If(cond, *written), name_hint, "gv", Var)

    def match_cast(self, value: Any, ty: Any, name_hint: str = "") -> Var:
        """Bind a tensor to a new Var of this type, which has to agree with what is known of it."""
        return self.emit(MatchCast(value, ty), name_hint)

    def emit_func_output(self, output: Any, params: Any = None) -> None:
        """What the function returns: an expression, or a (nested) list or tuple of them."""
        current = self._current
        if current.dataflow:
            raise NotReady("emit_func_output stands outside of the dataflow block")
        if params is not None:
            current.declare([params] if isinstance(params, Var) else params)
        before = len(current.graph.nodes)
        check_result(output)
        current.returned = output
        current._lowered = {}
        current.result = current.lower(output)
        if len(current.graph.nodes) > before:
            current.count()

    def current_block_is_dataflow(self) -> bool:
        """Is a dataflow block open?"""
        return self._current.dataflow

    def get_unique_name(self, name_prefix: str) -> str:
        """A name that begins so and that no tensor of the function bears."""
        return self._current.free(name_prefix)

    def add_func(self, func: Function, func_name: str) -> GlobalVar:
        """Put a function into the module, under a name that no other has."""
        name, k = func_name, 0
        while name in self._mod:
            k += 1
            name = f"{func_name}_{k}"
        self._mod[name] = func
        return GlobalVar(name)

    def update_func(self, gv: Any, updated_func: Function) -> None:
        """Put a function in the place of one of the module."""
        self._mod[gv]  # raises where there is none
        self._mod[gv] = updated_func

    def normalize(self, expr: Any) -> Any:
        """The expression itself: its type is inferred when it is emitted."""
        return expr

    def get(self) -> IRModule:
        """The module with the functions stated so far."""
        return self._mod.copy()

    finalize = get

    @property
    def _current(self) -> _OpenFunction:
        if self._open is None:
            raise NotReady("this belongs inside `with bb.function(name, params):`")
        return self._open


class _OpenFunction:
    """A function that is being stated."""

    def __init__(self, name: str, attrs: Mapping[str, Any] | None) -> None:
        self.graph, self.attrs = Graph(name), attrs
        self.params: list[Var] = []
        self.names: dict[Var, Structure] = {}
        self._before_declared: list[Var] = []  # Vars that were read before any parameter was declared
        self.result: Structure | None = None
        self.dataflow = False
        self._blocks: list[list[Any]] = [[False, 0]]
        self._written = [block(False)]
        self.returned: Any = None
        self.starts: set[str] = set()
        self.ends: set[str] = set()
        self._used: set[str] = set()
        self._lowered: dict[int, Structure] = {}  # the calls of one expression, by id: used twice, written once

    def declare(self, params: Iterable[Var]) -> None:
        for p in params:
            if not isinstance(p, Var):
                raise RelaxTypeError(f"a parameter of function {self.graph.name!r} is a Var, got {type(p).__name__}")
            if p in self._before_declared:
                self._before_declared.remove(p)
                self.params.append(p)
                for leaf in flat(self.names[p]):  # inputs stand in the order of the parameters
                    self.graph.inputs[leaf] = self.graph.inputs.pop(leaf)
                continue
            if p in self.names:
                raise RelaxValueError(f"Parameter {p.name_hint} of function {self.graph.name!r} appears more than once")
            self.names[p] = declare(self.graph, p)
            self.params.append(p)

    def begin(self, dataflow: bool) -> None:
        self.dataflow = dataflow
        self._blocks.append([dataflow, 0])
        self._written.append(block(dataflow))

    def _unknown(self, var: Var) -> RelaxValueError:
        return RelaxValueError(
            f"Var {var.name_hint} is neither a parameter of function {self.graph.name!r} nor emitted in it"
        )

    def check_declared(self) -> None:
        """Raise RelaxValueError where a Var was read that is neither a parameter nor emitted."""
        for v in self._before_declared:
            raise self._unknown(v)

    def finish(self) -> Function:
        blocks = [dataflow for dataflow, bindings in self._blocks if bindings]
        return Function(
            self.graph.name,
            self.graph,
            self.params,
            self.result,
            self.names,
            blocks=blocks,
            attrs=self.attrs,
            starts=self.starts,
            ends=self.ends,
            body=SeqExpr([b for b in self._written if b.bindings], self.returned),
        )

    def count(self) -> None:
        """One more binding in the block that is open."""
        self._blocks[-1][1] += 1

    def bind(self, expr: Any, hint: str, default: str, kind: type[Var], is_output: bool = False) -> Var:
        var = self._bound(expr, hint, default, kind)
        self._written[-1].bindings.append(VarBinding(var, expr, is_output))
        return var

    def _bound(self, expr: Any, hint: str, default: str, kind: type[Var]) -> Var:
        self.count()
        if isinstance(expr, ShapeExpr):  # sizes are no tensors: they stand in the Var's type
            var = kind(hint or default, expr.struct_info)
            self.names[var] = ()
            return var
        self._lowered = {}
        structure = self.lower(expr, hint or default)
        if hint and isinstance(structure, str):
            structure = self._call_it(structure, hint)
        type_ = type_of_structure(self.graph, structure)
        if isinstance(expr, MatchCast):
            check_cast(type_, expr.struct_info, hint or default)
            type_ = expr.struct_info
        var = kind(hint or default, type_)
        self.names[var] = structure
        return var

    def set_aside(self, blocks: list[BindingBlock] | None = None) -> list[BindingBlock]:
        """The blocks written so far; others take their place: new ones by default."""
        found, self._written = self._written, [block(False)] if blocks is None else blocks
        return found

    def _chosen(self, cond: Any, a: Any, b: Any, hint: str) -> Structure:
        """Of two results that are computed, that of the branch that is taken."""
        if isinstance(a, Tuple | tuple | list) and isinstance(b, Tuple | tuple | list):
            pairs = zip(getattr(a, "fields", a), getattr(b, "fields", b), strict=True)
            return tuple(self._chosen(cond, x, y, hint) for x, y in pairs)
        types = [type_of_structure(self.graph, self.lower(v)) for v in (a, b)]
        if types[0] != types[1]:
            raise RelaxValueError(f"the branches of an if have types {types[0]} and {types[1]}")
        if isinstance(types[0], TupleType):
            return tuple(
                self._chosen(cond, TupleGetItem(a, k), TupleGetItem(b, k), hint) for k in range(len(types[0].fields))
            )
        return self.lower(Call("relax.if", (cond, a, b), lambda op, c, x, y: op.Where(c, x, y)), hint)

    def lower(self, expr: Any, hint: str = "lv") -> Structure:
        """What the expression is called in the graph; its nodes are written."""
        if isinstance(expr, If):
            return self._chosen(expr.cond, expr.true_branch.body, expr.false_branch.body, hint)
        if isinstance(expr, Var):
            if expr not in self.names and isinstance(expr, DataflowVar):
                raise self._unknown(expr)
            if expr not in self.names:  # emit_func_output may still declare it
                self.names[expr] = declare(self.graph, expr)
                self._before_declared.append(expr)
            return self.names[expr]
        if isinstance(expr, MatchCast):
            return self.lower(expr.value, hint)
        if isinstance(expr, Constant):
            return self.graph.constant(self.graph.fresh("const"), expr.data).name
        if isinstance(expr, Tuple | tuple | list):
            return tuple(self.lower(e, hint) for e in getattr(expr, "fields", expr))
        if isinstance(expr, TupleGetItem):
            whole = self.lower(expr.tuple_value, hint)
            if not isinstance(whole, tuple) or not -len(whole) <= expr.index < len(whole):
                raise RelaxValueError(
                    f"TupleGetItem takes field {expr.index} of {type_of_structure(self.graph, whole)}"
                )
            return whole[expr.index]
        if isinstance(expr, Call):
            if id(expr) not in self._lowered:
                self._lowered[id(expr)] = self._call(expr, hint)
            return self._lowered[id(expr)]
        if isinstance(expr, int | float | bool) or expr is None:
            return expr
        if isinstance(expr, np.ndarray):
            return self.lower(Constant(expr))
        raise RelaxTypeError(f"expected an expression (a Var, a Call, a Tuple, a constant), got {type(expr).__name__}")

    def _call(self, call: Call, hint: str) -> Structure:
        """Write the nodes into a small graph first, where their shapes are inferred."""
        args = [self.lower(a) for a in call.args]
        if call.op in MARKERS and not isinstance(call.args[0], Var | Call | TupleGetItem):
            raise RelaxTypeError(
                "The first argument of relax.grad.start_checkpoint and relax.grad.end_checkpoint should be a Var"
            )
        name = self.free(call.op.rsplit(".", 1)[1] if call.op in MARKERS and hint == "lv" else hint)
        small = Graph(self.graph.name)
        for leaf in flat(args):
            if isinstance(leaf, str) and leaf in self.graph.producers:
                small.producers[leaf] = self.graph.producers[leaf]
            elif isinstance(leaf, str):
                small.inputs[leaf] = self.graph.value(leaf)
        values = [mapped(lambda leaf: small.value(leaf) if isinstance(leaf, str) else leaf, a) for a in args]
        symbolic = [v for v in self.graph.inputs.values() if any(isinstance(d, str) for d in v.shape or ())]
        small.inputs.update({v.name: v for v in symbolic})
        written = call.write(SizedBuilder(small, f"{name}/", symbolic), *values)
        result = mapped(lambda v: v.name, written)
        small = infer_shapes(small)
        called = self._names_of_results(small, result, name)
        called |= {p: f"{name}/{p}" for p in small.producers if p not in self.graph.producers}
        self._take(small, called)
        result = mapped(lambda n: called.get(n, n), result)
        if call.op in MARKERS:
            getattr(self, MARKERS[call.op]).update(flat(result))
        return result

    def _names_of_results(self, small: Graph, result: Structure, name: str) -> dict[str, str]:
        leaves = [n for n in dict.fromkeys(flat(result)) if n in small.values]
        if not isinstance(result, tuple):
            return dict.fromkeys(leaves, name)
        return {n: f"{name}.{k}" for k, n in enumerate(leaves)}

    def _take(self, small: Graph, called: dict[str, str]) -> None:
        for p in small.producers.values():
            if p.name in called:
                self.graph.constant(called[p.name], p.data)
        for n in small.nodes:
            self.graph.nodes.append(renamed(n, called))
        for k, v in small.values.items():
            k = called.get(k, k)
            self.graph.values[k] = type(v)(k, v.shape, v.dtype)

    def _call_it(self, name: str, hint: str) -> str:
        """Another Var for a tensor that nobody has named gives it its name."""
        if NAMED_BY_US.fullmatch(name) is None or self.graph.has(hint) or hint in self._used:
            return name
        self._used.add(hint)
        new = lambda i: hint if i == name else i
        self.graph.nodes = [renamed(n, {name: hint}) for n in self.graph.nodes]
        self.graph.values = {new(k): type(v)(new(k), v.shape, v.dtype) for k, v in self.graph.values.items()}
        self.names = {v: mapped(new, s) for v, s in self.names.items()}
        self.starts, self.ends = {new(n) for n in self.starts}, {new(n) for n in self.ends}
        return hint

    def free(self, hint: str) -> str:
        """A name that no tensor bears, nor begins with."""
        taken = self.graph.has
        name, k = hint, 0
        while taken(name) or taken(f"{name}.0") or name in self._used:
            k += 1
            name = f"{hint}{k}"
        self._used.add(name)
        return name


def check_cast(known: Any, wanted: Any, what: str) -> None:
    """Raise RelaxValueError where a tensor that is known as one type cannot be of the other."""
    if not isinstance(known, TensorType) or not isinstance(wanted, TensorType):
        fits = type(known) is type(wanted)
    else:
        sizes = zip(known.shape, wanted.shape, strict=False)
        fits = known.dtype == wanted.dtype and known.ndim == wanted.ndim
        fits = fits and all(a == b or isinstance(a, str) or isinstance(b, str) for a, b in sizes)
    if not fits:
        raise RelaxValueError(f"match_cast error: {what} is to be {wanted}, but it is {known}")


# The call that marks, and where its result is noted.
MARKERS = {"relax.grad.start_checkpoint": "starts", "relax.grad.end_checkpoint": "ends"}
NAMED_BY_US = re.compile(r"[lg]v\d*(\.\d+)?")


def check_result(output: Any) -> None:
    """Functions give tensors and tuples of them: sizes stand in types, and are no values here."""
    if isinstance(output, Tuple | tuple | list):
        for field in getattr(output, "fields", output):
            check_result(field)
    elif isinstance(output, ShapeExpr) or (isinstance(output, Var) and isinstance(output.struct_info, ShapeType)):
        raise NotWritten(
            f"the function returns the shape {getattr(output, 'name_hint', output)}; here it gives tensors and tuples "
            "of them. Return the tensor, and take its .shape"
        )
