"""Products with matrices."""

import numpy as np

from minicam import ops
from minicam.conversion.onnx.arithmetic import arithmetic
from minicam.conversion.onnx.call import Call, Translate
from minicam.conversion.onnx.values import Constant, Layer, Unsupported


def gemm(call: Call) -> Layer:
    """Gemm with a constant matrix: alpha A B + beta C. Where C is one number for each column it is a layer's bias."""
    alpha, beta = call.get("alpha", 1.0), call.get("beta", 1.0)
    weight = call.constant(1)
    weight = (weight if call.get("transB", 0) else weight.T) * np.asarray(alpha, weight.dtype)
    bias = np.zeros(len(weight), weight.dtype)
    added = call.inputs[2] if call.has(2) else None
    if isinstance(added, Constant):
        found = call.constant(2) * np.asarray(beta, weight.dtype)
        if found.size in (1, len(weight)) and found.shape[:-1] in ((), (1,)):
            bias, added = np.broadcast_to(found.reshape(-1), bias.shape), None
        else:
            added = Constant((found,))
    x = call.layer()
    if call.get("transA", 0):
        if call.translation.batched:
            call.refuse("transposes its input, and so makes features of samples")
        x = Layer(x.name, x.axes[::-1])
    if added is not None and isinstance(added, Layer) and beta != 1:
        raise Unsupported(f"scales what it adds by beta = {beta}, and that is no constant", (call.input_names[2],))
    part = "" if added is None else "product"
    y = _dense(call, x, weight, bias, part)
    return y if added is None else arithmetic(call, ops.Sum, [y, added])


def matmul(call: Call) -> Layer:
    """MatMul: of features with a constant matrix it is Dense, along a last axis a convolution of width 1, else the
    product of two layers."""
    right = call.inputs[1]
    if isinstance(call.inputs[0], Layer) and isinstance(right, Constant) and call.translation.rank(right) == 2:
        weight = call.constant(1).T
        return _dense(call, call.layer(), weight, np.zeros(len(weight), weight.dtype))
    return _product(call)


def _dense(call: Call, x: Layer, weight: np.ndarray, bias: np.ndarray, part: str = "") -> Layer:
    """The vectors along the last axis, times weight (units, size), plus bias."""
    if len(x.axes) == 1:
        name = call.translation.plain(x)
        return call.simple(ops.Dense(len(weight)), name, part=part, weight=weight, bias=bias)
    return _along(call, x, len(x.axes) - 1, weight, bias, part)


def along(call: Call, axis: int, weight: np.ndarray, part: str = "") -> Layer:
    """The vectors along an axis of a sample of the first input, times weight (units, size)."""
    return _along(call, call.layer(), axis, weight, np.zeros(len(weight), weight.dtype), part)


def _along(call: Call, x: Layer, axis: int, weight: np.ndarray, bias: np.ndarray, part: str) -> Layer:
    """The same as a convolution of width 1, with that axis first; of a single axis as Dense."""
    if len(x.axes) == 1:
        return _dense(call, x, weight, bias, part)
    others = [a for a in range(len(x.axes)) if a != axis]
    source = call.translation.plain(Layer(x.name, tuple(x.axes[a] for a in (axis, *others))))
    kernel = (1,) * len(others)
    op = ops.Conv(len(weight), kernel)
    name = call.add(op, source, part=part, weight=weight.reshape(*weight.shape, *kernel), bias=bias)
    return Layer(name, tuple(0 if a == axis else 1 + others.index(a) for a in range(len(x.axes))))


def _product(call: Call) -> Layer:
    """The product of two tensors over their last two axes."""
    t = call.translation
    values = [call.inputs[index] for index in (0, 1)]
    ranks = [t.rank(value) for value in values if value is not None]
    layers = [value for value in values if isinstance(value, Layer)]
    rank = max(*ranks, 2)
    if t.batched and (rank < 3 or any(t.rank(layer) != rank for layer in layers)):
        call.refuse("multiplies matrices of samples with each other; minicam treats each sample alone")
    names = []
    for index, value in enumerate(values):
        if isinstance(value, Layer):
            names.append(t.plain(_wide_matrix(call, value, rank, index)))
        else:
            array = call.constant(index)
            wide = array.reshape((1,) * (rank - array.ndim) + array.shape)
            names.append(t.plain(call.as_layer(wide, f"{call.name}.constant")))
    y = call.whole(call.add(ops.MatMul(), *names, part="wide" if 1 in ranks else ""))
    return _narrow(call, y, ranks)


def _wide_matrix(call: Call, layer: Layer, rank: int, index: int) -> Layer:
    """A tensor with axes of size 1 more, so that it has `rank`: behind for a vector on the right, else in front."""
    t = call.translation
    own = t.sample_shapes(layer)[0]
    missing = rank - t.batched - len(own)
    if not missing:
        return layer
    matrix = own if len(own) > 1 else (*own, 1) if index == 1 else (1, *own)
    shape = (1,) * (rank - t.batched - len(matrix)) + tuple(matrix)
    return t.reshaped(f"{call.name}.matrix{index}", layer, shape)


def _narrow(call: Call, y: Layer, ranks: list[int]) -> Layer:
    """The product without the axes of size 1 that vectors were given."""
    t = call.translation
    shape = list(t.sample_shapes(y)[0])
    if ranks[1] == 1:
        shape.pop()
    if ranks[0] == 1:
        shape.pop(-1 if ranks[1] == 1 else -2)
    return t.reshaped(call.name, y, tuple(shape)) if 1 in ranks else y


PRODUCTS: dict[str, Translate] = {"Gemm": gemm, "MatMul": matmul}
"""Kind of node -> its translation."""
