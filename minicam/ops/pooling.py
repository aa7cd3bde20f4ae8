"""Pooling over windows and over the whole space."""

import math
from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

from minicam.backend import Array, array_module
from minicam.ops.base import Footprint, Op, Shape, require, space_axes
from minicam.ops.convolution import check_rank, set_window, window_footprint
from minicam.ops.reductions import norm_slope
from minicam.windows import PerAxis, Window, fold, unfold


class _Pool(Op):
    """What all window poolings share: the geometry."""

    kernel: tuple[int, ...]
    stride: PerAxis
    padding: PerAxis
    dilation: PerAxis

    def _canonical(self) -> None:
        set_window(self, "padding", "stride", "dilation")
        for pair, extent in zip(self.padding, self._window().extent(), strict=True):
            require(max(pair) < extent, f"padding is {self.padding}; expected less than the kernel {self.kernel}")

    def _window(self) -> Window:
        return Window(self.kernel, self.stride, self.dilation, self.padding)

    def output_shape(self, *shapes: Shape) -> Shape:
        check_rank(shapes[0], len(self.kernel))
        for axis, size in enumerate(shapes[0][1:]):
            require(
                size is None or not self._misses(axis, size),
                f"a window of {self.kernel} with padding {self.padding} and dilation {self.dilation} would see nothing "
                f"of the input {shapes[0]}",
            )
        return (shapes[0][0], *self._window().output_space(shapes[0][1:]))

    def footprint(self, rank: int) -> tuple[Footprint, ...]:
        return window_footprint(self._window())

    def _columns(self, x: Array, fill: float) -> Array:
        """x (N, C, *space) -> (N, C, taps, *out), the taps in row-major order."""
        columns = unfold(x, self._window(), fill)
        rank = len(self.kernel)
        return columns.reshape(*x.shape[:2], math.prod(self.kernel), *columns.shape[2 + rank :])

    def _fold(self, columns: Array, space: tuple[int, ...]) -> Array:
        """(N, C, taps, *out) -> (N, C, *space), the adjoint of _columns."""
        return fold(columns.reshape(*columns.shape[:2], *self.kernel, *columns.shape[3:]), self._window(), space)

    def _misses(self, axis: int, size: int) -> bool:
        """Whether the window sees padding only, somewhere along an axis of that size."""
        dilation, (low, high) = self.dilation[axis], self.padding[axis]
        taps = [dilation * t for t in range(self.kernel[axis])]
        starts = range(-low, size + high - taps[-1], self.stride[axis])
        return any(all(not 0 <= start + tap < size for tap in taps) for start in starts)


@dataclass(frozen=True)
class MaxPool(_Pool):
    """y[n,c,o] = the largest x[n,c, stride o + dilation t - padding] over the taps t; padding never wins.

    x (N, C, *space) -> y (N, C, *out). Adjoint: dy goes to the largest element of its window, to the first one in
    row-major order where several are equal.

    >>> import numpy as np
    >>> MaxPool((2,), stride=2).forward(np.array([[[1., 3., 2., 2.]]]))
    array([[[3., 2.]]])
    """

    kernel: tuple[int, ...]
    stride: PerAxis = 1
    padding: PerAxis = 0
    _: KW_ONLY
    dilation: PerAxis = 1
    reads: ClassVar[frozenset[str]] = frozenset({"x"})

    def __post_init__(self) -> None:
        self._canonical()

    def forward(self, x):
        return self._columns(x, fill=-math.inf).max(axis=2)

    def backward(self, dy, y, x):
        xp = array_module(x)
        winner = self._columns(x, fill=-math.inf).argmax(axis=2)[:, :, None]
        taps = xp.arange(math.prod(self.kernel)).reshape(-1, *(1,) * len(self.kernel))
        return (self._fold(dy[:, :, None] * (taps == winner), x.shape[2:]),)


@dataclass(frozen=True)
class AveragePool(_Pool):
    """y[n,c,o] = the mean of x[n,c, stride o + dilation t - padding] over the taps t.

    x (N, C, *space) -> y (N, C, *out). count_padding: whether padding counts as zeros in the mean (True) or is left
    out of it (False). Adjoint: dy divided by the same count goes to every element of its window.

    >>> import numpy as np
    >>> AveragePool((2,), stride=2).forward(np.array([[[1., 3., 2., 2.]]]))
    array([[[2., 2.]]])
    """

    kernel: tuple[int, ...]
    stride: PerAxis = 1
    padding: PerAxis = 0
    count_padding: bool = True
    _: KW_ONLY
    dilation: PerAxis = 1

    def __post_init__(self) -> None:
        self._canonical()

    def forward(self, x):
        return self._columns(x, fill=0).sum(axis=2) / self._count(x)

    def backward(self, dy, y, x):
        shared = (dy / self._count(x))[:, :, None]
        taps = math.prod(self.kernel)
        columns = array_module(dy).broadcast_to(shared, (*dy.shape[:2], taps, *dy.shape[2:]))
        return (self._fold(columns, x.shape[2:]),)

    def _count(self, x: Array) -> Array:
        """Elements in each window, (1, 1, *out)."""
        ones = array_module(x).ones((1, 1, *x.shape[2:]), x.dtype)
        return self._columns(ones, fill=1 if self.count_padding else 0).sum(axis=2)


