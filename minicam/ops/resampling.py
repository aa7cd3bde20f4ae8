"""Resizing inside a network."""

import math
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from minicam.backend import Array, array_module
from minicam.ops.base import Op, Shape, require
from minicam.windows import per_axis

METHODS = ("nearest", "linear", "cubic")
COORDINATES = (
    "half_pixel",
    "align_corners",
    "asymmetric",
    "pytorch_half_pixel",
    "half_pixel_symmetric",
    "tf_half_pixel_for_nn",
)
ROUNDINGS = {
    "round_prefer_ceil": lambda u: math.floor(u + Fraction(1, 2)),
    "round_prefer_floor": lambda u: math.ceil(u - Fraction(1, 2)),
    "floor": math.floor,
    "ceil": math.ceil,
}


@dataclass(frozen=True)
class Resize(Op):
    """Each spatial axis resized, one after the other: y[o] = sum over i of weights[o,i] x[i], see `resizing_matrix`.

    x (N, C, *space) -> y (N, C, *out). Either out = sizes, or out = floor(scales times space). With both, sizes tells
    how many outputs there are, and scales where they look.
    method: "linear" (bilinear, trilinear), "cubic" (with Keys' coefficient `cubic`: -0.5 as in MATLAB and Pillow, -0.75
    as in PyTorch and OpenCV) or "nearest". Past the ends the end values are repeated, or with exclude_outside left out
    and the weights made to sum to 1 again. antialias: where an axis shrinks, the linear or cubic kernel is stretched.
    coordinates: output o looks at input u = (o + 1/2) / scale - 1/2 ("half_pixel") or, so that the centres of the
    outermost pixels coincide, at u = o (space - 1) / (out - 1) ("align_corners"; u = 0 where out is 1), or as said at
    `sources`. rounding: which input is nearest to u: "round_prefer_ceil" (of two equally near ones the later),
    "round_prefer_floor" (the earlier), "floor" or "ceil".
    Adjoint: dx[i] = sum over o of weights[o,i] dy[o].

    Source: ONNX operator Resize, version 19, without tf_crop_and_resize. PyTorch's interpolate: half_pixel and
    align_corners; its "nearest-exact" is the default here, its "nearest" is asymmetric with floor.

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
    _: KW_ONLY
    rounding: str = "round_prefer_ceil"
    exclude_outside: bool = False
    antialias: bool = False

    def __post_init__(self) -> None:
        for name in ("sizes", "scales"):
            value = getattr(self, name)
            require(isinstance(value, list | tuple), f"Resize: {name} is {value!r}; expected one for each spatial axis")
            object.__setattr__(self, name, tuple(value))
        lengths = {len(value) for value in (self.sizes, self.scales) if value}
        require(len(lengths) == 1, "Resize: expected sizes or scales, or as many of both")
        per_axis("Resize: sizes", self.sizes, len(self.sizes))
        require(min(self.sizes, default=1) >= 1, f"Resize: sizes is {self.sizes}; expected 1 or more")
        require(min(self.scales, default=1) > 0, f"Resize: scales is {self.scales}; expected more than 0")
        choices = {"method": METHODS, "coordinates": COORDINATES, "rounding": tuple(ROUNDINGS)}
        for name, known in choices.items():
            value = getattr(self, name)
            require(value in known, f"Resize: {name} is {value!r}; expected one of {known}")

    def output_shape(self, *shapes: Shape) -> Shape:
        channels, *space = shapes[0]
        rank = len(self.sizes or self.scales)
        require(len(space) == rank, f"the input {shapes[0]} has {len(space)} spatial axes; Resize has {rank}")
        return (channels, *self._output_space(space))

    def _output_space(self, space: Sequence[Any]) -> tuple[Any, ...]:
        """The sizes of y; where that of x is open (None) and scaled, so is that of y."""
        if self.sizes:
            return self.sizes
        axes = zip(self.scales, space, strict=True)
        return tuple(size and math.floor(scale * size + WHOLE) for scale, size in axes)

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
        out, scales = self._output_space(space), self.scales or (None,) * len(space)
        shared = {name: getattr(self, name) for name in ("rounding", "exclude_outside", "antialias")}
        matrices = [
            resizing_matrix(size, wanted, self.method, self.coordinates, self.cubic, scale=scale, **shared)
            for size, wanted, scale in zip(space, out, scales, strict=True)
        ]
        return list(enumerate(matrices, start=2))


def resizing_matrix(
    size_in: int,
    size_out: int,
    method: str,
    coordinates: str,
    cubic: float,
    *,
    scale: float | None = None,
    rounding: str = "round_prefer_ceil",
    exclude_outside: bool = False,
    antialias: bool = False,
) -> np.ndarray:
    """How one axis is resized: (size_out, size_in) float64, whose rows sum to 1, and of which few elements are not 0.

    Row o weighs the inputs around u, see Resize. Where `minicam.resizing.resize_weights` has the same options, it has
    the same weights.

    >>> resizing_matrix(2, 3, "linear", "align_corners", 0)
    array([[1. , 0. ],
           [0.5, 0.5],
           [0. , 1. ]])
    """
    exact = Fraction(size_out, size_in)  # so that ties are exact
    if scale is not None and abs(scale * size_in - size_out) > WHOLE:
        exact = Fraction(scale)
    positions = sources(size_in, size_out, exact, coordinates)
    if method == "nearest":
        taps, weights = np.array([[ROUNDINGS[rounding](u)] for u in positions]), np.ones((size_out, 1))
    else:
        stretch = max(float(1 / exact), 1.0) if antialias else 1.0
        reach = math.ceil(2 * stretch)  # beyond it, the kernels are 0
        first = np.array([[math.floor(u)] for u in positions])
        rest = np.array([[float(u - math.floor(u))] for u in positions])
        around = np.arange(-reach, reach + 1)
        distance = np.abs(rest - around) / stretch
        taps, weights = first + around, np.maximum(1 - distance, 0) if method == "linear" else _keys(distance, cubic)
    if exclude_outside:
        weights = weights * ((taps >= 0) & (taps < size_in))
    matrix = np.zeros((size_out, size_in))
    np.add.at(matrix, (np.arange(size_out)[:, None], np.clip(taps, 0, size_in - 1)), weights)
    return matrix / matrix.sum(axis=1, keepdims=True)


def sources(size_in: int, size_out: int, scale: Fraction, coordinates: str) -> list[Fraction]:
    """The place u between the inputs that each output o looks at, by the formulas of ONNX."""
    half, length = Fraction(1, 2), scale * size_in
    shift = {
        "half_pixel": half / scale - half,
        "pytorch_half_pixel": half / scale - half,
        "half_pixel_symmetric": half / scale - half + half * size_in * (1 - size_out / length),
        "tf_half_pixel_for_nn": half / scale,
    }
    step = 1 / scale
    if coordinates == "align_corners":
        step = (size_in - 1) / (length - 1) if length != 1 else step
    if coordinates == "pytorch_half_pixel" and size_out == 1:
        return [Fraction(0)]
    return [o * step + shift.get(coordinates, 0) for o in range(size_out)]


def _keys(t: np.ndarray, a: float) -> np.ndarray:
    """Keys' cubic convolution kernel (IEEE Trans. ASSP 29, 1981, equation 12) at distances t, 0 from 2 on."""
    t = np.minimum(t, 2)
    return np.where(t <= 1, ((a + 2) * t - (a + 3)) * t * t + 1, ((t - 5) * t + 8) * a * t - 4 * a)


WHOLE = 1e-6
"""A scaled size that is so near to a whole number is that number."""

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
