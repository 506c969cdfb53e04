"""The explicit graph: plain data that prints itself.

A `Graph` is a list of `Node`s in an order in which they can be executed.  Tensors are named: a `Value` is a
name with a shape and a dtype, a `Producer` is a tensor that the graph brings along.  Operators carry ONNX's
names and keep ONNX's meaning (images are NCHW); what each computes is written in aidgejax/ops.

    g = Graph("mlp")
    op = g.op
    x = g.input("x", ("N", 64))
    w = g.parameter("w", np.zeros((64, 10), np.float32))
    g.output(op.Relu(op.MatMul(x, w)))
    print(g)

`op` writes nodes; gradient rules speak through the same words, which is why a gradient is a Graph too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from .drawing import graphs, text
from .errors import GraphError

Dim = int | str | None
# A number written straight into a node's input: it takes the dtype of its neighbours.  A tuple is int64 metadata.
Literal = bool | int | float | tuple
ROLES = ("parameter", "buffer", "constant")


@dataclass(frozen=True)
class Value:
    """A tensor's name and type.  shape: sizes, names for symbolic sizes, or None where nothing is known."""

    name: str
    shape: tuple[Dim, ...] | None = None
    dtype: str | None = "float32"

    @property
    def rank(self) -> int | None:
        return None if self.shape is None else len(self.shape)

    @property
    def known_shape(self) -> tuple[Dim, ...]:
        """The shape, where it is needed.  Raises GraphError where it is not known."""
        if self.shape is None:
            raise GraphError(f"the shape of {self.name!r} is not known: give the shapes of the graph's inputs")
        return self.shape

    @property
    def known_dtype(self) -> str:
        """The dtype, where it is needed.  Raises GraphError where it is not known."""
        if self.dtype is None:
            raise GraphError(f"the dtype of {self.name!r} is not known: give the dtypes of the graph's inputs")
        return self.dtype

    @property
    def is_float(self) -> bool:
        return self.dtype is None or "float" in self.dtype

    def __str__(self) -> str:
        sizes = "?" if self.shape is None else ", ".join("?" if d is None else str(d) for d in self.shape)
        return f"{self.name}:{self.dtype or '?'}[{sizes}]"


@dataclass(frozen=True)
class Node:
    """One operation.  inputs: names, None for an absent optional one, or a Literal; outputs: names or None."""

    op: str
    inputs: tuple[Any, ...]
    outputs: tuple[str | None, ...]
    attrs: dict[str, Any] = field(default_factory=dict)
    name: str = ""
    domain: str = ""

    def replace(self, **fields: Any) -> Node:
        """The same node with these fields changed."""
        return replace(self, **fields)

    @property
    def input_names(self) -> tuple[str, ...]:
        """The inputs that are tensors: neither absent nor literal."""
        return tuple(i for i in self.inputs if isinstance(i, str))

    @property
    def output_names(self) -> tuple[str, ...]:
        return tuple(o for o in self.outputs if o is not None)

    def __str__(self) -> str:
        return f"{', '.join(o or '_' for o in self.outputs)} = {text.call(self)}"


@dataclass
class Producer:
    """A tensor that the graph brings along: trained ("parameter"), updated ("buffer") or neither ("constant").

    why: how its role was decided, where the builder did not say.  kind: what it is, where the role does not tell.
    """

    name: str
    data: np.ndarray
    role: str = "parameter"
    why: str = ""
    kind: str = ""

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            raise GraphError(f"producer {self.name!r} has role {self.role!r}; a role is one of {', '.join(ROLES)}")

    @property
    def value(self) -> Value:
        return Value(self.name, tuple(self.data.shape), self.data.dtype.name)


