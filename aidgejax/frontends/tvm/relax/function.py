"""Functions and modules.  A Function is an explicit Graph, the order of its parameters, the shape of its result.

Tensors of the graph are named; a *structure* is such a name, or a tuple of structures, as the values of Relax are
tensors or nested tuples.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ....graph import Graph, Value
from ....interpreter.shape_inference import infer_shapes
from ..._shared.absent_names import AbsentMembers
from .._original_members import MEMBERS
from ..errors import RelaxTypeError, RelaxValueError, WrongBinding
from ..runtime import Device, check
from .body import SeqExpr
from .compiled import CompiledFunction
from .expr import Var
from .lift import body_of_graph
from .prim_func import PrimFunc
from .printer import function_text, module_text
from .structure import Structure, flat
from .types import ShapeType, TensorType, TupleType, with_sizes

PURE = "relax.pure"  # the attribute of a function that was stated as impure


def type_of(value: Value) -> TensorType:
    return TensorType(value.shape, value.dtype or "float32")


def type_of_structure(graph: Graph, structure: Structure) -> TensorType | TupleType:
    if isinstance(structure, tuple):
        return TupleType(type_of_structure(graph, s) for s in structure)
    return type_of(graph.value(structure))


def declare(graph: Graph, var: Var, type_: Any = None, name: str | None = None) -> Structure:
    """Inputs of the graph for a parameter; a name that is taken gets a number."""
    type_, name = type_ or var.struct_info, name or var.name_hint
    if isinstance(type_, ShapeType):
        return ()
    if isinstance(type_, TensorType) and not type_.is_known:
        name = graph.fresh(name) if graph.has(name) else name
        return graph.input(name, tuple(f"{name}_{d}" for d in type_.shape), type_.dtype).name
    if isinstance(type_, TupleType):
        return tuple(declare(graph, var, t, f"{name}.{k}") for k, t in enumerate(type_.fields))
    return graph.input(graph.fresh(name) if graph.has(name) else name, type_.shape, type_.dtype).name


class Function(AbsentMembers):
    """A function of a module.  graph: the explicit Graph; names: {Var: what it is called there}; result: a structure.

    blocks: for each run of bindings, whether it is a dataflow block.  stated: its bindings, None where a pass wrote the
    graph.  imported: it came from a model that relax did not write.  starts, ends: tensors that start_checkpoint and
    end_checkpoint mark (see relax.op.grad).
    """

    absent_members = MEMBERS["Function"]

    def __init__(
        self,
        name: str,
        graph: Graph,
        params: Iterable[Var],
        result: Structure,
        names: dict[Var, Structure],
        *,
        blocks: Iterable[bool] = (True,),
        attrs: Mapping[str, Any] | None = None,
        starts: Iterable[str] = (),
        ends: Iterable[str] = (),
        body: SeqExpr | None = None,
    ) -> None:
        self.name, self.graph, self.params, self.result = name, graph, list(params), result
        self.names, self.blocks, self.attrs = dict(names), list(blocks), dict(attrs or {})
        self.starts, self.ends = set(starts), set(ends)
        self.stated = body if body is not None and body.is_written else None
        self.imported = False
        self._compiled: CompiledFunction | None = None
        graph.outputs = flat(result)

    @property
    def ret_struct_info(self) -> TensorType | TupleType:
        return type_of_structure(self.graph, self.result)

    ret_type = ret_ty = ret_struct_info

    @property
    def struct_info(self) -> TensorType | TupleType:
        return self.ret_struct_info

    def bind_params(self, binding_map: Mapping[Any, Any]) -> Function:
        """The function with some parameters fixed.  {Var or its name: array}."""
        bound = self.copy()
        by_name = {p.name_hint: p for p in self.params}
        for key, value in binding_map.items():
            var = by_name.get(getattr(key, "name_hint", key))
            if var is None:
                raise WrongBinding(f"function {self.name!r} has no parameter {key}; it has {', '.join(by_name)}")
            (leaf,) = flat(self.names[var])
            array = check(f"parameter {var.name_hint}", value, var.struct_info.shape, var.struct_info.dtype)
            del bound.graph.inputs[leaf]
            bound.graph.constant(leaf, array)
            bound.params.remove(var)
        return bound

    def bind_symbolic_vars(self, binding_map: Mapping[Any, Any]) -> Function:
        """The function with some symbolic sizes fixed.  {Var or its name: number}."""
        numbers = {str(getattr(k, "name", k)): int(v) for k, v in binding_map.items()}
        fixed = lambda shape: tuple(numbers.get(d, d) for d in shape)
        bound = self.copy()
        bound.graph.inputs = {k: Value(k, fixed(v.shape), v.dtype) for k, v in self.graph.inputs.items()}
        bound.graph = infer_shapes(bound.graph)
        bound.params = [Var(p.name_hint, with_sizes(p.struct_info, numbers)) for p in self.params]
        bound.names |= {new: self.names[p] for new, p in zip(bound.params, self.params, strict=True)}
        return bound

    @property
    def is_pure(self) -> bool:
        """Was it stated as pure?"""
        return bool(self.attrs.get(PURE, True))

    @property
    def is_dataflow(self) -> bool:
        """Does it have exactly one block, a dataflow block?"""
        return self.blocks == [True]

    def inputs_of(self, params: Iterable[Var]) -> list[str]:
        """What these parameters are called in the graph."""
        return [leaf for p in params for leaf in flat(self.names[p])]

    def copy(self, name: str | None = None) -> Function:
        """The same function; its graph may be changed, so that it forgets how it was stated."""
        name = name or self.name
        graph = self.graph.copy()
        graph.name = name
        made = Function(
            name,
            graph,
            self.params,
            self.result,
            self.names,
            blocks=self.blocks,
            attrs=self.attrs,
            starts=self.starts,
            ends=self.ends,
        )
        made.imported = self.imported
        return made

    def with_attr(self, attr_key_or_dict: str | Mapping[str, Any], attr_value: Any = None) -> Function:
        changed = self.copy()
        changed.stated = self.stated
        given = attr_key_or_dict
        changed.attrs.update(given if isinstance(given, Mapping) else {given: attr_value})
        if "global_symbol" in changed.attrs:
            changed.name = changed.graph.name = changed.attrs["global_symbol"]
        return changed

    def with_attrs(self, attr_map: Mapping[str, Any]) -> Function:
        return self.with_attr(attr_map)

    def without_attr(self, attr_key: str) -> Function:
        changed = self.with_attr({})
        changed.attrs.pop(attr_key, None)
        return changed

    def __call__(self, *args: Any) -> Any:
        """Run it on the host; numbers, arrays, Tensors and nested tuples of them, as its parameters say."""
        if self._compiled is None:
            self._compiled = self.compiled()
        return self._compiled(*args)

    def compiled(self, device: Device | None = None) -> CompiledFunction:
        """The function, to be compiled for a device (the host) at its first call."""
        return CompiledFunction(self.name, self.graph, self.params, self.result, device)

    @property
    def body(self) -> SeqExpr:
        """Its bindings and what it returns: as it was stated, or, where a pass wrote it, from the graph's nodes."""
        if self.stated is not None:
            return self.stated
        return body_of_graph(self.graph, self.params, self.names, self.result, any(self.blocks), self.imported)

    def script(self, *_: Any, **__: Any) -> str:
        """As TVMScript."""
        return function_text(self)

    def show(self, *_: Any, **__: Any) -> None:
        print(self.script())

    def __str__(self) -> str:
        """The graph: what is computed, node by node."""
        return str(self.graph)

    def __repr__(self) -> str:
        return f"<Function {self.name!r}: {len(self.graph.nodes)} nodes>"


