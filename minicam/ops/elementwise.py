"""Functions of one number, applied to each element."""

import math
from dataclasses import dataclass
from typing import ClassVar

from minicam.backend import array_module
from minicam.ops.base import Op, require
from minicam.ops.erf import erf


@dataclass(frozen=True)
class Identity(Op):
    """y = x. Adjoint: the identity.

    >>> import numpy as np
    >>> Identity().forward(np.array([[1., 2.]]))
    array([[1., 2.]])
    """

    def forward(self, x):
        return x

    def backward(self, dy, y, x):
        return (dy,)


@dataclass(frozen=True)
class Negate(Op):
    """y = -x. Adjoint: dx = -dy.

    >>> import numpy as np
    >>> Negate().forward(np.array([[1., -2.]]))
    array([[-1.,  2.]])
    """

    def forward(self, x):
        return -x

    def backward(self, dy, y, x):
        return (-dy,)


@dataclass(frozen=True)
class Abs(Op):
    """y = |x|. Adjoint: dx = dy sign(x), so the gradient at x = 0 is 0.

    >>> import numpy as np
    >>> Abs().forward(np.array([[-1., 0., 2.]]))
    array([[1., 0., 2.]])
    """

    reads: ClassVar[frozenset[str]] = frozenset({"x"})

    def forward(self, x):
        return abs(x)

    def backward(self, dy, y, x):
        return (dy * array_module(x).sign(x),)


@dataclass(frozen=True)
class Reciprocal(Op):
    """y = 1 / x. Adjoint: dx = -dy y^2.

    >>> import numpy as np
    >>> Reciprocal().forward(np.array([[2., -4.]]))
    array([[ 0.5 , -0.25]])
    """

    reads: ClassVar[frozenset[str]] = frozenset({"y"})

    def forward(self, x):
        return 1 / x

    def backward(self, dy, y, x):
        return (-dy * y**2,)


@dataclass(frozen=True)
class Power(Op):
    """y = x^exponent; of a negative x only whole exponents have one. Adjoint: dx = dy exponent x^(exponent - 1).

    >>> import numpy as np
    >>> Power(3).forward(np.array([[-1., 2.]]))
    array([[-1.,  8.]])
    """

    exponent: float
    reads: ClassVar[frozenset[str]] = frozenset({"x"})

    def __post_init__(self) -> None:
        require(self.exponent != 0, "Power: exponent is 0, so that y is 1 everywhere; expected another number")

    def forward(self, x):
        return x**self.exponent

    def backward(self, dy, y, x):
        return (dy * self.exponent * x ** (self.exponent - 1),)


@dataclass(frozen=True)
class Sqrt(Op):
    """y = sqrt(x) for x of 0 or more. Adjoint: dx = dy / (2 y), which is infinite at 0.

    >>> import numpy as np
    >>> Sqrt().forward(np.array([[4., 9.]]))
    array([[2., 3.]])
    """

    reads: ClassVar[frozenset[str]] = frozenset({"y"})

    def forward(self, x):
        return array_module(x).sqrt(x)

    def backward(self, dy, y, x):
        return (dy / (2 * y),)


@dataclass(frozen=True)
class Exp(Op):
    """y = exp(x). Adjoint: dx = dy y.

    >>> import numpy as np
    >>> Exp().forward(np.array([[-1000., 0.]]))
    array([[0., 1.]])
    """

    reads: ClassVar[frozenset[str]] = frozenset({"y"})

    def forward(self, x):
        return array_module(x).exp(x)

    def backward(self, dy, y, x):
        return (dy * y,)


@dataclass(frozen=True)
class Log(Op):
    """y = log(x), the natural logarithm, for x above 0. Adjoint: dx = dy / x.

    >>> import numpy as np
    >>> Log().forward(np.array([[1.]]))
    array([[0.]])
    """

    reads: ClassVar[frozenset[str]] = frozenset({"x"})

    def forward(self, x):
        return array_module(x).log(x)

    def backward(self, dy, y, x):
        return (dy / x,)


@dataclass(frozen=True)
class Sin(Op):
    """y = sin(x), x in radians. Adjoint: dx = dy cos(x).

    >>> import numpy as np
    >>> Sin().forward(np.array([[0.]]))
    array([[0.]])
    """

    reads: ClassVar[frozenset[str]] = frozenset({"x"})

    def forward(self, x):
        return array_module(x).sin(x)

    def backward(self, dy, y, x):
        return (dy * array_module(x).cos(x),)


@dataclass(frozen=True)
class Cos(Op):
    """y = cos(x), x in radians. Adjoint: dx = -dy sin(x).

    >>> import numpy as np
    >>> Cos().forward(np.array([[0.]]))
    array([[1.]])
    """

    reads: ClassVar[frozenset[str]] = frozenset({"x"})

    def forward(self, x):
        return array_module(x).cos(x)

    def backward(self, dy, y, x):
        return (-dy * array_module(x).sin(x),)


@dataclass(frozen=True)
class Erf(Op):
    """y = erf(x), the error function. Adjoint: dx = dy 2 / sqrt(pi) exp(-x^2).

    >>> import numpy as np
    >>> Erf().forward(np.array([[-9., 0., 9.]]))
    array([[-1.,  0.,  1.]])
    """

    reads: ClassVar[frozenset[str]] = frozenset({"x"})

    def forward(self, x):
        return erf(x)

    def backward(self, dy, y, x):
        return (dy * 2 / math.sqrt(math.pi) * array_module(x).exp(-x * x),)
