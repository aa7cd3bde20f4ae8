"""Resizing of images and maps of any rank: bicubic, bilinear, nearest.

Source of the bicubic kernel: Keys, "Cubic convolution interpolation for digital image processing", IEEE Trans. ASSP
29, 1981. Conventions (centres, edges, antialiasing): docs/conventions.md.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np

from minicam.backend import Array, array_module
from minicam.errors import ImageError


def _cubic(t: np.ndarray) -> np.ndarray:
    """Keys' cubic convolution kernel with a = -0.5 (IEEE Trans. ASSP 29, 1981, equation 15); 0 from |t| = 2 on."""
    t = np.abs(t)
    inner = (1.5 * t - 2.5) * t * t + 1
    outer = ((-0.5 * t + 2.5) * t - 4) * t + 2
    return np.where(t <= 1, inner, np.where(t < 2, outer, 0.0))


def _triangle(t: np.ndarray) -> np.ndarray:
    return np.maximum(1 - np.abs(t), 0.0)


KERNELS: dict[str, tuple[Callable[[np.ndarray], np.ndarray], int]] = {
    "bicubic": (_cubic, 2),
    "bilinear": (_triangle, 1),
}
METHODS = (*KERNELS, "nearest")
EDGES = ("mirror", "clamp")


def resize_weights(
    size_in: int, size_out: int, method: str = "bicubic", edges: str = "mirror", antialias: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """How one axis is resized: y[i] = sum over t of weights[i, t] * x[indices[i, t]].

    Returns indices (size_out, taps) int64 and weights (size_out, taps) float64, whose rows sum to 1. With
    s = size_out / size_in, output i (1-based) looks at u = i / s + (1 - 1 / s) / 2. "bicubic" and "bilinear" weigh the
    inputs around u with a kernel, which is stretched by 1 / s if s < 1 and `antialias`. Past the ends, "mirror"
    continues the input as n..1, 1..n, n..1 and "clamp" repeats the end values; an index then occurs more than once in
    its row. "nearest" takes the input nearest to u, of two equally near ones the later, and is never antialiased.

    Raises ImageError for a size below 1 and for an unknown method or edge rule.

    >>> resize_weights(2, 4, "bilinear")
    (array([[0, 0],
           [0, 1],
           [0, 1],
           [1, 1]]), array([[0.25, 0.75],
           [0.75, 0.25],
           [0.25, 0.75],
           [0.75, 0.25]]))
    """
    if size_in < 1 or size_out < 1:
        raise ImageError(f"cannot resize {size_in} values to {size_out}; expected sizes of at least 1")
    if method not in METHODS or edges not in EDGES:
        raise ImageError(f"method {method!r} with edges {edges!r} is not known; expected one of {METHODS}, {EDGES}")
    odd = (2 * np.arange(size_out) + 1) * size_in  # whole numbers, so that ties are exact
    if method == "nearest":
        return odd[:, None] // (2 * size_out), np.ones((size_out, 1))
    kernel, radius = KERNELS[method]
    stretch = max(size_in / size_out, 1.0) if antialias else 1.0
    centre = (odd - size_out) / (2 * size_out)  # u, 0-based
    first = np.floor(centre - radius * stretch).astype(np.int64)
    taps = first[:, None] + np.arange(math.ceil(2 * radius * stretch) + 2)
    weights = kernel((centre[:, None] - taps) / stretch)
    used = weights.any(axis=0)
    taps, weights = taps[:, used], weights[:, used]
    if edges == "clamp":
        indices = np.clip(taps, 0, size_in - 1)
    else:
        taps = taps % (2 * size_in)
        indices = np.minimum(taps, 2 * size_in - 1 - taps)
    return indices, weights / weights.sum(axis=1, keepdims=True)


def imresize(
    x: Array,
    size: Sequence[int],
    method: str = "bicubic",
    edges: str = "mirror",
    antialias: bool = True,
    axes: Sequence[int] | None = None,
) -> Array:
    """x with its `axes` resized to `size`; the other axes stay. The definition is that of MATLAB's imresize.

    x: NumPy or CuPy array, floating point or uint8 (for "nearest", any dtype), all finite. axes: one per entry of
    `size`; by default the first ones, as in an image (H, W, 3); channels-first maps pass axes=(-2, -1). For `method`,
    `edges` and `antialias` see `resize_weights`, which is applied to each axis in turn.

    The result has the dtype of x. float16 is computed in float32; uint8 in float64 throughout, then rounded half up and
    clipped to 0..255. What is within 1e-9 of a tie counts as one, so that the order of summation never shows.

    Raises ImageError for sizes or axes that do not fit, an empty x, another dtype, an unknown method or edge rule.

    >>> imresize(np.array([0.0, 0, 1, 1, 0]), (10,), edges="clamp")[:4]
    array([ 0.       , -0.0234375, -0.0703125,  0.203125 ])
    """
    axes = _resized_axes(x.shape, size, axes)
    rules = [
        (axis, resize_weights(x.shape[axis], n, method, edges, antialias)) for axis, n in zip(axes, size, strict=True)
    ]
    xp = array_module(x)
    if method == "nearest":
        y = x
        for axis, (indices, _) in rules:
            if len(indices) != x.shape[axis]:
                y = xp.take(y, xp.asarray(indices[:, 0]), axis=axis)
        return x.copy() if y is x else y
    if x.dtype != np.uint8 and x.dtype.kind != "f":
        raise ImageError(
            f"cannot resize {x.dtype} values with {method!r}; expected floating point or uint8, or 'nearest'"
        )
    y = x.astype({"uint8": np.float64, "float16": np.float32}.get(x.dtype.name, x.dtype))
    # what shrinks comes first and what grows most comes last: the least work
    for axis, (indices, weights) in sorted(rules, key=lambda rule: len(rule[1][0]) / x.shape[rule[0]]):
        if len(indices) != x.shape[axis]:
            y = _resize_axis(y, axis, indices, weights)
    if x.dtype == np.uint8:
        y = xp.clip(y, 0, 255) + (0.5 + 1e-9)  # the conversion below drops the fraction
    return xp.ascontiguousarray(y.astype(x.dtype))


def _resized_axes(shape: tuple[int, ...], size: Sequence[int], axes: Sequence[int] | None) -> list[int]:
    """The axes as non-negative numbers, checked against the shape and the wanted size."""
    axes = range(len(size)) if axes is None else axes
    valid = len(axes) == len(size) and all(-len(shape) <= axis < len(shape) for axis in axes)
    resized = [axis % len(shape) for axis in axes] if valid else []
    if not valid or len(set(resized)) != len(resized) or 0 in shape:
        raise ImageError(
            f"cannot resize axes {tuple(axes)} of an array of shape {shape} to {tuple(size)}; "
            "expected one size for each of some distinct axes, and an array that is not empty"
        )
    return resized


BLOCK = 64  # output positions per matrix product: large enough for BLAS, small enough that most weights are not 0


def _resize_axis(x: Array, axis: int, indices: np.ndarray, weights: np.ndarray) -> Array:
    """y[i] = sum over t of weights[i, t] x[indices[i, t]] along one axis, as products with blocks of a band matrix."""
    xp = array_module(x)
    rows = xp.moveaxis(x, axis, 0)
    others = rows.shape[1:]
    rows = xp.ascontiguousarray(rows.reshape(len(rows), -1))
    y = xp.empty((len(indices), rows.shape[1]), x.dtype)
    for start in range(0, len(indices), BLOCK):
        taps = indices[start : start + BLOCK]
        low, high = taps.min(), taps.max() + 1
        band = np.zeros((len(taps), high - low))
        np.add.at(band, (np.arange(len(taps))[:, None], taps - low), weights[start : start + BLOCK])
        xp.matmul(xp.asarray(band, x.dtype), rows[low:high], out=y[start : start + BLOCK])
    return xp.moveaxis(y.reshape(-1, *others), 0, axis)
