"""The source model itself, on the inputs of the network that it became."""

import importlib.util
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from minicam.conversion.onnx.values import Layer
from minicam.conversion.onnx.walk import Translated
from minicam.conversion.reading import Run, framework


def runner_of(model: Any, found: Translated) -> tuple[Run | None, str]:
    """The model by ONNX Runtime where that is installed, else by onnx's reference implementation, and its name."""
    compute, name = _session(model)
    names = [value.name for value in model.graph.output]
    types = {value.name: value.type.tensor_type.elem_type for value in model.graph.input}

    def run(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        feeds = {}
        for tensor, layer in found.inputs.items():
            dtype = framework("onnx", "onnx").helper.tensor_dtype_to_np_dtype(types[tensor])
            feeds[tensor] = to_source(inputs[layer.name], layer).astype(dtype)
        arrays = dict(zip(names, compute(names, feeds), strict=True))
        return {layer.name: from_source(arrays[tensor], layer) for tensor, layer in found.outputs.items()}

    return run, name


def _session(model: Any) -> tuple[Callable[[list[str], dict[str, np.ndarray]], list[np.ndarray]], str]:
    if importlib.util.find_spec("onnxruntime"):
        runtime = framework("onnxruntime", "onnx")
        options = runtime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = 1
        session = runtime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return session.run, f"ONNX Runtime {runtime.__version__}"
    evaluator = framework("onnx.reference", "onnx").ReferenceEvaluator(model)
    return evaluator.run, f"onnx.reference {framework('onnx', 'onnx').__version__}"


def to_source(array: np.ndarray, layer: Layer) -> np.ndarray:
    """A layer's values (N, C, *space) in the order of the source's tensor."""
    return np.ascontiguousarray(array.transpose(0, *(axis + 1 for axis in layer.axes)))


def from_source(array: np.ndarray, layer: Layer) -> np.ndarray:
    """The reverse of `to_source`."""
    if not layer.axes:
        return array.reshape(-1, 1)
    order = [layer.axes.index(axis) + 1 for axis in range(len(layer.axes))]
    return np.ascontiguousarray(array.transpose(0, *order)).astype(np.float32)
