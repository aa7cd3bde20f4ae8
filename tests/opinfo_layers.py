"""Adapters of PyTorch's layers: convolution, pooling, normalisation, resizing, padding, losses."""

import math
from collections.abc import Callable
from typing import Any

from opinfo import Trial, batch, each, need, ones, whole, zeros

from minicam import ops
from minicam.ops import Op
from minicam.ops.rearranging import END


def affine(size: Any, weight: Any, bias: Any) -> dict[str, Any]:
    return {"scale": ones(size) if weight is None else weight, "offset": zeros(size) if bias is None else bias}


def conv(rank: int) -> Callable[..., Trial]:
    def adapt(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
        kernel, dilation, stride = weight.shape[2:], each(dilation, rank), each(stride, rank)
        surplus = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        if padding == "same":
            pairs = tuple((s // 2, s - s // 2) for s in surplus)
        else:
            pairs = tuple((p, p) for p in each(0 if padding == "valid" else padding, rank))
        op = ops.Conv(len(weight), tuple(kernel), stride, dilation, pairs, groups)
        return Trial(op, batch(x, rank), weight=weight, bias=zeros(len(weight)) if bias is None else bias)

    return adapt


def conv_transpose(rank: int) -> Callable[..., Trial]:
    def adapt(x, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1):
        filters, kernel = groups * weight.shape[1], tuple(weight.shape[2:])
        ends = zip(each(padding, rank), each(output_padding, rank), strict=True)
        cropping = tuple((p, p - extra) for p, extra in ends)
        op = ops.ConvTranspose(filters, kernel, each(stride, rank), each(dilation, rank), cropping, groups)
        return Trial(op, batch(x, rank), weight=weight, bias=zeros(filters) if bias is None else bias)

    return adapt


def window(x, rank, kernel, stride, padding, dilation, ceil) -> tuple[tuple, ...]:
    """kernel, stride, declared padding, padding with what rounding up adds, dilation; per axis."""
    kernel, dilation, padding = each(kernel, rank), each(dilation, rank), each(padding, rank)
    stride = kernel if stride is None or stride == () else each(stride, rank)
    declared = tuple((p, p) for p in padding)
    if not ceil:
        return kernel, stride, declared, declared, dilation
    highs = []
    for size, k, s, p, d in zip(x.shape[-rank:], kernel, stride, padding, dilation, strict=True):
        extent = d * (k - 1) + 1
        out = -((size + 2 * p - extent) // -s) + 1
        out -= (out - 1) * s >= size + p  # a window must begin on the input or before it
        highs.append(max((out - 1) * s + extent - size - p, p))
    return kernel, stride, declared, tuple(zip(padding, highs, strict=True)), dilation


def max_pool(rank: int) -> Callable[..., Trial]:
    def adapt(x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False):
        kernel, stride, _, padded, dilation = window(x, rank, kernel_size, stride, padding, dilation, ceil_mode)
        return Trial(ops.MaxPool(kernel, stride, padded, dilation=dilation), batch(x, rank))

    return adapt


def average_pool(rank: int) -> Callable[..., Trial]:
    def adapt(x, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None):
        need(divisor_override is None, "a divisor that is not the number of elements")
        kernel, stride, declared, padded, _ = window(x, rank, kernel_size, stride, padding, 1, ceil_mode)
        if not count_include_pad or padded == declared:
            return Trial(ops.AveragePool(kernel, stride, padded, count_include_pad), batch(x, rank))
        extra = tuple((0, high - p) for (p, _), (_, high) in zip(declared, padded, strict=True))
        return Trial([ops.Pad(((0, 0), *declared)), ops.AveragePool(kernel, stride, extra, False)], batch(x, rank))

    return adapt


def adaptive_pool(rank: int, kind: type[Op]) -> Callable[..., Trial]:
    def adapt(x, output_size, return_indices=False):
        out = (output_size,) * rank if isinstance(output_size, int) else output_size
        sizes = tuple(size if o is None else o for o, size in zip(out, x.shape[-rank:], strict=True))
        pairs = list(zip(x.shape[-rank:], sizes, strict=True))
        need(all(o and size % o == 0 for size, o in pairs), "windows of different sizes")
        kernel = tuple(size // o for size, o in pairs)
        return Trial(kind(kernel, kernel), batch(x, rank))

    return adapt


def batch_norm(x, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5):
    parameters = affine(x.shape[1], weight, bias)
    if training:
        return Trial(ops.BatchStatisticsNorm(eps), x, **parameters)
    need(running_mean is not None, "no statistics")
    return Trial(ops.BatchNorm(eps), x, **parameters, mean=running_mean, variance=running_var)


def group_norm(x, num_groups, weight=None, bias=None, eps=1e-5):
    need(eps >= 0, "a negative epsilon")
    return Trial(ops.GroupNorm(num_groups, eps), x, **affine(x.shape[1], weight, bias))


def instance_norm(
    x, running_mean=None, running_var=None, weight=None, bias=None, use_input_stats=True, momentum=0.1, eps=1e-5
):
    need(use_input_stats, "statistics of other data")
    return Trial(ops.InstanceNorm(eps), x, **affine(x.shape[1], weight, bias))


def layer_norm(x, normalized_shape, weight=None, bias=None, eps=1e-5):
    need(eps >= 0, "a negative epsilon")
    last = tuple(range(x.ndim - len(normalized_shape), x.ndim))
    return Trial(ops.LayerNorm(epsilon=eps, axes=last), whole(x), **affine(tuple(normalized_shape), weight, bias))


def local_response_norm(x, size, alpha=1e-4, beta=0.75, k=1.0):
    op = ops.LocalResponseNorm(size, alpha, beta, k)
    others = x.ndim - 2
    mirrored = ops.Slice((END, *(0,) * others), (-END, *(END,) * others), (-1, *(1,) * others))
    return Trial(op if size % 2 else [mirrored, op, mirrored], x)  # PyTorch's even windows reach further down


def linear(x, weight, bias=None):
    need(x.ndim and weight.ndim == 2, "a vector of weights")
    flat = x.reshape(-1, x.shape[-1])
    return Trial(ops.Dense(len(weight)), flat, weight=weight, bias=zeros(len(weight)) if bias is None else bias)


def cross_entropy(
    x, target, weight=None, size_average=None, ignore_index=-100, reduce=None, reduction="mean", label_smoothing=0.0
):
    need(reduction == "mean", "a sum, or one loss for each label")
    need(not target.is_floating_point(), "probabilities as the target")
    need(not label_smoothing, "smoothed labels")
    x, target = (x, target) if x.ndim > 1 else (x[None], target[None])
    need(weight is None or weight.min() >= 0, "negative weights")
    op = ops.CrossEntropy(() if weight is None else tuple(weight.tolist()), ignore_index)
    return Trial(op, x, target[:, None].double(), total=True)


def mean_squared_error(x, target, size_average=None, reduce=None, reduction="mean"):
    need(reduction == "mean" and x.shape == target.shape, "a sum, one loss for each element, or stretching")
    return Trial(ops.MeanSquaredError(), whole(x, 1), whole(target, 1), total=True)


def interpolate(method: str) -> Callable[..., Trial]:
    def adapt(
        x, size=None, scale_factor=None, mode=None, align_corners=None, recompute_scale_factor=None, antialias=False
    ):
        rank = x.ndim - 2
        align_corners = align_corners or method == "corners"
        coordinates = "align_corners" if align_corners else "asymmetric" if method == "nearest" else "half_pixel"
        scales = () if scale_factor is None else each(scale_factor, rank)
        sizes = () if size is None else each(size, rank)
        if scales and (recompute_scale_factor or align_corners):
            sizes = tuple(math.floor(s * n) for s, n in zip(scales, x.shape[2:], strict=True))
            scales = ()
        kind = {"nearest": "nearest", "nearest-exact": "nearest", "cubic": "cubic"}.get(method, "linear")
        rounding = "floor" if method == "nearest" else "round_prefer_ceil"
        op = ops.Resize(sizes, scales, kind, coordinates, rounding=rounding, antialias=antialias)
        return Trial(op, x)

    return adapt


def upsample_antialiased(x, output_size=None, align_corners=False, scale_factors=None, scales_h=None, scales_w=None):
    need(not align_corners, "antialiasing between corners")
    sizes = tuple(output_size or ())
    scales = tuple(scale_factors or ()) or ((scales_h, scales_w) if scales_h else ())
    return Trial(ops.Resize(sizes, scales, antialias=True, exclude_outside=True), x)


def pad(mode: str) -> Callable[..., Trial]:
    def adapt(x, pad, name=None, value=0, **_):
        value = name if isinstance(name, int | float) else value
        pairs = list(zip(pad[::2], pad[1::2], strict=True))[::-1]
        pairs = [(0, 0)] * (x.ndim - len(pairs)) + pairs
        fits = (min(pair) > -size for size, pair in zip(x.shape, pairs, strict=True))
        need(all(fits), "nothing in an array")
        cut = ops.Slice(tuple(max(-low, 0) for low, _ in pairs), tuple(min(high, 0) or END for _, high in pairs))
        widened = tuple((max(low, 0), max(high, 0)) for low, high in pairs)
        grown = ops.Pad(widened, mode, float(value or 0)) if mode == "constant" else ops.Pad(widened, mode)
        return Trial([cut, grown], whole(x))

    return adapt


def prelu(x, weight):
    if weight.ndim == 0 or len(weight) == 1:
        return Trial(ops.PRelu(shape=(1,) * (x.ndim or 1)), whole(x, 1), slope=weight.reshape((1,) * (x.ndim or 1)))
    return Trial(ops.PRelu(), x, slope=weight)


def dropped(x, p=0.5, training=True, inplace=False):
    need(not training or p == 0, "random numbers")
    return Trial(ops.Dropout(p), whole(x))
