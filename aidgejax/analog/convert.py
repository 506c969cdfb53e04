"""Any graph becomes analog, and digital again.

    analog = convert_to_analog(graph, config)
    program = make_program(analog, training=True)
    optimizer = with_post_update(optim.sgd(), analog)           # clips and maps weights after each step
    ... train it as any other graph ...
    digital = to_digital(analog, state.params, state.buffers)

Gemm, MatMul with a weight, and Conv nodes become tiles, each with its own range, scales and counters, named after the
node: `fc1.weight`, `fc1.input_range`, ...  Parameters are what is trained; the rest are buffers, so that compiled
epochs update them and checkpoints carry them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ..arguments import takes_graph
from ..dtypes import Arrays
from ..errors import GraphError
from ..graph import Graph, Node, Value
from ..interpreter.shape_inference import infer_shapes
from ..training.optim import Optimizer
from .errors import ConfigError
from .functions import post_update
from .layer import AnalogLayer, Part
from .metadata import KEY, loads, noted_layers
from .settings import Settings, settings
from .tile import Convolution, Linear, declare, tile_arrays, write_parts, write_tile


def layers(graph: Graph) -> tuple[AnalogLayer, ...]:
    """The analog layers of a graph, in order."""
    if "analog" in graph.metadata:
        return graph.metadata["analog"]
    return loads(graph.metadata[KEY]) if KEY in graph.metadata else ()


@takes_graph
def convert_to_analog(
    graph: Graph,
    rpu_config: Any,
    *,
    exclude: Iterable[str] = (),
    specific: Callable[[str, Node, Any], Any] | Mapping[str, Any] | None = None,
    unfold: bool = False,
) -> Graph:
    """The same graph with its Gemm, MatMul-with-weight and Conv nodes as analog tiles.

    rpu_config: one of aidgejax.frontends.aihwkit.simulator.configs.
    exclude: names of nodes, or of their weights, that stay digital.
    specific: another config for some nodes: {node name: config}, or f(name, node, rpu_config) -> config; None: digital.
    unfold: let a convolution's range and noise see its input as aihwkit does, every window of it laid out.  Slower;
        without it each element counts once, and padding not at all.  It is switched on for a layer whose noise or bound
        management, per-sample noise or splitting looks at windows; then each group of a convolution has tiles of its
        own.
    Raises ConfigError naming the field, GraphError for names that do not exist or nothing to convert.
    """
    graph = infer_shapes(graph)
    exclude = set(exclude)
    known = {n.name for n in graph.nodes} | set(graph.producers)
    for name in [*exclude, *(specific if isinstance(specific, Mapping) else ())]:
        if name not in known:
            raise GraphError(
                f"graph {graph.name!r} has no node or weight {name!r} to exclude or configure; its nodes "
                f"are {', '.join(repr(n.name) for n in graph.nodes)}"
            )
    copy = graph.copy()
    copy.nodes, found = [], []
    for node in graph.nodes:
        config = rpu_config
        if isinstance(specific, Mapping):
            config = specific.get(node.name, rpu_config)
        elif specific is not None and _weight_of(graph, node) is not None:
            config = specific(node.name, node, rpu_config)
        weight = _weight_of(graph, node)
        if weight is None or config is None or exclude & {node.name, *node.input_names}:
            copy.nodes.append(node)
            continue
        found.append(_convert(graph, copy, node, weight, settings(config), unfold))
    if not found:
        raise GraphError(f"graph {graph.name!r} has no Gemm, MatMul or Conv node with a weight to convert")
    read = {i for n in copy.nodes for i in n.input_names} | set(copy.outputs)
    replaced = {i for layer in found for i in layer.node.input_names}
    for name in replaced - read:
        copy.producers.pop(name, None)
    copy.metadata |= noted_layers(tuple(found))
    return infer_shapes(copy.check())


def _weight_of(graph: Graph, node: Node) -> np.ndarray | None:
    """The node's weight as f[out, in, ...], where it is one that can be put into a tile."""
    if node.op not in ("Gemm", "MatMul", "Conv") or len(node.inputs) < 2 or node.inputs[1] not in graph.producers:
        return None
    producer = graph.producers[node.inputs[1]]
    if producer.role == "constant" or node.inputs[0] in graph.producers:
        return None
    if node.op == "Gemm" and (node.attrs.get("transA", 0) or node.attrs.get("alpha", 1.0) != 1.0):
        return None
    data = producer.data
    if node.op == "MatMul":
        return data.T if data.ndim == 2 else None
    return data.T if node.op == "Gemm" and not node.attrs.get("transB", 0) else data


