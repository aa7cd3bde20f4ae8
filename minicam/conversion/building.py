"""What readers share that go through another framework's layers one by one: a graph that grows."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from minicam.conversion.reading import layer_name
from minicam.graph import Graph, Node
from minicam.ops import Flatten, Normalize, Op, Reshape, Shape


@dataclass(frozen=True)
class Step:
    """One op of a layer, and its parameters. All but the last of a layer have a suffix to the layer's name."""

    op: Op
    parameters: dict[str, np.ndarray] = field(default_factory=dict)
    suffix: str = ""


@dataclass
class Building:
    """The inputs, nodes and parameters so far."""

    inputs: dict[str, Shape] = field(default_factory=dict)
    nodes: list[Node] = field(default_factory=list)
    parameters: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)

    def graph(self, outputs: Sequence[str]) -> Graph:
        return Graph(self.inputs, tuple(self.nodes), tuple(outputs))

    def add_input(self, name: str, shape: Shape) -> str:
        """An input, whose name is made one that files allow."""
        name = self.free_name(name)
        self.inputs[name] = shape
        return name

    def add(
        self, name: str, steps: Sequence[Step], sources: Sequence[str], shapes: Sequence[Shape]
    ) -> tuple[str, Shape]:
        """The nodes of one layer, which reads `sources` of these shapes; name and shape of the last, which has the
        layer's name."""
        for step in steps:
            node = self.free_name(f"{name}_{step.suffix}" if step.suffix else name)
            shapes = [step.op.output_shape(*shapes)]
            self.nodes.append(Node(node, step.op, tuple(sources)))
            if step.parameters:
                self.parameters[node] = step.parameters
            sources = [node]
        return sources[0], shapes[0]

    def free_name(self, name: str) -> str:
        return layer_name(name, {*self.inputs, *(node.name for node in self.nodes)})


def standardized(mean: np.ndarray, std: np.ndarray, shape: Shape) -> list[Step]:
    """(x - mean) / std for x of that shape; mean and std have one number, one for each channel (C, 1, ...), or one for
    each element of a sample (C, *space). LayerError where they fit none of these."""
    full = tuple(size or 1 for size in shape)
    mean, std = (np.broadcast_to(np.asarray(array, np.float64), full) for array in (mean, std))
    flat = [array.reshape(full[0], -1) for array in (mean, std)]
    if all((array == array[:, :1]).all() for array in flat):
        return [Step(Normalize(), {"mean": flat[0][:, 0].copy(), "std": flat[1][:, 0].copy()})]
    each = Step(Normalize(), {"mean": mean.reshape(-1), "std": std.reshape(-1)}, "each")
    return [Step(Flatten(), suffix="flat"), each, Step(Reshape(full))]
