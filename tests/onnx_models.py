"""ONNX models as exporters write them, made by hand where the exporter is not here."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FLOAT = TensorProto.FLOAT


def model(nodes, inputs, outputs, constants=(), opset=17):
    """nodes: (kind, inputs, outputs, attributes) or with a name as fifth; inputs and outputs: name -> shape (of
    an output None for any); constants: name -> array. Not checked: some tests need what is wrong."""
    made = []
    for kind, sources, results, attributes, *name in nodes:
        made.append(helper.make_node(kind, sources, results, *name, **attributes))
    graph = helper.make_graph(
        made,
        "graph",
        [helper.make_tensor_value_info(name, FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, FLOAT, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in dict(constants).items()],
    )
    for value in graph.output:
        value.type.tensor_type.shape.SetInParent()  # has to be there, but may be empty
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def random(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


def matlab_model():
    """A classifier as MATLAB's exportONNXNetwork names it: `data_Mean`, `conv_1_W`, `conv_1_B` ..., opset 8."""
    nodes = [
        ("Sub", ["data", "data_Mean"], ["data_Sub"], {}, "data_Sub"),
        ("Div", ["data_Sub", "data_StdDev"], ["data_Div"], {}, "data_Div"),
        ("Conv", ["data_Div", "conv_1_W", "conv_1_B"], ["conv_1"], {"pads": [1, 1, 1, 1], "strides": [1, 1]}, "conv_1"),
        (
            "BatchNormalization",
            ["conv_1", "batchnorm_scale", "batchnorm_B", "batchnorm_mean", "batchnorm_var"],
            ["batchnorm"],
            {"epsilon": 1e-5},
            "batchnorm",
        ),
        ("Relu", ["batchnorm"], ["relu_1"], {}, "relu_1"),
        ("MaxPool", ["relu_1"], ["maxpool"], {"kernel_shape": [2, 2], "strides": [2, 2]}, "maxpool"),
        ("ConvTranspose", ["maxpool", "up_W", "up_B"], ["up"], {"strides": [2, 2]}, "up"),
        ("GlobalAveragePool", ["up"], ["gap"], {}, "gap"),
        ("Flatten", ["gap"], ["fc_flat"], {"axis": 1}, "fc_flatten"),
        ("Gemm", ["fc_flat", "fc_W", "fc_B"], ["fc"], {"transB": 1}, "fc"),
        ("Softmax", ["fc"], ["softmax"], {"axis": 1}, "softmax"),
    ]
    upsampler = np.zeros((4, 4, 2, 2), np.float32)
    upsampler[range(4), range(4)] = random(4, 2, 2)
    constants = {
        "data_Mean": 100 + random(1, 3, 1, 1),
        "data_StdDev": 2 + random(1, 3, 1, 1, seed=1) ** 2,
        "conv_1_W": random(4, 3, 3, 3),
        "conv_1_B": random(4),
        "batchnorm_scale": random(4, seed=1),
        "batchnorm_B": random(4, seed=2),
        "batchnorm_mean": random(4, seed=3),
        "batchnorm_var": 1 + random(4, seed=4) ** 2,
        "up_W": upsampler,
        "up_B": np.zeros(4, np.float32),
        "fc_W": random(5, 4),
        "fc_B": random(5),
    }
    return model(nodes, {"data": ["N", 3, 8, 10]}, {"softmax": ["N", 5]}, constants, opset=8)


def keras_model():
    """A segmenter as tf2onnx writes a Keras model: channels last outside, transpositions around each convolution."""
    first, last = [0, 3, 1, 2], [0, 2, 3, 1]
    name = "StatefulPartitionedCall/model/"
    nodes = [
        ("Transpose", ["input_1"], ["t0"], {"perm": first}, f"{name}conv2d/Conv2D__6"),
        (
            "Conv",
            ["t0", f"{name}conv2d/Conv2D/ReadVariableOp:0"],
            ["c1"],
            {"auto_pad": "SAME_UPPER", "strides": [2, 2], "kernel_shape": [3, 3]},
            f"{name}conv2d/Conv2D",
        ),
        ("Transpose", ["c1"], ["c1t"], {"perm": last}, f"{name}conv2d/Conv2D__7"),
        ("Add", ["c1t", "bias1"], ["b1"], {}, f"{name}conv2d/BiasAdd"),
        ("Relu", ["b1"], ["r1"], {}, f"{name}re_lu/Relu"),
        ("Mul", ["r1", "two"], ["m1"], {}, f"{name}rescaling/mul"),
        ("Transpose", ["m1"], ["m1t"], {"perm": first}, f"{name}up/resize__10"),
        ("Resize", ["m1t", "", "scales"], ["u1"], {"mode": "linear"}, f"{name}up/resize"),
        ("Transpose", ["u1"], ["u1t"], {"perm": last}, f"{name}up/resize__11"),
        ("Concat", ["u1t", "input_1"], ["cat"], {"axis": 3}, f"{name}concatenate/concat"),
        ("Transpose", ["cat"], ["catt"], {"perm": first}, f"{name}head/Conv2D__20"),
        ("Conv", ["catt", f"{name}head/Conv2D/ReadVariableOp:0", "bias2"], ["h"], {}, f"{name}head/Conv2D"),
        ("Transpose", ["h"], ["ht"], {"perm": last}, f"{name}head/Conv2D__21"),
        ("Softmax", ["ht"], ["softmax"], {"axis": -1}, f"{name}softmax/Softmax"),
    ]
    constants = {
        f"{name}conv2d/Conv2D/ReadVariableOp:0": random(4, 3, 3, 3),
        "bias1": random(4),
        "two": np.float32(2),
        "scales": np.array([1, 1, 2, 2], np.float32),
        f"{name}head/Conv2D/ReadVariableOp:0": random(5, 7, 1, 1),
        "bias2": random(5),
    }
    sizes = {"input_1": ["N", 10, 12, 3]}
    return model(nodes, sizes, {"softmax": ["N", 10, 12, 5]}, constants, opset=13)


def save(proto, path):
    onnx.save(proto, path)
    return path
