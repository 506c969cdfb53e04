"""relax.transform: passes, called with a module, returning a new one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ....errors import UnknownOperator
from ....ops import OPERATORS
from ....reference import DEFINITIONS
from ..._shared.absent_names import absent_name
from ..errors import InternalError, RelaxTypeError, WrongBinding
from .adjoint import adjoint
from .expr import Var
from .function import Function, IRModule, type_of_structure
from .graphs import in_mode
from .structure import flat
from .types import TensorType, TupleType


@dataclass(frozen=True)
class PassInfo:
    """What is known of a pass."""

    name: str
    opt_level: int = 0
    required: tuple[str, ...] = ()


class Pass:
    """A pass; call it with a module."""

    @property
    def info(self) -> PassInfo:
        """The pass's name."""
        return PassInfo(getattr(self, "name", type(self).__name__))

    pass_info = info

    def __call__(self, mod: IRModule) -> IRModule:
        if not isinstance(mod, IRModule):
            raise RelaxTypeError(f"{type(self).__name__} takes an IRModule, got {type(mod).__name__}")
        return self.transform_module(mod)

    def transform_module(self, mod: IRModule) -> IRModule:
        """The new module."""
        return mod


class Gradient(Pass):
    """Adds `<func_name>_adjoint`, which returns (what the function returns, gradients).

    require_grads: a Var or several, parameters or what was emitted; default: all parameters.
    target_index: which of several returned values the gradients are of; a float scalar.
    """

    def __init__(self, func_name: str, require_grads: Var | Iterable[Var] | None = None, target_index: int = 0) -> None:
        self._name, self._index = func_name, target_index
        several = [require_grads] if isinstance(require_grads, Var) else require_grads
        self._wanted = None if several is None else list(several)

    def transform_module(self, mod: IRModule) -> IRModule:
        function = mod[self._name]
        if not function.is_dataflow:
            raise InternalError(
                f"now only support one dataflow block: function {self._name!r} has "
                f"{_described(function)}. Emit everything inside one `with bb.dataflow():`"
            )
        target = self._target(function)
        wanted = function.params if self._wanted is None else self._checked(function, self._wanted)
        changed = mod.copy()
        changed[f"{self._name}_adjoint"] = adjoint(function, target, tuple(function.names[v] for v in wanted))
        return changed

    def _target(self, function: Function) -> str:
        result, k = function.result, self._index
        returned = function.stated.body if function.stated is not None else None
        if isinstance(returned, Var) and isinstance(returned.struct_info, TupleType):
            raise InternalError(
                f"The differentiation target must be a float scalar (0-dim Tensor), but the Type of the given target "
                f"{returned.name_hint} is {returned.struct_info}; return its fields one by one"
            )
        if isinstance(result, str):
            if k != 0:
                raise InternalError(
                    f"When the function has only one return value, target_index can only be 0. But "
                    f"the target_index specified is {k}"
                )
            target = result
        else:
            if not 0 <= k < len(result):
                raise InternalError(
                    f"target_index should be in the range of the number of return values of the "
                    f"function. But the specified target_index is {k}, while the number of return "
                    f"values is {len(result)}"
                )
            target = result[k]
        type_ = _type(function, target)
        if not isinstance(type_, TensorType) or type_.shape or not type_.is_float:
            raise InternalError(
                f"The differentiation target must be a float scalar (0-dim Tensor), but the Type of "
                f"the given target {target} is {type_}"
            )
        return target

    def _checked(self, function: Function, wanted: list[Var]) -> list[Var]:
        seen: set[Var] = set()
        for v in wanted:
            if v not in function.names:
                raise InternalError(
                    f"There is no Var named {getattr(v, 'name_hint', v)} in the function "
                    f"{function.name}; its parameters are "
                    f"{', '.join(p.name_hint for p in function.params)}"
                )
            if v in seen:
                raise InternalError(f"Var {v.name_hint} appears more than once")
            seen.add(v)
            if not all(function.graph.value(leaf).is_float for leaf in flat(function.names[v])):
                raise InternalError(
                    f"Only Tensors of floating point dtype or Tuples of float Tensors can require "
                    f"gradients, but the Type of Var {v.name_hint} is {v.struct_info}"
                )
        return wanted


def _type(function: Function, structure: Any) -> TensorType | TupleType:
    return type_of_structure(function.graph, structure)


def _described(function: Function) -> str:
    kinds = ["a dataflow block" if d else "a block that is not dataflow" for d in function.blocks]
    return " and ".join(kinds) or "no block"


class _InMode(Pass):
    """Brings functions into the one form or the other.  func_name: one function; default: all."""

    training: bool

    def __init__(self, func_name: str | None = None) -> None:
        self._name = func_name

    def transform_module(self, mod: IRModule) -> IRModule:
        changed = mod.copy()
        for name in mod.relax_functions() if self._name is None else [self._name]:
            changed[name] = in_mode(mod[name], self.training)
        return changed


class DecomposeOpsForInference(_InMode):
    """batch_norm uses its moving statistics, dropout does nothing."""

    training = False


class DecomposeOpsForTraining(_InMode):
    """batch_norm uses the batch's statistics and moves its own, dropout drops."""

    training = True


