"""Functions of one element."""

from collections.abc import Callable
from typing import Any

import numpy as np

from minicam import ops
from minicam.conversion.onnx.arithmetic import aligned
from minicam.conversion.onnx.call import Call, Translate
from minicam.conversion.onnx.values import Constant, Layer, Value
from minicam.ops import Op

LARGEST = float(np.finfo(np.float32).max)

FUNCTIONS: dict[str, Callable[[Call], Op]] = {
    "Relu": lambda call: ops.Relu(),
    "LeakyRelu": lambda call: ops.LeakyRelu(call.get("alpha", 0.01)),
    "Elu": lambda call: ops.Elu(call.get("alpha", 1.0)),
    "Celu": lambda call: ops.Elu(call.get("alpha", 1.0), width=call.get("alpha", 1.0)),
    "Selu": lambda call: ops.Elu(call.get("alpha", 1.6732632423543772), scale=call.get("gamma", 1.0507009873554805)),
    "ThresholdedRelu": lambda call: ops.ThresholdedRelu(call.get("alpha", 1.0)),
    "Shrink": lambda call: ops.Shrink(call.get("lambd", 0.5), call.get("bias", 0.0)),
    "Gelu": lambda call: ops.Gelu(call.get("approximate", "none")),
    "Sigmoid": lambda call: ops.Sigmoid(),
    "HardSigmoid": lambda call: ops.HardSigmoid(call.get("alpha", 0.2), call.get("beta", 0.5)),
    "HardSwish": lambda call: ops.HardSwish(),
    "Swish": lambda call: ops.Swish(call.get("alpha", 1.0)),
    "Mish": lambda call: ops.Mish(),
    "Softplus": lambda call: ops.Softplus(),
    "Softsign": lambda call: ops.Softsign(),
    "Tanh": lambda call: ops.Tanh(),
    "Exp": lambda call: ops.Exp(),
    "Log": lambda call: ops.Log(),
    "Sqrt": lambda call: ops.Sqrt(),
    "Abs": lambda call: ops.Abs(),
    "Sign": lambda call: ops.Sign(),
    "Neg": lambda call: ops.Negate(),
    "Reciprocal": lambda call: ops.Reciprocal(),
    "Erf": lambda call: ops.Erf(),
    "Sin": lambda call: ops.Sin(),
    "Cos": lambda call: ops.Cos(),
}
"""Kind of node -> the op for it; further kinds that minicam has under the same name are found by that."""


def function(call: Call, op: Op | None = None) -> Layer:
    """y = f(x) at each element: in whatever order the elements are."""
    x = call.layer()
    return Layer(call.add(op or FUNCTIONS[call.kind](call), x.name), x.axes)


def clip(call: Call) -> Layer:
    """Clip, whose ends are attributes up to opset 10 and inputs from 11 on."""
    old = call.version < 11
    ends = [call.get(n, None) if old else call.constant(i, None) for i, n in ((1, "min"), (2, "max"))]
    low, high = (default if end is None else float(end) for end, default in zip(ends, (-LARGEST, LARGEST), strict=True))
    low, high = max(low, -LARGEST), min(high, LARGEST)  # files hold no infinity
    if low >= high:  # the maximum wins, as in ONNX's definition min(max(x, low), high)
        x = call.layer()
        shape = tuple(size or call.refuse("its maximum is not above its minimum") for size in call.sample())
        value = np.full(shape, high, np.float32).transpose([x.axes.index(axis) for axis in range(len(x.axes))])
        return Layer(call.add(ops.Constant(value.shape), x.name, value=value), x.axes)
    if low == 0 and high == LARGEST:
        return function(call, ops.Relu())
    return function(call, ops.Clip(low, high))


def prelu(call: Call) -> Layer:
    """PRelu; slope is one number, one per channel, or of any shape that is stretched to the input's."""
    x = call.layer()
    slope = call.constant(1)
    sample = call.sample()
    if slope.ndim == 1 and slope.size not in (1, sample[-1]):  # per channel, as PyTorch wrote it for opset 6
        slope = slope.reshape(-1, *(1,) * (len(sample) - 1))
    fitted = aligned(call, slope, x)
    if fitted.shape[0] == call.translation.shapes[x.name][0][0] and fitted.size == len(fitted):
        return Layer(call.add(ops.PRelu(), x.name, slope=fitted.reshape(-1)), x.axes)
    return Layer(call.add(ops.PRelu(shape=fitted.shape), x.name, slope=fitted), x.axes)


def same(call: Call) -> Value:
    """What does nothing to values."""
    value = call.inputs[0]
    assert value is not None
    return value


def cast(call: Call) -> Value:
    """Cast between floating types: minicam computes in the type of the input."""
    if call.get("to") not in (1, 10, 11, 16):
        call.refuse("turns a layer's output into whole numbers or truth values; minicam's are floating point")
    return same(call)


def cast_like(call: Call) -> Value:
    """CastLike: to the floating type of another tensor, which of layers is always the same."""
    value = call.inputs[0]
    if isinstance(value, Constant):
        return Constant(tuple(array.astype(np.float32) for array in value.arrays))
    return same(call)


def dropout(call: Call) -> Layer:
    """Dropout, which does nothing but in training."""
    if call.has(2) and call.constant(2).any():
        call.refuse("is in training mode")
    rate: Any = call.constant(1, 0.5) if call.version >= 12 else call.get("ratio", 0.5)
    return function(call, ops.Dropout(float(rate)))


ELEMENTWISE: dict[str, Translate] = {
    **dict.fromkeys(FUNCTIONS, function),
    "Identity": same,
    "Cast": cast,
    "CastLike": cast_like,
    "Dropout": dropout,
    "Clip": clip,
    "PRelu": prelu,
}