class Graph:
    """Inputs, producers, nodes in execution order, outputs.  Build it with `input`, `parameter`, `op`, `output`."""

    def __init__(self, name: str = "graph") -> None:
        self.name = name
        self.inputs: dict[str, Value] = {}
        self.outputs: list[str] = []
        self.nodes: list[Node] = []
        self.producers: dict[str, Producer] = {}
        self.values: dict[str, Value] = {}  # what is known of node outputs; see interpreter/shape_inference.py
        self.metadata: dict[str, Any] = {}
        self.source: Any = None  # the file that it was read from; see aidgejax/onnxio/source.py
        self._fresh: Counter[str] = Counter()

    # ---- building -------------------------------------------------------------------------------------

    @property
    def op(self) -> Builder:
        return Builder(self)

    def input(self, name: str, shape: Iterable[Dim] | None, dtype: str = "float32") -> Value:
        """Declare an input.  A str in `shape` is a symbolic size, such as the batch's "N"."""
        self._claim(name)
        plain = dtype != "bfloat16" and "(" not in dtype  # "sequence(float32)" is a type of ONNX's too
        value = Value(name, None if shape is None else tuple(shape), np.dtype(dtype).name if plain else dtype)
        self.inputs[name] = value
        return value

    def parameter(self, name: str, data: Any) -> Value:
        """A tensor that training changes."""
        return self.producer(name, data, "parameter")

    def buffer(self, name: str, data: Any) -> Value:
        """A tensor that training updates without a gradient, such as BatchNormalization's statistics."""
        return self.producer(name, data, "buffer")

    def constant(self, name: str, data: Any) -> Value:
        return self.producer(name, data, "constant")

    def producer(self, name: str, data: Any, role: str) -> Value:
        self._claim(name)
        producer = Producer(name, np.asarray(data), role)
        self.producers[name] = producer
        return producer.value

    def output(self, value: Value | str) -> None:
        """Declare an output: any tensor of the graph."""
        name = _name(value)
        if not self.has(name):
            raise GraphError(f"graph {self.name!r} cannot output {name!r}: no input, producer or node writes it")
        self.outputs.append(name)

    def add(
        self,
        op: str,
        inputs: Iterable[Any],
        attrs: dict[str, Any] | None = None,
        *,
        outputs: int = 1,
        names: Iterable[str | None] | None = None,
        name: str | None = None,
        domain: str = "",
    ) -> tuple[Value, ...]:
        """Append a node; its outputs are `names`, or fresh ones.  Returns the outputs as Values."""
        name = name or self.fresh(op)
        if names is None:
            stems = [name] if outputs == 1 else [f"{name}.{k}" for k in range(outputs)]
            names = [self.fresh(s) if self.has(s) else s for s in stems]
        names = tuple(names)
        for n in names:
            if n is not None:
                self._claim(n)
        node = Node(op, tuple(self._operand(op, i) for i in inputs), names, dict(attrs or {}), name, domain)
        self.nodes.append(node)
        for n in node.output_names:
            self.values[n] = Value(n, None, None)
        return tuple(Value(n or "", None, None) for n in names)

    def fresh(self, stem: str) -> str:
        """A name that nothing bears yet."""
        while True:
            k = self._fresh[stem]
            self._fresh[stem] += 1
            name = f"{stem}_{k}" if k else stem
            if not self.has(name):
                return name

    # ---- reading --------------------------------------------------------------------------------------

    def has(self, name: str) -> bool:
        return name in self.values or name in self.producers or name in self.inputs

    def value(self, name: str) -> Value:
        """Name, shape and dtype of any tensor of the graph."""
        if name in self.values:
            return self.values[name]
        if name in self.producers:
            return self.producers[name].value
        if name in self.inputs:
            return self.inputs[name]
        raise GraphError(f"graph {self.name!r} has no tensor {name!r}")

    def tensors(self) -> dict[str, Value]:
        """{name: what `value` answers} of all tensors: inputs, producers, then what the nodes write, in their order."""
        found = {**self.inputs, **{p.name: p.value for p in self.producers.values()}}
        return found | {o: self.value(o) for n in self.nodes for o in n.output_names}

    def _of_role(self, role: str) -> dict[str, np.ndarray]:
        return {p.name: p.data for p in self.producers.values() if p.role == role}

    @property
    def params(self) -> dict[str, np.ndarray]:
        """{producer name: array} of what training changes."""
        return self._of_role("parameter")

    @property
    def buffers(self) -> dict[str, np.ndarray]:
        return self._of_role("buffer")

    @property
    def constants(self) -> dict[str, np.ndarray]:
        return self._of_role("constant")

    def roles(self) -> dict[str, tuple[str, str]]:
        """{producer: (what it is, why)}: a "parameter", a "buffer", a "constant", a "quantized weight"."""
        return {p.name: (p.kind or p.role, p.why) for p in self.producers.values()}

    def writer(self) -> dict[str, Node]:
        """{tensor name: the node that writes it}"""
        return {o: n for n in self.nodes for o in n.output_names}

    def readers(self) -> dict[str, list[Node]]:
        """{tensor name: the nodes that read it}"""
        found: dict[str, list[Node]] = {}
        for node in self.nodes:
            for i in dict.fromkeys(node.input_names):
                found.setdefault(i, []).append(node)
        return found

    def count(self) -> Counter[str]:
        """How often each operator occurs."""
        return Counter(n.op for n in self.nodes)

    def node(self, name: str) -> Node:
        for n in self.nodes:
            if n.name == name:
                return n
        raise GraphError(f"graph {self.name!r} has no node {name!r}")

    # ---- changing -------------------------------------------------------------------------------------

    def copy(self) -> Graph:
        """The same graph again; arrays are shared."""
        copy = Graph(self.name)
        copy.inputs, copy.outputs, copy.nodes = dict(self.inputs), list(self.outputs), list(self.nodes)
        copy.producers = {k: replace(p) for k, p in self.producers.items()}
        copy.values, copy.metadata, copy.source = dict(self.values), dict(self.metadata), self.source
        copy._fresh = Counter(self._fresh)
        return copy

    def map_nodes(self, change: Callable[[Node], Node | None]) -> Graph:
        """The same graph with change(node) in the place of every node; None leaves it out."""
        changed = self.copy()
        changed.nodes = [new for n in self.nodes if (new := change(n)) is not None]
        return changed

    def with_params(self, params: dict[str, Any], buffers: dict[str, Any] | None = None) -> Graph:
        """The same graph holding these arrays, e.g. the trained ones.  Unknown names and other shapes are refused."""
        copy = self.copy()
        for name, data in {**params, **(buffers or {})}.items():
            if name not in copy.producers:
                raise GraphError(
                    f"graph {self.name!r} has no producer {name!r}; "
                    f"it has {', '.join(map(repr, self.producers)) or 'none'}"
                )
            if not (getattr(data, "is_fully_addressable", True) or data.is_fully_replicated):
                raise GraphError(
                    f"producer {name!r} of graph {self.name!r} is split between processes, of which none holds all: "
                    f"each of them calls aidgejax.training.placed_arrays.on_host(params), which brings it together"
                )
            data = np.asarray(data)
            old = copy.producers[name]
            if data.shape != old.data.shape:
                raise GraphError(
                    f"producer {name!r} of graph {self.name!r} has shape {old.data.shape}, got {data.shape}"
                )
            copy.producers[name] = replace(old, data=data.astype(old.data.dtype, copy=False))
        return copy

    def frozen(self, names: Iterable[str]) -> Graph:
        """The same graph with these parameters turned into constants that training leaves alone."""
        copy = self.copy()
        for name in names:
            if name not in self.params:
                raise GraphError(
                    f"cannot freeze {name!r}: graph {self.name!r} has no parameter of that name; "
                    f"it has {', '.join(map(repr, self.params)) or 'none'}"
                )
            copy.producers[name] = replace(copy.producers[name], role="constant")
        return copy

    def prune(self) -> None:
        """Drop nodes and constants that no output needs."""
        needed = set(self.outputs)
        kept = []
        for node in reversed(self.nodes):
            if needed.intersection(node.output_names):
                kept.append(node)
                needed.update(node.input_names)
        self.nodes = kept[::-1]
        self.producers = {k: p for k, p in self.producers.items() if k in needed or p.role != "constant"}
        written = {o for n in self.nodes for o in n.output_names}
        self.values = {k: v for k, v in self.values.items() if k in written}

    def check(self) -> Graph:
        """Raise GraphError unless every name is written once and before it is read.  Returns the graph."""
        known = {*self.inputs, *self.producers}
        for node in self.nodes:
            for i in node.input_names:
                if i not in known:
                    late = any(i in n.output_names for n in self.nodes)
                    raise GraphError(
                        f"node {node.name!r} ({node.op}) of graph {self.name!r} reads {i!r}, "
                        + (
                            "which is written only later: put the nodes in execution order"
                            if late
                            else "which is not an input, a producer or an output of another node"
                        )
                    )
            for o in node.output_names:
                if o in known:
                    raise GraphError(
                        f"node {node.name!r} ({node.op}) of graph {self.name!r} writes {o!r}, "
                        f"which exists already: every tensor is written once"
                    )
                known.add(o)
        for o in self.outputs:
            if o not in known:
                raise GraphError(f"output {o!r} of graph {self.name!r} is written by no node")
        return self

    # ---- printing -------------------------------------------------------------------------------------

    def __str__(self) -> str:
        return text.listing(self)

    def __repr__(self) -> str:
        return f"<Graph {self.name!r}: {len(self.nodes)} nodes, {len(self.producers)} producers>"

    # ---- drawing --------------------------------------------------------------------------------------

    def to_svg(self) -> str:
        """A picture: inputs, parameters, buffers, constants and nodes by colour; over 300 nodes grouped by name."""
        return graphs.to_svg(self)

    def to_mermaid(self) -> str:
        """The same as a Mermaid flowchart."""
        return graphs.to_mermaid(self)

    def to_dot(self) -> str:
        """The same in Graphviz's language."""
        return graphs.to_dot(self)

    def _repr_html_(self) -> str:
        return f'<div style="overflow:auto;max-height:800px">{self.to_svg()}</div>'

    # ---- inside ---------------------------------------------------------------------------------------

    def _claim(self, name: str) -> None:
        if not isinstance(name, str) or not name:
            raise GraphError(f"a tensor of graph {self.name!r} needs a name, got {name!r}")
        if self.has(name):
            raise GraphError(f"graph {self.name!r} has a tensor {name!r} already: every tensor is written once")

    def _operand(self, op: str, i: Any) -> Any:
        if i is None or isinstance(i, bool | int | float):
            return i
        if isinstance(i, Value | str):
            return _name(i)
        if isinstance(i, list | tuple):
            return tuple(int(k) for k in i)
        if isinstance(i, np.ndarray | np.generic):
            return self.constant(self.fresh(f"{op}.const"), i).name
        raise GraphError(
            f"{op} in graph {self.name!r} was given {i!r} as an input: expected a tensor of the graph, "
            f"a number, a tuple of integers, an array or None"
        )


class Builder:
    """`op.Relu(x)` appends a Relu node and returns its output; several `outputs` come back as a tuple.

    Inputs are Values or names; a number is written into the node as it is; a tuple of integers is int64
    metadata (axes, shapes); an array becomes a constant.  Keywords are attributes.
    """

    def __init__(self, graph: Graph, prefix: str = "") -> None:
        self._graph, self._prefix = graph, prefix

    def __getattr__(self, op: str) -> Any:
        if op.startswith("_"):
            raise AttributeError(op)

        def emit(*inputs: Any, outputs: int = 1, name: str | None = None, **attrs: Any) -> Any:
            name = name or self._graph.fresh(self._prefix + op)
            values = self._graph.add(op, inputs, attrs, outputs=outputs, name=name)
            return values[0] if outputs == 1 else values

        return emit


def _name(value: Value | str) -> str:
    return value.name if isinstance(value, Value) else value
