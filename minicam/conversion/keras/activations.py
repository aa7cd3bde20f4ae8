"""Keras's activations, as layers and as the option `activation` of others. Source: Keras 3, src/activations."""

from typing import Any

import numpy as np

from minicam.conversion.building import Step
from minicam.conversion.keras.layer import Layer
from minicam.errors import ConversionError
from minicam.graph_text import shown
from minicam.ops import (
    Clip,
    Dropout,
    Elu,
    Exp,
    Gelu,
    HardSigmoid,
    HardSwish,
    LeakyRelu,
    LogSoftmax,
    Mish,
    Op,
    PRelu,
    Relu,
    Sigmoid,
    Softmax,
    Softplus,
    Softsign,
    Swish,
    Tanh,
)

ACTIVATIONS: dict[str, Op] = {
    "relu": Relu(),
    "relu6": Clip(0, 6),
    "leaky_relu": LeakyRelu(0.2),
    "elu": Elu(),
    "selu": Elu(1.6732632423543772, scale=1.0507009873554805),
    "gelu": Gelu(),
    "exponential": Exp(),
    "hard_sigmoid": HardSigmoid(),
    "hard_silu": HardSwish(),
    "hard_swish": HardSwish(),
    "log_softmax": LogSoftmax(),
    "mish": Mish(),
    "sigmoid": Sigmoid(),
    "silu": Swish(),
    "swish": Swish(),
    "softmax": Softmax(),
    "softplus": Softplus(),
    "softsign": Softsign(),
    "tanh": Tanh(),
}


def activation(value: Any) -> list[Step]:
    """The steps of the option `activation`: none for linear ones."""
    if value in (None, "linear"):
        return []
    if not isinstance(value, str) or value not in ACTIVATIONS:
        raise ConversionError(f"its activation is {shown(value)}; known are linear, {', '.join(ACTIVATIONS)}")
    return [Step(ACTIVATIONS[value])]


def activation_layer(layer: Layer) -> list[Step]:
    return activation(layer.config.get("activation")) or identity(layer)


def identity(layer: Layer) -> list[Step]:
    """A layer that acts in training only."""
    return [Step(Dropout(layer.number("rate", 0.0)))]


def relu(layer: Layer) -> list[Step]:
    layer.expect("threshold", 0.0, 0, None)
    most, slope = layer.config.get("max_value"), layer.number("negative_slope", 0.0)
    if most is None:
        return [Step(LeakyRelu(slope) if slope else Relu())]
    if slope:
        raise ConversionError("it has both a max_value and a negative_slope; known is one of them")
    return [Step(Clip(0, layer.number("max_value", 0.0)))]


def leaky_relu(layer: Layer) -> list[Step]:
    """Keras 2 calls the slope alpha."""
    return [Step(LeakyRelu(layer.number("negative_slope", layer.number("alpha", 0.3))))]


def elu(layer: Layer) -> list[Step]:
    return [Step(Elu(layer.number("alpha", 1.0)))]


def prelu(layer: Layer) -> list[Step]:
    """The slope is (*space, C), of which the axes that share it are 1."""
    slope = np.moveaxis(layer.take("alpha")["alpha"], -1, 0)
    if all(size == 1 for size in slope.shape[1:]):
        return [Step(PRelu(), {"slope": slope.reshape(-1)})]
    return [Step(PRelu(shape=slope.shape), {"slope": slope})]


def softmax(layer: Layer) -> list[Step]:
    layer.expect("axis", -1, layer.rank + 1)
    return [Step(Softmax())]
