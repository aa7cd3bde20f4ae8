"""What makes an architecture read like its table: each line adds a layer and hands on its name."""

from collections.abc import Sequence

from minicam.graph import Graph, Node
from minicam.ops import BatchNorm, Conv, Op, Relu, Shape

PAD_BOTTOM_RIGHT = ((0, 1), (0, 1))
"""For windows of 3 at stride 2: they then halve even sizes exactly, from the first row and column on."""


class Builder:
    """Collects nodes in running order. `last` is the name of the layer added last."""

    def __init__(self, name: str, shape: Shape):
        self._inputs = {name: shape}
        self._nodes: list[Node] = []
        self.last = name

    def add(self, name: str, op: Op, *inputs: str) -> str:
        """Add a layer that reads `inputs` (default: the last layer); returns its name."""
        self._nodes.append(Node(name, op, inputs or (self.last,)))
        self.last = name
        return name

    def conv_relu(self, conv_name: str, relu_name: str, conv: Conv, *inputs: str) -> str:
        """A convolution and its ReLU."""
        self.add(conv_name, conv, *inputs)
        return self.add(relu_name, Relu())

    def conv_norm(self, names: Sequence[str], conv: Conv, *inputs: str) -> str:
        """A convolution, its batch normalisation and, if a third name is given, a ReLU."""
        ops = (conv, BatchNorm(), Relu())
        self.add(names[0], ops[0], *inputs)
        for name, op in zip(names[1:], ops[1:], strict=False):
            self.add(name, op)
        return self.last

    def graph(self) -> Graph:
        return Graph(self._inputs, tuple(self._nodes), (self.last,))
