"""DeepLabv3+ on ResNet-18 for CamVid.

Source: Chen et al., "Encoder-decoder with atrous separable convolution", ECCV 2018 (arXiv:1802.02611); He et al.,
"Deep residual learning", CVPR 2016 (arXiv:1512.03385). Without image pooling and separable convolutions, as in the
network that MATLAB's semantic segmentation example trains, whose layer names these are.
"""

from minicam.graph import Graph
from minicam.ops import Concat, Conv, ConvTranspose, Crop, Softmax
from minicam.zoo.builder import PAD_BOTTOM_RIGHT, Builder
from minicam.zoo.resnet import residual_stage, stem

CAMVID_CLASSES = (
    "Sky",
    "Building",
    "Pole",
    "Road",
    "Pavement",
    "Tree",
    "SignSymbol",
    "Fence",
    "Car",
    "Pedestrian",
    "Bicyclist",
)
CAMVID_COLORS = (
    (128, 128, 128),
    (128, 0, 0),
    (192, 192, 192),
    (128, 64, 128),
    (60, 40, 222),
    (128, 128, 0),
    (192, 128, 128),
    (64, 64, 128),
    (64, 0, 128),
    (64, 64, 0),
    (0, 128, 192),
)


def deeplabv3plus_resnet18(
    classes: int = len(CAMVID_CLASSES), input_shape: tuple[int | None, ...] = (3, 720, 960)
) -> Graph:
    """The 99 layers from `data` (z-score of raw RGB pixels, 0 to 255) to `softmax-out` (class scores at input size).

    Any input size works whose centre crops fit, among them all multiples of 16 from 16 x 16 on.
    """
    b = Builder("image", input_shape)
    stem(b)
    skip = residual_stage(b, 2, 64)
    residual_stage(b, 3, 128, stride=2)
    residual_stage(b, 4, 256, stride=2, padding=PAD_BOTTOM_RIGHT)  # "same", unlike stage 3
    residual_stage(b, 5, 512, dilation=2)  # keeps the resolution, so that its output is at 1/16 of the input
    _atrous_pyramid(b)
    _decoder(b, skip, classes)
    return b.graph()


def _atrous_pyramid(b: Builder) -> None:
    """Four parallel branches that see the same features at several scales."""
    source = b.last
    branches = []
    for i, rate in enumerate((1, 6, 12, 18), start=1):
        conv = Conv(256, (1, 1)) if rate == 1 else Conv(256, (3, 3), dilation=rate, padding=rate)
        names = (f"aspp_Conv_{i}", f"aspp_BatchNorm_{i}", f"aspp_Relu_{i}")
        branches.append(b.conv_norm(names, conv, source))
    b.add("catAspp", Concat(), *branches)


def _decoder(b: Builder, skip: str, classes: int) -> None:
    b.conv_norm(("dec_c1", "dec_bn1", "dec_relu1"), Conv(256, (1, 1)))
    upsampled = b.add("dec_upsample1", _upsample(256))
    low_level = b.conv_norm(("dec_c2", "dec_bn2", "dec_relu2"), Conv(48, (1, 1)), skip)
    cropped = b.add("dec_crop1", Crop(), upsampled, low_level)
    b.add("dec_cat1", Concat(), low_level, cropped)
    b.conv_norm(("dec_c3", "dec_bn3", "dec_relu3"), Conv(256, (3, 3), padding=1))
    b.conv_norm(("dec_c4", "dec_bn4", "dec_relu4"), Conv(256, (3, 3), padding=1))
    b.add("scorer", Conv(classes, (1, 1)))
    b.add("dec_upsample2", _upsample(classes))
    b.add("dec_crop2", Crop(), "dec_upsample2", "data")
    b.add("softmax-out", Softmax())


def _upsample(channels: int) -> ConvTranspose:
    """By 4, each channel alone; bilinear inside and darker at the border with `initial.bilinear_kernel`."""
    return ConvTranspose(channels, (8, 8), stride=4, cropping=2, groups=channels)
