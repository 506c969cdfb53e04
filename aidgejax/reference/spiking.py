"""Steps, as numpy.heaviside has them."""

import numpy as np

from ._definition import backward, define


@define("Heaviside")
def heaviside(x, *, value=0.0):
    return np.heaviside(x, np.asarray(value, x.dtype))


@backward("Heaviside")
def heaviside_backward(x, y, dy):
    """The surrogate: the slope of arctan(pi x) / pi."""
    return (dy / (1 + np.pi**2 * x**2),)
