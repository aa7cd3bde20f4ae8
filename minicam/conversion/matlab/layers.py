"""MATLAB's other layers, and the table of all that are known."""

from collections.abc import Callable

import numpy as np

from minicam.conversion.building import Step, standardized
from minicam.conversion.matlab import convolutions
from minicam.conversion.matlab.record import Record
from minicam.errors import ConversionError
from minicam.ops import (
    Add,
    BatchNorm,
    Clip,
    Concat,
    Crop,
    Dropout,
    Elu,
    Flatten,
    Gelu,
    GlobalAveragePool,
    GlobalMaxPool,
    GroupNorm,
    InstanceNorm,
    LayerNorm,
    LeakyRelu,
    LocalResponseNorm,
    Multiply,
    Op,
    PRelu,
    Relu,
    Resize,
    Shape,
    Sigmoid,
    Softmax,
    Softplus,
    Sum,
    Swish,
    Tanh,
    Transpose,
)

Translator = Callable[..., list[Step]]
"""(record, shape of the first input, shapes of the others) -> steps."""
INPUTS = ("ImageInputLayer", "Image3DInputLayer", "SequenceInputLayer", "FeatureInputLayer")
OUTPUTS = (
    *("ClassificationOutputLayer", "RegressionOutputLayer", "PixelClassificationLayer"),
    *("DicePixelClassificationLayer", "FocalLossLayer"),
)
"""Layers that compute a loss, and hold the names of the classes; left out."""


def input_steps(record: Record, shape: Shape) -> list[Step]:
    """The normalisation of an input; none where it has none."""
    kind = record.text("Normalization", "none")

    def statistic(name: str) -> np.ndarray:
        """(H, W, C), (1, 1, C) or a number, for (C, H, W)."""
        array = np.asarray(record.get(name), np.float64)
        if record.get(name) is None:
            raise ConversionError(f"its Normalization is {kind!r}, but it has no {name}")
        sizes = [*array.shape, *(1,) * (len(shape) - array.ndim)]
        if array.size == shape[0] and len(shape) > 1:
            sizes = [*(1,) * (len(shape) - 1), array.size]
        return np.moveaxis(array.reshape(sizes, order="F"), -1, 0)

    if kind == "zerocenter":
        return standardized(statistic("Mean"), np.ones(()), shape)
    if kind == "zscore":
        return standardized(statistic("Mean"), statistic("StandardDeviation"), shape)
    if kind in ("rescale-zero-one", "rescale-symmetric"):
        low, high = statistic("Min"), statistic("Max")
        if kind == "rescale-zero-one":
            return standardized(low, high - low, shape)
        return standardized((low + high) / 2, (high - low) / 2, shape)
    record.expect("Normalization", "none")
    return []


def batch_norm(record: Record, shape: Shape) -> list[Step]:
    names = {"scale": "Scale", "offset": "Offset", "mean": "TrainedMean", "variance": "TrainedVariance"}
    parameters = {name: record.array(theirs, shape[0] or 0) for name, theirs in names.items()}
    return [Step(BatchNorm(record.number("Epsilon", 1e-5)), parameters)]


def _norm(op: Op, record: Record, shape: Shape) -> list[Step]:
    return [Step(op, {name.lower(): record.array(name, shape[0] or 0) for name in ("Scale", "Offset")})]


def layer_norm(record: Record, shape: Shape) -> list[Step]:
    """OperationDimension: over the channels, or with "auto" over the space of images as well."""
    record.expect("OperationDimension", "auto", "channel-only", "batch-excluded")
    over = {"channel-only": "channels", "batch-excluded": "sample"}.get(record.text("OperationDimension", "auto"))
    over = over or ("sample" if len(shape) > 2 else "channels")
    return _norm(LayerNorm(over, record.number("Epsilon", 1e-5)), record, shape)


def group_norm(record: Record, shape: Shape) -> list[Step]:
    groups, channels = record.get("NumGroups", "all-channels"), shape[0] or 0
    named = {"all-channels": 1, "channel-wise": channels}
    count = named.get(groups, 0) if isinstance(groups, str) else int(record.number("NumGroups", 1))
    return _norm(GroupNorm(count, record.number("Epsilon", 1e-5)), record, shape)


def instance_norm(record: Record, shape: Shape) -> list[Step]:
    return _norm(InstanceNorm(record.number("Epsilon", 1e-5)), record, shape)


def response_norm(record: Record, shape: Shape) -> list[Step]:
    window = int(record.number("WindowChannelSize", 5))
    options = (record.number(*option) for option in (("Alpha", 1e-4), ("Beta", 0.75), ("K", 2.0)))
    return [Step(LocalResponseNorm(window, *options))]


def prelu(record: Record, shape: Shape) -> list[Step]:
    alpha = np.asarray(record.get("Alpha"), np.float64).reshape(-1)
    if alpha.size not in (1, shape[0]):
        raise ConversionError(f"its Alpha has {alpha.size} numbers for {shape[0]} channels")
    return [Step(PRelu(), {"slope": np.broadcast_to(alpha, (shape[0] or 0,)).copy()})]


