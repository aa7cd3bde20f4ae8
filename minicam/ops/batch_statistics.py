"""Batch normalisation as it is in training, by the statistics of the batch at hand."""

import math
from dataclasses import dataclass
from typing import ClassVar

from minicam.backend import Array, array_module
from minicam.ops.base import Op, Shape, channel_vector, known, require, space_axes


@dataclass(frozen=True)
class BatchStatisticsNorm(Op):
    """Batch normalisation in training (Ioffe and Szegedy, arXiv:1502.03167, algorithm 1). It freezes into `BatchNorm`.

    z = (x - m) / sqrt(v + epsilon),  y = scale z + offset,  m and v each channel's mean and variance over the batch and
    space, the sum of squares divided by their number

    x (N, C, *space), with two values of each channel or more. Parameters: scale (C,), offset (C,). Adjoint, with
    g = scale dy and means over the same axes: dx = (g - mean(g) - z mean(g z)) / sqrt(v + epsilon).

    >>> import numpy as np
    >>> BatchStatisticsNorm(epsilon=0).forward(np.array([[1.], [3.]]), scale=np.ones(1), offset=np.zeros(1))
    array([[-1.],
           [ 1.]])
    """

    epsilon: float = 1e-5
    reads: ClassVar[frozenset[str]] = frozenset({"x"})
    reads_for_params: ClassVar[frozenset[str]] = frozenset({"x"})

    def __post_init__(self) -> None:
        require(self.epsilon >= 0, f"epsilon is {self.epsilon}; expected 0 or more")

    def parameter_shapes(self, *shapes: Shape) -> dict[str, tuple[int, ...]]:
        channels = known(shapes[0][0], "the number of channels")
        return {"scale": (channels,), "offset": (channels,)}

    def footprint(self, rank: int) -> None:
        return None

    def forward(self, x, *, scale, offset):
        self.check_batch(x.shape)
        z, _ = self._standardize(x)
        rank = x.ndim - 2
        return channel_vector(scale, rank) * z + channel_vector(offset, rank)

    def backward(self, dy, y, x, *, scale, offset):
        z, deviation = self._standardize(x)
        # Where x holds one sample and dy several, each of them is a batch of its own: an axis more in front.
        g = (channel_vector(scale, x.ndim - 2) * dy).reshape(len(dy) // len(x), *x.shape)
        axes = (1, *range(3, g.ndim))
        dx = (g - g.mean(axis=axes, keepdims=True) - z * (g * z).mean(axis=axes, keepdims=True)) / deviation
        return (dx.reshape(dy.shape),)

    def backward_params(self, dy, y, x, *, scale, offset):
        axes = (0, *space_axes(dy))
        return {"scale": (dy * self._standardize(x)[0]).sum(axis=axes), "offset": dy.sum(axis=axes)}

    def statistics(self, x: Array) -> tuple[Array, Array]:
        """What running statistics are averaged from: mean and variance of each channel, (C,); the variance is unbiased,
        with n - 1 in place of n (section 3.1 of the paper)."""
        axes = (0, *space_axes(x))
        return x.mean(axis=axes), x.var(axis=axes, ddof=1)

    def check_batch(self, shape: tuple[int, ...]) -> None:
        """LayerError unless a batch of that shape (N, C, *space) has two values of each channel or more."""
        require(
            math.prod(shape) > shape[1],
            f"a batch of shape {shape} has a single value of each channel, so no variance; expected two or more: a "
            "larger batch or larger inputs",
        )

    def _standardize(self, x: Array) -> tuple[Array, Array]:
        axes = (0, *space_axes(x))
        centred = x - x.mean(axis=axes, keepdims=True)
        deviation = array_module(x).sqrt((centred**2).mean(axis=axes, keepdims=True) + self.epsilon)
        return centred / deviation, deviation
