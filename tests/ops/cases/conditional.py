import numpy as np

from aidgejax.graph import Graph

from .._case import Case, f


def branch(name, write):
    """A branch of x [N, 3] and w [3, 3]."""
    graph = Graph(name)
    graph.output(write(graph.op, graph.input("x", ("N", 3)), graph.input("w", (3, 3))))
    return graph


def product(op, x, w):
    return op.Tanh(op.MatMul(x, w))


def root(op, x, w):
    """Of which the values and the slopes are no numbers where x is below 0."""
    return op.Mul(op.Sqrt(x), op.Log(x))


BRANCHES = {"then_branch": branch("then", product), "else_branch": branch("else", root)}
X = f(4, 3, lo=-2, hi=-1)

CASES = [
    Case("Conditional", (np.array(True), X, f(3, 3)), why="the other branch has no numbers", batch=(1,), **BRANCHES),
    Case(
        "Conditional",
        (np.array([False]), f(4, 3, lo=1, hi=2), f(3, 3)),
        why="w is not read by the branch that is taken",
        batch=(1,),
        **BRANCHES,
    ),
]