def _bias_of(graph: Graph, node: Node, out: int) -> np.ndarray | None:
    if node.op == "MatMul" or len(node.inputs) < 3 or node.inputs[2] is None:
        return None
    name = node.inputs[2]
    if name not in graph.producers:
        raise GraphError(
            f"node {node.name!r} ({node.op}): its bias {name!r} is computed, but a tile holds its own; "
            f"exclude the node, or make the bias a parameter"
        )
    scale = node.attrs.get("beta", 1.0) if node.op == "Gemm" else 1.0
    return np.broadcast_to(graph.producers[name].data.reshape(-1) * scale, out).astype(graph.producers[name].data.dtype)


def _convert(graph: Graph, copy: Graph, node: Node, weight: np.ndarray, s: Settings, unfold: bool) -> AnalogLayer:
    x, y = graph.value(node.input_names[0]), graph.value(node.output_names[0])
    readers = [n.name for n in graph.readers()[node.inputs[1]]]
    if len(readers) > 1:
        raise GraphError(
            f"the weight {node.inputs[1]!r} is shared by nodes {', '.join(map(repr, readers))}, but each "
            f"tile holds its own: exclude it"
        )
    bias = _bias_of(graph, node, len(weight))
    for name in node.input_names[1:]:  # their names may be wanted for the tile's
        if len(graph.readers()[name]) == 1 and name not in graph.outputs:
            copy.producers.pop(name, None)
    prefix = f"{node.name}."
    while any(k.startswith(prefix) for k in [*copy.producers, *copy.inputs]):
        prefix = f"{prefix}tile."
    written = len(copy.nodes)
    out, layer = write_layer(copy, x, y, prefix, s, weight, bias, node, unfold)
    copy.nodes[written:] = [
        Node(
            n.op, n.inputs, tuple(node.outputs[0] if o == out.name else o for o in n.outputs), n.attrs, n.name, n.domain
        )
        for n in copy.nodes[written:]
    ]
    copy.values.pop(out.name, None)
    return layer


