"""The graph as fewer, larger steps: what the plan runs.

A convolution takes in the batch normalisation, the addition and the ReLU that follow it, and the concatenation and the
upsampling that it alone reads; an upsampling takes in the crop and the softmax that follow. A step has the name of the
last layer that it took in. Nothing that is kept, fed or read twice is taken in, so every name that remains has the
value that it has in the graph.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from minicam.fast.banded import outer_factors
from minicam.fast.shapes import Shapes
from minicam.graph import Node, Parameters
from minicam.ops import Add, BatchNorm, Concat, Conv, ConvTranspose, Crop, Relu, Softmax


@dataclass(frozen=True)
class Upsampled:
    """A layer `small`, upsampled by the node `up` and, if there is a node `crop`, cropped by it."""

    small: str
    up: Node
    crop: Node | None

    @property
    def name(self) -> str:
        return (self.crop or self.up).name

    @property
    def op(self) -> ConvTranspose:
        assert isinstance(self.up.op, ConvTranspose)
        return self.up.op


FEW = 8
"""A convolution has few filters if its input has so many times as many channels."""

Part = str | Upsampled
"""What a convolution reads channels from: a layer, or one that is upsampled on the way."""


@dataclass(frozen=True)
class Step:
    """A node as it is."""

    node: Node

    @property
    def name(self) -> str:
        return self.node.name

    @property
    def reads(self) -> tuple[str, ...]:
        return self.node.inputs


@dataclass(frozen=True)
class ConvolutionStep:
    """A convolution of its parts' channels, then `norm`, then the sum with the layers in `added`, then a ReLU."""

    name: str
    conv: Node
    parts: tuple[Part, ...]
    norm: Node | None = None
    added: tuple[str, ...] = ()
    rectify: bool = False

    @property
    def reads(self) -> tuple[str, ...]:
        return (*(part if isinstance(part, str) else part.small for part in self.parts), *self.added)


@dataclass(frozen=True)
class UpsamplingStep:
    """An upsampling, cropped, and the softmax of it if `softmax`."""

    name: str
    source: Upsampled
    softmax: bool = False

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.source.small,)


AnyStep = Step | ConvolutionStep | UpsamplingStep


class Absorption:
    """Which nodes can be taken in: `nodes` will run, and the names in `visible` must keep their values.

    through_upsampling: whether a convolution may take in an upsampling that it reads.
    """

    def __init__(
        self, nodes: Sequence[Node], visible: Collection[str], parameters: Parameters, through_upsampling: bool = True
    ):
        self._through_upsampling = through_upsampling
        self._by_name = {node.name: node for node in nodes}
        self._readers: dict[str, list[Node]] = {}
        for node in nodes:
            for name in node.inputs:
                self._readers.setdefault(name, []).append(node)
        self._visible = set(visible)
        self._parameters = parameters

    def only_reader(self, name: str) -> Node | None:
        """The node that alone reads the layer, once; None if it must not be taken in."""
        readers = self._readers.get(name, [])
        return readers[0] if len(readers) == 1 and name not in self._visible else None

    def hidden(self, name: str) -> Node | None:
        """The node of that name, if its one reader can take it in."""
        return self._by_name.get(name) if self.only_reader(name) else None

    def parts(self, conv: Node) -> tuple[Part, ...]:
        """What the convolution reads, seen through a concatenation."""
        joined = self.hidden(conv.inputs[0])
        names = joined.inputs if joined and joined.op == Concat() else conv.inputs
        if len(set(names)) < len(names):
            return conv.inputs
        parts: list[Part] = []
        for name in names:
            seen = any(isinstance(part, Upsampled) for part in parts)
            parts.append(name if seen else self._upsampled_part(name, convolution_of(conv)))
        return tuple(parts)

    def _upsampled_part(self, name: str, conv: Conv) -> Part:
        """The layer as `Upsampled` where that saves work: mixing channels on the small image costs one product for each
        tap, on the large image at least one for each of the positions that a small pixel turns into."""
        node = self.hidden(name) if self._through_upsampling else None
        found = self.upsampled(node) if node else None
        if found is None or conv.stride != (1, 1) or math.prod(found.op.stride) <= math.prod(conv.kernel):
            return name
        biased = self._parameters[found.up.name]["bias"].any()  # then the padding is not what the bias upsamples to
        return name if biased else found

    def upsampled(self, node: Node) -> Upsampled | None:
        """The node, an upsampling or a crop of one that it can take in, as `Upsampled`; else None."""
        up = self.hidden(node.inputs[0]) if isinstance(node.op, Crop) else node
        if up is None or not is_upsampling(up, self._parameters):
            return None
        return Upsampled(up.inputs[0], up, node if node is not up else None)


