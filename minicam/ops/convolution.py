"""Convolution and transposed convolution, each the adjoint of the other.

As everywhere in deep learning "convolution" means cross-correlation. With w the weight (K, C/groups, *kernel), columns
as in `windows.unfold`, and the channels c running over the group of output channel k:

    y[n,k,o]  = sum over c,t of w[k,c,t] x[n,c, s o + d t - p]          correlate
    dx[n,c,i] = sum over k,t,o with s o + d t - p = i of w[k,c,t] dy[n,k,o]    its adjoint in x
    dw[k,c,t] = sum over n,o of dy[n,k,o] x[n,c, s o + d t - p]         its adjoint in w

Source: Dumoulin and Visin, arXiv:1603.07285, chapters 2 and 4.
"""

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar

from minicam.backend import Array
from minicam.ops.base import Footprint, Op, Shape, channel_vector, known, require
from minicam.windows import PerAxis, Window, fold, pairs_per_axis, per_axis, unfold


def correlate(x: Array, weight: Array, window: Window, groups: int) -> Array:
    """x (N, C, *space), weight (K, C/groups, *kernel) -> y (N, K, *out)."""
    out = window.output_space(x.shape[2:])
    columns = unfold(x, window).reshape(len(x), groups, -1, math.prod(out))
    y = _weight_matrix(weight, groups) @ columns  # (N, groups, K/groups, positions)
    return y.reshape(len(x), len(weight), *out)


def correlate_adjoint(dy: Array, weight: Array, window: Window, groups: int, space: tuple[int, ...]) -> Array:
    """dy (N, K, *out), weight (K, C/groups, *kernel) -> dx (N, C, *space)."""
    out = dy.shape[2:]
    columns = _weight_matrix(weight, groups).swapaxes(1, 2) @ dy.reshape(len(dy), groups, -1, math.prod(out))
    return fold(columns.reshape(len(dy), groups * weight.shape[1], *window.kernel, *out), window, space)


