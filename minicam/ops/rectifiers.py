"""Activations that are near x on one side and near a constant or a small slope on the other."""

import math
from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

from minicam.backend import Array, array_module
from minicam.ops.base import Footprint, Op, Shape, channel_vector, known, require
from minicam.ops.erf import erf


@dataclass(frozen=True)
class LeakyRelu(Op):
    """y = x where x > 0, else slope x. Adjoint: dx = dy where x > 0, else slope dy; so the gradient at x = 0 is slope.

    Source: Maas, Hannun and Ng, "Rectifier nonlinearities improve neural network acoustic models", ICML 2013.

    >>> import numpy as np
    >>> LeakyRelu(slope=0.5).forward(np.array([[[-2., 0., 2.]]]))
    array([[[-1.,  0.,  2.]]])
    """

    slope: float = 0.01
    reads: ClassVar[frozenset[str]] = frozenset({"x"})

    def forward(self, x):
        return array_module(x).where(x > 0, x, self.slope * x)

    def backward(self, dy, y, x):
        return (array_module(x).where(x > 0, dy, self.slope * dy),)


@dataclass(frozen=True)
class PRelu(Op):
    """y[n,c,i] = x[n,c,i] where that is above 0, else slope[c] x[n,c,i].

    x (N, C, *space). Parameter: slope (C,). Adjoint: dx = dy where x > 0, else slope dy; so the gradient at x = 0 is
    slope. dslope = the sum of dy x over the samples and positions where x <= 0.

    shape: that of slope, if it is not (C,): one size per axis of a sample, of which those of 1 are stretched.

    Source: He et al., "Delving deep into rectifiers", arXiv:1502.01852, equation 1.

    >>> import numpy as np
    >>> PRelu().forward(np.array([[[-2., 2.], [-2., 2.]]]), slope=np.array([1., 3.]))
    array([[[-2.,  2.],
            [-6.,  2.]]])
    """

    _: KW_ONLY
    shape: tuple[int, ...] = ()
    reads: ClassVar[frozenset[str]] = frozenset({"x"})
    reads_for_params: ClassVar[frozenset[str]] = frozenset({"x"})

    def __post_init__(self) -> None:
        require(min(self.shape, default=1) >= 1, f"PRelu: shape is {self.shape}; expected sizes of 1 or more")
        object.__setattr__(self, "shape", tuple(self.shape))

    def output_shape(self, *shapes: Shape) -> Shape:
        sizes = zip(self.shape, shapes[0], strict=False)
        fits = len(self.shape) in (0, len(shapes[0])) and all(slope == 1 or x in (None, slope) for slope, x in sizes)
        require(fits, f"the slopes {self.shape} do not fit the input {shapes[0]}")
        return shapes[0]

    def parameter_shapes(self, *shapes: Shape) -> dict[str, tuple[int, ...]]:
        return {"slope": self.shape or (known(shapes[0][0], "the number of channels"),)}

    def footprint(self, rank: int) -> tuple[Footprint, ...] | None:
        return None if any(size > 1 for size in self.shape[1:]) else super().footprint(rank)

    def forward(self, x, *, slope):
        return array_module(x).where(x > 0, x, self._stretchable(slope, x) * x)

    def backward(self, dy, y, x, *, slope):
        return (array_module(x).where(x > 0, dy, self._stretchable(slope, x) * dy),)

    def backward_params(self, dy, y, x, *, slope):
        wide = self._stretchable(slope, x)
        axes = tuple(axis for axis in range(x.ndim) if wide.shape[axis] == 1)
        return {"slope": (dy * array_module(x).minimum(x, 0)).sum(axis=axes).reshape(slope.shape)}

    def _stretchable(self, slope: Array, x: Array) -> Array:
        """slope with one axis for each axis of x."""
        return slope[None] if self.shape else channel_vector(slope, x.ndim - 2)


@dataclass(frozen=True)
class Elu(Op):
    """y = scale x where x > 0, else scale alpha (exp(x / width) - 1).

    Adjoint: dx = scale dy where x > 0, else scale alpha / width exp(x / width) dy; so the gradient at x = 0 is
    scale alpha / width.

    With alpha = 1.67326... and scale = 1.05070... it is known as SELU, with width = alpha as CELU.

    Source: Clevert, Unterthiner and Hochreiter, arXiv:1511.07289, equation 15. scale: Klambauer et al.,
    "Self-normalizing neural networks", arXiv:1706.02515, equation 2. width: Barron, "Continuously differentiable
    exponential linear units", arXiv:1704.07483, equation 2.

    >>> import numpy as np
    >>> Elu(alpha=3).forward(np.array([[[-100., 0., 2.]]]))
    array([[[-3.,  0.,  2.]]])
    """

    alpha: float = 1.0
    _: KW_ONLY
    scale: float = 1.0
    width: float = 1.0
    reads: ClassVar[frozenset[str]] = frozenset({"x"})

    def __post_init__(self) -> None:
        require(self.width > 0, f"Elu: width is {self.width}; expected more than 0")

    def forward(self, x):
        xp = array_module(x)
        below = self.alpha * xp.expm1(xp.minimum(x, 0) / self.width)  # the minimum, so that nothing overflows
        return self.scale * xp.where(x > 0, x, below)

    def backward(self, dy, y, x):
        xp = array_module(x)
        below = self.alpha / self.width * xp.exp(-abs(x) / self.width)
        return (self.scale * dy * xp.where(x > 0, 1, below),)


