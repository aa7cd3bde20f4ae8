"""The table of op cases: every op of `minicam.ops.OPS` with options and input shapes that between them reach every
line of its mathematics. The tests, and the mutation script, run over this table; an op without a case fails.

A new op needs its lines here, its formula in `references.FORMULAS` and, if it is linear, its name in `LINEAR`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from minicam.ops import (
    Abs,
    Add,
    Average,
    AveragePool,
    BatchNorm,
    BatchStatisticsNorm,
    ChannelMax,
    Clip,
    Concat,
    Constant,
    Conv,
    ConvTranspose,
    Cos,
    Crop,
    CrossEntropy,
    Dense,
    DepthToSpace,
    Divide,
    Dropout,
    Elu,
    Erf,
    Exp,
    Expand,
    Exponentiate,
    Flatten,
    Gelu,
    GlobalAveragePool,
    GlobalMaxPool,
    Greater,
    GroupNorm,
    HardSigmoid,
    HardSwish,
    Identity,
    InstanceNorm,
    LayerNorm,
    LeakyRelu,
    LocalResponseNorm,
    Log,
    LogSoftmax,
    LpPool,
    MatMul,
    Maximum,
    MaxPool,
    MeanSquaredError,
    Minimum,
    Mish,
    Multiply,
    Negate,
    Normalize,
    Op,
    Pad,
    Power,
    PRelu,
    Reciprocal,
    ReduceLogSumExp,
    ReduceMax,
    ReduceMean,
    ReduceMin,
    ReduceNorm,
    ReduceProduct,
    ReduceSum,
    Relu,
    Reshape,
    Resize,
    Shrink,
    Sigmoid,
    Sign,
    Sin,
    Slice,
    Softmax,
    Softplus,
    Softsign,
    SpaceToDepth,
    Sqrt,
    Subtract,
    Sum,
    Swish,
    Tanh,
    ThresholdedRelu,
    Transpose,
    Where,
)
from minicam.ops.rearranging import END
from minicam.ops.resampling import COORDINATES, ROUNDINGS

Draw = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]

LINEAR = {
    *("Normalize", "Conv", "ConvTranspose", "BatchNorm", "Dropout", "AveragePool", "GlobalAveragePool"),
    *("Add", "Sum", "Average", "Subtract", "Concat", "Crop", "Dense", "Flatten", "Identity", "Negate", "Constant"),
    *("ReduceSum", "ReduceMean"),
    *("Resize", "Pad", "Slice", "Reshape", "Transpose", "Expand", "DepthToSpace", "SpaceToDepth"),
}
"""Ops whose forward is linear in the inputs, up to a constant: f(x) - f(0) is linear."""

WHOLE = {"CrossEntropy": {1}, "Where": {0}}
"""Which inputs hold whole numbers, so that they cannot change a little."""

POSITIVE = {"std", "variance"}
"""Names of the parameters that are positive by meaning."""


def normal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.normal(size=shape)


def tied(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """-1, 0 or 1: many equal values, and exact zeros."""
    return rng.integers(-1, 2, shape).astype(float)


def positive(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """For functions that have no other domain, or are steep near 0."""
    return rng.uniform(0.5, 2, shape)


def zero_or_one(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.integers(0, 2, shape).astype(float)


def huge(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Values around 10 000, whose exponential overflows."""
    return 1e4 + rng.normal(size=shape)