class GlobalVar(str):
    """The name of a function in a module: a string that says what it is."""

    __slots__ = ()

    @property
    def name_hint(self) -> str:
        return str(self)

    def __str__(self) -> str:
        return str.__str__(self)

    def __repr__(self) -> str:
        return f'I.GlobalVar("{self}")'


class Attrs(dict):
    """Attributes of a module.  `optim_states`, as TVM's page has it, is `optim_state`, as TVM does."""

    def __missing__(self, key: str) -> Any:
        if key == "optim_states" and "optim_state" in self:
            return self["optim_state"]
        raise KeyError(key)

    def __contains__(self, key: object) -> bool:
        return dict.__contains__(self, "optim_state" if key == "optim_states" else key)

    def get(self, key: str, default: Any = None) -> Any:
        return self[key] if key in self else default


class IRModule(AbsentMembers):
    """Functions by name (of Relax; a PrimFunc for one of TIR), and attributes.

    Nothing changes a module in place but `mod[name] = function`.

    initial_params, initial_states: {name: array}, what they were where the backbone came from (see frontend.py).
    """

    absent_members = MEMBERS["IRModule"]

    def __init__(self, functions: Mapping[Any, Any] | None = None, attrs: Mapping[str, Any] | None = None) -> None:
        self.functions: dict[GlobalVar, Any] = {GlobalVar(k): f for k, f in (functions or {}).items()}
        for name, f in self.functions.items():
            if not isinstance(f, Function | PrimFunc):
                raise RelaxTypeError(f"function {name!r} of a module is a Function, got {type(f).__name__}")
        self.attrs = Attrs(attrs or {})
        self.initial_params: dict[str, Any] = {}
        self.initial_states: dict[str, Any] = {}

    @staticmethod
    def from_expr(expr: Function, functions: Mapping[Any, Any] | None = None) -> IRModule:
        """The module of one function, under its global symbol, and of the others given."""
        if not isinstance(expr, Function):
            raise RelaxTypeError(f"a module is made of a Function, got {type(expr).__name__}")
        return IRModule({**(functions or {}), expr.attrs.get("global_symbol", expr.name): expr})

    def relax_functions(self) -> dict[GlobalVar, Function]:
        """Those of Relax: all but functions of TIR, which are kept and never run."""
        return {k: f for k, f in self.functions.items() if isinstance(f, Function)}

    def copy(self) -> IRModule:
        changed = IRModule(self.functions, self.attrs)
        changed.initial_params, changed.initial_states = self.initial_params, self.initial_states
        return changed

    clone = copy

    def __getitem__(self, name: Any) -> Any:
        if name not in self.functions:
            known = ", ".join(f'"{f}"' for f in self.functions)
            raise RelaxValueError(f'Cannot find global var "{name}" in the Module\ncandidates are: [{known}]')
        return self.functions[name]

    def __setitem__(self, name: Any, function: Function) -> None:
        self.functions[GlobalVar(name)] = function

    def __contains__(self, name: Any) -> bool:
        return name in self.functions

    def get_global_vars(self) -> list[GlobalVar]:
        return [GlobalVar(name) for name in sorted(self.functions)]

    def get_global_var(self, name: str) -> GlobalVar:
        self[name]  # raises where there is none
        return GlobalVar(name)

    def update_func(self, var: Any, func: Function) -> None:
        """As mod[name] = function."""
        self[var] = func

    def update(self, other: IRModule | Mapping[Any, Function]) -> None:
        """Take the functions of another module, or {name: function}."""
        for name, function in (other.functions if isinstance(other, IRModule) else other).items():
            self[name] = function

    def functions_items(self) -> list[tuple[GlobalVar, Function]]:
        """(name, function) of all, in the order of their names."""
        return [(v, self[v]) for v in self.get_global_vars()]

    def with_attr(self, attr_key: str, attr_value: Any) -> IRModule:
        return self.with_attrs({attr_key: attr_value})

    def with_attrs(self, attr_map: Mapping[str, Any]) -> IRModule:
        changed = self.copy()
        changed.attrs.update(attr_map)
        return changed

    def without_attr(self, attr_key: str) -> IRModule:
        changed = self.copy()
        changed.attrs.pop(attr_key, None)
        return changed

    def get_attr(self, attr_key: str) -> Any:
        return self.attrs.get(attr_key)

    def script(self, *_: Any, **__: Any) -> str:
        """As TVMScript, with all constants; tvm.script.from_source reads it.  `mod["main"].graph` prints the graph."""
        return module_text(self)

    def show(self, *_: Any, **__: Any) -> None:
        print(self)

    def __str__(self) -> str:
        return self.script()

    def __repr__(self) -> str:
        return f"<IRModule: {', '.join(self.functions)}>"
