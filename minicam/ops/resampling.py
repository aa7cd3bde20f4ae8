"""Resizing inside a network."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minicam.backend import Array, array_module
from minicam.ops.base import Op, Shape, require
from minicam.windows import per_axis

METHODS = ("nearest", "linear", "cubic")
COORDINATES = ("half_pixel", "align_corners")


@dataclass(frozen=True)
class Resize(Op):
    """Each spatial axis resized, one after the other: y[o] = sum over i of weights[o,i] x[i], see `resizing_matrix`.

    x (N, C, *space) -> y (N, C, *out). Either out = sizes, or out = scales times space, which must be whole numbers.
    method: "linear" (bilinear, trilinear), "cubic" (with Keys' coefficient `cubic`: -0.5 as in MATLAB and Pillow, -0.75
    as in PyTorch and OpenCV) or "nearest". Past the ends the end values are repeated; nothing is antialiased.
    coordinates: output o looks at input u = (o + 1/2) space / out - 1/2 ("half_pixel") or, so that the centres of the
    outermost pixels coincide, at u = o (space - 1) / (out - 1) ("align_corners"; u = 0 where out is 1).
    Adjoint: dx[i] = sum over o of weights[o,i] dy[o].

    Source: ONNX operator Resize, version 19, of which these are the coordinates half_pixel and align_corners; nearest
    is round_prefer_ceil. PyTorch's interpolate: align_corners False and True; its "nearest-exact".

    >>> import numpy as np
    >>> Resize(scales=(2,)).forward(np.array([[[0., 4.]]]))
    array([[[0., 1., 3., 4.]]])
    >>> Resize(sizes=(5,), coordinates="align_corners").forward(np.array([[[0., 4.]]]))
    array([[[0., 1., 2., 3., 4.]]])
    """

    sizes: tuple[int, ...] = ()
    scales: tuple[float, ...] = ()
    method: str = "linear"
    coordinates: str = "half_pixel"
    cubic: float = -0.75

    def __post_init__(self) -> None:
        for name in ("sizes", "scales"):
            value = getattr(self, name)
            require(isinstance(value, list | tuple), f"Resize: {name} is {value!r}; expected one for each spatial axis")
            object.__setattr__(self, name, tuple(value))
        require(bool(self.sizes) != bool(self.scales), "Resize: expected either sizes or scales")
        per_axis("Resize: sizes", self.sizes, len(self.sizes))
        require(min(self.sizes, default=1) >= 1, f"Resize: sizes is {self.sizes}; expected 1 or more")
        require(min(self.scales, default=1) > 0, f"Resize: scales is {self.scales}; expected more than 0")
        require(self.method in METHODS, f"Resize: method is {self.method!r}; expected one of {METHODS}")
        require(
            self.coordinates in COORDINATES,
            f"Resize: coordinates is {self.coordinates!r}; expected one of {COORDINATES}",
        )

    def output_shape(self, *shapes: Shape) -> Shape:
        channels, *space = shapes[0]
        rank = len(self.sizes or self.scales)
        require(len(space) == rank, f"the input {shapes[0]} has {len(space)} spatial axes; Resize has {rank}")
        out = self._output_space(space)
        for size, scale, wanted in zip(space, self.scales, out, strict=False):  # there may be no scales
            require(
                size is None or abs(scale * size - wanted) < 1e-6,
                f"scale {scale} turns the size {size} into {scale * (size or 0)}; expected a whole number: name sizes",
            )
        return (channels, *out)

    def _output_space(self, space: Sequence[Any]) -> tuple[Any, ...]:
        """The sizes of y; where that of x is open (None) and scaled, so is that of y."""
        if self.sizes:
            return self.sizes
        return tuple(size and round(scale * size) for scale, size in zip(self.scales, space, strict=True))

    def footprint(self, rank: int) -> None:
        return None  # output positions differ in how many inputs they see, and in where these lie

    def forward(self, x):
        for axis, matrix in self._matrices(x):
            x = _along(axis, x, matrix)
        return x

    def backward(self, dy, y, x):
        for axis, matrix in self._matrices(x):
            dy = _along(axis, dy, matrix.T)
        return (dy,)

    def _matrices(self, x: Array) -> list[tuple[int, np.ndarray]]:
        """Each spatial axis of x with its matrix (out, space)."""
        space = x.shape[2:]
        sizes = zip(space, self._output_space(space), strict=True)
        matrices = [resizing_matrix(*pair, self.method, self.coordinates, self.cubic) for pair in sizes]
        return list(enumerate(matrices, start=2))


def resizing_matrix(size_in: int, size_out: int, method: str, coordinates: str, cubic: float) -> np.ndarray:
    """How one axis is resized: (size_out, size_in) float64, whose rows sum to 1, and of which few elements are not 0.

    Row o weighs the inputs around u, see Resize. "nearest" takes the input nearest to u, of two equally near ones the
    later. Where `minicam.resizing.resize_weights` has the same options, it has the same weights.

    >>> resizing_matrix(2, 3, "linear", "align_corners", 0)
    array([[1. , 0. ],
           [0.5, 0.5],
           [0. , 1. ]])
    """
    o = np.arange(size_out)
    if coordinates == "half_pixel":  # u = above / below, in whole numbers, so that ties are exact
        above, below = (2 * o + 1) * size_in - size_out, 2 * size_out
    else:
        above, below = o * (size_in - 1), max(size_out - 1, 1)
    if method == "nearest":
        taps, weights = (2 * above + below)[:, None] // (2 * below), np.ones((size_out, 1))
    else:
        taps = (above // below)[:, None] + (np.arange(2) if method == "linear" else np.arange(-1, 3))
        distance = np.abs(above[:, None] / below - taps)
        weights = 1 - distance if method == "linear" else _keys(distance, cubic)
    matrix = np.zeros((size_out, size_in))
    np.add.at(matrix, (o[:, None], np.clip(taps, 0, size_in - 1)), weights)
    return matrix


def _keys(t: np.ndarray, a: float) -> np.ndarray:
    """Keys' cubic convolution kernel (IEEE Trans. ASSP 29, 1981, equation 12) at distances t of at most 2."""
    return np.where(t <= 1, ((a + 2) * t - (a + 3)) * t * t + 1, ((t - 5) * t + 8) * a * t - 4 * a)


BLOCK = 64  # rows of a matrix at a time: enough for BLAS, and few enough that most of their columns are 0


def _along(axis: int, x: Array, matrix: np.ndarray) -> Array:
    """x with the vectors along one axis multiplied by the matrix; what a block of rows does not read is left out."""
    xp = array_module(x)
    vectors = xp.moveaxis(x, axis, 0)
    rows = xp.ascontiguousarray(vectors.reshape(len(vectors), -1))
    y = xp.empty((len(matrix), rows.shape[1]), x.dtype)
    for start in range(0, len(matrix), BLOCK):
        block = matrix[start : start + BLOCK]
        read = np.flatnonzero(block.any(axis=0))
        y[start : start + BLOCK] = xp.asarray(block[:, read], x.dtype) @ rows[xp.asarray(read)]
    return xp.moveaxis(y.reshape(-1, *vectors.shape[1:]), 0, axis)
