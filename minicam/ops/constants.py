"""Constants, and the product with a matrix that may be one."""

from dataclasses import dataclass
from typing import ClassVar

from minicam.backend import array_module
from minicam.ops.arithmetic import stretched
from minicam.ops.base import Op, Shape, no_gradient, require, sum_stretched


@dataclass(frozen=True)
class Constant(Op):
    """y[n] = value, the same for every sample n. Of x only the number of samples counts.

    Parameter: value, of the given shape: one size per axis of a sample of y, 1 where it shall be stretched by the op
    that reads it. Adjoint: dvalue = the sum of dy over the samples; zeros for x.

    >>> import numpy as np
    >>> Constant((2,)).forward(np.zeros((2, 5)), value=np.array([1., 7.]))
    array([[1., 7.],
           [1., 7.]])
    """

    shape: tuple[int, ...]
    shape_only: ClassVar[frozenset[int]] = frozenset({0})

    def __post_init__(self) -> None:
        require(min(self.shape, default=1) >= 1, f"Constant: shape is {self.shape}; expected sizes of 1 or more")
        object.__setattr__(self, "shape", tuple(self.shape))

    def output_shape(self, *shapes: Shape) -> Shape:
        return self.shape

    def parameter_shapes(self, *shapes: Shape) -> dict[str, tuple[int, ...]]:
        return {"value": self.shape}

    def footprint(self, rank: int) -> None:
        return None

    def forward(self, x, *, value):
        return array_module(value).broadcast_to(value, (len(x), *self.shape))

    def backward(self, dy, y, x, *, value):
        return (no_gradient(dy, x),)

    def backward_params(self, dy, y, x, *, value):
        return {"value": dy.sum(axis=0)}


@dataclass(frozen=True)
class MatMul(Op):
    """The matrix product of two layers over their last two axes: y[...,i,j] = sum over k of a[...,i,k] b[...,k,j].

    a (N, *others, I, K), b (N, *others, K, J) -> y (N, *others, I, J); where the others differ, those of 1 are
    stretched. Adjoint: da = dy b^T, db = a^T dy, each summed over the axes along which it is stretched.

    >>> import numpy as np
    >>> MatMul().forward(np.array([[[1., 2.]]]), np.array([[[3.], [4.]]]))
    array([[[11.]]])
    """

    arity: ClassVar[int | None] = 2
    reads: ClassVar[frozenset[str]] = frozenset({"x"})

    def output_shape(self, *shapes: Shape) -> Shape:
        a, b = shapes
        fits = len(a) == len(b) > 1 and (a[-1] == b[-2] or None in (a[-1], b[-2]))
        require(fits, f"the inputs {a} and {b} have no matrix product")
        return (*stretched((a[:-2], b[:-2]), shapes), a[-2], b[-1])

    def footprint(self, rank: int) -> None:
        return None

    def forward(self, a, b):
        return a @ b

    def backward(self, dy, y, a, b):
        return self._sum(dy @ b.swapaxes(-1, -2), a.shape), self._sum(a.swapaxes(-1, -2) @ dy, b.shape)

    def _sum(self, dx, shape):
        """dx summed over the axes, other than those of the matrices, that are 1 in `shape`."""
        return sum_stretched(dx, (*shape[:-2], *dx.shape[-2:]))
