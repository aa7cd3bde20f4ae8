"""Activations that are near x on one side and near a constant or a small slope on the other."""

import math
from dataclasses import dataclass
from typing import ClassVar

from minicam.backend import Array, array_module
from minicam.ops.base import Op, Shape, channel_vector, known, require, space_axes
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

    Source: He et al., "Delving deep into rectifiers", arXiv:1502.01852, equation 1.

    >>> import numpy as np
    >>> PRelu().forward(np.array([[[-2., 2.], [-2., 2.]]]), slope=np.array([1., 3.]))
    array([[[-2.,  2.],
            [-6.,  2.]]])
    """

    reads: ClassVar[frozenset[str]] = frozenset({"x"})
    reads_for_params: ClassVar[frozenset[str]] = frozenset({"x"})

    def parameter_shapes(self, *shapes: Shape) -> dict[str, tuple[int, ...]]:
        return {"slope": (known(shapes[0][0], "the number of channels"),)}

    def forward(self, x, *, slope):
        return array_module(x).where(x > 0, x, channel_vector(slope, x.ndim - 2) * x)

    def backward(self, dy, y, x, *, slope):
        return (array_module(x).where(x > 0, dy, channel_vector(slope, x.ndim - 2) * dy),)

    def backward_params(self, dy, y, x, *, slope):
        return {"slope": (dy * array_module(x).minimum(x, 0)).sum(axis=(0, *space_axes(x)))}


@dataclass(frozen=True)
class Elu(Op):
    """y = x where x > 0, else alpha (exp(x) - 1).

    Adjoint: dx = dy where x > 0, else alpha exp(x) dy; so the gradient at x = 0 is alpha.

    Source: Clevert, Unterthiner and Hochreiter, arXiv:1511.07289, equation 15.

    >>> import numpy as np
    >>> Elu(alpha=3).forward(np.array([[[-100., 0., 2.]]]))
    array([[[-3.,  0.,  2.]]])
    """

    alpha: float = 1.0
    reads: ClassVar[frozenset[str]] = frozenset({"x"})

    def forward(self, x):
        xp = array_module(x)
        return xp.where(x > 0, x, self.alpha * xp.expm1(xp.minimum(x, 0)))  # the minimum, so that nothing overflows

    def backward(self, dy, y, x):
        xp = array_module(x)
        return (dy * xp.where(x > 0, 1, self.alpha * xp.exp(-abs(x))),)


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
