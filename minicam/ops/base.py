"""What an op is: a frozen dataclass of hyperparameters with pure methods."""

from fractions import Fraction
from typing import Any, ClassVar, NamedTuple

from minicam.backend import Array, array_module
from minicam.errors import LayerError

Shape = tuple[int | None, ...]
"""The shape of one sample, (C, *space); None where any size will do."""


class Footprint(NamedTuple):
    """Output position o depends on the input positions step o + low ... step o + high, per spatial axis.

    Of an upsampling, whose output positions differ in how many inputs they see, the largest number, centred.
    """

    step: Fraction
    low: Fraction
    high: Fraction


POINT = Footprint(Fraction(1), Fraction(0), Fraction(0))


class Op:
    """Base of all ops. Subclasses are frozen dataclasses; their fields are exactly the options in a file.

    - `forward(*xs, **parameters) -> y`
    - `backward(dy, y, *xs, **parameters) -> tuple`, one gradient per input: the vector-Jacobian product. Where x and
      y hold one sample, dy may hold several (one per explained target), and so do the gradients.
    - `backward_params(dy, y, *xs, **parameters) -> dict`, the gradient of every parameter, summed over samples.

    Arrays are (N, C, *space) of one floating type, which is also the type of the results.
    """

    arity: ClassVar[int | None] = 1
    """Number of inputs; None for one or more."""
    reads: ClassVar[frozenset[str]] = frozenset()
    """Which of "x" and "y" `backward` looks inside. It always knows the shapes of both."""
    reads_for_params: ClassVar[frozenset[str]] = frozenset()
    """The same for `backward_params`."""
    shape_only: ClassVar[frozenset[int]] = frozenset()
    """The inputs whose shape alone counts, so that no gradient flows to them."""

    def output_shape(self, *shapes: Shape) -> Shape:
        """The shape of y for one sample. Raises LayerError if the inputs do not fit."""
        return shapes[0]

    def parameter_shapes(self, *shapes: Shape) -> dict[str, tuple[int, ...]]:
        """Name and shape of each parameter, given the shapes of the inputs."""
        return {}

    def footprint(self, rank: int) -> tuple[Footprint, ...] | None:
        """Which input positions an output position depends on, per axis; None: on all of them."""
        return (POINT,) * rank

    def forward(self, *xs: Array, **parameters: Array) -> Array:
        raise NotImplementedError

    def backward(self, dy: Array, y: Array, *xs: Array, **parameters: Array) -> tuple[Array, ...]:
        raise NotImplementedError

    def backward_params(self, dy: Array, y: Array, *xs: Array, **parameters: Array) -> dict[str, Array]:
        return {}


def known(size: int | None, what: str) -> int:
    """size, or a LayerError where it has been left open."""
    if size is None:
        raise LayerError(f"{what} must be a fixed number here, but the graph's input leaves it open (null)")
    return size


def channel_vector(parameter: Array, rank: int) -> Array:
    """A parameter (C,) shaped to broadcast against (N, C, *space)."""
    return parameter.reshape(1, -1, *(1,) * rank)


def space_axes(x: Array) -> tuple[int, ...]:
    """The spatial axes of x (N, C, *space)."""
    return tuple(range(2, x.ndim))


def sum_stretched(dy: Array, shape: tuple[int, ...]) -> Array:
    """dy summed over the axes that are 1 in `shape`, the samples apart: the adjoint of stretching."""
    axes = tuple(axis for axis in range(1, dy.ndim) if shape[axis] == 1)
    return dy.sum(axis=axes, keepdims=True)


def no_gradient(dy: Array, x: Array) -> Array:
    """The gradient of an input x whose small changes do not change y: 0, once for each of dy's samples."""
    xp = array_module(dy)
    return xp.broadcast_to(xp.zeros((), dy.dtype), (len(dy), *x.shape[1:]))


def require(condition: Any, message: str) -> None:
    if not condition:
        raise LayerError(message)
