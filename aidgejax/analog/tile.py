"""One analog tile as nodes of a graph.

    params, state = tile_arrays(weight, bias, settings)
    declare(graph, "fc1.", params, state)
    y, moved = write_tile(graph, x, "fc1.", settings, linear)

What a tile computes, z being the input and W the weight it holds:

    z = clip(x, -r, r) / r                                    input range r, see InputRange
    y0 = ADC((DAC(z / (nu B)) + noise) W^T + noise) nu B      nu, B: noise and bound management
    y = y0 Q(r mapping_scales out_scaling_alpha) + Q(bias)    Q: the periphery quantizer
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

from ..dtypes import Arrays
from ..graph import Builder, Graph, Value
from .config_weights import WeightModifierParameter
from .settings import Settings, Snapshot

DEFAULT_COEFFS = tuple(WeightModifierParameter().coeffs)
CLIPPED = 0.999  # of out_bound: from there on an output counts as clipped.  Source: aihwkit


class Linear:
    """The product x W^T, on the last axis of a tensor of this rank."""

    positions = 0

    def __init__(self, rank: int = 2) -> None:
        self.rank = rank

    def __call__(self, op: Builder, x: Value, w: Value) -> Value:
        if self.rank == 2:
            return op.Gemm(x, w, transB=1)
        return op.MatMul(x, op.Transpose(w, perm=(1, 0)))

    def per_sample(self, op: Builder, x: Value, w: Value) -> Value:
        """The same with a weight of its own for each sample, f[n, out, in]."""
        transposed = op.Transpose(w, perm=(0, 2, 1))
        if self.rank == 2:
            return op.Squeeze(op.MatMul(op.Unsqueeze(x, (1,)), transposed), (1,))
        return op.MatMul(x, transposed)


class Convolution:
    """The product of a Conv node: images in, images out."""

    def __init__(self, positions: int, attrs: dict[str, Any]) -> None:
        self.positions, self.attrs = positions, attrs

    def __call__(self, op: Builder, x: Value, w: Value) -> Value:
        return op.Conv(x, w, **self.attrs)


# ---- what a tile holds --------------------------------------------------------------------------------


def tile_arrays(weight: Any, bias: Any, s: Settings, analog_bias: bool = False) -> tuple[Arrays, Arrays]:
    """(params, state) of a new tile that holds this logical weight f[out, *k]; flat, by name.

    analog_bias: the bias is the weight's last column, f[out, in + 1]."""
    weight = np.asarray(weight)
    if analog_bias:
        weight = np.concatenate([weight, np.asarray(bias, weight.dtype)[:, None]], axis=1)
        bias = None
    dtype = weight.dtype
    one = lambda v: np.full(1, v, dtype)
    out = weight.shape[0]
    params: Arrays = {}
    state: Arrays = {}
    if s.mapping.weight_scaling_omega > 0:
        axes = tuple(range(1 if s.mapping.weight_scaling_columnwise else 0, weight.ndim))
        scales = np.abs(weight).max(axis=axes).reshape(-1) / dtype.type(s.mapping.weight_scaling_omega)
        state["mapping_scales"] = np.where(scales > 0, scales, 1).astype(dtype)
    if s.remap.type != "NONE":
        state["mapping_scales"] = np.broadcast_to(state.get("mapping_scales", np.ones(1, dtype)), out).copy()
    if "mapping_scales" in state:
        weight = weight / state["mapping_scales"].reshape(-1, *[1] * (weight.ndim - 1))
    params["weight"] = weight.astype(dtype)
    if bias is not None:
        params["bias"] = np.asarray(bias, dtype)
    if s.mapping.learn_out_scaling:
        params["out_scaling_alpha"] = np.ones(out if s.mapping.out_scaling_columnwise else 1, dtype)
    if s.range:
        (params if s.range.learn_input_range else state)["input_range"] = one(s.range.init_value)
        state["input_range_update_idx"] = one(0)
    if s.periphery:
        if s.range or "mapping_scales" in state or "out_scaling_alpha" in params:
            _quantizer_arrays("scale_quant", s.periphery, params, state, one)
        if bias is not None:
            _quantizer_arrays("bias_quant", s.periphery, params, state, one)
    if s.act_bits:
        state |= {"act_quant.low": one(0), "act_quant.high": one(0), "act_quant.seen": one(0)}
    if s.io.out_noise > 0 and s.io.out_noise_std > 0 and not s.io.is_perfect:
        spread = np.random.default_rng(out).normal(size=out)
        state["out_noise_values"] = np.maximum(s.io.out_noise * (1 + s.io.out_noise_std * spread), 0).astype(dtype)
    if s.compensation is not None:
        state["alpha"] = np.ones(out if s.compensation.by_output else 1, dtype)
    if s.explicit and s.modifier.type != "NONE":
        state["modifier_draw"] = np.array([zlib.crc32(weight.tobytes()) >> 1, 0], np.int32)
    return params, state


