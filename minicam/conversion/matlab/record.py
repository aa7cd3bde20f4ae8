"""One layer of a MATLAB network, wherever it was read from.

Arrays have MATLAB's sizes and axes: (H, W, C, ...), where an element's neighbours in a file are along the first axis.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minicam.errors import ConversionError
from minicam.graph_text import shown
from minicam.ops import Shape


@dataclass(frozen=True)
class Record:
    """kind: the class without its package. properties: name -> number, text, list of texts, or array."""

    name: str
    kind: str
    properties: dict[str, Any]

    def get(self, name: str, default: Any = None) -> Any:
        """A property; the default where it is missing or empty."""
        value = self.properties.get(name)
        empty = value.size == 0 if isinstance(value, np.ndarray) else value is None or value in ("", [])
        return default if empty else value

    def array(self, name: str, *sizes: int) -> np.ndarray:
        """A property as an array of these sizes; one size may be -1. MATLAB drops sizes of 1 at the end."""
        value = self.get(name)
        if value is None:
            raise ConversionError(f"it has no {name}: was the network trained, or at least initialised?")
        array = np.asarray(value)
        if array.dtype.kind not in "fiub":
            raise ConversionError(f"its {name} is {shown(value)}; expected numbers")
        if -1 not in sizes and array.size != math.prod(sizes):
            raise ConversionError(f"its {name} has the size {array.shape}; expected {sizes}")
        return array.reshape(sizes, order="F")

    def numbers(self, name: str, count: int, default: int | None = None) -> tuple[int, ...]:
        """A property with `count` whole numbers, or one for all."""
        value = self.get(name, default)
        numbers = np.asarray(value).reshape(-1, order="F").tolist() if not isinstance(value, str) else []
        numbers = numbers * count if len(numbers) == 1 else numbers
        if len(numbers) != count or any(number != int(number) for number in numbers):
            raise ConversionError(f"its {name} is {shown(value)}; expected {count} whole numbers")
        return tuple(int(number) for number in numbers)

    def number(self, name: str, default: float) -> float:
        value = np.asarray(self.get(name, default))
        if value.size != 1 or value.dtype.kind not in "fiub":
            raise ConversionError(f"its {name} is {shown(self.get(name))}; expected a number")
        return float(value.reshape(-1)[0])

    def text(self, name: str, default: str) -> str:
        value = self.get(name, default)
        if not isinstance(value, str):
            raise ConversionError(f"its {name} is {shown(value)}; expected text")
        return value

    def expect(self, name: str, *allowed: Any) -> None:
        """ConversionError unless a property has one of the values known here; it may be missing."""
        value = self.get(name, allowed[0])
        value = value.item() if isinstance(value, np.ndarray) and value.size == 1 else value
        if value not in allowed:
            raise ConversionError(f"its {name} is {shown(value)}; known is {' or '.join(map(repr, allowed))}")

    def padding(self, space: Shape, window: Sequence[int], stride: Sequence[int], dilation: Sequence[int]) -> Any:
        """((low, high), ...) of the properties PaddingMode and PaddingSize. "same" gives ceil(size / stride) outputs,
        with the odd one at the end."""
        mode = self.text("PaddingMode", "manual")
        if mode == "same":
            return tuple(map(_same, space, window, stride, dilation))
        if mode == "causal" and len(window) == 1:
            return ((dilation[0] * (window[0] - 1), 0),)
        self.expect("PaddingMode", "manual")
        return self.pairs("PaddingSize", len(window))

    def pairs(self, name: str, rank: int) -> tuple[tuple[int, int], ...]:
        """((low, high), ...) of [top bottom left right], or of [top left front; bottom right back]."""
        value = np.asarray(self.get(name, 0))
        if value.size == 1:
            return ((int(value.reshape(-1)[0]),) * 2,) * rank
        if value.size == 2 * rank and rank == 3:
            low, high = value.reshape(2, rank, order="F").tolist()
            return tuple(zip(map(int, low), map(int, high), strict=True))
        numbers = self.numbers(name, 2 * rank)
        return tuple((numbers[2 * axis], numbers[2 * axis + 1]) for axis in range(rank))


def _same(size: int | None, window: int, stride: int, dilation: int) -> tuple[int, int]:
    reach = dilation * (window - 1) + 1
    if size is None and stride > 1:
        raise ConversionError("its padding 'same' follows from the size of the input, which is open: give its shape")
    total = max(reach - stride if size is None else (-(-size // stride) - 1) * stride + reach - size, 0)
    return total // 2, total - total // 2