@dataclass(frozen=True)
class LpPool(_Pool):
    """y[n,c,o] = (sum over the taps t of |x[n,c, stride o + dilation t - padding]|^p)^(1/p).

    x (N, C, *space) -> y (N, C, *out). Adjoint: each element of a window gets dy sign(x) (|x| / y)^(p - 1), and 0 where
    y = 0.

    Source: ONNX operator LpPool, version 18; PyTorch's lp_pool takes x^p without the absolute value.

    >>> import numpy as np
    >>> LpPool((2,), stride=2).forward(np.array([[[3., -4., 0., 1.]]]))
    array([[[5., 1.]]])
    """

    kernel: tuple[int, ...]
    stride: PerAxis = 1
    padding: PerAxis = 0
    p: float = 2.0
    dilation: PerAxis = 1
    reads: ClassVar[frozenset[str]] = frozenset({"x", "y"})

    def __post_init__(self) -> None:
        require(self.p >= 1, f"LpPool: p is {self.p}; expected 1 or more")
        self._canonical()

    def forward(self, x):
        return (abs(self._columns(x, fill=0)) ** self.p).sum(axis=2) ** (1 / self.p)

    def backward(self, dy, y, x):
        slope = norm_slope(self._columns(x, fill=0), y[:, :, None], self.p)
        return (self._fold(dy[:, :, None] * slope, x.shape[2:]),)


class _GlobalPool(Op):
    def output_shape(self, *shapes: Shape) -> Shape:
        require(len(shapes[0]) > 1, f"the input {shapes[0]} has no spatial axis to pool")
        return (shapes[0][0], *(1,) * (len(shapes[0]) - 1))

    def footprint(self, rank: int) -> None:
        return None


@dataclass(frozen=True)
class GlobalAveragePool(_GlobalPool):
    """y[n,c] = the mean of x[n,c,i] over all positions i. x (N, C, *space) -> y (N, C, 1, ...).

    Adjoint: dx = dy / number of positions, at every position.

    >>> import numpy as np
    >>> GlobalAveragePool().forward(np.array([[[1., 2., 6.]]]))
    array([[[3.]]])
    """

    def forward(self, x):
        return x.mean(axis=space_axes(x), keepdims=True)

    def backward(self, dy, y, x):
        shared = dy / math.prod(x.shape[2:])
        return (array_module(dy).broadcast_to(shared, (*dy.shape[:2], *x.shape[2:])),)


@dataclass(frozen=True)
class GlobalMaxPool(_GlobalPool):
    """y[n,c] = the largest x[n,c,i] over all positions i. x (N, C, *space) -> y (N, C, 1, ...).

    Adjoint: dy goes to the largest element, to the first one in row-major order where several are equal.

    >>> import numpy as np
    >>> GlobalMaxPool().forward(np.array([[[1., 6., 2.]]]))
    array([[[6.]]])
    """

    reads: ClassVar[frozenset[str]] = frozenset({"x"})

    def forward(self, x):
        return x.max(axis=space_axes(x), keepdims=True)

    def backward(self, dy, y, x):
        xp = array_module(x)
        winner = x.reshape(*x.shape[:2], -1).argmax(axis=2)
        positions = xp.arange(math.prod(x.shape[2:])).reshape(x.shape[2:])
        return (dy * (positions == winner.reshape(y.shape)),)


@dataclass(frozen=True)
class ChannelMax(Op):
    """y[n,0,i] = the largest x[n,c,i] over the channels c. x (N, C, *space) -> y (N, 1, *space).

    Adjoint: dy goes to the largest channel of each position, to the first one where several are equal.

    >>> import numpy as np
    >>> ChannelMax().forward(np.array([[[1., 6.], [2., 5.]]]))
    array([[[2., 6.]]])
    """

    reads: ClassVar[frozenset[str]] = frozenset({"x"})

    def output_shape(self, *shapes: Shape) -> Shape:
        return (1, *shapes[0][1:])

    def forward(self, x):
        return x.max(axis=1, keepdims=True)

    def backward(self, dy, y, x):
        channels = array_module(x).arange(x.shape[1]).reshape(-1, *(1,) * (x.ndim - 2))
        return (dy * (channels == x.argmax(axis=1)[:, None]),)
