"""The ops, one file per family. A file names an op by its class name; `OPS` is the only way from that name to code."""

from minicam.ops.activation import Dropout, LogSoftmax, Relu, Sigmoid, Softmax, Tanh
from minicam.ops.arithmetic import Average, Divide, Exponentiate, Maximum, Minimum, Multiply, Subtract, Sum
from minicam.ops.base import Footprint, Op, Shape
from minicam.ops.batch_statistics import BatchStatisticsNorm
from minicam.ops.blocks import DepthToSpace, SpaceToDepth
from minicam.ops.comparisons import Greater, Sign, Where
from minicam.ops.constants import Constant, MatMul
from minicam.ops.convolution import Conv, ConvTranspose
from minicam.ops.dense import Dense, Flatten
from minicam.ops.elementwise import Abs, Cos, Erf, Exp, Identity, Log, Negate, Power, Reciprocal, Sin, Sqrt
from minicam.ops.gates import HardSigmoid, HardSwish, Mish, Softplus, Softsign, Swish
from minicam.ops.joining import Add, Concat, Crop
from minicam.ops.losses import CrossEntropy, Loss, MeanSquaredError
from minicam.ops.normalization import BatchNorm, LayerNorm, Normalize
from minicam.ops.pooling import AveragePool, ChannelMax, GlobalAveragePool, GlobalMaxPool, LpPool, MaxPool
from minicam.ops.rearranging import Expand, Pad, Reshape, Slice, Transpose
from minicam.ops.rectifiers import Clip, Elu, Gelu, LeakyRelu, PRelu, Shrink, ThresholdedRelu
from minicam.ops.reductions import (
    ReduceLogSumExp,
    ReduceMax,
    ReduceMean,
    ReduceMin,
    ReduceNorm,
    ReduceProduct,
    ReduceSum,
)
from minicam.ops.resampling import Resize
from minicam.ops.sample_normalization import GroupNorm, InstanceNorm, LocalResponseNorm

OPS: dict[str, type[Op]] = {
    op.__name__: op
    for op in (
        *(Normalize, Conv, ConvTranspose),
        *(BatchNorm, BatchStatisticsNorm, LayerNorm, GroupNorm, InstanceNorm, LocalResponseNorm),
        *(Relu, LeakyRelu, PRelu, ThresholdedRelu, Shrink, Elu, Gelu, Clip),
        *(Sigmoid, Tanh, Softplus, Softsign, Swish, Mish, HardSigmoid, HardSwish),
        *(Softmax, LogSoftmax, Dropout),
        *(Identity, Negate, Abs, Reciprocal, Power, Sqrt, Exp, Log, Sin, Cos, Erf),
        *(MaxPool, AveragePool, LpPool, GlobalAveragePool, GlobalMaxPool, ChannelMax),
        *(ReduceSum, ReduceMean, ReduceMax, ReduceMin, ReduceProduct, ReduceNorm, ReduceLogSumExp),
        *(Add, Sum, Average, Subtract, Multiply, Divide, Exponentiate, Maximum, Minimum),
        *(Sign, Greater, Where),
        *(Constant, MatMul, Concat, Crop),
        *(Resize, Pad, Slice, Reshape, Transpose, Expand, DepthToSpace, SpaceToDepth),
        *(Dense, Flatten),
        *(CrossEntropy, MeanSquaredError),
    )
}

__all__ = ["OPS", "Footprint", "Loss", "Op", "Shape", *OPS]
