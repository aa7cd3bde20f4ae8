"""What the ops are compared with: the same formulas in JAX, which differentiates them by itself, and plain loops."""

import importlib
import math
import os
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import cache, reduce
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import Case
from hypothesis import settings
from hypothesis import strategies as st
from jax import lax

from minicam.windows import Window

jax.config.update("jax_enable_x64", True)

TOLERANCE = 1e-10
"""Of a gradient, relative to the largest element of JAX's."""

quickly = settings(max_examples=40, deadline=None, derandomize=True)


def peak_error(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest deviation, relative to the largest expected value; infinite for another shape or for a NaN."""
    if found.shape != expected.shape:
        return math.inf
    error = np.abs(found - expected).max()
    return float(np.nan_to_num(error / np.abs(expected).max() if error else error, nan=math.inf))


def require_torch() -> ModuleType:
    """PyTorch. Skips the test where it is missing, unless MINICAM_REQUIRE_TORCH says that it must not be."""
    if os.environ.get("MINICAM_REQUIRE_TORCH"):
        return importlib.import_module("torch")
    return pytest.importorskip("torch")


class Gradients(NamedTuple):
    y: np.ndarray
    dxs: list[np.ndarray]
    dparameters: dict[str, np.ndarray]


@cache
def by_jax(case: Case) -> Gradients:
    """The output and all gradients of the case's sample according to JAX."""
    sample = case.sample()
    formula = FORMULAS[type(case.op).__name__]

    def run(xs, parameters, dy):
        y, adjoint = jax.vjp(lambda xs, parameters: formula(case.op, *xs, **parameters), xs, parameters)
        return y, *adjoint(dy)

    arguments = (sample.xs, sample.parameters, sample.dy)
    # Compiled as a whole, and with little optimisation, since compiling is nearly all of the time.
    compiled = jax.jit(run).lower(*arguments).compile({"xla_backend_optimization_level": 0})
    y, dxs, dparameters = compiled(*arguments)
    return Gradients(np.asarray(y), [np.asarray(dx) for dx in dxs], {k: np.asarray(v) for k, v in dparameters.items()})


def by_op(case: Case, dtype: type = np.float64) -> Gradients:
    """The same according to the op."""
    sample = case.sample().astype(dtype)
    y = case.op.forward(*sample.xs, **sample.parameters)
    arguments = (sample.dy, y, *sample.xs)
    dxs = case.op.backward(*arguments, **sample.parameters)
    return Gradients(y, list(dxs), case.op.backward_params(*arguments, **sample.parameters))


def worst_error(found: Gradients, expected: Gradients) -> float:
    """The largest peak_error over all arrays; infinite where one is missing."""
    if len(found.dxs) != len(expected.dxs) or found.dparameters.keys() != expected.dparameters.keys():
        return math.inf
    pairs = [(found.y, expected.y), *zip(found.dxs, expected.dxs, strict=True)]
    pairs += [(found.dparameters[name], value) for name, value in expected.dparameters.items()]
    return max(peak_error(*pair) for pair in pairs)


# The formulas in JAX: (op, *xs, **parameters) -> y


def per_channel(vector, x):
    return jnp.expand_dims(vector, [0, *range(2, x.ndim)])


def conv(op, x, *, weight, bias):
    y = lax.conv_general_dilated(
        x, weight, op.stride, op.padding, rhs_dilation=op.dilation, feature_group_count=op.groups
    )
    return y + per_channel(bias, y)


def conv_transpose(op, x, *, weight, bias):
    """A convolution of x, with stride - 1 zeros between its elements, by the reversed kernel."""
    channels, filters, *kernel = weight.shape
    weight = weight.reshape(op.groups, channels // op.groups, filters, *kernel).swapaxes(1, 2)
    weight = jnp.flip(weight.reshape(op.filters, channels // op.groups, *kernel), range(2, x.ndim))
    reach = [dilation * (size - 1) for dilation, size in zip(op.dilation, kernel, strict=True)]
    padding = [(r - low, r - high) for r, (low, high) in zip(reach, op.cropping, strict=True)]
    ones = (1,) * len(kernel)
    y = lax.conv_general_dilated(
        x, weight, ones, padding, lhs_dilation=op.stride, rhs_dilation=op.dilation, feature_group_count=op.groups
    )
    return y + per_channel(bias, y)


def batch_norm(op, x, *, scale, offset, mean, variance):
    z = (x - per_channel(mean, x)) * lax.rsqrt(per_channel(variance, x) + op.epsilon)
    return per_channel(scale, x) * z + per_channel(offset, x)


def batch_statistics_norm(op, x, *, scale, offset):
    axes = (0, *range(2, x.ndim))
    z = (x - x.mean(axes, keepdims=True)) * lax.rsqrt(x.var(axes, keepdims=True) + op.epsilon)
    return per_channel(scale, x) * z + per_channel(offset, x)


def cross_entropy(op, x, labels):
    """Label by label: the logarithm of its class's probability, from `log_softmax`."""
    weights = jnp.asarray(op.weights or np.ones(x.shape[1]))
    probabilities = jnp.moveaxis(jax.nn.log_softmax(x, axis=1), 1, -1).reshape(-1, x.shape[1])
    flat = labels.reshape(-1)
    counted = flat != op.ignored
    classes = jnp.where(counted, flat, 0).astype(int)
    weight = jnp.where(counted, weights[classes], 0.0)
    terms = -weight * jnp.take_along_axis(probabilities, classes[:, None], axis=1)[:, 0]
    total = weight.sum()
    return (terms / jnp.where(total == 0, 1.0, total)).reshape(len(x), -1).sum(axis=1, keepdims=True)


def layer_norm(op, x, *, scale, offset):
    axes = {"channels": (1,), "sample": tuple(range(1, x.ndim))}[op.over]
    z = (x - x.mean(axes, keepdims=True)) * lax.rsqrt(x.var(axes, keepdims=True) + op.epsilon)
    return per_channel(scale, x) * z + per_channel(offset, x)


def reduce_windows(op, x, start: float, reduce: Callable):
    return lax.reduce_window(x, start, reduce, (1, 1, *op.kernel), (1, 1, *op.stride), ((0, 0), (0, 0), *op.padding))


def average_pool(op, x):
    left_out = reduce_windows(op, jnp.ones_like(x), 0.0, lax.add)
    return reduce_windows(op, x, 0.0, lax.add) / (math.prod(op.kernel) if op.count_padding else left_out)


def global_max_pool(op, x):
    flat = x.reshape(*x.shape[:2], -1)
    largest = jnp.take_along_axis(flat, flat.argmax(axis=2, keepdims=True), axis=2)
    return largest.reshape(*x.shape[:2], *(1,) * (x.ndim - 2))


def crop(op, x, reference):
    for axis in range(2, x.ndim):
        surplus = x.shape[axis] - reference.shape[axis]
        x = lax.slice_in_dim(x, surplus // 2, x.shape[axis] - (surplus + 1) // 2, axis=axis)
    return x


def group_norm(op, x, *, scale, offset):
    grouped = x.reshape(len(x), getattr(op, "groups", x.shape[1]), -1, *x.shape[2:])
    axes = tuple(range(2, grouped.ndim))
    z = (grouped - grouped.mean(axes, keepdims=True)) * lax.rsqrt(grouped.var(axes, keepdims=True) + op.epsilon)
    return per_channel(scale, x) * z.reshape(x.shape) + per_channel(offset, x)


def local_response_norm(op, x):
    below, above = math.floor((op.window - 1) / 2), math.ceil((op.window - 1) / 2)
    squares = [(x[:, max(c - below, 0) : c + above + 1] ** 2).sum(axis=1) for c in range(x.shape[1])]
    return x * (op.k + op.alpha * jnp.stack(squares, axis=1) / op.window) ** -op.beta


def resize(op, x):
    """By a loop over the taps of every output position."""
    for axis in range(2, x.ndim):
        size = x.shape[axis]
        out = op.sizes[axis - 2] if op.sizes else round(size * op.scales[axis - 2])
        x = jnp.stack([resized_at(op, x, axis, Fraction(o), size, out) for o in range(out)], axis=axis)
    return x


def resized_at(op, x, axis: int, o: Fraction, size: int, out: int):
    corner = Fraction(size - 1, out - 1) if out > 1 else Fraction(0)
    u = o * corner if op.coordinates == "align_corners" else (o + Fraction(1, 2)) * size / out - Fraction(1, 2)

    def weight(i: int) -> float:
        t = abs(float(u - i))
        if op.method == "cubic":  # Keys' kernel with the coefficient a
            a = op.cubic
            return (a + 2) * t**3 - (a + 3) * t**2 + 1 if t <= 1 else a * (t**3 - 5 * t**2 + 8 * t - 4)
        return 1 - t

    if op.method == "nearest":
        return lax.index_in_dim(x, min(math.floor(u + Fraction(1, 2)), size - 1), axis, keepdims=False)
    taps = [i for i in range(-2, size + 3) if abs(u - i) < (2 if op.method == "cubic" else 1)]
    clamped = [min(max(i, 0), size - 1) for i in taps]
    return sum(weight(i) * lax.index_in_dim(x, c, axis, keepdims=False) for i, c in zip(taps, clamped, strict=True))


def clip(op, x):
    inside = jnp.where(x < op.maximum, x, op.maximum)
    return jnp.where(x > op.minimum, inside, op.minimum)


def channel_max(op, x):
    return jnp.take_along_axis(x, x.argmax(axis=1, keepdims=True), axis=1)


def pad(op, x):
    options = {"constant_values": op.value} if op.mode == "constant" else {}
    return jnp.pad(x, ((0, 0), *op.padding), op.mode, **options)


def sliced(op, x):
    for axis, (start, stop, step) in enumerate(zip(op.start, op.stop, op.step, strict=True), start=1):
        x = jnp.take(x, np.arange(x.shape[axis])[start:stop:step], axis=axis)
    return x


FORMULAS: dict[str, Callable[..., Any]] = {
    "Normalize": lambda op, x, *, mean, std: (x - per_channel(mean, x)) / per_channel(std, x),
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "BatchNorm": batch_norm,
    "BatchStatisticsNorm": batch_statistics_norm,
    "LayerNorm": layer_norm,
    "GroupNorm": group_norm,
    "InstanceNorm": group_norm,
    "LocalResponseNorm": local_response_norm,
    "Relu": lambda op, x: jnp.where(x > 0, x, 0.0),
    "LeakyRelu": lambda op, x: jnp.where(x > 0, x, op.slope * x),
    "PRelu": lambda op, x, *, slope: jnp.where(x > 0, x, per_channel(slope, x) * x),
    "Elu": lambda op, x: jax.nn.elu(x, op.alpha),
    "Gelu": lambda op, x: jax.nn.gelu(x, approximate=op.approximate == "tanh"),
    "Clip": clip,
    "Sigmoid": lambda op, x: jax.nn.sigmoid(x),
    "Tanh": lambda op, x: jnp.tanh(x),
    "Softmax": lambda op, x: jax.nn.softmax(x, axis=1),
    "Dropout": lambda op, x: x,
    "MaxPool": lambda op, x: reduce_windows(op, x, -jnp.inf, lax.max),
    "AveragePool": average_pool,
    "GlobalAveragePool": lambda op, x: x.mean(range(2, x.ndim), keepdims=True),
    "GlobalMaxPool": global_max_pool,
    "ChannelMax": channel_max,
    "Add": lambda op, *xs: jnp.stack(xs).sum(axis=0),
    "Multiply": lambda op, *xs: reduce(jnp.multiply, xs),
    "Concat": lambda op, *xs: jnp.concatenate(xs, axis=1),
    "Crop": crop,
    "Resize": resize,
    "Pad": pad,
    "Slice": sliced,
    "Reshape": lambda op, x: jnp.reshape(x, (len(x), *op.shape)),
    "Transpose": lambda op, x: jnp.moveaxis(x, [axis + 1 for axis in op.axes], range(1, x.ndim)),
    "Dense": lambda op, x, *, weight, bias: jnp.einsum("nf,uf->nu", lax.collapse(x, 1), weight) + bias,
    "Flatten": lambda op, x: lax.collapse(x, 1),
    "CrossEntropy": cross_entropy,
    "MeanSquaredError": lambda op, x, t: jnp.square(lax.collapse(x - t, 1)).mean(axis=1, keepdims=True) / len(x),
}


# Plain loops over equation (1) of windows.py, and random geometries to run them on


@st.composite
def windows(draw: st.DrawFn, pads_less_than_kernel: bool = False, dilates: bool = True) -> tuple[Window, tuple]:
    """A window of rank 1 to 3, and the sizes of an input on which it has a position."""
    rank = draw(st.integers(1, 3))

    def per_axis(low: int, high: int) -> tuple[int, ...]:
        return tuple(draw(st.lists(st.integers(low, high), min_size=rank, max_size=rank)))

    kernel = per_axis(1, 4 - rank // 2)
    dilation = per_axis(1, 3) if dilates else (1,) * rank
    most = [size - 1 if pads_less_than_kernel else 3 for size in kernel]
    padding = tuple((draw(st.integers(0, m)), draw(st.integers(0, m))) for m in most)
    window = Window(kernel, per_axis(1, 4), dilation, padding)
    smallest = [max(1, d * (k - 1) + 1 - sum(pair)) for k, d, pair in zip(kernel, dilation, padding, strict=True)]
    return window, tuple(size + extra for size, extra in zip(smallest, per_axis(0, 5 - rank), strict=True))


def positions(window: Window, space: tuple[int, ...]) -> tuple[int, ...]:
    """How many times the window fits, found by moving it along each axis."""
    counts = []
    for size, kernel, stride, dilation, (low, high) in zip(space, *window, strict=True):
        starts = range(-low, size + high, stride)
        counts.append(sum(start + dilation * (kernel - 1) < size + high for start in starts))
    return tuple(counts)


def look_ups(window: Window, space: tuple[int, ...]) -> Iterator[tuple[tuple, tuple, tuple]]:
    """Every (o, t, i) of equation (1) whose i lies inside the input."""
    for o in np.ndindex(positions(window, space)):
        for t in np.ndindex(window.kernel):
            low = [pair[0] for pair in window.padding]
            axes = zip(o, t, window.stride, window.dilation, low, strict=True)
            i = tuple(stride * o + dilation * t - p for o, t, stride, dilation, p in axes)
            if all(0 <= position < size for position, size in zip(i, space, strict=True)):
                yield o, t, i
