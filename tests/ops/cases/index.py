from .._case import Case, f, i

CASES = [
    Case("ScatterElements", (f(3, 4), i(3, 2, hi=4), f(3, 2)), axis=1, reduction="add", batch=(0, 1, 2)),
]
