"""Comparisons and Where. Truth values that layers give are 0 and 1."""

import functools

import numpy as np

from minicam import ops
from minicam.conversion.onnx.arithmetic import arithmetic
from minicam.conversion.onnx.call import Call, Translate
from minicam.conversion.onnx.values import Constant, Layer


def greater(call: Call, equal: bool) -> Layer:
    return arithmetic(call, functools.partial(ops.Greater, equal))


def less(call: Call, equal: bool) -> Layer:
    """a < b as b > a."""
    return arithmetic(call, functools.partial(ops.Greater, equal), call.inputs[::-1])


def where(call: Call) -> Layer:
    condition, *sides = call.inputs
    if isinstance(condition, Constant):
        condition = Constant(tuple(array.astype(np.float32) for array in condition.arrays))
    return arithmetic(call, ops.Where, [condition, *sides])


COMPARISONS: dict[str, Translate] = {
    "Greater": functools.partial(greater, equal=False),
    "GreaterOrEqual": functools.partial(greater, equal=True),
    "Less": functools.partial(less, equal=False),
    "LessOrEqual": functools.partial(less, equal=True),
    "Where": where,
}
"""Kind of node -> its translation."""
