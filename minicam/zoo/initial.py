"""Parameters to start from."""

import math
from functools import reduce

import numpy as np

from minicam.graph import Graph
from minicam.ops import ConvTranspose, Op


def initial_parameters(graph: Graph, seed: int = 0) -> dict[str, dict[str, np.ndarray]]:
    """float32 parameters for every layer of the graph, the same for the same seed.

    Weights: normal with variance 2 / fan-in (He et al., arXiv:1502.01852, equation 10). Transposed convolutions of
    each channel alone: bilinear upsampling (Long et al., arXiv:1411.4038, section 3.3). Scales, deviations and
    variances 1; everything else 0.
    """
    random = np.random.default_rng(seed)
    return {
        node.name: {
            name: _initial(node.op, name, shape, random).astype(np.float32)
            for name, shape in graph.parameter_shapes[node.name].items()
        }
        for node in graph.nodes
        if node.name in graph.parameter_shapes
    }


def bilinear_kernel(kernel: tuple[int, ...], stride: tuple[int, ...]) -> np.ndarray:
    """The weights, shaped `kernel`, with which a transposed convolution of that stride interpolates linearly.

    >>> bilinear_kernel((8,), (4,))
    array([0.125, 0.375, 0.625, 0.875, 0.875, 0.625, 0.375, 0.125])
    """
    axes = [
        np.maximum(1 - np.abs(np.arange(size) - (size - 1) / 2) / step, 0)
        for size, step in zip(kernel, stride, strict=True)
    ]
    return reduce(np.multiply.outer, axes)


def _initial(op: Op, name: str, shape: tuple[int, ...], random: np.random.Generator) -> np.ndarray:
    if name in ("scale", "std", "variance"):
        return np.ones(shape)
    if name != "weight":
        return np.zeros(shape)
    if isinstance(op, ConvTranspose) and op.groups == shape[0] == op.filters:
        return np.broadcast_to(bilinear_kernel(op.kernel, op.stride), shape)
    return random.standard_normal(shape) * math.sqrt(2 / math.prod(shape[1:]))
