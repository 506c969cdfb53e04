"""Floating-point graph -> the same graph on grids: what quantization-aware training trains.

    q = convert(graph, bits(4))
    q = calibrate(q, batches)

Each weight goes through one FakeQuantize, each tensor between layers through another, each bias is rounded to the
product of the steps that its sum has.  Everything that a later pass needs stands in these nodes.

In an analog graph (aidgejax.analog) the tiles stay as they are, with their noise: what is quantized is the digital
periphery, that is what tiles read and give, and the layers that are not analog.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from ..analog import AnalogLayer, noted_layers
from ..analog import layers as analog_layers
from ..arguments import checked_call
from ..errors import GraphError, SettingError
from ..graph import Graph, Node, Value
from ..interpreter.shape_inference import infer_shapes
from ..passes.edit import renamed
from ..passes.fold_batchnorm import fold_batchnorm
from ..passes.integer_products import PRODUCTS
from .exact_pools import with_exact_pools
from .notes import noted, restored
from .scheme import Grid, Scheme
from .sites import LAYERS, Site, Sites, named_layers, weight_axis
from .steps import weight_step

Specific = Mapping[str, Scheme | None] | Callable[[str, Node, Scheme], Scheme | None]
FIRST_RANGE = 4.0  # of an activation before it is calibrated


@dataclass(frozen=True)
class Layer:
    """A quantized layer: its node, and the FakeQuantize nodes of its weight and of its input (or of its two inputs)."""

    node: Node
    weight: Node
    input: Node | None

    @property
    def name(self) -> str:
        return self.node.name


@checked_call
def convert(
    graph: Graph, scheme: Scheme | None = None, *, exclude: Iterable[str] | str = (), specific: Specific | None = None
) -> Graph:
    """The graph on the grids of a scheme (default: 8 bits), BatchNormalization folded first.

    exclude: layers that stay in floating point; specific: {layers: their scheme, None to leave them}, or a function
    (name, node, scheme) -> scheme.  Layers are meant by name, by a pattern ("block*"), or in the language of
    aidgejax.matches ("Conv->Relu").
    Weights' steps are those of least squared error; those of activations wait for `calibrate`.  A new parameter is
    called after its tensor: `<tensor>.step`, `<tensor>.zero`.
    Raises GraphError for names that mean nothing, and where there is no layer to quantize.
    """
    scheme = Scheme() if scheme is None else scheme
    if not isinstance(scheme, Scheme):
        raise SettingError(f"convert was given {str(scheme)[:60]!r}, expected a quant.Scheme, such as quant.bits(4)")
    graph = fold_batchnorm(infer_shapes(graph))
    if any(n.op == "FakeQuantize" for n in restored(graph).nodes):
        raise GraphError(f"graph {graph.name!r} is quantized already: convert the floating-point graph")
    if any(n.op in ("QuantizeLinear", "QLinearConv", "QLinearMatMul", "Quant") for n in graph.nodes):
        raise GraphError(f"graph {graph.name!r} arrived quantized: quant.from_qdq makes one of it that trains on")
    pools: dict[str, Scheme] = {}
    if scheme.shifts:
        graph, pools = with_exact_pools(graph, scheme)
    tiles = analog_layers(graph)
    if isinstance(specific, Mapping):
        for k, own in specific.items():
            if own is not None and not isinstance(own, Scheme):
                raise SettingError(f"specific {k!r}: got {own!r}, expected a quant.Scheme, or None to leave the layer")
        chosen = {n: s for k, s in specific.items() for n in _named(graph, tiles, k, "specific")}
        specific = lambda name, node, usual: chosen.get(name, usual)
    elif specific is not None:
        specific = _asked(specific)
    sites = Sites(graph, scheme, _named(graph, tiles, exclude, "exclude"), specific, pools, tiles)
    if not sites.layers and not sites.of_tiles:
        held = sorted({n.op for n in graph.nodes if n.op in PRODUCTS})
        raise GraphError(
            f"graph {graph.name!r} has no layer to quantize: no {', '.join(LAYERS)} with a weight that it holds"
            f"{f'; its {held[0]} holds integers already, see quant.from_qdq' if held else ''}"
        )
    converter = _Converter(graph, sites, scheme)
    copy = converter.run()
    if tiles:
        copy.metadata |= noted_layers(tuple(replace(t, node=converter.moved(t.node)) for t in tiles))
    return noted(infer_shapes(copy.check()), scheme=asdict(scheme))


def _asked(specific: Any) -> Callable[[str, Node, Scheme], Scheme | None]:
    """The user's function, whose answers are looked at."""
    wanted = "expected {layer: scheme}, or a function (name, node, scheme) -> scheme"
    if not callable(specific):
        raise SettingError(f"specific is {str(specific)[:60]!r}: {wanted}")

    def asked(name: str, node: Node, usual: Scheme) -> Scheme | None:
        own = specific(name, node, usual)
        if own is not None and not isinstance(own, Scheme):
            raise SettingError(f"specific gave {str(own)[:60]!r} for layer {name!r}: expected a quant.Scheme, or None")
        return own

    return asked


