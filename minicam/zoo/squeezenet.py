"""SqueezeNet v1.1.

Source: Iandola et al., "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters", arXiv:1602.07360, figure 1 and
table 1, in the cheaper version 1.1 that its authors released later. The layer names are MATLAB's.
"""

from minicam.graph import Graph
from minicam.ops import Concat, Conv, Dropout, GlobalAveragePool, MaxPool, Normalize, Shape, Softmax
from minicam.zoo.builder import PAD_BOTTOM_RIGHT, Builder


def squeezenet1_1(classes: int = 1000, input_shape: Shape = (3, 227, 227)) -> Graph:
    """A classifier: RGB image (3, H, W), raw pixel scale, any size -> class probabilities (classes, 1, 1).

    Default layers of Grad-CAM: features `relu_conv10` (classes, about H/16, W/16), reduction `prob`.
    """
    b = Builder("image", input_shape)
    b.add("data", Normalize())
    b.conv_relu("conv1", "relu_conv1", Conv(64, (3, 3), stride=2))
    b.add("pool1", MaxPool((3, 3), stride=2))
    _fire(b, 2, squeeze=16, expand=64)
    _fire(b, 3, squeeze=16, expand=64)
    b.add("pool3", MaxPool((3, 3), stride=2, padding=PAD_BOTTOM_RIGHT))
    _fire(b, 4, squeeze=32, expand=128)
    _fire(b, 5, squeeze=32, expand=128)
    b.add("pool5", MaxPool((3, 3), stride=2, padding=PAD_BOTTOM_RIGHT))
    _fire(b, 6, squeeze=48, expand=192)
    _fire(b, 7, squeeze=48, expand=192)
    _fire(b, 8, squeeze=64, expand=256)
    _fire(b, 9, squeeze=64, expand=256)
    b.add("drop9", Dropout(0.5))
    b.conv_relu("conv10", "relu_conv10", Conv(classes, (1, 1)))
    b.add("pool10", GlobalAveragePool())
    b.add("prob", Softmax())
    return b.graph()


def _fire(b: Builder, number: int, squeeze: int, expand: int) -> None:
    """Few 1 x 1 filters, then as many 1 x 1 as 3 x 3 filters side by side on their output."""
    name = f"fire{number}"
    squeezed = b.conv_relu(f"{name}-squeeze1x1", f"{name}-relu_squeeze1x1", Conv(squeeze, (1, 1)))
    narrow = b.conv_relu(f"{name}-expand1x1", f"{name}-relu_expand1x1", Conv(expand, (1, 1)), squeezed)
    wide = b.conv_relu(f"{name}-expand3x3", f"{name}-relu_expand3x3", Conv(expand, (3, 3), padding=1), squeezed)
    b.add(f"{name}-concat", Concat(), narrow, wide)