def channel_ranges(parts: Sequence[Part], shapes: Shapes) -> list[tuple[int, int]]:
    """(first, number) of the channels of each part."""
    counts = [shapes[part if isinstance(part, str) else part.name][0] for part in parts]
    return [(sum(counts[:i]), count) for i, count in enumerate(counts)]


def is_upsampling(node: Node, parameters: Parameters) -> bool:
    """Whether it is a transposed convolution of rank 2 of each channel alone, with one separable kernel for all."""
    op = node.op
    if not isinstance(op, ConvTranspose) or len(op.kernel) != 2 or min(map(min, op.cropping)) < 0:
        return False
    weight = parameters[node.name]["weight"]
    one_each = op.groups == op.filters == len(weight)
    return one_each and bool((weight == weight[:1]).all()) and outer_factors(weight[0, 0]) is not None


def is_plane_convolution(node: Node) -> bool:
    return isinstance(node.op, Conv) and len(node.op.kernel) == 2 and node.op.groups == 1


def mixes_few_channels(conv: Node, channels: int) -> bool:
    """Whether its gradient for that many input channels costs no more than reading it: a small product per pixel."""
    op = convolution_of(conv)
    plain = math.prod(op.kernel) == math.prod(op.stride) == 1 and not any(map(any, op.padding))
    return plain and FEW * op.filters <= channels


def convolution_of(node: Node) -> Conv:
    assert isinstance(node.op, Conv)
    return node.op


def steps(
    nodes: Sequence[Node], visible: Collection[str], parameters: Parameters, through_upsampling: bool = True
) -> list[AnyStep]:
    """The nodes, in running order, as steps. visible: the names that are kept or fed. See `Absorption`."""
    absorption = Absorption(nodes, visible, parameters, through_upsampling)
    found: dict[str, AnyStep] = {}
    taken: set[str] = set()
    for node in nodes:
        if node.name in taken:
            continue
        if is_plane_convolution(node):
            step: AnyStep = _convolution(node, absorption, taken)
        elif is_upsampling(node, parameters):
            step = _upsampling(node, absorption, taken)
        else:
            step = Step(node)
        found[step.name] = step
    wanted, order = set(visible), []
    for step in (found[node.name] for node in reversed(nodes) if node.name in found):
        if step.name in wanted:
            order.append(step)
            wanted.update(step.reads)
    return order[::-1]


def _convolution(conv: Node, absorption: Absorption, taken: set[str]) -> ConvolutionStep:
    step = ConvolutionStep(conv.name, conv, absorption.parts(conv))
    while True:
        node = absorption.only_reader(step.name)
        if node is None or node.name in taken:
            return step
        if isinstance(node.op, BatchNorm) and step.norm is None and not step.added:
            step = replace(step, norm=node)
        elif isinstance(node.op, Add) and not step.added and len(node.inputs) > 1:
            step = replace(step, added=tuple(name for name in node.inputs if name != step.name))
        elif isinstance(node.op, Relu):
            taken.add(node.name)
            return replace(step, name=node.name, rectify=True)
        else:
            return step
        taken.add(node.name)
        step = replace(step, name=node.name)


def _upsampling(up: Node, absorption: Absorption, taken: set[str]) -> UpsamplingStep:
    step = UpsamplingStep(up.name, Upsampled(up.inputs[0], up, None))
    node = absorption.only_reader(step.name)
    if node and isinstance(node.op, Crop) and node.inputs[0] == up.name:
        taken.add(node.name)
        step = UpsamplingStep(node.name, replace(step.source, crop=node))
        node = absorption.only_reader(step.name)
    if node and node.op == Softmax():
        taken.add(node.name)
        step = replace(step, name=node.name, softmax=True)
    return step
