"""From a model's nodes to a graph: what is known beforehand is folded, and every other node is looked up in a table.

A tensor is a `Constant`, or what a `Layer` gives. Transposing a layer moves no data: the new order is noted, and a
layer that does it is added only where a reader needs another order. So transpositions that undo each other vanish.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from minicam.conversion.onnx.values import BATCHES, PROBES, Constant, Layer, Unsupported, Value
from minicam.conversion.reading import layer_name
from minicam.errors import LayerError
from minicam.graph import Graph, Node
from minicam.network import Network
from minicam.ops import Flatten, Op, Reshape, Shape, Transpose

Shapes = tuple[Shape, ...]
"""The shape of one sample, open sizes as None, and the same with each of PROBES for them."""


class Translation:
    """The layers so far. batched: whether axis 0 of the source's tensors counts samples."""

    def __init__(self, batched: bool, batch: int | None = None):
        self.batched = batched
        self.batches = (batch,) * len(PROBES) if batch is not None else BATCHES
        self.inputs: dict[str, Shape] = {}
        self.nodes: dict[str, Node] = {}
        self.parameters: dict[str, dict[str, np.ndarray]] = {}
        self.shapes: dict[str, Shapes] = {}
        self.values: dict[str, Value] = {}
        self.readers: Counter[str] = Counter()
        self.tensors: defaultdict[str, list[str]] = defaultdict(list)  # layer -> the tensors that it gives
        self.notes: list[str] = []
        self._transposed: dict[Layer, str] = {}

    def add_input(self, name: str, shape: Shape, axes: Sequence[int] | None = None) -> Layer:
        """An input of the graph, (C, *space); axes: as of `Layer`."""
        name = layer_name(name, self.shapes)
        self.inputs[name] = shape
        self.shapes[name] = (shape, *(tuple(size or probe for size in shape) for probe in PROBES))
        return Layer(name, tuple(range(len(shape)) if axes is None else axes))

    def add(self, name: str, op: Op, inputs: Sequence[str], parameters: Mapping[str, Any] | None = None) -> str:
        """A layer that reads `inputs`, layers in their own order; returns its name, which is new. Raises Unsupported
        where op, inputs and parameters do not fit."""
        name = layer_name(name, self.shapes)
        arrays = {key: np.asarray(value) for key, value in (parameters or {}).items()}
        try:
            read = list(zip(*(self.shapes[source] for source in inputs), strict=True))
            shapes = tuple(op.output_shape(*given) for given in read)
            wanted = op.parameter_shapes(*read[0])
        except LayerError as error:
            raise Unsupported(f"{type(op).__name__}: {error}") from error
        if any(size is not None and size < 1 for shape in shapes for size in shape):
            raise Unsupported(f"{type(op).__name__}: the output would have shape {shapes[0]}; the input is too small")
        found = {key: array.shape for key, array in arrays.items()}
        if wanted != found:
            raise Unsupported(f"{type(op).__name__}: has parameters of shapes {found}; expected {wanted}")
        self.nodes[name] = Node(name, op, tuple(inputs))
        if arrays:
            self.parameters[name] = {key: floating(array) for key, array in arrays.items()}
        self.shapes[name] = shapes
        return name

    def op(self, layer: str) -> Op | None:
        """The op of a layer; None of an input."""
        return self.nodes[layer].op if layer in self.nodes else None

    def set(self, tensor: str, value: Value) -> None:
        """What a tensor of the source is."""
        self.values[tensor] = value
        if isinstance(value, Layer):
            self.tensors[value.name].append(tensor)

    def read_once(self, layer: str) -> bool:
        """Whether nobody but one node of the source reads a layer, so that the two may become one."""
        return all(self.readers[tensor] == 1 for tensor in self.tensors[layer])

    def plain(self, layer: Layer) -> str:
        """The name of a layer that gives the tensor in its own order: transposed by a layer more where needed."""
        if layer.plain or not layer.axes:
            return layer.name
        if layer not in self._transposed:
            name = f"{layer.name}.transposed"
            source = self._as_wide(layer)
            self._transposed[layer] = self.add(name, Transpose(layer.axes), [source])
        return self._transposed[layer]

    def _as_wide(self, layer: Layer) -> str:
        """The layer's name; what has fewer axes than the layer is not transposed anywhere."""
        if len(layer.axes) != len(self.shapes[layer.name][0]):
            raise Unsupported("transposes a tensor without axes")
        return layer.name

    def sample_shapes(self, layer: Layer) -> Shapes:
        """The shapes of one sample of the tensor, in its own order."""
        return tuple(tuple(shape[axis] for axis in layer.axes) for shape in self.shapes[layer.name])

    def full_shapes(self, layer: Layer) -> list[tuple[int, ...]]:
        """The tensor's own shape for each probe, with the number of samples where it has that axis."""
        probed: list[Any] = list(self.sample_shapes(layer)[1:])
        return [(n, *shape) if self.batched else shape for n, shape in zip(self.batches, probed, strict=True)]

    def rank(self, value: Value) -> int:
        """The number of axes of the source's tensor."""
        if isinstance(value, Constant):
            return value.arrays[0].ndim
        assert isinstance(value, Layer)
        return len(value.axes) + self.batched

    def sample_axis(self, axis: int, rank: int) -> int:
        """The axis of a sample that is this axis of a tensor of that rank. Raises Unsupported for that of samples."""
        if not -rank <= axis < rank:
            raise Unsupported(f"acts along axis {axis} of a tensor with {rank} axes")
        axis %= rank
        if self.batched and axis == 0:
            raise Unsupported("acts along axis 0, which counts samples; minicam treats each sample alone")
        return axis - self.batched

    def reshaped(self, name: str, layer: Layer, shape: Shape) -> Layer:
        """The tensor with its elements, in row-major order of its own axes, in another shape; of the sizes one may be
        -1, or open (None)."""
        own = self.sample_shapes(layer)[0]
        moved = [axis for axis, size in zip(layer.axes, own, strict=True) if size != 1]
        source = layer.name if moved == sorted(moved) else self.plain(layer)
        sizes = tuple(-1 if size is None else size for size in shape)
        if self.shapes[source][0] == shape:
            return Layer(source, tuple(range(len(shape))))
        if not shape:
            return Layer(self.add(name, Reshape((1,)), [source]), ())
        op = Flatten() if len(shape) == 1 else Reshape(sizes)
        return Layer(self.add(name, op, [source]), tuple(range(len(shape))))

    def network(self, outputs: Sequence[str], classes: Sequence[str]) -> Network:
        """The layers that the outputs need, as a network."""
        needed = set(outputs)
        for node in reversed(self.nodes.values()):
            if node.name in needed:
                needed.update(node.inputs)
        nodes = tuple(node for node in self.nodes.values() if node.name in needed)
        graph = Graph(self.inputs, nodes, tuple(outputs))
        parameters = {name: arrays for name, arrays in self.parameters.items() if name in graph.by_name}
        return Network(graph, parameters, classes)


def floating(array: np.ndarray) -> np.ndarray:
    """The array as it may be stored: float16 to float64, other types as float32."""
    return array if array.dtype in (np.float16, np.float32, np.float64) else array.astype(np.float32)
