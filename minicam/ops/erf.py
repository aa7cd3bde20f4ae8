"""The error function, which NumPy does not have."""

import math

from minicam.backend import Array, array_module

STEP = 0.5
NODES = tuple((k + 0.5) * STEP for k in range(12))
WEIGHTS = tuple(2 * STEP / math.pi * math.exp(-(node**2)) for node in NODES)
LIMIT = 6.0  # erf(6) is 1 to the last bit


def erf(x: Array) -> Array:
    """erf(x) = 2 / sqrt(pi) times the integral of exp(-t^2) from 0 to x, to 1e-15 in float64; the type is that of x.

    With t over the odd multiples of h / 2, it is the midpoint rule with step h for

        1 - erf(x) = 2 x / pi exp(-x^2) times the integral over t from 0 to infinity of exp(-t^2) / (x^2 + t^2),

    corrected by the residue of the integrand's pole at i x, which turns the 1 on the left into tanh(pi x / h):

        erf(x) = tanh(pi x / h) - 2 h x / pi exp(-x^2) sum over t of exp(-t^2) / (x^2 + t^2)

    The rule's error is of the order exp(-(pi / h)^2), which is 1e-17 for h = 1/2, and twelve t leave out as little.

    Source: Chiarella and Reichel, "On the evaluation of integrals related to the error function", Math. Comp. 22, 1968.
    It needs no table of coefficients, and, other than math.erf on each element, it runs on a GPU, at the precision of
    x, and in a fraction of the time.

    >>> import numpy as np
    >>> erf(np.array([-9., 0., 9.]))
    array([-1.,  0.,  1.])
    """
    xp = array_module(x)
    x = xp.clip(x, -LIMIT, LIMIT)
    square = x * x
    total = sum(weight / (square + node**2) for node, weight in zip(NODES, WEIGHTS, strict=True))
    return xp.tanh(math.pi / STEP * x) - x * xp.exp(-square) * total
