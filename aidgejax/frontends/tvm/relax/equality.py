"""Are two programs the same, up to the names in them?"""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from ....errors import AidgeJaxError
from ....graph import Graph
from ..runtime import Tensor
from .body import VarBinding
from .expr import Call, Constant, ShapeExpr, Tuple, TupleGetItem, Var
from .function import Function, GlobalVar, IRModule
from .prim_func import PrimFunc
from .structure import flat, mapped
from .types import ShapeType, TensorType, TupleType


class StructuralMismatch(AidgeJaxError, ValueError):
    """Two programs differ; the message names the first place."""


def structural_equal(lhs: Any, rhs: Any, map_free_vars: bool = False) -> bool:
    """Whether two modules, functions, types or expressions are the same up to the names of Vars and sizes."""
    return difference(lhs, rhs) is None


def structural_hash(node: Any, map_free_vars: bool = False) -> int:
    """A number that two modules, functions or expressions have in common when they are structurally equal."""
    return hash(repr(_hashed(node)))


def _hashed(node: Any) -> Any:
    if isinstance(node, IRModule):
        attrs = sorted((k, _Plain().of(v)) for k, v in node.attrs.items())
        return (sorted((str(k), _hashed(f)) for k, f in node.functions.items()), attrs)
    if isinstance(node, Function):
        found = _Canonical(node)
        return (found.attributes, found.parameters, found.nodes, found.results, found.returned, found.blocks)
    return node.source if isinstance(node, PrimFunc) else _Plain().of(node)


def assert_structural_equal(lhs: Any, rhs: Any, map_free_vars: bool = False) -> None:
    """Raise StructuralMismatch, a ValueError that names the first difference, where two programs are not the same.

    Two modules, functions, types or expressions are the same if they differ in the names of Vars and symbolic sizes
    alone.  A function that a pass of aidgejax wrote (Gradient, SetupTrainer, a loss, an optimizer) is another program
    than TVM's pass would write: there it is enough that parameters and results have the same types and that both
    compute the same values, which is tried on random arguments.
    """
    found = difference(lhs, rhs, by_value=True)
    if found is not None:
        raise StructuralMismatch(f"StructuralEqual check failed: {found}")


def difference(a: Any, b: Any, by_value: bool = False) -> str | None:
    """The first difference in words, or None."""
    if isinstance(a, IRModule) and isinstance(b, IRModule):
        return _modules(a, b, by_value)
    if isinstance(a, Function) and isinstance(b, Function):
        return _functions(a, b, by_value)
    if isinstance(a, PrimFunc) and isinstance(b, PrimFunc):
        return None if a == b else f"{a.source}\nand\n{b.source}"
    if type(a) is not type(b) and not (isinstance(a, int | float | str) and isinstance(b, int | float | str)):
        return f"{type(a).__name__} and {type(b).__name__}"
    left, right = _Plain().of(a), _Plain().of(b)
    return None if left == right else f"{left} and {right}"


def _modules(a: IRModule, b: IRModule, by_value: bool) -> str | None:
    if set(a.functions) != set(b.functions):
        return f"the modules have functions {sorted(a.functions)} and {sorted(b.functions)}"
    if sorted(a.attrs) != sorted(b.attrs):
        return f"the modules have attributes {sorted(a.attrs)} and {sorted(b.attrs)}"
    for key, value in a.attrs.items():
        left, right = _Plain().of(value), _Plain().of(b.attrs[key])
        if left != right:
            return f"module attribute {key!r} is {left} and {right}"
    for name, function in a.functions.items():
        found = difference(function, b.functions[name], by_value)
        if found is not None:
            return f"function {name!r}: {found}"
    return None


def _functions(a: Function, b: Function, by_value: bool) -> str | None:
    left, right = _Canonical(a), _Canonical(b)
    if by_value and _is_passes(a, b) and not all("global_symbol" in f.attrs for f in (a, b)):
        # R.function alone names what it states after the Python function, which no pass can know.
        left.attributes.pop("global_symbol", None)
        right.attributes.pop("global_symbol", None)
    for what in ("attributes", "parameters", "results"):
        one, other = getattr(left, what), getattr(right, what)
        if one != other:
            return f"{what} are {one} and {other}"
    for k, (one, other) in enumerate(zip(left.nodes, right.nodes, strict=False)):
        if one != other and not (by_value and _same_values(a, b)):
            return f"binding {k} computes {one} and {other}"
    same = (left.nodes, left.returned, left.blocks) == (right.nodes, right.returned, right.blocks)
    if same or (by_value and _same_values(a, b)):
        return None
    if len(left.nodes) != len(right.nodes):
        return f"{len(left.nodes)} and {len(right.nodes)} bindings compute something"
    return f"blocks {left.blocks} returning {left.returned} and blocks {right.blocks} returning {right.returned}"


