from .._case import Case, f

CASES = [
    Case("SumLike", (f(3, 4), f(4)), why="a leading axis", wrt=(0,)),
    Case("SumLike", (f(2, 3, 4), f(3, 1)), why="a leading axis and one of size 1", wrt=(0,)),
    Case("ReduceSum", (f(2, 3, 4),), why="all axes"),
    Case("ReduceSum", (f(2, 3, 4), (0, -1)), why="two axes dropped", keepdims=0),
    Case("ReduceSum", (f(2, 3, 4), (1,))),
    Case("ReduceSum", (f(2, 3, 4),), why="no axes, nothing to do", noop_with_empty_axes=1),
    Case("SpreadLike", (f(2, 4), f(2, 3, 4), (1,)), wrt=(0,), batch=(0, 1), keepdims=0),
]
