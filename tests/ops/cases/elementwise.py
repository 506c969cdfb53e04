from .._case import Case, b, f

CASES = [
    Case("Add", (f(3, 4), f(4)), why="bias broadcasts over rows"),
    Case("Add", (f(2, 1, 4), f(3, 1)), why="both sides broadcast"),
    Case("Greater", (f(3, 4), f(4))),
    Case("GreaterOrEqual", (f(3, 4), f(4))),
    Case("Where", (b(3, 4), f(4), f(3, 1)), why="all three broadcast", batch=(0, 2)),
    Case("Mul", (f(2, 1, 4), f(3, 1)), why="both sides broadcast"),
]
