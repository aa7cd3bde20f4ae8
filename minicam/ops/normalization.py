"""Normalisation: of the input, by frozen batch statistics, and of each sample."""

from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

from minicam.backend import Array, array_module
from minicam.ops.axes import batched, check_axes, set_axes
from minicam.ops.base import Op, Shape, channel_vector, known, require, space_axes


@dataclass(frozen=True)
class Normalize(Op):
    """z-score of the network's input: y[n,c,i] = (x[n,c,i] - mean[c]) / std[c].

    x (N, C, *space), raw pixel scale. Parameters: mean (C,), std (C,). Adjoint: dx = dy / std.

    >>> import numpy as np
    >>> Normalize().forward(np.array([[[7., 9.]]]), mean=np.array([5.]), std=np.array([2.]))
    array([[[1., 2.]]])
    """

    reads_for_params: ClassVar[frozenset[str]] = frozenset({"y"})

    def parameter_shapes(self, *shapes: Shape) -> dict[str, tuple[int, ...]]:
        channels = known(shapes[0][0], "the number of channels")
        return {"mean": (channels,), "std": (channels,)}

    def forward(self, x, *, mean, std):
        rank = x.ndim - 2
        return (x - channel_vector(mean, rank)) / channel_vector(std, rank)

    def backward(self, dy, y, x, *, mean, std):
        return (dy / channel_vector(std, x.ndim - 2),)

    def backward_params(self, dy, y, x, *, mean, std):
        axes = (0, *space_axes(dy))
        return {"mean": -dy.sum(axis=axes) / std, "std": -(dy * y).sum(axis=axes) / std}


@dataclass(frozen=True)
class BatchNorm(Op):
    """Batch normalisation with frozen statistics (Ioffe and Szegedy, arXiv:1502.03167, algorithm 2):

    y[n,c,i] = scale[c] (x[n,c,i] - mean[c]) / sqrt(variance[c] + epsilon) + offset[c]

    x (N, C, *space). Parameters, all (C,): scale, offset, mean, variance. Being frozen, mean and variance are ordinary
    parameters here: nothing flows through them to x. Adjoint: dx = dy scale / sqrt(variance + epsilon).

    >>> import numpy as np
    >>> one = np.array([1.])
    >>> BatchNorm(epsilon=0).forward(np.array([[[5., 9.]]]), scale=one, offset=one, mean=5 * one, variance=4 * one)
    array([[[1., 3.]]])
    """

    epsilon: float = 1e-5
    reads_for_params: ClassVar[frozenset[str]] = frozenset({"x"})

    def __post_init__(self) -> None:
        require(self.epsilon >= 0, f"epsilon is {self.epsilon}; expected 0 or more")

    def parameter_shapes(self, *shapes: Shape) -> dict[str, tuple[int, ...]]:
        channels = known(shapes[0][0], "the number of channels")
        return dict.fromkeys(("scale", "offset", "mean", "variance"), (channels,))

    def forward(self, x, *, scale, offset, mean, variance):
        rank = x.ndim - 2
        slope = scale / self._deviation(variance)
        return channel_vector(slope, rank) * (x - channel_vector(mean, rank)) + channel_vector(offset, rank)

    def backward(self, dy, y, x, *, scale, offset, mean, variance):
        return (dy * channel_vector(scale / self._deviation(variance), x.ndim - 2),)

    def backward_params(self, dy, y, x, *, scale, offset, mean, variance):
        axes = (0, *space_axes(dy))
        deviation = self._deviation(variance)
        dy_sum = dy.sum(axis=axes)
        dscale = (dy * (x - channel_vector(mean, x.ndim - 2))).sum(axis=axes) / deviation
        return {
            "scale": dscale,
            "offset": dy_sum,
            "mean": -dy_sum * scale / deviation,
            "variance": -dscale * scale / (2 * deviation**2),
        }

    def _deviation(self, variance: Array) -> Array:
        return array_module(variance).sqrt(variance + self.epsilon)


@dataclass(frozen=True)
class LayerNorm(Op):
    """Layer normalisation of each sample (Ba, Kiros and Hinton, arXiv:1607.06450, equations 3 and 4):

    z = (x - m) / sqrt(v + epsilon),  y = scale z + offset,  m and v the mean and variance of x over the axes of `over`

    x (N, C, *space); over: "channels" (at each position alone, usual for sequences) or "sample" (channels and space).
    Parameters: scale (C,), offset (C,). axes, where given, are those of a sample and take the place of `over`: then
    scale and offset have the sizes of x along them, as in PyTorch and ONNX.
    Adjoint, with g = scale dy and means over the same axes: dx = (g - mean(g) - z mean(g z)) / sqrt(v + epsilon).

    >>> import numpy as np
    >>> LayerNorm(epsilon=0).forward(np.array([[[1.], [3.]]]), scale=np.ones(2), offset=np.zeros(2))
    array([[[-1.],
            [ 1.]]])
    """

    over: str = "channels"
    epsilon: float = 1e-5
    _: KW_ONLY
    axes: tuple[int, ...] = ()
    reads: ClassVar[frozenset[str]] = frozenset({"x"})
    reads_for_params: ClassVar[frozenset[str]] = frozenset({"x"})

    def __post_init__(self) -> None:
        require(self.over in ("channels", "sample"), f"over is {self.over!r}; expected 'channels' or 'sample'")
        require(self.epsilon >= 0, f"epsilon is {self.epsilon}; expected 0 or more")
        if self.axes != ():
            set_axes(self)

    def output_shape(self, *shapes: Shape) -> Shape:
        if self.axes:
            check_axes(self, shapes[0])
        return shapes[0]

    def parameter_shapes(self, *shapes: Shape) -> dict[str, tuple[int, ...]]:
        sizes = tuple(known(shapes[0][axis], "each size along the axes") for axis in self.axes or (0,))
        return {"scale": sizes, "offset": sizes}

    def footprint(self, rank: int):
        return super().footprint(rank) if (self.axes or self.over) in ((0,), "channels") else None

    def forward(self, x, *, scale, offset):
        z, _ = self._standardize(x)
        return self._wide(scale, x) * z + self._wide(offset, x)

    def backward(self, dy, y, x, *, scale, offset):
        z, deviation = self._standardize(x)
        g = self._wide(scale, x) * dy
        return ((g - self._mean(g) - z * self._mean(g * z)) / deviation,)

    def backward_params(self, dy, y, x, *, scale, offset):
        own = batched(self.axes or (0,))
        others = tuple(axis for axis in range(x.ndim) if axis not in own)
        return {"scale": (dy * self._standardize(x)[0]).sum(axis=others), "offset": dy.sum(axis=others)}

    def _standardize(self, x: Array) -> tuple[Array, Array]:
        centred = x - self._mean(x)
        deviation = array_module(x).sqrt(self._mean(centred**2) + self.epsilon)
        return centred / deviation, deviation

    def _mean(self, x: Array) -> Array:
        every = tuple(range(x.ndim - 1)) if self.over == "sample" else (0,)
        return x.mean(axis=batched(self.axes or every), keepdims=True)

    def _wide(self, parameter: Array, x: Array) -> Array:
        """A parameter that stretches against x (N, C, *space)."""
        own = self.axes or (0,)
        return parameter.reshape([size if axis in own else 1 for axis, size in enumerate(x.shape[1:])])
