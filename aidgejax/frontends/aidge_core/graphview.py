"""aidge_core.GraphView: a set of nodes, what goes into it and what comes out, and the ways to build one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ._errors import GraphViewError, OrderError, TensorTypeError
from .attributes import edited
from .backends import place_of
from .node import FREE, Connector, Node, unique_name
from .operator import InputCategory

SECONDARY = ("indices_output", "mask_output")  # outputs that are no outputs of a graph unless somebody says so

Port = tuple[Node, int]


class GraphView:
    """Nodes in the order in which they were added; execution follows the connections."""

    def __init__(self, name: str = "") -> None:
        self._name = name
        self._nodes: dict[Node, None] = {}
        self._inputs: list[Port] | None = None
        self._outputs: list[Port] | None = None

    def name(self) -> str:
        return self._name

    def set_name(self, name: str) -> None:
        self._name = str(name)

    def __len__(self) -> int:
        return len(self._nodes)

    def __repr__(self) -> str:
        return f"GraphView(name = '{self._name}', {len(self._nodes)} nodes)"

    # ---- members ----------------------------------------------------------------------------------------

    def add(self, other: Any, include_attached_producers: bool = True) -> GraphView:
        """Add a node, nodes, or another graph.  A name that is taken gets _1, _2 ... appended.  Returns the graph."""
        if isinstance(other, GraphView):
            if other._outputs is not None and not self._nodes:
                self._outputs = list(other._outputs)
            other = list(other._nodes)
        for node in [other] if isinstance(other, Node) else list(other):
            if not isinstance(node, Node):
                raise TensorTypeError(f"a GraphView holds Nodes, got {type(node).__name__}")
            feeding = [p[0] for p in node._parents if p and p[0].type() == "Producer"]
            for member in [node, *(feeding if include_attached_producers else [])]:
                if member not in self._nodes:
                    self._rename(member)
                    self._nodes[member] = None
                    member._views.append(self)
        edited()
        return self

    def _rename(self, node: Node) -> None:
        taken = {n.name() for n in self._nodes}
        if node.name() and node.name() in taken:
            node.set_name(unique_name(node.name(), taken))

    def remove(self, node: Node, include_attached_producers: bool = True) -> bool:
        if node not in self._nodes:
            return False
        members = [node]
        if include_attached_producers:
            members += [
                p[0]
                for p in node._parents
                if p
                and p[0].type() == "Producer"
                and all(c is node or c not in self._nodes for c in p[0].get_children())
            ]
        for m in members:
            if m in self._nodes:
                del self._nodes[m]
                m._views.remove(self)
        edited()
        return True

    def get_nodes(self) -> set[Node]:
        return set(self._nodes)

    def get_node(self, key: Any) -> Node | None:
        """The node of this name (or id), or None."""
        for n in self._nodes:
            if (n.id() if isinstance(key, int) else n.name()) == key:
                return n
        return None

    def in_view(self, key: Any) -> bool:
        return key in self._nodes if isinstance(key, Node) else self.get_node(key) is not None

    def get_ordered_nodes(self, reversed: bool = False) -> list[Node]:
        """All nodes, each after those that feed it."""
        order = self._execution_order()
        return order[::-1] if reversed else order

    def get_ranked_nodes(self) -> tuple[list[Node], int]:
        order = self._execution_order()
        return order, len(order)

    def _execution_order(self) -> list[Node]:
        done: dict[Node, None] = {}
        state: dict[Node, int] = {}
        for start in self._nodes:
            stack = [(start, False)]
            while stack:
                node, fed = stack.pop()
                if fed:
                    state[node] = 2
                    done[node] = None
                elif state.get(node, 0) == 0:
                    state[node] = 1
                    stack.append((node, True))
                    for p in node._parents[::-1]:
                        if p and p[0] in self._nodes:
                            if state.get(p[0], 0) == 1:
                                raise GraphViewError(
                                    f"the graph has a cycle through node {p[0].name()!r}: it cannot "
                                    f"be put in execution order"
                                )
                            stack.append((p[0], False))
        return list(done)

    # ---- inputs and outputs -------------------------------------------------------------------------------

    def _free_inputs(self, mandatory: bool) -> list[Port]:
        found = []
        for n in self._nodes:
            for k, p in enumerate(n._parents):
                if p is None or p[0] not in self._nodes:
                    category = n._op.input_category(k)
                    if (
                        not mandatory
                        or (category & InputCategory.Data and not category & InputCategory.Optional)
                        or (p is not None)
                    ):
                        found.append((n, k))
        return found

    def get_ordered_inputs(self) -> list[Port]:
        """The (node, input) pairs that `data` fills, in order."""
        free = self._free_inputs(mandatory=True)
        if self._inputs is None:
            return free
        chosen = [i for i in self._inputs if i in self._free_inputs(mandatory=False)]
        return chosen + [i for i in free if i not in chosen]

    get_mandatory_inputs = get_ordered_inputs

    def inputs(self, name: str | None = None) -> list[Port]:
        return self._free_inputs(mandatory=False) if name is None else self.get_node(name).inputs()

    get_inputs = inputs

    def get_ordered_outputs(self) -> list[Port]:
        """The (node, output) pairs that nothing in the graph reads."""
        found = [
            (n, k)
            for n in self._nodes
            if n.type() != "Producer"
            for k, children in enumerate(n._children)
            if n._op._output_names[k] not in SECONDARY and not any(c in self._nodes for c, _ in children)
        ]
        if self._outputs is None:
            return found
        chosen = [o for o in self._outputs if o[0] in self._nodes]
        return chosen + [o for o in found if o not in chosen]

    def outputs(self, name: str | None = None) -> Any:
        return self.get_ordered_outputs() if name is None else self.get_node(name).outputs()

    get_outputs = outputs

    def get_output_nodes(self) -> set[Node]:
        return {n for n, _ in self.get_ordered_outputs()}

    def get_input_nodes(self, filter: Any = InputCategory.All) -> set[Node]:
        return {n for n, _ in self.get_ordered_inputs()}

    def get_nb_inputs(self) -> int:
        return len(self.get_ordered_inputs())

    def get_nb_outputs(self) -> int:
        return len(self.get_ordered_outputs())

    def set_ordered_inputs(self, inputs: Sequence[Port]) -> None:
        self._inputs = [tuple(i) for i in inputs]
        edited()

    def set_ordered_outputs(self, outputs: Sequence[Port], ignore_missing: bool = False) -> None:
        self._outputs = [(o[0], o[1]) for o in outputs]
        edited()

    def _entry(self, port: Any) -> tuple[Node, int]:
        """Where a parent of this graph connects: (node, input)."""
        if isinstance(port, tuple | list):
            return port[0], port[1]
        free = self.get_ordered_inputs()
        if not free:
            raise GraphViewError(f"graph {self._name!r} has no free data input")
        return free[0]

    # ---- connecting ---------------------------------------------------------------------------------------

    def add_child(
        self, to_other_node: Any, from_out_node: Any = None, from_tensor: int = 0, to_tensor: Any = FREE
    ) -> None:
        """Connect an output of the graph (its only one, unless from_out_node says which) to a node or a graph."""
        if from_out_node is None:
            outs = self.get_ordered_outputs()
            if len(outs) != 1:
                raise GraphViewError(
                    f"graph {self._name!r} has {len(outs)} outputs; say with from_out_node which is connected"
                )
            from_out_node, from_tensor = outs[0]
        elif isinstance(from_out_node, str):
            from_out_node = self.get_node(from_out_node)
        from_out_node.add_child(to_other_node, from_tensor, to_tensor)
        self.add(to_other_node)

    def add_parent(
        self, new_parent: Node, input_node: Any = None, input_idx: int = 0, parent_output_idx: int = FREE
    ) -> None:
        node, k = (input_node, input_idx) if input_node is not None else self._entry(None)
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
        old = child_node._parents[child_input_tensor_idx]
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
        readers = list(parent_node._children[parent_output_tensor_idx])
        parent_node.add_child(new_child_node, parent_output_tensor_idx, new_child_input_tensor_idx)
        for n, k in readers:
            new_child_node.add_child(n, new_child_output_tensor_idx, k)
        self.add(new_child_node)

    def replace(self, old: Any, new: Any, ignore_new_outputs: bool = False) -> bool:
        """Put other nodes in the place of some: inputs and outputs correspond by their order."""
        olds, news = (g if isinstance(g, GraphView) else _loose(g) for g in (old, new))
        old_ins, new_ins = olds.get_ordered_inputs(), news.get_ordered_inputs()
        old_outs = [
            (n, k) for n in olds._nodes for k, c in enumerate(n._children) if any(r not in olds._nodes for r, _ in c)
        ] or olds.get_ordered_outputs()
        new_outs = news.get_ordered_outputs()
        if news._nodes and (len(new_outs) < len(old_outs) or len(new_ins) > len(old_ins)):
            return False
        sources = [n._parents[k] for n, k in old_ins]
        readers = [[(r, i) for r, i in n._children[k] if r not in olds._nodes] for n, k in old_outs]
        if not news._nodes and (len(sources) != 1 or sources[0] is None or len(old_outs) != 1):
            return False
        for n in list(olds._nodes):
            if n not in news._nodes:
                self.remove(n, include_attached_producers=False)
        for (n, k), source in zip(new_ins, sources, strict=False):
            if source:
                source[0].add_child(n, source[1], k)
        starts = new_outs if news._nodes else [sources[0]]
        for (n, k), behind in zip(starts, readers, strict=False):
            for r, i in behind:
                n.add_child(r, k, i)
        self.add(list(news._nodes))
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
        twins = {n: n if shared(n) else n.clone() for n in self._nodes}
        for n, twin in twins.items():
            if twin is not n:
                for k, p in enumerate(n._parents):
                    if p and p[0] in twins:
                        twins[p[0]].add_child(twin, p[1], k)
        view = GraphView(self._name)
        for twin in twins.values():
            view._nodes[twin] = None
            twin._views.append(view)
        moved = lambda ports: ports and [(twins[n], k) for n, k in ports if n in twins]  # noqa: E731
        view._inputs, view._outputs = moved(self._inputs), moved(self._outputs)
        edited()
        return view

    def clone(self) -> GraphView:
        """A deep copy: nodes, connections inside the graph, and the Producers' tensors."""
        return self._cloned(lambda n: False)

    def clone_shared_producers(self) -> GraphView:
        return self._cloned(lambda n: n.type() == "Producer")

    # ---- backend, dtype, shapes ---------------------------------------------------------------------------

    def set_backend(self, backend: Any, device: int = 0) -> None:
        """Where the graph runs: "cpu", "jax", "numpy", or "cuda" where there is a GPU.

        Raises MissingBackend (a RuntimeError) naming the backends there are.
        """
        if isinstance(backend, list | tuple):
            backend, device = backend[0] if isinstance(backend[0], list | tuple) else (backend[0], device)
        place_of(backend, device)
        for n in self._nodes:
            n.get_operator().set_backend(backend, device)

    def set_backends(self, backends: Sequence[tuple[str, int]], **_: Any) -> bool:
        self.set_backend(backends)
        return True

    def set_datatype(self, datatype: Any) -> None:
        """The floating dtype of every tensor; Producers are converted."""
        for n in self._nodes:
            if n.type() != "Producer" or n.get_operator().get_output(0)._kind.kind not in "iub":
                n.get_operator().set_datatype(datatype)

    def set_device(self, device: int) -> None:
        for n in self._nodes:
            n.get_operator().set_device(device)

    def set_dataformat(self, dataformat: Any) -> None:
        for n in self._nodes:
            n.get_operator().set_dataformat(dataformat)

    def forward_dims(self, dims: Sequence[Sequence[int]] = (), allow_data_dependency: Any = False) -> bool:
        """Find the shape of every tensor, given those of the inputs.  False where some are unknown.

        Raises GraphViewError naming the node whose inputs do not fit.
        """
        from .execution import forward_dims

        return forward_dims(self, [tuple(int(k) for k in d) for d in dims])

    def forward_dtype(self, dtypes: Any = ()) -> bool:
        return True

    def compile(self, backend: str, datatype: Any, device: int = 0, dims: Sequence[Sequence[int]] = ()) -> None:
        """set_backend, set_datatype and forward_dims in one."""
        self.set_backend(backend, device)
        self.set_datatype(datatype)
        self.forward_dims(dims)

    def save(self, path: str, verbose: bool = False, show_producers: bool = True) -> None:
        """Write a Mermaid diagram to <path>.mmd."""
        names = {n: f"n{k}" for k, n in enumerate(self._execution_order())}
        lines = ["flowchart TB"]
        for n, key in names.items():
            if show_producers or n.type() != "Producer":
                lines.append(f'    {key}["{n.type()} {n.name()}"]')
                lines += [
                    f"    {key} -->|{k}->{i}| {names[c]}"
                    for k, out in enumerate(n._children)
                    for c, i in out
                    if c in names
                ]
        with open(path if path.endswith(".mmd") else f"{path}.mmd", "w") as f:
            f.write("\n".join(lines) + "\n")