@dataclass(frozen=True)
class ThresholdedRelu(Op):
    """y = x where x > threshold, else value. Adjoint: dx = dy where x > threshold, else 0.

    Source: Konda, Memisevic and Krueger, "Zero-bias autoencoders and the benefits of co-adapting features",
    arXiv:1402.3337, equation 6.

    >>> import numpy as np
    >>> ThresholdedRelu().forward(np.array([[[0.5, 1., 2.]]]))
    array([[[0., 0., 2.]]])
    """

    threshold: float = 1.0
    value: float = 0.0
    reads: ClassVar[frozenset[str]] = frozenset({"x"})

    def forward(self, x):
        return array_module(x).where(x > self.threshold, x, self.value).astype(x.dtype)

    def backward(self, dy, y, x):
        return (dy * (x > self.threshold),)


@dataclass(frozen=True)
class Shrink(Op):
    """y = x - bias where x > threshold, x + bias where x < -threshold, else 0.

    Adjoint: dx = dy where |x| > threshold, else 0. With bias 0 it is PyTorch's hardshrink, with bias = threshold its
    softshrink, which is continuous.

    >>> import numpy as np
    >>> Shrink(threshold=1, bias=1).forward(np.array([[[-3., -1., 0., 2.]]]))
    array([[[-2.,  0.,  0.,  1.]]])
    """

    threshold: float = 0.5
    bias: float = 0.0
    reads: ClassVar[frozenset[str]] = frozenset({"x"})

    def __post_init__(self) -> None:
        require(self.threshold >= 0, f"Shrink: threshold is {self.threshold}; expected 0 or more")

    def forward(self, x):
        return (x - self.bias * array_module(x).sign(x)) * (abs(x) > self.threshold)

    def backward(self, dy, y, x):
        return (dy * (abs(x) > self.threshold),)


@dataclass(frozen=True)
class Gelu(Op):
    """y = x P(x), with P(x) = (1 + erf(x / sqrt(2))) / 2 the distribution function of the normal distribution.

    approximate: "none", or "tanh" for P(x) = (1 + tanh(u)) / 2 with u = sqrt(2 / pi) (x + 0.044715 x^3).
    Adjoint: dx = dy (P(x) + x P'(x)), with P'(x) = exp(-x^2 / 2) / sqrt(2 pi), or (1 - tanh(u)^2) u' / 2.

    Source: Hendrycks and Gimpel, arXiv:1606.08415, section 2.

    >>> import numpy as np
    >>> Gelu().forward(np.array([[[-100., 0., 100.]]]))
    array([[[ -0.,   0., 100.]]])
    """

    approximate: str = "none"
    reads: ClassVar[frozenset[str]] = frozenset({"x"})

    def __post_init__(self) -> None:
        require(
            self.approximate in ("none", "tanh"),
            f"Gelu: approximate is {self.approximate!r}; expected 'none' or 'tanh'",
        )

    def forward(self, x):
        return x * self._distribution(x)[0]

    def backward(self, dy, y, x):
        distribution, density = self._distribution(x)
        return (dy * (distribution + x * density),)

    def _distribution(self, x: Array) -> tuple[Array, Array]:
        """P(x) and P'(x)."""
        xp = array_module(x)
        if self.approximate == "none":
            return (1 + erf(x / math.sqrt(2))) / 2, xp.exp(-x * x / 2) / math.sqrt(2 * math.pi)
        scale = math.sqrt(2 / math.pi)
        tanh = xp.tanh(scale * (x + 0.044715 * x**3))
        return (1 + tanh) / 2, (1 - tanh**2) * scale * (1 + 3 * 0.044715 * x**2) / 2


@dataclass(frozen=True)
class Clip(Op):
    """y = x held between minimum and maximum; Clip(0, 6) is known as ReLU6.

    Adjoint: dx = dy where minimum < y < maximum, else 0; so the gradient at both ends is 0, as ReLU's at 0. For an end
    that bounds nothing take a number that no value reaches: files hold no infinity.

    >>> import numpy as np
    >>> Clip(0, 6).forward(np.array([[[-1., 5., 7.]]]))
    array([[[0., 5., 6.]]])
    """

    minimum: float
    maximum: float
    reads: ClassVar[frozenset[str]] = frozenset({"y"})

    def __post_init__(self) -> None:
        require(
            self.minimum < self.maximum, f"Clip: minimum is {self.minimum}; expected less than maximum {self.maximum}"
        )

    def forward(self, x):
        return array_module(x).clip(x, self.minimum, self.maximum)

    def backward(self, dy, y, x):
        return (dy * ((y > self.minimum) & (y < self.maximum)),)
