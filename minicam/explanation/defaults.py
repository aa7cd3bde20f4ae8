"""Which layers to take where the user names none."""

import logging

from minicam.errors import LayerError
from minicam.graph import Graph, Node
from minicam.ops import (
    Add,
    BatchNorm,
    Clip,
    Concat,
    Elu,
    Gelu,
    GroupNorm,
    HardSwish,
    InstanceNorm,
    LayerNorm,
    LeakyRelu,
    LocalResponseNorm,
    Mish,
    PRelu,
    Relu,
    Shape,
    Softplus,
    Sum,
    Swish,
    ThresholdedRelu,
)

log = logging.getLogger("minicam")

RECTIFIERS = (Relu, LeakyRelu, PRelu, ThresholdedRelu, Elu, Gelu, Softplus, Swish, Mish, HardSwish)
GATHERERS = (Add, Sum, Concat, BatchNorm, LayerNorm, GroupNorm, InstanceNorm, LocalResponseNorm)


def choose_reduction_layer(graph: Graph) -> str:
    """The last layer."""
    name = graph.nodes[-1].name
    log.info("reduction layer: %s", name)
    return name


def choose_feature_layer(graph: Graph, reduction_layer: str) -> str:
    """The last layer before the reduction layer that has spatial extent and holds rectified features: the output of a
    ReLU, or of layers that only gather (add, concatenate, normalise) such outputs. Raises LayerError if none does."""
    shapes = graph.shapes(graph.inputs)
    leads = graph.leading_to([reduction_layer])
    rectified: set[str] = set()
    chosen = None
    for node in graph.nodes:
        if _is_rectified(node, rectified):
            rectified.add(node.name)
            if node.name in leads and node.name != reduction_layer and has_extent(shapes[node.name]):
                chosen = node.name
    if chosen is None:
        raise LayerError(
            f"no layer before {reduction_layer!r} holds rectified features with spatial extent; name a feature layer"
        )
    log.info("feature layer: %s", chosen)
    return chosen


def has_extent(shape: Shape) -> bool:
    """Whether some spatial size is above 1 (or open)."""
    return any(size is None or size > 1 for size in shape[1:])


def _is_rectified(node: Node, rectified: set[str]) -> bool:
    if isinstance(node.op, Clip):  # between 0 and 6, it is ReLU6
        return node.op.minimum == 0
    return isinstance(node.op, RECTIFIERS) or (isinstance(node.op, GATHERERS) and rectified.issuperset(node.inputs))