def gelu(record: Record, shape: Shape) -> list[Step]:
    record.expect("Approximation", "none", "tanh")
    return [Step(Gelu(record.text("Approximation", "none")))]


def concatenation(record: Record, shape: Shape, *others: Shape) -> list[Step]:
    """Dim counts (H, W, C) from 1; the channels are its last."""
    dim = int(record.number("Dim", len(shape)))
    return [Step(Concat(axis=0 if dim == len(shape) else dim))]


def addition(record: Record, *shapes: Shape) -> list[Step]:
    return [Step(Add() if len(set(shapes)) == 1 else Sum())]


def crop(record: Record, shape: Shape, *others: Shape) -> list[Step]:
    record.expect("Mode", "centercrop")
    return [Step(Crop())]


def resize(record: Record, shape: Shape) -> list[Step]:
    """Bilinear, and nearest where the scale is a whole number: else MATLAB rounds in a way of its own."""
    record.expect("GeometricTransformMode", "half-pixel")
    record.expect("Method", "nearest", "bilinear", "trilinear")
    method = "nearest" if record.text("Method", "nearest") == "nearest" else "linear"
    rank = len(shape) - 1
    if record.get("Scale") is not None:
        scales = tuple(float(value) for value in np.broadcast_to(np.asarray(record.get("Scale")).reshape(-1), rank))
        if method == "nearest" and any(scale != int(scale) for scale in scales):
            raise ConversionError(f"its Scale is {scales} with the method 'nearest'; known are whole numbers")
        return [Step(Resize(scales=scales, method=method))]
    sizes = record.numbers("OutputSize", rank)
    if method == "nearest" and any(size is None or out % size for size, out in zip(shape[1:], sizes, strict=True)):
        raise ConversionError(f"its OutputSize {sizes} is no multiple of the input's size {shape[1:]}")
    return [Step(Resize(sizes=sizes, method=method))]


def flatten(record: Record, shape: Shape) -> list[Step]:
    """MATLAB numbers the elements of (H, W, C) from the first axis on, so that the last axis is the slowest."""
    if len(shape) < 3:
        return [Step(Flatten())]
    return [Step(Transpose((0, *range(len(shape) - 1, 0, -1))), suffix="turned"), Step(Flatten())]


def _fixed(make: Callable[[Record], Op]) -> Translator:
    return lambda record, *shapes: [Step(make(record))]


LAYERS: dict[str, Translator] = {
    **{f"Convolution{rank}DLayer": convolutions.convolution for rank in (1, 2, 3)},
    **{f"TransposedConvolution{rank}DLayer": convolutions.transposed for rank in (1, 2, 3)},
    **{f"MaxPooling{rank}DLayer": convolutions.max_pool for rank in (1, 2, 3)},
    **{f"AveragePooling{rank}DLayer": convolutions.average_pool for rank in (1, 2, 3)},
    **{f"GlobalAveragePooling{rank}DLayer": convolutions.global_pool(GlobalAveragePool) for rank in (1, 2, 3)},
    **{f"GlobalMaxPooling{rank}DLayer": convolutions.global_pool(GlobalMaxPool) for rank in (1, 2, 3)},
    "GroupedConvolution2DLayer": convolutions.grouped,
    "FullyConnectedLayer": convolutions.fully_connected,
    "BatchNormalizationLayer": batch_norm,
    "LayerNormalizationLayer": layer_norm,
    "GroupNormalizationLayer": group_norm,
    "InstanceNormalizationLayer": instance_norm,
    "CrossChannelNormalizationLayer": response_norm,
    "ReLULayer": _fixed(lambda record: Relu()),
    "LeakyReLULayer": _fixed(lambda record: LeakyRelu(record.number("Scale", 0.01))),
    "ClippedReLULayer": _fixed(lambda record: Clip(0, record.number("Ceiling", 6))),
    "ELULayer": _fixed(lambda record: Elu(record.number("Alpha", 1))),
    "PReLULayer": prelu,
    "GELULayer": gelu,
    "SigmoidLayer": _fixed(lambda record: Sigmoid()),
    "TanhLayer": _fixed(lambda record: Tanh()),
    "SwishLayer": _fixed(lambda record: Swish()),
    "SoftplusLayer": _fixed(lambda record: Softplus()),
    "SoftmaxLayer": _fixed(lambda record: Softmax()),
    "PixelSoftmaxLayer": _fixed(lambda record: Softmax()),
    "DropoutLayer": _fixed(lambda record: Dropout(record.number("Probability", 0.5))),
    "SpatialDropoutLayer": _fixed(lambda record: Dropout(record.number("Probability", 0.5))),
    "IdentityLayer": _fixed(lambda record: Dropout(0.0)),
    "AdditionLayer": addition,
    "MultiplicationLayer": _fixed(lambda record: Multiply()),
    "DepthConcatenationLayer": _fixed(lambda record: Concat()),
    "ConcatenationLayer": concatenation,
    "Crop2DLayer": crop,
    "Crop3DLayer": crop,
    "Resize2DLayer": resize,
    "Resize3DLayer": resize,
    "FlattenLayer": flatten,
}


def known(kind: str) -> bool:
    return kind in LAYERS or kind in INPUTS or kind in OUTPUTS
