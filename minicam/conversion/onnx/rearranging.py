"""Ops that move, repeat, join or leave out elements."""

import math

import numpy as np

from minicam import ops
from minicam.conversion.onnx.call import Call, Translate
from minicam.conversion.onnx.products import along
from minicam.conversion.onnx.values import Layer, Value
from minicam.ops.rearranging import END

LARGEST = float(np.finfo(np.float32).max)


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
    "Transpose": transpose,
    "Slice": slice_,
    "Split": split,
    "Gather": gather,
    "Concat": concat,
    "Pad": pad,
    "Tile": tile,
    "DepthToSpace": depth_to_space,
    "SpaceToDepth": depth_to_space,
}