class _Canonical:
    """A function with numbers for names: parameters and results by type, nodes in order."""

    def __init__(self, function: Function) -> None:
        graph = function.graph
        symbols: dict[str, str] = {}
        number: dict[str, Any] = {}
        for p in function.params:
            for leaf in flat(function.names[p]):
                number[leaf] = ("parameter", len(number))
        read = {i for n in graph.nodes for i in n.input_names} | set(flat(function.result))
        plain = _Plain(symbols)
        self.attributes = {k: plain.of(v) for k, v in function.attrs.items() if k != "global_symbol"}
        if "global_symbol" in function.attrs:
            self.attributes["global_symbol"] = function.attrs["global_symbol"]
        self.parameters = [plain.of(p.struct_info) for p in function.params]
        self.nodes: list[Any] = []
        for node in graph.nodes:
            inputs = tuple(self._input(i, graph, number) for i in node.inputs)
            for k, o in enumerate(node.outputs):
                if o is not None:
                    number[o] = (len(self.nodes), k)
            used = tuple(o is not None and o in read for o in node.outputs)
            attrs = tuple(sorted((k, plain.of(v)) for k, v in node.attrs.items() if v is not None))
            self.nodes.append((node.op, node.domain, inputs, attrs, used))
        self.results = plain.of(function.ret_struct_info)
        self.returned = mapped(lambda n: self._input(n, graph, number), function.result)
        self.blocks = [flag for flag in function.blocks if flag] or []

    @staticmethod
    def _input(i: Any, graph: Graph, number: dict[str, Any]) -> Any:
        if isinstance(i, str):
            return number[i] if i in number else _Plain().of(graph.producers[i].data)
        return i


class _Plain:
    """Values that compare by what they say; symbols are numbered as they come."""

    def __init__(self, symbols: dict[str, str] | None = None) -> None:
        self._symbols = {} if symbols is None else symbols
        self._vars: dict[Var, int] = {}

    def of(self, v: Any) -> Any:
        if isinstance(v, TensorType):
            return ("tensor", tuple(map(self._size, v.shape)), v.dtype)
        if isinstance(v, TupleType):
            return ("tuple", tuple(map(self.of, v.fields)))
        if isinstance(v, ShapeType | ShapeExpr):
            return ("shape", tuple(map(self._size, v.values)))
        if isinstance(v, Var):
            return ("var", self._vars.setdefault(v, len(self._vars)), self.of(v.struct_info))
        if isinstance(v, Constant):
            return self.of(v.data)
        if isinstance(v, Tensor | np.ndarray):
            array = np.asarray(v)
            return ("array", array.dtype.name, array.shape, array.tobytes())
        if isinstance(v, Tuple):
            return ("tuple", tuple(map(self.of, v.fields)))
        if isinstance(v, TupleGetItem):
            return ("field", self.of(v.tuple_value), v.index)
        if isinstance(v, Call):
            given = {**v.applied.defaults, **v.applied.arguments} if v.applied is not None else {"args": v.args}
            # Operands first, in their order, which numbers the Vars; an argument left out is its default.
            order = sorted(given, key=lambda k: v.applied is not None and k in v.applied.defaults)
            return (str(v.op), tuple(sorted((k, self.of(given[k])) for k in order)))
        if isinstance(v, GlobalVar):
            return ("global", v.name_hint)
        if isinstance(v, VarBinding):
            return ("binding", self.of(v.value), self.of(v.var))
        if isinstance(v, list | tuple):
            return tuple(map(self.of, v))
        if isinstance(v, dict):
            return tuple(sorted((k, self.of(a)) for k, a in v.items()))
        return getattr(v, "value", v.item() if isinstance(v, np.generic) else v)

    def _size(self, d: Any) -> Any:
        return self._symbols.setdefault(d, f"s{len(self._symbols)}") if isinstance(d, str) else d


# ---- programs that a pass wrote -----------------------------------------------------------------------------


def _is_passes(a: Function, b: Function) -> bool:
    """Did a pass write one of the two?"""
    return a.stated is None or b.stated is None


def _same_values(a: Function, b: Function) -> bool:
    """Where a pass wrote one of the two: do both compute the same, on three draws of arguments?"""
    if not _is_passes(a, b):
        return False
    for seed in range(3):
        rng = np.random.default_rng(seed)
        sizes: dict[str, int] = {}
        arguments = [_drawn(p.struct_info, rng, sizes, positive=seed == 1) for p in a.params]
        try:
            found = [flat(mapped(np.asarray, f(*arguments))) for f in (a, b)]
        except (AidgeJaxError, jax.errors.JaxRuntimeError):
            return False
        for one, other in zip(*found, strict=True):
            if one.shape != other.shape or one.dtype != other.dtype:
                return False
            scale = float(np.nanmax(np.abs(one.astype(np.float64)), initial=1.0))
            if not np.allclose(one, other, rtol=1e-4, atol=1e-5 * max(scale, 1.0), equal_nan=True):
                return False
    return True


def _drawn(type_: Any, rng: np.random.Generator, sizes: dict[str, int], positive: bool) -> Any:
    if isinstance(type_, TupleType):
        return tuple(_drawn(t, rng, sizes, positive) for t in type_.fields)
    shape = tuple(sizes.setdefault(d, 3 + len(sizes)) if isinstance(d, str) else d for d in type_.shape)
    if type_.is_float:
        values = rng.uniform(0.2, 1.5, shape) if positive else rng.normal(size=shape)
        return np.asarray(values, type_.dtype)
    if type_.dtype == "bool":
        return rng.integers(0, 2, shape).astype(bool)
    return rng.integers(0, 2, shape).astype(type_.dtype)
