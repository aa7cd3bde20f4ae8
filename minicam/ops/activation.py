"""Activations."""

from dataclasses import dataclass
from typing import ClassVar

from minicam.backend import array_module
from minicam.ops.base import Op


@dataclass(frozen=True)
class Relu(Op):
    """y = max(x, 0). Adjoint: dx = dy where y > 0, else 0; so the gradient at x = 0 is 0.

    >>> import numpy as np
    >>> Relu().forward(np.array([[[-1., 0., 2.]]]))
    array([[[0., 0., 2.]]])
    """

    reads: ClassVar[frozenset[str]] = frozenset({"y"})

    def forward(self, x):
        return array_module(x).maximum(x, 0)

    def backward(self, dy, y, x):
        return (dy * (y > 0),)


@dataclass(frozen=True)
class Softmax(Op):
    """Softmax over the channels at each position: y[n,c,i] = exp(x[n,c,i]) / sum over k of exp(x[n,k,i]).

    Adjoint: dx = y (dy - sum over k of dy[n,k,i] y[n,k,i]).

    >>> import numpy as np
    >>> Softmax().forward(np.array([[0., 0.]]))
    array([[0.5, 0.5]])
    """

    reads: ClassVar[frozenset[str]] = frozenset({"y"})

    def forward(self, x):
        xp = array_module(x)
        exponential = xp.exp(x - x.max(axis=1, keepdims=True))  # shifted by the largest, so that nothing overflows
        return exponential / exponential.sum(axis=1, keepdims=True)

    def backward(self, dy, y, x):
        return (y * (dy - (dy * y).sum(axis=1, keepdims=True)),)


@dataclass(frozen=True)
class Dropout(Op):
    """The identity: dropout acts in training only. `rate` records the fraction dropped there. Adjoint: the identity.

    >>> import numpy as np
    >>> Dropout(0.5).forward(np.array([[1., 2.]]))
    array([[1., 2.]])
    """

    rate: float = 0.5

    def forward(self, x):
        return x

    def backward(self, dy, y, x):
        return (dy,)


@dataclass(frozen=True)
class Sigmoid(Op):
    """y = 1 / (1 + exp(-x)). Adjoint: dx = dy y (1 - y).

    >>> import numpy as np
    >>> Sigmoid().forward(np.array([[[-1000., 0., 1000.]]]))
    array([[[0. , 0.5, 1. ]]])
    """

    reads: ClassVar[frozenset[str]] = frozenset({"y"})

    def forward(self, x):
        xp = array_module(x)
        small = xp.exp(-abs(x))  # at most 1, so that nothing overflows
        return xp.where(x > 0, 1, small) / (1 + small)

    def backward(self, dy, y, x):
        return (dy * y * (1 - y),)


@dataclass(frozen=True)
class Tanh(Op):
    """y = tanh(x). Adjoint: dx = dy (1 - y^2).

    >>> import numpy as np
    >>> Tanh().forward(np.array([[[-1000., 0., 1000.]]]))
    array([[[-1.,  0.,  1.]]])
    """

    reads: ClassVar[frozenset[str]] = frozenset({"y"})

    def forward(self, x):
        return array_module(x).tanh(x)

    def backward(self, dy, y, x):
        return (dy * (1 - y**2),)
