"""U-Net.

Source: Ronneberger, Fischer and Brox, "U-Net", MICCAI 2015 (arXiv:1505.04597), figure 1, with padded convolutions, so
that the output has the size of the input. Vinogradova, Dibrov and Myers (arXiv:2002.11434) introduced SEG-GRAD-CAM on
such a network, at its bottleneck.
"""

from minicam.errors import LayerError
from minicam.graph import Graph
from minicam.ops import Concat, Conv, ConvTranspose, MaxPool, Normalize, Shape, Softmax
from minicam.zoo.builder import Builder


def unet(depth: int = 4, width: int = 64, classes: int = 19, input_shape: Shape = (3, 256, 512)) -> Graph:
    """A segmentation network: image (C, H, W), raw pixel scale -> class scores (classes, H, W).

    depth: how often the image is halved. width: filters at full resolution, doubled with each halving.
    Default layers of Grad-CAM: features `decoder1_relu2` (width, H, W), reduction `softmax-out`; the paper explains
    `bottleneck_relu2` (width 2^depth, H / 2^depth, W / 2^depth).
    Raises LayerError unless H and W are multiples of 2^depth (or None: open).
    """
    step = 2**depth
    if any(size is not None and size % step for size in input_shape[1:]):
        raise LayerError(
            f"a U-Net of depth {depth} halves its input {depth} times; "
            f"expected sizes that are multiples of {step}, not {input_shape[1:]}"
        )
    b = Builder("image", input_shape)
    b.add("data", Normalize())
    filters = {level: width * 2 ** (level - 1) for level in range(1, depth + 1)}
    skips = {}
    for level in filters:
        skips[level] = _double_conv(b, f"encoder{level}", filters[level])
        b.add(f"encoder{level}_pool", MaxPool((2, 2), stride=2))
    _double_conv(b, "bottleneck", width * step)
    for level in reversed(filters):
        upsampled = b.add(f"decoder{level}_up", ConvTranspose(filters[level], (2, 2), stride=2))
        b.add(f"decoder{level}_concat", Concat(), skips[level], upsampled)
        _double_conv(b, f"decoder{level}", filters[level])
    b.add("scorer", Conv(classes, (1, 1)))
    b.add("softmax-out", Softmax())
    return b.graph()


def _double_conv(b: Builder, name: str, filters: int) -> str:
    for i in (1, 2):
        b.conv_relu(f"{name}_conv{i}", f"{name}_relu{i}", Conv(filters, (3, 3), padding=1))
    return b.last
