"""Normalisations, softmax and reductions: what looks at many elements of a sample at once."""

from collections.abc import Callable
from typing import Any

import numpy as np

from minicam import ops
from minicam.conversion.onnx.call import Call, Translate
from minicam.conversion.onnx.values import Layer, Value
from minicam.ops import Op


def batch_norm(call: Call) -> Layer:
    """BatchNormalization with the statistics of the file."""
    if call.get("training_mode", 0) or not call.get("spatial", 1):
        call.refuse("takes the statistics of the batch, as in training, or of each position")
    source, _ = call.image()
    keys = ("scale", "offset", "mean", "variance")
    parameters = {key: call.constant(index) for index, key in enumerate(keys, start=1)}
    return call.simple(ops.BatchNorm(call.get("epsilon", 1e-5)), source, **parameters)


def instance_norm(call: Call) -> Layer:
    source, _ = call.image()
    op = ops.InstanceNorm(call.get("epsilon", 1e-5))
    return call.simple(op, source, scale=call.constant(1), offset=call.constant(2))


def group_norm(call: Call) -> Layer:
    """GroupNormalization; up to opset 20 scale and bias are per group."""
    source, _ = call.image()
    groups = int(call.get("num_groups"))
    channels = call.translation.shapes[source][0][0] or 0
    scale, offset = call.constant(1), call.constant(2)
    if call.version < 21:
        scale, offset = (np.repeat(array, channels // len(array)) for array in (scale, offset))
    return call.simple(ops.GroupNorm(groups, call.get("epsilon", 1e-5)), source, scale=scale, offset=offset)


def response_norm(call: Call) -> Layer:
    """LRN."""
    source, _ = call.image()
    options = (call.get("alpha", 1e-4), call.get("beta", 0.75), call.get("bias", 1.0))
    return call.simple(ops.LocalResponseNorm(int(call.get("size")), *options), source)


def layer_norm(call: Call) -> list[Value]:
    """LayerNormalization over the axes from `axis` on, with its mean and inverse deviation where they are used."""
    axes = _last_axes(call, call.get("axis", -1))
    x = call.layer()
    own = sorted(x.axes[axis] for axis in axes)
    scale = call.constant(1)
    shape = tuple(call.sample()[axis] or 1 for axis in axes)
    parameters = {"scale": scale, "offset": call.constant(2, np.zeros_like(scale))}
    for key, array in parameters.items():  # stretched, in the order of the layer's axes
        wide = np.broadcast_to(array, shape)
        order = sorted(range(len(axes)), key=lambda i: x.axes[axes[i]])
        parameters[key] = np.ascontiguousarray(wide.transpose(order))
    epsilon = call.get("epsilon", 1e-5)
    y = Layer(call.add(ops.LayerNorm(epsilon=epsilon, axes=tuple(own)), x.name, **parameters), x.axes)
    if not any(call.translation.readers[name] for name in call.outputs[1:] if name):
        return [y]
    mean = call.add(ops.ReduceMean(tuple(own)), x.name, part="mean")
    centred = call.add(ops.Subtract(), x.name, mean, part="centred")
    square = call.add(ops.Multiply(), centred, centred, part="square")
    variance = call.add(ops.ReduceMean(tuple(own)), square, part="variance")
    deviation = call.add(ops.Sqrt(), _plus(call, variance, epsilon), part="deviation")
    inverse = call.add(ops.Reciprocal(), deviation, part="inverse")
    return [y, Layer(mean, x.axes), Layer(inverse, x.axes)]


def rms_norm(call: Call) -> Layer:
    """RMSNormalization: x scale / sqrt(mean(x^2) + epsilon)."""
    axes = _last_axes(call, call.get("axis", -1))
    x = call.layer()
    square = call.add(ops.Multiply(), x.name, x.name, part="square")
    mean = call.add(ops.ReduceMean(tuple(sorted(x.axes[axis] for axis in axes))), square, part="mean")
    deviation = call.add(ops.Sqrt(), _plus(call, mean, call.get("epsilon", 1e-5)), part="deviation")
    scale = call.constant(1)
    wide = scale.reshape((1,) * (len(x.axes) - scale.ndim) + scale.shape)
    wide = wide.transpose([x.axes.index(axis) for axis in range(len(x.axes))])
    scaled = call.add(ops.Constant(wide.shape), x.name, part="scale", value=wide)
    z = call.add(ops.Divide(), x.name, deviation, part="normalized")
    return Layer(call.add(ops.Multiply(), z, scaled), x.axes)


def mean_variance_norm(call: Call) -> Layer:
    """MeanVarianceNormalization: (x - mean) / (deviation + 1e-9), over `axes` of the tensor."""
    x = call.layer()
    axes = tuple(sorted(x.axes[call.axis(axis)] for axis in call.get("axes", [0, 2, 3])))
    mean = call.add(ops.ReduceMean(axes), x.name, part="mean")
    centred = call.add(ops.Subtract(), x.name, mean, part="centred")
    square = call.add(ops.Multiply(), centred, centred, part="square")
    variance = call.add(ops.ReduceMean(axes), square, part="variance")
    deviation = _plus(call, call.add(ops.Sqrt(), variance, part="deviation"), 1e-9)
    return Layer(call.add(ops.Divide(), centred, deviation), x.axes)


def _plus(call: Call, name: str, number: float) -> str:
    """A layer plus a number."""
    shape = (1,) * len(call.translation.shapes[name][0])
    constant = call.add(ops.Constant(shape), name, part="epsilon", value=np.full(shape, number, np.float32))
    return call.add(ops.Sum(), name, constant, part="shifted")


def lp_norm(call: Call) -> Layer:
    """LpNormalization along one axis; where the norm is 0, so is the result, as x is."""
    x = call.layer()
    axis = x.axes[call.axis(call.get("axis", -1))]
    norm = call.add(ops.ReduceNorm((axis,), float(call.get("p", 2))), x.name, part="norm")
    above = call.add(ops.Clip(TINY, float(np.finfo(np.float32).max)), norm, part="above")
    return Layer(call.add(ops.Divide(), x.name, above), x.axes)


def _last_axes(call: Call, axis: int) -> list[int]:
    """The axes of a sample from one axis of the tensor on."""
    first = call.axis(axis)
    return list(range(first, len(call.layer().axes)))


TINY = float(np.finfo(np.float32).tiny)
"""What a norm of 0 is taken for."""

SOFTMAXES: dict[str, Callable[[tuple[int, ...]], Op]] = {
    "Softmax": lambda axes: ops.Softmax(axes=axes),
    "LogSoftmax": lambda axes: ops.LogSoftmax(axes=axes),
}


def softmax(call: Call) -> Layer:
    """Softmax and LogSoftmax over one axis; up to opset 12 over all from `axis` on."""
    x = call.layer()
    axes = _last_axes(call, call.get("axis", 1)) if call.version < 13 else [call.axis(call.get("axis", -1))]
    along = tuple(sorted(x.axes[axis] for axis in axes))
    if call.version < 13 and all(call.sample()[axis] == 1 for axis in axes[1:]):
        along = (x.axes[axes[0]],)  # what the trailing axes of size 1 add is nothing
    return Layer(call.add(SOFTMAXES[call.kind](along), x.name), x.axes)


def _norm(p: int) -> Callable[[tuple[int, ...]], Op]:
    return lambda axes: ops.ReduceNorm(axes, float(p))


REDUCTIONS: dict[str, Callable[[tuple[int, ...]], Op]] = {
    "ReduceSum": ops.ReduceSum,
    "ReduceMean": ops.ReduceMean,
    "ReduceMax": ops.ReduceMax,
    "ReduceMin": ops.ReduceMin,
    "ReduceProd": ops.ReduceProduct,
    "ReduceLogSumExp": ops.ReduceLogSumExp,
    "ReduceLogSum": ops.ReduceSum,
    "ReduceSumSquare": ops.ReduceSum,
    "ReduceL1": _norm(1),
    "ReduceL2": _norm(2),
}


def reduction(call: Call) -> Value:
    """The reductions, of which a mean over all of space is a global pooling. Newer opsets have the axes as an input."""
    x = call.layer()
    if "axes" in call.attributes:
        given: Any = call.get("axes")
    else:
        given = call.constant(1, np.zeros(0, np.int64)).tolist()
    if not given and call.get("noop_with_empty_axes", 0):
        return _nothing_reduced(call)
    axes = sorted(call.axis(axis) for axis in given) if given else list(range(len(x.axes)))
    if not given and call.translation.batched:
        call.refuse("reduces over all axes, and so mixes samples")
    own = tuple(sorted(x.axes[axis] for axis in axes))
    keep = bool(call.get("keepdims", 1))
    y = _reduced(call, x, own or (0,), "" if keep else "kept")
    if keep:
        return y
    t = call.translation
    sizes = t.sample_shapes(y)[0]
    return t.reshaped(call.name, y, tuple(size for axis, size in enumerate(sizes) if axis not in axes))


def _reduced(call: Call, x: Layer, own: tuple[int, ...], part: str) -> Layer:
    """The layers of a reduction over axes `own` of the layer, which keep size 1."""
    rank = len(call.translation.shapes[x.name][0])
    source = x.name
    if call.kind == "ReduceSumSquare":
        source = call.add(ops.Multiply(), source, source, part="square")
    op = REDUCTIONS[call.kind](own)
    if call.translation.batched and own == tuple(range(1, rank)) and call.kind in ("ReduceMean", "ReduceMax"):
        op = ops.GlobalAveragePool() if call.kind == "ReduceMean" else ops.GlobalMaxPool()
    if call.kind == "ReduceLogSum":
        source = call.add(op, source, part="sum")
        op = ops.Log()
    return Layer(call.add(op, source, part=part), x.axes)


def _nothing_reduced(call: Call) -> Value:
    """With noop_with_empty_axes each element is reduced alone."""
    x = call.layer()
    if call.kind in ("ReduceL1", "ReduceL2"):
        return Layer(call.add(ops.Abs(), x.name), x.axes)
    if call.kind == "ReduceSumSquare":
        return Layer(call.add(ops.Multiply(), x.name, x.name), x.axes)
    if call.kind == "ReduceLogSum":
        return Layer(call.add(ops.Log(), x.name), x.axes)
    return x


NORMS: dict[str, Translate] = {
    "BatchNormalization": batch_norm,
    "InstanceNormalization": instance_norm,
    "GroupNormalization": group_norm,
    "LayerNormalization": layer_norm,
    "RMSNormalization": rms_norm,
    "MeanVarianceNormalization": mean_variance_norm,
    "LpNormalization": lp_norm,
    "LRN": response_norm,
    **dict.fromkeys(SOFTMAXES, softmax),
    **dict.fromkeys(REDUCTIONS, reduction),
}
"""Kind of node -> its translation."""