def correlate_weight(dy: Array, x: Array, window: Window, groups: int) -> Array:
    """dy (N, K, *out), x (N, C, *space) -> dw (K, C/groups, *kernel)."""
    positions = math.prod(dy.shape[2:])
    columns = unfold(x, window).reshape(len(x), groups, -1, positions)
    dweight = (dy.reshape(len(dy), groups, -1, positions) @ columns.swapaxes(2, 3)).sum(axis=0)
    return dweight.reshape(dy.shape[1], x.shape[1] // groups, *window.kernel)


def _weight_matrix(weight: Array, groups: int) -> Array:
    return weight.reshape(groups, len(weight) // groups, -1)


class _Windowed(Op):
    """What both convolutions share: the kernel's geometry, checked once, and the bias."""

    reads_for_params: ClassVar[frozenset[str]] = frozenset({"x"})
    filters: int
    kernel: tuple[int, ...]
    stride: PerAxis
    dilation: PerAxis
    groups: int

    def _canonical(self, padding_name: str) -> None:
        set_window(self, padding_name, "stride", "dilation")
        require(self.filters >= 1, f"filters is {self.filters}; expected 1 or more")
        require(
            self.groups >= 1 and self.filters % self.groups == 0,
            f"groups is {self.groups}; expected a divisor of the {self.filters} filters",
        )

    def _window(self) -> Window:
        raise NotImplementedError

    def _channels(self, shape: Shape) -> int:
        """The channels of an input that fits."""
        check_rank(shape, len(self.kernel))
        channels = known(shape[0], "the number of channels")
        require(
            channels % self.groups == 0,
            f"the input has {channels} channels; expected a multiple of groups = {self.groups}",
        )
        return channels


@dataclass(frozen=True)
class Conv(_Windowed):
    """Convolution: y[n,k,o] = bias[k] + sum over c,t of weight[k,c,t] x[n,c, stride o + dilation t - padding].

    x (N, C, *space) -> y (N, filters, *out). Parameters: weight (filters, C/groups, *kernel), bias (filters,).
    The rank is len(kernel). stride and dilation: one number, or one per axis; padding: zeros as one number, one per
    axis, or ((low, high), ...). Adjoints: see the module.

    >>> import numpy as np
    >>> x = np.array([[[1., 2., 3., 4.]]])
    >>> Conv(1, (2,)).forward(x, weight=np.array([[[1., 10.]]]), bias=np.array([0.]))
    array([[[21., 32., 43.]]])
    """

    filters: int
    kernel: tuple[int, ...]
    stride: PerAxis = 1
    dilation: PerAxis = 1
    padding: PerAxis = 0
    groups: int = 1

    def __post_init__(self) -> None:
        self._canonical("padding")

    def _window(self) -> Window:
        return Window(self.kernel, self.stride, self.dilation, self.padding)

    def output_shape(self, *shapes: Shape) -> Shape:
        self._channels(shapes[0])
        return (self.filters, *self._window().output_space(shapes[0][1:]))

    def parameter_shapes(self, *shapes: Shape) -> dict[str, tuple[int, ...]]:
        channels = self._channels(shapes[0])
        return {"weight": (self.filters, channels // self.groups, *self.kernel), "bias": (self.filters,)}

    def footprint(self, rank: int) -> tuple[Footprint, ...]:
        return window_footprint(self._window())

    def forward(self, x, *, weight, bias):
        return correlate(x, weight, self._window(), self.groups) + channel_vector(bias, len(self.kernel))

    def backward(self, dy, y, x, *, weight, bias):
        return (correlate_adjoint(dy, weight, self._window(), self.groups, x.shape[2:]),)

    def backward_params(self, dy, y, x, *, weight, bias):
        return {"weight": correlate_weight(dy, x, self._window(), self.groups), "bias": _sum_per_channel(dy)}


@dataclass(frozen=True)
class ConvTranspose(_Windowed):
    """Transposed convolution: the adjoint of a convolution with the same weight, then cropped, plus a bias.

    y[n,k,i] = bias[k] + sum over c,t,o with stride o + dilation t - cropping = i of weight[c,k,t] x[n,c,o]

    x (N, C, *space) -> y (N, filters, *out) with out = (space - 1) stride + dilation (kernel - 1) + 1 - cropping.
    Parameters: weight (C, filters/groups, *kernel), bias (filters,). groups = C = filters treats each channel alone,
    as the fixed bilinear upsamplers of DeepLab do. A negative high cropping adds that many positions at the end, which
    no input reaches but the bias does: PyTorch's output_padding lowers it. Adjoint: the convolution.

    >>> import numpy as np
    >>> x = np.array([[[1., 2.]]])
    >>> ConvTranspose(1, (2,), stride=2).forward(x, weight=np.array([[[1., 10.]]]), bias=np.array([0.]))
    array([[[ 1., 10.,  2., 20.]]])
    """

    filters: int
    kernel: tuple[int, ...]
    stride: PerAxis = 1
    dilation: PerAxis = 1
    cropping: PerAxis = 0
    groups: int = 1

    def __post_init__(self) -> None:
        self._canonical("cropping")

    def _window(self) -> Window:
        return Window(self.kernel, self.stride, self.dilation, self.cropping)

    def output_shape(self, *shapes: Shape) -> Shape:
        self._channels(shapes[0])
        return (self.filters, *self._window().input_space(shapes[0][1:]))

    def parameter_shapes(self, *shapes: Shape) -> dict[str, tuple[int, ...]]:
        channels = self._channels(shapes[0])
        return {"weight": (channels, self.filters // self.groups, *self.kernel), "bias": (self.filters,)}

    def footprint(self, rank: int) -> tuple[Footprint, ...]:
        return tuple(_transposed_footprint(*axis) for axis in zip(*self._window(), strict=True))

    def forward(self, x, *, weight, bias):
        out = self._window().input_space(x.shape[2:])
        y = correlate_adjoint(x, weight, self._window(), self.groups, out)
        return y + channel_vector(bias, len(self.kernel))

    def backward(self, dy, y, x, *, weight, bias):
        return (correlate(dy, weight, self._window(), self.groups),)

    def backward_params(self, dy, y, x, *, weight, bias):
        return {"weight": correlate_weight(x, dy, self._window(), self.groups), "bias": _sum_per_channel(dy)}


def set_window(op: Any, padding_name: str, *names: str) -> None:
    """Bring the options of a window (kernel, those in `names`, padding) to one entry per axis and check them."""
    kind, kernel = type(op).__name__, op.kernel
    require(isinstance(kernel, list | tuple) and kernel, f"{kind}: kernel is {kernel!r}; expected one size per axis")
    rank = len(kernel)
    for name in ("kernel", *names):
        values = per_axis(f"{kind}: {name}", getattr(op, name), rank)
        require(min(values) >= 1, f"{kind}: {name} is {values}; expected 1 or more on each axis")
        object.__setattr__(op, name, values)
    padding = pairs_per_axis(f"{kind}: {padding_name}", getattr(op, padding_name), rank)
    least = min(low for low, _ in padding) if padding_name == "cropping" else min(map(min, padding))
    require(least >= 0, f"{kind}: {padding_name} is {padding}; expected 0 or more")
    object.__setattr__(op, padding_name, padding)


def check_rank(shape: Shape, rank: int) -> None:
    require(len(shape) == rank + 1, f"the input {shape} has {len(shape) - 1} spatial axes; the kernel has {rank}")


def window_footprint(window: Window) -> tuple[Footprint, ...]:
    """Equation (1) of windows.py as an interval per axis."""
    return tuple(
        Footprint(Fraction(stride), Fraction(-low), Fraction((kernel - 1) * dilation - low))
        for kernel, stride, dilation, (low, _) in zip(*window, strict=True)
    )


def _transposed_footprint(kernel: int, stride: int, dilation: int, cropping: tuple[int, int]) -> Footprint:
    """Equation (1) solved for o: a window of floor((extent - 1) / stride) + 1 inputs around the centre."""
    reach = (kernel - 1) * dilation
    centre = Fraction(2 * cropping[0] - reach, 2 * stride)
    width = Fraction(reach // stride, 2)
    return Footprint(Fraction(1, stride), centre - width, centre + width)


def _sum_per_channel(dy: Array) -> Array:
    return dy.sum(axis=(0, *range(2, dy.ndim)))
