"""Arithmetic of several tensors with broadcasting, and what is simpler when one of them is a constant."""

import functools
from collections.abc import Callable, Sequence

import numpy as np

from minicam import ops
from minicam.conversion.onnx.call import Call, Translate
from minicam.conversion.onnx.values import Constant, Layer, Value
from minicam.ops import Op


def add(call: Call) -> Value:
    """Add and Sum. A constant that is the same at all positions becomes the bias of the layer before it, where that
    has none yet and nobody else reads it."""
    constants = [value for value in call.inputs if isinstance(value, Constant)]
    if len(call.inputs) == 2 and len(constants) == 1:
        index = 1 if isinstance(call.inputs[1], Constant) else 0
        found = _as_bias(call, 1 - index, call.constant(index)) or _affine(call, 1 - index, index)
        if found:
            return found
    return arithmetic(call, ops.Sum)


def subtract(call: Call) -> Value:
    """Sub. From the graph's input, one number per channel: the normalisation of the input."""
    if isinstance(call.inputs[1], Constant):
        return _normalized(call) or _affine(call, 0, 1) or arithmetic(call, ops.Subtract)
    return arithmetic(call, ops.Subtract)


def divide(call: Call) -> Value:
    if isinstance(call.inputs[1], Constant):
        return _normalized(call) or _affine(call, 0, 1) or arithmetic(call, ops.Divide)
    return arithmetic(call, ops.Divide)


def multiply(call: Call) -> Value:
    for index in (0, 1):
        if isinstance(call.inputs[index], Constant):
            return _affine(call, 1 - index, index) or arithmetic(call, ops.Multiply)
    return arithmetic(call, ops.Multiply)


def power(call: Call) -> Value:
    """Pow; of one constant exponent it is Power."""
    base, exponent = call.inputs[:2]
    if isinstance(exponent, Constant):
        array = call.constant(1).astype(np.float32)  # whole exponents come as whole numbers
        if array.size == 1 and array.any() and array.ndim <= call.rank():
            x = call.layer()
            return Layer(call.add(ops.Power(float(array.reshape(()))), x.name), x.axes)
        exponent = Constant((array,))
    return arithmetic(call, ops.Exponentiate, [base, exponent])


def arithmetic(call: Call, kind: Callable[[], Op], inputs: Sequence[Value | None] | None = None) -> Layer:
    """Any number of tensors, stretched to each other's sizes: the axes are matched from the last on."""
    values = call.inputs if inputs is None else inputs
    layers = [value for value in values if isinstance(value, Layer)]
    t = call.translation
    rank = max(t.rank(value) for value in values if value is not None)
    if t.batched and any(t.rank(layer) != rank for layer in layers):
        call.refuse("its inputs have different numbers of axes, so that one's samples meet another's channels")
    first = (
        next(layer for layer in layers if t.rank(layer) == rank)
        if any(t.rank(layer) == rank for layer in layers)
        else _widened(call, layers[0], rank)
    )
    names = []
    for index, value in enumerate(values):
        if isinstance(value, Layer):
            names.append(_like(call, _widened(call, value, rank), first))
        else:
            assert isinstance(value, Constant)
            array = value.fixed
            if array is None:
                raise call.open_size(f"input {index}")
            fitted = aligned(call, array, first)
            part = "constant" if len(values) < 3 else f"constant{index}"
            names.append(call.add(ops.Constant(fitted.shape), layers[0].name, part=part, value=fitted))
    op = kind()
    if len(values) == 1:
        return first
    shapes = {t.shapes[name][0] for name in names}
    if isinstance(op, ops.Sum) and len(shapes) == 1:
        op = ops.Add()
    return Layer(call.add(op, *names), first.axes)


def _widened(call: Call, layer: Layer, rank: int) -> Layer:
    """The tensor with axes of size 1 in front, so that it has `rank` of them."""
    t = call.translation
    missing = rank - t.rank(layer)
    if not missing:
        return layer
    if not layer.axes:
        return t.reshaped(f"{call.name}.widened", layer, (1,) * rank) if rank > 1 else Layer(layer.name, (0,))
    return t.reshaped(f"{call.name}.widened", layer, (1,) * missing + t.sample_shapes(layer)[0])


def _like(call: Call, layer: Layer, other: Layer) -> str:
    """The name of a layer that gives the tensor in the order in which `other` is."""
    if layer.axes == other.axes:
        return layer.name
    t = call.translation
    order = tuple(layer.axes[other.axes.index(axis)] for axis in range(len(other.axes)))
    return t.plain(Layer(layer.name, order))


