from .._case import Case, f, zeros

CASES = [
    Case("Relu", (f(3, 4),)),
    Case("Relu", (zeros(2, 2),), why="the slope at zero is zero",
         excused={"differences": "a kink: the central difference answers 1/2",
                  "jax_agrees": "jax splits a tie of maximum into halves"}),
    Case("Relu", (f(2, 3, 4, 4),), why="TVM's slope at zero", slope_at_zero=1.0),
]