def _loose(nodes: Iterable[Node]) -> GraphView:
    """A view of nodes that leaves no trace in them."""
    view = GraphView()
    view._nodes = dict.fromkeys(nodes)
    return view


# ---- building -----------------------------------------------------------------------------------------------


def _as_items(inputs: Any, what: str) -> list[Node | GraphView]:
    if not isinstance(inputs, list | tuple):
        raise TensorTypeError(f"{what} takes a list of Nodes and GraphViews, got {type(inputs).__name__}")
    for k, item in enumerate(inputs):
        if not isinstance(item, Node | GraphView):
            raise TensorTypeError(f"{what}: item {k} is {item!r}; expected a Node or a GraphView")
    return list(inputs)


def sequential(inputs: Any, name: str = "") -> GraphView:
    """One after the other: the outputs of each are connected to the free data inputs of the next."""
    graph = GraphView(name)
    for item in _as_items(inputs, "sequential"):
        if graph._nodes:
            outs = graph.get_ordered_outputs()
            if isinstance(item, Node):
                for n, k in outs:
                    n.add_child(item, k)
            else:
                ins = item.get_ordered_inputs()
                if len(outs) != len(ins) and len(outs) != 1:
                    raise GraphViewError(
                        f"sequential: {len(outs)} outputs cannot be connected to the {len(ins)} "
                        f"inputs of graph {item.name()!r}"
                    )
                for k, (n, i) in enumerate(ins):
                    source, out = outs[min(k, len(outs) - 1)]
                    source.add_child(n, out, i)
        graph.add(item)
    return graph


