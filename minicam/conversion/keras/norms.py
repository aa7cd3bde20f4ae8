"""Keras's normalisations, of the input and inside the network."""

from typing import Any

import numpy as np

from minicam.conversion.building import Step, standardized
from minicam.conversion.keras.layer import Layer
from minicam.errors import ConversionError
from minicam.ops import BatchNorm, GroupNorm, LayerNorm, LocalResponseNorm, Normalize


def batch_norm(layer: Layer) -> list[Step]:
    _last_axis(layer)
    names = [name for name in ("scale", "center") if layer.config.get(name, True)]
    found = layer.take(*names, "mean", "variance")
    ones = np.ones_like(found["mean"])
    parameters = {"scale": found.get("scale", ones), "offset": found.get("center", 0 * ones)}
    parameters |= {name: found[name] for name in ("mean", "variance")}
    return [Step(BatchNorm(layer.number("epsilon", 1e-3)), parameters)]


def layer_norm(layer: Layer) -> list[Step]:
    _last_axis(layer)
    layer.expect("rms_scaling", False)
    return [Step(LayerNorm(epsilon=layer.number("epsilon", 1e-3)), _scale_and_offset(layer))]


def group_norm(layer: Layer) -> list[Step]:
    _last_axis(layer)
    groups = int(layer.number("groups", 32))
    op = GroupNorm(layer.channels if groups == -1 else groups, layer.number("epsilon", 1e-3))
    return [Step(op, _scale_and_offset(layer))]


def rescaling(layer: Layer) -> list[Step]:
    """y = scale x + offset, as (x - mean) / std."""
    scale, offset = (_per_channel(layer, layer.config.get(name, 0.0)) for name in ("scale", "offset"))
    if not (scale > 0).all():
        zero, one = np.zeros_like(scale), np.ones_like(scale)
        return [Step(BatchNorm(0.0), {"scale": scale, "offset": offset, "mean": zero, "variance": one})]
    return [Step(Normalize(), {"mean": -offset / scale, "std": 1 / scale})]


def normalization(layer: Layer) -> list[Step]:
    """(x - mean) / max(sqrt(variance), 1e-7). What was adapted to data is in the weights, else in the options."""
    layer.expect("invert", False)
    given = layer.config.get("mean"), layer.config.get("variance")
    if None in given and len(layer.weights) < 2:
        raise ConversionError("it has no mean and variance: it was not adapted to data before it was saved")
    mean, variance = (_last_to_first(layer, value) for value in (layer.weights[:2] if None in given else given))
    return standardized(mean, np.maximum(np.sqrt(variance), 1e-7), layer.shape)


def _last_to_first(layer: Layer, value: Any) -> np.ndarray:
    """An array that belongs to the last axes of (samples, *space, C), for (C, *space)."""
    array = np.asarray(value, np.float64)
    array = array.reshape(array.shape[1:]) if array.ndim == layer.rank + 2 else array
    array = array.reshape((1,) * (layer.rank + 1 - array.ndim) + array.shape)
    return np.moveaxis(array, -1, 0)


def _per_channel(layer: Layer, value: Any) -> np.ndarray:
    array = np.asarray(value, np.float64).reshape(-1)
    if array.size not in (1, layer.channels):
        raise ConversionError(f"it has {array.size} numbers for {layer.channels} channels")
    return np.broadcast_to(array, layer.channels).copy()


def _last_axis(layer: Layer) -> None:
    layer.expect("axis", -1, layer.rank + 1, [-1], [layer.rank + 1])


def response_norm(layer: Layer) -> list[Step]:
    """TensorFlow's, which does not divide by the window: x / (bias + alpha sum of x^2)^beta. Not a layer of Keras, but
    in packages that MATLAB exports."""
    window = 2 * int(layer.number("depth_radius", 5)) + 1
    alpha, beta, bias = (layer.number(*option) for option in (("alpha", 1.0), ("beta", 0.5), ("bias", 1.0)))
    return [Step(LocalResponseNorm(window, alpha * window, beta, bias))]


def _scale_and_offset(layer: Layer) -> dict[str, np.ndarray]:
    found = layer.take(*(name for name in ("scale", "center") if layer.config.get(name, True)))
    ones = np.ones(layer.channels, np.float32)
    return {"scale": found.get("scale", ones), "offset": found.get("center", 0 * ones)}
