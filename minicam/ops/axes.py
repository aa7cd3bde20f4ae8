"""Axes as an option: those of a sample (C, *space), of which 0 is the channels. The batch is never meant."""

from collections.abc import Sequence
from typing import Any

from minicam.ops.base import Shape, require
from minicam.windows import per_axis


def set_axes(op: Any) -> None:
    """Check op.axes, and keep them as a tuple in ascending order. Raises LayerError."""
    kind, given = type(op).__name__, op.axes
    require(isinstance(given, list | tuple) and given, f"{kind}: axes is {given!r}; expected one or more axes")
    axes = tuple(sorted(per_axis(f"{kind}: axes", given, len(given))))
    require(
        min(axes) >= 0 and len(set(axes)) == len(axes),
        f"{kind}: axes is {given!r}; expected different axes of a sample, 0 (the channels) or more",
    )
    object.__setattr__(op, "axes", axes)


def check_axes(op: Any, shape: Shape) -> None:
    """LayerError unless a sample of that shape has all of op.axes."""
    require(
        max(op.axes) < len(shape), f"the input {shape} has {len(shape)} axes; {type(op).__name__}: axes is {op.axes}"
    )


def batched(axes: Sequence[int]) -> tuple[int, ...]:
    """The same axes of an array (N, C, *space)."""
    return tuple(axis + 1 for axis in axes)
