"""Keras's convolutions, fully connected layers and poolings.

Keras keeps channels last: x (N, *space, C), and kernels (*kernel, C, filters). Here they are (C, *space) and
(filters, C, *kernel). Source of the paddings: Keras 3, src/backend/common/backend_utils.py.
"""

from typing import Any

import numpy as np

from minicam.conversion.building import Step
from minicam.conversion.keras.activations import activation
from minicam.conversion.keras.layer import Layer, same_padding
from minicam.errors import ConversionError
from minicam.ops import AveragePool, Conv, ConvTranspose, Dense, Flatten, GlobalAveragePool, GlobalMaxPool, MaxPool


def convolution(layer: Layer) -> list[Step]:
    geometry = _geometry(layer)
    weights = _take(layer, "kernel")
    weight = np.moveaxis(weights["kernel"], (-1, -2), (0, 1))
    op = Conv(len(weight), layer.per_axis("kernel_size"), groups=int(layer.number("groups", 1)), **geometry)
    return _activated(layer, Step(op, _with_bias(weight, weights, len(weight))))


def transposed(layer: Layer) -> list[Step]:
    """The kernel is (*kernel, filters, C)."""
    layer.expect("data_format", "channels_last")
    kernel, stride, dilation = (layer.per_axis(name) for name in ("kernel_size", "strides", "dilation_rate"))
    weights = _take(layer, "kernel")
    weight = np.moveaxis(weights["kernel"], (-1, -2), (0, 1))
    extra = None if layer.config.get("output_padding") is None else layer.per_axis("output_padding")
    cropping = []
    for axis, (taps, step, apart) in enumerate(zip(kernel, stride, dilation, strict=True)):
        cropping.append(_cropping(layer, apart * (taps - 1) + 1, step, None if extra is None else extra[axis]))
    op = ConvTranspose(weight.shape[1], kernel, stride, dilation, tuple(cropping))
    return _activated(layer, Step(op, _with_bias(weight, weights, weight.shape[1])))


def _cropping(layer: Layer, reach: int, step: int, extra: int | None) -> tuple[int, int]:
    """Of one axis: what is cut from (size - 1) step + reach positions at both ends; below 0: what is added."""
    layer.expect("padding", "valid", "same")
    if layer.config.get("padding", "valid") == "valid":
        return 0, -(max(step - reach, 0) if extra is None else extra)
    total = step + reach - 2 if extra is None else reach + reach % 2 - 2 + extra
    low = min(total // 2 + total % 2, reach - 1)
    return reach - 1 - low, reach - 1 - (total - low)


def depthwise(layer: Layer) -> list[Step]:
    weights = _take(layer, "kernel")
    return _activated(layer, _depthwise(layer, weights["kernel"], weights, ""))


def separable(layer: Layer) -> list[Step]:
    weights = _take(layer, "depthwise", "pointwise")
    first = _depthwise(layer, weights["depthwise"], {}, "depthwise")
    weight = np.moveaxis(weights["pointwise"], (-1, -2), (0, 1))
    second = Step(Conv(len(weight), (1,) * layer.rank), _with_bias(weight, weights, len(weight)))
    return [first, *_activated(layer, second)]


def dense(layer: Layer) -> list[Step]:
    """On the last axis. Of a flattened map the columns change places: there they follow the channels last."""
    weights = _take(layer, "kernel")
    weight = weights["kernel"].T
    if layer.rank:
        op = Conv(len(weight), (1,) * layer.rank)
        return _activated(layer, Step(op, _with_bias(weight.reshape(*weight.shape, *op.kernel), weights, len(weight))))
    if layer.unordered:
        channels, *space = (size or -1 for size in layer.unordered)
        weight = np.moveaxis(weight.reshape(len(weight), *space, channels), -1, 1).reshape(len(weight), -1)
    return _activated(layer, Step(Dense(len(weight)), _with_bias(weight, weights, len(weight))))


def max_pool(layer: Layer) -> list[Step]:
    return [Step(MaxPool(**_pooling(layer)))]


def average_pool(layer: Layer) -> list[Step]:
    """Padding is left out of the mean."""
    return [Step(AveragePool(**_pooling(layer), count_padding=False))]


def global_pool(op: type[GlobalAveragePool] | type[GlobalMaxPool]) -> Any:
    def translated(layer: Layer) -> list[Step]:
        layer.expect("data_format", "channels_last")
        layer.expect("keepdims", False, True)
        return [Step(op())] if layer.config.get("keepdims") else [Step(op(), suffix="pool"), Step(Flatten())]

    return translated


def _pooling(layer: Layer) -> dict[str, Any]:
    layer.expect("data_format", "channels_last")
    layer.expect("padding", "valid", "same")
    kernel = layer.per_axis("pool_size", 2)
    stride = kernel if layer.config.get("strides") is None else layer.per_axis("strides")
    same = layer.config.get("padding") == "same"
    padding = same_padding(layer, kernel, stride, (1,) * layer.rank) if same else 0
    return {"kernel": kernel, "stride": stride, "padding": padding}


def _geometry(layer: Layer) -> dict[str, Any]:
    """Stride, dilation and padding of a convolution."""
    layer.expect("data_format", "channels_last")
    layer.expect("padding", "valid", "same", "causal")
    kernel, stride, dilation = (layer.per_axis(name) for name in ("kernel_size", "strides", "dilation_rate"))
    padding: Any = 0
    if layer.config.get("padding") == "same":
        padding = same_padding(layer, kernel, stride, dilation)
    elif layer.config.get("padding") == "causal":
        if layer.rank != 1:
            raise ConversionError("its padding is 'causal', which is for sequences")
        padding = ((dilation[0] * (kernel[0] - 1), 0),)
    return {"stride": stride, "dilation": dilation, "padding": padding}


def _depthwise(layer: Layer, kernel: np.ndarray, weights: dict[str, np.ndarray], suffix: str) -> Step:
    """kernel (*kernel, C, multiplier); output channel c multiplier + m sees input channel c."""
    weight = np.moveaxis(kernel, (-2, -1), (0, 1))
    filters = weight.shape[0] * weight.shape[1]
    op = Conv(filters, layer.per_axis("kernel_size"), groups=layer.channels, **_geometry(layer))
    return Step(op, _with_bias(weight.reshape(filters, 1, *weight.shape[2:]), weights, filters), suffix)


def _take(layer: Layer, *names: str) -> dict[str, np.ndarray]:
    layer.expect("use_bias", True, False)
    return layer.take(*names, *(["bias"] if layer.config.get("use_bias", True) else []))


def _with_bias(weight: np.ndarray, weights: dict[str, np.ndarray], filters: int) -> dict[str, np.ndarray]:
    return {"weight": weight, "bias": weights.get("bias", np.zeros(filters, weight.dtype))}


def _activated(layer: Layer, step: Step) -> list[Step]:
    """The step, and the activation that the layer has of its own. The layer's name then means what follows that."""
    following = activation(layer.config.get("activation"))
    return [Step(step.op, step.parameters, "linear"), *following] if following else [step]
