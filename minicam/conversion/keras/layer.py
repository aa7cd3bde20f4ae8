"""One layer of a Keras model as the file describes it, and the steps that minicam takes for it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minicam.conversion.building import Step
from minicam.errors import ConversionError
from minicam.graph_text import shown
from minicam.ops import Shape


@dataclass(frozen=True)
class Layer:
    """A layer: its class, its options, its weights, and the shapes (C, *space) of what it reads.

    unordered: of a single input that is a vector, the shape (C, *space) that it was before it was flattened, where its
    elements are still in minicam's order and not in Keras's, which has the channels last.
    """

    kind: str
    name: str
    config: dict[str, Any]
    weights: Sequence[np.ndarray]
    shapes: tuple[Shape, ...]
    unordered: Shape | None = None

    @property
    def shape(self) -> Shape:
        return self.shapes[0]

    @property
    def channels(self) -> int:
        if self.shape[0] is None:
            raise ConversionError("the number of channels is open; expected a fixed one")
        return self.shape[0]

    @property
    def space(self) -> tuple[int | None, ...]:
        return self.shape[1:]

    @property
    def rank(self) -> int:
        """The number of spatial axes."""
        return len(self.space)

    def expect(self, option: str, *allowed: Any) -> None:
        """ConversionError unless an option has one of the values that are known here; it may be missing."""
        value = self.config.get(option, allowed[0])
        if not any(value == one and type(value) is type(one) for one in allowed):
            known = " or ".join(map(repr, allowed))
            raise ConversionError(f"its option {option} is {shown(value)}; known is {known}")

    def per_axis(self, option: str, default: int = 1) -> tuple[int, ...]:
        """An option with a whole number for each spatial axis, or one for all."""
        value = self.config.get(option)
        value = default if value is None else value
        values = [value] * self.rank if isinstance(value, int) else value
        if not isinstance(values, list) or len(values) != self.rank or not all(type(v) is int for v in values):
            raise ConversionError(f"its option {option} is {shown(value)}; expected {self.rank} whole numbers")
        return tuple(values)

    def number(self, option: str, default: float) -> float:
        value = self.config.get(option, default)
        value = default if value is None else value
        if type(value) not in (int, float):
            raise ConversionError(f"its option {option} is {shown(value)}; expected a number")
        return value

    def take(self, *names: str) -> dict[str, np.ndarray]:
        """The weights by name. ConversionError where there are not just as many."""
        if len(self.weights) != len(names):
            shapes = ", ".join(str(array.shape) for array in self.weights) or "none"
            raise ConversionError(
                f"it has {len(self.weights)} weights ({shapes}); expected {', '.join(names) or 'none'}"
            )
        return dict(zip(names, self.weights, strict=True))


Translator = Callable[[Layer], list[Step]]


def same_padding(layer: Layer, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]) -> Any:
    """The padding ((low, high), ...) of Keras's "same", with which there are ceil(size / stride) outputs: the odd one
    is at the end. ConversionError where it follows from a size that is open."""
    pairs = []
    for size, taps, step, apart in zip(layer.space, kernel, stride, dilation, strict=True):
        reach = apart * (taps - 1) + 1
        if size is None and step > 1:
            raise ConversionError(
                "its padding 'same' follows from the size of the input, which is open: give its shape"
            )
        total = max(reach - step if size is None else (-(-size // step) - 1) * step + reach - size, 0)
        pairs.append((total // 2, total - total // 2))
    return tuple(pairs)
