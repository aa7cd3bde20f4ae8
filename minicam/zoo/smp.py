"""DeepLabv3+ and U-Net with a ResNet-18 encoder as the package segmentation_models_pytorch builds them.

They are other graphs than `minicam.zoo.deeplab` and `minicam.zoo.unet`: separable convolutions, a branch that sees the
whole image, upsampling that aligns the corners; nearest upsampling in place of transposed convolutions. The names of
the encoder's layers are `minicam.zoo.resnet`'s.

Source: segmentation_models_pytorch, decoders/deeplabv3/decoder.py, decoders/unet/decoder.py, encoders/resnet.py.
"""

from collections.abc import Sequence

from minicam.graph import Graph
from minicam.ops import (
    BatchNorm,
    Concat,
    Conv,
    Dropout,
    GlobalAveragePool,
    Relu,
    Resize,
    Shape,
    Sigmoid,
    Softmax,
    Sum,
)
from minicam.zoo.builder import Builder
from minicam.zoo.resnet import residual_stage, stem

RATES = (12, 24, 36)
SKIPS = ("res4b_relu", "res3b_relu", "res2b_relu", "conv1_relu")


def smp_deeplabv3plus_resnet18(
    classes: int = 1,
    input_shape: Shape = (3, 512, 512),
    channels: int = 256,
    separable: bool = True,
    rates: Sequence[int] = RATES,
) -> Graph:
    """Image (C, H, W), raw pixel scale, sizes that are multiples of 16 -> class scores (classes, H, W); of a single
    class, its probability.

    channels: filters of the decoder. separable: whether the dilated convolutions are. Default layers of Grad-CAM:
    features `dec_relu4` (channels, H/4, W/4), reduction `softmax-out` or `sigmoid-out`.
    """
    b = Builder("image", input_shape)
    stem(b)
    skip = residual_stage(b, 2, 64)
    residual_stage(b, 3, 128, stride=2)
    residual_stage(b, 4, 256, stride=2)
    residual_stage(b, 5, 512, padding=2, dilation=2, first_dilation=2)
    _pyramid(b, channels, separable, rates)
    _separable(b, "2", channels, channels)
    upsampled = b.add("dec_upsample1", _upsample(4))
    low_level = b.conv_norm(("dec_c3", "dec_bn3", "dec_relu3"), Conv(48, (1, 1)), skip)
    b.add("dec_cat1", Concat(), upsampled, low_level)
    _separable(b, "4", channels, channels + 48)
    b.add("scorer", Conv(classes, (1, 1)))
    b.add("dec_upsample2", _upsample(4))
    _probabilities(b, classes)
    return b.graph()


def smp_unet_resnet18(
    classes: int = 1, input_shape: Shape = (3, 512, 512), filters: Sequence[int] = (256, 128, 64, 32, 16)
) -> Graph:
    """Image (C, H, W), raw pixel scale, sizes that are multiples of 32 -> class scores (classes, H, W); of a single
    class, its probability.

    filters: of the decoder's blocks, from the coarsest to the finest. Default layers of Grad-CAM: features
    `decoder5_relu2` (16, H, W), reduction `softmax-out` or `sigmoid-out`.
    """
    b = Builder("image", input_shape)
    stem(b)
    residual_stage(b, 2, 64)
    residual_stage(b, 3, 128, stride=2)
    residual_stage(b, 4, 256, stride=2)
    residual_stage(b, 5, 512, stride=2)
    for number, (width, skip) in enumerate(zip(filters, (*SKIPS, None), strict=True), start=1):
        name = f"decoder{number}"
        b.add(f"{name}_up", Resize(scales=(2, 2), method="nearest"))
        if skip:
            b.add(f"{name}_concat", Concat(), b.last, skip)
        for i in (1, 2):
            b.conv_norm((f"{name}_conv{i}", f"{name}_bn{i}", f"{name}_relu{i}"), Conv(width, (3, 3), padding=1))
    b.add("scorer", Conv(classes, (3, 3), padding=1))
    _probabilities(b, classes)
    return b.graph()


def _pyramid(b: Builder, channels: int, separable: bool, rates: Sequence[int]) -> None:
    """Five branches and their projection. The fifth is the mean over the image, the same at every position, so its part
    of the projection (`dec_c1_5`) is computed once and added: what concatenation would give, for images of any size."""
    source = b.last
    branches = [b.conv_norm(("aspp_Conv_1", "aspp_BatchNorm_1", "aspp_Relu_1"), Conv(channels, (1, 1)), source)]
    for i, rate in enumerate(rates, start=2):
        names = (f"aspp_Conv_{i}", f"aspp_BatchNorm_{i}", f"aspp_Relu_{i}")
        if separable:
            depthwise = b.add(f"aspp_Depth_{i}", _depthwise(512, rate), source)
            branches.append(b.conv_norm(names, Conv(channels, (1, 1)), depthwise))
        else:
            branches.append(b.conv_norm(names, Conv(channels, (3, 3), padding=rate, dilation=rate), source))
    pooled = b.add("aspp_pool", GlobalAveragePool(), source)
    b.conv_norm(("aspp_Conv_5", "aspp_BatchNorm_5", "aspp_Relu_5"), Conv(channels, (1, 1)), pooled)
    shared = b.add("dec_c1_5", Conv(channels, (1, 1)))
    b.add("catAspp", Concat(), *branches)
    own = b.add("dec_c1", Conv(channels, (1, 1)))
    b.add("dec_sum1", Sum(), own, shared)
    b.add("dec_bn1", BatchNorm())
    b.add("dec_relu1", Relu())
    b.add("dec_drop1", Dropout(0.5))


def _separable(b: Builder, number: str, filters: int, channels: int) -> None:
    """A 3 x 3 convolution of each channel alone, and a 1 x 1 over the channels."""
    b.add(f"dec_d{number}", _depthwise(channels, 1))
    b.conv_norm((f"dec_c{number}", f"dec_bn{number}", f"dec_relu{number}"), Conv(filters, (1, 1)))


def _depthwise(channels: int, rate: int) -> Conv:
    return Conv(channels, (3, 3), padding=rate, dilation=rate, groups=channels)


def _upsample(factor: int) -> Resize:
    return Resize(scales=(factor, factor), coordinates="align_corners")


def _probabilities(b: Builder, classes: int) -> None:
    """What the packages leave to the loss: a softmax, or for one class alone a sigmoid."""
    b.add(*(("softmax-out", Softmax()) if classes > 1 else ("sigmoid-out", Sigmoid())))
