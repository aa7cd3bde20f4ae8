"""Small networks whose input or output is not the usual one: a number, a sequence, a volume."""

from minicam.graph import Graph
from minicam.ops import (
    AveragePool,
    Conv,
    Dense,
    Dropout,
    GlobalAveragePool,
    LayerNorm,
    MaxPool,
    Normalize,
    Shape,
    Softmax,
)
from minicam.zoo.builder import Builder


def digits_regression(input_shape: Shape = (1, 28, 28)) -> Graph:
    """Regression: grey image of a digit (1, 28, 28), raw pixel scale -> its rotation in degrees (1,).

    Default layers of Grad-CAM: features `relu_4` (32, 7, 7), reduction `fc`; its only class is 0. The input is centred
    on zero: the std of `imageinput` stays 1.
    Source: the network of MATLAB's example "Train Convolutional Neural Network for Regression".
    """
    b = Builder("image", input_shape)
    b.add("imageinput", Normalize())
    _numbered_conv(b, 1, 8)
    b.add("avgpool2d_1", AveragePool((2, 2), stride=2))
    _numbered_conv(b, 2, 16)
    b.add("avgpool2d_2", AveragePool((2, 2), stride=2))
    _numbered_conv(b, 3, 32)
    _numbered_conv(b, 4, 32)
    b.add("dropout", Dropout(0.2))
    b.add("fc", Dense(1))
    return b.graph()


def vowels_classifier(classes: int = 9, input_shape: Shape = (12, None)) -> Graph:
    """A classifier of sequences of any length: (12, T) -> class probabilities (classes,).

    Default layers of Grad-CAM: features `layernorm_2` (64, T), reduction `softmax`. The convolutions are causal: time
    step t sees none after it.
    Source: the network of MATLAB's example "Sequence Classification Using 1-D Convolutions", for the Japanese vowels
    of Kudo, Toyama and Shimbo, Pattern Recognition Letters 20 (1999).
    """
    b = Builder("sequenceinput", input_shape)
    for i, filters in ((1, 32), (2, 64)):
        b.conv_relu(f"conv1d_{i}", f"relu_{i}", Conv(filters, (3,), padding=((2, 0),)))
        b.add(f"layernorm_{i}", LayerNorm())
    b.add("globalavgpool1d", GlobalAveragePool())
    b.add("fc", Dense(classes))
    b.add("softmax", Softmax())
    return b.graph()


def volume_classifier(classes: int = 10, input_shape: Shape = (1, 32, 32, 32)) -> Graph:
    """A classifier of volumes of any size: (C, D, H, W), raw scale -> class probabilities (classes,).

    Default layers of Grad-CAM: features `relu_4` (64, D/4, H/4, W/4), reduction `softmax`.
    3 x 3 x 3 convolutions throughout, after Tran et al., "Learning spatiotemporal features with 3D convolutional
    networks", ICCV 2015 (arXiv:1412.0767), here with batch normalisation and fewer layers.
    """
    b = Builder("volume", input_shape)
    b.add("image3dinput", Normalize())
    _numbered_conv(b, 1, 16, rank=3)
    b.add("maxpool3d_1", MaxPool((2, 2, 2), stride=2))
    _numbered_conv(b, 2, 32, rank=3)
    b.add("maxpool3d_2", MaxPool((2, 2, 2), stride=2))
    _numbered_conv(b, 3, 64, rank=3)
    _numbered_conv(b, 4, 64, rank=3)
    b.add("globalavgpool3d", GlobalAveragePool())
    b.add("fc", Dense(classes))
    b.add("softmax", Softmax())
    return b.graph()


def _numbered_conv(b: Builder, number: int, filters: int, rank: int = 2) -> None:
    """A convolution of width 3 that keeps the size, normalised and rectified."""
    names = (f"conv_{number}", f"batchnorm_{number}", f"relu_{number}")
    b.conv_norm(names, Conv(filters, (3,) * rank, padding=1))
