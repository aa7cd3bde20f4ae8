"""The adapter table: how PyTorch's operators are computed by our ops, each by one op or by a few in a row."""

import math
from collections.abc import Callable
from typing import Any

from opinfo import Trial, axes, need, whole
from opinfo_layers import (
    adaptive_pool,
    average_pool,
    batch_norm,
    conv,
    conv_transpose,
    cross_entropy,
    dropped,
    group_norm,
    instance_norm,
    interpolate,
    layer_norm,
    linear,
    local_response_norm,
    max_pool,
    mean_squared_error,
    pad,
    prelu,
    upsample_antialiased,
)

from minicam import ops
from minicam.ops import Op
from minicam.ops.rearranging import END


def elementwise(*chain: Op) -> Callable[..., Trial]:
    return lambda x, **_: Trial(chain, whole(x))


def arithmetic(op: Op, swapped: bool = False) -> Callable[..., Trial]:
    def adapt(a, b, alpha=1, rounding_mode=None):
        import torch

        need(alpha == 1, "a factor within an addition")
        need(rounding_mode is None, "rounding")
        b = b if isinstance(b, torch.Tensor) else torch.tensor(b, dtype=a.dtype)
        need(b.dtype == a.dtype, "two types")
        rank = max(a.ndim, b.ndim)
        pair = (whole(b, rank), whole(a, rank)) if swapped else (whole(a, rank), whole(b, rank))
        return Trial(op, *pair)

    return adapt


def clamp(x, min=None, max=None):
    tensors = [v for v in (min, max) if hasattr(v, "shape")]
    if tensors:
        need(None in (min, max), "two bounds that are tensors")
        return arithmetic(ops.Minimum() if min is None else ops.Maximum())(x, *tensors)
    bounds = (-1e300 if min is None else float(min), 1e300 if max is None else float(max))
    need(bounds[0] < bounds[1], "a minimum that is not below the maximum")
    return Trial(ops.Clip(*bounds), whole(x))


def reduction(kind: Callable[..., Op], *before: Op) -> Callable[..., Trial]:
    def adapt(x, dim=None, keepdim=False, dtype=None):
        return Trial([*before, kind(axes(dim, x), keep=keepdim)], whole(x))

    return adapt


def norm(x, p=2, dim=None, keepdim=False, dtype=None, **named):
    p = named.get("ord", p)
    need(dtype is None, "another type")
    need(p not in ("nuc", "fro") or dim is None, "a norm of matrices")
    need(p != "nuc", "a norm of matrices")
    p = 2.0 if p in (None, "fro") else float(p)
    if math.isinf(p):
        return reduction(ops.ReduceMax if p > 0 else ops.ReduceMin, ops.Abs())(x, dim, keepdim)
    need(p >= 1, "a p below 1")
    return Trial(ops.ReduceNorm(axes(dim, x), p, keepdim), whole(x))


def softmax(*chain: type[Op]) -> Callable[..., Trial]:
    def adapt(x, dim=None, dtype=None):
        made = [kind(axes=axes(dim, x)) if kind is not ops.Negate else kind() for kind in chain]
        return Trial(made, whole(x))

    return adapt


def matrix_product(a, b):
    need(a.ndim and b.ndim, "a number without axes")
    a, b = (a[None] if a.ndim == 1 else a), (b[:, None] if b.ndim == 1 else b)
    rank = max(a.ndim, b.ndim)
    return Trial(ops.MatMul(), whole(a, rank), whole(b, rank))


def reshape(x, *shape):
    shape = shape[0] if shape and not isinstance(shape[0], int) else shape
    need(shape, "a number without axes")
    return Trial(ops.Reshape(tuple(shape)), whole(x))


def reshaped_as(function: Callable[..., Any]) -> Callable[..., Trial]:
    """By the shape that PyTorch's function gives, which only moves axes of size 1 or joins and splits axes."""

    def adapt(x, *args, **kwargs):
        shape = tuple(function(x, *args, **kwargs).shape)
        need(shape, "a number without axes")
        return Trial(ops.Reshape(shape), whole(x))

    return adapt


