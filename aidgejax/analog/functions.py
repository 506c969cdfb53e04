"""The pure functions: each lowers a small graph of analog operators, written once per configuration."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..dtypes import Arrays
from ..errors import GraphError
from ..execution.cache import PROGRAMS
from ..execution.program import Program, make_program
from ..graph import Graph
from .errors import ExplicitTileConfigError
from .settings import Settings, settings
from .tile import Linear, declare, tile_arrays, write_tile

# ---- one layer ----------------------------------------------------------------------------------------


def analog_linear_init(weight: Any, bias: Any, config: Any) -> tuple[Arrays, Arrays]:
    """(params, state) of one tile that holds the logical weight f[out, in] and bias f[out] (or None).

    params: weight (that of the tile: logical / mapping_scales), bias, out_scaling_alpha, input_range, scale_quant and
    bias_quant {delta, zero_float}.  state: mapping_scales, input_range_update_idx, what is not learned of the range and
    the quantizers, and their counters.  What does not apply is absent.  Raises ConfigError.
    """
    s = settings(config)
    if np.ndim(weight) != 2 or (bias is not None and np.shape(bias) != np.shape(weight)[:1]):
        raise GraphError(
            f"a linear layer has a weight [out, in] and a bias [out] or None; got {list(np.shape(weight))}"
            f" and {None if bias is None else list(np.shape(bias))}"
        )
    params, state = tile_arrays(np.asarray(weight), bias, s, s.analog_bias(bias is not None))
    return nested(jax.tree.map(jnp.asarray, params)), nested(jax.tree.map(jnp.asarray, state))


def analog_linear(
    params: Arrays,
    state: Arrays,
    x: Any,
    config: Any,
    *,
    training: bool,
    key: Any = None,
    output_clipping_share: str | None = None,
) -> tuple[Any, Arrays, Arrays, Any]:
    """(y f[..., out], params, state, saved) of x f[..., in]: range, product, scales, bias, periphery quantization.

    params and state come back as the forward leaves them: the init phase moves input_range and its counter, a
    quantizer that is not learned (yet) its delta and zero_float.  saved: for analog_linear_backward.
    key: needed where noise is drawn (GraphError without it); output noise is drawn outside training too.
    output_clipping_share: what manage_output_clipping divides the clipped outputs by: "output_size", their number, or
    "input_size" as the original does; also a field of the same name of config or config.pre_post.input_range.
    """
    x = jnp.asarray(x)
    s = settings(config, output_clipping_share)
    flat, held = flattened(params), flattened(state)
    analog_bias = not s.mapping.digital_bias and jnp.shape(flat["weight"])[1] == x.shape[-1] + 1
    program, moved = _layer(s, _names(flat), _names(held), x.shape[-1], x.ndim, bool(training), analog_bias)
    outputs, saved, _ = program.forward(flat, held, {"x": x}, key)
    after = {name: outputs[tensor] for name, tensor in moved.items()}
    new = [{k: after.get(k, v) for k, v in old.items()} for old in (flat, held)]
    kept = {"tensors": saved, "state": held} | ({"analog_bias": ()} if analog_bias else {})
    return outputs["y"], nested(new[0]), nested(new[1]), kept


def analog_linear_backward(
    params: Arrays, saved: Any, dy: Any, config: Any, *, output_clipping_share: str | None = None
) -> tuple[Arrays, Any]:
    """(grads, dx): grads has the structure of params, which are those that the forward returned.

    The rule for the range is aihwkit's, not the derivative.  Torch-tile configs: with the two terms that autograd adds,
    grads["weight"] divided by mapping_scales^2 as the original's hook does.  InferenceRPUConfig: the explicit backward.
    """
    s = settings(config, output_clipping_share)
    dy = jnp.asarray(dy)
    flat = flattened(params)
    held = saved["state"]
    analog_bias = "analog_bias" in saved
    width = flat["weight"].shape[1] - analog_bias
    program, _ = _layer(s, _names(flat), _names(held), width, dy.ndim, True, analog_bias)
    grads = program.backward(flat, saved["tensors"], {"y": dy})
    dx = grads.pop("x")
    return nested(grads), dx


def analog_post_update(params: Arrays, state: Arrays, config: Any) -> tuple[Arrays, Arrays]:
    """(params, state) after what follows an optimizer's step: the weight is clipped, then mapped anew.

    clip FIXED_VALUE or LAYER_GAUSSIAN; remap LAYERWISE_SYMMETRIC ([1] mapping scale) or CHANNELWISE_SYMMETRIC ([out]),
    which sets out_scaling_alpha back to 1.
    """
    return post_update(params, state, settings(config))


def post_update(
    params: Arrays, state: Arrays, s: Settings, prefix: str = "", keep_shape: bool = False
) -> tuple[Arrays, Arrays]:
    """analog_post_update on the tensors of one tile; keep_shape: mapping_scales stay as large as they were."""
    w, m, alpha = (prefix + n for n in ("weight", "mapping_scales", "out_scaling_alpha"))
    c = s.clip
    if c.type != "NONE":
        (clipped,) = _apply("ClipWeight", (params[w],), clip=c.type, sigma=c.sigma, fixed_value=c.fixed_value)
        params = {**params, w: clipped}
    if s.remap.type != "NONE":
        scales = state.get(m, jnp.ones(1, params[w].dtype))
        how = {k: getattr(s.remap, k) for k in ("remapped_wmax", "max_scale_range", "max_scale_ref") if s.explicit}
        weight, new, ones = _apply(
            "RemapWeight",
            (params[w], scales, params.get(alpha)),
            outputs=3,
            remap=s.remap.type,
            relative=int(s.explicit),
            **how,
        )
        if keep_shape:
            new = jnp.broadcast_to(new, jnp.shape(scales))
        params = {**params, w: weight} | ({} if ones is None else {alpha: ones})
        state = {**state, m: new}
    if prefix + "modifier_draw" in state:
        if s.modifier.per_batch_sample:
            raise ExplicitTileConfigError("modifier.per_batch_sample: the explicit tile draws once for each step")
        drawn = state[prefix + "modifier_draw"]
        state = {**state, prefix + "modifier_draw": jnp.asarray(drawn) + jnp.array([0, 1], jnp.int32)}
    return params, state


# ---- quantizers ---------------------------------------------------------------------------------------


def uniform_quantize(x: Any, res: float, bound: float) -> Any:
    """x rounded to steps of 2 bound res, halves to even; not clipped.  res > 1 is the number of steps, 1 / res."""
    if not res > 0 or not bound > 0:
        raise GraphError(f"res is {res} and bound {bound}: expected both above 0")
    return _apply("RoundTo", (x, float(2 * bound * (1 / res if res > 1 else res))))[0]


def quantizer_range(v: Any, *, n_bits: int, symmetric: bool) -> tuple[Any, Any, Any]:
    """(delta f[1], zero_float f[1], signed bool[1]) of the least range that holds v and 0."""
    return _apply("QuantizerRange", (v,), outputs=3, n_bits=n_bits, symmetric=int(symmetric))


def fake_quantize(v: Any, delta: Any, zero_float: Any, *, n_bits: int, symmetric: bool, signed: Any) -> Any:
    """v rounded to the n_bits levels of a quantizer.  delta, zero_float: of shape [] or [1]."""
    program = _quantizer(n_bits, bool(symmetric), jnp.shape(v), jnp.shape(delta), jnp.shape(zero_float))
    return program.forward({}, {}, _quantizer_feeds(v, delta, zero_float, signed), save=False)[0]["q"]


def fake_quantize_backward(
    v: Any, delta: Any, zero_float: Any, dq: Any, *, n_bits: int, symmetric: bool, signed: Any
) -> tuple[Any, Any, Any]:
    """(dv, d_delta, d_zero_float): rounding is passed straight through, the rest is the derivative."""
    program = _quantizer(n_bits, bool(symmetric), jnp.shape(v), jnp.shape(delta), jnp.shape(zero_float))
    feeds = _quantizer_feeds(v, delta, zero_float, signed)
    _, saved, _ = program.forward({}, {}, feeds)
    grads = program.backward({}, saved, {"q": jnp.asarray(dq)})
    return tuple(grads[k] for k in ("v", "delta", "zero_float"))


def _quantizer_feeds(v: Any, delta: Any, zero_float: Any, signed: Any) -> Arrays:
    dtype = jnp.result_type(v)
    return {
        "v": jnp.asarray(v),
        "delta": jnp.asarray(delta, dtype),
        "zero_float": jnp.asarray(zero_float, dtype),
        "signed": jnp.reshape(jnp.asarray(signed, bool), ()),
    }


@PROGRAMS.cached
def _quantizer(n_bits: int, symmetric: bool, *shapes: tuple[int, ...]) -> Program:
    g = Graph("fake_quantize")
    inputs = [g.input(n, s) for n, s in zip(("v", "delta", "zero_float"), shapes, strict=True)]
    g.output(
        g.add(
            "AnalogQuantize",
            [*inputs, g.input("signed", (), "bool")],
            {"n_bits": n_bits, "symmetric": int(symmetric)},
            names=["q"],
        )[0]
    )
    return make_program(g, wrt=["v", "delta", "zero_float"], unreachable="zeros")


# ---- inside -------------------------------------------------------------------------------------------


def layer_graph(
    config: Any, params: Arrays, state: Arrays, *, rank: int = 2, analog_bias: bool = False
) -> tuple[Graph, dict[str, str]]:
    """The graph of one tile, and {tensor of the tile: its next value}; its producers are those of params and state."""
    flat, held = flattened(params), flattened(state)
    g = Graph("analog_linear")
    batch = [f"N{k}" for k in range(rank - 1)]
    x = g.input("x", (*batch, np.shape(flat["weight"])[1] - analog_bias))
    declare(g, "", {k: np.asarray(v) for k, v in flat.items()}, {k: np.asarray(v) for k, v in held.items()})
    y, moved = write_tile(g, x, "", settings(config), Linear(rank), analog_bias)
    (named,) = g.add("Identity", [y], names=["y"])
    for o in dict.fromkeys([named.name, *moved.values()]):
        g.output(o)
    return g, moved


def _names(flat: Arrays) -> tuple[tuple[str, tuple[int, ...], str], ...]:
    return tuple((k, tuple(jnp.shape(v)), jnp.result_type(v).name) for k, v in flat.items())


@PROGRAMS.cached
def _layer(
    s: Settings, params: tuple, state: tuple, width: int, rank: int, training: bool, analog_bias: bool
) -> tuple[Program, dict[str, str]]:
    flat, held = ({k: np.zeros(shape, dtype) for k, shape, dtype in which} for which in (params, state))
    graph, moved = layer_graph(s, flat, held, rank=rank, analog_bias=analog_bias)
    program = make_program(graph, seeds=["y"], wrt=[*flat, "x"], training=training, unreachable="zeros")
    return program, moved


def _apply(name: str, inputs: tuple, outputs: int = 1, **attrs: Any) -> tuple:
    """One operator, applied."""
    shapes = tuple(None if i is None else i if isinstance(i, float) else tuple(jnp.shape(i)) for i in inputs)
    program = _operator(name, shapes, outputs, tuple(sorted(attrs.items())))
    feeds = {f"x{k}": jnp.asarray(i) for k, i in enumerate(inputs) if i is not None and not isinstance(i, float)}
    found, _, _ = program.forward({}, {}, feeds, save=False)
    return tuple(found.get(f"y{k}") for k in range(outputs))


@PROGRAMS.cached
def _operator(name: str, shapes: tuple, outputs: int, attrs: tuple) -> Program:
    g = Graph(name)
    inputs = [g.input(f"x{k}", s) if isinstance(s, tuple) else s for k, s in enumerate(shapes)]
    absent = name == "RemapWeight" and shapes[2] is None
    named = [None if absent and k == 2 else f"y{k}" for k in range(outputs)]
    for o in g.add(name, inputs, dict(attrs), names=named):
        if o.name:
            g.output(o)
    return make_program(g, wrt=[])


def flattened(tree: Arrays, prefix: str = "") -> Arrays:
    """{"a": {"b": 1}} -> {"a.b": 1}"""
    found: Arrays = {}
    for k, v in tree.items():
        found |= flattened(v, f"{prefix}{k}.") if isinstance(v, dict) else {prefix + k: v}
    return found


def nested(flat: Arrays) -> Arrays:
    """{"a.b": 1} -> {"a": {"b": 1}}"""
    tree: Arrays = {}
    for k, v in flat.items():
        *path, last = k.split(".")
        at = tree
        for p in path:
            at = at.setdefault(p, {})
        at[last] = v
    return tree
