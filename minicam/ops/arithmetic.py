"""Arithmetic of layers, element by element. Where sizes differ, those of 1 are stretched to the others'."""

import math
from dataclasses import dataclass
from functools import reduce
from typing import ClassVar

from minicam.backend import Array, array_module
from minicam.ops.base import Op, Shape, sum_stretched
from minicam.ops.joining import merge


def stretched(shapes: tuple[Shape, ...], shown: tuple[Shape, ...]) -> Shape:
    """The shape that all are stretched to; LayerError, with the inputs' shapes `shown`, where they do not fit."""
    merged = merge(shapes, shown, yielding=(None, 1))
    axes = zip(merged, *shapes, strict=True)
    return tuple(size or (None if None in sizes else 1) for size, *sizes in axes)


class Stretching(Op):
    """What ops of several layers share. All inputs have the same number of axes."""

    arity: ClassVar[int | None] = None

    def output_shape(self, *shapes: Shape) -> Shape:
        return stretched(shapes, shapes)

    def footprint(self, rank: int) -> None:
        return None  # of a stretched input, every output position depends on the same position


@dataclass(frozen=True)
class Sum(Stretching):
    """y = the sum of all inputs, stretched. Where all have one shape, `Add` is the same, and faster.

    Adjoint: each input gets dy, summed over the axes along which it is stretched.

    >>> import numpy as np
    >>> Sum().forward(np.array([[[1., 2.], [3., 4.]]]), np.array([[[10.], [100.]]]))
    array([[[ 11.,  12.],
            [103., 104.]]])
    """

    def forward(self, *xs):
        return sum(xs[1:], start=xs[0])

    def backward(self, dy, y, *xs):
        return tuple(sum_stretched(dy, x.shape) for x in xs)


@dataclass(frozen=True)
class Average(Stretching):
    """y = the mean of all inputs, stretched.

    Adjoint: each input gets dy / number of inputs, summed over the axes along which it is stretched.

    >>> import numpy as np
    >>> Average().forward(np.array([[1., 2.]]), np.array([[3., 8.]]))
    array([[2., 5.]])
    """

    def forward(self, *xs):
        return sum(xs[1:], start=xs[0]) / len(xs)

    def backward(self, dy, y, *xs):
        return tuple(sum_stretched(dy / len(xs), x.shape) for x in xs)


@dataclass(frozen=True)
class Subtract(Stretching):
    """y = a - b, stretched. Adjoint: da = dy, db = -dy, each summed over the axes along which it is stretched.

    >>> import numpy as np
    >>> Subtract().forward(np.array([[1., 2.]]), np.array([[3.]]))
    array([[-2., -1.]])
    """

    arity: ClassVar[int | None] = 2

    def forward(self, a, b):
        return a - b

    def backward(self, dy, y, a, b):
        return sum_stretched(dy, a.shape), sum_stretched(-dy, b.shape)


@dataclass(frozen=True)
class Multiply(Stretching):
    """y = the product of all inputs. Where sizes differ, those of 1 are stretched to the others', so that a gate
    (C, 1, ..., 1) weighs channels, as in squeeze-and-excitation, and (1, *space) weighs positions.

    Adjoint: each input gets dy times the product of the other inputs, summed over the axes along which it is stretched.

    >>> import numpy as np
    >>> Multiply().forward(np.array([[[1., 2.], [3., 4.]]]), np.array([[[10.], [100.]]]))
    array([[[ 10.,  20.],
            [300., 400.]]])
    """

    reads: ClassVar[frozenset[str]] = frozenset({"x"})

    def forward(self, *xs):
        return math.prod(xs[1:], start=xs[0])

    def backward(self, dy, y, *xs):
        return tuple(sum_stretched(math.prod((*xs[:i], *xs[i + 1 :]), start=dy), x.shape) for i, x in enumerate(xs))


@dataclass(frozen=True)
class Divide(Stretching):
    """y = a / b, stretched. Adjoint: da = dy / b, db = -dy a / b^2, each summed over the axes along which it is
    stretched.

    >>> import numpy as np
    >>> Divide().forward(np.array([[1., 2.]]), np.array([[4.]]))
    array([[0.25, 0.5 ]])
    """

    arity: ClassVar[int | None] = 2
    reads: ClassVar[frozenset[str]] = frozenset({"x"})

    def forward(self, a, b):
        return a / b

    def backward(self, dy, y, a, b):
        return sum_stretched(dy / b, a.shape), sum_stretched(-dy * a / b**2, b.shape)


@dataclass(frozen=True)
class Exponentiate(Stretching):
    """y = a^b, stretched. For an exponent that is one number, see `Power`.

    Adjoint: da = dy b a^(b - 1), db = dy y log(a), and 0 where a is not above 0; each summed over the axes along which
    it is stretched.

    >>> import numpy as np
    >>> Exponentiate().forward(np.array([[2., 3.]]), np.array([[2.]]))
    array([[4., 9.]])
    """

    arity: ClassVar[int | None] = 2
    reads: ClassVar[frozenset[str]] = frozenset({"x", "y"})

    def forward(self, a, b):
        return a**b

    def backward(self, dy, y, a, b):
        xp = array_module(a)
        da = dy * b * a ** xp.where(b == 0, b, b - 1)
        logarithm = xp.log(xp.where(a > 0, a, 1))
        return sum_stretched(da, a.shape), sum_stretched(dy * y * logarithm, b.shape)


class _Extreme(Stretching):
    """The largest or the smallest of the inputs."""

    reads: ClassVar[frozenset[str]] = frozenset({"x"})

    def backward(self, dy, y, *xs):
        y = self.forward(*xs)
        free, dxs = y == y, []
        for x in xs:
            wins = free & (x == y)
            free = free & ~wins
            dxs.append(sum_stretched(dy * wins, x.shape))
        return tuple(dxs)

    def forward(self, *xs: Array) -> Array:
        raise NotImplementedError


@dataclass(frozen=True)
class Maximum(_Extreme):
    """y = the largest of the inputs at each element, stretched.

    Adjoint: dy goes to the largest input, to the first one where several are equal, and is summed over the axes along
    which that is stretched.

    >>> import numpy as np
    >>> Maximum().forward(np.array([[1., 5.]]), np.array([[3.]]))
    array([[3., 5.]])
    """

    def forward(self, *xs):
        return reduce(array_module(xs[0]).maximum, xs)


@dataclass(frozen=True)
class Minimum(_Extreme):
    """y = the smallest of the inputs at each element, stretched. Adjoint: as that of `Maximum`.

    >>> import numpy as np
    >>> Minimum().forward(np.array([[1., 5.]]), np.array([[3.]]))
    array([[1., 3.]])
    """

    def forward(self, *xs):
        return reduce(array_module(xs[0]).minimum, xs)
