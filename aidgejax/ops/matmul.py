"""Matrix products: MatMul, Gemm, Einsum; and determinants."""

import math
import string

import jax.numpy as jnp
import numpy as np

from ..errors import GraphError
from ..graph import Value
from ._registry import operator
from .reshape_transpose import broadcast_shape

# ---- MatMul -------------------------------------------------------------------------------------------


def transposed(op, x):
    """x with its last two axes swapped."""
    rank = x.rank
    return op.Transpose(x, perm=(*range(rank - 2), rank - 1, rank - 2))


def matmul_vjp(op, a, b, y, dy):
    if a.rank == 1 and b.rank == 1:
        return op.Mul(dy, b), op.Mul(dy, a)
    # A vector is a matrix of one row (on the left) or one column (on the right).
    if a.rank == 1:
        row = op.Unsqueeze(dy, (-2,))
        d_row = op.MatMul(row, transposed(op, b))  # [..., 1, k]
        d_b = op.MatMul(op.Unsqueeze(a, (1,)), row)
        return op.SumLike(op.Squeeze(d_row, (-2,)), a), d_b
    if b.rank == 1:
        column = op.Unsqueeze(dy, (-1,))
        d_a = op.MatMul(column, op.Unsqueeze(b, (0,)))
        d_column = op.MatMul(transposed(op, a), column)  # [..., k, 1]
        return d_a, op.SumLike(op.Squeeze(d_column, (-1,)), b)
    d_a = op.MatMul(dy, transposed(op, b))
    if a.shape[:-2] != y.shape[:-2]:
        d_a = op.SumLike(d_a, a)
    if b.rank == 2 and a.rank > 2:
        # One matrix for all: the sum over the batch is part of one product.
        d_b = op.MatMul(op.Transpose(op.Flatten(a, axis=-1), perm=(1, 0)), op.Flatten(dy, axis=-1))
    else:
        d_b = op.MatMul(transposed(op, a), dy)
        if b.shape[:-2] != y.shape[:-2]:
            d_b = op.SumLike(d_b, b)
    return d_a, d_b


def matmul_flops(inputs, outputs, attributes):
    return 2 * math.prod(outputs[0]) * inputs[0][-1]


@operator("MatMul", onnx=("", 13), weights=("b",), vjp=matmul_vjp, flops=matmul_flops)
def matmul(a, b):
    """Matrix product, as numpy.matmul: leading axes broadcast, a vector is a row on the left and a column on the right.
    t[*s, n, k], t[*r, k, m] -> t[broadcast(s, r), n, m].  ONNX MatMul-13."""
    check_inner(jnp.shape(a), jnp.shape(b))
    return jnp.matmul(a, b)


def check_inner(a, b):
    if not a or not b:
        raise GraphError(f"a product of matrices or vectors, got shapes {list(a)} and {list(b)}; scalars are for Mul")
    inner = b[-2] if len(b) > 1 else b[0]
    if a[-1] != inner:
        raise GraphError(f"rows of {a[-1]} elements on the left do not fit columns of {inner} on the right")
    broadcast_shape(a[:-2], b[:-2])


# ---- Gemm ---------------------------------------------------------------------------------------------


def gemm_vjp(op, a, b, c, y, dy, *, alpha, beta, transA, transB):
    """Each product has the transpositions that spare a Transpose of its own."""
    if transA:
        d_a = op.Gemm(b, dy, alpha=alpha, transA=transB, transB=1)
    else:
        d_a = op.Gemm(dy, b, alpha=alpha, transB=0 if transB else 1)
    if transB:
        d_b = op.Gemm(dy, a, alpha=alpha, transA=1, transB=transA)
    else:
        d_b = op.Gemm(a, dy, alpha=alpha, transA=0 if transA else 1)
    if not isinstance(c, Value):
        return d_a, d_b, None
    d_c = dy if beta == 1.0 else op.Mul(dy, beta)
    return d_a, d_b, d_c if c.shape == y.shape else op.SumLike(d_c, c)


def gemm_flops(inputs, outputs, attributes):
    return 2 * math.prod(outputs[0]) * inputs[0][0 if attributes["transA"] else 1]


@operator("Gemm", onnx=("", 13), weights=("b", "c"), vjp=gemm_vjp, flops=gemm_flops)
def gemm(a, b, c=None, *, alpha=1.0, beta=1.0, transA=0, transB=0):
    """alpha * A B + beta * C, where A is a or its transpose, B is b or its, and C is c broadcast (or 0).
    t[n, k], t[k, m], t[n or 1, m or 1] -> t[n, m].  ONNX Gemm-13."""
    if jnp.ndim(a) != 2 or jnp.ndim(b) != 2:
        raise GraphError(
            f"Gemm multiplies matrices, got tensors of rank {jnp.ndim(a)} and {jnp.ndim(b)}; MatMul takes others"
        )
    a, b = jnp.transpose(a) if transA else a, jnp.transpose(b) if transB else b
    check_inner(a.shape, b.shape)
    y = scaled(jnp.matmul(a, b), alpha)
    if c is None:
        return y
    if broadcast_shape(jnp.shape(c), y.shape) != y.shape:
        raise GraphError(f"C of shape {list(jnp.shape(c))} does not broadcast to the product, of shape {list(y.shape)}")
    return y + scaled(jnp.asarray(c, y.dtype), beta)


def scaled(x, factor):
    return x if factor == 1.0 else (x * factor).astype(x.dtype)


# ---- Einsum -------------------------------------------------------------------------------------------


