"""onnxruntime's operators in layouts of its own: blocks of channels (nchwc) and channels last, in NCHW.

In blocks of channels the plain meaning is NCHW with as many channels as fill the blocks: `ReorderInput` adds zeros,
`ReorderOutput` leaves them off, and the filters (see packed_weights.py) are NCHW's.
"""

from __future__ import annotations

import numpy as np

from .registry import NCHWC, Unread, activated, contrib, known_rank

FIRST, LAST = (0, 3, 1, 2), (0, 2, 3, 1)  # NHWC -> NCHW, and back


def channels_first(op, x):
    return op.Transpose(x, perm=FIRST)


def channels_behind(op, y):
    return op.Transpose(y, perm=LAST)


# ---- channels last -----------------------------------------------------------------------------------


@contrib("NhwcConv")
def nhwc_conv(op, x, w, b=None, **how):
    return channels_behind(op, op.Conv(channels_first(op, x), w, b, **how))


@contrib("NhwcFusedConv")
def nhwc_fused_conv(op, x, w, b=None, z=None, *, activation="", activation_params=(), **how):
    y = op.Conv(channels_first(op, x), w, b, **how)
    y = y if z is None else op.Add(y, channels_first(op, z))
    return channels_behind(op, activated(op, y, activation, activation_params))


@contrib("NhwcMaxPool")
def nhwc_max_pool(op, x, **how):
    return channels_behind(op, op.MaxPool(channels_first(op, x), **how))


def _activation(op, y, activation):
    if activation not in (0, 1):
        raise Unread(f"its activation {activation} is neither 0 nor 1 (SiLU)")
    return op.Mul(y, op.Sigmoid(y)) if activation else y


@contrib("GroupNorm")
def group_norm(op, x, gamma, beta, *, groups, activation, channels_last=1, epsilon=1e-5):
    x = channels_first(op, x) if channels_last else x
    y = op.GroupNormalization(x, gamma, beta, num_groups=groups, epsilon=epsilon)
    y = _activation(op, y, activation)
    return channels_behind(op, y) if channels_last else y


@contrib("SkipGroupNorm")
def skip_group_norm(op, x, gamma, beta, skip, bias=None, *, groups, activation, channels_last=1, epsilon=1e-5):
    if not channels_last:
        raise Unread("channels_last=0 is not read")
    total = op.Add(x, skip) if bias is None else op.Add(op.Add(x, skip), bias)
    return group_norm(op, total, gamma, beta, groups=groups, activation=activation, epsilon=epsilon), total


# ---- blocks of channels ------------------------------------------------------------------------------


@contrib("ReorderInput", domain=NCHWC, shaped=True)
def reorder_input(op, x, *, channels_last=0, block=16):
    known_rank(x, "input")
    channels = x.shape[-1 if channels_last else 1]
    if not isinstance(channels, int):
        raise Unread("how many channels its input has is not known; give the shapes of the model's inputs")
    y = channels_first(op, x) if channels_last else x
    missing = -channels % block
    if not missing:
        return op.Identity(y) if y is x else y
    return op.Pad(y, (0, 0, 0, 0, 0, missing, 0, 0))


@contrib("ReorderOutput", domain=NCHWC)
def reorder_output(op, x, *, channels, channels_last=0):
    y = op.Slice(x, (0,), (channels,), (1,))
    return channels_behind(op, y) if channels_last else y


@contrib("Conv", domain=NCHWC)
def nchwc_conv(op, x, w, b=None, total=None, *, unpacked, activation="", activation_params=(), **how):
    y = op.Conv(x, w, b, **how)
    return activated(op, y if total is None else op.Add(y, total), activation, activation_params)


def _same(kind):
    def write(op, x, **how):
        return getattr(op, kind)(x, **how)

    contrib(kind, domain=NCHWC)(write)


for _kind in ("MaxPool", "AveragePool", "GlobalMaxPool", "GlobalAveragePool"):
    _same(_kind)


@contrib("Upsample", domain=NCHWC)
def upsample(op, x, *, scales, mode="nearest", coordinate_transformation_mode="asymmetric"):
    return op.Resize(
        x,
        None,
        np.asarray(scales, np.float32),
        mode=mode,
        coordinate_transformation_mode=coordinate_transformation_mode,
        nearest_mode="floor",
    )
