"""Ops that give a tensor another shape, and those that ask for it."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from minicam import ops
from minicam.conversion.onnx.call import Call, Translate
from minicam.conversion.onnx.values import Constant, Layer
from minicam.ops import Shape


def shape(call: Call) -> Constant:
    """Shape, perhaps of some axes, and Size."""
    sizes = call.translation.full_shapes(call.layer())
    if call.kind == "Size":
        return Constant(tuple(np.array(math.prod(found), np.int64) for found in sizes))
    part = slice(call.get("start", 0), call.get("end", None))
    return Constant(tuple(np.array(found[part], np.int64) for found in sizes))


def reshape(call: Call) -> Layer:
    """Reshape, to a shape that may have been computed from that of the input."""
    target = call.inputs[1] if call.has(1) else None
    if not isinstance(target, Constant):
        call.constant(1)  # raises the reason
        raise AssertionError
    given = call.translation.full_shapes(call.layer())
    allow_zero = bool(call.get("allowzero", 0))
    shapes = [_resolved(call, s, t.tolist(), allow_zero) for s, t in zip(given, target.arrays, strict=True)]
    return _group_norm(call, shapes) or _reshaped(call, shapes)


def _group_norm(call: Call, full: list[tuple[int, ...]]) -> Layer | None:
    """Group normalisation, if that is what is written as reshaping, instance normalisation and reshaping back."""
    t, x = call.translation, call.layer()
    norm = t.op(x.name)
    if not isinstance(norm, ops.InstanceNorm) or not t.batched or not x.plain or not t.read_once(x.name):
        return None
    before = t.nodes[x.name].inputs[0]
    first = t.nodes[before].inputs[0] if isinstance(t.op(before), ops.Reshape) else ""
    if not first or [found[1:] for found in full] != list(t.shapes[first][1:]):
        return None
    groups, channels = t.shapes[x.name][0][0], t.shapes[first][0][0]
    if not groups or not channels or channels % groups:
        return None
    parameters: dict[str, Any] = {
        key: np.repeat(array, channels // groups) for key, array in t.parameters[x.name].items()
    }
    return call.simple(ops.GroupNorm(groups, norm.epsilon), first, **parameters)


def _resolved(call: Call, given: tuple[int, ...], target: list[int], allow_zero: bool) -> tuple[int, ...]:
    """The target with what 0 and -1 in it stand for."""
    if any(size == 0 and (allow_zero or axis >= len(given)) for axis, size in enumerate(target)):
        call.refuse(f"gives the shape {target} to {given}; expected sizes of 1 or more")
    sizes = [given[axis] if size == 0 else size for axis, size in enumerate(target)]
    if sizes.count(-1) == 1:
        sizes[sizes.index(-1)] = math.prod(given) // max(1, math.prod(size for size in sizes if size != -1))
    if math.prod(sizes) != math.prod(given) or min(sizes, default=1) < 1:
        call.refuse(f"gives the shape {target} to {given}, which has another number of elements")
    return tuple(sizes)


def _reshaped(call: Call, full: Sequence[tuple[int, ...]]) -> Layer:
    """The input in the shape that it has for each probe. What differs from probe to probe is open; of the elements of
    a sample none may come to another sample."""
    t = call.translation
    x = call.layer()
    if t.batched:
        if any(not found or found[0] != batch for found, batch in zip(full, t.batches, strict=True)):
            call.refuse(f"gives the shape {full[0]} to {t.full_shapes(x)[0]}, and so mixes samples")
        full = [found[1:] for found in full]
    if len({len(found) for found in full}) > 1:
        raise call.open_size("the shape")
    sizes: Shape = tuple(found[0] if len(set(found)) == 1 else None for found in zip(*full, strict=True))
    if sizes.count(None) > 1:
        return _kept(call, sizes)
    return t.reshaped(call.name, x, sizes)


def _kept(call: Call, sizes: Shape) -> Layer:
    """Where several sizes are open, only axes of size 1 may come and go."""
    x = call.layer()
    before = call.sample()
    if [size for size in before if size != 1] != [size for size in sizes if size != 1] or len(before) != len(sizes):
        raise call.open_size("the shape")
    return x


def flatten(call: Call) -> Layer:
    """Flatten to two axes. Before axis 1 there are just the samples; else minicam needs a fixed shape."""
    axis, rank = int(call.get("axis", 1)), call.rank()
    axis += rank if axis < 0 else 0
    shapes = [(math.prod(s[:axis]), math.prod(s[axis:])) for s in call.translation.full_shapes(call.layer())]
    return _reshaped(call, shapes)


def squeeze(call: Call) -> Layer:
    """Squeeze of axes, by default all, of size 1; the axis of the samples stays."""
    axes = _axes(call)
    full = call.translation.full_shapes(call.layer())
    rank = call.rank()
    if axes is None:
        axes = [axis for axis in range(call.translation.batched, rank) if full[0][axis] == 1]
    dropped = {call.axis(axis) + call.translation.batched for axis in axes}
    if any(full[0][axis] != 1 for axis in dropped):
        call.refuse(f"drops the axes {axes} of {full[0]}; expected size 1 there")
    return _reshaped(call, [tuple(n for axis, n in enumerate(found) if axis not in dropped) for found in full])


def unsqueeze(call: Call) -> Layer:
    axes = _axes(call)
    full = call.translation.full_shapes(call.layer())
    rank = call.rank() + len(axes or ())
    new = {axis % rank for axis in axes or ()}
    if call.translation.batched and 0 in new:
        call.refuse("puts an axis before that of the samples")
    found = []
    for sizes in full:
        left = iter(sizes)
        found.append(tuple(1 if axis in new else next(left) for axis in range(rank)))
    return _reshaped(call, found)


def _axes(call: Call) -> list[int] | None:
    """The axes, an attribute up to opset 12 and an input from 13 on."""
    found = call.get("axes", None) if call.version < 13 else call.constant(1, None)
    return None if found is None else np.asarray(found).reshape(-1).tolist()


def expand(call: Call) -> Layer:
    """Expand to a shape that is stretched against the input's."""
    target = call.inputs[1]
    if not isinstance(target, Constant):
        call.constant(1)
        raise AssertionError
    t, x = call.translation, call.layer()
    full = [np.broadcast_shapes(g, tuple(s.tolist())) for g, s in zip(t.full_shapes(x), target.arrays, strict=True)]
    sizes: Any = full[0]
    if len(sizes) != t.rank(x) and t.batched:
        call.refuse("puts axes before that of the samples")
    if t.batched:
        if any(found[0] != batch for found, batch in zip(full, t.batches, strict=True)):
            call.refuse("repeats samples")
        full = [found[1:] for found in full]
    if any(found != full[0] for found in full):
        raise call.open_size("the shape")
    sizes = full[0]
    wide = t.plain(t.reshaped(f"{call.name}.widened", x, (1,) * (len(sizes) - len(x.axes)) + t.sample_shapes(x)[0]))
    return call.simple(ops.Expand(sizes), wide) if t.shapes[wide][0] != sizes else call.whole(wide)


SHAPING: dict[str, Translate] = {
    "Shape": shape,
    "Size": shape,
    "Reshape": reshape,
    "Flatten": flatten,
    "Squeeze": squeeze,
    "Unsqueeze": unsqueeze,
    "Expand": expand,
}
"""Kind of node -> its translation."""
