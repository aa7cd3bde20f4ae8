"""Arrays that are zero outside a box, held as the box alone."""

from collections.abc import Sequence
from dataclasses import dataclass

from minicam.backend import Array, array_module


@dataclass(frozen=True)
class Patch:
    """Zero everywhere in `space` but in a box.

    values (..., *box), corner: the box's first position per spatial axis, space: the size of the whole.
    """

    values: Array
    corner: tuple[int, ...]
    space: tuple[int, ...]

    @property
    def box(self) -> tuple[slice, ...]:
        """The box as slices of the spatial axes."""
        sizes = self.values.shape[self.values.ndim - len(self.space) :]
        return tuple(slice(start, start + size) for start, size in zip(self.corner, sizes, strict=True))

    @property
    def leading(self) -> tuple[int, ...]:
        """The axes before the spatial ones, such as (N, C)."""
        return self.values.shape[: self.values.ndim - len(self.space)]

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the whole array."""
        return (*self.leading, *self.space)

    def full(self) -> Array:
        """The whole array, with its zeros."""
        if tuple(self.values.shape[len(self.leading) :]) == self.space:
            return self.values
        whole = array_module(self.values).zeros(self.shape, self.values.dtype)
        whole[(..., *self.box)] = self.values
        return whole

    def __add__(self, other: "Patch") -> "Patch":
        """The sum, on the smallest box around both."""
        starts = [min(a.start, b.start) for a, b in zip(self.box, other.box, strict=True)]
        stops = [max(a.stop, b.stop) for a, b in zip(self.box, other.box, strict=True)]
        sizes = [stop - start for start, stop in zip(starts, stops, strict=True)]
        total = array_module(self.values).zeros((*self.leading, *sizes), self.values.dtype)
        for patch in (self, other):
            inside = (slice(b.start - s, b.stop - s) for b, s in zip(patch.box, starts, strict=True))
            total[(..., *inside)] += patch.values
        return Patch(total, tuple(starts), self.space)


def whole(values: Array, rank: int) -> Patch:
    """An array as a patch that covers all of its last `rank` axes."""
    return Patch(values, (0,) * rank, tuple(values.shape[values.ndim - rank :]))


def bounding_box(mask: Array) -> tuple[slice, ...]:
    """The smallest box around the True positions of a mask (*space); an empty one at the corner where there is none."""
    box = []
    for axis in range(mask.ndim):
        hit = mask.any(axis=tuple(a for a in range(mask.ndim) if a != axis)).nonzero()[0]
        box.append(slice(int(hit[0]), int(hit[-1]) + 1) if len(hit) else slice(0, 0))
    return tuple(box)


def corner_of(box: Sequence[slice]) -> tuple[int, ...]:
    return tuple(part.start for part in box)