def permute(x, *dims):
    dims = dims[0] if dims and not isinstance(dims[0], int) else dims
    need(dims, "a number without axes")
    return Trial(ops.Transpose(tuple(d % x.ndim for d in dims)), whole(x))


def transpose(x, dim0=0, dim1=1):
    need(x.ndim > 1, "a single axis")
    order = list(range(x.ndim))
    order[dim0], order[dim1] = order[dim1], order[dim0]
    return Trial(ops.Transpose(tuple(order)), whole(x))


def expand(x, *shape):
    shape = shape[0] if shape and not isinstance(shape[0], int) else shape
    shape = tuple(shape.shape if hasattr(shape, "shape") else shape)
    need(shape, "a number without axes")
    wide = whole(x, len(shape))
    return Trial(ops.Expand(tuple(n if s == -1 else s for s, n in zip(shape, wide.shape[1:], strict=True))), wide)


def flip(x, dims=(0,)):
    dims = axes(tuple(dims), x) if tuple(dims) else ()
    turned = [axis in dims for axis in range(x.ndim)]
    start, stop = tuple(END if t else 0 for t in turned), tuple(-END if t else END for t in turned)
    return Trial(ops.Slice(start, stop, tuple(-1 if t else 1 for t in turned)), whole(x))


def narrow(x, dim, start, length):
    import torch

    need(not isinstance(start, torch.Tensor), "a start that is a tensor")
    begin = start % x.shape[dim] if start < 0 else start
    need(length, "nothing in an array")
    starts, stops = [0] * x.ndim, [END] * x.ndim
    starts[dim], stops[dim] = begin, begin + length
    return Trial(ops.Slice(tuple(starts), tuple(stops)), whole(x))


def select(x, dim, index):
    return narrow(x, dim, index, 1)


def sliced(x, dim=0, start=None, end=None, step=1):
    starts, stops, steps = [0] * x.ndim, [END] * x.ndim, [1] * x.ndim
    starts[dim], stops[dim], steps[dim] = start or 0, END if end is None else min(end, END), step
    return Trial(ops.Slice(tuple(starts), tuple(stops), tuple(steps)), whole(x))


def concatenate(tensors, dim=0):
    dim %= tensors[0].ndim
    return Trial(ops.Concat(axis=dim), *map(whole, tensors))


def stack(tensors, dim=0):
    dim %= tensors[0].ndim + 1
    return Trial(ops.Concat(axis=dim), *(whole(t.unsqueeze(dim)) for t in tensors))


def shuffle(kind: type[Op]) -> Callable[..., Trial]:
    def adapt(x, upscale_factor=None, downscale_factor=None):
        factor = upscale_factor or downscale_factor
        return Trial(kind((factor, factor), "channels_first"), x.reshape(-1, *x.shape[-3:]))

    return adapt