def parallel(inputs: Any, name: str = "") -> GraphView:
    """Side by side, not connected."""
    graph = GraphView(name)
    for item in _as_items(inputs, "parallel"):
        graph.add(item)
    return graph


def residual(inputs: Any, name: str = "") -> GraphView:
    """sequential, and an edge from the first item's output to the second data input of the last one (an Add, say)."""
    items = _as_items(inputs, "residual")
    graph = sequential(items, name)
    first, last = items[0], items[-1]
    start, out = (
        (first, 0)
        if isinstance(first, Node)
        else first.get_ordered_outputs()[0]
        if first.get_ordered_outputs()
        else list(first._nodes)[-1:] + [0]
    )
    node = last if isinstance(last, Node) else last.get_ordered_inputs()[0][0]
    try:
        k = node._first_free_input()
    except GraphViewError:
        raise GraphViewError(
            f"residual: the last item, node {node.name()!r} ({node.type()}), has no free data input "
            f"for the edge from {start.name()!r}; end with an Add, say"
        ) from None
    start.add_child(node, out, k)
    return graph


def get_connected_graph_view(node: Node) -> GraphView:
    """All nodes that are connected with this one, directly or not."""
    if not isinstance(node, Node):
        raise TensorTypeError(f"get_connected_graph_view takes a Node, got {type(node).__name__}")
    found, waiting = {node: None}, [node]
    while waiting:
        n = waiting.pop(0)
        around = [p[0] for p in n._parents if p] + [c for out in n._children for c, _ in out]
        for other in around:
            if other not in found:
                found[other] = None
                waiting.append(other)
    view = GraphView()
    view._nodes = dict(found)
    order = view._execution_order()
    view._nodes = {}
    return view.add(order)


