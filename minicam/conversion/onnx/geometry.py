"""Kernel, stride, dilation and padding as ONNX writes them, and as minicam does."""

import math
from dataclasses import dataclass, replace
from typing import Any

from minicam.conversion.onnx.call import Call
from minicam.ops import Pad
from minicam.windows import Pairs


@dataclass(frozen=True)
class Geometry:
    """A window over the input `source`: one entry per spatial axis. extra: what ceil mode reads beyond the padding at
    the high ends, so that windows of which only the start lies inside count as well."""

    source: str
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    padding: Pairs
    extra: tuple[int, ...]

    @property
    def padding_with_extra(self) -> Pairs:
        return tuple((low, high + more) for (low, high), more in zip(self.padding, self.extra, strict=True))


def geometry(call: Call, kernel: Any = None) -> Geometry:
    """The window of a convolution, whose kernel is that of its weight, or of a pooling."""
    source, rank = call.image()
    kernel = numbers(call, "kernel_shape", rank, kernel)
    stride, dilation = numbers(call, "strides", rank, 1), numbers(call, "dilations", rank, 1)
    extents = tuple(d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True))
    auto = call.get("auto_pad", "NOTSET")
    spaces = [shape[1:] for shape in call.translation.shapes[source][1:]]
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        pads = agreed(call, [_same(space, extents, stride, auto == "SAME_UPPER") for space in spaces])
    elif auto == "VALID":
        pads = ((0, 0),) * rank
    else:
        pads = pairs(call, rank)
    extra = (0,) * rank
    if call.get("ceil_mode", 0):
        extra = agreed(call, [_extra(space, extents, stride, pads) for space in spaces])
    return Geometry(source, kernel, stride, dilation, pads, extra)


def absorbed(call: Call, g: Geometry, least: float, most: float) -> Geometry:
    """The window with the padding of a Pad layer before it as its own, where nobody else reads that layer and it pads
    space with a constant from least to most."""
    op, t = call.translation.op(g.source), call.translation
    if not isinstance(op, Pad) or op.mode != "constant" or not least <= op.value <= most:
        return g
    first, *space = op.padding
    sums = tuple((a + c, b + d) for (a, b), (c, d) in zip(space, g.padding, strict=True))
    narrow = all(max(pair) < d * (k - 1) + 1 for pair, k, d in zip(sums, g.kernel, g.dilation, strict=True))
    if any(first) or not narrow or not t.read_once(g.source) or not call.layer().plain:
        return g
    return replace(g, source=t.nodes[g.source].inputs[0], padding=sums)


def numbers(call: Call, name: str, rank: int, default: Any) -> tuple[int, ...]:
    """An attribute with one number per spatial axis."""
    value = call.get(name, default)
    value = tuple(map(int, value)) if isinstance(value, list | tuple) else (value,) * rank
    if len(value) != rank or None in value:
        call.refuse(f"{name} is {value}; expected {rank} numbers")
    return value


def pairs(call: Call, rank: int) -> Pairs:
    """The attribute pads, low ends first, as pairs."""
    pads = numbers(call, "pads", 2 * rank, 0)
    return tuple(zip(pads[:rank], pads[rank:], strict=True))


def agreed(call: Call, found: list[Any], what: str = "the padding") -> Any:
    """What is the same for all sizes that stand for an open one."""
    if any(other != found[0] for other in found):
        raise call.open_size(what)
    return found[0]


def _same(space: Any, extents: Any, stride: Any, upper: bool) -> Pairs:
    """Padding for an output of size / stride, rounded up; the odd one goes to the high end, or to the low one."""
    found = []
    for size, extent, step in zip(space, extents, stride, strict=True):
        total = max((math.ceil(size / step) - 1) * step + extent - size, 0)
        less = total // 2
        found.append((less, total - less) if upper else (total - less, less))
    return tuple(found)


def _extra(space: Any, extents: Any, stride: Any, padding: Pairs) -> tuple[int, ...]:
    """What ceil mode adds: windows that start inside the input or its low padding count, though they end outside."""
    found = []
    for size, extent, step, (low, high) in zip(space, extents, stride, padding, strict=True):
        out = math.ceil((size + low + high - extent) / step) + 1
        if (out - 1) * step >= size + low:
            out -= 1
        found.append(max((out - 1) * step + extent - size - low - high, 0))
    return tuple(found)
