"""Convolutions, and the two convolutions that are their gradients."""

import math

import jax.numpy as jnp
from jax import lax

from ..errors import GraphError
from ._convolution import convolve, convolve_input, convolve_weight
from ._registry import SPATIAL_NUMBERS, operator
from ._windows import Windows, channels_last, check_auto_pad, check_cotangent, in_layout, per_axis, windows


def conv_vjp(op, x, w, b, y, dy, *, auto_pad, dilations, group, pads, strides):
    how = {"auto_pad": auto_pad, "dilations": dilations, "group": group, "pads": pads, "strides": strides}
    db = None if b is None else op.ReduceSum(dy, (0, *range(2, x.rank)), keepdims=0)
    return op.ConvGradInput(dy, w, x, **how), op.ConvGradWeight(x, dy, w, **how), db


def conv_flops(inputs, outputs, attributes):
    return 2.0 * math.prod(outputs[0]) * math.prod(inputs[1][1:])


@operator(
    "Conv",
    onnx=("", 11),
    weights=("w", "b"),
    gradient_exports=SPATIAL_NUMBERS,
    vjp=conv_vjp,
    layout=((0,), (0,)),
    flops=conv_flops,
)
def conv(
    x,
    w,
    b=None,
    *,
    auto_pad="NOTSET",
    dilations=None,
    group=1,
    kernel_shape=None,
    pads=None,
    strides=None,
    layout="NCHW",
):
    """y = x * w + b, each channel of y summed over its group's channels of x.  f[n, i, *s], f[o, i / group, *k], f[o]
    -> f[n, o, *r].  ONNX Conv-11; 1, 2 or 3 spatial axes."""
    win = conv_windows(
        channels_last(x, layout).shape,
        jnp.shape(w),
        kernel_shape,
        auto_pad=auto_pad,
        dilations=dilations,
        group=group,
        pads=pads,
        strides=strides,
    )
    check_bias(b, w.shape[0])
    y = convolve(channels_last(x, layout), kernel_last(w), win, group)
    return in_layout(y if b is None else y + b, layout)


def conv_grad_input_vjp(op, dy, w, x, dx, ddx, *, auto_pad, dilations, group, pads, strides):
    how = {"auto_pad": auto_pad, "dilations": dilations, "group": group, "pads": pads, "strides": strides}
    return op.Conv(ddx, w, **how), op.ConvGradWeight(ddx, dy, w, **how), None


def conv_grad_input_onnx(op, dy, w, x, *, auto_pad, dilations, group, pads, strides):
    """The ConvTranspose with the same windows; what they leave out at the end of x is its output_padding."""
    if not is_static(x, w):
        return conv_grad_input_of_any_size(op, dy, w, x, auto_pad, dilations, group, pads, strides)
    win = static_windows(
        "ConvGradInput", x, w.shape[2:], auto_pad=auto_pad, dilations=dilations, pads=pads, strides=strides
    )
    return op.ConvTranspose(
        dy,
        w,
        strides=win.strides,
        dilations=win.dilations,
        group=group,
        pads=(*win.begin, *(max(0, a) for a in win.after)),
        output_padding=tuple(max(0, -a) for a in win.after),
    )


@operator("ConvGradInput", vjp=conv_grad_input_vjp, decompose=conv_grad_input_onnx, layout=((0, 2), (0,)))
def conv_grad_input(dy, w, x, *, auto_pad="NOTSET", dilations=None, group=1, pads=None, strides=None, layout="NCHW"):
    """dL/dx of Conv, dy spread over the windows; of x only the shape is read.  f[n, o, *r], f[o, i / group, *k],
    f[n, i, *s] -> f[n, i, *s]."""
    dy, x = channels_last(dy, layout), channels_last(x, layout)
    win = conv_windows(
        x.shape, w.shape, None, auto_pad=auto_pad, dilations=dilations, group=group, pads=pads, strides=strides
    )
    check_cotangent(dy, win, w.shape[0])
    return in_layout(convolve_input(dy, kernel_last(w), win, group), layout)