def labelled(ignored: int, classes: int, scale: float = 1.0) -> Draw:
    """Scores of that scale, and labels, the only input of one channel: whole numbers, or the ignored one."""

    def draw(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        if shape[1] > 1:
            return scale * rng.normal(size=shape)
        return rng.choice([ignored, *range(classes)], shape).astype(float)

    return draw


@dataclass(frozen=True)
class Sample:
    """The arrays of one case: the inputs, the parameters, and a cotangent of the output."""

    xs: list[np.ndarray]
    parameters: dict[str, np.ndarray]
    dy: np.ndarray

    def astype(self, dtype: type) -> "Sample":
        parameters = {name: value.astype(dtype) for name, value in self.parameters.items()}
        return Sample([x.astype(dtype) for x in self.xs], parameters, self.dy.astype(dtype))


class Case:
    """An op with the shapes (N, C, *space) of its inputs. `draw` makes the values of the inputs."""

    def __init__(self, label: str, op: Op, *shapes: tuple[int, ...], draw: Draw = normal):
        self.id = f"{type(op).__name__}: {label}"
        self.op = op
        self.shapes = shapes
        self.draw = draw

    @property
    def sample_shapes(self) -> list[tuple[int, ...]]:
        """The shapes without the batch, as `output_shape` and `parameter_shapes` take them."""
        return [shape[1:] for shape in self.shapes]

    def sample(self) -> Sample:
        """Random arrays in float64, the same at every call."""
        rng = np.random.default_rng(list(self.id.encode()))
        xs = [self.draw(rng, shape) for shape in self.shapes]
        parameters = {
            name: rng.uniform(0.5, 2, shape) if name in POSITIVE else rng.normal(size=shape)
            for name, shape in self.op.parameter_shapes(*self.sample_shapes).items()
        }
        dy = rng.normal(size=(self.shapes[0][0], *self.op.output_shape(*self.sample_shapes)))
        return Sample(xs, parameters, dy)


CASES = [
    Case("rank 1", Normalize(), (2, 3, 5)),
    Case("rank 2", Normalize(), (2, 3, 4, 5)),
    Case("rank 3", Normalize(), (2, 1, 2, 3, 2)),
    #
    Case("rank 1, kernel 1", Conv(3, (1,)), (2, 4, 5)),
    Case("rank 1", Conv(3, (3,)), (2, 2, 7)),
    Case("rank 1, even kernel, stride that leaves a remainder", Conv(2, (4,), stride=3), (2, 3, 9)),
    Case("rank 1, asymmetric padding, dilation", Conv(2, (3,), dilation=2, padding=((3, 1),)), (2, 3, 6)),
    Case("rank 1, stride beyond the kernel", Conv(2, (2,), stride=4), (2, 2, 11)),
    Case("rank 1, padding reaches beyond a short input", Conv(2, (5,), dilation=2, padding=5), (2, 2, 2)),
    Case("rank 2", Conv(3, (3, 3), padding=1), (2, 2, 5, 5)),
    Case("rank 2, stem", Conv(4, (7, 7), stride=2, padding=3), (1, 3, 9, 10)),
    Case("rank 2, everything differs per axis", Conv(4, (3, 2), (2, 3), (2, 1), ((2, 1), (0, 3)), 2), (2, 6, 7, 8)),
    Case("rank 2, depthwise", Conv(3, (3, 3), dilation=2, padding=2, groups=3), (2, 3, 5, 4)),
    Case("rank 2, depthwise with multiplier", Conv(6, (2, 3), groups=3), (2, 3, 4, 5)),
    Case("rank 2, single position", Conv(2, (3, 3)), (2, 2, 3, 3)),
    Case("rank 3", Conv(2, (2, 3, 2), (1, 2, 1), (2, 1, 1), ((0, 1), (1, 1), (0, 0)), 2), (2, 4, 4, 4, 3)),
    #
    Case("rank 1, kernel 1", ConvTranspose(3, (1,)), (2, 4, 5)),
    Case("rank 1", ConvTranspose(3, (3,)), (2, 2, 5)),
    Case("rank 1, stride with gaps", ConvTranspose(2, (2,), stride=3), (2, 3, 4)),
    Case("rank 1, asymmetric cropping, dilation", ConvTranspose(2, (3,), 2, 2, ((3, 1),)), (2, 3, 4)),
    Case("rank 1, cropping beyond the first inputs", ConvTranspose(2, (3,), cropping=((3, 2),)), (2, 2, 6)),
    Case("rank 2, bilinear upsampler", ConvTranspose(3, (8, 8), stride=4, cropping=2, groups=3), (1, 3, 3, 2)),
    Case("rank 2, groups", ConvTranspose(4, (3, 2), (2, 3), (1, 2), ((1, 0), (0, 2)), 2), (2, 6, 3, 4)),
    Case("rank 2, further than the inputs reach", ConvTranspose(2, (3, 2), 3, 1, ((1, -1), (0, -2))), (2, 2, 3, 2)),
    Case("rank 2, single position", ConvTranspose(2, (3, 3), stride=2), (2, 2, 1, 1)),
    Case("rank 3", ConvTranspose(2, (2, 3, 2), (2, 1, 1), (1, 2, 1), ((0, 1), (1, 2), (0, 0)), 2), (2, 4, 3, 2, 2)),
    #
    Case("flat", BatchNorm(), (3, 4)),
    Case("rank 1", BatchNorm(epsilon=0.0), (2, 3, 5)),
    Case("rank 2", BatchNorm(epsilon=0.1), (2, 3, 4, 5)),
    Case("rank 3", BatchNorm(), (2, 1, 2, 3, 2)),
    #
    Case("flat", BatchStatisticsNorm(), (3, 4)),
    Case("rank 1", BatchStatisticsNorm(epsilon=0.0), (2, 3, 5)),
    Case("rank 2", BatchStatisticsNorm(epsilon=0.1), (2, 3, 4, 5)),
    Case("rank 2, one sample", BatchStatisticsNorm(), (1, 3, 4, 5)),
    Case("rank 3", BatchStatisticsNorm(), (2, 1, 2, 3, 2)),
    #
    Case("flat", LayerNorm(), (3, 4)),
    Case("rank 1, over channels", LayerNorm(epsilon=0.1), (2, 3, 5)),
    Case("rank 1, over the sample", LayerNorm("sample", epsilon=0.0), (2, 3, 5)),
    Case("rank 2, over channels", LayerNorm(epsilon=0.0), (2, 4, 3, 2)),
    Case("rank 2, over the sample", LayerNorm("sample", epsilon=0.1), (2, 4, 3, 2)),
    Case("rank 2, over space", LayerNorm(epsilon=0.1, axes=(1, 2)), (2, 4, 3, 2)),
    Case("rank 2, over columns", LayerNorm(axes=(2,)), (2, 3, 2, 5)),
    Case("rank 3, over channels", LayerNorm(), (1, 3, 2, 3, 2)),
    Case("rank 3, over the sample", LayerNorm("sample"), (2, 2, 2, 3, 2)),
    #
    Case("flat", GroupNorm(2), (3, 8)),
    Case("rank 1, one group", GroupNorm(1, epsilon=0.1), (2, 3, 5)),
    Case("rank 2", GroupNorm(2, epsilon=0.1), (2, 6, 3, 2)),
    Case("rank 2, a group for each channel", GroupNorm(3), (2, 3, 3, 2)),
    Case("rank 3", GroupNorm(2, epsilon=0.0), (2, 4, 2, 3, 2)),
    #
    Case("rank 1", InstanceNorm(epsilon=0.0), (2, 3, 5)),
    Case("rank 2", InstanceNorm(epsilon=0.1), (2, 3, 4, 5)),
    Case("rank 3", InstanceNorm(), (2, 2, 2, 3, 2)),
    #
    Case("flat, window 1", LocalResponseNorm(1, alpha=0.5), (3, 4)),
    Case("rank 1, even window", LocalResponseNorm(4, alpha=2.0, beta=0.75, k=0.5), (2, 7, 3)),
    Case("rank 2, odd window", LocalResponseNorm(3, alpha=1.5, beta=2.0, k=2.0), (2, 5, 3, 2)),
    Case("rank 2, window of two", LocalResponseNorm(2, alpha=1.5, beta=0.5), (2, 4, 3, 2)),
    Case("rank 3, window beyond the channels", LocalResponseNorm(5, alpha=3.0), (2, 2, 2, 3, 2)),
    #
    Case("flat", Relu(), (3, 4)),
    Case("rank 1", Relu(), (2, 3, 5)),
    Case("rank 2, with zeros", Relu(), (2, 3, 4, 5), draw=tied),
    Case("rank 3", Relu(), (2, 1, 2, 3, 2)),
    #
    Case("flat", LeakyRelu(), (3, 4)),
    Case("rank 1, negative slope", LeakyRelu(-0.5), (2, 3, 5)),
    Case("rank 2, with zeros", LeakyRelu(0.2), (2, 3, 4, 5), draw=tied),
    Case("rank 3", LeakyRelu(2.0), (2, 1, 2, 3, 2)),
    #
    Case("flat", PRelu(), (3, 4)),
    Case("rank 1", PRelu(), (2, 3, 5)),
    Case("rank 2, with zeros", PRelu(), (2, 3, 4, 5), draw=tied),
    Case("rank 3", PRelu(), (2, 2, 2, 3, 2)),
    Case("rank 2, one slope", PRelu(shape=(1, 1, 1)), (2, 3, 4, 5)),
    Case("rank 2, a slope for each column", PRelu(shape=(3, 1, 5)), (2, 3, 4, 5)),
    #
    Case("flat", ThresholdedRelu(0.3), (3, 4)),
    Case("rank 2, at the threshold", ThresholdedRelu(1.0), (2, 3, 4, 5), draw=tied),
    Case("rank 1, another value", ThresholdedRelu(-0.5, value=2.0), (2, 3, 5)),
    #
    Case("flat", Shrink(0.3), (3, 4)),
    Case("rank 2, at the threshold", Shrink(1.0, bias=0.5), (2, 3, 4, 5), draw=tied),
    Case("rank 1, soft", Shrink(0.4, bias=0.4), (2, 3, 5)),
    #
    Case("flat", Elu(), (3, 4)),
    Case("rank 1", Elu(0.5), (2, 3, 5)),
    Case("rank 2, with zeros", Elu(2.0), (2, 3, 4, 5), draw=tied),
    Case("rank 3, large", Elu(), (2, 1, 2, 3, 2), draw=huge),
    Case("rank 1, scaled", Elu(1.5, scale=0.8), (2, 3, 5)),
    Case("rank 1, wide", Elu(1.5, scale=0.8, width=0.5), (2, 3, 5)),
    #
    Case("flat", Gelu(), (3, 4)),
    Case("rank 1", Gelu(), (2, 3, 5)),
    Case("rank 1, by tanh", Gelu("tanh"), (2, 3, 5)),
    Case("rank 2, large", Gelu(), (2, 3, 4, 5), draw=huge),
    Case("rank 2, large, by tanh", Gelu("tanh"), (2, 3, 4, 5), draw=huge),
    Case("rank 3", Gelu(), (2, 1, 2, 3, 2)),
    #
    Case("flat", Clip(-0.5, 0.75), (3, 4)),
    Case("rank 1", Clip(-1.0, 0.5), (2, 3, 5)),
    Case("rank 2, with values at both ends", Clip(0.0, 1.0), (2, 3, 4, 5), draw=tied),
    Case("rank 3", Clip(0.0, 6.0), (2, 1, 2, 3, 2)),
    #
    Case("flat", Sigmoid(), (3, 4)),
    Case("rank 1, with zeros", Sigmoid(), (2, 3, 5), draw=tied),
    Case("rank 2, large", Sigmoid(), (2, 3, 4, 5), draw=huge),
    Case("rank 3", Sigmoid(), (2, 1, 2, 3, 2)),
    #
    Case("flat", Tanh(), (3, 4)),
    Case("rank 1", Tanh(), (2, 3, 5)),
    Case("rank 2, large", Tanh(), (2, 3, 4, 5), draw=huge),
    Case("rank 3", Tanh(), (2, 1, 2, 3, 2)),
    #
    Case("flat", Softmax(), (3, 4)),
    Case("rank 1", Softmax(), (2, 3, 5)),
    Case("rank 2, large", Softmax(), (2, 3, 4, 5), draw=huge),
    Case("rank 3, one channel", Softmax(), (2, 1, 2, 3, 2)),
    Case("rank 2, over rows", Softmax(axes=(1,)), (2, 3, 4, 5)),
    Case("rank 2, over channels and columns", Softmax(axes=(0, 2)), (2, 3, 4, 5)),
    #
    Case("flat", LogSoftmax(), (3, 4)),
    Case("rank 2, large", LogSoftmax(), (2, 3, 4, 5), draw=huge),
    Case("rank 2, over space", LogSoftmax(axes=(1, 2)), (2, 3, 4, 5)),
    #
    *(Case("flat", op, (3, 4)) for op in (Identity(), Negate(), Sin(), Cos(), Erf(), Exp(), Softsign(), Mish())),
    *(Case("rank 2", op, (2, 3, 4, 5)) for op in (Identity(), Negate(), Abs(), Sin(), Cos(), Erf(), Exp(), Softsign())),
    *(Case("flat", op, (3, 4), draw=positive) for op in (Reciprocal(), Sqrt(), Log(), Power(-0.5))),
    *(Case("rank 2", op, (2, 3, 4, 5), draw=positive) for op in (Reciprocal(), Sqrt(), Log(), Power(1.5))),
    Case("rank 2, with zeros", Abs(), (2, 3, 4, 5), draw=tied),
    Case("rank 2, the square, with zeros", Power(2.0), (2, 3, 4, 5), draw=tied),
    Case("rank 1, the cube", Power(3.0), (2, 3, 5)),
    #
    Case("rank 2, large", Mish(), (2, 3, 4, 5), draw=huge),
    Case("flat", Softplus(), (3, 4)),
    Case("rank 2, steep", Softplus(3.0), (2, 3, 4, 5)),
    Case("rank 2, large", Softplus(), (2, 3, 4, 5), draw=huge),
    Case("flat", Swish(), (3, 4)),
    Case("rank 2, steep", Swish(-1.7), (2, 3, 4, 5)),
    Case("rank 2, large", Swish(), (2, 3, 4, 5), draw=huge),
    Case("flat", HardSigmoid(), (3, 4)),
    Case("rank 2", HardSigmoid(0.7, 0.4), (2, 3, 4, 5)),
    Case("rank 2, at the kinks", HardSigmoid(0.5, 0.5), (2, 3, 4, 5), draw=tied),
    Case("flat", HardSwish(), (3, 4)),
    Case("rank 2, at the kinks", HardSwish(), (2, 3, 4, 5), draw=lambda rng, shape: 3 * tied(rng, shape)),
    #
    Case("flat", Dropout(), (3, 4)),
    Case("rank 2", Dropout(0.25), (2, 3, 4, 5)),
    #
    Case("rank 1", MaxPool((2,), stride=2), (2, 3, 7)),
    Case("rank 1, stride beyond the kernel", MaxPool((2,), stride=3), (2, 2, 9)),
    Case("rank 1, overlapping, with ties", MaxPool((3,), padding=1), (2, 3, 9), draw=tied),
    Case("rank 2, stem", MaxPool((3, 3), stride=2, padding=1), (2, 3, 6, 7)),
    Case("rank 2, with ties", MaxPool((2, 3), (1, 2), ((1, 0), (0, 2))), (2, 3, 5, 6), draw=tied),
    Case("rank 2, padding around a single element", MaxPool((2, 2), padding=1), (2, 3, 1, 1)),
    Case("rank 3", MaxPool((2, 1, 2), (1, 2, 2), ((0, 1), (0, 0), (1, 0))), (2, 2, 3, 4, 3)),
    Case("rank 1, dilated", MaxPool((3,), 2, 2, dilation=3), (2, 3, 9)),
    Case("rank 2, dilated, with ties", MaxPool((2, 3), (1, 2), 1, dilation=(3, 1)), (2, 3, 5, 6), draw=tied),
    #
    Case("rank 1", AveragePool((2,), stride=2), (2, 3, 7)),
    Case("rank 1, stride beyond the kernel", AveragePool((2,), stride=3), (3, 2, 9)),
    Case("rank 1, padding left out", AveragePool((3,), padding=((2, 1),), count_padding=False), (2, 3, 6)),
    Case("rank 2, padding counted", AveragePool((3, 2), (2, 1), ((1, 2), (0, 1))), (2, 3, 6, 5)),
    Case("rank 2, padding left out", AveragePool((3, 2), (2, 1), ((1, 2), (0, 1)), False), (2, 3, 6, 5)),
    Case("rank 3", AveragePool((2, 1, 2), (1, 2, 2), ((0, 1), (0, 0), (1, 0)), False), (2, 2, 3, 4, 3)),
    Case("rank 2, dilated", AveragePool((3, 2), (2, 1), ((1, 2), (0, 1)), False, dilation=(1, 2)), (2, 3, 6, 5)),
    #
    Case("rank 1", LpPool((2,), stride=2), (2, 3, 7)),
    Case("rank 2", LpPool((3, 2), (2, 1), ((1, 2), (0, 1)), p=3), (2, 3, 6, 5)),
    Case("rank 2, of absolute values, with zeros", LpPool((2, 2), p=1), (2, 3, 4, 5), draw=tied),
    Case("rank 1, with zeros", LpPool((2,)), (2, 3, 12), draw=tied),
    Case("rank 3, dilated", LpPool((2, 1, 2), 1, ((1, 0), 0, (1, 1)), 2.5, (1, 2, 2)), (2, 2, 3, 4, 3)),
    #
    Case("rank 1", GlobalAveragePool(), (2, 3, 5)),
    Case("rank 2", GlobalAveragePool(), (2, 3, 4, 5)),
    Case("rank 3", GlobalAveragePool(), (2, 1, 2, 3, 2)),
    #
    Case("rank 1", GlobalMaxPool(), (2, 3, 5)),
    Case("rank 2, with ties", GlobalMaxPool(), (2, 3, 4, 5), draw=tied),
    Case("rank 3", GlobalMaxPool(), (2, 1, 2, 3, 2)),
    #
    Case("flat", ChannelMax(), (3, 4)),
    Case("rank 1", ChannelMax(), (2, 3, 5)),
    Case("rank 2, with ties", ChannelMax(), (2, 4, 4, 5), draw=tied),
    Case("rank 3, one channel", ChannelMax(), (2, 1, 2, 3, 2)),
    #
    Case("one input", Add(), (2, 3, 5)),
    Case("two inputs", Add(), (2, 3, 4, 5), (2, 3, 4, 5)),
    Case("three inputs, flat", Add(), (3, 4), (3, 4), (3, 4)),
    #
    Case("flat", ReduceSum((0,)), (3, 4)),
    Case("rank 2, rows, left out", ReduceSum((1,), keep=False), (2, 3, 4, 5)),
    Case("rank 2, channels and columns", ReduceSum((2, 0)), (2, 3, 4, 5)),
    Case("rank 2, all, left out", ReduceSum((0, 1, 2), keep=False), (2, 2, 3, 2)),
    Case("flat", ReduceMean((0,)), (3, 4)),
    Case("rank 2, rows, left out", ReduceMean((1,), keep=False), (2, 3, 4, 5)),
    Case("rank 2, channels and columns", ReduceMean((2, 0)), (2, 3, 4, 5)),
    Case("rank 2, all, left out", ReduceMean((0, 1, 2), keep=False), (2, 2, 3, 2)),
    Case("flat", ReduceMax((0,)), (3, 4)),
    Case("rank 2, rows, left out", ReduceMax((1,), keep=False), (2, 3, 4, 5)),
    Case("rank 2, channels and columns", ReduceMax((2, 0)), (2, 3, 4, 5), draw=tied),
    Case("rank 2, all, left out", ReduceMax((0, 1, 2), keep=False), (2, 2, 3, 2)),
    Case("flat", ReduceMin((0,)), (3, 4)),
    Case("rank 2, rows, left out", ReduceMin((1,), keep=False), (2, 3, 4, 5)),
    Case("rank 2, channels and columns", ReduceMin((2, 0)), (2, 3, 4, 5), draw=tied),
    Case("rank 2, all, left out", ReduceMin((0, 1, 2), keep=False), (2, 2, 3, 2)),
    Case("flat", ReduceProduct((0,)), (3, 4)),
    Case("rank 2, rows, left out", ReduceProduct((1,), keep=False), (2, 3, 4, 5)),
    Case("rank 2, channels and columns", ReduceProduct((2, 0)), (2, 3, 4, 5), draw=tied),
    Case("rank 2, all, left out", ReduceProduct((0, 1, 2), keep=False), (2, 2, 3, 2)),
    Case("flat", ReduceNorm((0,)), (3, 4)),
    Case("rank 2, rows, left out", ReduceNorm((1,), keep=False), (2, 3, 4, 5)),
    Case("rank 2, channels and columns", ReduceNorm((2, 0)), (2, 3, 4, 5)),
    Case("rank 2, all, left out", ReduceNorm((0, 1, 2), keep=False), (2, 2, 3, 2)),
    Case("flat", ReduceLogSumExp((0,)), (3, 4)),
    Case("rank 2, rows, left out", ReduceLogSumExp((1,), keep=False), (2, 3, 4, 5)),
    Case("rank 2, channels and columns", ReduceLogSumExp((2, 0)), (2, 3, 4, 5)),
    Case("rank 2, all, left out", ReduceLogSumExp((0, 1, 2), keep=False), (2, 2, 3, 2)),
    Case("rank 2, of absolute values", ReduceNorm((1, 2), 1), (2, 3, 4, 5), draw=tied),
    Case("rank 1, with zeros", ReduceNorm((0,)), (2, 2, 12), draw=tied),
    Case("rank 1, cubes, left out", ReduceNorm((1,), 3, keep=False), (2, 3, 4)),
    #
    *(Case("one input", op, (2, 3, 5)) for op in (Sum(), Average(), Maximum(), Minimum())),
    *(
        Case("rank 1, stretched", op, (2, 3, 5), (2, 3, 1))
        for op in (Sum(), Average(), Subtract(), Maximum(), Minimum())
    ),
    *(Case("rank 2, stretched", op, (2, 1, 4, 5), (2, 3, 1, 5), (2, 3, 4, 5)) for op in (Sum(), Average())),
    *(Case("rank 2, with ties", op, *[(2, 3, 4, 5)] * 3, draw=tied) for op in (Maximum(), Minimum())),
    Case("rank 2, stretched against each other", Subtract(), (2, 3, 1, 5), (2, 3, 4, 1)),
    Case("flat", Divide(), (3, 4), (3, 4), draw=positive),
    Case("rank 2, stretched against each other", Divide(), (2, 3, 1, 5), (2, 3, 4, 1), draw=positive),
    Case("flat", Exponentiate(), (3, 4), (3, 4), draw=positive),
    Case("rank 2, stretched against each other", Exponentiate(), (2, 3, 1, 5), (2, 3, 4, 1), draw=positive),
    Case("rank 1, with 0 and 1", Exponentiate(), (2, 5, 6), (2, 5, 6), draw=zero_or_one),
    #
    Case("flat", Sign(), (3, 4)),
    Case("rank 2, with zeros", Sign(), (2, 3, 4, 5), draw=tied),
    *(Case(f"flat, with ties, equal {op.equal}", op, (3, 8), (3, 8), draw=tied) for op in (Greater(), Greater(True))),
    Case("rank 2, stretched against each other", Greater(), (2, 3, 1, 5), (2, 3, 4, 1)),
    Case("flat", Where(), (3, 8), (3, 8), (3, 8), draw=tied),
    Case("rank 1, a stretched condition", Where(), (2, 1, 5), (2, 3, 5), (2, 3, 1), draw=tied),
    Case("rank 2, stretched against each other", Where(), (2, 3, 4, 5), (2, 3, 1, 5), (2, 1, 4, 1), draw=tied),
    #
    Case("flat", Constant((4,)), (3, 2)),
    Case("rank 2", Constant((2, 1, 3)), (3, 2)),
    #
    Case("rank 1", MatMul(), (2, 3, 4), (2, 4, 2)),
    Case("rank 1, a single row and column", MatMul(), (2, 1, 4), (2, 4, 1)),
    Case("rank 2, stretched", MatMul(), (2, 3, 2, 4), (2, 1, 4, 5)),
    Case("rank 3, stretched against each other", MatMul(), (2, 1, 3, 2, 4), (2, 2, 1, 4, 1)),
    #
    Case("one input", Multiply(), (2, 3, 5)),
    Case("flat", Multiply(), (3, 4), (3, 4)),
    Case("rank 1, gate on channels", Multiply(), (2, 3, 5), (2, 3, 1)),
    Case("rank 2, gate on channels", Multiply(), (2, 3, 1, 1), (2, 3, 4, 5)),
    Case("rank 2, three inputs, gate on positions", Multiply(), (2, 3, 4, 5), (2, 1, 4, 5), (2, 3, 4, 5)),
    Case("rank 2, stretched against each other", Multiply(), (2, 3, 1, 5), (2, 3, 4, 1)),
    Case("rank 3", Multiply(), (2, 2, 2, 3, 2), (2, 2, 1, 1, 1)),
    #
    Case("one input", Concat(), (2, 3, 5)),
    Case("two inputs", Concat(), (2, 3, 4, 5), (2, 1, 4, 5)),
    Case("three inputs, rank 3", Concat(), (2, 1, 2, 3, 2), (2, 3, 2, 3, 2), (2, 2, 2, 3, 2)),
    Case("two inputs, flat", Concat(), (3, 4), (3, 2)),
    Case("two inputs, along columns", Concat(axis=2), (2, 3, 4, 5), (2, 3, 4, 2)),
    #
    Case("rank 1, nothing to crop", Crop(), (2, 3, 5), (2, 1, 5)),
    Case("rank 2, odd and even", Crop(), (2, 3, 7, 8), (2, 2, 4, 4)),
    Case("rank 3", Crop(), (2, 1, 4, 3, 5), (2, 2, 1, 3, 2)),
    #
    Case("rank 1", Resize(scales=(2,)), (2, 3, 5)),
    Case("rank 1, smaller", Resize(sizes=(3,)), (2, 3, 7)),
    Case("rank 1, to a single position", Resize(sizes=(1,), coordinates="align_corners"), (2, 3, 4)),
    Case("rank 1, corners", Resize(sizes=(2,), coordinates="align_corners"), (2, 3, 5)),
    Case("rank 1, nearest, with ties", Resize(sizes=(3,), method="nearest"), (2, 3, 6)),
    Case("rank 1, nearest, corners, with ties", Resize((3,), (), "nearest", "align_corners"), (2, 3, 4)),
    Case("rank 1, from and to many positions", Resize(sizes=(70,)), (1, 1, 66)),
    Case("rank 1, cubic", Resize((7,), (), "cubic", cubic=-0.6), (2, 3, 4)),
    Case("rank 2, linear", Resize(sizes=(7, 3)), (2, 3, 4, 5)),
    Case("rank 2, linear, corners", Resize(scales=(2, 0.5), coordinates="align_corners"), (2, 3, 4, 6)),
    Case("rank 2, cubic", Resize(scales=(2, 1.5), method="cubic"), (2, 3, 4, 6)),
    Case("rank 2, cubic, smaller", Resize(sizes=(3, 4), method="cubic", cubic=-0.5), (2, 2, 5, 9)),
    Case("rank 2, cubic, corners", Resize((7, 8), (), "cubic", "align_corners", -0.5), (2, 2, 4, 5)),
    Case("rank 2, nearest", Resize(scales=(2, 3), method="nearest"), (2, 2, 3, 2)),
    *(
        Case(f"rank 1, nearest, {name}, {rounding}", Resize((), (0.6,), "nearest", name, rounding=rounding), (1, 2, 7))
        for name in COORDINATES
        for rounding in ROUNDINGS
    ),
    *(
        Case(f"rank 2, {method}, {name}, with a remainder", Resize((), (1.3, 0.7), method, name), (1, 2, 4, 5))
        for name in COORDINATES
        for method in ("linear", "cubic")
    ),
    Case("rank 1, one output", Resize(scales=(0.3,), coordinates="pytorch_half_pixel"), (2, 3, 5)),
    Case("rank 1, a scale with an error", Resize((), (1 / 49,)), (1, 1, 49)),
    Case(
        "rank 1, a tie by a scale with an error",
        Resize((), (1 / 6,), "nearest", rounding="round_prefer_floor"),
        (1, 1, 12),
    ),
    Case("rank 1, sizes and scales", Resize((5,), (1.4,)), (2, 3, 3)),
    Case("rank 2, cubic, nothing outside", Resize((7, 3), (), "cubic", exclude_outside=True), (2, 2, 4, 5)),
    Case("rank 2, linear, antialiased", Resize((3, 7), (), antialias=True), (2, 2, 8, 5)),
    Case("rank 2, cubic, antialiased", Resize((3, 7), (), "cubic", antialias=True), (2, 2, 8, 5)),
    Case(
        "rank 2, antialiased, nothing outside",
        Resize((), (0.6, 0.4), "cubic", "half_pixel", -0.5, exclude_outside=True, antialias=True),
        (1, 2, 8, 9),
    ),
    Case("rank 3", Resize(sizes=(3, 2, 5)), (2, 2, 2, 3, 2)),
    Case("rank 3, a single position", Resize(scales=(2, 3, 1)), (2, 2, 1, 1, 1)),
    #
    Case("flat", Pad(((1, 2),), value=3.0), (3, 4)),
    Case("rank 1", Pad(((0, 0), (2, 1))), (2, 3, 5)),
    Case("rank 1, reflected", Pad(((0, 0), (3, 2)), "reflect"), (2, 3, 4)),
    Case("rank 1, edges repeated", Pad(((0, 0), (3, 2)), "edge"), (2, 3, 2)),
    Case("rank 2, also channels", Pad(((1, 2), (0, 1), (2, 0)), value=-1.5), (2, 3, 4, 5)),
    Case("rank 2, reflected, also channels", Pad(((2, 0), (0, 1), (1, 3)), "reflect"), (2, 3, 2, 5)),
    Case("rank 3, reflected", Pad((0, 1, (1, 2), (0, 1)), "reflect"), (2, 2, 2, 3, 2)),
    Case("rank 1, mirrored", Pad(((1, 2), (3, 2)), "symmetric"), (2, 3, 4)),
    Case("rank 1, from the other end", Pad(((1, 0), (3, 2)), "wrap"), (2, 3, 4)),
    Case("rank 1, more than once around", Pad(((0, 0), (11, 7)), "wrap"), (2, 3, 4)),
    Case("rank 3, edges repeated", Pad((0, 1, (1, 2), (0, 1)), "edge"), (2, 2, 2, 3, 1)),
    #
    Case("flat", Slice((1,), (3,)), (3, 4)),
    Case("rank 1, every other", Slice((0, 1), (END, END), (1, 2)), (2, 3, 6)),
    Case("rank 2, from the end", Slice((-2, 0, 1), (END, -1, 4), (1, 2, 2)), (2, 3, 5, 6)),
    Case("rank 2, backwards", Slice((0, END, 4), (END, -END, 0), (1, -1, -2)), (2, 3, 4, 6)),
    Case("rank 3, channels", Slice((1, 0, 0, 0), (3, END, END, END)), (2, 4, 2, 3, 2)),
    #
    Case("flat to rank 2", Reshape((2, -1, 2)), (3, 12)),
    Case("rank 1, split channels", Reshape((2, 3, 5)), (2, 6, 5)),
    Case("rank 3 to rank 1", Reshape((-1, 6)), (2, 2, 2, 3, 2)),
    #
    Case("rank 1", Transpose((1, 0)), (2, 3, 5)),
    Case("rank 2, a cycle", Transpose((1, 2, 0)), (2, 3, 4, 5)),
    Case("rank 3, a cycle", Transpose((2, 0, 3, 1)), (2, 2, 3, 4, 5)),
    #
    Case("rank 1", Expand((3, 5)), (2, 3, 1)),
    Case("rank 2", Expand((3, 4, 5)), (2, 1, 4, 1)),
    #
    *(Case("rank 1", op, (2, 6, 6)) for op in (DepthToSpace((3,)), SpaceToDepth((3,)))),
    *(Case("rank 2", op, (2, 12, 6, 4)) for op in (DepthToSpace((3, 2)), SpaceToDepth((3, 2)))),
    *(
        Case("rank 2, channels first", op((2, 2), "channels_first"), (2, 8, 4, 2))
        for op in (DepthToSpace, SpaceToDepth)
    ),
    #
    Case("flat", Dense(3), (2, 4)),
    Case("rank 2", Dense(2), (3, 2, 3, 4)),
    Case("one unit", Dense(1), (2, 3, 5)),
    #
    Case("flat", Flatten(), (3, 4)),
    Case("rank 1", Flatten(), (2, 3, 5)),
    Case("rank 3", Flatten(), (2, 2, 2, 3, 2)),
    #
    Case("flat", CrossEntropy(), (5, 4), (5, 1), draw=labelled(0, 4)),
    Case("flat, weighted", CrossEntropy((0.5, 2, 0, 3)), (9, 4), (9, 1), draw=labelled(1, 4)),
    Case("flat, small weights", CrossEntropy((0.02, 0.03)), (3, 2), (3, 1), draw=labelled(1, 2)),
    Case("rank 1, ignored", CrossEntropy(ignored=255), (2, 3, 7), (2, 1, 7), draw=labelled(255, 3)),
    Case("rank 2, a class ignored", CrossEntropy(ignored=0), (2, 3, 4, 5), (2, 1, 4, 5), draw=labelled(0, 3)),
    Case("rank 2, large", CrossEntropy((1, 2, 3), 5), (2, 3, 4, 5), (2, 1, 4, 5), draw=labelled(5, 3, 1e4)),
    Case("rank 2, all ignored", CrossEntropy(ignored=9), (2, 3, 2, 2), (2, 1, 2, 2), draw=labelled(9, 0)),
    Case("rank 3", CrossEntropy((1, 0.5, 2)), (2, 3, 2, 3, 2), (2, 1, 2, 3, 2), draw=labelled(-1, 3)),
    #
    Case("flat", MeanSquaredError(), (3, 1), (3, 1)),
    Case("rank 2", MeanSquaredError(), (2, 3, 4, 5), (2, 3, 4, 5)),
]