def _named(graph: Graph, tiles: Iterable[AnalogLayer], names: Iterable[str] | str, what: str) -> set[str]:
    """The layers that are meant; analog ones by the name that they had before."""
    given = {names} if isinstance(names, str) else set(names) if isinstance(names, Iterable) else {names}
    strange = [n for n in given if not isinstance(n, str)]
    if strange:
        raise SettingError(f"{what} names {strange[0]!r}: expected names of layers, patterns or queries")
    analog = given & {t.node.name for t in tiles}
    return analog | named_layers(graph, given - analog, what)


class _Converter:
    def __init__(self, graph: Graph, sites: Sites, scheme: Scheme) -> None:
        self.old, self.sites, self.scheme = graph, sites, scheme
        self.new = graph.copy()
        self.new.nodes = []
        self.steps: dict[str, Value] = {}  # {tensor on a grid: its step}
        self.weights: dict[tuple[str, Any], tuple[str, Value]] = {}
        self.names: dict[str, str] = {}  # {tensor: what its readers read now}
        self.raw: dict[str, str] = {}  # {output of the graph: what its node writes now, before it is quantized}

    def run(self) -> Graph:
        grids = {t: (site, *self._grid(site, t)) for site in self.sites.sites() for t in site.tensors}
        producers = {i for n in self.old.nodes for i in n.input_names}
        for t in self.old.inputs:
            if t in grids:
                self._quantize(t, *grids[t])
        for node in self.old.nodes:
            moved = renamed(node, {i: self.names[i] for i in node.input_names if i in self.names})
            raw = {o: self.new.fresh(f"{o}.float") for o in node.output_names if o in grids and o in self.old.outputs}
            self.raw |= raw
            for name in raw.values():
                self.new.values[name] = Value(name, None, None)
            moved = replace(moved, outputs=tuple(raw.get(o, o) if o else o for o in moved.outputs))
            if node.name in self.sites.layers:
                moved = self._layer(node, moved)
            elif self.sites.is_bias(node):
                moved = self._added_bias(node, moved)
            self.new.nodes.append(moved)
            for o in node.output_names:
                if o in grids:
                    self._quantize(o, *grids[o], raw=raw.get(o))
        held = {i for n in self.new.nodes for i in n.input_names} | set(self.new.outputs)
        self.new.producers = {k: p for k, p in self.new.producers.items() if k in held or k not in producers}
        return self.new

    def moved(self, node: Node) -> Node:
        """The node of an analog layer, reading and writing what it does now."""
        return renamed(
            node.replace(outputs=tuple(self.raw.get(o, o) for o in node.output_names)),
            {i: self.names[i] for i in node.input_names if i in self.names},
        )

    # ---- between layers -------------------------------------------------------------------------------

    def _grid(self, site: Site, tensor: str) -> tuple[Grid, Scheme, bool]:
        """What a site's tensors are rounded to: as fine as the layer that asks for most; 8 bits where none asks."""
        unsigned = all(self.sites.never_negative(t) for t in (site.tensors if site.same_levels else [tensor]))
        if not site.wishes:
            grid = self.scheme.activations
            return replace(grid, bits=max(8, grid.bits)), self.scheme, unsigned
        most = max(site.wishes, key=lambda s: s.activations.bits)
        return most.activations, most, unsigned

    def _quantize(
        self, tensor: str, site: Site, grid: Grid, scheme: Scheme, unsigned: bool, raw: str | None = None
    ) -> None:
        first = site.tensors[0]
        low, high = grid.levels(unsigned)
        pact = scheme.method in ("pact", "sat", "dorefa") and unsigned
        asymmetric = (not grid.symmetric or scheme.method == "lsq+") and not unsigned
        if first not in self.steps:
            start = np.float32(1.0 / high if scheme.method == "dorefa" and pact else FIRST_RANGE / high)
            learned = scheme.learned and not (scheme.method == "dorefa" and pact)
            self.steps[first] = self._step(f"{first}.step", np.asarray(start, np.float32), learned, scheme)
        if asymmetric and f"{first}.zero" not in self.new.producers:
            role = "parameter" if scheme.method == "lsq+" and scheme.learned else "constant"
            self.new.producer(f"{first}.zero", np.asarray(0, np.float32), role)
        written = tensor if raw else self.new.fresh(f"{tensor}.quant")
        self.new.values.pop(written, None)
        zero = f"{first}.zero" if asymmetric else None
        attrs = {"slope": "pact"} if pact and scheme.method != "dorefa" else {}
        inputs = [raw or tensor, self.steps[first], zero, low, high]
        (y,) = self.new.add("FakeQuantize", inputs, attrs, names=[written], name=self.new.fresh(f"{tensor}/quantize"))
        self.names[tensor] = y.name
        self.steps[y.name] = self.steps[first]

    def _step(self, name: str, start: np.ndarray, learned: bool, scheme: Scheme) -> Value:
        step = self.new.producer(self.new.fresh(name), start, "parameter" if learned else "constant")
        if not scheme.shifts:
            return step
        scale = name.removesuffix(".step") + ".scale"
        self.new.add("PowerOfTwo", [step], names=[scale], name=self.new.fresh(f"{name}/power_of_two"))
        return Value(scale, step.shape, step.dtype)

    # ---- layers ---------------------------------------------------------------------------------------

    def _layer(self, node: Node, moved: Node) -> Node:
        scheme = self.sites.layers[node.name]
        inputs = list(moved.inputs)
        if node.inputs[1] not in self.old.producers:  # a product of two activations
            return moved
        inputs[1], step = self._weight(node, scheme)
        bias = inputs[2] if node.op != "MatMul" and len(inputs) > 2 else None
        if bias is not None and not self._in_blocks(step, node):
            inputs[2] = self._bias(node, bias, self._input_step(node), step)
        return replace(moved, inputs=tuple(inputs))

    def _input_step(self, node: Node) -> Value:
        return self.steps[self.names.get(root := self.sites.root(node.inputs[0]), root)]

    def _added_bias(self, node: Node, moved: Node) -> Node:
        (data,) = (i for i in node.input_names if i not in self.sites.known)
        layer = self.sites.writer[data]
        (at,) = (k for k, i in enumerate(node.inputs) if i != data)
        _, step = self._weight(layer, self.sites.layers[layer.name])
        if self._in_blocks(step, layer):
            return moved
        inputs = list(moved.inputs)
        inputs[at] = self._bias(layer, inputs[at], self._input_step(layer), step)
        return replace(moved, inputs=tuple(inputs))

    def _weight(self, node: Node, scheme: Scheme) -> tuple[str, Value]:
        """(quantized weight, its step); layers that share a weight and a grid share both."""
        name = node.inputs[1]
        axis = weight_axis(self.old, node)
        key = (name, (scheme.weights, scheme.step, scheme.method, axis))
        if key in self.weights:
            return self.weights[key]
        data = self.old.producers[name].data
        low, high = scheme.weights.levels()
        shape = _step_shape(scheme.weights, data.shape, axis)
        stem = name if (name, None) not in self.weights else self.new.fresh(f"{name}.{node.name}")
        self.weights[name, None] = ("", Value(""))
        source: Any = name
        op = self.new.op
        if scheme.method in ("dorefa", "sat"):
            low = -high
            clamped, _ = op.TanhClamp(name, outputs=2, name=f"{stem}/clamp")
            start = np.asarray(1.0 / high, np.float32)
            step = self.new.constant(self.new.fresh(f"{stem}.step"), start)
            source = clamped
            if scheme.method == "sat":
                source, spread = op.ScaleAdjust(clamped, outputs=2, name=f"{stem}/adjust")
                step = op.Div(step, op.Reshape(spread, ()), name=f"{stem}/adjusted")
            if scheme.shifts:
                step = op.PowerOfTwo(step, name=f"{stem}/power_of_two")
            step = Value(step.name, (), "float32")
        else:
            start = weight_step(data, shape, low, high, shifts=scheme.shifts)
            learned = scheme.learned and node.name not in self.sites.fixed
            step = self._step(f"{stem}.step", start, learned, scheme)
        zero = None
        if not scheme.weights.symmetric and scheme.method not in ("dorefa", "sat"):
            zero = self.new.producer(self.new.fresh(f"{stem}.zero"), np.zeros(shape, np.float32), "parameter")
        quantized = self.new.fresh(f"{stem}.quant")
        self.new.add("FakeQuantize", [source, step, zero, low, high], names=[quantized], name=f"{stem}/quantize")
        self.weights[key] = quantized, step
        return self.weights[key]

    def _bias(self, node: Node, bias: str, of_input: Value, of_weight: Value) -> str:
        if bias not in self.old.producers or self.old.producers[bias].data.size not in (1, self._channels(node)):
            return bias
        op = self.new.op
        flat = of_weight if of_weight.shape == () else op.Reshape(of_weight, (-1,), name=f"{bias}/steps")
        step = op.Mul(of_input, flat, name=self.new.fresh(f"{bias}/step"))
        return op.RoundTo(bias, step, name=self.new.fresh(f"{bias}/round")).name

    def _in_blocks(self, step: Value, node: Node) -> bool:
        """Has a channel several steps, so that its sums are on no grid?"""
        count = 1
        for n in step.shape or ():
            count *= n if isinstance(n, int) else 1
        return count != 1 and count != self._channels(node)

    def _channels(self, node: Node) -> int:
        shape = self.old.producers[node.inputs[1]].data.shape
        if node.op == "ConvTranspose":
            return shape[1] * node.attrs.get("group", 1)
        axis = weight_axis(self.old, node)
        return shape[axis] if axis is not None else shape[-1]


