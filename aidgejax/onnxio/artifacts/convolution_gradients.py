"""Gradients of convolutions of many channels, in the form that plain onnxruntime computes fastest on a CPU.

They take more nodes than those of the exporter (a product for every tap of the kernel), which a file of a training step
has no room for; an artifact does.  For fewer than 16 channels the exporter's forms are faster.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...graph import Value
from ...ops import Windows, windows

MANY, MOST_TAPS = 16, 9
HOW = ("strides", "pads", "dilations", "auto_pad")


def conv_grad_input(op: Any, dy: Value, w: Value, x: Value, **how: Any) -> Any:
    """dL/dx at stride 1 as the convolution of dy with the flipped kernel: ConvTranspose takes up to twice the time."""
    win = _windows_of_many(x, w, how)
    if win is not None and set(win.strides) == {1} and len(win.taps) > 1:
        before = tuple(e - 1 - b for e, b in zip(win.extent, win.begin, strict=True))
        after = tuple(n + b - o for n, b, o in zip(win.sizes, win.begin, win.out, strict=True))
        if min(before + after) >= 0:
            space, back = tuple(range(2, win.rank + 2)), (-1,) * win.rank
            flipped = op.Slice(w, back, tuple(-k - 1 for k in win.kernel), space, back)
            return op.Conv(dy, op.Transpose(flipped, perm=(1, 0, *space)), dilations=win.dilations, pads=before + after)
    return op.ConvGradInput(dy, w, x, **how)


def conv_grad_weight(op: Any, x: Value, dy: Value, w: Value, **how: Any) -> Any:
    """dL/dw tap by tap: a product of dy with what the tap sees of x, over positions and batch at once."""
    win = _windows_of_many(x, w, how)
    if win is None or not 1 < len(win.taps) <= MOST_TAPS:
        return op.ConvGradWeight(x, dy, w, **how)
    outputs, channels = (w.shape or ())[:2]
    space = tuple(range(2, win.rank + 2))
    dy = op.Reshape(op.Transpose(dy, perm=(1, 0, *space)), (outputs, -1))
    x = op.Transpose(x, perm=(0, *space, 1))
    after = [max(0, a) for a in win.after]
    if any(win.begin) or any(after):
        x = op.Pad(x, (0, *win.begin, 0, 0, *after, 0))
    parts = []
    for tap in win.taps:
        start = tuple(d * k for d, k in zip(win.dilations, tap, strict=True))
        stop = tuple(a + s * (o - 1) + 1 for a, s, o in zip(start, win.strides, win.out, strict=True))
        seen = op.Slice(x, start, stop, tuple(range(1, win.rank + 1)), win.strides)
        parts.append(op.MatMul(dy, op.Reshape(seen, (-1, channels))))
    dw = op.Reshape(op.Concat(*parts, axis=1), (outputs, -1, channels))
    return op.Reshape(op.Transpose(dw, perm=(0, 2, 1)), tuple(w.shape or ()))


FORMS: dict[str, Callable[..., Any]] = {"ConvGradInput": conv_grad_input, "ConvGradWeight": conv_grad_weight}


def _windows_of_many(x: Value, w: Value, how: dict[str, Any]) -> Windows | None:
    """The windows of a convolution without groups whose sizes are numbers and whose channels are many, else None."""
    if not x.shape or not w.shape or how.get("group", 1) != 1:
        return None
    sizes = [d for d in x.shape[2:] if isinstance(d, int)]
    kernel = [d for d in w.shape if isinstance(d, int)]
    if len(sizes) != len(x.shape) - 2 or len(kernel) != len(w.shape) or min(kernel[:2]) < MANY:
        return None
    return windows(sizes, kernel[2:], **{k: how[k] for k in HOW if k in how})
