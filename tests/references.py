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
    if op.axes:  # moved behind the others
        moved = jnp.moveaxis(x, sample_axes(op), range(-len(op.axes), 0))
        own = range(-len(op.axes), 0)
        z = (moved - moved.mean(own, keepdims=True)) * lax.rsqrt(moved.var(own, keepdims=True) + op.epsilon)
        return jnp.moveaxis(scale * z + offset, own, sample_axes(op))
    axes = {"channels": (1,), "sample": tuple(range(1, x.ndim))}[op.over]
    z = (x - x.mean(axes, keepdims=True)) * lax.rsqrt(x.var(axes, keepdims=True) + op.epsilon)
    return per_channel(scale, x) * z + per_channel(offset, x)


def reduce_windows(op, x, start: float, reduce: Callable):
    padding = ((0, 0), (0, 0), *op.padding)
    return lax.reduce_window(
        x, start, reduce, (1, 1, *op.kernel), (1, 1, *op.stride), padding, window_dilation=(1, 1, *op.dilation)
    )


def max_pool(op, x):
    if set(op.dilation) == {1}:
        return reduce_windows(op, x, -jnp.inf, lax.max)
    # JAX does not differentiate this one: tap by tap, along an axis at the end.
    padded = jnp.pad(x, ((0, 0), (0, 0), *op.padding), constant_values=-np.inf)
    axes = list(zip(op.stride, op.dilation, op.output_shape(x.shape[1:])[1:], strict=True))
    seen = (
        [slice(d * t, d * t + s * (o - 1) + 1, s) for t, (s, d, o) in zip(tap, axes, strict=True)]
        for tap in np.ndindex(op.kernel)
    )
    return first(jnp.argmax)(op, jnp.stack([padded[:, :, *slices] for slices in seen], axis=-1))


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


def root(total, p: float):
    """total^(1/p), and a gradient of 0 where total is 0."""
    return jnp.where(total > 0, jnp.where(total > 0, total, 1.0) ** (1 / p), 0.0)


def power_of_absolute(x, p: float):
    return jnp.where(x == 0, 0.0, jnp.abs(jnp.where(x == 0, 1.0, x)) ** p)


def sample_axes(op) -> tuple[int, ...]:
    return tuple(axis + 1 for axis in op.axes)


def reduced(function: Callable) -> Callable:
    """The formula of a reduction by `function` along one axis at the end."""

    def formula(op, x):
        rows = jnp.moveaxis(x, sample_axes(op), range(-len(op.axes), 0))
        y = function(op, rows.reshape(*rows.shape[: x.ndim - len(op.axes)], -1))
        return jnp.expand_dims(y, sample_axes(op)) if op.keep else y

    return formula


def first(pick: Callable) -> Callable:
    """The element at the place that `pick` (argmax or argmin) tells, the first one of several."""
    return lambda op, rows: jnp.take_along_axis(rows, pick(rows, axis=-1)[..., None], axis=-1)[..., 0]


def extreme(better: Callable) -> Callable:
    """Of several layers, the first one that no other is better than."""

    def formula(op, *xs):
        return reduce(lambda best, x: jnp.where(better(x, best), x, best), xs[1:], xs[0])

    return formula


def exponentiate(op, a, b):
    """The gradient of b is 0 where a is 0; there b is not below 0."""
    positive = jnp.where(a > 0, a, 1.0)
    return jnp.where(a > 0, positive**b, jnp.where(b == 0, 1.0, jnp.where(b == 1, a, 0.0)))