def _quantizer_arrays(name: str, p: Snapshot, params: Arrays, state: Arrays, one: Callable) -> None:
    where = params if p.learn_quant_params else state
    where[f"{name}.delta"] = one(0)  # nothing seen yet
    (where if not p.symmetric else state)[f"{name}.zero_float"] = one(0)
    state[f"{name}.signed"] = np.zeros(1, bool)
    state[f"{name}_update_idx"] = one(0)


def declare(graph: Graph, prefix: str, params: Arrays, state: Arrays) -> None:
    """Put a tile's tensors into the graph."""
    for name, a in params.items():
        graph.parameter(prefix + name, a)
    for name, a in state.items():
        graph.buffer(prefix + name, a)


# ---- the graph ----------------------------------------------------------------------------------------


def write_tile(
    graph: Graph, x: Value, prefix: str, s: Settings, product: Linear | Convolution, analog_bias: bool = False
) -> tuple[Value, dict[str, str]]:
    """(y, {tensor of the tile: the tensor that is its next value}).  The tile's tensors must be declared."""
    return _Writer(graph, prefix, s, product, analog_bias).write(x)


def write_product(graph: Graph, x: Value, prefix: str, s: Settings, product: Linear) -> Value:
    """The product with its converters and noise alone, as a test pass computes it: what reads a tile out."""
    writer = _Writer(graph, prefix, s, product)
    return writer.analog(x, writer.needed("weight"))


def write_parts(graph: Graph, y: Value, prefix: str, s: Settings, product: Linear | Convolution) -> Value:
    """What a layer of several tiles does to their sum: the bias, and the quantization of outputs."""
    return _Writer(graph, prefix, s, product).after(y)


