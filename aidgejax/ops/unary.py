"""One input, one output of the same shape: exponentials, roots, trigonometry, rounding, clipping."""
