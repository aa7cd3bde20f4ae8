"""Normalisation of each sample alone: over groups of channels, and by the neighbouring channels."""

from dataclasses import dataclass
from typing import ClassVar

from minicam.backend import Array, array_module
from minicam.ops.base import Op, Shape, channel_vector, known, require, space_axes


@dataclass(frozen=True)
class GroupNorm(Op):
    """Group normalisation of each sample (Wu and He, arXiv:1803.08494, equations 1 to 6):

    z = (x - m) / sqrt(v + epsilon),  y = scale z + offset,  m and v the mean and variance of x over a group

    x (N, C, *space); a group is C/groups channels in their order, at all positions. Parameters: scale (C,),
    offset (C,). Adjoint, with g = scale dy and means over the same groups:
    dx = (g - mean(g) - z mean(g z)) / sqrt(v + epsilon).

    >>> import numpy as np
    >>> x = np.array([[[1.], [3.], [5.], [9.]]])
    >>> GroupNorm(2, epsilon=0).forward(x, scale=np.ones(4), offset=np.zeros(4))[0, :, 0]
    array([-1.,  1., -1.,  1.])
    """

    groups: int
    epsilon: float = 1e-5
    reads: ClassVar[frozenset[str]] = frozenset({"x"})
    reads_for_params: ClassVar[frozenset[str]] = frozenset({"x"})

    def __post_init__(self) -> None:
        require(self.groups >= 1, f"GroupNorm: groups is {self.groups}; expected 1 or more")
        require(self.epsilon >= 0, f"GroupNorm: epsilon is {self.epsilon}; expected 0 or more")

    def output_shape(self, *shapes: Shape) -> Shape:
        channels = known(shapes[0][0], "the number of channels")
        require(
            channels % self.groups == 0,
            f"the input has {channels} channels; expected a multiple of groups = {self.groups}",
        )
        return shapes[0]

    def parameter_shapes(self, *shapes: Shape) -> dict[str, tuple[int, ...]]:
        channels = known(shapes[0][0], "the number of channels")
        return {"scale": (channels,), "offset": (channels,)}

    def footprint(self, rank: int) -> None:
        return None

    def forward(self, x, *, scale, offset):
        rank = x.ndim - 2
        z, _ = self._standardize(x)
        return channel_vector(scale, rank) * z.reshape(x.shape) + channel_vector(offset, rank)

    def backward(self, dy, y, x, *, scale, offset):
        z, deviation = self._standardize(x)
        g = self._grouped(channel_vector(scale, x.ndim - 2) * dy)
        return (((g - _mean(g) - z * _mean(g * z)) / deviation).reshape(dy.shape),)

    def backward_params(self, dy, y, x, *, scale, offset):
        axes = (0, *space_axes(dy))
        z, _ = self._standardize(x)
        return {"scale": (dy * z.reshape(x.shape)).sum(axis=axes), "offset": dy.sum(axis=axes)}

    def _standardize(self, x: Array) -> tuple[Array, Array]:
        """z (N, groups, elements of a group) and the deviation (N, groups, 1)."""
        grouped = self._grouped(x)
        centred = grouped - _mean(grouped)
        deviation = array_module(x).sqrt(_mean(centred**2) + self.epsilon)
        return centred / deviation, deviation

    def _grouped(self, x: Array) -> Array:
        """(N, C, *space) -> (N, groups, elements of a group)."""
        return x.reshape(len(x), self.groups, -1)


def _mean(grouped: Array) -> Array:
    return grouped.mean(axis=2, keepdims=True)