def channel_shuffle(x, groups):
    channels, *space = x.shape[1:]
    order = (1, 0, *range(2, 2 + len(space)))
    split = ops.Reshape((groups, channels // groups, *space))
    return Trial([split, ops.Transpose(order), ops.Reshape((channels, *space))], x)


def threshold(x, threshold, value, inplace=False):
    return Trial(ops.ThresholdedRelu(threshold, value), whole(x))


def leaky_relu(x, negative_slope=0.01, inplace=False):
    return Trial(ops.LeakyRelu(negative_slope), whole(x))


def hardshrink(x, lambd=0.5):
    need(lambd >= 0, "a negative threshold")
    return Trial(ops.Shrink(lambd), whole(x))


ADAPTERS: dict[str, Callable[..., Trial]] = {
    **{f"nn.functional.conv{rank}d": conv(rank) for rank in (1, 2, 3)},
    **{f"nn.functional.conv_transpose{rank}d": conv_transpose(rank) for rank in (1, 2, 3)},
    **{f"nn.functional.max_pool{rank}d": max_pool(rank) for rank in (1, 2, 3)},
    **{f"nn.functional.avg_pool{rank}d": average_pool(rank) for rank in (1, 2, 3)},
    **{f"nn.functional.adaptive_avg_pool{rank}d": adaptive_pool(rank, ops.AveragePool) for rank in (1, 2, 3)},
    **{f"nn.functional.adaptive_max_pool{rank}d": adaptive_pool(rank, ops.MaxPool) for rank in (1, 2, 3)},
    "nn.functional.batch_norm": batch_norm,
    "nn.functional.group_norm": group_norm,
    "nn.functional.instance_norm": instance_norm,
    "nn.functional.layer_norm": layer_norm,
    "nn.functional.local_response_norm": local_response_norm,
    "nn.functional.linear": linear,
    **dict.fromkeys(("matmul", "mm", "bmm", "mv", "dot"), matrix_product),
    "__rmatmul__": lambda x, other: matrix_product(other, x),
    "nn.functional.relu": elementwise(ops.Relu()),
    "nn.functional.relu6": elementwise(ops.Clip(0, 6)),
    "nn.functional.leaky_relu": leaky_relu,
    "nn.functional.prelu": prelu,
    "nn.functional.elu": lambda x, alpha=1.0, inplace=False: Trial(ops.Elu(alpha), whole(x)),
    "nn.functional.celu": lambda x, alpha=1.0, inplace=False: Trial(ops.Elu(alpha, width=alpha), whole(x)),
    "nn.functional.selu": elementwise(ops.Elu(1.6732632423543772, scale=1.0507009873554805)),
    "nn.functional.gelu": lambda x, approximate="none": Trial(ops.Gelu(approximate), whole(x)),
    "nn.functional.silu": elementwise(ops.Swish()),
    "nn.functional.mish": elementwise(ops.Mish()),
    "nn.functional.softsign": elementwise(ops.Softsign()),
    "nn.functional.hardsigmoid": elementwise(ops.HardSigmoid()),
    "nn.functional.hardswish": elementwise(ops.HardSwish()),
    "nn.functional.hardtanh": lambda x, min_val=-1.0, max_val=1.0, inplace=False: clamp(x, min_val, max_val),
    "nn.functional.threshold": threshold,
    "nn.functional.softshrink": lambda x, lambd=0.5: Trial(ops.Shrink(lambd, lambd), whole(x)),
    "nn.functional.hardshrink": hardshrink,
    "nn.functional.logsigmoid": elementwise(ops.Negate(), ops.Softplus(), ops.Negate()),
    "nn.functional.dropout": dropped,
    "softmax": softmax(ops.Softmax),
    "nn.functional.softmin": softmax(ops.Negate, ops.Softmax),
    "log_softmax": softmax(ops.LogSoftmax),
    "nn.functional.cross_entropy": cross_entropy,
    "nn.functional.mse_loss": mean_squared_error,
    "sigmoid": elementwise(ops.Sigmoid()),
    "tanh": elementwise(ops.Tanh()),
    "abs": elementwise(ops.Abs()),
    "neg": elementwise(ops.Negate()),
    "positive": elementwise(ops.Identity()),
    "clone": elementwise(ops.Identity()),
    "reciprocal": elementwise(ops.Reciprocal()),
    "square": elementwise(ops.Power(2)),
    "rsqrt": elementwise(ops.Power(-0.5)),
    "sqrt": elementwise(ops.Sqrt()),
    "exp": elementwise(ops.Exp()),
    "log": elementwise(ops.Log()),
    "sin": elementwise(ops.Sin()),
    "cos": elementwise(ops.Cos()),
    "erf": elementwise(ops.Erf()),
    "pow": arithmetic(ops.Exponentiate()),
    "float_power": arithmetic(ops.Exponentiate()),
    "clamp": clamp,
    "clamp_min": clamp,
    "clamp_max": lambda x, max: clamp(x, None, max),
    **dict.fromkeys(("add", "__radd__"), arithmetic(ops.Sum())),
    **dict.fromkeys(("mul", "__rmul__"), arithmetic(ops.Multiply())),
    **dict.fromkeys(("div/no_rounding_mode", "true_divide"), arithmetic(ops.Divide())),
    "sub": arithmetic(ops.Subtract()),
    **dict.fromkeys(("rsub", "__rsub__"), arithmetic(ops.Subtract(), swapped=True)),
    "__rdiv__": arithmetic(ops.Divide(), swapped=True),
    **dict.fromkeys(("maximum", "max/binary", "fmax"), arithmetic(ops.Maximum())),
    **dict.fromkeys(("minimum", "min/binary", "fmin"), arithmetic(ops.Minimum())),
    "sum": reduction(ops.ReduceSum),
    "mean": reduction(ops.ReduceMean),
    "prod": reduction(ops.ReduceProduct),
    **dict.fromkeys(("amax", "max/reduction_with_dim", "max/reduction_no_dim"), reduction(ops.ReduceMax)),
    **dict.fromkeys(("amin", "min/reduction_with_dim", "min/reduction_no_dim"), reduction(ops.ReduceMin)),
    "logsumexp": reduction(ops.ReduceLogSumExp),
    **dict.fromkeys(("norm", "norm/fro", "norm/inf"), norm),
    "linalg.vector_norm": lambda x, ord=2, dim=None, keepdim=False, dtype=None: norm(x, ord, dim, keepdim, dtype),
    **dict.fromkeys(("nn.functional.pad/constant", "constant_pad_nd"), pad("constant")),
    "nn.functional.pad/reflect": pad("reflect"),
    **dict.fromkeys(("nn.functional.pad/replicate", "nn.functional.pad/replicate_negative"), pad("edge")),
    "nn.functional.pad/circular": pad("wrap"),
    "nn.functional.interpolate/nearest": interpolate("nearest"),
    "nn.functional.upsample_nearest": interpolate("nearest"),
    "nn.functional.interpolate/nearest-exact": interpolate("nearest-exact"),
    **{f"nn.functional.interpolate/{mode}": interpolate("linear") for mode in ("linear", "bilinear", "trilinear")},
    "nn.functional.upsample_bilinear": interpolate("corners"),
    "nn.functional.interpolate/bicubic": interpolate("cubic"),
    "_upsample_bilinear2d_aa": upsample_antialiased,
    **dict.fromkeys(("reshape", "view", "view_copy"), reshape),
    **{name: reshaped_as(lambda x, other: x.view_as(other)) for name in ("reshape_as", "view_as")},
    "flatten": reshaped_as(lambda x, *a, **k: x.flatten(*a, **k)),
    "ravel": reshaped_as(lambda x: x.ravel()),
    "unflatten": reshaped_as(lambda x, *a, **k: x.unflatten(*a, **k)),
    **dict.fromkeys(("squeeze", "squeeze/multiple", "squeeze_copy"), reshaped_as(lambda x, *a: x.squeeze(*a))),
    **dict.fromkeys(("unsqueeze", "unsqueeze_copy"), reshaped_as(lambda x, *a, **k: x.unsqueeze(*a, **k))),
    **dict.fromkeys(("permute", "permute_copy"), permute),
    **dict.fromkeys(("transpose", "transpose_copy", "t", "t_copy", "T"), transpose),
    "mT": lambda x: transpose(x, -2, -1),
    **dict.fromkeys(("expand", "expand_copy", "broadcast_to", "expand_as"), expand),
    "flip": flip,
    "flipud": lambda x: flip(x, (0,)),
    "fliplr": lambda x: flip(x, (1,)),
    **dict.fromkeys(("narrow", "narrow_copy"), narrow),
    "select": select,
    "slice": sliced,
    "cat": concatenate,
    "stack": stack,
    "nn.functional.pixel_shuffle": shuffle(ops.DepthToSpace),
    "nn.functional.pixel_unshuffle": shuffle(ops.SpaceToDepth),
    "nn.functional.channel_shuffle": channel_shuffle,
}
