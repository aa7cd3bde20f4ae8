"""GoogLeNet.

Source: Szegedy et al., "Going deeper with convolutions", CVPR 2015 (arXiv:1409.4842), table 1 and figure 3, without the
auxiliary classifiers, which act in training only. The layer names are MATLAB's.
"""

from minicam.graph import Graph
from minicam.ops import (
    Concat,
    Conv,
    Dense,
    Dropout,
    GlobalAveragePool,
    LocalResponseNorm,
    MaxPool,
    Normalize,
    Shape,
    Softmax,
)
from minicam.zoo.builder import PAD_BOTTOM_RIGHT, Builder


def googlenet(classes: int = 1000, input_shape: Shape = (3, 224, 224)) -> Graph:
    """A classifier: RGB image (3, H, W), raw pixel scale, any size -> class probabilities (classes,).

    Default layers of Grad-CAM: features `inception_5b-output` (1024, H/32, W/32), reduction `prob`.
    """
    b = Builder("image", input_shape)
    b.add("data", Normalize())
    b.conv_relu("conv1-7x7_s2", "conv1-relu_7x7", Conv(64, (7, 7), stride=2, padding=3))
    b.add("pool1-3x3_s2", _halving_pool())
    b.add("pool1-norm1", LocalResponseNorm(5))
    b.conv_relu("conv2-3x3_reduce", "conv2-relu_3x3_reduce", Conv(64, (1, 1)))
    b.conv_relu("conv2-3x3", "conv2-relu_3x3", Conv(192, (3, 3), padding=1))
    b.add("conv2-norm2", LocalResponseNorm(5))
    b.add("pool2-3x3_s2", _halving_pool())
    _inception(b, "3a", 64, (96, 128), (16, 32), 32)
    _inception(b, "3b", 128, (128, 192), (32, 96), 64)
    b.add("pool3-3x3_s2", _halving_pool())
    _inception(b, "4a", 192, (96, 208), (16, 48), 64)
    _inception(b, "4b", 160, (112, 224), (24, 64), 64)
    _inception(b, "4c", 128, (128, 256), (24, 64), 64)
    _inception(b, "4d", 112, (144, 288), (32, 64), 64)
    _inception(b, "4e", 256, (160, 320), (32, 128), 128)
    b.add("pool4-3x3_s2", _halving_pool())
    _inception(b, "5a", 256, (160, 320), (32, 128), 128)
    _inception(b, "5b", 384, (192, 384), (48, 128), 128)
    b.add("pool5-7x7_s1", GlobalAveragePool())
    b.add("pool5-drop_7x7_s1", Dropout(0.4))
    b.add("loss3-classifier", Dense(classes))
    b.add("prob", Softmax())
    return b.graph()


def _halving_pool() -> MaxPool:
    return MaxPool((3, 3), stride=2, padding=PAD_BOTTOM_RIGHT)


def _inception(
    b: Builder, name: str, narrow: int, middle: tuple[int, int], wide: tuple[int, int], projected: int
) -> None:
    """Four branches side by side: 1 x 1; 3 x 3 and 5 x 5, each behind a 1 x 1 that reduces the channels; and a max
    pooling with a 1 x 1 behind it. middle and wide: the filters of (reduction, convolution)."""
    source = b.last

    def conv(part: str, filters: int, size: int, *inputs: str) -> str:
        names = f"inception_{name}-{part}", f"inception_{name}-relu_{part}"
        return b.conv_relu(*names, Conv(filters, (size, size), padding=size // 2), *inputs)

    branch_1x1 = conv("1x1", narrow, 1, source)
    conv("3x3_reduce", middle[0], 1, source)
    branch_3x3 = conv("3x3", middle[1], 3)
    conv("5x5_reduce", wide[0], 1, source)
    branch_5x5 = conv("5x5", wide[1], 5)
    b.add(f"inception_{name}-pool", MaxPool((3, 3), padding=1), source)
    branch_pool = conv("pool_proj", projected, 1)
    b.add(f"inception_{name}-output", Concat(), branch_1x1, branch_3x3, branch_5x5, branch_pool)
