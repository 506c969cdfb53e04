"""Operators that move elements, in NumPy."""

import numpy as np

from ._definition import backward, define


@define("Identity")
def identity(x):
    return x


@define("Barrier")
def barrier(x, after=None):
    return x


@backward("Identity")
def identity_backward(x, y, dy):
    return (dy,)


@define("ZerosLike")
def zeros_like(x):
    return np.zeros_like(x)


@define("Reshape")
def reshape(x, shape, *, allowzero=0):
    sizes = [x.shape[k] if d == 0 and not allowzero else int(d) for k, d in enumerate(shape)]
    return np.reshape(x, sizes)


@backward("Reshape")
def reshape_backward(x, shape, y, dy):
    return np.reshape(dy, x.shape), None


@define("ReshapeLike")
def reshape_like(x, like):
    return np.reshape(x, np.shape(like))


@define("Flatten")
def flatten(x, *, axis=1):
    before = x.shape[:axis]
    return x.reshape(int(np.prod(before)), int(np.prod(x.shape[len(before) :])))


@backward("Flatten")
def flatten_backward(x, y, dy):
    return (dy.reshape(x.shape),)


@define("Squeeze")
def squeeze(x, axes=None):
    return np.squeeze(x) if axes is None else np.squeeze(x, tuple(int(a) for a in np.ravel(axes)))


@backward("Squeeze")
def squeeze_backward(x, axes, y, dy):
    return dy.reshape(x.shape), None


@define("Unsqueeze")
def unsqueeze(x, axes):
    axes = np.ravel(axes)
    rank = np.ndim(x) + len(axes)
    for a in sorted(int(a) % rank for a in axes):
        x = np.expand_dims(x, a)
    return x


@backward("Unsqueeze")
def unsqueeze_backward(x, axes, y, dy):
    return dy.reshape(np.shape(x)), None


@define("Transpose")
def transpose(x, *, perm=None):
    return np.transpose(x, perm)


@backward("Transpose")
def transpose_backward(x, y, dy, *, perm=None):
    perm = list(range(x.ndim))[::-1] if perm is None else list(perm)
    return (np.transpose(dy, [perm.index(k) for k in range(x.ndim)]),)


@define("DepthToSpace")
def depth_to_space(x, *, blocksize, mode="DCR"):
    n, c, h, w = x.shape
    b, channels = blocksize, c // blocksize**2
    y = np.zeros((n, channels, h * b, w * b), x.dtype)
    for k, i, j in np.ndindex(channels, b, b):
        source = (i * b + j) * channels + k if mode == "DCR" else (k * b + i) * b + j
        y[:, k, i::b, j::b] = x[:, source]
    return y


@backward("DepthToSpace")
def depth_to_space_backward(x, y, dy, *, blocksize, mode="DCR"):
    source = depth_to_space(np.arange(x.size).reshape(x.shape), blocksize=blocksize, mode=mode)
    dx = np.zeros(x.size, dy.dtype)
    dx[source.ravel()] = dy.ravel()
    return (dx.reshape(x.shape),)


@define("SpaceToDepth")
def space_to_depth(x, *, blocksize, mode="DCR"):
    b = blocksize
    pieces = [x[:, :, i::b, j::b] for i in range(b) for j in range(b)]
    if mode == "DCR":
        return np.concatenate(pieces, axis=1)
    return np.stack(pieces, axis=2).reshape(x.shape[0], -1, *pieces[0].shape[2:])


@backward("SpaceToDepth")
def space_to_depth_backward(x, y, dy, *, blocksize, mode="DCR"):
    return (depth_to_space(dy, blocksize=blocksize, mode=mode),)


@define("Expand")
def expand(x, shape):
    return np.asarray(x) * np.ones([int(d) for d in shape], np.asarray(x).dtype)


@backward("Expand")
def expand_backward(x, shape, y, dy):
    return dy, None


@define("ExpandLike")
def expand_like(x, like):
    return np.broadcast_to(x, np.shape(like))


@define("Tile")
def tile(x, repeats):
    for axis, times in enumerate(repeats):
        x = np.concatenate([x] * int(times) or [np.take(x, [], axis)], axis)
    return x


@backward("Tile")
def tile_backward(x, repeats, y, dy):
    dx = np.zeros_like(x)
    for where in np.ndindex(*(int(r) for r in repeats)):
        dx += dy[tuple(slice(k * d, (k + 1) * d) for k, d in zip(where, x.shape, strict=True))]
    return dx, None


@define("Trilu")
def trilu(x, k=None, *, upper=1):
    k = 0 if k is None else int(np.asarray(k).reshape(()))
    row, column = np.indices(x.shape[-2:])
    kept = column - row >= k if upper else column - row <= k
    return np.where(kept, x, np.zeros((), x.dtype))


@backward("Trilu")
def trilu_backward(x, k, y, dy, *, upper=1):
    return trilu(dy, k, upper=upper), None
