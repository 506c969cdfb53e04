"""Matrix products in NumPy."""

import itertools
import string

import numpy as np

from ._definition import backward, define


@define("MatMul")
def matmul(a, b):
    return np.matmul(a, b)


@backward("MatMul")
def matmul_backward(a, b, y, dy):
    left = a[None, :] if a.ndim == 1 else a
    right = b[:, None] if b.ndim == 1 else b
    if a.ndim == 1:
        dy = np.expand_dims(dy, -1 if b.ndim == 1 else -2)
    if b.ndim == 1:
        dy = np.expand_dims(dy, -1)
    da = np.matmul(dy, np.swapaxes(right, -1, -2))
    db = np.matmul(np.swapaxes(left, -1, -2), dy)
    return da[..., 0, :] if a.ndim == 1 else da, db[..., 0] if b.ndim == 1 else db


@define("Gemm")
def gemm(a, b, c=None, *, alpha=1.0, beta=1.0, transA=0, transB=0):
    y = alpha * np.dot(a.T if transA else a, b.T if transB else b)
    return (y if c is None else y + beta * np.asarray(c)).astype(a.dtype)


@backward("Gemm")
def gemm_backward(a, b, c, y, dy, *, alpha=1.0, beta=1.0, transA=0, transB=0):
    da = alpha * np.dot(dy, b if transB else b.T)
    db = alpha * np.dot(a if transA else a.T, dy)
    return da.T if transA else da, db.T if transB else db, None if c is None else beta * dy


def terms_of(equation, ranks):
    """Subscripts of the operands and of the output, every axis a letter."""
    left, *right = equation.replace(" ", "").split("->")
    terms = left.split(",")
    if not right:
        once = [c for c in sorted(set(left) - set(",.")) if left.count(c) == 1]
        right = ["..." * ("..." in left) + "".join(once)]
    letters = [c for c in string.ascii_letters if c not in equation]
    hidden = [rank - len(t) + 3 if "..." in t else 0 for t, rank in zip(terms, ranks, strict=True)]
    dots = "".join(letters[: max(hidden)])
    terms = [t.replace("...", dots[len(dots) - h :]) for t, h in zip(terms, hidden, strict=True)]
    return terms, right[0].replace("...", dots)


def visited(equation, xs):
    """For every value of all subscripts: the element of each operand, and the element of the output."""
    terms, out = terms_of(equation, [x.ndim for x in xs])
    sizes = {}
    for t, x in zip(terms, xs, strict=True):
        for c, d in zip(t, x.shape, strict=True):
            sizes[c] = max(sizes.get(c, 1), d)
    for index in itertools.product(*(range(d) for d in sizes.values())):
        at = dict(zip(sizes, index, strict=True))
        places = [
            tuple(at[c] if d > 1 else 0 for c, d in zip(t, x.shape, strict=True))
            for t, x in zip(terms, xs, strict=True)
        ]
        yield places, tuple(at[c] for c in out), tuple(sizes[c] for c in out)


@define("Einsum")
def einsum(*xs, equation):
    y = None
    for places, target, shape in visited(equation, xs):
        if y is None:
            y = np.zeros(shape, np.float64 if xs[0].dtype.kind == "f" else xs[0].dtype)
        y[target] += np.prod([x[at] for x, at in zip(xs, places, strict=True)], dtype=y.dtype)
    return y.astype(xs[0].dtype)


@backward("Einsum")
def einsum_backward(*args, equation):
    *xs, _, dy = args
    shares = [np.zeros_like(x) for x in xs]
    for places, target, _ in visited(equation, xs):
        for k, share in enumerate(shares):
            others = [x[at] for j, (x, at) in enumerate(zip(xs, places, strict=True)) if j != k]
            share[places[k]] += dy[target] * np.prod(others)
    return tuple(shares)


@define("Det")
def det(x):
    return np.asarray(np.linalg.det(x), x.dtype)


@backward("Det")
def det_backward(x, y, dy):
    return (dy[..., None, None] * y[..., None, None] * np.swapaxes(np.linalg.inv(x), -1, -2),)
