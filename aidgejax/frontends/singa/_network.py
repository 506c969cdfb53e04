"""singa.autograd's operations on images, batch normalization and dropout.

A handle says how an operation slides and pads.  Unlike SINGA's it fixes no size: the next batch may be another.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...errors import GraphError
from ._errors import BadSetting
from ._mode import is_training
from ._operation import Built
from ._tensor import Tensor

__all__ = [
    "Dropout",
    "GlobalAveragePool",
    "batchnorm_2d",
    "conv2d",
    "dropout",
    "globalaveragepool",
    "pooling_2d",
]

SAME = ("SAME_UPPER", "SAME_LOWER")
Pair = tuple[int, int]


@dataclass(frozen=True)
class Window:
    """A window that slides over an image.

    padding: (top, bottom, left, right).  pad_mode: NOTSET, or SAME_UPPER / SAME_LOWER, where the output has a position
    per stride and the padding follows.
    """

    kernel: Pair
    stride: Pair
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    pad_mode: str = "NOTSET"
    dilation: Pair = (1, 1)

    @property
    def reach(self) -> Pair:
        """From the first to the last element that it covers."""
        rows, columns = ((k - 1) * d + 1 for k, d in zip(self.kernel, self.dilation, strict=True))
        return rows, columns

    def pads(self, height: int, width: int) -> tuple[int, int, int, int]:
        """In ONNX's order: top, left, bottom, right."""
        if self.pad_mode not in SAME:
            top, bottom, left, right = self.padding
            return top, left, bottom, right
        (top, bottom), (left, right) = (
            self._same(size, k, s) for size, k, s in zip((height, width), self.reach, self.stride, strict=True)
        )
        return top, left, bottom, right

    def _same(self, size: int, kernel: int, stride: int) -> Pair:
        total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        start = total // 2 if self.pad_mode == "SAME_UPPER" else total - total // 2
        return start, total - start


@dataclass(frozen=True)
class ConvHandle:
    """How a convolution slides; group: in how many the channels are taken apart."""

    window: Window
    group: int = 1


@dataclass(frozen=True)
class PoolingHandle:
    """How a pool slides; is_max: the largest of a window, or its mean without the padding."""

    window: Window
    is_max: bool = True


@dataclass
class BatchNormHandle:
    """factor: the weight of a new batch in the running statistics."""

    factor: float = 0.9


def _image(x: Any, what: str) -> None:
    if x.rank != 4:
        raise GraphError(f"{what} takes images [n, channels, height, width], got {x}")


def _fits(x: Any, window: Window, size: tuple, pads: tuple) -> None:
    for d, k, before, after in zip(size, window.reach, pads[:2], pads[2:], strict=True):
        if d + before + after < k:
            raise GraphError(f"a window of {list(window.reach)} does not fit into {x} padded by {list(pads)}")


def _conv(op: Any, x: Any, w: Any, b: Any = None, *, window: Window, group: int, odd: tuple) -> Any:
    _image(x, "conv2d")
    if x.shape[1] != w.shape[1] * group:
        raise GraphError(f"a weight {w} with group {group} takes {w.shape[1] * group} channels, got {x}")
    top, left, bottom, right = window.pads(*x.shape[2:])
    before, after, start, end = odd
    pads = (top + before, left + start, bottom + after, right + end)
    _fits(x, window, x.shape[2:], pads)
    return op.Conv(x, w, b, pads=pads, strides=window.stride, dilations=window.dilation, group=group)


class _Conv2d(Built):
    """Convolution with W [out, in / group, kh, kw]; odd_padding adds to the handle's (top, bottom, left, right)."""

    write = staticmethod(_conv)

    def __init__(self, handle: ConvHandle, odd_padding: Any = (0, 0, 0, 0)) -> None:
        super().__init__(window=handle.window, group=handle.group, odd=tuple(odd_padding))


def conv2d(
    handle: ConvHandle, x: Tensor, W: Tensor, b: Tensor | None = None, odd_padding: Any = (0, 0, 0, 0)
) -> Tensor:
    """Convolution with W [out, in / group, kh, kw]; odd_padding adds to the handle's (top, bottom, left, right)."""
    return _Conv2d(handle, odd_padding)(x, W, *(() if b is None else (b,)))[0]