@dataclass(frozen=True)
class InstanceNorm(Op):
    """Instance normalisation: each channel of each sample by its own statistics.

    z = (x - m) / sqrt(v + epsilon),  y = scale z + offset,  m and v the mean and variance of x over space

    x (N, C, *space). Parameters: scale (C,), offset (C,). It is the group normalisation of C groups, and so is its
    adjoint.

    Source: Ulyanov, Vedaldi and Lempitsky, arXiv:1607.08022, equation 5.

    >>> import numpy as np
    >>> x = np.array([[[1., 3.], [5., 9.]]])
    >>> InstanceNorm(epsilon=0).forward(x, scale=np.ones(2), offset=np.zeros(2))
    array([[[-1.,  1.],
            [-1.,  1.]]])
    """

    epsilon: float = 1e-5
    reads: ClassVar[frozenset[str]] = GroupNorm.reads
    reads_for_params: ClassVar[frozenset[str]] = GroupNorm.reads_for_params

    def __post_init__(self) -> None:
        require(self.epsilon >= 0, f"InstanceNorm: epsilon is {self.epsilon}; expected 0 or more")

    def output_shape(self, *shapes: Shape) -> Shape:
        require(len(shapes[0]) > 1, f"the input {shapes[0]} has no spatial axis to take statistics over")
        return shapes[0]

    def parameter_shapes(self, *shapes: Shape) -> dict[str, tuple[int, ...]]:
        channels = known(shapes[0][0], "the number of channels")
        return {"scale": (channels,), "offset": (channels,)}

    def footprint(self, rank: int) -> None:
        return None

    def forward(self, x, *, scale, offset):
        return self._of_groups(x).forward(x, scale=scale, offset=offset)

    def backward(self, dy, y, x, *, scale, offset):
        return self._of_groups(x).backward(dy, y, x, scale=scale, offset=offset)

    def backward_params(self, dy, y, x, *, scale, offset):
        return self._of_groups(x).backward_params(dy, y, x, scale=scale, offset=offset)

    def _of_groups(self, x: Array) -> GroupNorm:
        return GroupNorm(x.shape[1], self.epsilon)


@dataclass(frozen=True)
class LocalResponseNorm(Op):
    """Local response normalisation across the channels: at each position, with W(c) the channels from
    c - floor((window - 1) / 2) to c + ceil((window - 1) / 2), those that there are,

        d[c] = k + alpha / window sum over W(c) of x[j]^2,   y[c] = x[c] / d[c]^beta

    x (N, C, *space). The sum is divided by `window` at the borders too, where fewer channels are summed.
    Adjoint, with the sum over the channels c whose W(c) holds j:
    dx[j] = dy[j] / d[j]^beta - 2 alpha beta / window x[j] sum of dy[c] x[c] / d[c]^(beta + 1).

    The same for every window are ONNX's LRN (bias is k) and MATLAB's crossChannelNormalizationLayer (windowChannelSize
    is window, K is k, whose default is 2); for odd windows PyTorch's, which mirrors even ones. Krizhevsky et al. (NIPS
    2012, section 3.3) do not divide by the window: their alpha is alpha / window.

    Source: ONNX operator LRN, version 13.

    >>> import numpy as np
    >>> (30 * LocalResponseNorm(2, alpha=2, beta=1).forward(np.array([[1., 1., 2.]]))).round()
    array([[10.,  5., 12.]])
    """

    window: int = 5
    alpha: float = 1e-4
    beta: float = 0.75
    k: float = 1.0
    reads: ClassVar[frozenset[str]] = frozenset({"x"})

    def __post_init__(self) -> None:
        require(self.window >= 1, f"LocalResponseNorm: window is {self.window}; expected 1 or more")
        require(
            self.k > 0 and self.alpha >= 0,
            f"LocalResponseNorm: k is {self.k} and alpha {self.alpha}; expected above 0, and 0 or more",
        )

    def forward(self, x):
        return x / self._denominator(x) ** self.beta

    def backward(self, dy, y, x):
        above = self.window // 2
        d = self._denominator(x)
        through_d = _window_sum(dy * x / d ** (self.beta + 1), above, self.window)  # c from j - above on
        return (dy / d**self.beta - 2 * self.alpha * self.beta / self.window * x * through_d,)

    def _denominator(self, x: Array) -> Array:
        """d, (N, C, *space)."""
        return self.k + self.alpha / self.window * _window_sum(x**2, (self.window - 1) // 2, self.window)


def _window_sum(x: Array, below: int, window: int) -> Array:
    """At each channel c, the sum of x over the `window` channels from c - below on."""
    padding = ((0, 0), (below, window), *((0, 0) for _ in space_axes(x)))
    padded = array_module(x).pad(x, padding)
    return sum(padded[:, t : t + x.shape[1]] for t in range(window))