def subscripts(equation, ranks):
    """(one string per operand, the output's), with an ellipsis as letters of its own."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(ranks):
        raise GraphError(f"equation {equation!r} has {len(terms)} terms for {len(ranks)} operands")
    if not arrow:  # what occurs once, in the order of the alphabet, after the ellipsis
        letters = left.replace(",", "").replace(".", "")
        right = ("..." if "..." in left else "") + "".join(sorted(c for c in letters if letters.count(c) == 1))
    free = [c for c in string.ascii_letters if c not in equation]
    hidden = [rank - len(t.replace("...", "")) for t, rank in zip(terms, ranks, strict=True)]
    wrong = [k for k, (t, h) in enumerate(zip(terms, hidden, strict=True)) if h < 0 or h and "..." not in t]
    if wrong:
        raise GraphError(
            f"term {terms[wrong[0]]!r} of equation {equation!r} does not fit operand {wrong[0]}, of rank "
            f"{ranks[wrong[0]]}"
        )
    dots = "".join(free[: max((h for t, h in zip(terms, hidden, strict=True) if "..." in t), default=0)])
    explicit = [t.replace("...", dots[len(dots) - h :]) for t, h in zip(terms, hidden, strict=True)]
    return explicit, right.replace("...", dots)


def einsum_vjp(op, *args, equation):
    *xs, _, dy = args
    terms, out = subscripts(equation, [x.rank for x in xs])
    return tuple(einsum_share(op, k, xs, terms, out, dy) for k in range(len(xs)))


def einsum_share(op, k, xs, terms, out, dy):
    """The product of dy and the other operands, summed over what operand k does not have.

    A letter that k has twice (a diagonal) is filled by an identity matrix; one that only k has, and that was summed
    away, by repeating.
    """
    x = xs[k]
    others, named = [dy, *xs[:k], *xs[k + 1 :]], [out, *terms[:k], *terms[k + 1 :]]
    mine = unlike(terms[k], "".join([out, *terms]))
    for axis, (old, new) in enumerate(zip(terms[k], mine, strict=True)):
        if old != new:
            size = op.Shape(x, start=axis, end=axis + 1)
            others.append(op.CastLike(op.EyeLike(op.ConstantOfShape(op.Concat(size, size, axis=0))), dy))
            named.append(old + new)
    known = set("".join(named))
    found = "".join(c for c in mine if c in known)
    share = op.Einsum(*others, equation=f"{','.join(named)}->{found}")
    if len(found) < len(mine):
        share = op.Unsqueeze(share, tuple(axis for axis, c in enumerate(mine) if c not in known))
        share = op.ExpandLike(share, x)
    # An ellipsis broadcasts: what it repeated is summed.
    return op.SumLike(share, x) if 1 in x.shape else share


def unlike(term, taken):
    """The term, with a letter of its own for every repetition."""
    free = iter(c for c in string.ascii_letters if c not in taken)
    return "".join(next(free) if c in term[:k] else c for k, c in enumerate(term))


def einsum_flops(inputs, outputs, attributes):
    terms, _ = subscripts(attributes["equation"], [len(s) for s in inputs])
    sizes = {c: d for t, s in zip(terms, inputs, strict=True) for c, d in zip(t, s, strict=True) if d != 1}
    return 2 * math.prod(sizes.values())


@operator("Einsum", onnx=("", 12), vjp=einsum_vjp, flops=einsum_flops)
def einsum(*xs, equation):
    """The sum of products that the equation says, such as "bij,bjk->bik".  t[...], ... -> t[...].  ONNX Einsum-12."""
    terms, out = subscripts(equation, [jnp.ndim(x) for x in xs])
    sizes = {}
    for c, d in ((c, d) for t, x in zip(terms, xs, strict=True) for c, d in zip(t, jnp.shape(x), strict=True)):
        if sizes.setdefault(c, d) != d and 1 not in (d, sizes[c]):
            raise GraphError(f"{c!r} of equation {equation!r} is {sizes[c]} and {d}, expected one size")
        sizes[c] = max(d, sizes[c])
    return jnp.einsum(",".join(terms) + "->" + out, *xs)


# ---- Det ----------------------------------------------------------------------------------------------


def det_vjp(op, x, y, dy):
    """dy times the cofactors, which exist where the inverse does not: determinants without a row and a column."""
    rank, size = x.rank, x.shape[-1]
    if not isinstance(size, int):
        raise GraphError(f"the gradient of Det needs to know how large the matrices of {x} are")
    dy = op.Unsqueeze(dy, (-2, -1))
    if size == 1:
        return (op.ExpandLike(dy, x),)
    others = np.array([[k for k in range(size) if k != gone] for gone in range(size)])
    minors = op.Gather(op.Gather(x, others, axis=rank - 2), others, axis=rank)  # [..., i, rows, j, columns]
    minors = op.Transpose(minors, perm=(*range(rank - 1), rank, rank - 1, rank + 1))
    signs = op.CastLike((-1.0) ** np.add.outer(np.arange(size), np.arange(size)), x)
    return (op.Mul(op.Mul(op.Det(minors), signs), dy),)


@operator("Det", onnx=("", 11), gradient_exports="yes, with a size of the matrices that is known", vjp=det_vjp)
def det(x):
    """The determinant of each matrix.  f[*s, n, n] -> f[*s].  ONNX Det-11."""
    if jnp.ndim(x) < 2 or x.shape[-1] != x.shape[-2]:
        raise GraphError(f"expected square matrices, got shape {list(jnp.shape(x))}")
    return jnp.linalg.det(x.astype(jnp.promote_types(x.dtype, "float32"))).astype(x.dtype)
