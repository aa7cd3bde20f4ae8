"""GoogLeNet and SqueezeNet as PyTorch's torchvision trains them, which is not quite as they were published.

Their weights do not fit `minicam.zoo.googlenet`. The layer names are those of the published networks, where there is
such a layer; `bn_` is what torchvision adds.

Source: torchvision/models/googlenet.py and squeezenet.py.
"""

from dataclasses import replace

from minicam.graph import Graph
from minicam.ops import (
    BatchNorm,
    Concat,
    Conv,
    Dense,
    Dropout,
    GlobalAveragePool,
    MaxPool,
    Normalize,
    Relu,
    Shape,
    Softmax,
)
from minicam.zoo.builder import PAD_BOTTOM_RIGHT, Builder
from minicam.zoo.squeezenet import squeezenet1_1

INCEPTION = {
    "3a": (64, (96, 128), (16, 32), 32),
    "3b": (128, (128, 192), (32, 96), 64),
    "4a": (192, (96, 208), (16, 48), 64),
    "4b": (160, (112, 224), (24, 64), 64),
    "4c": (128, (128, 256), (24, 64), 64),
    "4d": (112, (144, 288), (32, 64), 64),
    "4e": (256, (160, 320), (32, 128), 128),
    "5a": (256, (160, 320), (32, 128), 128),
    "5b": (384, (192, 384), (48, 128), 128),
}
"""Filters of the four branches: the 1 x 1; the middle and the wide one, each (reduction, convolution); the pooling."""


def torchvision_googlenet(classes: int = 1000, input_shape: Shape = (3, 224, 224)) -> Graph:
    """A classifier: RGB image (3, H, W), raw pixel scale, any size -> class probabilities (classes,).

    Against the published network: batch normalisation after every convolution, and no local response normalisation;
    3 x 3 in place of the 5 x 5 convolutions (`inception_..-5x5`); a max pooling of 2 before stage 5.
    Default layers of Grad-CAM: features `inception_5b-output` (1024, H/32, W/32), reduction `prob`.
    """
    b = Builder("image", input_shape)
    b.add("data", Normalize())
    _conv(b, "conv1", "7x7_s2", "7x7", Conv(64, (7, 7), stride=2, padding=3))
    b.add("pool1-3x3_s2", _halving_pool(3))
    _conv(b, "conv2", "3x3_reduce", "3x3_reduce", Conv(64, (1, 1)))
    _conv(b, "conv2", "3x3", "3x3", Conv(192, (3, 3), padding=1))
    b.add("pool2-3x3_s2", _halving_pool(3))
    for name, filters in INCEPTION.items():
        if name == "4a":
            b.add("pool3-3x3_s2", _halving_pool(3))
        if name == "5a":
            b.add("pool4-2x2_s2", _halving_pool(2))
        _inception(b, name, *filters)
    b.add("pool5-7x7_s1", GlobalAveragePool())
    b.add("pool5-drop_7x7_s1", Dropout(0.2))
    b.add("loss3-classifier", Dense(classes))
    b.add("prob", Softmax())
    return b.graph()


def torchvision_squeezenet1_1(classes: int = 1000, input_shape: Shape = (3, 224, 224)) -> Graph:
    """`minicam.zoo.squeezenet1_1`, whose first pooling takes a last row and column that are only half there as well."""
    graph = squeezenet1_1(classes, input_shape)
    nodes = (replace(node, op=_halving_pool(3)) if node.name == "pool1" else node for node in graph.nodes)
    return Graph(graph.inputs, tuple(nodes), graph.outputs)


def _halving_pool(size: int) -> MaxPool:
    """At stride 2, one row and column more at the end give PyTorch's ceil_mode for every input size."""
    return MaxPool((size, size), stride=2, padding=PAD_BOTTOM_RIGHT)


def _conv(b: Builder, block: str, part: str, activation: str, conv: Conv, *inputs: str) -> str:
    b.add(f"{block}-{part}", conv, *inputs)
    b.add(f"{block}-bn_{activation}", BatchNorm(epsilon=1e-3))
    return b.add(f"{block}-relu_{activation}", Relu())


def _inception(
    b: Builder, name: str, narrow: int, middle: tuple[int, int], wide: tuple[int, int], projected: int
) -> None:
    """Four branches side by side, see `minicam.zoo.googlenet`."""
    source = b.last
    block = f"inception_{name}"

    def conv(part: str, filters: int, size: int, *inputs: str) -> str:
        return _conv(b, block, part, part, Conv(filters, (size, size), padding=size // 2), *inputs)

    branch_1x1 = conv("1x1", narrow, 1, source)
    conv("3x3_reduce", middle[0], 1, source)
    branch_3x3 = conv("3x3", middle[1], 3)
    conv("5x5_reduce", wide[0], 1, source)
    branch_5x5 = conv("5x5", wide[1], 3)
    b.add(f"{block}-pool", MaxPool((3, 3), padding=1), source)
    branch_pool = conv("pool_proj", projected, 1)
    b.add(f"{block}-output", Concat(), branch_1x1, branch_3x3, branch_5x5, branch_pool)