def conv_grad_weight_vjp(op, x, dy, w, dw, ddw, *, auto_pad, dilations, group, pads, strides):
    how = {"auto_pad": auto_pad, "dilations": dilations, "group": group, "pads": pads, "strides": strides}
    return op.ConvGradInput(dy, ddw, x, **how), op.Conv(x, ddw, **how), None


def conv_grad_weight_onnx(op, x, dy, w, *, auto_pad, dilations, group, pads, strides):
    if not is_static(x, w):
        return conv_grad_weight_of_any_size(op, x, dy, w, auto_pad, dilations, group, pads, strides)
    win = static_windows(
        "ConvGradWeight", x, w.shape[2:], auto_pad=auto_pad, dilations=dilations, pads=pads, strides=strides
    )
    pointwise = win.kernel == (1,) * win.rank
    products = math.prod(w.shape)  # of every image, before they are added up
    few = len(win.taps) <= MOST_TAPS and products <= math.prod(x.shape[1:]) + math.prod(dy.shape[1:])
    large = set(win.strides) == {1} and math.prod(win.out) >= LARGE  # Slice is slow where it leaves out elements
    form = weight_by_taps if few and (pointwise or large) else weight_by_conv
    return form(op, x, dy, w, win, group)


# In onnxruntime, on a CPU, products of matrices win on large images of few channels, the convolution on the others.
MOST_TAPS, LARGE, SMALL = 9, 256, 4


def weight_by_conv(op, x, dy, w, win, group):
    """Batch and channels change places: dy, spread by the strides, is the kernel that slides over x."""
    space = tuple(range(2, win.rank + 2))
    turn = (1, 0, *space)
    if group == 1:
        x = op.Transpose(x, perm=turn)
    else:  # f[n, group * i, *s] -> f[i, group * n, *s]
        x = op.Transpose(op.Reshape(x, (0, group, w.shape[1], *win.sizes)), perm=(2, 1, 0, *(a + 1 for a in space)))
        x = op.Reshape(x, (w.shape[1], -1, *win.sizes))
    dw = op.Conv(
        x,
        op.Transpose(dy, perm=turn),
        strides=win.dilations,
        dilations=win.strides,
        group=group,
        pads=(*win.begin, *(max(0, a) for a in win.after)),
    )
    return op.Transpose(op.Slice(dw, (0,) * win.rank, win.kernel, space), perm=turn)