def write_layer(
    graph: Graph,
    x: Value,
    y: Value,
    prefix: str,
    s: Settings,
    weight: np.ndarray,
    bias: np.ndarray | None,
    node: Node,
    unfold: bool = False,
    as_array: bool = False,
    block: int = 1,
) -> tuple[Value, AnalogLayer]:
    """Tiles that hold this weight, declared and written into the graph.  x, y: the types of input and output.

    as_array: name it as an array of tiles even if one holds it all; block: how many inputs belong together."""
    conv = node.op == "Conv"
    group = node.attrs.get("group", 1) if conv else 1
    width = math.prod(weight.shape[1:])
    most = s.mapping.max_input_size // block
    spans_in = [slice(n.start * block, n.stop * block) for n in spans(width // block, most)]
    spans_out = spans(len(weight), s.mapping.max_output_size)
    many = as_array or len(spans_in) * len(spans_out) > 1
    by_sample = not s.explicit and s.modifier.per_batch_sample and s.modifier.type in ("ADD_NORMAL", "MULT_NORMAL")
    # The bias of several tiles is digital, whatever the config says, as in aihwkit.
    analog_bias = s.analog_bias(bias is not None and not many)
    by_window = s.by_row or s.io.w_noise > 0 or s.io.ir_drop > 0 or by_sample or many or analog_bias
    unfold = conv and (unfold or by_window)
    if not unfold:
        group = 1  # one product of images
    op = graph.op
    shape, xs = weight.shape, [x]
    if group > 1:  # a tile, or several, for each group: each sees windows of its own channels
        each = len(weight) // group
        spans_out, many, analog_bias = spans(each, s.mapping.max_output_size), True, False
        xs = [op.Slice(x, (k * shape[1],), ((k + 1) * shape[1],), (1,)) for k in range(group)]
    if unfold:
        geometry = {k: tuple(v) for k, v in node.attrs.items() if k in ("strides", "pads", "dilations")}
        if node.attrs.get("auto_pad", "NOTSET") != "NOTSET":
            raise ConfigError(
                f"node {node.name!r}: windows are laid out with explicit pads only, got auto_pad="
                f"{node.attrs['auto_pad']!r}"
            )
        xs = [
            op.Transpose(
                op.Unfold(v, kernel_shape=shape[2:], **geometry),
                perm=(0, 2, 1),
                name=f"{prefix}group_{k}.windows" if group > 1 else f"{prefix}windows",
            )
            for k, v in enumerate(xs)
        ]
        weight = weight.reshape(len(weight), -1)
    product = (
        Convolution(weight.ndim - 2, dict(node.attrs)) if conv and not unfold else Linear(3 if unfold else x.rank or 2)
    )
    parts = tuple(
        Part(
            prefix + (f"group_{k}." if group > 1 else "") + (f"tile_{i}_{j}." if many else ""),
            slice(o.start + k * (len(weight) // group), o.stop + k * (len(weight) // group)),
            n,
        )
        for k in range(group)
        for i, n in enumerate(spans_in)
        for j, o in enumerate(spans_out)
    )
    if many:
        result = _split(graph, xs, prefix, s, weight, bias, product, spans_in, spans_out, parts)
    else:
        declare(graph, prefix, *tile_arrays(weight, bias, s, analog_bias))
        result, _ = write_tile(graph, xs[0], prefix, s, product, analog_bias)
    if unfold:
        sizes = (y.shape or ())[2:]
        if not all(isinstance(d, int) for d in sizes):
            raise GraphError(
                f"node {node.name!r}: the windows of an image of unknown size cannot be laid out; give {y} its sizes"
            )
        result = op.Reshape(op.Transpose(result, perm=(0, 2, 1)), (0, len(weight), *sizes))
    return result, AnalogLayer(node, prefix, s, parts, shape, unfold, analog_bias)


def _split(
    graph: Graph,
    xs: list[Value],
    prefix: str,
    s: Settings,
    weight: np.ndarray,
    bias: np.ndarray | None,
    product: Linear | Convolution,
    spans_in: list[slice],
    spans_out: list[slice],
    parts: tuple[Part, ...],
) -> Value:
    """xs: what each group sees.  parts: by group, input block and output block."""
    op = graph.op
    tile = replace(s, act_bits=None)
    left = iter(parts)
    sums = []
    for x in xs:
        columns = [x] if len(spans_in) == 1 else [op.Slice(x, (n.start,), (n.stop,), (-1,)) for n in spans_in]
        totals: list[Value] = []
        for column in columns:
            for j in range(len(spans_out)):
                part = next(left)
                declare(graph, part.prefix, *tile_arrays(weight[part.outputs, part.inputs], None, tile))
                y, _ = write_tile(graph, column, part.prefix, tile, product)
                if j < len(totals):
                    totals[j] = op.Add(totals[j], y)
                else:
                    totals.append(y)
        sums += totals
    y = sums[0] if len(sums) == 1 else op.Concat(*sums, axis=-1)
    params, state = tile_arrays(weight, bias, s)
    mine = lambda a: {k: v for k, v in a.items() if k.startswith(("bias", "act_quant"))}
    declare(graph, prefix, mine(params), mine(state))
    return write_parts(graph, y, prefix, s, product)


def spans(size: int, most: int) -> list[slice]:
    """`size` in as few spans of at most `most` as possible, as equal as possible, longer ones first.  0: one span."""
    count = 1 if most <= 0 else math.ceil(size / most)
    short, longer = divmod(size, count)
    ends = np.cumsum([short + (k < longer) for k in range(count)])
    return [slice(int(e) - short - (k < longer), int(e)) for k, e in enumerate(ends)]


# ---- after a step -------------------------------------------------------------------------------------


def post_updated(layer: AnalogLayer, params: Arrays, buffers: Arrays) -> tuple[Arrays, Arrays]:
    """What follows a step, for the tiles of one layer."""
    for part in layer.parts:
        params, buffers = post_update(params, buffers, layer.settings, part.prefix, keep_shape=True)
    return params, buffers


def with_post_update(optimizer: Optimizer, graph: Graph) -> Optimizer:
    """The same optimizer, after whose steps weights are clipped and mapped anew, as each layer's config says."""

    def post_update(params: Arrays, buffers: Arrays) -> tuple[Arrays, Arrays]:
        if optimizer.post_update:
            params, buffers = optimizer.post_update(params, buffers)
        for layer in layers(graph):
            params, buffers = post_updated(layer, params, buffers)
        return params, buffers

    return Optimizer(optimizer.init, optimizer.update, post_update, elementwise=optimizer.elementwise)


# ---- back ---------------------------------------------------------------------------------------------


def logical_weights(
    graph: Graph, layer: AnalogLayer, params: Arrays | None = None, buffers: Arrays | None = None
) -> tuple[np.ndarray, np.ndarray | None]:
    """(weight f[out, in, ...], bias) that a layer stands for: tile weight * mapping_scales * out_scaling_alpha."""
    held = {k: np.asarray(v) for k, v in {**graph.params, **graph.buffers, **(params or {}), **(buffers or {})}.items()}
    width = math.prod(layer.shape[1:]) + layer.analog_bias
    flat = np.zeros((layer.shape[0], width), held[f"{layer.parts[0].prefix}weight"].dtype)
    for part in layer.parts:
        w = held[f"{part.prefix}weight"]
        w = w.reshape(len(w), -1)
        for name in ("mapping_scales", "out_scaling_alpha"):
            if part.prefix + name in held:
                w = w * held[part.prefix + name].reshape(-1, 1)
        flat[part.outputs, slice(0, width) if layer.analog_bias else part.inputs] = w
    if layer.analog_bias:
        return flat[:, :-1].reshape(layer.shape), flat[:, -1]
    return flat.reshape(layer.shape), held.get(f"{layer.prefix}bias")


def input_ranges(graph: Graph, params: Arrays | None = None, buffers: Arrays | None = None) -> dict[str, float]:
    """{tile: its input range}"""
    held = {**graph.params, **graph.buffers, **(params or {}), **(buffers or {})}
    return {
        part.prefix[:-1]: float(np.asarray(held[f"{part.prefix}input_range"]).reshape(()))
        for layer in layers(graph)
        for part in layer.parts
        if f"{part.prefix}input_range" in held
    }


def to_digital(graph: Graph, params: Arrays | None = None, buffers: Arrays | None = None) -> Graph:
    """The digital graph again, with the logical weights of these params and buffers (default: the graph's own).

    Nodes, names and layouts are those of the graph that was converted; `input_ranges` tells the ranges.
    """
    if not layers(graph):
        raise GraphError(f"graph {graph.name!r} has no analog layers")
    now = graph.with_params({k: v for k, v in (params or {}).items()}, buffers)
    copy = now.copy()
    for layer in layers(graph):
        node = layer.node
        weight, bias = logical_weights(now, layer)
        if node.op == "MatMul" or (node.op == "Gemm" and not node.attrs.get("transB", 0)):
            weight = weight.T
        copy.producers = {k: p for k, p in copy.producers.items() if not k.startswith(layer.prefix)}
        made = [copy.parameter(node.inputs[1], np.ascontiguousarray(weight))]
        inputs = [node.inputs[0], made[0].name]
        attrs = {k: v for k, v in node.attrs.items() if k != "beta"}
        if bias is not None:
            inputs.append(copy.parameter(node.inputs[2], bias).name)
        digital = node.replace(inputs=tuple(inputs), attrs=attrs)
        # It stands where the tile's last node stood; what led there is not read by any node now, and pruned.
        copy.nodes = [digital if node.outputs[0] in n.outputs else n for n in copy.nodes]
    for key in ("analog", KEY):
        copy.metadata.pop(key, None)
    copy.prune()
    return infer_shapes(copy.check())
