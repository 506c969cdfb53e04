"""aidge_core.GraphView: a set of nodes, what goes into it and what comes out, and the ways to build one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from . import node_by_node
from .attributes import edited
from .backends import place_of
from .diagrams import write_flowchart
from .errors import GraphViewError, TensorTypeError
from .graph_chaining import GraphChaining
from .lowering import forward_dims
from .node import FREE, Connector, Node, Port, unique_name

SECONDARY = (
    "indices_output",
    "mask_output",
    "cell_state",
    "hidden_states",
    "potential",
    "potential_state",
    "spike_state",
)  # outputs that are no outputs of a graph unless somebody says so


def _parents(node: Node) -> list[Node]:
    return [p.node for k, p in enumerate(node.sources) if p is not None and not node.operator.is_back_edge(k)]


def _readers(node: Node) -> list[Node]:
    return [n for out in node.readers for n, k in out if not n.operator.is_back_edge(k)]


class GraphView(GraphChaining):
    """Nodes in the order in which they were added; execution follows the connections."""

    def __init__(self, name: str = "") -> None:
        self._name = name
        self.members: dict[Node, None] = {}
        self.chosen_inputs: list[Port] | None = None
        self.chosen_outputs: list[Port] | None = None
        self.known_shapes: dict[Port, tuple[int, ...]] = {}  # of inputs, from the last forward_dims
        self.declared_shapes: dict[Port, tuple] = {}  # of inputs, as a model file had them

    def name(self) -> str:
        return self._name

    def set_name(self, name: str) -> None:
        self._name = str(name)

    def __len__(self) -> int:
        return len(self.members)

    def __repr__(self) -> str:
        counts = f"inputs: {len(self.get_ordered_inputs())}, outputs: {len(self.get_ordered_outputs())}"
        return f"GraphView(name='{self._name}', Nodes: {len(self.members)} ({counts}))"

    # ---- members ----------------------------------------------------------------------------------------

    def add(self, other: Any, include_attached_producers: bool = True) -> GraphView:
        """Add a node, nodes, or another graph.  A name that is taken gets _1, _2 ... appended.  Returns the graph."""
        if isinstance(other, GraphView):
            if other.chosen_outputs is not None and not self.members:
                self.chosen_outputs = list(other.chosen_outputs)
            other = list(other.members)
        for node in [other] if isinstance(other, Node) else list(other):
            if not isinstance(node, Node):
                raise TensorTypeError(f"a GraphView holds Nodes, got {type(node).__name__}")
            feeding = [p[0] for p in node.sources if p and p[0].type() == "Producer"]
            for member in [node, *(feeding if include_attached_producers else [])]:
                if member not in self.members:
                    self._rename(member)
                    self.members[member] = None
                    member.views.append(self)
        edited()
        return self

    def _rename(self, node: Node) -> None:
        taken = {n.name() for n in self.members}
        if node.name() and node.name() in taken:
            node.set_name(unique_name(node.name(), taken))

    def remove(self, node: Node, include_attached_producers: bool = True) -> bool:
        if node not in self.members:
            return False
        members = [node]
        if include_attached_producers:
            members += [
                p[0]
                for p in node.sources
                if p
                and p[0].type() == "Producer"
                and all(c is node or c not in self.members for c in p[0].get_children())
            ]
        for m in members:
            if m in self.members:
                del self.members[m]
                m.views.remove(self)
        edited()
        return True

    def get_nodes(self) -> set[Node]:
        return set(self.members)

    def get_node(self, key: Any) -> Node | None:
        """The node of this name (or id), or None."""
        for n in self.members:
            if (n.id() if isinstance(key, int) else n.name()) == key:
                return n
        return None

    def node_called(self, name: str) -> Node:
        """As get_node, but a name that there is not is refused."""
        found = self.get_node(name)
        if found is None:
            raise GraphViewError(f"graph {self._name!r} has no node {name!r}")
        return found

    def in_view(self, key: Any) -> bool:
        return key in self.members if isinstance(key, Node) else self.get_node(key) is not None

    def get_ordered_nodes(self, reversed: bool = False) -> list[Node]:
        """All nodes, each after those that feed it; reversed, each after those that it feeds."""
        return self._order(_readers if reversed else _parents)

    def execution_order(self) -> list[Node]:
        return self._order(_parents)

    def _order(self, before: Callable[[Node], list[Node]]) -> list[Node]:
        """The nodes, each behind those of the graph that `before` gives for it."""
        done: dict[Node, None] = {}
        state: dict[Node, int] = {}
        for start in sorted(self.members, key=lambda n: n.type() == "Producer"):
            stack = [(start, False)]
            while stack:
                node, fed = stack.pop()
                if fed:
                    state[node] = 2
                    done[node] = None
                elif state.get(node, 0) == 0:
                    state[node] = 1
                    stack.append((node, True))
                    for other in reversed(before(node)):
                        if other in self.members:
                            if state.get(other, 0) == 1:
                                raise GraphViewError(
                                    f"the graph has a cycle through node {other.name()!r}: it cannot "
                                    f"be put in execution order"
                                )
                            stack.append((other, False))
        return list(done)

    # ---- inputs and outputs -------------------------------------------------------------------------------

    def free_inputs(self, mandatory: bool) -> list[Port]:
        found = []
        for n in self.members:
            for k, p in enumerate(n.sources):
                if p is None or p[0] not in self.members:
                    if not mandatory or n.operator.is_graph_input(k) or p is not None:
                        found.append(Port(n, k))
        return found

    def get_ordered_inputs(self) -> list[Port]:
        """The (node, input) pairs that `data` fills, in order."""
        free = self.free_inputs(mandatory=True)
        if self.chosen_inputs is None:
            return free
        chosen = [i for i in self.chosen_inputs if i in self.free_inputs(mandatory=False)]
        return chosen + [i for i in free if i not in chosen]

    get_mandatory_inputs = get_ordered_inputs

    def inputs(self, name: str | None = None) -> list[Port]:
        """What feeds the graph's inputs, or those of the node of this name."""
        if name is not None:
            return self.node_called(name).inputs()
        return [p.node.input(p.index) for p in self.get_ordered_inputs()]

    get_inputs = inputs

    def get_ordered_outputs(self) -> list[Port]:
        """The (node, output) pairs that nothing in the graph reads."""
        found = [
            Port(n, k)
            for n in self.members
            if n.type() != "Producer"
            for k, children in enumerate(n.readers)
            if n.operator.output_names[k] not in SECONDARY and not any(c in self.members for c, _ in children)
        ]
        if self.chosen_outputs is None:
            return found
        chosen = [o for o in self.chosen_outputs if o[0] in self.members]
        return chosen + [o for o in found if o not in chosen]

    def outputs(self, name: str | None = None) -> Any:
        """Who reads the graph's outputs, a list for each, or those of the node of this name."""
        if name is not None:
            return self.node_called(name).outputs()
        return [p.node.output(p.index) for p in self.get_ordered_outputs()]

    get_outputs = outputs

    def set_ordered_inputs(self, inputs: Sequence[Any]) -> None:
        ports = [Port(*i) for i in inputs]
        free = self.free_inputs(mandatory=False)
        for k, port in enumerate(ports):
            if port not in free or port in ports[:k]:
                name = port.node.name() if port.node is not None else None
                raise GraphViewError(
                    f"set_ordered_inputs: input {port.index} of node {name!r} is unknown or given twice"
                )
        self.chosen_inputs = ports
        edited()

    def set_ordered_outputs(self, outputs: Sequence[Any], ignore_missing: bool = False) -> None:
        self.chosen_outputs = [Port(o[0], o[1]) for o in outputs]
        edited()

    def entry(self, port: Any) -> Port:
        """Where a parent of this graph connects: (node, input)."""
        if isinstance(port, tuple | list | Port):
            return Port(port[0], port[1])
        free = self.get_ordered_inputs()
        if not free:
            raise GraphViewError(f"graph {self._name!r} has no free data input")
        return free[0]

    # ---- connecting ---------------------------------------------------------------------------------------

    def add_child(
        self, to_other_node: Any, from_out_node: Any = None, from_tensor: int = 0, to_tensor: Any = FREE
    ) -> None:
        """Connect an output of the graph (its only one, unless from_out_node says which) to a node or a graph."""
        self.connect(to_other_node, from_out_node, from_tensor, to_tensor)
        self.add(to_other_node)

    def connect(self, other: Any, from_out_node: Any = None, from_tensor: int = 0, to_tensor: Any = FREE) -> None:
        """As add_child, but the other stays outside."""
        if from_out_node is None:
            outs = self.get_ordered_outputs()
            if len(outs) != 1:
                raise GraphViewError(
                    f"graph {self._name!r} has {len(outs)} outputs; say with from_out_node which is connected"
                )
            from_out_node, from_tensor = outs[0]
        elif isinstance(from_out_node, str):
            from_out_node = self.node_called(from_out_node)
        from_out_node.add_child(other, from_tensor, to_tensor)

    def add_parent(
        self, new_parent: Node, input_node: Any = None, input_idx: int = 0, parent_output_idx: int = FREE
    ) -> None:
        node, k = (input_node, input_idx) if input_node is not None else self.entry(None)
        new_parent.add_child(node, 0 if parent_output_idx == FREE else parent_output_idx, k)
        self.add(new_parent)

    def insert_parent(
        self,
        child_node: Node,
        new_parent_node: Node,
        child_input_tensor_idx: int,
        new_parent_input_tensor_idx: int,
        new_parent_output_tensor_idx: int,
    ) -> None:
        """Put a node in front of an input."""
        old = child_node.sources[child_input_tensor_idx]
        if old:
            old[0].add_child(new_parent_node, old[1], new_parent_input_tensor_idx)
        new_parent_node.add_child(child_node, new_parent_output_tensor_idx, child_input_tensor_idx)
        self.add(new_parent_node)

    def insert_child(
        self,
        parent_node: Node,
        new_child_node: Node,
        parent_output_tensor_idx: int,
        new_child_input_tensor_idx: int,
        new_child_output_tensor_idx: int,
    ) -> None:
        """Put a node behind an output, in front of all that read it."""
        readers = list(parent_node.readers[parent_output_tensor_idx])
        parent_node.add_child(new_child_node, parent_output_tensor_idx, new_child_input_tensor_idx)
        for n, k in readers:
            new_child_node.add_child(n, new_child_output_tensor_idx, k)
        self.add(new_child_node)

    @staticmethod
    def replace(old: Any, new: Any, ignore_new_outputs: bool = False) -> bool:
        """Put other nodes in the place of some, in every graph that has all of these: inputs and outputs correspond
        by their order.  False, and nothing is changed, where they do not fit.

        old, new: nodes, or GraphViews, which keep their own nodes.
        """
        olds, news = (g if isinstance(g, GraphView) else _loose(g) for g in (old, new))
        first, *others = olds.members
        within = [v for v in first.views if v is not old and v is not new and all(v in n.views for n in others)]
        old_ins, new_ins = olds.get_ordered_inputs(), news.get_ordered_inputs()
        old_outs = [
            (n, k) for n in olds.members for k, c in enumerate(n.readers) if any(r not in olds.members for r, _ in c)
        ] or olds.get_ordered_outputs()
        new_outs = news.get_ordered_outputs()
        if news.members and (len(new_outs) < len(old_outs) or len(new_ins) > len(old_ins)):
            return False
        sources = [n.sources[k] for n, k in old_ins]
        readers = [[(r, i) for r, i in n.readers[k] if r not in olds.members] for n, k in old_outs]
        if not news.members and (len(sources) != 1 or sources[0] is None or len(old_outs) != 1):
            return False
        for view in within:
            for n in olds.members:
                if n not in news.members:
                    view.remove(n, include_attached_producers=False)
        for (n, k), source in zip(new_ins, sources, strict=False):
            if source:
                source[0].add_child(n, source[1], k)
        starts = new_outs if news.members else [sources[0]]
        for (n, k), behind in zip(starts, readers, strict=False):
            for r, i in behind:
                n.add_child(r, k, i)
        for view in within:
            view.add(list(news.members))
        return True

    def __call__(self, connectors: Any) -> Connector:
        items = connectors if isinstance(connectors, list | tuple) else [connectors]
        for (n, k), c in zip(self.get_ordered_inputs(), items, strict=False):
            if c.node() is not None:
                c.node().add_child(n, c.index(), k)
        (node, k), *_ = self.get_ordered_outputs()
        return Connector(node)[k]

    # ---- clones -------------------------------------------------------------------------------------------

    def _cloned(self, shared: Any) -> GraphView:
        copies = {n: n if shared(n) else n.clone() for n in self.members}
        for n, copy in copies.items():
            if copy is not n:
                for k, p in enumerate(n.sources):
                    if p and p[0] in copies:
                        copies[p[0]].add_child(copy, p[1], k)
        view = GraphView(self._name)
        for copy in copies.values():
            view.members[copy] = None
            copy.views.append(view)
        for mine, theirs in ((self.chosen_inputs, "chosen_inputs"), (self.chosen_outputs, "chosen_outputs")):
            setattr(view, theirs, mine and [Port(copies[n], k) for n, k in mine if n in copies])
        edited()
        return view

    def clone(self) -> GraphView:
        """A deep copy: nodes, connections inside the graph, and the Producers' tensors."""
        return self._cloned(lambda n: False)

    def clone_shared_producers(self) -> GraphView:
        return self._cloned(lambda n: n.type() == "Producer")

    def clone_shared_operators(self) -> GraphView:
        """Nodes of their own that share the operators, and so tensors, attributes and settings."""
        view = self._cloned(lambda n: False)
        for mine, copy in zip(self.members, view.members, strict=True):
            copy.operator = mine.operator
        return view

    # ---- backend, dtype, shapes ---------------------------------------------------------------------------

    def set_backend(self, backend: Any, device: int = 0) -> tuple[str, int] | None:
        """Where the graph runs: "cpu", "jax", "numpy", or "cuda" where there is a GPU; of a list of (backend, device)
        the first, which is then returned.

        Raises MissingBackend (a RuntimeError) naming the backends there are.
        """
        listed = isinstance(backend, list | tuple)
        if listed:
            backend, device = backend[0] if isinstance(backend[0], list | tuple) else (backend[0], device)
        place_of(backend, device)
        for n in self.members:
            n.get_operator().set_backend(backend, device)
        return (backend, device) if listed else None

    def set_backends(
        self, backends: Sequence[tuple[str, int]], allow_default_impl: bool = True, check_available_specs: bool = False
    ) -> bool:
        self.set_backend(backends)
        return True

    def set_datatype(self, datatype: Any) -> None:
        """The floating dtype of every tensor; Producers are converted."""
        for n in self.members:
            if n.type() != "Producer" or n.get_operator().get_output(0).cell.dtype.kind not in "iub":
                n.get_operator().set_datatype(datatype)

    def set_device(self, device: int) -> None:
        for n in self.members:
            n.get_operator().set_device(device)

    def set_dataformat(self, dataformat: Any) -> None:
        for n in self.members:
            n.get_operator().set_dataformat(dataformat)

    def forward_dims(self, dims: Sequence[Sequence[int]] = (), allow_data_dependency: Any = False) -> bool:
        """Find the shape of every tensor, given those of the inputs.  False where some are unknown.

        Raises GraphViewError naming the node whose inputs do not fit.
        """
        shapes = [tuple(int(k) for k in d) for d in dims]
        return node_by_node.forward_dims(self, shapes) if node_by_node.is_opaque(self) else forward_dims(self, shapes)

    def forward_dtype(self, dtypes: Any = ()) -> bool:
        return True

    def compile(self, backend: str, datatype: Any, device: int = 0, dims: Sequence[Sequence[int]] = ()) -> None:
        """set_backend, set_datatype and forward_dims in one."""
        self.set_backend(backend, device)
        self.set_datatype(datatype)
        self.forward_dims(dims)

    def save(self, path: str, verbose: bool = False, show_producers: bool = True) -> None:
        """Write a Mermaid diagram to <path>.mmd."""
        write_flowchart(path, self, show_producers)


def _loose(nodes: Iterable[Node]) -> GraphView:
    """A view of nodes that leaves no trace in them."""
    view = GraphView()
    view.members = dict.fromkeys(nodes)
    return view
