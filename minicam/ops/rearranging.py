"""Ops that move, repeat or leave out elements. Axes are those of a sample (C, *space): the channels come first."""

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from minicam.backend import Array, array_module
from minicam.ops.base import Footprint, Op, Shape, require, sum_stretched
from minicam.windows import PerAxis, pairs_per_axis, per_axis

END = 2**31 - 1
"""A `stop` for Slice that no size reaches."""

MODES = ("constant", "reflect", "symmetric", "edge", "wrap")


@dataclass(frozen=True)
class Pad(Op):
    """x with elements put before and after it, ((low, high), ...) for each axis of a sample, channels first.

    mode: "constant" (of the given value), "reflect" (the elements behind the outermost one, mirrored), "symmetric"
    (with the outermost one), "edge" (the outermost one again) or "wrap" (the elements from the other end):
    y[o] = x[i(o)] on each axis, with i(o) = o - low inside.
    Adjoint: dx[i] = the sum of dy[o] over the o with i(o) = i; what has become of a constant is dropped.

    >>> import numpy as np
    >>> Pad(((0, 0), (2, 1)), "reflect").forward(np.array([[[1., 2., 3.]]]))
    array([[[3., 2., 1., 2., 3., 2.]]])
    """

    padding: PerAxis
    mode: str = "constant"
    value: float = 0.0

    def __post_init__(self) -> None:
        require(self.mode in MODES, f"Pad: mode is {self.mode!r}; expected one of {MODES}")
        padding = pairs_per_axis("Pad: padding", self.padding, _length("Pad: padding", self.padding))
        require(min(map(min, padding)) >= 0, f"Pad: padding is {padding}; expected 0 or more")
        object.__setattr__(self, "padding", padding)

    def output_shape(self, *shapes: Shape) -> Shape:
        _check_axes(shapes[0], len(self.padding), "Pad: padding")
        for size, pair in zip(shapes[0], self.padding, strict=True):
            require(
                self.mode != "reflect" or size is None or max(pair) < size,
                f"the input {shapes[0]} has too few elements to reflect {self.padding}",
            )
        return tuple(size and size + sum(pair) for size, pair in zip(shapes[0], self.padding, strict=True))

    def footprint(self, rank: int) -> tuple[Footprint, ...] | None:
        if self.mode != "constant":  # near the border the positions run backwards, or stand still
            return None
        return tuple(Footprint(Fraction(1), Fraction(-low), Fraction(-low)) for low, _ in self.padding[1:])

    def forward(self, x):
        xp = array_module(x)
        if self.mode == "constant":
            return xp.pad(x, ((0, 0), *self.padding), constant_values=self.value)
        for axis, pair in enumerate(self.padding, start=1):
            if any(pair):
                x = xp.take(x, xp.asarray(self._origin(pair, x.shape[axis])), axis=axis)
        return x

    def backward(self, dy, y, x):
        for axis, pair in enumerate(self.padding, start=1):
            dy = self._fold(dy, axis, pair, x.shape[axis])
        return (dy,)

    def _fold(self, dy: Array, axis: int, pair: tuple[int, int], size: int) -> Array:
        """The adjoint along one axis: what was put around the `size` elements is added to where it came from."""
        xp = array_module(dy)
        low, high = pair
        dy = xp.moveaxis(dy, axis, 0)
        dx = dy[low : low + size].copy()
        if self.mode != "constant":
            origin = self._origin(pair, size)
            for o in (*range(low), *range(low + size, low + size + high)):
                dx[int(origin[o])] += dy[o]
        return xp.moveaxis(dx, 0, axis)

    def _origin(self, pair: tuple[int, int], size: int) -> np.ndarray:
        """i(o) of every o along an axis of `size` elements. By NumPy: CuPy goes round otherwise where the padding is
        larger than what it repeats."""
        mode: Any = self.mode  # one of MODES
        return np.pad(np.arange(size), pair, mode)


@dataclass(frozen=True)
class Slice(Op):
    """y[i] = x[start + step i] for each axis of a sample, channels first, while start + step i < stop.

    As in Python's slices, a negative start or stop counts from the end, and what lies beyond the end is the end: END
    takes all there is. A negative step goes backwards, while start + step i > stop: from start = END, the last one, to
    stop = -END it takes all there is. step: one number, or one per axis. Adjoint: dy with zeros for what was left out.

    >>> import numpy as np
    >>> Slice(start=(0, 1), stop=(1, END), step=(1, 2)).forward(np.array([[[1., 2., 3., 4.], [5., 6., 7., 8.]]]))
    array([[[2., 4.]]])
    """

    start: tuple[int, ...]
    stop: tuple[int, ...]
    step: PerAxis = 1

    def __post_init__(self) -> None:
        axes = _length("Slice: start", self.start)
        for name in ("start", "stop", "step"):
            object.__setattr__(self, name, per_axis(f"Slice: {name}", getattr(self, name), axes))
        require(0 not in self.step, f"Slice: step is {self.step}; expected no 0")

    def _slices(self) -> tuple[slice, ...]:
        return tuple(map(slice, self.start, self.stop, self.step))

    def output_shape(self, *shapes: Shape) -> Shape:
        _check_axes(shapes[0], len(self.start), "Slice: start")
        return tuple(
            size and len(range(*taken.indices(size))) for size, taken in zip(shapes[0], self._slices(), strict=True)
        )

    def footprint(self, rank: int) -> tuple[Footprint, ...] | None:
        if min((*self.start[1:], *self.step[1:]), default=0) < 0:  # then the first position depends on the size
            return None
        axes = zip(self.start[1:], self.step[1:], strict=True)
        return tuple(Footprint(Fraction(step), Fraction(start), Fraction(start)) for start, step in axes)

    def forward(self, x):
        return x[:, *self._slices()]

    def backward(self, dy, y, x):
        dx = array_module(dy).zeros((len(dy), *x.shape[1:]), dy.dtype)
        dx[:, *self._slices()] = dy
        return (dx,)


