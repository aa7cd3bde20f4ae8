"""The ops, one file per family. A file names an op by its class name; `OPS` is the only way from that name to code."""

from minicam.ops.activation import Dropout, Relu, Softmax
from minicam.ops.base import Footprint, Op, Shape
from minicam.ops.convolution import Conv, ConvTranspose
from minicam.ops.dense import Dense, Flatten
from minicam.ops.joining import Add, Concat, Crop
from minicam.ops.normalization import BatchNorm, LayerNorm, Normalize
from minicam.ops.pooling import AveragePool, GlobalAveragePool, GlobalMaxPool, MaxPool

OPS: dict[str, type[Op]] = {
    op.__name__: op
    for op in (
        *(Normalize, Conv, ConvTranspose, BatchNorm, LayerNorm),
        *(Relu, Softmax, Dropout),
        *(MaxPool, AveragePool, GlobalAveragePool, GlobalMaxPool),
        *(Add, Concat, Crop),
        *(Dense, Flatten),
    )
}

__all__ = ["OPS", "Footprint", "Op", "Shape", *OPS]
