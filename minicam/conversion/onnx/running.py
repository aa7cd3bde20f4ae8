"""The source model itself, on the inputs of the network that it became."""

import importlib.util
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from minicam.conversion.onnx.values import Layer
from minicam.conversion.onnx.walk import Translated
from minicam.conversion.reading import Run, framework


def runner_of(model: Any, found: Translated) -> tuple[Run | None, str]:
    """The model by ONNX Runtime where that is installed, else by onnx's reference implementation, and its name; or None
    and the reason."""
    names = list(found.outputs)
    compute, name = _session(_asked(model, found))
    if compute is None:
        return None, name
    types = {value.name: value.type.tensor_type.elem_type for value in model.graph.input}
    batches = {value.name: _fixed_batch(value) for value in model.graph.input}

    def run(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        feeds = {}
        for tensor, layer in found.inputs.items():
            dtype = framework("onnx", "onnx").helper.tensor_dtype_to_np_dtype(types[tensor])
            feeds[tensor] = to_source(inputs[layer.name], layer).astype(dtype).repeat(batches[tensor], axis=0)
        arrays = dict(zip(names, compute(names, feeds), strict=True))
        return {layer.name: from_source(arrays[tensor][:1], layer) for tensor, layer in found.outputs.items()}

    return run, name


def _asked(model: Any, found: Translated) -> Any:
    """The model with the network's input shapes and outputs."""
    onnx = framework("onnx", "onnx")
    asked = onnx.ModelProto()
    asked.CopyFrom(model)
    del asked.graph.value_info[:]
    del asked.graph.output[:]
    asked.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in found.outputs)
    for value in asked.graph.input:
        if value.name in found.inputs:
            layer = found.inputs[value.name]
            shape = found.network.graph.inputs[layer.name]
            sizes = [shape[axis] for axis in layer.axes]
            for dim, size in zip(value.type.tensor_type.shape.dim[len(sizes) * -1 :], sizes, strict=False):
                if size is not None:
                    dim.dim_value = size
    return asked


def _session(model: Any) -> tuple[Callable[[list[str], dict[str, np.ndarray]], list[np.ndarray]] | None, str]:
    problem = "neither ONNX Runtime nor onnx's reference can run the source"
    if importlib.util.find_spec("onnxruntime"):
        runtime = framework("onnxruntime", "onnx")
        options = runtime.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = 1
        # Some of its rewrites change results, such as zeros padded before a maximum.
        options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
        try:
            session = runtime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # a kernel that it lacks, a model beyond 2 GiB
            problem += f" ({str(error).splitlines()[0][:200]})"
        else:
            return session.run, f"ONNX Runtime {runtime.__version__}"
    if any(node.op_type == "LRN" for node in model.graph.node):
        return (
            None,
            f"{problem}: onnx's reference is wrong for LRN",
        )  # up to 1.23 it counts samples in place of channels
    try:
        evaluator = framework("onnx.reference", "onnx").ReferenceEvaluator(model)
    except Exception:  # an op that it lacks
        return None, problem
    return evaluator.run, f"onnx.reference {framework('onnx', 'onnx').__version__}"


def _fixed_batch(value: Any) -> int:
    """The number of samples that the model insists on, or 1."""
    dims = value.type.tensor_type.shape.dim
    return max(1, dims[0].dim_value) if dims else 1


def to_source(array: np.ndarray, layer: Layer) -> np.ndarray:
    """A layer's values (N, C, *space) in the order of the source's tensor."""
    return np.ascontiguousarray(array.transpose(0, *(axis + 1 for axis in layer.axes)))


def from_source(array: np.ndarray, layer: Layer) -> np.ndarray:
    """The reverse of `to_source`."""
    if not layer.axes:
        return array.reshape(-1, 1)
    order = [layer.axes.index(axis) + 1 for axis in range(len(layer.axes))]
    return np.ascontiguousarray(array.transpose(0, *order)).astype(np.float32)