@dataclass(frozen=True)
class Reshape(Op):
    """y[n] = the elements of x[n] in row-major order in another shape (C, *space); one size may be -1, for the rest.

    Adjoint: the reverse.

    >>> import numpy as np
    >>> Reshape((2, -1)).forward(np.array([[1., 2., 3., 4.]]))
    array([[[1., 2.],
            [3., 4.]]])
    """

    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        shape = per_axis("Reshape: shape", self.shape, _length("Reshape: shape", self.shape))
        require(
            all(size >= 1 or size == -1 for size in shape) and shape.count(-1) <= 1,
            f"Reshape: shape is {shape}; expected sizes of 1 or more, and -1 at most once",
        )
        object.__setattr__(self, "shape", shape)

    def output_shape(self, *shapes: Shape) -> Shape:
        fixed = math.prod(size for size in self.shape if size != -1)
        sizes = [size for size in shapes[0] if size is not None]
        if len(sizes) < len(shapes[0]):  # how many elements there are is open
            return tuple(None if size == -1 else size for size in self.shape)
        rest, remainder = divmod(math.prod(sizes), fixed)
        require(
            remainder == 0 and (rest == 1 or -1 in self.shape),
            f"the input {shapes[0]} cannot take the shape {self.shape}: the numbers of elements differ",
        )
        return tuple(rest if size == -1 else size for size in self.shape)

    def footprint(self, rank: int) -> None:
        return None

    def forward(self, x):
        return x.reshape(len(x), *self.shape)

    def backward(self, dy, y, x):
        return (dy.reshape(len(dy), *x.shape[1:]),)


@dataclass(frozen=True)
class Transpose(Op):
    """y[n] = x[n] with its axes in another order: axis a of y is axis axes[a] of x, both without the batch, so that 0
    is the channels. Adjoint: dy with its axes in the first order.

    >>> import numpy as np
    >>> Transpose((1, 0)).forward(np.array([[[1., 2.], [3., 4.]]]))
    array([[[1., 3.],
            [2., 4.]]])
    """

    axes: tuple[int, ...]

    def __post_init__(self) -> None:
        axes = per_axis("Transpose: axes", self.axes, _length("Transpose: axes", self.axes))
        require(
            sorted(axes) == list(range(len(axes))),
            f"Transpose: axes is {axes}; expected each of 0 to {len(axes) - 1} once",
        )
        object.__setattr__(self, "axes", axes)

    def output_shape(self, *shapes: Shape) -> Shape:
        _check_axes(shapes[0], len(self.axes), "Transpose: axes")
        return tuple(shapes[0][axis] for axis in self.axes)

    def footprint(self, rank: int) -> None:
        return None

    def forward(self, x):
        return x.transpose(0, *(axis + 1 for axis in self.axes))

    def backward(self, dy, y, x):
        return (dy.transpose(0, *(self.axes.index(axis) + 1 for axis in range(len(self.axes)))),)


@dataclass(frozen=True)
class Expand(Op):
    """x stretched to a shape (C, *space): along each axis where x has size 1, y[i] = x[0].

    Adjoint: dy summed over the axes along which x is stretched.

    >>> import numpy as np
    >>> Expand((2, 3)).forward(np.array([[[1.], [2.]]]))
    array([[[1., 1., 1.],
            [2., 2., 2.]]])
    """

    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        shape = per_axis("Expand: shape", self.shape, _length("Expand: shape", self.shape))
        require(min(shape) >= 1, f"Expand: shape is {shape}; expected sizes of 1 or more")
        object.__setattr__(self, "shape", shape)

    def output_shape(self, *shapes: Shape) -> Shape:
        _check_axes(shapes[0], len(self.shape), "Expand: shape")
        require(
            all(size in (None, 1, wanted) for size, wanted in zip(shapes[0], self.shape, strict=True)),
            f"the input {shapes[0]} cannot be stretched to {self.shape}; expected the same sizes, or 1",
        )
        return self.shape

    def footprint(self, rank: int) -> None:
        return None

    def forward(self, x):
        return array_module(x).broadcast_to(x, (len(x), *self.shape))

    def backward(self, dy, y, x):
        return (sum_stretched(dy, x.shape),)


def _length(name: str, value: Any) -> int:
    """The number of axes that an option has entries for."""
    require(isinstance(value, list | tuple) and value, f"{name} is {value!r}; expected one entry per axis of a sample")
    return len(value)


def _check_axes(shape: Shape, axes: int, name: str) -> None:
    require(len(shape) == axes, f"the input {shape} has {len(shape)} axes; {name} has {axes}")
