"""DeepLabv3+ on ResNet-18 for CamVid.

Source: Chen et al., "Encoder-decoder with atrous separable convolution", ECCV 2018 (arXiv:1802.02611); He et al.,
"Deep residual learning", CVPR 2016 (arXiv:1512.03385). Without image pooling and separable convolutions, as in the
network that MATLAB's semantic segmentation example trains, whose layer names these are.
"""

from minicam.graph import Graph
from minicam.ops import Add, Concat, Conv, ConvTranspose, Crop, MaxPool, Normalize, Relu, Softmax
from minicam.zoo.builder import Builder

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
    b.add("data", Normalize())
    b.conv_norm(("conv1", "bn_conv1", "conv1_relu"), Conv(64, (7, 7), stride=2, padding=3))
    b.add("pool1", MaxPool((3, 3), stride=2, padding=1))
    skip = _residual_stages(b)
    _atrous_pyramid(b)
    _decoder(b, skip, classes)
    return b.graph()


def _residual_stages(b: Builder) -> str:
    """Stages 2 to 5, two blocks each; returns the end of stage 2, which the decoder reads again.

    Stage 5 keeps the resolution (stride 1) and dilates instead, so that its output is at 1/16 of the input.
    """
    same_at_stride_2 = ((0, 1), (0, 1))  # "same": the odd pixel of padding at the bottom and right
    filters = {2: 64, 3: 128, 4: 256, 5: 512}
    for stage, k in filters.items():
        stride = 2 if stage in (3, 4) else 1
        dilation = 2 if stage == 5 else 1
        first = Conv(k, (3, 3), stride=stride, padding=same_at_stride_2 if stage == 4 else 1)
        later = Conv(k, (3, 3), dilation=dilation, padding=dilation)
        _residual_block(b, f"{stage}a", first, later, None if stage == 2 else Conv(k, (1, 1), stride=stride))
        _residual_block(b, f"{stage}b", later, later, None)
        if stage == 2:
            skip = b.last
    return skip


def _residual_block(b: Builder, name: str, first: Conv, second: Conv, projection: Conv | None) -> None:
    source = b.last
    b.conv_norm((f"res{name}_branch2a", f"bn{name}_branch2a", f"res{name}_branch2a_relu"), first)
    residual = b.conv_norm((f"res{name}_branch2b", f"bn{name}_branch2b"), second)
    shortcut = b.conv_norm((f"res{name}_branch1", f"bn{name}_branch1"), projection, source) if projection else source
    b.add(f"res{name}", Add(), residual, shortcut)
    b.add(f"res{name}_relu", Relu())


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