class LegalizeOps(Pass):
    """Sees to it that every operator of the module can be executed on both backends, JAX and NumPy.

    Raises UnknownOperator listing those that cannot.
    """

    def __init__(self, customize_legalize_map: Any = None, skip_ops: Any = None, enable_warning: bool = False) -> None:
        """Nothing is lowered here, so that there is nothing to leave out; a map of TVM's lowerings is refused."""
        if customize_legalize_map:
            raise RelaxTypeError(
                "LegalizeOps takes no customize_legalize_map: its functions write TIR, and XLA compiles here"
            )

    def transform_module(self, mod: IRModule) -> IRModule:
        lacking = sorted(
            {
                f"{n.op} (function {f.name!r})"
                for f in mod.relax_functions().values()
                for n in f.graph.nodes
                if n.op not in OPERATORS or n.op not in DEFINITIONS
            }
        )
        if lacking:
            raise UnknownOperator(
                f"these operators have no forward on both backends: {', '.join(lacking)}. Add them "
                f"in aidgejax/ops and aidgejax/reference, or use legalize=False"
            )
        return mod


class Sequential(Pass):
    """Passes, one after the other."""

    def __init__(
        self,
        passes: Iterable[Any],
        opt_level: int = 0,
        name: str = "sequential",
        required: Iterable[str] | None = None,
        traceable: bool = False,
    ) -> None:
        self.passes = list(passes)

    def transform_module(self, mod: IRModule) -> IRModule:
        for p in self.passes:
            mod = p(mod)
        return mod


class BindParams(Pass):
    """Some parameters of a function become constants.  params: {name or Var: array}."""

    def __init__(self, func_name: str, params: Mapping[Any, Any]) -> None:
        self._name, self._params = func_name, params

    def transform_module(self, mod: IRModule) -> IRModule:
        changed = mod.copy()
        changed[self._name] = mod[self._name].bind_params(self._params)
        return changed


class BindSymbolicVars(Pass):
    """Some symbolic sizes become numbers.  binding_map: {name or Var: number}; func_name: one function, or all."""

    def __init__(self, binding_map: Mapping[Any, Any], func_name: str | None = None) -> None:
        self._numbers = {str(getattr(k, "name", k)): int(v) for k, v in binding_map.items()}
        self._name = func_name

    def transform_module(self, mod: IRModule) -> IRModule:
        changed = mod.copy()
        names = mod.relax_functions() if self._name is None else [self._name]
        known = {d for n in names for v in mod[n].graph.inputs.values() for d in v.shape or () if isinstance(d, str)}
        unknown = [n for n in self._numbers if n not in known]
        if unknown:
            raise WrongBinding(
                f"Binding map contains keys ({', '.join(unknown)}), which did not correspond to any symbolic variables "
                f"in the module; it has {', '.join(sorted(known)) or 'none'}"
            )
        for n in names:
            changed[n] = mod[n].bind_symbolic_vars(self._numbers)
        return changed


class FunctionPass(Pass):
    """A pass that is a function of (function, module, context), for each function of Relax."""

    def __init__(self, transform: Callable[..., Function], name: str) -> None:
        self._transform, self.name = transform, name

    def transform_module(self, mod: IRModule) -> IRModule:
        changed = mod.copy()
        for name, function in mod.relax_functions().items():
            changed[name] = self._transform(function, mod, None)
        return changed


def function_pass(
    pass_func: Any = None,
    opt_level: int | None = None,
    name: str | None = None,
    required: Iterable[str] | None = None,
    traceable: bool = False,
) -> Any:
    """Makes a pass of a function of (function, module, context), or of a class that has `transform_function`."""

    def made(thing: Any) -> Any:
        if not isinstance(thing, type):
            return FunctionPass(thing, name or thing.__name__)

        class OfClass(FunctionPass):
            def __init__(self, *args: Any, **kwargs: Any) -> None:
                super().__init__(thing(*args, **kwargs).transform_function, name or thing.__name__)

        OfClass.__name__, OfClass.__doc__ = thing.__name__, thing.__doc__
        return OfClass

    return made if pass_func is None else made(pass_func)


class DoneByXla(Pass):
    """A pass of TVM's compiler that leaves every result as it is: XLA does its work when a program is compiled."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Arguments are taken, and have no effect."""


DONE_BY_XLA = (
    "AllocateWorkspace AnnotateTIROpPattern AttachGlobalSymbol CallTIRRewrite CanonicalizeBindings ComputePrimValue "
    "ConvertToDataflow LambdaLift RealizeVDevice RemoveUnusedOutputs "
    "CombineParallelMatmul DeadCodeElimination EliminateCommonSubexpr ExpandTupleArguments FoldConstant FuseOps "
    "FuseTIR FuseTransposeMatmul InlinePrivateFunctions KillAfterLastUse LowerAllocTensor LowerRuntimeBuiltin "
    "Normalize NormalizeGlobalVar RemovePurityChecking RemoveRedundantReshape RewriteCUDAGraph RewriteDataflowReshape "
    "StaticPlanBlockMemory ToNonDataflow TopologicalSort VMBuiltinLower VMShapeLower"
).split()
globals().update({name: type(name, (DoneByXla,), {"__module__": __name__}) for name in DONE_BY_XLA})


XLA = "XLA does this when a program is compiled"
ABSENT = {
    **dict.fromkeys(("FuseOpsByPattern RemoveUnusedParameters").split(), XLA),
    "ToMixedPrecision": "use aidgejax.passes.precision on a graph",
    "ConvertLayout": "the interpreter chooses layouts for each device",
    "dataflowblock_pass": "write the pass over aidgejax graphs (aidgejax.passes)",
}


def __getattr__(name: str) -> Any:
    raise absent_name(__name__, name, ABSENT)
