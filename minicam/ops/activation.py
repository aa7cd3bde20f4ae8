"""Activations."""

from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

from minicam.backend import array_module
from minicam.ops.axes import batched, check_axes, set_axes
from minicam.ops.base import Footprint, Op, Shape


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


class _OverAxes(Op):
    """What the softmax and its logarithm share: the axes of a sample that they run over, 0 being the channels."""

    axes: tuple[int, ...]

    def __post_init__(self) -> None:
        set_axes(self)

    def output_shape(self, *shapes: Shape) -> Shape:
        check_axes(self, shapes[0])
        return shapes[0]

    def footprint(self, rank: int) -> tuple[Footprint, ...] | None:
        return super().footprint(rank) if self.axes == (0,) else None


@dataclass(frozen=True)
class Softmax(_OverAxes):
    """Softmax over the channels at each position: y[n,c,i] = exp(x[n,c,i]) / sum over k of exp(x[n,k,i]).

    axes: those of a sample that the sum runs over, if not the channels, which are 0.
    Adjoint: dx = y (dy - sum over k of dy[n,k,i] y[n,k,i]).

    >>> import numpy as np
    >>> Softmax().forward(np.array([[0., 0.]]))
    array([[0.5, 0.5]])
    """

    _: KW_ONLY
    axes: tuple[int, ...] = (0,)
    reads: ClassVar[frozenset[str]] = frozenset({"y"})

    def forward(self, x):
        xp = array_module(x)
        axes = batched(self.axes)
        exponential = xp.exp(x - x.max(axis=axes, keepdims=True))  # shifted by the largest, so that nothing overflows
        return exponential / exponential.sum(axis=axes, keepdims=True)

    def backward(self, dy, y, x):
        return (y * (dy - (dy * y).sum(axis=batched(self.axes), keepdims=True)),)


@dataclass(frozen=True)
class LogSoftmax(_OverAxes):
    """The logarithm of the softmax, over the same axes: y[n,c,i] = x[n,c,i] - log(sum over k of exp(x[n,k,i])).

    Adjoint: dx = dy - exp(y) sum over k of dy[n,k,i].

    >>> import numpy as np
    >>> LogSoftmax().forward(np.array([[0., -1000.]]))
    array([[    0., -1000.]])
    """

    _: KW_ONLY
    axes: tuple[int, ...] = (0,)
    reads: ClassVar[frozenset[str]] = frozenset({"y"})

    def forward(self, x):
        xp = array_module(x)
        axes = batched(self.axes)
        shifted = x - x.max(axis=axes, keepdims=True)
        return shifted - xp.log(xp.exp(shifted).sum(axis=axes, keepdims=True))

    def backward(self, dy, y, x):
        return (dy - array_module(y).exp(y) * dy.sum(axis=batched(self.axes), keepdims=True),)


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
