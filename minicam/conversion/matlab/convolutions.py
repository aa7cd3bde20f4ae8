"""MATLAB's convolutions, fully connected layers and poolings.

MATLAB's weights are (*window, C, filters), transposed ones (*window, filters, C), grouped ones have the groups last;
here they are (filters, C, *window) and (C, filters, *window).
"""

from typing import Any

import numpy as np

from minicam.conversion.building import Step
from minicam.conversion.matlab.record import Record
from minicam.errors import ConversionError
from minicam.ops import AveragePool, Conv, ConvTranspose, Dense, GlobalAveragePool, GlobalMaxPool, MaxPool, Op, Shape


def convolution(record: Record, shape: Shape) -> list[Step]:
    channels, rank = _channels(shape), len(shape) - 1
    record.expect("PaddingValue", 0, 0.0)
    window, stride, dilation = _window(record, rank)
    filters = int(record.number("NumFilters", -1)) if record.get("NumFilters") is not None else -1
    weight = _first_last(record.array("Weights", *window, channels, filters))
    op = Conv(len(weight), window, stride, dilation, record.padding(shape[1:], window, stride, dilation))
    return [Step(op, {"weight": weight, "bias": _bias(record, len(weight))})]


def grouped(record: Record, shape: Shape) -> list[Step]:
    """Weights (*window, channels per group, filters per group, groups)."""
    rank = len(shape) - 1
    record.expect("PaddingValue", 0, 0.0)
    window, stride, dilation = _window(record, rank)
    groups = int(record.number("NumGroups", 0))
    if groups < 1 or _channels(shape) % groups:
        raise ConversionError(f"its NumGroups is {groups}; expected a divisor of the {shape[0]} channels")
    inside = _channels(shape) // groups
    weight = np.asarray(record.array("Weights", *window, inside, -1))
    weight = weight.reshape(*window, inside, weight.shape[-1] // groups, groups, order="F")
    weight = np.moveaxis(weight, (-1, -2, -3), (0, 1, 2)).reshape(-1, inside, *window)
    padding = record.padding(shape[1:], window, stride, dilation)
    op = Conv(len(weight), window, stride, dilation, padding, groups)
    return [Step(op, {"weight": weight, "bias": _bias(record, len(weight))})]


def transposed(record: Record, shape: Shape) -> list[Step]:
    """Weights that are 0 off the diagonal, an upsampler's, are stored for each channel alone."""
    channels, rank = _channels(shape), len(shape) - 1
    window = record.numbers("FilterSize", rank)
    stride = record.numbers("Stride", rank, 1)
    weight = _first_last(record.array("Weights", *window, -1, channels))
    filters = weight.shape[1]
    if record.text("CroppingMode", "manual") == "same":
        totals = [size - step for size, step in zip(window, stride, strict=True)]
        if any(total < 0 or total % 2 for total in totals):
            raise ConversionError("its cropping 'same' cuts an odd number of rows; on which side is not known")
        cropping = tuple((total // 2, total // 2) for total in totals)
    else:
        cropping = record.pairs("CroppingSize", rank)
    diagonal = channels == filters > 1 and not weight[~np.eye(channels, dtype=bool)].any()
    if diagonal:
        weight = weight[np.arange(channels), np.arange(channels)][:, None]
    op = ConvTranspose(filters, window, stride, 1, cropping, groups=channels if diagonal else 1)
    return [Step(op, {"weight": weight, "bias": _bias(record, filters)})]


def fully_connected(record: Record, shape: Shape) -> list[Step]:
    """Of all elements; of a sequence (C, T), at each time step. MATLAB numbers the elements of (H, W, C) from the first
    axis on."""
    units = int(record.number("OutputSize", -1)) if record.get("OutputSize") is not None else -1
    if len(shape) == 2 and shape[1] != 1:
        weight = record.array("Weights", units, _channels(shape))
        op: Op = Conv(len(weight), (1,))
        return [Step(op, {"weight": weight[:, :, None], "bias": _bias(record, len(weight))})]
    space = [size or 1 for size in shape[1:]]
    if None in shape[1:]:
        raise ConversionError("it reads an input of open size; give the input's shape")
    elements = _channels(shape) * int(np.prod(space))
    weight = record.array("Weights", units, elements)
    weight = _last_second(weight.reshape(len(weight), *space, _channels(shape), order="F"))
    return [Step(Dense(len(weight)), {"weight": weight.reshape(len(weight), -1), "bias": _bias(record, len(weight))})]


def max_pool(record: Record, shape: Shape) -> list[Step]:
    return [Step(MaxPool(**_pooling(record, shape)))]


def average_pool(record: Record, shape: Shape) -> list[Step]:
    """PaddingValue: what the padding counts as in the mean, 0 or "mean": nothing."""
    record.expect("PaddingValue", 0, 0.0, "mean")
    return [Step(AveragePool(**_pooling(record, shape), count_padding=record.get("PaddingValue", 0) != "mean"))]


def global_pool(op: type[GlobalAveragePool] | type[GlobalMaxPool]) -> Any:
    return lambda record, shape: [Step(op())]


def _pooling(record: Record, shape: Shape) -> dict[str, Any]:
    record.expect("HasUnpoolingOutputs", False, 0, 0.0)
    rank = len(shape) - 1
    window, stride = record.numbers("PoolSize", rank), record.numbers("Stride", rank, 1)
    return {"kernel": window, "stride": stride, "padding": record.padding(shape[1:], window, stride, (1,) * rank)}


def _window(record: Record, rank: int) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    return (
        record.numbers("FilterSize", rank),
        record.numbers("Stride", rank, 1),
        record.numbers("DilationFactor", rank, 1),
    )


def _channels(shape: Shape) -> int:
    if shape[0] is None:
        raise ConversionError("the number of channels is open; expected a fixed one")
    return shape[0]


def _bias(record: Record, filters: int) -> np.ndarray:
    """The bias; zeros for a layer without one."""
    return np.zeros(filters, np.float32) if record.get("Bias") is None else record.array("Bias", filters)


def _first_last(weight: np.ndarray) -> np.ndarray:
    """(*window, a, b) -> (b, a, *window)"""
    return np.moveaxis(weight, (-1, -2), (0, 1))


def _last_second(weight: np.ndarray) -> np.ndarray:
    """(units, *space, C) -> (units, C, *space)"""
    return np.moveaxis(weight, -1, 1)