class _Writer:
    def __init__(
        self, graph: Graph, prefix: str, s: Settings, product: Linear | Convolution, analog_bias: bool = False
    ) -> None:
        self.graph, self.prefix, self.s, self.product, self.analog_bias = graph, prefix, s, product, analog_bias
        self.op = Builder(graph, prefix)
        self.moved: dict[str, str] = {}

    def held(self, name: str) -> Value | None:
        """A tensor of the tile, if it has it."""
        name = self.prefix + name
        return self.graph.value(name) if name in self.graph.producers else None

    def needed(self, name: str) -> Value:
        """A tensor that the tile has."""
        return self.graph.value(self.prefix + name)

    def move(self, **new: Value) -> None:
        self.moved |= {name: v.name for name, v in new.items()}

    def write(self, x: Value) -> tuple[Value, dict[str, str]]:
        op, s = self.op, self.s
        z, r, inside = self.into_range(x)
        scale_r = op.StopGradient(r) if r is not None and s.explicit else r
        if r is not None:
            # What the divisor takes is in the range's own rule, so that one walk over the inputs finds both.
            z = op.Div(inside, op.StopGradient(r))
        if self.analog_bias:
            # Not divided by the range, which multiplies the outputs: the effective bias is r b, as in aihwkit.
            z = op.Concat(z, op.Add(op.ZerosLike(op.Slice(z, (0,), (1,), (-1,))), 1.0), axis=-1)
        w = self.weight(x)
        y = self.analog(z, w)
        if s.explicit:
            bound = CLIPPED * s.io.out_bound * s.io.out_scale if s.io.out_bound > 0 else 0.0
            y = op.GradientThrough(
                self.multiply(z, op.StopGradient(w)), self.multiply(op.StopGradient(z), w), y, scale_r, bound=bound
            )
        if r is not None and s.range and s.range.manage_output_clipping:
            y = op.OutputClipping(
                y,
                r,
                x,
                bound=CLIPPED * s.io.out_bound * s.io.out_scale,
                output_min_percentage=s.range.output_min_percentage,
                share=s.range.share,
            )
        scales = [v for v in (scale_r, self.held("mapping_scales"), self.held("out_scaling_alpha")) if v is not None]
        if scales:
            scale = scales[0]
            for v in scales[1:]:
                scale = op.Mul(scale, v)
            y = op.Mul(y, self.across(self.quantized("scale_quant", scale)))
        if self.held("alpha") is not None:
            y = op.DriftCompensation(y, self.across(self.needed("alpha")), training_mode=0)
        return self.after(y), self.moved

    def after(self, y: Value) -> Value:
        if self.held("bias") is not None:
            y = self.op.Add(y, self.across(self.quantized("bias_quant", self.needed("bias"))))
        return self.act_quantized(y) if self.s.act_bits else y

    def across(self, v: Value) -> Value:
        """f[out] or f[1] shaped so that it multiplies the outputs."""
        return self.op.Unsqueeze(v, tuple(range(1, 1 + self.product.positions))) if self.product.positions else v

    def into_range(self, x: Value) -> tuple[Value, Value | None, Value | None]:
        p, op = self.s.range, self.op
        if p is None:
            return x, None, None
        r, idx = op.InputRangeInit(
            x,
            self.held("input_range"),
            self.held("input_range_update_idx"),
            outputs=2,
            init_from_data=p.init_from_data,
            init_std_alpha=p.init_std_alpha,
            training_mode=0,
        )
        self.move(input_range=r, input_range_update_idx=idx)
        inside = op.InputRange(
            x,
            r,
            decay=p.decay,
            input_min_percentage=p.input_min_percentage,
            gradient_scale=p.gradient_scale,
            gradient_relative=int(p.gradient_relative),
            straight_through=int(self.s.explicit),
            divides=int(not self.s.explicit),
        )
        return x, r, inside

    def weight(self, x: Value) -> Value:
        w, scales, m, op = self.needed("weight"), self.held("mapping_scales"), self.s.modifier, self.op
        if scales is not None:
            w = op.TileWeight(w, scales)
        if self.held("modifier_draw") is not None:
            # The default coefficients are relative; aihwkit divides them by g_max nevertheless.
            g_max = 1.0 if m.coeffs == DEFAULT_COEFFS else m.g_max
            return op.HeldWeightModifier(
                w,
                self.needed("modifier_draw"),
                modifier=m.type,
                std_dev=m.std_dev,
                res=m.res,
                rel_to_actual_wmax=int(m.rel_to_actual_wmax),
                assumed_wmax=m.assumed_wmax,
                dorefa_clip=m.dorefa_clip,
                sto_round=int(m.sto_round),
                pdrop=float(m.pdrop),
                copy_last_column=int(m.copy_last_column),
                coeffs=m.coeffs,
                g_max=g_max,
                enable_during_test=int(m.enable_during_test),
                training_mode=0,
            )
        if m.type not in ("NONE", "COPY"):
            w = op.WeightModifier(
                w,
                x if m.per_batch_sample else None,
                modifier=m.type,
                std_dev=m.std_dev,
                res=m.res,
                rel_to_actual_wmax=int(m.rel_to_actual_wmax),
                assumed_wmax=m.assumed_wmax,
                dorefa_clip=m.dorefa_clip,
                sto_round=int(m.sto_round),
                per_batch_sample=int(m.per_batch_sample),
                training_mode=0,
            )
        return w

    def multiply(self, u: Value, w: Value) -> Value:
        m = self.s.modifier
        if (
            not self.s.explicit
            and m.per_batch_sample
            and m.type in ("ADD_NORMAL", "MULT_NORMAL")
            and isinstance(self.product, Linear)
        ):
            return self.product.per_sample(self.op, u, w)
        return self.product(self.op, u, w)

    def analog(self, z: Value, w: Value) -> Value:
        """The product with its converters."""
        io, op = self.s.io, self.op
        if io.is_perfect:
            y = self.multiply(z, w)
            # As in aihwkit, whose torch tile leaves the factor out of a perfect product.
            return op.Mul(y, io.out_scale) if self.s.explicit and io.out_scale != 1 else y
        scale = self.managed(z)
        # Multiplied by an inverse, as the original does it: (z / nu) / step might be computed as z / (nu step).
        a = z if scale is None else op.Mul(z, op.Reciprocal(scale) if isinstance(scale, Value) else 1 / scale)
        inp_noise = self.noise(a, io.inp_noise)
        out_noise = None
        if io.bound_management != "NONE" and (io.out_bound > 0 or not self.s.explicit):
            # The noise is drawn before the search, so that what passes its test is what is computed in the end.
            out_noise = self.noise(self.multiply(a, w), io.out_noise) if io.out_noise else None
            # The explicit tile searches for each row; the torch tile, as in aihwkit, for the whole batch.
            worst = self.s.explicit and io.bound_management == "ITERATIVE_WORST_CASE" and io.noise_management != "NONE"
            divisor = None if not worst else op.CastLike(1.0 if scale is None else scale, a)
            bm = op.BoundManagement(
                a,
                w,
                inp_noise,
                out_noise,
                divisor,
                inp_bound=io.inp_bound,
                inp_res=io.inp_res,
                inp_asymmetry=io.inp_asymmetry,
                out_bound=io.out_bound,
                out_res=io.out_res,
                out_asymmetry=io.out_asymmetry,
                max_bm_factor=io.max_bm_factor,
                max_bm_res=io.max_bm_res,
                by_row=int(self.s.explicit),
                test_negative=int(io.bm_test_negative_bound or not self.s.explicit),
                nm_thres=io.nm_thres,
            )
            a = op.Mul(a, op.Reciprocal(bm))
            scale = bm if scale is None else op.Mul(scale, bm)
        u = self.converted(a, io.inp_res, io.inp_bound, io.inp_sto_round)
        if inp_noise is not None:
            u = op.Add(u, inp_noise)
        o = self.asymmetric(self.multiply(self.asymmetric(u, io.inp_asymmetry), w), io.out_asymmetry)
        if io.ir_drop:
            o = op.Sub(o, self.ir_drop(u, w))
        if io.w_noise:
            square = op.Mul(u, u)
            if io.w_noise_type == "PCM_READ":
                power = self.multiply(square, op.Abs(w))
            else:
                power = op.ReduceSum(square, (-1,), keepdims=1)
            o = op.Add(o, op.Mul(op.StopGradient(op.Sqrt(power)), op.Mul(op.GaussianNoise(o), float(io.w_noise))))
        out_noise = self.noise(o, io.out_noise) if out_noise is None else out_noise
        if out_noise is not None:
            o = op.Add(o, out_noise)
        y = self.converted(o, io.out_res, io.out_bound, io.out_sto_round)
        if io.out_scale != 1:
            y = op.Mul(y, io.out_scale, name=f"{self.prefix}out_scale")
        if scale is not None:
            y = op.Mul(y, scale)
        if self.s.explicit and io.noise_management in ("ABS_MAX", "MAX") and io.inp_noise <= 0:
            # Of rows without a positive maximum the explicit tile asks nothing: outputs are 0, noise included.
            size = op.Abs(z) if io.noise_management == "ABS_MAX" else z
            y = op.Where(op.Greater(op.ReduceMax(size, (-1,), keepdims=1), 0.0), y, 0.0)
        return y

    def ir_drop(self, u: Value, w: Value) -> Value:
        """What the wires' resistance takes from each output.

        With a = n sum_j |w_j u_j| / ir_drop_g_ratio for n inputs: (0.05 a^3 - 0.2 a^2 + 0.5 a) times
        sum_j w_j u_j (1 - (1 - j / n)^2).  Source: Rasch et al., "Hardware-aware training for large-scale and diverse
        deep learning inference workloads using in-memory computing-based accelerators" (2023)."""
        op, n = self.op, self.graph_width(w)
        a = op.Mul(self.multiply(op.Abs(u), op.Abs(w)), n / float(self.s.io.ir_drop_g_ratio))
        share = op.Mul(op.Add(op.Mul(op.Add(op.Mul(a, 0.05), -0.2), a), 0.5), a)
        position = np.arange(n, dtype=np.float32) / n
        near = self.multiply(op.Mul(u, 1 - (1 - position) ** 2), w)
        return op.Mul(op.Mul(share, near), float(self.s.io.ir_drop))

    def graph_width(self, w: Value) -> int:
        return int(np.prod(self.graph.producers[f"{self.prefix}weight"].data.shape[1:]))

    def managed(self, z: Value) -> Value | float | None:
        io = self.s.io
        if io.noise_management == "CONSTANT":
            return float(io.nm_thres) if io.nm_thres > 0 and io.nm_thres != 1 else None
        if io.noise_management == "NONE":
            return None
        return self.op.NoiseManagement(z, management=io.noise_management, threshold=io.nm_thres)

    def noise(self, like: Value, strength: float) -> Value | None:
        if strength <= 0:
            return None
        drawn = self.op.GaussianNoise(like)
        values = self.held("out_noise_values")
        if values is not None and strength == self.s.io.out_noise:
            return self.op.Mul(drawn, self.across(values))
        return self.op.Mul(drawn, strength)

    def converted(self, v: Value, res: float, bound: float, stochastic: bool) -> Value:
        """Rounded to steps of 2 bound res, and clipped."""
        op = self.op
        if res > 0:
            step = 2 * bound * res
            if stochastic:
                v = op.Add(v, op.Mul(op.RandomUniformLike(v, low=-0.5, high=0.5), step))
            v = op.RoundTo(v, step)
        return op.Clip(v, -bound, bound) if bound > 0 else v

    def asymmetric(self, v: Value, asymmetry: float) -> Value:
        return self.op.Where(self.op.Less(v, 0.0), self.op.Mul(v, 1 - asymmetry), v) if asymmetry else v

    def quantized(self, name: str, v: Value) -> Value:
        p, op = self.s.periphery, self.op
        if p is None:
            return v
        held = [self.held(f"{name}.{k}") for k in ("delta", "zero_float", "signed")]
        delta, zero, signed, idx = op.QuantizerState(
            v,
            *held,
            self.held(f"{name}_update_idx"),
            outputs=4,
            n_bits=p.n_bits,
            symmetric=int(p.symmetric),
            learn=int(p.learn_quant_params),
            init_learning_after=p.init_learning_after,
            training_mode=0,
        )
        self.move(
            **{f"{name}.delta": delta, f"{name}.zero_float": zero, f"{name}.signed": signed, f"{name}_update_idx": idx}
        )
        return op.AnalogQuantize(v, delta, zero, signed, n_bits=p.n_bits, symmetric=int(p.symmetric))

    def act_quantized(self, y: Value) -> Value:
        op, (n_bits, symmetric) = self.op, self.s.act_bits or (0, True)
        low, high, seen = op.RunningRange(
            y, *(self.held(f"act_quant.{k}") for k in ("low", "high", "seen")), outputs=3, training_mode=0
        )
        self.move(**{"act_quant.low": low, "act_quant.high": high, "act_quant.seen": seen})
        found = op.QuantizerRange(op.Concat(low, high, axis=0), outputs=3, n_bits=n_bits, symmetric=int(symmetric))
        return op.AnalogQuantize(y, *found, n_bits=n_bits, symmetric=int(symmetric))
