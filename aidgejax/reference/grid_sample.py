"""GridSample, one output element after the other."""

import itertools

import numpy as np

from ._definition import define


def reflect(x, low, high):
    if high == low:
        return low, 0.0
    sign = 1.0
    while x < low or x > high:
        x, sign = (2 * low - x if x < low else 2 * high - x), -sign
    return x, sign


def place(g, size, mode, padding, align):
    """(coordinate, its slope by g)"""
    slope = (size - 1) / 2 if align else size / 2
    x = g * slope + (size - 1) / 2
    x = np.round(x) if mode == "nearest" else x
    low, high = (0.0, size - 1.0) if align else (-0.5, size - 0.5)
    if low <= x <= high or padding == "zeros":
        return x, slope
    if padding == "border":
        return min(max(x, 0.0), size - 1.0), 0.0
    x, sign = reflect(x, low, high)
    return x, sign * slope


def kernel(mode, distance):
    """(weight, its derivative by the signed distance x - pixel)"""
    d, s, a = abs(distance), np.sign(distance), -0.75
    if mode == "nearest":
        return 1.0, 0.0
    if mode == "linear":
        return 1 - d, -s
    if d <= 1:
        return (a + 2) * d**3 - (a + 3) * d**2 + 1, s * (3 * (a + 2) * d**2 - 2 * (a + 3) * d)
    return a * (d**3 - 5 * d**2 + 8 * d - 4), s * a * (3 * d**2 - 10 * d + 8)


def taps(g, size, mode, padding, align):
    """[(pixel, weight, slope by g)] of the pixels that count."""
    x, by_g = place(g, size, mode, padding, align)
    below = int(np.floor(x))
    found = []
    for i in {"nearest": (0,), "linear": (0, 1), "cubic": (-1, 0, 1, 2)}[mode]:
        p = below + i
        weight, slope = kernel(mode, x - p)
        if mode == "linear" and x == p:
            slope = -1.0 if i == 0 else 1.0  # to the right of the kink
        if mode == "linear" and x - p == -1:
            slope = 1.0
        if not 0 <= p < size:
            if padding == "zeros":
                continue
            if padding == "reflection":
                p = int(reflect(float(p), *((0.0, size - 1.0) if align else (-0.5, size - 0.5)))[0])
            p = min(max(p, 0), size - 1)
        found.append((p, weight, slope * by_g))
    return found


def combinations(x, grid, mode, padding, align):
    """(n, output position, pixel, weights, slopes) of everything that is read."""
    sizes = x.shape[2:]
    for at in np.ndindex(grid.shape[:-1]):
        per_axis = [taps(float(grid[at][len(sizes) - 1 - a]), s, mode, padding, align) for a, s in enumerate(sizes)]
        for chosen in itertools.product(*per_axis):
            yield (at[0], at[1:], tuple(p for p, _, _ in chosen), [w for _, w, _ in chosen], [s for _, _, s in chosen])


@define("GridSample")
def grid_sample(x, grid, *, mode="linear", padding_mode="zeros", align_corners=0):
    y = np.zeros((*x.shape[:2], *grid.shape[1:-1]), x.dtype)
    for n, out, pixel, weights, _ in combinations(x, grid, mode, padding_mode, align_corners):
        y[(n, slice(None), *out)] += x[(n, slice(None), *pixel)] * x.dtype.type(np.prod(weights))
    return y


@define("GridSampleGrad")
def grid_sample_grad(dy, x, grid, *, mode="linear", padding_mode="zeros", align_corners=0):
    dx, dg = np.zeros_like(x), np.zeros_like(grid)
    d = x.ndim - 2
    for n, out, pixel, weights, slopes in combinations(x, grid, mode, padding_mode, align_corners):
        g = dy[(n, slice(None), *out)]
        dx[(n, slice(None), *pixel)] += g * x.dtype.type(np.prod(weights))
        read = float(np.sum(x[(n, slice(None), *pixel)] * g))
        for a in range(d):
            rest = np.prod([slopes[b] if a == b else weights[b] for b in range(d)])
            dg[(n, *out, d - 1 - a)] += dg.dtype.type(read * rest)
    return dx, dg


def position(k, size, align):
    """-1 to 1: of the outermost pixels' centres, or of their edges."""
    if align:
        return -1.0 if size == 1 else 2 * k / (size - 1) - 1
    return (2 * k + 1) / size - 1


def each_position(sizes, align):
    """(index, (x, y[, z], 1)) of every pixel"""
    for index in np.ndindex(*sizes):
        yield index, np.array([*(position(k, n, align) for k, n in zip(index, sizes, strict=True))][::-1] + [1.0])


@define("AffineGrid")
def affine_grid(theta, size, *, align_corners=0):
    y = np.zeros((theta.shape[0], *(int(n) for n in size[2:]), theta.shape[1]), theta.dtype)
    for index, at in each_position(y.shape[1:-1], align_corners):
        y[(slice(None), *index)] = theta @ at
    return y


@define("AffineGridGrad")
def affine_grid_grad(dy, *, align_corners=0):
    d = dy.shape[-1]
    total = np.zeros((dy.shape[0], d, d + 1))
    for index, at in each_position(dy.shape[1:-1], align_corners):
        total += dy[(slice(None), *index)][:, :, None] * at
    return total.astype(dy.dtype)
