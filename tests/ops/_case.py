"""A row of the table, and the ways in which the checks run it."""

from __future__ import annotations

import zlib
from contextlib import nullcontext
from functools import cached_property
from importlib import metadata
from typing import Any

import jax
import numpy as np

from aidgejax import reference
from aidgejax.execution.program import Program, make_program
from aidgejax.graph import Graph
from aidgejax.interpreter.shape_inference import infer_shapes
from aidgejax.ops import lookup
from aidgejax.passes.gradient import grad_name

KEY_SEED = 7
# XLA's own choice, which tests/conftest.py changes for whatever does not ask for it.
AS_USERS = {
    "xla_backend_optimization_level": 3,
    "xla_llvm_disable_expensive_passes": False,
    "xla_cpu_parallel_codegen_split_count": 32,
}
if metadata.version("jaxlib").startswith("0.10."):
    AS_USERS["xla_cpu_use_fusion_emitters"] = True


class Case:
    """One situation of one operator.

    inputs: arrays (f, i, b below, or any np.ndarray), None for an absent input, or literals (numbers, tuples).
    batch: the inputs whose axis 0 is a batch of any size; outputs: how many the node names.
    wrt: inputs to be differentiated (default: all floating ones that are not static).
    skip: {check: reason why it cannot hold here}; the check must then fail.  A reason None does not count, so that
    `before` can be one.
    insensitive: why a wrong rule would not be noticed here by differences (the slope is zero).
    Everything else is an attribute.
    """

    first = False  # of its operator in the table
    loops = False  # what is compiled holds the loop too

    def __init__(
        self,
        op: str,
        inputs: tuple,
        *,
        why: str = "",
        batch: tuple[int, ...] = (0,),
        outputs: int = 1,
        wrt: tuple[int, ...] | None = None,
        skip: dict[str, str | None] | None = None,
        insensitive: str = "",
        **attrs: Any,
    ) -> None:
        self.op, self.why, self.batch, self.outputs, self.attrs = op, why, batch, outputs, attrs
        self.insensitive = insensitive
        self.skip = {check: reason for check, reason in (skip or {}).items() if reason}
        self.inputs = tuple(
            spec(k, zlib.crc32(f"{op}{why}{k}".encode())) if callable(spec) else spec for k, spec in enumerate(inputs)
        )
        self._wrt = wrt
        self._found: dict[type, dict[str, Any]] = {}
        self.beside: dict[type, list[Case]] = {}  # {dtype: the rows that are compiled with this one}

    def __repr__(self) -> str:
        return f"{self.op}: {self.why or ', '.join(f'{k}={v}' for k, v in self.attrs.items()) or 'plain'}"

    @property
    def size(self) -> int:
        return sum(np.size(a) for a in self.inputs if a is not None)

    @property
    def operator(self):
        return lookup(self.op)

    def named(self) -> dict[str, np.ndarray]:
        """{input name: array} of what the node reads as tensors."""
        return {self._name(k): a for k, a in enumerate(self.inputs) if isinstance(a, np.ndarray)}

    def _name(self, k: int) -> str:
        return f"{self.operator.inputs[k]}" if k < len(self.operator.inputs) else f"x{k}"

    def _is_static(self, k: int) -> bool:
        return k < len(self.operator.inputs) and self.operator.inputs[k] in self.operator.static

    @property
    def fed(self) -> dict[str, np.ndarray]:
        return {
            n: a
            for k, a in enumerate(self.inputs)
            if isinstance(a, np.ndarray) and not self._is_static(k)
            for n in [self._name(k)]
        }

    @property
    def wrt(self) -> list[str]:
        if self.operator.vjp is None:
            return []
        picked = range(len(self.inputs)) if self._wrt is None else self._wrt
        return [self._name(k) for k in picked if self._name(k) in self.fed and self.inputs[k].dtype.kind == "f"]

    def graph(self, dtype: Any = np.float32, symbolic: bool = False) -> Graph:
        """The graph of this one node."""
        g = Graph(self.op)
        operands = []
        for k, a in enumerate(self.inputs):
            if not isinstance(a, np.ndarray):
                operands.append(a)
            elif self._is_static(k):
                operands.append(g.constant(self._name(k), a))
            else:
                shape = list(a.shape)
                if symbolic and k in self.batch and shape:
                    shape[0] = "N"
                operands.append(g.input(self._name(k), shape, self.cast(a, dtype).dtype.name))
        outs = g.add(self.op, operands, self.attrs, names=[f"y{k}" for k in range(self.outputs)], name="node")
        for o in outs:
            g.output(o)
        return g

    def cast(self, a: np.ndarray, dtype: Any) -> np.ndarray:
        return a.astype(dtype) if a.dtype.kind == "f" else a

    def feeds(self, dtype: Any = np.float32) -> dict[str, np.ndarray]:
        return {n: self.cast(a, dtype) for n, a in self.fed.items()}

    def program(self, dtype: Any = np.float32, symbolic: bool = False) -> Program:
        g = infer_shapes(self.graph(dtype, symbolic))
        return make_program(g, seeds=[o for o in g.outputs if g.value(o).is_float], wrt=self.wrt)

    @cached_property
    def of_any_batch(self) -> Program:
        return self.program(np.float64, symbolic=True)

    def forget(self) -> None:
        """What the checks shared is dropped; thousands of programs fill the memory."""
        self._found.clear()
        for name in ("of_any_batch", "drawn_at_any_batch"):
            self.__dict__.pop(name, None)

    def cotangents(self, outputs: dict[str, Any]) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(zlib.crc32(repr(self).encode()))
        return {
            o: (rng.uniform(0.5, 1.5, np.shape(a)) * rng.choice([-1, 1], np.shape(a))).astype(a.dtype)
            for o, a in outputs.items()
            if a.dtype.kind == "f"
        }

    @cached_property
    def drawn_at_any_batch(self) -> tuple:
        """Outputs and saved tensors in float64 by JAX of the program that is good for any batch."""
        with jax.enable_x64(True):
            return self.forward(self.of_any_batch, self.feeds(np.float64))[:2]

    # ---- the three ways to run it ---------------------------------------------------------------------

    @property
    def in_float64(self) -> dict[str, Any]:
        """JAX in float64, one compiled call: outputs, saved tensors, the rule's gradients and jax.vjp's, where it is
        asked for the rule's at each of two turns of a lax.scan; the program and the cotangents."""
        return self._compiled(np.float64)

    @property
    def in_float32(self) -> dict[str, Any]:
        """JAX in float32: outputs, saved tensors and the program; an operator's first row as users compile it."""
        return self._compiled(np.float32)

    def in_a_loop(self) -> list[dict[str, np.ndarray]]:
        """The rule's gradients in float64, from each of two turns of a lax.scan."""
        if not self.loops:
            self.loops, self.beside = True, {}
            self.forget()
        return [{w: g[turn] for w, g in self.in_float64["loop"].items()} for turn in range(2)]

    def _compiled(self, dtype: type) -> dict[str, Any]:
        """What this row computes in that dtype.  The rows `beside` it are compiled with it, and find theirs when they
        ask: what compiling costs even for nothing is paid once for all of them."""
        if dtype not in self._found:
            rows = self.beside.get(dtype, [self])
            try:
                found = together(rows, dtype)
            except Exception:
                if len(rows) == 1:
                    raise
                for row in rows:  # so that the one that fails does so alone
                    row.beside = {**row.beside, dtype: [row]}
                return self._compiled(dtype)
            for row, tensors in zip(rows, found, strict=True):
                row._found[dtype] = tensors
        return self._found[dtype]

    def _in_float64(self, program: Program, feeds: Any) -> dict[str, Any]:
        key = jax.random.key(KEY_SEED)

        def forward(chosen):
            outputs, saved, _ = program.forward({}, {}, {**feeds, **chosen}, key)
            return {s: outputs[s] for s in program.seeds}, (outputs, saved)

        def turn(_, feeds):
            _, saved, _ = program.forward({}, {}, feeds, key)
            return None, program.backward({}, saved, dy)

        if not program.wrt:
            _, (outputs, saved) = forward({})
            return {"outputs": outputs, "saved": saved, "dy": self.cotangents(outputs), "rule": {}, "witness": {}}
        _, pull, (outputs, saved) = jax.vjp(forward, {w: feeds[w] for w in program.wrt}, has_aux=True)
        dy = {s: d for s, d in self.cotangents(outputs).items() if s in program.seeds}
        found = {"outputs": outputs, "saved": saved, "dy": dy, "rule": program.backward({}, saved, dy)}
        found["witness"] = pull({s: jax.numpy.asarray(d) for s, d in dy.items()})[0]
        if self.loops:
            twice = {n: jax.numpy.stack([a, a]) for n, a in feeds.items()}
            found["loop"] = jax.lax.scan(turn, None, twice)[1]
        return found

    def _in_float32(self, program: Program, feeds: Any) -> dict[str, Any]:
        outputs, saved, _ = program.forward({}, {}, feeds, jax.random.key(KEY_SEED))
        return {"outputs": outputs, "saved": saved}

    @staticmethod
    def forward(program: Program, feeds: dict[str, np.ndarray]) -> tuple:
        """(outputs, saved, buffers), compiled in the dtypes of the feeds."""
        key = jax.random.key(KEY_SEED)
        return jax.jit(lambda feeds: program.forward({}, {}, feeds, key))(feeds)

    def reference_outputs(
        self, program: Program, feeds: dict[str, np.ndarray], dtype: Any = None, run: tuple | None = None
    ) -> dict:
        """Every tensor, by NumPy; what is random is taken from JAX: the mask where there is one, else the outputs.

        run: outputs and saved tensors by JAX; default: those in float64.
        """
        given = {}
        if self.operator.random:
            outputs, saved = run or (self.in_float64["outputs"], self.in_float64["saved"])
            drawn = saved if self.operator.residual_outputs else outputs
            given = {k: np.asarray(v) for k, v in drawn.items() if k not in feeds}
        return reference.execute(program.graph, feeds, dtype=dtype, given=given)

    def reference_gradients(
        self, program: Program, feeds: dict[str, np.ndarray], dy: dict, run: tuple | None = None
    ) -> dict[str, np.ndarray]:
        """The rule's gradient graph executed by NumPy; run: as of reference_outputs."""
        found = self.reference_outputs(program, feeds, np.float64, run)
        backward = program.gradient
        named = {grad_name(s): d for s, d in dy.items()}
        found = reference.execute(backward, {k: named.get(k, found.get(k)) for k in backward.inputs}, dtype=np.float64)
        return {w: found[o] for w, o in zip(program.wrt, backward.outputs, strict=True)}


