"""One node of the source, as the functions that translate it see it."""

from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np

from minicam.conversion.onnx.translation import Translation
from minicam.conversion.onnx.values import Constant, Layer, Unsupported, Value
from minicam.ops import Constant as ConstantOp
from minicam.ops import Op, Shape

Translate = Callable[["Call"], list[Value] | Value]
REQUIRED: Any = object()


class Call:
    """A node: its kind, attributes, inputs (None where left out), and where its layers go. version: the opset."""

    def __init__(
        self,
        node: Any,
        name: str,
        attributes: dict[str, Any],
        inputs: list[Value | None],
        translation: Translation,
        version: int,
    ):
        self.kind: str = node.op_type
        self.name = name
        self.attributes = attributes
        self.inputs = inputs
        self.input_names: list[str] = list(node.input)
        self.outputs: list[str] = list(node.output)
        self.translation = translation
        self.version = version

    def get(self, name: str, default: Any = REQUIRED) -> Any:
        """An attribute: number, text, list of numbers, or array."""
        if name in self.attributes:
            return self.attributes[name]
        if default is REQUIRED:
            raise Unsupported(f"has no attribute {name}")
        return default

    def has(self, index: int) -> bool:
        return index < len(self.inputs) and self.inputs[index] is not None

    def constant(self, index: int, default: Any = REQUIRED) -> Any:
        """An input that has to be known beforehand, and the same for every size of the graph's inputs."""
        if not self.has(index):
            if default is REQUIRED:
                raise Unsupported(f"has no input {index}")
            return default
        value = self.inputs[index]
        name = self.input_names[index]
        if not isinstance(value, Constant):
            raise Unsupported(f"input {index} ({name!r}) is not a constant; minicam needs it as one", (name,))
        if value.fixed is None:
            raise self.open_size(f"input {index} ({name!r})")
        return value.fixed

    def open_size(self, what: str) -> Unsupported:
        return Unsupported(f"{what} depends on a size of the input that is left open; give the input's shape")

    def layer(self, index: int = 0) -> Layer:
        """An input as what a layer gives; a constant becomes a layer of its own."""
        if not self.has(index):
            raise Unsupported(f"has no input {index}")
        value = self.inputs[index]
        if isinstance(value, Constant):
            return self.as_layer(self.constant(index), f"{self.name}.constant")
        assert isinstance(value, Layer)
        return value

    def as_layer(self, array: np.ndarray, name: str) -> Layer:
        """A constant as a layer. Where there are samples its axis 0 has to be 1, or missing."""
        if not np.issubdtype(array.dtype, np.floating):
            raise Unsupported(f"a constant of type {array.dtype} takes part in arithmetic; expected floating point")
        if self.translation.batched:
            if array.ndim and len(array) != 1:
                raise Unsupported(f"a constant {array.shape} differs from sample to sample")
            array = array.reshape(array.shape[1:])
        shape = array.shape or (1,)
        source = next(iter(self.translation.inputs))
        made = self.translation.add(name, ConstantOp(shape), [source], {"value": array.reshape(shape)})
        return Layer(made, tuple(range(array.ndim)))

    def plain(self, index: int = 0) -> str:
        """The name of a layer that gives an input in its own order."""
        return self.translation.plain(self.layer(index))

    def image(self, index: int = 0) -> tuple[str, int]:
        """The same for an input (N, C, *space), and the number of its spatial axes."""
        if not self.translation.batched:
            raise Unsupported("needs tensors whose axis 0 counts samples")
        name = self.plain(index)
        return name, len(self.translation.shapes[name][0]) - 1

    def rank(self, index: int = 0) -> int:
        return self.translation.rank(self.layer(index))

    def sample(self, index: int = 0) -> Shape:
        """The shape of one sample of an input, open sizes as None."""
        return self.translation.sample_shapes(self.layer(index))[0]

    def axis(self, axis: int, index: int = 0) -> int:
        """The axis of a sample of an input that is this axis of the whole tensor."""
        return self.translation.sample_axis(int(axis), self.rank(index))

    def add(self, op: Op, *inputs: str, part: str = "", **parameters: Any) -> str:
        """A layer of the node's name, and of one more part where the node becomes several."""
        name = f"{self.name}.{part}" if part else self.name
        return self.translation.add(name, op, inputs or (self.plain(),), parameters)

    def whole(self, name: str) -> Layer:
        """What a layer gives, in its own order."""
        return Layer(name, tuple(range(len(self.translation.shapes[name][0]))))

    def simple(self, op: Op, *inputs: str, part: str = "", **parameters: Any) -> Layer:
        """`add`, and what it gives."""
        return self.whole(self.add(op, *inputs, part=part, **parameters))

    def refuse(self, reason: str) -> NoReturn:
        raise Unsupported(reason)
