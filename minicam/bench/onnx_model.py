"""minicam's graph as an ONNX model in memory, for the libraries that read those."""

import importlib
from typing import Any

import numpy as np

from minicam.bench.translation import untranslatable
from minicam.graph import Node
from minicam.network import Network
from minicam.ops import Add, BatchNorm, Concat, Conv, ConvTranspose, Crop, Dropout, MaxPool, Normalize, Relu, Softmax

OPSET, IR = 17, 8
"""Old enough for every library of the last years."""
SIMPLE = {Add: "Sum", Concat: "Concat", Relu: "Relu", Softmax: "Softmax", Dropout: "Identity"}


def onnx_model(network: Network, shape: tuple[int, ...], plain_softmax: bool = True) -> bytes:
    """A model with float32 input of this fixed shape (N, C, H, W) and the network's first output.

    plain_softmax: False: softmax in its five steps.

    Nothing is folded or fused here: these libraries do that themselves, and know best what suits them.
    """
    onnx = importlib.import_module("onnx")
    (source,), output = network.graph.inputs, network.graph.outputs[0]
    shapes = network.graph.shapes({source: shape[1:]})
    nodes: list[Any] = []
    constants: list[Any] = []

    def constant(name: str, array: np.ndarray) -> str:
        constants.append(onnx.numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    for node in network.graph.nodes:
        parameters = {
            name: constant(f"{node.name}/{name}", array) for name, array in _shaped(network, node, len(shape)).items()
        }
        if isinstance(node.op, Crop):
            parameters |= {
                name: constant(f"{node.name}/{name}", array)
                for name, array in _window(*(shapes[name][1:] for name in node.inputs)).items()
            }
        if isinstance(node.op, Softmax) and not plain_softmax:
            constant(f"{node.name}/axes", np.array([1]))
        nodes += [
            onnx.helper.make_node(*given, **options) for given, options in _translated(node, parameters, plain_softmax)
        ]
    value = onnx.helper.make_tensor_value_info
    float32, found = onnx.TensorProto.FLOAT, (shape[0], *shapes[output])
    graph = onnx.helper.make_graph(
        nodes, "minicam", [value(source, float32, shape)], [value(output, float32, found)], constants
    )
    opset = onnx.helper.make_opsetid("", OPSET)
    return onnx.helper.make_model(graph, opset_imports=[opset], ir_version=IR).SerializeToString()


def _translated(
    node: Node, parameters: dict[str, str], plain_softmax: bool
) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
    """((type, inputs, outputs), options) of the ONNX nodes for this one; its parameters are given by name."""
    op, inputs, outputs, p = node.op, list(node.inputs), [node.name], parameters
    if isinstance(op, Conv | ConvTranspose):
        padding = op.padding if isinstance(op, Conv) else op.cropping
        geometry = {"kernel_shape": op.kernel, "strides": op.stride, "dilations": op.dilation, "group": op.groups}
        conv = (type(op).__name__, [*inputs, p["weight"], p["bias"]], outputs)
        return [(conv, {**geometry, "pads": _pads(padding)})]
    if isinstance(op, BatchNorm):
        given = [*inputs, *(p[name] for name in ("scale", "offset", "mean", "variance"))]
        return [(("BatchNormalization", given, outputs), {"epsilon": op.epsilon})]
    if isinstance(op, MaxPool):
        options = {"kernel_shape": op.kernel, "strides": op.stride, "pads": _pads(op.padding)}
        return [(("MaxPool", inputs, outputs), options)]
    if isinstance(op, Normalize):
        between = f"{node.name}/centred"
        return [(("Sub", [*inputs, p["mean"]], [between]), {}), (("Div", [between, p["std"]], outputs), {})]
    if isinstance(op, Crop):
        return [(("Slice", [inputs[0], p["starts"], p["ends"], p["axes"]], outputs), {})]
    if isinstance(op, Softmax) and not plain_softmax:
        return _softmax_in_steps(node)
    if type(op) in SIMPLE:
        options = {"axis": 1} if isinstance(op, Concat | Softmax) else {}
        return [((SIMPLE[type(op)], inputs, outputs), options)]
    raise untranslatable(node, "into ONNX")


def _softmax_in_steps(node: Node) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
    (x,), y = node.inputs, node.name
    largest, shifted, exponential, total = (f"{y}/{part}" for part in ("largest", "shifted", "exponential", "total"))
    return [
        (("ReduceMax", [x], [largest]), {"axes": [1]}),
        (("Sub", [x, largest], [shifted]), {}),
        (("Exp", [shifted], [exponential]), {}),
        (("ReduceSum", [exponential, f"{y}/axes"], [total]), {}),
        (("Div", [exponential, total], [y]), {}),
    ]


def _shaped(network: Network, node: Node, rank: int) -> dict[str, np.ndarray]:
    """The node's parameters; those of Normalize shaped to broadcast."""
    arrays = network.parameters().get(node.name, {})
    if isinstance(node.op, Normalize):
        return {name: array.reshape(1, -1, *(1,) * (rank - 2)) for name, array in arrays.items()}
    return dict(arrays)


def _window(space: tuple[Any, ...], wanted: tuple[Any, ...]) -> dict[str, np.ndarray]:
    """The centre `wanted` of `space`, as ONNX's Slice has it."""
    starts = (np.array(space) - wanted) // 2
    return {"starts": starts, "ends": starts + wanted, "axes": np.arange(2, 2 + len(space))}


def _pads(pairs: tuple[tuple[int, int], ...]) -> list[int]:
    """All low ends, then all high ends."""
    return [low for low, _ in pairs] + [high for _, high in pairs]