def aligned(call: Call, array: np.ndarray, layer: Layer) -> np.ndarray:
    """A constant with one axis for each axis of a sample, in the order of the layer."""
    t = call.translation
    rank = t.rank(layer)
    if not np.issubdtype(array.dtype, np.floating):
        call.refuse(f"reckons with a constant of type {array.dtype}; expected floating point")
    if array.ndim > rank:
        call.refuse(f"its constant {array.shape} has more axes than the tensor, which has {rank}")
    wide = array.reshape((1,) * (rank - array.ndim) + array.shape)
    if t.batched:
        if len(wide) != 1:
            call.refuse(f"its constant {array.shape} differs from sample to sample")
        wide = wide[0]
    if not layer.axes:
        return wide.reshape(1)
    return np.ascontiguousarray(wide.transpose([layer.axes.index(axis) for axis in range(len(layer.axes))]))


def _per_channel(call: Call, index: int, constant: np.ndarray) -> np.ndarray | None:
    """A constant as one number for each channel of the layer that an input is; None if it is none."""
    x = call.layer(index)
    t = call.translation
    if not np.issubdtype(constant.dtype, np.floating) or constant.ndim > t.rank(x) or not x.axes:
        return None
    if t.batched and constant.ndim == t.rank(x) and len(constant) != 1:
        return None
    fitted = aligned(call, constant, x)
    channels = t.shapes[x.name][0][0]
    if fitted.size != len(fitted) or len(fitted) not in (1, channels) or channels is None:
        return None
    return np.broadcast_to(fitted.reshape(-1), (channels,))


def _as_bias(call: Call, index: int, constant: np.ndarray) -> Layer | None:
    """The layer before with the constant as its bias, if that can be done."""
    x = call.layer(index)
    t = call.translation
    op, vector = t.op(x.name), _per_channel(call, index, constant)
    linear = isinstance(op, ops.Conv | ops.ConvTranspose | ops.Dense)
    if vector is None or not linear or not t.read_once(x.name):
        return None
    bias = t.parameters[x.name]["bias"]
    if bias.any():
        return None
    t.parameters[x.name]["bias"] = np.array(vector)
    return x


def _normalized(call: Call) -> Layer | None:
    """Normalize, of which Sub gives the mean and Div, right after it, the standard deviation."""
    x = call.layer(0)
    t = call.translation
    vector = _per_channel(call, 0, call.constant(1))
    if vector is None or not t.batched:
        return None
    ones = np.ones_like(vector)
    if call.kind == "Sub" and x.name in t.inputs:
        name = call.input_names[1].removesuffix("_Mean") if call.input_names[1].endswith("_Mean") else call.name
        return Layer(t.add(name, ops.Normalize(), [x.name], {"mean": vector, "std": ones}), x.axes)
    if call.kind == "Div" and (vector > 0).all() and t.read_once(x.name):
        if isinstance(t.op(x.name), ops.Normalize) and (t.parameters[x.name]["std"] == 1).all():
            t.parameters[x.name]["std"] = np.array(vector)
            return x
        if x.name in t.inputs:
            made = t.add(call.name, ops.Normalize(), [x.name], {"mean": np.zeros_like(vector), "std": vector})
            return Layer(made, x.axes)
    return None


def _affine(call: Call, index: int, constant: int) -> Layer | None:
    """Arithmetic with one number for each channel, as a batch normalisation: exactly, with mean 0 and variance 1."""
    x, array = call.layer(index), call.constant(constant)
    vector = _per_channel(call, index, array)
    if vector is None:
        return None
    zeros, ones = np.zeros_like(vector), np.ones_like(vector)
    scale = {"Mul": vector, "Div": ones / vector if (vector != 0).all() else None}.get(call.kind, ones)
    offset = {"Add": vector, "Sum": vector, "Sub": -vector}.get(call.kind, zeros)
    if scale is None:
        return None
    made = call.add(ops.BatchNorm(epsilon=0.0), x.name, scale=scale, offset=offset, mean=zeros, variance=ones)
    return Layer(made, x.axes)


ARITHMETIC: dict[str, Translate] = {
    "Add": add,
    "Sum": add,
    "Sub": subtract,
    "Mul": multiply,
    "Div": divide,
    "Pow": power,
    "Max": functools.partial(arithmetic, kind=ops.Maximum),
    "Min": functools.partial(arithmetic, kind=ops.Minimum),
    "Mean": functools.partial(arithmetic, kind=ops.Average),
}
"""Kind of node -> its translation."""
