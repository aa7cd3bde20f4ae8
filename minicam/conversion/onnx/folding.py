"""Nodes whose inputs are all known are worked out beforehand, by ONNX's own reference implementation."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from minicam.conversion.onnx.values import Constant, Unsupported
from minicam.conversion.reading import framework

MAX_ELEMENTS = 2**28
"""Of a tensor that is worked out beforehand."""

BROADCASTING = {
    *("Add", "Sub", "Mul", "Div", "Pow", "Mod", "Max", "Min", "Sum", "Mean", "Where", "PRelu"),
    *("And", "Or", "Xor", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"),
}
UNARY = {
    *("Abs", "Ceil", "Clip", "Cos", "Erf", "Exp", "Floor", "Log", "Neg", "Not", "Reciprocal", "Relu", "Round"),
    *("Sigmoid", "Sign", "Sin", "Softmax", "Sqrt", "Tanh", "Identity", "Cast", "CastLike", "Dropout"),
    *("Shape", "Size", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Transpose", "Slice", "Split", "Trilu", "NonZero"),
    *("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceSumSquare"),
    *("ArgMax", "ArgMin", "CumSum", "DequantizeLinear", "ScatterND", "ScatterElements"),
}
"""The result is at most as large as the first input (some lists also name ops for which Split adds nothing)."""
FOLDED = BROADCASTING | UNARY | {"Constant", "Concat", "ConstantOfShape", "EyeLike", "Expand", "Tile", "Range", "Pad"}
FOLDED |= {"Gather", "GatherElements", "GatherND", "MatMul", "Gemm", "OneHot"}


def fold(node: Any, inputs: Sequence[Constant | None], probes: int, versions: Sequence[Any]) -> list[Constant]:
    """The outputs of a node whose inputs are all known, for each probe. Raises Unsupported where the op is not one of
    FOLDED, the result is too large, or the node is not valid."""
    if node.op_type not in FOLDED:
        raise Unsupported("works on constants alone, and is not among the ops that are worked out beforehand")
    same = all(value is None or value.fixed is not None for value in inputs)
    results: list[list[np.ndarray]] = []
    for probe in range(1 if same else probes):
        arrays = [None if value is None else value.arrays[probe] for value in inputs]
        size = _size(node, arrays)
        if size > MAX_ELEMENTS:
            raise Unsupported(f"would make a constant of {size:.3g} elements; at most {MAX_ELEMENTS} are worked out")
        results.append(_evaluated(node, arrays, versions))
    results *= probes if same else 1
    return [Constant(tuple(result)) for result in zip(*results, strict=True)]


def _evaluated(node: Any, arrays: Sequence[np.ndarray | None], versions: Sequence[Any]) -> list[np.ndarray]:
    onnx = framework("onnx", "onnx")
    feeds = {name: array for name, array in zip(node.input, arrays, strict=True) if array is not None}
    value = onnx.helper.make_value_info
    no_type = onnx.TypeProto()
    outputs = [name for name in node.output if name]
    graph = onnx.helper.make_graph(
        [node], "one", [value(n, no_type) for n in feeds], [value(n, no_type) for n in outputs]
    )
    model = onnx.helper.make_model(graph, opset_imports=versions)
    try:
        with np.errstate(all="ignore"):
            evaluator = framework("onnx.reference", "onnx").ReferenceEvaluator(model)
            found = iter(evaluator.run(None, feeds))
    except Exception as error:  # whatever the reference implementation raises for a node that is not valid
        raise Unsupported(f"cannot be worked out ({type(error).__name__}: {error})") from error
    return [np.asarray(next(found)) if name else np.zeros(0) for name in node.output]


def _size(node: Any, arrays: Sequence[np.ndarray | None]) -> float:
    """A bound on the elements of the result: what a few bytes can ask for may not fit in memory."""
    given = [array for array in arrays if array is not None]
    kind = node.op_type
    try:
        if kind in ("MatMul", "Gemm"):  # what it takes to reckon it
            return float(given[0].size) * given[1].size / max(1, given[0].shape[-1])
        if kind == "Gather":
            return float(given[1].size) * given[0].size / max(1, given[0].shape[_axis(node)])
        if kind in BROADCASTING:
            return math.prod(np.broadcast_shapes(*(array.shape for array in given)))
        if kind == "ConstantOfShape":
            return _product(given[0])
        if kind == "Expand":
            return math.prod(map(float, np.broadcast_shapes(given[0].shape, (1,)))) * _product(given[1])
        if kind == "Tile":
            return given[0].size * _product(given[1])
        if kind == "Range":
            return float(abs((given[1] - given[0]) / given[2]).max()) if given[2].all() else math.inf
        if kind == "Pad":
            return float(np.prod(np.array(given[0].shape, float) + np.abs(given[1]).sum())) if len(given) > 1 else 0.0
        if kind == "OneHot":
            return given[0].size * float(np.max(given[1]))
        if kind == "EyeLike" or kind in UNARY:
            return given[0].size
        return (
            float(math.prod(float(array.size) for array in given)) if kind != "Concat" else sum(a.size for a in given)
        )
    except (ValueError, IndexError, TypeError) as error:
        raise Unsupported(f"has inputs that do not fit together ({error})") from error


def _axis(node: Any) -> int:
    return next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 0)


def _product(sizes: np.ndarray) -> float:
    return float(np.prod(np.maximum(sizes.astype(float), 1)))