def _step_shape(grid: Grid, shape: tuple[int, ...], axis: int | None) -> tuple[int, ...]:
    if grid.per == "tensor" or axis is None:
        return ()
    sizes = [n if k == axis else 1 for k, n in enumerate(shape)]
    if grid.per == "block" and len(shape) == 2:
        other = 1 - axis
        sizes = [n if k != other else -(-n // grid.block) for k, n in enumerate(shape)]
    return tuple(sizes)


# ---- reading what is there ----------------------------------------------------------------------------


@checked_call
def layers(graph: Graph) -> tuple[Layer, ...]:
    """The quantized layers of a graph, in order."""
    graph = restored(graph)
    writer = graph.writer()
    found = []
    for node in graph.nodes:
        weight = writer.get(node.inputs[1]) if node.op in LAYERS and isinstance(node.inputs[1], str) else None
        if weight is not None and weight.op == "FakeQuantize":
            found.append(Layer(node, weight, quantizer_of(writer, node.inputs[0])))
    return tuple(found)


def quantizer_of(writer: Mapping[str, Node], tensor: str) -> Node | None:
    """The FakeQuantize that gives a tensor its grid."""
    node = writer.get(tensor)
    while node is not None and node.op != "FakeQuantize":
        nexts = [writer.get(i) for i in node.input_names[:1]]
        node = nexts[0] if nexts else None
    return node


@checked_call
def step_names(graph: Graph) -> tuple[str, ...]:
    """The parameters that are steps."""
    graph = restored(graph)
    params, writer = graph.params, graph.writer()
    found: dict[str, None] = {}
    for node in graph.nodes:
        if node.op == "FakeQuantize":
            step = node.inputs[1]
            while step in writer:
                step = writer[step].inputs[0]
            if step in params:
                found[step] = None
    return tuple(found)
