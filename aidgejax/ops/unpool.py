"""MaxUnpool: what a max-pooling picked, put back where it came from."""

import math

import jax.numpy as jnp
import numpy as np

from ..errors import GraphError
from ._registry import operator
from ._windows import image_rank, per_axis


def max_unpool_vjp(op, x, indices, output_shape, y, dy, *, kernel_shape, pads, strides):
    """Each number of x stands at one place of y.  The places count in the image that the windows make."""
    if output_shape is not None:
        small = op.Sub(
            op.Add(op.Mul(op.Sub(op.Shape(x, start=2), (1,)), strides or (1,)), kernel_shape),
            padding(pads, len(kernel_shape)),
        )
        dy = op.Slice(dy, (0,) * len(kernel_shape), small, tuple(range(2, 2 + len(kernel_shape))))
    return op.ReshapeLike(op.Gather(op.Reshape(dy, (-1,)), indices, axis=0), x), None, None


def padding(pads, rank):
    """The padding of both ends of an axis, together."""
    pads = pads or (0,) * 2 * rank
    return tuple(a + b for a, b in zip(pads[:rank], pads[rank:], strict=True))


@operator("MaxUnpool", onnx=("", 11), vjp=max_unpool_vjp, static=("output_shape",))
def max_unpool(x, indices, output_shape=None, *, kernel_shape=None, pads=None, strides=None):
    """x at the places that MaxPool's indices say, zeros elsewhere.  t[n, c, *r], i64[n, c, *r] -> t[n, c, *s].

    The image has (r - 1) * stride + kernel - padding positions along an axis; with a larger output_shape zeros follow
    after them.  ONNX MaxUnpool-11."""
    rank = image_rank(x)
    kernel = per_axis("kernel_shape", kernel_shape, rank)
    both = padding(per_axis("pads", pads, 2 * rank, default=0, lowest=0), rank)
    steps = per_axis("strides", strides, rank)
    sizes = [(r - 1) * s + k - p for r, s, k, p in zip(jnp.shape(x)[2:], steps, kernel, both, strict=True)]
    if jnp.shape(indices) != jnp.shape(x) or min(sizes) < 1:
        raise GraphError(
            f"x is {list(jnp.shape(x))} and indices {list(jnp.shape(indices))}, of an image of {sizes}; "
            f"expected indices as many as x, and an image of 1 or more"
        )
    shape = (*jnp.shape(x)[:2], *sizes)
    y = jnp.zeros(math.prod(shape), jnp.result_type(x)).at[jnp.ravel(indices)].set(jnp.ravel(x)).reshape(shape)
    if output_shape is None:
        return y
    wanted = [int(d) for d in np.ravel(output_shape)]
    if len(wanted) != len(shape) or any(w < d for w, d in zip(wanted, shape, strict=True)):
        raise GraphError(f"output_shape is {wanted}; expected at least {list(shape)}")
    return jnp.pad(y, [(0, w - d) for w, d in zip(wanted, shape, strict=True)])
