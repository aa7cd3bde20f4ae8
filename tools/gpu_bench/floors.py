"""The least time that the work can take on this machine: multiplications at the speed of a matrix product, bytes at the
speed of a copy, whichever takes longer, layer by layer.

Bytes: each layer's inputs, its output and its weights once. What follows a convolution (batch normalisation, sum, ReLU)
is done with it; a concatenation and a crop move nothing.
"""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from gpu_bench.ceilings import Ceilings
from gpu_bench.precision import PRECISIONS
from minicam.bench.layers import FUSED, fused_group
from minicam.bench.work import layer_multiplications
from minicam.graph import Graph, Node
from minicam.ops import Concat, Conv, Crop, Normalize


class Work(NamedTuple):
    """Of one sample: multiplications, numbers of feature maps read and written, numbers of weights (of any batch)."""

    multiplications: int
    numbers: int
    weights: int


def seconds(work: Iterable[Work], precision: str, ceilings: Ceilings, batch: int = 1) -> float | None:
    """The sum of the floors of all that is in `work`; None without the ceilings that it takes."""
    chosen = PRECISIONS[precision]
    rate = max((factor * ceilings.rates.get(kind, 0.0) for kind, factor in chosen.rates), default=0.0)
    if not rate or not ceilings.bandwidth:
        return None
    total = 0.0
    for each in work:
        moved = chosen.bytes * (batch * each.numbers + each.weights)
        total += max(2 * batch * each.multiplications / rate, moved / ceilings.bandwidth)
    return total


def forward_work(graph: Graph, space: tuple[int, ...]) -> dict[str, Work]:
    """Of every layer that has to move anything, by the name of the convolution or of the layer alone."""
    shapes = shapes_of(graph, space)
    multiplications = layer_multiplications(graph, space)
    found: dict[str, Work] = {}
    fused: set[str] = set()
    for node in graph.nodes:
        if node.name in fused or isinstance(node.op, Concat | Crop | Normalize):
            continue
        group = fused_group(graph, node.name) if node.name in multiplications else [node]
        fused.update(each.name for each in group)
        inside = {each.name for each in group}
        read = {name for each in group for name in each.inputs if name not in inside}
        numbers = sum(math.prod(shapes[name]) for name in (*read, group[-1].name))
        found[node.name] = Work(multiplications.get(node.name, 0), numbers, _weights(graph, node))
    return found


def backward_work(graph: Graph, space: tuple[int, ...], layers: Sequence[str]) -> dict[str, Work]:
    """Of the gradients of one class, from the output to `layers`, at the earliest of which only the channels' means are
    wanted: what makes only that gradient, reads its output's gradient and multiplies next to nothing."""
    shapes = shapes_of(graph, space)
    path, depends = graph.between([graph.outputs[0]], list(layers), {})
    multiplications = layer_multiplications(graph, space)
    found: dict[str, Work] = {}
    for node in path:
        if isinstance(node.op, (*FUSED, Concat, Crop)):
            continue
        source = node.inputs[0]
        needed = _needed_channels(graph, source, depends, shapes)
        share = needed / shapes[source][0]
        written = math.prod(shapes[source]) * share
        last = source in layers and not _before(graph, source, depends)
        # The mask of a ReLU is as large as what is written.
        numbers = math.prod(shapes[node.name]) + (0 if last else 2 * written)
        work = 0 if last else multiplications.get(node.name, 0) * share
        found[node.name] = Work(round(work), round(numbers), round(_weights(graph, node) * share))
    return found


def job_work(graph: Graph, space: tuple[int, ...], layers: Sequence[str], classes: int) -> list[Work]:
    """Of labels and maps: one forward pass and, for each class, one backward pass."""
    backward = backward_work(graph, space, layers).values()
    return [*forward_work(graph, space).values(), *(work for _ in range(classes) for work in backward)]


def multiplied(work: Iterable[Work]) -> int:
    """All multiplications."""
    return sum(each.multiplications for each in work)


def shapes_of(graph: Graph, space: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    fed = {name: (shape[0], *space) for name, shape in graph.inputs.items()}
    return {name: tuple(size or 1 for size in shape) for name, shape in graph.shapes(fed).items()}


def _weights(graph: Graph, node: Node) -> int:
    shapes = graph.parameter_shapes.get(node.name, {}).values()
    return sum(math.prod(size or 1 for size in shape) for shape in shapes)


def _needed_channels(graph: Graph, source: str, depends: set[str], shapes: dict[str, tuple[int, ...]]) -> int:
    """Of a concatenation, the channels of those inputs whose gradient leads anywhere."""
    node = graph.by_name.get(source)
    if node is None or not isinstance(node.op, Concat):
        return shapes[source][0]
    return sum(shapes[name][0] for name in node.inputs if name in depends)


def _before(graph: Graph, name: str, depends: set[str]) -> bool:
    """Whether another layer that is wanted lies before this one."""
    return any(source in depends for source in graph.by_name[name].inputs)


def convolutions(graph: Graph) -> list[Node]:
    return [node for node in graph.nodes if isinstance(node.op, Conv)]