def weight_by_taps(op, x, dy, w, win, group):
    """Tap by tap, the product of dy with what the tap sees of x, as matrices of channels and positions."""
    outputs, channels = w.shape[0], w.shape[1]
    dy = op.Reshape(dy, (0, group, outputs // group, -1))
    after = [max(0, a) for a in win.after]
    if any(win.begin) or any(after):
        x = op.Pad(x, (0, 0, *win.begin, 0, 0, *after))
    axes, seen = tuple(range(2, win.rank + 2)), []
    for t in win.taps:
        start = tuple(d * k for d, k in zip(win.dilations, t, strict=True))
        stop = tuple(a + s * (o - 1) + 1 for a, s, o in zip(start, win.strides, win.out, strict=True))
        seen.append(op.Reshape(op.Slice(x, start, stop, axes, win.strides), (0, group, channels, -1)))
    if channels <= SMALL and len(seen) > 1:  # then the matrices are too small, and go side by side
        seen = [op.Concat(*seen, axis=2)]
    parts = [op.MatMul(dy, op.Transpose(s, perm=(0, 1, 3, 2))) for s in seen]
    dw = op.ReduceSum(op.Concat(*parts, axis=3) if len(parts) > 1 else parts[0], (0,), keepdims=0)
    return op.Reshape(op.Transpose(op.Reshape(dw, (outputs, -1, channels)), perm=(0, 2, 1)), w.shape)


@operator("ConvGradWeight", vjp=conv_grad_weight_vjp, decompose=conv_grad_weight_onnx, layout=((0, 1), ()))
def conv_grad_weight(x, dy, w, *, auto_pad="NOTSET", dilations=None, group=1, pads=None, strides=None, layout="NCHW"):
    """dL/dw of Conv, x and dy met window by window; of w only the shape is read.  f[n, i, *s], f[n, o, *r],
    f[o, i / group, *k] -> f[o, i / group, *k]."""
    x, dy = channels_last(x, layout), channels_last(dy, layout)
    win = conv_windows(
        x.shape, w.shape, None, auto_pad=auto_pad, dilations=dilations, group=group, pads=pads, strides=strides
    )
    check_cotangent(dy, win, w.shape[0])
    dw = convolve_weight(x, dy, win, group)
    return jnp.moveaxis(dw, (-1, -2), (0, 1))


def conv_transpose_vjp(op, x, w, b, y, dy, *, auto_pad, dilations, group, output_padding, output_shape, pads, strides):
    # Where the output is larger than what the windows reach, dy is cut to what they do.
    win = transposed_windows(
        spatial_of(x, output_shape),
        w.shape[2:],
        auto_pad=auto_pad,
        dilations=dilations,
        output_padding=output_padding,
        output_shape=output_shape,
        pads=pads,
        strides=strides,
    )
    cut = [k for k, a in enumerate(win.after) if a < 0]
    d = op.Slice(dy, (0,) * len(cut), tuple(win.after[k] for k in cut), tuple(k + 2 for k in cut)) if cut else dy
    how = {
        "dilations": win.dilations,
        "group": group,
        "pads": (*win.begin, *(max(0, a) for a in win.after)),
        "strides": win.strides,
    }
    db = None if b is None else op.ReduceSum(dy, (0, *range(2, w.rank)), keepdims=0)
    return op.Conv(d, w, **how), op.ConvGradWeight(d, x, w, **how), db


def conv_transpose_flops(inputs, outputs, attributes):
    return 2.0 * math.prod(inputs[0]) * math.prod(inputs[1][1:])


@operator(
    "ConvTranspose",
    onnx=("", 11),
    weights=("w", "b"),
    vjp=conv_transpose_vjp,
    layout=((0,), (0,)),
    flops=conv_transpose_flops,
)
def conv_transpose(
    x,
    w,
    b=None,
    *,
    auto_pad="NOTSET",
    dilations=None,
    group=1,
    kernel_shape=None,
    output_padding=None,
    output_shape=None,
    pads=None,
    strides=None,
    layout="NCHW",
):
    """The transpose of Conv: each x spread over its window of y by w, added up, + b.  f[n, i, *s],
    f[i, o / group, *k], f[o] -> f[n, o, *r].  ONNX ConvTranspose-11; 1, 2 or 3 spatial axes."""
    x = channels_last(x, layout)
    check_kernel(x.shape, w.shape, kernel_shape)
    if group < 1 or x.shape[-1] != w.shape[0] or w.shape[0] % group:
        raise GraphError(
            f"an image of {x.shape[-1]} channels does not fit a weight of shape {list(w.shape)} with "
            f"group={group}: the weight's first size is the number of channels, which group divides"
        )
    win = transposed_windows(
        x.shape[1:-1],
        w.shape[2:],
        auto_pad=auto_pad,
        dilations=dilations,
        output_padding=output_padding,
        output_shape=output_shape,
        pads=pads,
        strides=strides,
    )
    check_bias(b, w.shape[1] * group)
    y = convolve_input(x, kernel_last(w), win, group)
    return in_layout(y if b is None else y + b, layout)


# ---- shared -------------------------------------------------------------------------------------------


def kernel_last(w):
    """ONNX's [o, i, *k] as XLA likes it: [*k, i, o]."""
    if w.shape[1] == 1:
        # One channel becomes a sum of scaled images. Behind the barrier the scales of a tap lie side by side; without
        # it XLA picks each from w, which takes three times as long.
        transposed = lax.optimization_barrier(jnp.reshape(w, (w.shape[0], -1)).T)
        return jnp.reshape(transposed, (*w.shape[2:], 1, w.shape[0]))
    return jnp.moveaxis(w, (0, 1), (-1, -2))


def check_bias(b, channels):
    if b is not None and jnp.shape(b) != (channels,):
        raise GraphError(f"the bias has shape {list(jnp.shape(b))}, expected [{channels}]: one per output channel")


def check_kernel(x_shape, w_shape, kernel_shape):
    if len(x_shape) < 3 or len(w_shape) != len(x_shape):
        raise GraphError(
            f"got an image of rank {len(x_shape)} and a weight of rank {len(w_shape)}, expected the same "
            f"rank, 3 or more: image [n, c, *spatial], weight with two sizes for channels, then *kernel"
        )
    if kernel_shape is not None and tuple(kernel_shape) != tuple(w_shape[2:]):
        raise GraphError(f"kernel_shape is {list(kernel_shape)}, but the weight has {list(w_shape[2:])}")


def conv_windows(x_shape, w_shape, kernel_shape, *, group, **how) -> Windows:
    """The windows of a convolution of x[n, *s, i] by w[o, i / group, *k], channels checked."""
    check_kernel(x_shape, w_shape, kernel_shape)
    if group < 1 or x_shape[-1] != w_shape[1] * group or w_shape[0] % group:
        raise GraphError(
            f"an image of {x_shape[-1]} channels does not fit a weight of shape {list(w_shape)} with "
            f"group={group}: the weight's second size is channels / group, and group divides its first"
        )
    return windows(x_shape[1:-1], w_shape[2:], **how)


# ---- images whose height and width are symbols --------------------------------------------------------


def is_static(x, w):
    return all(isinstance(d, int) for d in (*x.shape[2:], *w.shape[2:]))


def numbers_per_axis(what, x, w, auto_pad, dilations, pads, strides):
    """(dilations, begins, ends, strides): all that is known of windows on an image of unknown size."""
    rank = len(w.shape) - 2
    if auto_pad not in ("NOTSET", "VALID") or not all(isinstance(d, int) for d in w.shape):
        raise GraphError(
            f"{what} of {x}, whose height and width are no numbers, can be written in standard operators only for "
            f"padding given in numbers, got auto_pad={auto_pad}; give them with shapes=, or export with explicit pads"
        )
    both = per_axis("pads", None if auto_pad == "VALID" else pads, 2 * rank, default=0, lowest=0)
    strides, dilations = per_axis("strides", strides, rank), per_axis("dilations", dilations, rank)
    return dilations, tuple(both[:rank]), tuple(both[rank:]), strides


def conv_grad_input_of_any_size(op, dy, w, x, auto_pad, dilations, group, pads, strides):
    """The windows leave out less than a stride at the end of x: so many zeros behind, and the end of x cut off."""
    dilations, begin, end, strides = numbers_per_axis("ConvGradInput", x, w, auto_pad, dilations, pads, strides)
    rank = len(strides)
    how = {"strides": strides, "dilations": dilations, "group": group}
    if set(strides) == {1}:
        return op.ConvTranspose(dy, w, pads=(*begin, *end), **how)
    dx = op.ConvTranspose(dy, w, pads=(*begin, *[0] * rank), **how)
    dx = op.Pad(dx, (*[0] * (rank + 4), *(s - 1 for s in strides)))
    sizes = op.Slice(op.Shape(x), (2,), (rank + 2,), (0,))
    return op.Slice(dx, (0,) * rank, sizes, tuple(range(2, rank + 2)))


def conv_grad_weight_of_any_size(op, x, dy, w, auto_pad, dilations, group, pads, strides):
    """weight_by_conv with all of the padding; what the windows leave out makes the result too large, and is cut off."""
    dilations, begin, end, strides = numbers_per_axis("ConvGradWeight", x, w, auto_pad, dilations, pads, strides)
    rank = len(strides)
    space = tuple(range(2, rank + 2))
    turn = (1, 0, *space)
    if group == 1:
        x = op.Transpose(x, perm=turn)
    else:
        sizes = op.Slice(op.Shape(x), (2,), (rank + 2,), (0,))
        x = op.Reshape(x, op.Concat((-1, group, w.shape[1]), sizes, axis=0))
        x = op.Transpose(x, perm=(2, 1, 0, *(a + 1 for a in space)))
        x = op.Reshape(x, op.Concat((w.shape[1], -1), sizes, axis=0))
    how = {"strides": dilations, "dilations": strides, "group": group, "pads": (*begin, *end)}
    dw = op.Conv(x, op.Transpose(dy, perm=turn), **how)
    return op.Transpose(op.Slice(dw, (0,) * rank, w.shape[2:], space), perm=turn)


def static_windows(what, x, kernel, **how) -> Windows:
    """The windows on a Value x, for decomposing an operator into ONNX's."""
    sizes = x.shape[2:]
    if not all(isinstance(d, int) for d in (*sizes, *kernel)):
        raise GraphError(
            f"{what} can be decomposed into standard operators only where the spatial sizes are numbers, "
            f"got {x}; declare the image with fixed height and width"
        )
    return windows(sizes, kernel, **how)


def transposed_windows(sizes, kernel, *, auto_pad, dilations, output_padding, output_shape, pads, strides) -> Windows:
    """The windows on the output of a ConvTranspose, one for every position of its input, which has these sizes."""
    rank = len(sizes)
    strides, dilations = per_axis("strides", strides, rank), per_axis("dilations", dilations, rank)
    both = per_axis("pads", pads, 2 * rank, default=0, lowest=0)
    more = per_axis("output_padding", output_padding, rank, default=0, lowest=0)
    if any(m >= max(s, d) for m, s, d in zip(more, strides, dilations, strict=True)):
        raise GraphError(
            f"output_padding is {list(more)}, expected each smaller than its stride or dilation "
            f"(strides {list(strides)}, dilations {list(dilations)})"
        )
    chosen = check_auto_pad(auto_pad, None if output_shape is not None else pads)
    full = [
        s * (n - 1) + m + d * (k - 1) + 1 for n, k, s, d, m in zip(sizes, kernel, strides, dilations, more, strict=True)
    ]
    if output_shape is None and not (chosen and auto_pad.startswith("SAME")):
        begin, end = both[:rank], both[rank:]
        out = tuple(f - b - e for f, b, e in zip(full, begin, end, strict=True))
    else:
        out = (
            per_axis("output_shape", output_shape, rank)
            if output_shape is not None
            else tuple(n * s for n, s in zip(sizes, strides, strict=True))
        )
        if output_shape is not None and any(o - f >= s for o, f, s in zip(out, full, strides, strict=True)):
            raise GraphError(
                f"output_shape is {list(out)}, but an input of {list(sizes)} reaches only {full}, and at "
                f"most stride - 1 more; use a smaller output_shape, or larger strides"
            )
        total = [max(0, f - o) for f, o in zip(full, out, strict=True)]
        less, rest = tuple(t // 2 for t in total), tuple(t - t // 2 for t in total)
        begin, end = (less, rest) if auto_pad == "SAME_UPPER" else (rest, less)
    if min(out) < 1:
        raise GraphError(f"pads={list(both)} leave nothing of an output of {full}; use smaller pads")
    return Windows(out, tuple(kernel), strides, dilations, begin, end, tuple(sizes))


def spatial_of(x, output_shape):
    """The spatial sizes of a Value.  Unless an output_shape is given the paddings do not depend on them: then any
    number may stand for a size that has only a name."""
    if output_shape is not None and not all(isinstance(d, int) for d in x.shape[2:]):
        raise GraphError(
            f"the gradient of a ConvTranspose with output_shape needs spatial sizes that are numbers, got "
            f"{x}; use pads and output_padding instead, or declare the image with fixed height and width"
        )
    return tuple(d if isinstance(d, int) else 1 << 20 for d in x.shape[2:])
