"""What planning a forward and a backward pass share."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from minicam.cuda.buffers import FLOAT, Buffer, FeatureMaps, Launch, feature_maps
from minicam.cuda.layout import combine, to_channels_last
from minicam.cuda.plan import Call, Step, Value
from minicam.fast.rewrite import Upsampled

Shapes = Mapping[str, tuple[int, ...]]
"""Layer -> (C, *space)."""


class Planner:
    """What forward and backward planning share: a list of steps that grows, and values by name."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.values: dict[str, Value] = {}

    def launch(self, launches: Sequence[Launch]) -> None:
        self.steps.extend(launches)

    def call(self, function: Callable[..., Sequence[Any]], reads: Sequence[Value], writes: Sequence[Value]) -> None:
        self.steps.append(Call(function, tuple(reads), tuple(writes)))

    def maps(self, name: str) -> FeatureMaps:
        """The layer's value, channels last."""
        value = self.values[name]
        if isinstance(value, Buffer):
            self.values[name] = value = self.channels_last(value)
        return value

    def channels_last(self, value: Buffer, dtype: np.dtype = FLOAT) -> FeatureMaps:
        """A buffer (N, C, H, W) as feature maps."""
        samples, channels, rows, columns = value.shape
        maps = feature_maps(samples, rows, columns, channels, dtype)
        self.launch(to_channels_last(value, maps, None, None))
        return maps

    def sum_of(self, maps: Sequence[FeatureMaps]) -> FeatureMaps:
        """Their sum, in a buffer of its own where there are several."""
        total, *others = maps
        for other in others:
            result = like(total)
            self.launch(combine([total, other], result))
            total = result
        return total


def like(maps: FeatureMaps, dtype: np.dtype | None = None) -> FeatureMaps:
    """Feature maps of the same sizes, in a buffer of their own."""
    return feature_maps(maps.samples, maps.rows, maps.columns, maps.channels, dtype or maps.dtype)


def cropping(source: Upsampled, shapes: Shapes) -> tuple[int, int]:
    """The rows and columns that are cropped in front of an upsampled layer: by the op, and by a centre crop."""
    before, after = shapes[source.up.name][1:], shapes[source.name][1:]
    row, column = (
        low + (full - wanted) // 2 for (low, _), full, wanted in zip(source.op.cropping, before, after, strict=True)
    )
    return row, column
