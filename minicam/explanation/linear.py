"""The linear head: where the features reach the logits by 1x1 convolutions and per-channel upsampling only.

Then the logit of class c at any position is a sum over positions i, with weights u[i] >= 0 that belong to that position
alone, of sum over k of W[c,k] A[k,i]. The gradient of any mask's score is therefore W[c,k] u[i], and

    alpha[c,k] = W[c,k] * (mean over i of u[i])

so that the maps of a pixel, a region and the whole image differ by a factor only.
"""

from minicam.backend import Array
from minicam.graph import Node, Parameters
from minicam.network import Network
from minicam.ops import Conv, ConvTranspose, Crop, Dropout


def linear_head(net: Network, feature_layer: str, reduction_layer: str) -> Array | None:
    """W (C, K) of the module's formula, or None if that is not how the feature layer reaches the reduction layer.

    Raises LayerError for unknown layers, or if the reduction layer does not depend on the feature layer.
    """
    path, parameters = net.graph.path([reduction_layer], [feature_layer]), net.parameters()
    weight = None
    last = feature_layer
    for node in path:
        if node.inputs[0] != last or not _is_linear(node, parameters):
            return None
        last = node.name
        if isinstance(node.op, Conv):
            mixing = parameters[node.name]["weight"].reshape(node.op.filters, -1)
            weight = mixing if weight is None else mixing @ weight
    return weight


def _is_linear(node: Node, parameters: Parameters) -> bool:
    op = node.op
    if isinstance(op, Conv):
        return set(op.kernel) | set(op.stride) == {1} and op.groups == 1 and not any(map(any, op.padding))
    if isinstance(op, ConvTranspose):
        weight = parameters[node.name]["weight"]
        return op.groups == op.filters == len(weight) and bool((weight == weight[:1]).all())
    return isinstance(op, Crop | Dropout)
