"""Keras's layers that join, move, repeat or leave out elements. Axes are renumbered: Keras keeps channels last."""

from collections.abc import Sequence
from typing import Any

from minicam.conversion.building import Step
from minicam.conversion.keras.layer import Layer, Translator
from minicam.errors import ConversionError
from minicam.graph_text import shown
from minicam.ops import Add, Concat, Flatten, Op, Pad, Reshape, Resize, Slice, Sum, Transpose
from minicam.ops.rearranging import END


def joined(op: type[Op]) -> Translator:
    """Layers that combine all inputs element by element, of which sizes of 1 are stretched."""

    def translated(layer: Layer) -> list[Step]:
        if len({len(shape) for shape in layer.shapes}) > 1:
            raise ConversionError(f"its inputs {layer.shapes} have different numbers of axes")
        alike = op is Sum and len(set(layer.shapes)) == 1
        return [Step(Add() if alike else op())]

    return translated


def concatenate(layer: Layer) -> list[Step]:
    return [Step(Concat(axis=_axis(layer, layer.config.get("axis", -1))))]


def flatten(layer: Layer) -> list[Step]:
    """In minicam's order; see `translation`, which keeps in mind that Keras's is another."""
    layer.expect("data_format", "channels_last")
    return [Step(Flatten())]


def reshape(layer: Layer) -> list[Step]:
    target = layer.config["target_shape"]
    if not isinstance(target, list) or not target or not all(type(size) is int for size in target):
        raise ConversionError(f"its option target_shape is {shown(target)}; expected whole numbers")
    steps = [Step(Transpose((*range(1, layer.rank + 1), 0)), suffix="last")] if layer.rank else []
    if len(target) == 1:
        return [*steps, Step(Flatten())]
    order = (len(target) - 1, *range(len(target) - 1))
    return [*steps, Step(Reshape(tuple(target)), suffix="reshaped"), Step(Transpose(order))]


def permute(layer: Layer) -> list[Step]:
    """Axis i of the result is axis dims[i] of the input, counted from 1 and without the samples."""
    dims = layer.config["dims"]
    axes = [_axis(layer, axis) for axis in dims]
    return [Step(Transpose((axes[-1], *axes[:-1])))]


def zero_padding(layer: Layer) -> list[Step]:
    layer.expect("data_format", "channels_last")
    return [Step(Pad(((0, 0), *_pairs(layer, "padding"))))]


def cropping(layer: Layer) -> list[Step]:
    layer.expect("data_format", "channels_last")
    pairs = _pairs(layer, "cropping")
    return [Step(Slice((0, *(low for low, _ in pairs)), (END, *(-high if high else END for _, high in pairs))))]


def upsampling(layer: Layer) -> list[Step]:
    layer.expect("data_format", "channels_last")
    layer.expect("interpolation", "nearest", "bilinear")
    method = "linear" if layer.config.get("interpolation") == "bilinear" else "nearest"
    return [Step(Resize(scales=layer.per_axis("size", 2), method=method))]


def resizing(layer: Layer) -> list[Step]:
    layer.expect("data_format", "channels_last")
    layer.expect("interpolation", "bilinear")
    for option in ("crop_to_aspect_ratio", "pad_to_aspect_ratio", "antialias"):
        layer.expect(option, False)
    return [Step(Resize(sizes=(layer.config["height"], layer.config["width"])))]


def _pairs(layer: Layer, option: str) -> Sequence[tuple[int, int]]:
    """((low, high), ...) of a number, one for each axis, or pairs; of sequences also one pair."""
    value: Any = layer.config.get(option, 1)
    if layer.rank == 1 and isinstance(value, list) and len(value) == 2 and all(type(v) is int for v in value):
        value = [value]
    values = [value] * layer.rank if isinstance(value, int) else value
    pairs = [[v, v] if isinstance(v, int) else v for v in values]
    if len(pairs) != layer.rank or not all(len(pair) == 2 and all(type(v) is int for v in pair) for pair in pairs):
        raise ConversionError(f"its option {option} is {shown(value)}; expected pairs for {layer.rank} axes")
    return [(low, high) for low, high in pairs]


def _axis(layer: Layer, axis: Any) -> int:
    """Keras's axis, which counts the samples, as that of (C, *space)."""
    last = layer.rank + 1
    if type(axis) is not int or not -last <= axis <= last or axis == 0:
        raise ConversionError(f"its axis is {shown(axis)}; expected 1 to {last}, or -1 for the last")
    axis = axis % (last + 1)
    return 0 if axis == last else axis
