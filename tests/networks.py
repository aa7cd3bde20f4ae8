"""Small networks for tests of what is not about one architecture."""

import dataclasses

import numpy as np

from minicam.graph import Graph, Node
from minicam.network import Network
from minicam.ops import Conv, ConvTranspose, Crop, Dense, GlobalAveragePool, Normalize, Relu, Softmax
from minicam.zoo import initial_parameters
from minicam.zoo.builder import Builder

CLASSES = ("Sky", "Road", "Car")
COLORS = ((128, 128, 128), (128, 64, 128), (64, 0, 128))


def with_random_parameters(builder: Builder, classes=(), colors=(), seed: int = 0, **options) -> Network:
    """The builder's network with small random offsets everywhere, so that no term of a gradient vanishes."""
    graph = builder.graph()
    random = np.random.default_rng(seed)
    parameters = initial_parameters(graph, seed)
    for arrays in parameters.values():
        for name, array in arrays.items():
            if name in ("bias", "offset", "mean"):
                array += 0.3 * random.standard_normal(array.shape).astype(np.float32)
    if "data" in parameters:
        parameters["data"] = {"mean": np.full(3, 110, np.float32), "std": np.full(3, 70, np.float32)}
    return Network(graph, parameters, classes, colors, **options)


def thinned(graph: Graph, by: int = 16) -> Graph:
    """The graph with so many times fewer channels between its layers; the outputs keep theirs."""

    def thin(node: Node) -> Node:
        op = node.op
        if isinstance(op, Conv) and op.filters >= by:
            return dataclasses.replace(node, op=dataclasses.replace(op, filters=op.filters // by))
        if isinstance(op, ConvTranspose) and op.filters >= by:
            return dataclasses.replace(
                node, op=dataclasses.replace(op, filters=op.filters // by, groups=op.groups // by)
            )
        return node

    return Graph(graph.inputs, tuple(map(thin, graph.nodes)), graph.outputs)


def segmenter(space: tuple[int, int] = (18, 24), seed: int = 0, **options) -> Network:
    """A segmentation network in miniature: stride 2, a ReLU, upsampling, crop, softmax over three classes."""
    b = Builder("image", (3, *space))
    b.add("data", Normalize())
    b.add("conv1", Conv(6, (3, 3), stride=2, padding=1))
    b.add("relu1", Relu())
    b.add("conv2", Conv(5, (3, 3), padding=2, dilation=2))
    b.add("relu2", Relu())
    b.add("scorer", Conv(3, (1, 1)))
    b.add("upsample", ConvTranspose(3, (4, 4), stride=2, cropping=1, groups=3))
    b.add("crop", Crop(), "upsample", "data")
    b.add("softmax", Softmax())
    return with_random_parameters(b, CLASSES, COLORS, seed, **options)


def classifier(seed: int = 0) -> Network:
    """A classifier of images, with features 9 x 12 before the global pooling."""
    b = Builder("image", (3, 18, 24))
    b.add("data", Normalize())
    b.add("conv1", Conv(6, (3, 3), stride=2, padding=1))
    b.add("relu1", Relu())
    b.add("pool", GlobalAveragePool())
    b.add("fc", Dense(3))
    b.add("softmax", Softmax())
    return with_random_parameters(b, CLASSES, seed=seed)


def street(height: int = 18, width: int = 24, seed: int = 0) -> np.ndarray:
    """A noisy picture (H, W, 3) uint8: bright above, dark below, a block in the middle."""
    random = np.random.default_rng(seed)
    image = np.full((height, width, 3), 200.0)
    image[height // 2 :] = 80
    image[height // 3 : 2 * height // 3, width // 3 : 2 * width // 3] = (150, 30, 30)
    return np.clip(image + random.normal(0, 20, image.shape), 0, 255).astype(np.uint8)
