"""Ops that turn all elements along some axes into one number. Axes are those of a sample: 0 is the channels.

In the formulas i runs over the positions along the axes, and y and dy are the numbers that belong to the same place
along the other axes. With `keep`, the axes remain with size 1; without, they are left out.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

from minicam.backend import Array, array_module
from minicam.ops.axes import batched, check_axes, set_axes
from minicam.ops.base import Op, Shape, require


class _Reduction(Op):
    """What all reductions share."""

    axes: tuple[int, ...]
    keep: bool

    def __post_init__(self) -> None:
        set_axes(self)

    def output_shape(self, *shapes: Shape) -> Shape:
        check_axes(self, shapes[0])
        sizes = enumerate(shapes[0])
        return tuple(1 if axis in self.axes else size for axis, size in sizes if self.keep or axis not in self.axes)

    def footprint(self, rank: int) -> None:
        return None

    def _wide(self, y: Array) -> Array:
        """y or dy with size 1 along the axes, so that it stretches against x."""
        return y if self.keep else array_module(y).expand_dims(y, batched(self.axes))

    def _spread(self, dy: Array, x: Array) -> Array:
        """dy again at every position along the axes."""
        return array_module(dy).broadcast_to(self._wide(dy), (len(dy), *x.shape[1:]))

    def _count(self, x: Array) -> int:
        return math.prod(x.shape[axis + 1] for axis in self.axes)


@dataclass(frozen=True)
class ReduceSum(_Reduction):
    """y = sum of x[i]. Adjoint: dx[i] = dy.

    >>> import numpy as np
    >>> ReduceSum((0,)).forward(np.array([[[1., 2.], [3., 4.]]]))
    array([[[4., 6.]]])
    """

    axes: tuple[int, ...]
    keep: bool = True

    def forward(self, x):
        return x.sum(axis=batched(self.axes), keepdims=self.keep)

    def backward(self, dy, y, x):
        return (self._spread(dy, x),)


@dataclass(frozen=True)
class ReduceMean(_Reduction):
    """y = the mean of x[i]. Adjoint: dx[i] = dy / number of positions.

    >>> import numpy as np
    >>> ReduceMean((1,), keep=False).forward(np.array([[[1., 2.], [3., 4.]]]))
    array([[1.5, 3.5]])
    """

    axes: tuple[int, ...]
    keep: bool = True

    def forward(self, x):
        return x.mean(axis=batched(self.axes), keepdims=self.keep)

    def backward(self, dy, y, x):
        return (self._spread(dy / self._count(x), x),)


class _Extreme(_Reduction):
    """The largest or the smallest element."""

    reads: ClassVar[frozenset[str]] = frozenset({"x"})

    def _winner(self, rows: Array) -> Array:
        """Along the last axis, the position of the first largest or smallest element."""
        raise NotImplementedError

    def backward(self, dy, y, x):
        winner = self._wide(self._winner(rows_of(x, self.axes)).reshape(y.shape))
        sizes = [size if axis in self.axes else 1 for axis, size in enumerate(x.shape[1:])]
        positions = array_module(x).arange(self._count(x)).reshape(sizes)
        return (self._wide(dy) * (positions == winner),)


@dataclass(frozen=True)
class ReduceMax(_Extreme):
    """y = the largest x[i]. Adjoint: dy goes to the largest element, to the first one in row-major order where several
    are equal.

    >>> import numpy as np
    >>> ReduceMax((0, 1)).forward(np.array([[[1., 2.], [4., 3.]]]))
    array([[[4.]]])
    """

    axes: tuple[int, ...]
    keep: bool = True

    def forward(self, x):
        return x.max(axis=batched(self.axes), keepdims=self.keep)

    def _winner(self, rows):
        return rows.argmax(axis=-1)


@dataclass(frozen=True)
class ReduceMin(_Extreme):
    """y = the smallest x[i]. Adjoint: dy goes to the smallest element, to the first one in row-major order where
    several are equal.

    >>> import numpy as np
    >>> ReduceMin((0, 1)).forward(np.array([[[1., 2.], [4., 3.]]]))
    array([[[1.]]])
    """

    axes: tuple[int, ...]
    keep: bool = True

    def forward(self, x):
        return x.min(axis=batched(self.axes), keepdims=self.keep)

    def _winner(self, rows):
        return rows.argmin(axis=-1)


@dataclass(frozen=True)
class ReduceProduct(_Reduction):
    """y = product of x[i]. Adjoint: dx[i] = dy times the product of x[j] over j < i, times that over j > i.

    >>> import numpy as np
    >>> ReduceProduct((0,)).forward(np.array([[2., 3., 4.]]))
    array([[24.]])
    """

    axes: tuple[int, ...]
    keep: bool = True
    reads: ClassVar[frozenset[str]] = frozenset({"x"})

    def forward(self, x):
        return x.prod(axis=batched(self.axes), keepdims=self.keep)

    def backward(self, dy, y, x):
        behind = axes_behind(x, self.axes)
        rows = rows_of(x, self.axes)
        others = _products_before(rows) * _products_before(rows[..., ::-1])[..., ::-1]
        ends = range(-len(self.axes), 0)
        return (self._wide(dy) * array_module(x).moveaxis(others.reshape(behind.shape), ends, batched(self.axes)),)


@dataclass(frozen=True)
class ReduceNorm(_Reduction):
    """y = (sum of |x[i]|^p)^(1/p), the p-norm: of p = 1 the sum of the absolute values, of p = 2 the length.

    Adjoint: dx[i] = dy sign(x[i]) (|x[i]| / y)^(p - 1), and 0 where y = 0.

    >>> import numpy as np
    >>> ReduceNorm((0,)).forward(np.array([[3., -4.]]))
    array([[5.]])
    """

    axes: tuple[int, ...]
    p: float = 2.0
    keep: bool = True
    reads: ClassVar[frozenset[str]] = frozenset({"x", "y"})

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.p >= 1, f"ReduceNorm: p is {self.p}; expected 1 or more")

    def forward(self, x):
        return (abs(x) ** self.p).sum(axis=batched(self.axes), keepdims=self.keep) ** (1 / self.p)

    def backward(self, dy, y, x):
        return (self._wide(dy) * norm_slope(x, self._wide(y), self.p),)


@dataclass(frozen=True)
class ReduceLogSumExp(_Reduction):
    """y = log(sum of exp(x[i])). Adjoint: dx[i] = dy exp(x[i] - y).

    >>> import numpy as np
    >>> ReduceLogSumExp((0,)).forward(np.array([[-1000., 1000.]]))
    array([[1000.]])
    """

    axes: tuple[int, ...]
    keep: bool = True
    reads: ClassVar[frozenset[str]] = frozenset({"x", "y"})

    def forward(self, x):
        xp = array_module(x)
        axes = batched(self.axes)
        largest = x.max(axis=axes, keepdims=True)  # taken out, so that nothing overflows
        y = largest + xp.log(xp.exp(x - largest).sum(axis=axes, keepdims=True))
        return y if self.keep else y.squeeze(axes)

    def backward(self, dy, y, x):
        return (self._wide(dy) * array_module(x).exp(x - self._wide(y)),)


def axes_behind(x: Array, axes: tuple[int, ...]) -> Array:
    """x (N, C, *space) with the axes behind all others."""
    return array_module(x).moveaxis(x, batched(axes), range(-len(axes), 0))


def rows_of(x: Array, axes: tuple[int, ...]) -> Array:
    """The same with the axes as one: (N, *others, positions)."""
    behind = axes_behind(x, axes)
    return behind.reshape(*behind.shape[: x.ndim - len(axes)], -1)


def norm_slope(x: Array, y: Array, p: float) -> Array:
    """dy/dx of y = (sum of |x|^p)^(1/p), which is stretched against x: 0 where y = 0."""
    xp = array_module(x)
    return xp.sign(x) * (abs(x) / xp.where(y > 0, y, 1)) ** (p - 1)


def _products_before(rows: Array) -> Array:
    """Along the last axis, the product of all elements before each, which is 1 for the first."""
    xp = array_module(rows)
    return xp.concatenate([xp.ones_like(rows[..., :1]), rows[..., :-1].cumprod(axis=-1)], axis=-1)