def generate_graph(output_connectors: Sequence[Connector]) -> GraphView:
    """The graph that computes these Connectors, whose outputs are they, in this order."""
    view, outs = GraphView(), []
    for c in output_connectors:
        if c.node() is None:
            raise GraphViewError("generate_graph: a Connector without a node computes nothing")
        view.add([n for n in _ancestors(c.node()) if n not in view._nodes])
        outs.append((c.node(), c.index()))
    view.set_ordered_outputs(outs)
    return view


def _ancestors(node: Node) -> list[Node]:
    found, waiting = {node: None}, [node]
    while waiting:
        for p in waiting.pop()._parents:
            if p and p[0] not in found:
                found[p[0]] = None
                waiting.append(p[0])
    view = GraphView()
    view._nodes = found
    return view._execution_order()


def producers(graphview: GraphView, constant: bool = False) -> list[Node]:
    """The Producers, in the order in which the nodes that read them run; with constant=True the constant ones too.

    BatchNorm's running mean and variance are among them, as in Aidge; no optimizer changes them.
    """
    if not isinstance(graphview, GraphView):
        raise TensorTypeError(f"producers(graph): expected a GraphView, got {type(graphview).__name__}")
    return [
        n
        for n in graphview._execution_order()
        if n.type() == "Producer" and (constant or not n.get_operator().attr.constant)
    ]


def set_producers_constant(graph: GraphView, constant: bool = True) -> int:
    found = producers(graph, True)
    for n in found:
        n.get_operator().attr.constant = constant
    return len(found)


def require_backend(view: GraphView) -> str:
    """The backend of the graph's nodes; OrderError where set_backend was forgotten or they disagree."""
    from .backends import available

    found = {n.get_operator()._backend for n in view._nodes if n.type() != "Producer"}
    if None in found or not found:
        bare = next((n for n in view._nodes if n.type() != "Producer" and n.get_operator()._backend is None), None)
        where = f"node {bare.name()!r} ({bare.type()})" if bare else "the graph"
        raise OrderError(
            f"{where} has no backend: call set_backend first; available backends: {', '.join(available())}"
        )
    if len(found) > 1:
        raise GraphViewError(
            f"the nodes of this graph are on different backends: {', '.join(sorted(found))}; "
            f"call set_backend on the whole graph"
        )
    return found.pop()
