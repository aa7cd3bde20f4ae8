"""Convolution and pooling."""

import math
from typing import Any

import numpy as np

from minicam.conversion.onnx.call import Call, Translate
from minicam.conversion.onnx.geometry import Geometry, absorbed, agreed, geometry, numbers
from minicam.conversion.onnx.values import Layer
from minicam.ops import AveragePool, Conv, ConvTranspose, GlobalAveragePool, GlobalMaxPool, LpPool, MaxPool, Pad
from minicam.ops import ReduceNorm as Norm
from minicam.windows import Pairs

LOWEST = float(np.finfo(np.float32).min)
"""Padding that no maximum takes."""


def conv(call: Call) -> Layer:
    """Conv. A bias that is left out is 0."""
    weight = call.constant(1)
    g = absorbed(call, geometry(call, tuple(weight.shape[2:])), 0.0, 0.0)
    filters = len(weight)
    op = Conv(filters, g.kernel, g.stride, g.dilation, g.padding, int(call.get("group", 1)))
    return call.simple(op, g.source, weight=weight, bias=_bias(call, filters, weight))


def conv_transpose(call: Call) -> Layer:
    """ConvTranspose. A weight that is 0 off the diagonal is stored per channel, as an upsampler's is."""
    weight = call.constant(1)
    source, rank = call.image()
    groups = int(call.get("group", 1))
    filters = weight.shape[1] * groups
    kernel = numbers(call, "kernel_shape", rank, tuple(weight.shape[2:]))
    stride, dilation = numbers(call, "strides", rank, 1), numbers(call, "dilations", rank, 1)
    bias = _bias(call, filters, weight)
    if groups == 1 and len(weight) == filters > 1 and not weight[~np.eye(filters, dtype=bool)].any():
        weight, groups = np.ascontiguousarray(weight[np.arange(filters), np.arange(filters)][:, None]), filters
    cropping = _cropping(call, source, kernel, stride, dilation)
    low = tuple(max(0, -(low // d)) for (low, _), d in zip(cropping, dilation, strict=True))
    if any(low):  # taps of 0 in front make room for what a negative cropping there adds
        weight = np.pad(weight, ((0, 0), (0, 0), *((n, 0) for n in low)))
        kernel = tuple(k + n for k, n in zip(kernel, low, strict=True))
        cropping = tuple((a + n * d, b) for (a, b), n, d in zip(cropping, low, dilation, strict=True))
    op = ConvTranspose(filters, kernel, stride, dilation, cropping, groups)
    return call.simple(op, source, weight=weight, bias=bias)


def _bias(call: Call, filters: int, weight: np.ndarray) -> np.ndarray:
    return call.constant(2, np.zeros(filters, weight.dtype))


def _cropping(call: Call, source: str, kernel: Any, stride: Any, dilation: Any) -> Pairs:
    """What is cut off at each end: the padding, at the high ends less the output's own padding."""
    rank = len(kernel)
    more = numbers(call, "output_padding", rank, 0)
    auto = call.get("auto_pad", "NOTSET")
    shape = call.get("output_shape", None)
    if shape is None and auto not in ("SAME_UPPER", "SAME_LOWER"):
        pads = numbers(call, "pads", 2 * rank, 0) if auto == "NOTSET" else (0,) * 2 * rank
        return tuple((pads[i], pads[rank + i] - more[i]) for i in range(rank))

    def one(space: Any) -> Pairs:
        wanted = tuple(shape)[-rank:] if shape is not None else tuple(n * s for n, s in zip(space, stride, strict=True))
        found = []
        for i in range(rank):
            full = (space[i] - 1) * stride[i] + dilation[i] * (kernel[i] - 1) + 1
            total = full + more[i] - wanted[i]
            low = total // 2 if auto == "SAME_UPPER" else total - total // 2
            found.append((low, full - wanted[i] - low))
        return tuple(found)

    return agreed(call, [one(shape[1:]) for shape in call.translation.shapes[source][1:]])


def max_pool(call: Call) -> Layer:
    """MaxPool, the values alone."""
    g = absorbed(call, _pooling(call, value=LOWEST), -math.inf, LOWEST)
    return call.simple(MaxPool(g.kernel, g.stride, g.padding_with_extra, dilation=g.dilation), g.source)


def average_pool(call: Call) -> Layer:
    """AveragePool. Where its padding counts, what ceil mode reads beyond that does not: then it is a layer before."""
    counts = bool(call.get("count_include_pad", 0))
    g = _pooling(call, value=0.0, apart=counts)
    op = AveragePool(g.kernel, g.stride, g.padding_with_extra, counts and not any(g.extra), dilation=g.dilation)
    return call.simple(op, g.source)


def lp_pool(call: Call) -> Layer:
    """LpPool. Padding adds nothing to its sums."""
    g = _pooling(call, value=0.0)
    op = LpPool(g.kernel, g.stride, g.padding_with_extra, p=call.get("p", 2), dilation=g.dilation)
    return call.simple(op, g.source)


def _pooling(call: Call, value: float, apart: bool = False) -> Geometry:
    """The window of a pooling. Padding that is as wide as the window becomes a layer of its own, of that value; all of
    it does where `apart` and there is ceil mode."""
    g = geometry(call)
    ends = zip(g.kernel, g.padding_with_extra, strict=True)
    if not (apart and any(g.extra)) and all(max(pair) < size for size, pair in ends):
        return g
    padded = call.add(Pad(((0, 0), *g.padding), value=value), g.source, part="padding")
    return Geometry(padded, g.kernel, g.stride, g.dilation, ((0, 0),) * len(g.kernel), g.extra)


def global_pool(call: Call) -> Layer:
    """GlobalAveragePool, GlobalMaxPool, GlobalLpPool."""
    source, rank = call.image()
    if call.kind == "GlobalLpPool":
        return call.simple(Norm(tuple(range(1, rank + 1)), call.get("p", 2)), source)
    return call.simple({"GlobalAveragePool": GlobalAveragePool, "GlobalMaxPool": GlobalMaxPool}[call.kind](), source)


WINDOWS: dict[str, Translate] = {
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "MaxPool": max_pool,
    "AveragePool": average_pool,
    "LpPool": lp_pool,
    "GlobalAveragePool": global_pool,
    "GlobalMaxPool": global_pool,
    "GlobalLpPool": global_pool,
}
