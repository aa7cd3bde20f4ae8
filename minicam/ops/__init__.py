"""The ops, one file per family. A file names an op by its class name; `OPS` is the only way from that name to code."""

from minicam.ops.activation import Dropout, Relu, Sigmoid, Softmax, Tanh
from minicam.ops.base import Footprint, Op, Shape
from minicam.ops.batch_statistics import BatchStatisticsNorm
from minicam.ops.convolution import Conv, ConvTranspose
from minicam.ops.dense import Dense, Flatten
from minicam.ops.joining import Add, Concat, Crop, Multiply
from minicam.ops.losses import CrossEntropy, Loss, MeanSquaredError
from minicam.ops.normalization import BatchNorm, LayerNorm, Normalize
from minicam.ops.pooling import AveragePool, ChannelMax, GlobalAveragePool, GlobalMaxPool, MaxPool
from minicam.ops.rearranging import Pad, Reshape, Slice, Transpose
from minicam.ops.rectifiers import Clip, Elu, Gelu, LeakyRelu, PRelu
from minicam.ops.resampling import Resize
from minicam.ops.sample_normalization import GroupNorm, InstanceNorm, LocalResponseNorm

OPS: dict[str, type[Op]] = {
    op.__name__: op
    for op in (
        *(Normalize, Conv, ConvTranspose),
        *(BatchNorm, BatchStatisticsNorm, LayerNorm, GroupNorm, InstanceNorm, LocalResponseNorm),
        *(Relu, LeakyRelu, PRelu, Elu, Gelu, Clip, Sigmoid, Tanh, Softmax, Dropout),
        *(MaxPool, AveragePool, GlobalAveragePool, GlobalMaxPool, ChannelMax),
        *(Add, Multiply, Concat, Crop),
        *(Resize, Pad, Slice, Reshape, Transpose),
        *(Dense, Flatten),
        *(CrossEntropy, MeanSquaredError),
    )
}

__all__ = ["OPS", "Footprint", "Loss", "Op", "Shape", *OPS]
