"""ResNet-18, as a classifier and as the first half of DeepLabv3+.

Source: He et al., "Deep residual learning for image recognition", CVPR 2016 (arXiv:1512.03385), table 1 and figure 5.
The layer names are MATLAB's.
"""

from minicam.graph import Graph
from minicam.ops import Add, Conv, Dense, GlobalAveragePool, MaxPool, Normalize, Relu, Shape, Softmax
from minicam.windows import PerAxis
from minicam.zoo.builder import Builder


def resnet18(classes: int = 1000, input_shape: Shape = (3, 224, 224)) -> Graph:
    """The classifier: RGB image (3, H, W), raw pixel scale, any size -> class probabilities (classes,).

    Default layers of Grad-CAM: features `res5b_relu` (512, H/32, W/32), reduction `prob`. All 3 x 3 convolutions are
    padded by 1 on each side, as in the published weights; DeepLab's stage 4 is not.
    """
    b = Builder("image", input_shape)
    stem(b)
    residual_stage(b, 2, 64)
    residual_stage(b, 3, 128, stride=2)
    residual_stage(b, 4, 256, stride=2)
    residual_stage(b, 5, 512, stride=2)
    b.add("pool5", GlobalAveragePool())
    b.add("fc1000", Dense(classes))
    b.add("prob", Softmax())
    return b.graph()


def stem(b: Builder) -> None:
    """The input's normalisation and stage 1, which takes the image to a quarter of its size."""
    b.add("data", Normalize())
    b.conv_norm(("conv1", "bn_conv1", "conv1_relu"), Conv(64, (7, 7), stride=2, padding=3))
    b.add("pool1", MaxPool((3, 3), stride=2, padding=1))


def residual_stage(
    b: Builder,
    stage: int,
    filters: int,
    stride: int = 1,
    padding: PerAxis = 1,
    dilation: int = 1,
    first_dilation: int = 1,
) -> str:
    """Two residual blocks; returns the name of the last layer.

    stride, padding, first_dilation: of the first convolution. dilation: of the three after it. From stage 3 on the
    number of channels changes, so that the first block's shortcut is a 1 x 1 convolution.
    """
    first = Conv(filters, (3, 3), stride=stride, padding=padding, dilation=first_dilation)
    later = Conv(filters, (3, 3), dilation=dilation, padding=dilation)
    _residual_block(b, f"{stage}a", first, later, None if stage == 2 else Conv(filters, (1, 1), stride=stride))
    return _residual_block(b, f"{stage}b", later, later, None)


def _residual_block(b: Builder, name: str, first: Conv, second: Conv, projection: Conv | None) -> str:
    source = b.last
    b.conv_norm((f"res{name}_branch2a", f"bn{name}_branch2a", f"res{name}_branch2a_relu"), first)
    residual = b.conv_norm((f"res{name}_branch2b", f"bn{name}_branch2b"), second)
    shortcut = b.conv_norm((f"res{name}_branch1", f"bn{name}_branch1"), projection, source) if projection else source
    b.add(f"res{name}", Add(), residual, shortcut)
    return b.add(f"res{name}_relu", Relu())
