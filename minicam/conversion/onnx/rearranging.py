"""Ops that move, repeat, join or leave out elements."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from minicam import ops
from minicam.conversion.onnx.call import Call, Translate
from minicam.conversion.onnx.products import along
from minicam.conversion.onnx.values import Constant, Layer, Value
from minicam.ops import Shape
from minicam.ops.rearranging import END

LARGEST = float(np.finfo(np.float32).max)


def shape(call: Call) -> Constant:
    """Shape, perhaps of some axes, and Size."""
    sizes = call.translation.full_shapes(call.layer())
    if call.kind == "Size":
        return Constant(tuple(np.array(math.prod(found), np.int64) for found in sizes))
    part = slice(call.get("start", 0), call.get("end", None))
    return Constant(tuple(np.array(found[part], np.int64) for found in sizes))


def transpose(call: Call) -> Layer:
    """Transpose: noted, not done."""
    x = call.layer()
    rank = call.rank()
    order = list(call.get("perm", range(rank)[::-1]))
    if sorted(order) != list(range(rank)):
        call.refuse(f"perm is {order}; expected each of {rank} axes once")
    if call.translation.batched:
        if order[0] != 0:
            call.refuse("moves axis 0, which counts samples; minicam treats each sample alone")
        order = [axis - 1 for axis in order[1:]]
    return Layer(x.name, tuple(x.axes[axis] for axis in order))


def reshape(call: Call) -> Layer:
    """Reshape, to a shape that may have been computed from that of the input."""
    target = call.inputs[1] if call.has(1) else None
    if not isinstance(target, Constant):
        call.constant(1)  # raises the reason
        raise AssertionError
    given = call.translation.full_shapes(call.layer())
    allow_zero = bool(call.get("allowzero", 0))
    shapes = [_resolved(call, s, t.tolist(), allow_zero) for s, t in zip(given, target.arrays, strict=True)]
    return _reshaped(call, shapes)


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


def slice_(call: Call) -> Value:
    """Slice, whose ranges are attributes up to opset 9 and inputs from 10 on."""
    if call.version < 10:
        starts, ends, axes, steps = (*(call.get(n) for n in ("starts", "ends")), call.get("axes", None), None)
    else:
        starts, ends = (call.constant(i).tolist() for i in (1, 2))
        axes, steps = (None if call.constant(i, None) is None else call.constant(i).tolist() for i in (3, 4))
    axes = list(range(len(starts))) if axes is None else axes
    steps = [1] * len(starts) if steps is None else steps
    taken = {}
    for axis, start, stop, step in zip(axes, starts, ends, steps, strict=True):
        everything = start == 0 and stop >= END and step == 1
        if not (call.translation.batched and axis % call.rank() == 0 and everything):
            taken[call.axis(axis)] = (start, stop, step)
    return sliced(call, taken)


def sliced(call: Call, taken: dict[int, tuple[int, int, int]], part: str = "") -> Layer:
    """A layer that takes start, stop and step of some axes of a sample, and all of the others."""
    x = call.layer()
    if not taken:
        return x
    by_layer = {x.axes[axis]: found for axis, found in taken.items()}
    ranges = [by_layer.get(axis, (0, END, 1)) for axis in range(len(x.axes))]
    held = [[max(-END, min(END, int(n))) for n in column] for column in zip(*ranges, strict=True)]
    return Layer(call.add(ops.Slice(*map(tuple, held)), x.name, part=part), x.axes)


def split(call: Call) -> list[Value]:
    """Split into layers one after the other, of equal sizes where none are given."""
    axis = call.axis(call.get("axis", 0))
    size = call.sample()[axis]
    sizes = call.get("split", None) if call.version < 13 else call.constant(1, None)
    if sizes is None:
        if size is None:
            raise call.open_size("the size of the parts")
        each = math.ceil(size / len(call.outputs))
        sizes = [min(each, size - i * each) for i in range(len(call.outputs))]
    ends = np.cumsum(np.asarray(sizes)).tolist()
    starts = [0, *ends[:-1]]
    return [
        sliced(call, {axis: (start, stop, 1)}, part=str(i))
        for i, (start, stop) in enumerate(zip(starts, ends, strict=True), start=1)
    ]


def gather(call: Call) -> Value:
    """Gather of one index, or of indices with a constant step."""
    axis = call.axis(call.get("axis", 0))
    indices = call.constant(1)
    size = call.sample()[axis]
    found = indices.reshape(-1).tolist()
    if size is not None:
        found = [index % size for index in found]
    steps = set(np.diff(found).tolist())
    if indices.ndim > 1 or len(steps) > 1 or 0 in steps or not found:
        return _picked(call, axis, found, indices.shape)
    step = steps.pop() if steps else 1
    stop = found[-1] + (1 if step > 0 else -1)
    stop = stop if stop >= 0 and found[-1] != -1 else (END if step > 0 else -END)
    taken = sliced(call, {axis: (found[0], stop, step)}, part="" if indices.ndim else "slice")
    if indices.ndim:
        return taken
    t = call.translation
    shape = t.sample_shapes(taken)[0]
    return t.reshaped(call.name, taken, shape[:axis] + shape[axis + 1 :])


def _picked(call: Call, axis: int, found: list[int], shape: tuple[int, ...]) -> Layer:
    """Gather of any indices, as the product with a matrix that has a 1 in each row."""
    sizes = call.sample()
    size = sizes[axis]
    if size is None:
        raise call.open_size("the axis that is gathered from")
    y = along(call, axis, np.eye(size, dtype=np.float32)[found], part="" if len(shape) == 1 else "picked")
    return call.translation.reshaped(call.name, y, sizes[:axis] + shape + sizes[axis + 1 :])


def concat(call: Call) -> Layer:
    """Concat along any axis but that of the samples."""
    t = call.translation
    layers = [call.layer(index) for index in range(len(call.inputs))]
    axis = t.sample_axis(call.get("axis"), t.rank(layers[0]))
    first = layers[0]
    if any(layer.axes != first.axes for layer in layers):
        names = [t.plain(layer) for layer in layers]
        first = Layer(first.name, tuple(range(len(first.axes))))
    else:
        names = [layer.name for layer in layers]
    return Layer(call.add(ops.Concat(axis=first.axes[axis]), *names), first.axes)


def pad(call: Call) -> Layer:
    """Pad, whose widths are an attribute up to opset 10 and an input from 11 on; negative ones cut off."""
    mode = {"constant": "constant", "reflect": "reflect", "edge": "edge", "wrap": "wrap"}[call.get("mode", "constant")]
    if call.version < 11:
        widths, value = call.get("pads"), call.get("value", 0.0)
    else:
        widths, value = call.constant(1).tolist(), call.constant(2, np.zeros(()))
    count = len(widths) // 2
    axes = call.constant(3, np.arange(count)).tolist() if call.version >= 18 else range(count)
    x = call.layer()
    ends = [[0, 0] for _ in x.axes]
    for axis, pair in zip(axes, zip(widths[:count], widths[count:], strict=True), strict=True):
        if any(pair):
            ends[x.axes[call.axis(axis)]] = [int(n) for n in pair]
    name = x.name
    if min(map(min, ends), default=0) < 0:
        cut = [tuple(max(0, -n) for n in pair) for pair in ends]
        stops = tuple(-high if high else END for _, high in cut)
        inside = ops.Slice(tuple(low for low, _ in cut), stops)
        name = call.add(inside, name, part="inside")
    wide = tuple((max(0, low), max(0, high)) for low, high in ends)
    number = float(np.clip(np.asarray(value, float).reshape(-1)[0], -LARGEST, LARGEST))  # files hold no infinity
    op = ops.Pad(wide, mode, number if mode == "constant" else 0.0)
    return Layer(call.add(op, name), x.axes)


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


def tile(call: Call) -> Value:
    """Tile, as a concatenation of the layer with itself along each axis."""
    x = call.layer()
    for axis, count in enumerate(call.constant(1).tolist()):
        if count != 1:
            along = call.axis(axis)
            x = Layer(call.add(ops.Concat(axis=x.axes[along]), *[x.name] * int(count), part=f"axis{axis}"), x.axes)
    return x


def depth_to_space(call: Call) -> Layer:
    """DepthToSpace and SpaceToDepth."""
    block = (int(call.get("blocksize")),) * 2
    source, _ = call.image()
    order = {"DCR": "positions_first", "CRD": "channels_first"}[call.get("mode", "DCR")]
    op = ops.DepthToSpace if call.kind == "DepthToSpace" else ops.SpaceToDepth
    return call.simple(op(block, order), source)


REARRANGING: dict[str, Translate] = {
    "Shape": shape,
    "Size": shape,
    "Transpose": transpose,
    "Reshape": reshape,
    "Flatten": flatten,
    "Squeeze": squeeze,
    "Unsqueeze": unsqueeze,
    "Slice": slice_,
    "Split": split,
    "Gather": gather,
    "Concat": concat,
    "Pad": pad,
    "Expand": expand,
    "Tile": tile,
    "DepthToSpace": depth_to_space,
    "SpaceToDepth": depth_to_space,
}
