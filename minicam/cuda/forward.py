"""Planning a forward pass: the steps of the graph as launches."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

from minicam.cuda.buffers import FLOAT, HALF, Buffer, FeatureMaps, Place, feature_maps
from minicam.cuda.convolution import Branch, correlate
from minicam.cuda.layout import combine, copy, to_channels_last
from minicam.cuda.plan import Plan, Value
from minicam.cuda.planner import Planner, Shapes, cropping, like
from minicam.cuda.pooling import max_pool
from minicam.cuda.softmax import MOST_CHANNELS, softmax, upsample_softmax
from minicam.cuda.tiles import Processors
from minicam.cuda.upsampling import upsample
from minicam.cuda.weights import Weights
from minicam.fast.prepared import plane_window
from minicam.fast.rewrite import AnyStep, ConvolutionStep, Upsampled, UpsamplingStep, steps
from minicam.fast.rewrite import Step as NodeStep
from minicam.graph import Graph, Node
from minicam.ops import Add, BatchNorm, Concat, Dropout, Identity, MaxPool, Normalize, Relu, Softmax

FEW = 4
"""A convolution of at most so many channels reads whole kernel rows: a tap alone would fill no vector."""


class Forward(Planner):
    """One forward pass. shapes: of one sample at every layer; samples: how many there are; arithmetic: see `correlate`;
    processors: of the device."""

    def __init__(
        self,
        graph: Graph,
        weights: Weights,
        shapes: Shapes,
        samples: int,
        arithmetic: str,
        processors: Processors,
    ):
        super().__init__()
        self._graph, self._weights, self._shapes, self._samples = graph, weights, shapes, samples
        self._arithmetic, self._processors = arithmetic, processors
        self._element = HALF if arithmetic == "float16" else FLOAT
        self._homes: dict[str, FeatureMaps] = {}
        self._joined: dict[tuple[str, ...], FeatureMaps] = {}
        self._normalizes: dict[str, Node] = {}
        self._readers: dict[str, list[AnyStep]] = {}
        self._keep: set[str] = set()

    def plan(self, fed: Collection[str], keep: Sequence[str]) -> Plan:
        """The plan that leaves the layers in `keep`, float32. Its inputs are arrays (N, C, *space) float32."""
        copied = {name: Buffer((self._samples, *self._shapes[name])) for name in fed}
        self.values.update(copied)
        nodes = self._graph.needed(keep, dict.fromkeys(fed))
        found = steps(nodes, {*keep, *fed}, self._weights.prepared.parameters, through_upsampling=False)
        self._readers = {name: [step for step in found if name in step.reads] for name in self._shapes}
        self._keep = set(keep)
        self._lay_out(found)
        while found:
            count = self._together(found)
            if count > 1:
                self._convolutions([step for step in found[:count] if isinstance(step, ConvolutionStep)])
            else:
                self._step(found[0])
            found = found[count:]
        left = {name: self._result(self.values[name]) for name in keep if name not in copied}
        return Plan(tuple(self.steps), copied, {}, left)

    def _lay_out(self, found: Sequence[AnyStep]) -> None:
        """Decide which layers are written straight into a concatenation."""
        made = {step.name for step in found}
        for step in found:
            joins = isinstance(step, ConvolutionStep) or (isinstance(step, NodeStep) and step.node.op == Concat())
            parts = step.parts if isinstance(step, ConvolutionStep) else step.reads
            names = tuple(part for part in parts if isinstance(part, str))
            if not joins or len(names) < 2 or any(len(self._shapes[name]) != 3 for name in names):
                continue
            sizes = [self._shapes[name][0] for name in names]
            _, rows, columns = self._shapes[names[0]]
            whole = feature_maps(self._samples, rows, columns, sum(sizes), self._element)
            self._joined[names] = whole
            first = 0
            for name, size in zip(names, sizes, strict=True):
                aligned = first * self._element.itemsize % 16 == 0
                if name in made and name not in self._homes and aligned:
                    self._homes[name] = whole.only(first, size)
                first += size

    def _new(self, name: str) -> FeatureMaps:
        """Where the layer is to be written."""
        if name not in self._homes:
            channels, rows, columns = self._shapes[name]
            self._homes[name] = feature_maps(self._samples, rows, columns, channels, self._element)
        self.values[name] = self._homes[name]
        return self._homes[name]

    def maps(self, name: str) -> FeatureMaps:
        value = self.values[name]
        if isinstance(value, Buffer):
            self.values[name] = value = self.channels_last(value, self._element)
        return value

    def _join(self, names: tuple[str, ...]) -> FeatureMaps:
        """The layers one after the other along the channels."""
        whole, first = self._joined[names], 0
        for name in names:
            value = self.maps(name)
            part = whole.only(first, value.channels)
            if value != part:
                self.launch(copy(value, part))
            first += value.channels
        return whole

    def _step(self, step: AnyStep) -> None:
        if isinstance(step, ConvolutionStep):
            if self._reads_rows(step):
                self._row_convolution(step)
            else:
                self._convolutions([step])
        elif isinstance(step, UpsamplingStep):
            self._upsampling(step)
        else:
            self._node(step.node)

    def _together(self, found: Sequence[AnyStep]) -> int:
        """How many of the first steps are convolutions of one layer that can be one launch."""
        first = found[0]
        if not isinstance(first, ConvolutionStep) or self._reads_rows(first):
            return 1
        count = 1
        for step in found[1:]:
            alike = (
                isinstance(step, ConvolutionStep)
                and step.parts == first.parts
                and step.rectify == first.rectify
                and self._shapes[step.name] == self._shapes[first.name]
                and plane_window(step.conv).stride == plane_window(first.conv).stride
                and not step.added
                and not first.added
            )
            if not alike:
                break
            count += 1
        return count

    def _convolutions(self, group: Sequence[ConvolutionStep]) -> None:
        """Convolutions of the same input, as one launch."""
        parts = tuple(part for part in group[0].parts if isinstance(part, str))
        x = self.maps(parts[0]) if len(parts) == 1 else self._join(parts)
        branches = [
            self._branch(step, *self._weights.convolution(step.conv, step.norm), self._added(step)) for step in group
        ]
        self._correlate(x, branches, group[0])

    def _branch(self, step: ConvolutionStep, taps: Any, weight: Any, added: FeatureMaps | None = None) -> Branch:
        return Branch(taps, weight, self._weights.bias(step.conv, step.norm), self._new(step.name), added)

    def _added(self, step: ConvolutionStep) -> FeatureMaps | None:
        return self.sum_of([self.maps(name) for name in step.added]) if step.added else None

    def _correlate(self, x: FeatureMaps, branches: Sequence[Branch], step: ConvolutionStep) -> None:
        row, column = plane_window(step.conv).stride
        self.launch(correlate(x, branches, (row, column), step.rectify, self._arithmetic, self._processors))

    def _reads_rows(self, step: ConvolutionStep) -> bool:
        """Whether it is the convolution of a few channels of an input, that may have been normalised on the way."""
        window = plane_window(step.conv)
        few = self._shapes[step.reads[0]][0] <= FEW and window.dilation[1] == 1 and window.kernel[1] > 1
        return few and len(step.parts) == 1 and isinstance(self.values.get(step.reads[0]), Buffer)

    def _row_convolution(self, step: ConvolutionStep) -> None:
        """The input, normalised, is laid out with its padding as zeros and FEW numbers a pixel, so that the taps in a
        row are next to each other and one vector load finds several."""
        name = step.reads[0]
        source = self.values[name]
        assert isinstance(source, Buffer)
        window = plane_window(step.conv)
        (_, rows, columns), (top, left) = self._shapes[step.conv.name], (low for low, _ in window.padding)
        height = window.stride[0] * (rows - 1) + window.dilation[0] * (window.kernel[0] - 1) + 1
        width = window.stride[1] * (columns - 1) + window.kernel[1]
        vector = 16 // self._element.itemsize
        pixels = FEW if FEW * window.stride[1] % vector == 0 else vector
        row = -(width * pixels // -vector) * vector
        place = Place(Buffer((self._samples, height, row), self._element))
        image = FeatureMaps(place, self._samples, height, row // pixels, source.shape[1], pixels, row, height * row)
        normalize = self._normalizes.get(name)
        scale, offset = self._weights.affine(normalize) if normalize else (None, None)
        self.launch(to_channels_last(source, image, scale, offset, (top, left)))
        taps, weight = self._weights.row_convolution(step.conv, step.norm, pixels)
        x = replace(image, channels=window.kernel[1] * pixels, columns=width - window.kernel[1] + 1)
        self._correlate(x, [self._branch(step, taps, weight, self._added(step))], step)

    def _upsampling(self, step: UpsamplingStep) -> None:
        source = step.source
        x, y = self.maps(source.small), self._new(step.name)
        kernel, bias = self._weights.upsampling(source)
        stride, cropped = source.op.stride, self._cropped(source)
        if step.softmax and y.channels <= MOST_CHANNELS:
            self.launch(upsample_softmax(x, kernel, y, stride, cropped, bias, None))
            return
        upsampled = like(y) if step.softmax else y
        self.launch(upsample(x, kernel, upsampled, stride, cropped, bias))
        if step.softmax:
            self.launch(softmax(upsampled, y, None))

    def _cropped(self, source: Upsampled) -> tuple[int, int]:
        """What is cropped in front, by the op and by a centre crop that follows."""
        return cropping(source, self._shapes)

    def _node(self, node: Node) -> None:
        op, shape = node.op, self._shapes[node.name]
        plane = len(shape) == 3 and all(len(self._shapes[name]) == 3 for name in node.inputs)
        if isinstance(op, Dropout | Identity):
            self.values[node.name] = self.values[node.inputs[0]]
        elif isinstance(op, Normalize) and plane and isinstance(self.values[node.inputs[0]], Buffer):
            self._normalize(node)
        elif not plane:
            self._plain(node)
        elif isinstance(op, MaxPool):
            self.launch(max_pool(self.maps(node.inputs[0]), self._new(node.name), op))
        elif isinstance(op, Relu) or (isinstance(op, Add) and len(node.inputs) <= 3):
            xs = [self.maps(name) for name in node.inputs]
            self.launch(combine(xs, self._new(node.name), rectify=isinstance(op, Relu)))
        elif isinstance(op, BatchNorm | Normalize):
            scale, offset = self._weights.affine(node)
            self.launch(combine([self.maps(node.inputs[0])], self._new(node.name), scale=scale, offset=offset))
        elif op == Concat():
            self.values[node.name] = self._join(node.inputs)
        elif op == Softmax():
            self.launch(softmax(self.maps(node.inputs[0]), self._new(node.name), None))
        else:
            self._plain(node)

    def _normalize(self, node: Node) -> None:
        """A z-score is worked out on the way into the channels-last layout, or into that of its only reader."""
        source = self.values[node.inputs[0]]
        assert isinstance(source, Buffer)
        readers = self._readers[node.name]
        if node.name not in self._keep and len(readers) == 1 and isinstance(readers[0], ConvolutionStep):
            self.values[node.name] = source
            if self._reads_rows(readers[0]):
                self._normalizes[node.name] = node
                return
        scale, offset = self._weights.affine(node)
        self.launch(to_channels_last(source, self._new(node.name), scale, offset))

    def _plain(self, node: Node) -> None:
        """By the op's own definition, on CuPy arrays."""

        def forward(*xs: Any) -> list[Any]:
            return [node.op.forward(*xs, **self._weights.like(node.name, xs[0]))]

        shape = (self._samples, *self._shapes[node.name])
        value = self._new(node.name) if len(shape) == 4 else Buffer(shape)
        self.call(forward, [self.values[name] for name in node.inputs], [value])
        self.values[node.name] = value

    def _result(self, value: Value) -> Value:
        """What a caller gets: float32."""
        if isinstance(value, FeatureMaps) and value.dtype == HALF:
            exported = like(value, FLOAT)
            self.launch(copy(value, exported))
            return exported
        return value
