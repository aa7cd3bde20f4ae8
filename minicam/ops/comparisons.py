"""Comparisons, and the choice between two layers. Truth is 1 and falsehood 0, in the type of the arrays.

What is compared is piecewise constant, so no gradient flows through it: it is 0 everywhere, at the steps as well.
"""

from dataclasses import dataclass
from typing import ClassVar

from minicam.backend import array_module
from minicam.ops.arithmetic import Stretching
from minicam.ops.base import Op, no_gradient, sum_stretched


@dataclass(frozen=True)
class Sign(Op):
    """y = 1 where x is above 0, -1 where it is below, and 0 where it is 0. Adjoint: dx = 0.

    >>> import numpy as np
    >>> Sign().forward(np.array([[-3., 0., 2.]]))
    array([[-1.,  0.,  1.]])
    """

    def forward(self, x):
        return array_module(x).sign(x)

    def backward(self, dy, y, x):
        return (no_gradient(dy, x),)


@dataclass(frozen=True)
class Greater(Stretching):
    """y = 1 where a > b, or a >= b if `equal`, and 0 elsewhere; stretched. a < b is b > a. Adjoint: da = db = 0.

    >>> import numpy as np
    >>> Greater().forward(np.array([[1., 2., 3.]]), np.array([[2.]]))
    array([[0., 0., 1.]])
    >>> Greater(equal=True).forward(np.array([[1., 2., 3.]]), np.array([[2.]]))
    array([[0., 1., 1.]])
    """

    equal: bool = False
    arity: ClassVar[int | None] = 2

    def forward(self, a, b):
        return (a >= b if self.equal else a > b).astype(a.dtype)

    def backward(self, dy, y, a, b):
        return no_gradient(dy, a), no_gradient(dy, b)


@dataclass(frozen=True)
class Where(Stretching):
    """y = a where the condition is not 0, and b elsewhere; stretched.

    Adjoint: each element of dy goes to the side that was chosen, and is summed over the axes along which that is
    stretched; 0 for the condition.

    >>> import numpy as np
    >>> Where().forward(np.array([[1., 0.]]), np.array([[5., 6.]]), np.array([[-1.]]))
    array([[ 5., -1.]])
    """

    arity: ClassVar[int | None] = 3
    reads: ClassVar[frozenset[str]] = frozenset({"x"})

    def forward(self, condition, a, b):
        return array_module(a).where(condition != 0, a, b)

    def backward(self, dy, y, condition, a, b):
        xp, chosen = array_module(dy), condition != 0
        da, db = xp.where(chosen, dy, 0), xp.where(chosen, 0, dy)
        return no_gradient(dy, condition), sum_stretched(da, a.shape), sum_stretched(db, b.shape)
