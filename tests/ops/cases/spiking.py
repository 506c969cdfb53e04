import numpy as np

from .._case import Case, f

SURROGATE = {"differences": "a surrogate: the derivative of a step is 0", "jax_agrees": "the same"}

CASES = [
    Case("Heaviside", (f(3, 4),), value=0.5, skip=SURROGATE),
    Case("Heaviside", (np.array([[-1.0, 0.0, -0.0, 2.0]], np.float32),), why="at zero", value=0.25, skip=SURROGATE),
]