def blocks(op, x, to_space: bool):
    """Position by position of the block."""
    channels, count = x.shape[1], math.prod(op.block)
    places = list(np.ndindex(*op.block))
    if to_space:
        space = [size * block for size, block in zip(x.shape[2:], op.block, strict=True)]
        y = jnp.zeros((len(x), channels // count, *space))
        for i, place in enumerate(places):
            first = range(i * (channels // count), (i + 1) * (channels // count))
            chosen = list(first) if op.order == "positions_first" else list(range(i, channels, count))
            strided = tuple(slice(start, None, step) for start, step in zip(place, op.block, strict=True))
            y = y.at[(slice(None), slice(None), *strided)].set(x[:, np.array(chosen)])
        return y
    parts = [
        x[(slice(None), slice(None), *(slice(start, None, step) for start, step in zip(place, op.block, strict=True)))]
        for place in places
    ]
    if op.order == "positions_first":
        return jnp.concatenate(parts, axis=1)
    return jnp.stack(parts, axis=2).reshape(len(x), -1, *parts[0].shape[2:])


def resize(op, x):
    """By a loop over the taps of every output position."""
    for axis in range(2, x.ndim):
        size = x.shape[axis]
        scale = Fraction(op.scales[axis - 2]) if op.scales else None
        out = op.sizes[axis - 2] if op.sizes else math.floor(scale * size + Fraction(1, 10**6))
        if scale is None or abs(scale * size - out) < 1e-6:
            scale = Fraction(out, size)
        x = jnp.stack([resized_at(op, x, axis, source(op, o, size, out, scale), scale) for o in range(out)], axis=axis)
    return x


def source(op, o: int, size: int, out: int, scale: Fraction) -> Fraction:
    """Where output o looks, by the table of ONNX's operator Resize."""
    half, length = Fraction(1, 2), scale * size
    match op.coordinates:
        case "half_pixel":
            return (o + half) / scale - half
        case "pytorch_half_pixel":
            return (o + half) / scale - half if out > 1 else Fraction(0)
        case "align_corners":
            return o * (size - 1) / (length - 1) if length != 1 else Fraction(0)
        case "asymmetric":
            return o / scale
        case "tf_half_pixel_for_nn":
            return (o + half) / scale
    adjustment = out / length  # half_pixel_symmetric
    return Fraction(size, 2) * (1 - adjustment) + (o + half) / scale - half


def resized_at(op, x, axis: int, u: Fraction, scale: Fraction):
    size = x.shape[axis]
    if op.method == "nearest":
        below, above = math.floor(u), math.ceil(u)
        near = below if u - below < above - u else above
        if u - below == above - u:
            near = {"round_prefer_ceil": above, "round_prefer_floor": below}.get(op.rounding, near)
        nearest = {"floor": below, "ceil": above}.get(op.rounding, near)
        return lax.index_in_dim(x, min(max(nearest, 0), size - 1), axis, keepdims=False)
    stretch = max(1 / scale, 1) if op.antialias else Fraction(1)

    def weight(i: int) -> float:
        t = abs(float((u - i) / stretch))
        if op.method == "cubic":  # Keys' kernel with the coefficient a
            a = op.cubic
            return (a + 2) * t**3 - (a + 3) * t**2 + 1 if t <= 1 else a * (t**3 - 5 * t**2 + 8 * t - 4)
        return 1 - t

    reach = (2 if op.method == "cubic" else 1) * stretch
    taps = [i for i in range(-9, size + 9) if abs(u - i) < reach and (0 <= i < size or not op.exclude_outside)]
    total = sum(map(weight, taps))
    clamped = [min(max(i, 0), size - 1) for i in taps]
    values = (lax.index_in_dim(x, c, axis, keepdims=False) for c in clamped)
    return sum(weight(i) / total * value for i, value in zip(taps, values, strict=True))


def held(x):
    """Between 0 and 1, with gradient 0 at both."""
    return jnp.where((x > 0) & (x < 1), x, jnp.where(x >= 1, 1.0, 0.0))


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
    "PRelu": lambda op, x, *, slope: jnp.where(x > 0, x, (slope[None] if op.shape else per_channel(slope, x)) * x),
    "ThresholdedRelu": lambda op, x: jnp.where(x > op.threshold, x, op.value),
    "Shrink": lambda op, x: jnp.select([x > op.threshold, x < -op.threshold], [x - op.bias, x + op.bias], 0.0),
    "Elu": lambda op, x: op.scale * op.width * jax.nn.elu(x / op.width, op.alpha / op.width),
    "Gelu": lambda op, x: jax.nn.gelu(x, approximate=op.approximate == "tanh"),
    "Clip": clip,
    "Sigmoid": lambda op, x: jax.nn.sigmoid(x),
    "Tanh": lambda op, x: jnp.tanh(x),
    "Softplus": lambda op, x: jax.nn.softplus(op.beta * x) / op.beta,
    "Softsign": lambda op, x: jax.nn.soft_sign(x),
    "Swish": lambda op, x: x * jax.nn.sigmoid(op.beta * x),
    "Mish": lambda op, x: jax.nn.mish(x),
    "HardSigmoid": lambda op, x: held(op.slope * x + op.offset),
    "HardSwish": lambda op, x: x * held(x / 6 + 1 / 2),
    "Softmax": lambda op, x: jax.nn.softmax(x, axis=sample_axes(op)),
    "LogSoftmax": lambda op, x: jax.nn.log_softmax(x, axis=sample_axes(op)),
    "Identity": lambda op, x: x,
    "Negate": lambda op, x: 0 - x,
    "Abs": lambda op, x: jnp.where(x > 0, x, 0.0) + jnp.where(x < 0, -x, 0.0),
    "Reciprocal": lambda op, x: jnp.reciprocal(x),
    "Power": lambda op, x: x ** (int(op.exponent) if op.exponent in (2, 3) else op.exponent),
    "Sqrt": lambda op, x: jnp.sqrt(x),
    "Exp": lambda op, x: jnp.exp(x),
    "Log": lambda op, x: jnp.log(x),
    "Sin": lambda op, x: jnp.sin(x),
    "Cos": lambda op, x: jnp.cos(x),
    "Erf": lambda op, x: lax.erf(x),
    "Dropout": lambda op, x: x,
    "MaxPool": max_pool,
    "AveragePool": average_pool,
    "LpPool": lambda op, x: root(reduce_windows(op, power_of_absolute(x, op.p), 0.0, lax.add), op.p),
    "GlobalAveragePool": lambda op, x: x.mean(range(2, x.ndim), keepdims=True),
    "GlobalMaxPool": global_max_pool,
    "ChannelMax": channel_max,
    "Add": lambda op, *xs: jnp.stack(xs).sum(axis=0),
    "Sum": lambda op, *xs: sum(xs),
    "Average": lambda op, *xs: jnp.stack(jnp.broadcast_arrays(*xs)).mean(axis=0),
    "Subtract": lambda op, a, b: a - b,
    "Divide": lambda op, a, b: a / b,
    "Exponentiate": exponentiate,
    "Maximum": extreme(jnp.greater),
    "Minimum": extreme(jnp.less),
    "Sign": lambda op, x: jnp.sign(x),
    "Greater": lambda op, a, b: jnp.where((b <= a) if op.equal else (b < a), 1.0, 0.0),
    "Where": lambda op, condition, a, b: jnp.where(condition != 0, a, b),
    "Constant": lambda op, x, *, value: jnp.tile(value, (len(x), *(1,) * len(op.shape))),
    "MatMul": lambda op, a, b: jnp.einsum("...ik,...kj->...ij", a, b),
    "ReduceSum": reduced(lambda op, rows: rows.sum(-1)),
    "ReduceMean": reduced(lambda op, rows: rows.mean(-1)),
    "ReduceMax": reduced(first(jnp.argmax)),
    "ReduceMin": reduced(first(jnp.argmin)),
    "ReduceProduct": reduced(lambda op, rows: reduce(jnp.multiply, jnp.moveaxis(rows, -1, 0))),
    "ReduceNorm": reduced(lambda op, rows: root(power_of_absolute(rows, op.p).sum(-1), op.p)),
    "ReduceLogSumExp": reduced(lambda op, rows: jax.scipy.special.logsumexp(rows, axis=-1)),
    "Multiply": lambda op, *xs: reduce(jnp.multiply, xs),
    "Concat": lambda op, *xs: jnp.concatenate(xs, axis=op.axis + 1),
    "Crop": crop,
    "Resize": resize,
    "Pad": pad,
    "Slice": sliced,
    "Reshape": lambda op, x: jnp.reshape(x, (len(x), *op.shape)),
    "Transpose": lambda op, x: jnp.moveaxis(x, [axis + 1 for axis in op.axes], range(1, x.ndim)),
    "Expand": lambda op, x: jnp.broadcast_to(x, (len(x), *op.shape)),
    "DepthToSpace": lambda op, x: blocks(op, x, to_space=True),
    "SpaceToDepth": lambda op, x: blocks(op, x, to_space=False),
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