def _pool(op: Any, x: Any, *, window: Window, is_max: bool, odd: tuple) -> Any:
    _image(x, "pooling_2d")
    pads = window.pads(*x.shape[2:])
    before, after, start, end = odd
    if window.pad_mode in SAME:
        # Of an odd padding the one that is left over repeats the border; the even part counts for nothing.
        low, high = pads[:2], pads[2:]
        rows, columns = (min(a, b) for a, b in zip(low, high, strict=True))
        pads = (rows, columns, rows, columns)
        extra = lambda side: [side[k] - pads[k] for k in (0, 1)]
        (before, start), (after, end) = extra(low), extra(high)
    _fits(x, window, (x.shape[2] + before + after, x.shape[3] + start + end), pads)
    if any((before, after, start, end)):
        x = op.Pad(x, (0, 0, before, start, 0, 0, after, end), mode="edge", border_gradient=0)
    pool = op.MaxPool if is_max else op.AveragePool
    return pool(x, kernel_shape=window.kernel, strides=window.stride, pads=pads)


class _Pooling2d(Built):
    """The largest, or the mean, of each window."""

    write = staticmethod(_pool)

    def __init__(self, handle: PoolingHandle, odd_padding: Any = (0, 0, 0, 0)) -> None:
        super().__init__(window=handle.window, is_max=handle.is_max, odd=tuple(odd_padding))


def pooling_2d(handle: PoolingHandle, x: Tensor, odd_padding: Any = (0, 0, 0, 0)) -> Tensor:
    """The largest, or the mean, of each window; of equal ones the first gets the gradient."""
    return _Pooling2d(handle, odd_padding)(x)[0]


def _batch_norm(op: Any, x: Any, scale: Any, bias: Any, mean: Any, var: Any, *, factor: float, training: int) -> Any:
    if x.rank not in (2, 3, 4, 5) or any(v.shape != (x.shape[1],) for v in (scale, bias, mean, var)):
        raise GraphError(
            f"batch normalization of {x} takes 4 tensors of one number per channel, got {scale}, {bias}, {mean}, {var}"
        )
    return op.BatchNormalization(
        x,
        scale,
        bias,
        mean,
        var,
        outputs=3 if training else 1,
        training_mode=training,
        momentum=1 - factor,
        unbiased_running_var=1,
    )


class _BatchNorm2d(Built):
    """See batchnorm_2d."""

    write = staticmethod(_batch_norm)

    def __init__(self, handle: BatchNormHandle, running_mean: Tensor, running_var: Tensor, training: bool) -> None:
        super().__init__((running_mean, running_var), factor=float(handle.factor), training=int(training))


def batchnorm_2d(
    handle: BatchNormHandle, x: Tensor, scale: Tensor, bias: Tensor, running_mean: Tensor, running_var: Tensor
) -> Tensor:
    """Normalized per channel: by the batch, whose statistics the running ones follow, or outside training by those."""
    training = is_training()
    y, *statistics = _BatchNorm2d(handle, running_mean, running_var, training)(x, scale, bias)
    for running, new in zip((running_mean, running_var), statistics, strict=False):
        running.data.array = new.data.array
    return y


def _global_average(op: Any, x: Any, *, data_format: str) -> Any:
    if data_format == "channel_last":
        x = op.Transpose(x, perm=(0, 3, 1, 2))
    return op.GlobalAveragePool(x)


class GlobalAveragePool(Built):
    """The mean of each channel, [n, channels, 1, 1].  data_format: channels_first or channel_last."""

    write = staticmethod(_global_average)

    def __init__(self, data_format: str = "channels_first") -> None:
        if data_format not in ("channels_first", "channel_last", "channels_last"):
            raise BadSetting(
                f"globalaveragepool: data_format is {data_format!r}; expected channels_first or channel_last"
            )
        super().__init__(data_format=data_format.replace("channels_last", "channel_last"))


def globalaveragepool(x: Tensor, data_format: str = "channels_first") -> Tensor:
    """The mean of each channel, [n, channels, 1, 1]; channel_last: of images [n, height, width, channels]."""
    return GlobalAveragePool(data_format)(x)[0]


def _dropout(op: Any, x: Any, *, ratio: float, seed: int | None, training: bool) -> Any:
    return op.Dropout(x, ratio, True if training else None, seed=seed)


class Dropout(Built):
    """In training, zero with probability ratio and the rest divided by 1 - ratio; otherwise x."""

    write = staticmethod(_dropout)

    def __init__(self, seed: int = 0, ratio: float = 0.5) -> None:
        if not 0 <= ratio < 1:
            raise BadSetting(f"dropout: ratio is {ratio!r}; expected the fraction to drop, from 0 to below 1")
        super().__init__(ratio=float(ratio), seed=int(seed) or None, training=is_training())


def dropout(x: Tensor, seed: int = 0, ratio: float = 0.5) -> Tensor:
    """In training, zero with probability ratio and the rest divided by 1 - ratio; otherwise x.

    The mask comes from the stream of x's device (see Device.SetRandSeed); another seed gives another mask.
    """
    return Dropout(seed, ratio)(x)[0]
