"""Fully connected layers and flattening."""

import math
from dataclasses import dataclass
from typing import ClassVar

from minicam.ops.base import Op, Shape, known, require


def _length(shape: Shape) -> int:
    return math.prod(known(size, "every size of the input of a fully connected layer") for size in shape)


@dataclass(frozen=True)
class Flatten(Op):
    """y[n] = the elements of x[n] in row-major order. x (N, C, *space) -> y (N, C prod(space)). Adjoint: the reverse.

    >>> import numpy as np
    >>> Flatten().forward(np.array([[[1., 2.], [3., 4.]]]))
    array([[1., 2., 3., 4.]])
    """

    def output_shape(self, *shapes: Shape) -> Shape:
        return (_length(shapes[0]),)

    def footprint(self, rank: int) -> None:
        return None

    def forward(self, x):
        return x.reshape(len(x), -1)

    def backward(self, dy, y, x):
        return (dy.reshape(len(dy), *x.shape[1:]),)


@dataclass(frozen=True)
class Dense(Op):
    """Fully connected: y[n] = weight flat(x[n]) + bias, flat in row-major order.

    x (N, C, *space) -> y (N, units). Parameters: weight (units, C prod(space)), bias (units,).
    Adjoint: dx = weight^T dy, dweight = sum over n of dy[n] flat(x[n])^T.

    >>> import numpy as np
    >>> Dense(1).forward(np.array([[1., 2.]]), weight=np.array([[10., 100.]]), bias=np.array([3.]))
    array([[213.]])
    """

    units: int
    reads_for_params: ClassVar[frozenset[str]] = frozenset({"x"})

    def __post_init__(self) -> None:
        require(self.units >= 1, f"units is {self.units}; expected 1 or more")

    def output_shape(self, *shapes: Shape) -> Shape:
        _length(shapes[0])
        return (self.units,)

    def parameter_shapes(self, *shapes: Shape) -> dict[str, tuple[int, ...]]:
        return {"weight": (self.units, _length(shapes[0])), "bias": (self.units,)}

    def footprint(self, rank: int) -> None:
        return None

    def forward(self, x, *, weight, bias):
        return x.reshape(len(x), -1) @ weight.T + bias

    def backward(self, dy, y, x, *, weight, bias):
        return ((dy @ weight).reshape(len(dy), *x.shape[1:]),)

    def backward_params(self, dy, y, x, *, weight, bias):
        return {"weight": (dy[:, :, None] * x.reshape(len(x), 1, -1)).sum(axis=0), "bias": dy.sum(axis=0)}