# ---- compiling ----------------------------------------------------------------------------------------


def together(rows: list[Case], dtype: type) -> list[dict[str, Any]]:
    """[the program of each row in that dtype, and what it computes], from one compiled call."""
    double = dtype is np.float64
    programs = [row.program(dtype) for row in rows]

    def everything(all_feeds):
        each = zip(rows, programs, all_feeds, strict=True)
        return [row._in_float64(*given) if double else row._in_float32(*given) for row, *given in each]

    run = jax.jit(everything, compiler_options=AS_USERS if rows[0].first and not double else None)
    with jax.enable_x64(True) if double else nullcontext():
        found = jax.tree.map(np.asarray, run([row.feeds(dtype) for row in rows]))
    return [{"program": program, **tensors} for program, tensors in zip(programs, found, strict=True)]


# ---- excuses ------------------------------------------------------------------------------------------


def before(package: str, version: str, reason: str) -> str | None:
    """The reason where the installed package is older than `version`, else None: an excuse that ends."""
    return f"{reason} ({package} {metadata.version(package)})" if _older(package, version) else None


def since(package: str, version: str, reason: str) -> str | None:
    """The reason where the installed package is `version` or newer, else None: an excuse that begins."""
    return None if _older(package, version) else f"{reason} ({package} {metadata.version(package)})"


def _older(package: str, version: str) -> bool:
    numbers = [[int(n) for n in v.split(".")[:2]] for v in (metadata.version(package), version)]
    return numbers[0] < numbers[1]


# ---- inputs -------------------------------------------------------------------------------------------


def f(*shape: int, lo: float = -2.0, hi: float = 2.0):
    """Distinct floats, uniform on [lo, hi), the same at every run."""
    return lambda k, seed: np.random.default_rng([seed, k]).uniform(lo, hi, shape).astype(np.float32)


def zeros(*shape: int):
    return lambda k, seed: np.zeros(shape, np.float32)


def i(*shape: int, lo: int = 0, hi: int = 5, dtype: Any = np.int64):
    return lambda k, seed: np.random.default_rng([seed, k]).integers(lo, hi, shape, dtype=dtype)


def b(*shape: int):
    return lambda k, seed: np.random.default_rng([seed, k]).integers(0, 2, shape).astype(bool)
