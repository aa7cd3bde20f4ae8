"""Smooth relatives of ReLU and sigmoid, and their piecewise linear stand-ins."""

from dataclasses import dataclass
from typing import ClassVar

from minicam.backend import array_module
from minicam.ops.activation import Sigmoid
from minicam.ops.base import Op, require


@dataclass(frozen=True)
class Softplus(Op):
    """y = log(1 + exp(beta x)) / beta. Adjoint: dx = dy sigmoid(beta x).

    Source: Dugas et al., "Incorporating second-order functional knowledge for better option pricing", NIPS 2000. The
    gradient is the sigmoid of the linear part even where PyTorch's softplus has turned into x (beta x > 20).

    >>> import numpy as np
    >>> Softplus().forward(np.array([[-1000., 1000.]]))
    array([[   0., 1000.]])
    """

    beta: float = 1.0
    reads: ClassVar[frozenset[str]] = frozenset({"x"})

    def __post_init__(self) -> None:
        require(self.beta > 0, f"Softplus: beta is {self.beta}; expected more than 0")

    def forward(self, x):
        xp = array_module(x)
        steep = self.beta * x
        return (xp.maximum(steep, 0) + xp.log1p(xp.exp(-abs(steep)))) / self.beta  # so that nothing overflows

    def backward(self, dy, y, x):
        return (dy * Sigmoid().forward(self.beta * x),)


@dataclass(frozen=True)
class Softsign(Op):
    """y = x / (1 + |x|). Adjoint: dx = dy / (1 + |x|)^2.

    Source: Bergstra et al., "Quadratic polynomials learn better image features", 2009.

    >>> import numpy as np
    >>> Softsign().forward(np.array([[-1., 0., 3.]]))
    array([[-0.5 ,  0.  ,  0.75]])
    """

    reads: ClassVar[frozenset[str]] = frozenset({"x"})

    def forward(self, x):
        return x / (1 + abs(x))

    def backward(self, dy, y, x):
        return (dy / (1 + abs(x)) ** 2,)


@dataclass(frozen=True)
class Swish(Op):
    """y = x sigmoid(beta x); with beta = 1 it is known as SiLU. Adjoint, with s = sigmoid(beta x):
    dx = dy (s + beta x s (1 - s)).

    Source: Ramachandran, Zoph and Le, arXiv:1710.05941, section 3.2.

    >>> import numpy as np
    >>> Swish().forward(np.array([[-1000., 0., 1000.]]))
    array([[  -0.,    0., 1000.]])
    """

    beta: float = 1.0
    reads: ClassVar[frozenset[str]] = frozenset({"x"})

    def forward(self, x):
        return x * Sigmoid().forward(self.beta * x)

    def backward(self, dy, y, x):
        s = Sigmoid().forward(self.beta * x)
        return (dy * (s + self.beta * x * s * (1 - s)),)


@dataclass(frozen=True)
class Mish(Op):
    """y = x tanh(log(1 + exp(x))). Adjoint, with t that hyperbolic tangent: dx = dy (t + x (1 - t^2) sigmoid(x)).

    Source: Misra, arXiv:1908.08681, equation 1.

    >>> import numpy as np
    >>> Mish().forward(np.array([[-1000., 0., 1000.]]))
    array([[  -0.,    0., 1000.]])
    """

    reads: ClassVar[frozenset[str]] = frozenset({"x"})

    def forward(self, x):
        return x * array_module(x).tanh(Softplus().forward(x))

    def backward(self, dy, y, x):
        t = array_module(x).tanh(Softplus().forward(x))
        return (dy * (t + x * (1 - t**2) * Sigmoid().forward(x)),)


@dataclass(frozen=True)
class HardSigmoid(Op):
    """y = slope x + offset, held between 0 and 1. Adjoint: dx = slope dy where 0 < y < 1, else 0; so at both kinks.

    The defaults are PyTorch's and Keras 3's. Those of ONNX are slope 1/5 and offset 1/2.

    >>> import numpy as np
    >>> HardSigmoid(slope=0.25).forward(np.array([[-4., 0., 1., 4.]]))
    array([[0.  , 0.5 , 0.75, 1.  ]])
    """

    slope: float = 1 / 6
    offset: float = 0.5
    reads: ClassVar[frozenset[str]] = frozenset({"y"})

    def forward(self, x):
        return array_module(x).clip(self.slope * x + self.offset, 0, 1)

    def backward(self, dy, y, x):
        return (self.slope * dy * ((y > 0) & (y < 1)),)


@dataclass(frozen=True)
class HardSwish(Op):
    """y = x h, with h = x / 6 + 1 / 2, held between 0 and 1.

    Adjoint: dx = dy (h + x / 6) where 0 < h < 1, else dy h; so the gradient at x = -3 is 0, and at x = 3 it is 1.

    Source: Howard et al., "Searching for MobileNetV3", arXiv:1905.02244, section 5.2.

    >>> import numpy as np
    >>> HardSwish().forward(np.array([[-6., 0., 3., 6.]]))
    array([[-0.,  0.,  3.,  6.]])
    """

    reads: ClassVar[frozenset[str]] = frozenset({"x"})

    def forward(self, x):
        return x * HardSigmoid().forward(x)

    def backward(self, dy, y, x):
        h = HardSigmoid().forward(x)
        return (dy * (h + x / 6 * ((h > 0) & (h < 1))),)
