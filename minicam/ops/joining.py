"""Ops that join several feature maps, or fit one to another."""

from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

from minicam.backend import Array, array_module
from minicam.ops.base import Footprint, Op, Shape, no_gradient, require


def merge(shapes: tuple[Shape, ...], shown: tuple[Shape, ...], yielding: tuple[int | None, ...] = (None,)) -> Shape:
    """The one shape that all have; None, and what else is yielding, gives way to another number. shown: the shapes of
    the inputs, for the LayerError where they do not fit."""
    misfit = f"the inputs {', '.join(map(str, shown))} do not fit together"
    require(len({len(shape) for shape in shapes}) == 1, misfit)
    merged: list[int | None] = []
    for sizes in zip(*shapes, strict=True):
        found = {size for size in sizes if size not in yielding}
        require(len(found) <= 1, misfit)
        merged.append(found.pop() if found else None)
    return tuple(merged)


@dataclass(frozen=True)
class Add(Op):
    """y = the sum of all inputs, which have one shape (where they differ, see `Sum`). Adjoint: dy to each.

    >>> import numpy as np
    >>> Add().forward(np.array([[1., 2.]]), np.array([[10., 20.]]))
    array([[11., 22.]])
    """

    arity: ClassVar[int | None] = None

    def output_shape(self, *shapes: Shape) -> Shape:
        return merge(shapes, shapes)

    def forward(self, *xs):
        return sum(xs[1:], start=xs[0])

    def backward(self, dy, y, *xs):
        return (dy,) * len(xs)


@dataclass(frozen=True)
class Concat(Op):
    """y = the inputs one after the other along the channels. Adjoint: each input gets its own channels of dy.

    axis: the axis of a sample that they are joined along, if not the channels, which are 0.

    >>> import numpy as np
    >>> Concat().forward(np.array([[1., 2.]]), np.array([[3.]]))
    array([[1., 2., 3.]])
    """

    _: KW_ONLY
    axis: int = 0
    arity: ClassVar[int | None] = None

    def __post_init__(self) -> None:
        require(self.axis >= 0, f"Concat: axis is {self.axis}; expected 0 (the channels) or more")

    def output_shape(self, *shapes: Shape) -> Shape:
        shortest = min(shapes, key=len)
        require(
            self.axis < len(shortest), f"the input {shortest} has {len(shortest)} axes; Concat: axis is {self.axis}"
        )
        sizes = [shape[self.axis] for shape in shapes]
        total = None if None in sizes else sum(size for size in sizes if size is not None)
        before, after = (merge(tuple(s[part] for s in shapes), shapes) for part in self._others())
        return (*before, total, *after)

    def _others(self) -> tuple[slice, slice]:
        return slice(None, self.axis), slice(self.axis + 1, None)

    def footprint(self, rank: int) -> tuple[Footprint, ...] | None:
        return super().footprint(rank) if self.axis == 0 else None

    def forward(self, *xs):
        return array_module(xs[0]).concatenate(xs, axis=self.axis + 1)

    def backward(self, dy, y, *xs):
        sizes = [x.shape[self.axis + 1] for x in xs]
        ends = [sum(sizes[: i + 1]) for i in range(len(xs))]
        before = (slice(None),) * (self.axis + 1)
        return tuple(dy[*before, end - size : end] for end, size in zip(ends, sizes, strict=True))


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
        return dx, no_gradient(dy, reference)

    def _inside(self, x: Array, reference: Array) -> tuple[slice, ...]:
        starts = [(size - wanted) // 2 for size, wanted in zip(x.shape[2:], reference.shape[2:], strict=True)]
        window = (slice(s, s + wanted) for s, wanted in zip(starts, reference.shape[2:], strict=True))
        return (slice(None), slice(None), *window)
