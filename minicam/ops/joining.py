"""Ops that join several feature maps, or fit one to another."""

import math
from dataclasses import dataclass
from typing import ClassVar

from minicam.backend import Array, array_module
from minicam.ops.base import Op, Shape, require


def _merge(shapes: tuple[Shape, ...], first: int, yielding: tuple[int | None, ...] = (None,)) -> Shape:
    """The common part shape[first:] of all shapes; None, and what else is yielding, gives way to another number."""
    misfit = f"the inputs {', '.join(map(str, shapes))} do not fit together"
    require(len({len(shape) for shape in shapes}) == 1, misfit)
    merged: list[int | None] = []
    for sizes in zip(*(shape[first:] for shape in shapes), strict=True):
        found = {size for size in sizes if size not in yielding}
        require(len(found) <= 1, misfit)
        merged.append(found.pop() if found else None)
    return tuple(merged)


@dataclass(frozen=True)
class Add(Op):
    """y = the sum of all inputs, which have one shape. Adjoint: dy to each.

    >>> import numpy as np
    >>> Add().forward(np.array([[1., 2.]]), np.array([[10., 20.]]))
    array([[11., 22.]])
    """

    arity: ClassVar[int | None] = None

    def output_shape(self, *shapes: Shape) -> Shape:
        return _merge(shapes, first=0)

    def forward(self, *xs):
        return sum(xs[1:], start=xs[0])

    def backward(self, dy, y, *xs):
        return (dy,) * len(xs)


@dataclass(frozen=True)
class Multiply(Op):
    """y = the product of all inputs. Where sizes differ, those of 1 are stretched to the others', so that a gate
    (C, 1, ..., 1) weighs channels, as in squeeze-and-excitation, and (1, *space) weighs positions.

    Adjoint: each input gets dy times the product of the other inputs, summed over the axes along which it is stretched.

    >>> import numpy as np
    >>> Multiply().forward(np.array([[[1., 2.], [3., 4.]]]), np.array([[[10.], [100.]]]))
    array([[[ 10.,  20.],
            [300., 400.]]])
    """

    arity: ClassVar[int | None] = None
    reads: ClassVar[frozenset[str]] = frozenset({"x"})

    def output_shape(self, *shapes: Shape) -> Shape:
        merged = _merge(shapes, first=0, yielding=(None, 1))
        axes = zip(merged, *shapes, strict=True)
        return tuple(size or (None if None in sizes else 1) for size, *sizes in axes)

    def footprint(self, rank: int) -> None:
        return None  # of a stretched input, every output position depends on the same position

    def forward(self, *xs):
        return math.prod(xs[1:], start=xs[0])

    def backward(self, dy, y, *xs):
        return tuple(_sum_stretched(math.prod((*xs[:i], *xs[i + 1 :]), start=dy), x.shape) for i, x in enumerate(xs))


def _sum_stretched(dy: Array, shape: tuple[int, ...]) -> Array:
    """dy summed over the axes that are 1 in `shape`, the samples apart."""
    axes = tuple(axis for axis in range(1, dy.ndim) if shape[axis] == 1)
    return dy.sum(axis=axes, keepdims=True)


@dataclass(frozen=True)
class Concat(Op):
    """y = the inputs one after the other along the channels. Adjoint: each input gets its own channels of dy.

    >>> import numpy as np
    >>> Concat().forward(np.array([[1., 2.]]), np.array([[3.]]))
    array([[1., 2., 3.]])
    """

    arity: ClassVar[int | None] = None

    def output_shape(self, *shapes: Shape) -> Shape:
        channels = [shape[0] for shape in shapes]
        total = None if None in channels else sum(c for c in channels if c is not None)
        return (total, *_merge(shapes, first=1))

    def forward(self, *xs):
        return array_module(xs[0]).concatenate(xs, axis=1)

    def backward(self, dy, y, *xs):
        ends = [sum(x.shape[1] for x in xs[: i + 1]) for i in range(len(xs))]
        return tuple(dy[:, end - x.shape[1] : end] for end, x in zip(ends, xs, strict=True))


@dataclass(frozen=True)
class Crop(Op):
    """The centre of x, of the spatial size of a reference: y[n,c,i] = x[n,c, floor((size - wanted) / 2) + i].

    x (N, C, *space), reference (N, any, *wanted) -> y (N, C, *wanted). Of the reference only the shape counts.
    Adjoint: dy with zeros around it; zeros for the reference.

    >>> import numpy as np
    >>> Crop().forward(np.array([[[1., 2., 3., 4.]]]), np.zeros((1, 1, 1)))
    array([[[2.]]])
    """

    arity: ClassVar[int | None] = 2
    shape_only: ClassVar[frozenset[int]] = frozenset({1})

    def output_shape(self, *shapes: Shape) -> Shape:
        shape, reference = shapes
        require(len(shape) == len(reference), f"cannot crop {shape} to {reference}: the ranks differ")
        for size, wanted in zip(shape[1:], reference[1:], strict=True):
            require(
                size is None or wanted is None or size >= wanted,
                f"cannot crop {shape} to the larger size {reference[1:]} of the reference",
            )
        return (shape[0], *reference[1:])

    def forward(self, x, reference):
        return x[self._inside(x, reference)]

    def backward(self, dy, y, x, reference):
        xp = array_module(dy)
        dx = xp.zeros((*dy.shape[:2], *x.shape[2:]), dy.dtype)
        dx[self._inside(x, reference)] = dy
        zero = xp.zeros((), dy.dtype)
        return dx, xp.broadcast_to(zero, (len(dy), *reference.shape[1:]))

    def _inside(self, x: Array, reference: Array) -> tuple[slice, ...]:
        starts = [(size - wanted) // 2 for size, wanted in zip(x.shape[2:], reference.shape[2:], strict=True)]
        window = (slice(s, s + wanted) for s, wanted in zip(starts, reference.shape[2:], strict=True))
        return (slice(None), slice(None), *window)
