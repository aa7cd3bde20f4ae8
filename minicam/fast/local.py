"""The backward pass of a gradient that is zero outside a small box, computed inside the box alone.

The gradient of a pixel's score is exactly zero outside a few cells of each decoder layer. Carrying that box along, and
letting it grow by the reach of each op, gives the same numbers as `Graph.backward` at a small part of the price.

With O the box of dy, a convolution y[o] = sum over t of w[t] x[s o + d t - p] gives a dx that is zero outside the box I
of the positions s o + d t - p; inside I it is the adjoint of the same convolution on I alone, whose padding is what O
reaches beyond I.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from minicam.backend import Array
from minicam.graph import Graph, Node, Parameters, Values
from minicam.ops import AveragePool, Conv, ConvTranspose, Crop, MaxPool, Op
from minicam.ops.base import POINT
from minicam.patches import Patch, whole
from minicam.windows import Window


def backward(
    graph: Graph, parameters: Parameters, values: Values, seeds: Mapping[str, Patch], wrt: Iterable[str]
) -> dict[str, Patch]:
    """`Graph.backward` for seeds (N, C, *box) that are patches; so are the gradients that come back."""

    def step(node: Node, dy: Patch, y: Array, xs: list[Array]) -> list[Patch]:
        return _node_backward(node, dy, y, xs, parameters.get(node.name, {}))

    return graph.backpropagate(parameters, values, seeds, wrt, step)


def _node_backward(node: Node, dy: Patch, y: Array, xs: list[Array], parameters: Mapping[str, Array]) -> list[Patch]:
    op: Any = node.op
    spaces = [x.shape[2:] for x in xs]
    rank = len(dy.space)
    if isinstance(op, Crop):
        return [_uncropped(dy, spaces[0]), dy]
    if isinstance(op, Conv | MaxPool | AveragePool):
        local, corner, size = _window_box(op, dy, spaces[0])
        x = xs[0][(..., *_slices(corner, size))]
        return [Patch(local.backward(dy.values, y[(..., *dy.box)], x, **parameters)[0], corner, spaces[0])]
    if isinstance(op, ConvTranspose):
        transposed = _transposed_box(op, dy, spaces[0])
        if transposed is not None:
            local, dy, corner, size = transposed
            x = xs[0][(..., *_slices(corner, size))]
            return [Patch(local.backward(dy.values, y[(..., *dy.box)], x, **parameters)[0], corner, spaces[0])]
    elif op.footprint(rank) == (POINT,) * rank:
        dxs = op.backward(dy.values, y[(..., *dy.box)], *(x[(..., *dy.box)] for x in xs), **parameters)
        return [Patch(dx, dy.corner, dy.space) for dx in dxs]
    return [whole(dx, dx.ndim - 2) for dx in op.backward(dy.full(), y, *xs, **parameters)]


def _uncropped(dy: Patch, space: tuple[int, ...]) -> Patch:
    starts = ((size - wanted) // 2 for size, wanted in zip(space, dy.space, strict=True))
    return Patch(dy.values, tuple(c + start for c, start in zip(dy.corner, starts, strict=True)), space)


def _window_box(op: Any, dy: Patch, space: tuple[int, ...]) -> tuple[Op, tuple[int, ...], tuple[int, ...]]:
    """The op on the box of inputs that the outputs in dy's box see, and that box: corner and size."""
    corner, sizes, padding = [], [], []
    dilations = getattr(op, "dilation", (1,) * len(space))
    for axis, (part, size) in enumerate(zip(dy.box, space, strict=True)):
        low, _ = op.padding[axis]
        first = op.stride[axis] * part.start - low
        last = op.stride[axis] * (part.stop - 1) - low + dilations[axis] * (op.kernel[axis] - 1)
        start, stop = max(first, 0), min(last + 1, size)
        corner.append(start)
        sizes.append(stop - start)
        padding.append((start - first, last + 1 - stop))
    return dataclasses.replace(op, padding=tuple(padding)), tuple(corner), tuple(sizes)


def _transposed_box(
    op: ConvTranspose, dy: Patch, space: tuple[int, ...]
) -> tuple[Op, Patch, tuple[int, ...], tuple[int, ...]] | None:
    """The same for a transposed convolution, with dy cut to the outputs that these inputs reach. None where some axis
    would need a negative cropping, which happens only where the kernel is shorter than the stride."""
    window = Window(op.kernel, op.stride, op.dilation, op.cropping)
    corner, sizes, cropping, parts = [], [], [], []
    for (kernel, stride, dilation, (low, _)), part, size in zip(zip(*window, strict=True), dy.box, space, strict=True):
        reach = dilation * (kernel - 1)
        start = max(-((reach - part.start - low) // stride), 0)
        stop = min((part.stop - 1 + low) // stride + 1, size)
        if stop <= start:
            return None
        begin, end = part.start, min(part.stop, stride * (stop - 1) + reach - low + 1)
        cropping.append((begin + low - stride * start, stride * (stop - 1) + reach - low + 1 - end))
        corner.append(start)
        sizes.append(stop - start)
        parts.append(slice(0, end - begin))
    if min(map(min, cropping)) < 0:
        return None
    local = dataclasses.replace(op, cropping=tuple(cropping))
    return local, Patch(dy.values[(..., *parts)], dy.corner, dy.space), tuple(corner), tuple(sizes)


def _slices(corner: tuple[int, ...], sizes: tuple[int, ...]) -> tuple[slice, ...]:
    return tuple(slice(start, start + size) for start, size in zip(corner, sizes, strict=True))
