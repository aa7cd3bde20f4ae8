"""Planning a backward pass: gradients of the sum over the seeds of <seed, layer> at the layers in `wrt`.

A layer's gradient is the sum of what its readers contribute. What convolutions contribute is worked out only when all
contributions are known, so that the last one's kernel can add the others and apply the ReLU that comes next.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from minicam.backend import array_module
from minicam.cuda.buffers import Buffer, FeatureMaps, Place, feature_maps
from minicam.cuda.convolution import Branch, correlate
from minicam.cuda.layout import combine
from minicam.cuda.plan import Plan, Value
from minicam.cuda.planner import Planner, Shapes, cropping, like
from minicam.cuda.pooling import max_pool, max_pool_adjoint
from minicam.cuda.softmax import softmax_adjoint
from minicam.cuda.sums import product, rectangle_sums
from minicam.cuda.taps import covered, phases
from minicam.cuda.tiles import Processors
from minicam.cuda.upsampling import upsample_adjoint
from minicam.cuda.weights import Weights
from minicam.fast.prepared import plane_window
from minicam.fast.rewrite import Absorption, Upsampled, channel_ranges, is_plane_convolution
from minicam.graph import Node
from minicam.ops import Add, BatchNorm, Concat, Crop, Dropout, Identity, MaxPool, Relu, Softmax


@dataclass(frozen=True)
class Gradient:
    """`value` times the slopes of `norms`: batch normalisations that the next convolution's weight takes in."""

    value: Value
    norms: tuple[Node, ...] = ()


@dataclass(frozen=True)
class Adjoint:
    """What a convolution contributes at some of its input's channels (first, number): not yet worked out."""

    conv: Node
    gradient: FeatureMaps
    norms: tuple[Node, ...]
    channels: tuple[int, int]


Contribution = Gradient | Adjoint


class Backward(Planner):
    """One backward pass.

    path: the nodes between, in running order; depends: the names that depend on `wrt`; shapes: of one sample at every
    layer; samples, targets: how many values and how many gradients there are, 1 or the same number of values. The rest
    is as in `Forward`. means_only: leave sums over the positions.
    """

    def __init__(
        self,
        path: Sequence[Node],
        depends: Collection[str],
        shapes: Shapes,
        samples: int,
        targets: int,
        weights: Weights,
        arithmetic: str,
        processors: Processors,
        means_only: bool,
    ):
        super().__init__()
        self._path, self._depends, self._shapes = path, depends, shapes
        self._samples, self._targets = samples, targets
        self._weights, self._arithmetic, self._processors = weights, arithmetic, processors
        self._means_only = means_only
        self._pending: dict[str, list[Contribution]] = {}
        self._left: dict[str, Value] = {}

    def plan(
        self,
        values: Mapping[str, Value],
        seeds: Mapping[str, Value],
        wrt: Collection[str],
        copied: Mapping[str, Buffer],
        given: Mapping[str, Buffer],
    ) -> Plan:
        """The plan that leaves the gradients at `wrt`, (N, C, *space), or with `means_only` their sums over the
        positions, (N, C). values: of the layers that backward reads; they and the seeds lie in the buffers `copied` and
        `given`."""
        self.values.update(values)
        visible = {*wrt, *seeds}
        self._absorption = Absorption(self._path, visible, self._weights.prepared.parameters, through_upsampling=False)
        for name, seed in seeds.items():
            self._add(name, Gradient(seed))
        for node in reversed(self._path):
            if node.name in wrt:
                self._leave(node.name)
            if node.name in self._pending:  # else its reader went past it to what it reads
                self._step(node, self._pending.pop(node.name))
        for name in set(wrt) - {node.name for node in self._path}:
            self._leave(name)
        return Plan(tuple(self.steps), copied, given, self._left)

    def seed(self, content: Buffer, shape: tuple[int, ...]) -> Value:
        """A seed of that shape (N, C, *space). content: all of it, or (N, C) where it is the same everywhere."""
        if len(content.shape) == 2 < len(shape):
            samples, channels, rows, columns = shape
            return FeatureMaps(Place(content), samples, rows, columns, channels, 0, 0, channels)
        return self.channels_last(content) if len(shape) == 4 else content

    def _step(self, node: Node, contributions: list[Contribution]) -> None:
        """Hand the gradient at the node on to what it reads."""
        if isinstance(node.op, Relu) and self._is_plane(node.name):
            mask = self._repeated(self.maps(node.name))
            self._add(node.inputs[0], self._sum(contributions, mask))
            return
        gradient = self._sum(contributions)
        if self._passes(node):
            for i, name in enumerate(node.inputs):
                if i not in node.op.shape_only:
                    self._add(name, gradient)
        elif isinstance(gradient.value, FeatureMaps) and self._is_plane(*node.inputs):
            self._plane_step(node, gradient.value, gradient.norms)
        else:
            self._plain(node, gradient)

    def _plane_step(self, node: Node, dy: FeatureMaps, norms: tuple[Node, ...]) -> None:
        op, first = node.op, node.inputs[0]
        if isinstance(op, BatchNorm):
            self._add(first, Gradient(dy, (*norms, node)))
        elif is_plane_convolution(node):
            parts = self._absorption.parts(node)
            for name, channels in zip(parts, channel_ranges(parts, self._shapes), strict=True):
                assert isinstance(name, str), "nothing is absorbed but concatenations"
                self._add(name, Adjoint(node, dy, norms, channels))
        elif op == Concat():
            dy = self._scaled(dy, norms)
            for name, channels in zip(node.inputs, channel_ranges(node.inputs, self._shapes), strict=True):
                self._add(name, Gradient(dy.only(*channels)))
        elif op == Softmax():
            dx = self._new(first)
            self.launch(softmax_adjoint(self._repeated(self.maps(node.name)), self._scaled(dy, norms), dx))
            self._add(first, Gradient(dx))
        elif (source := self._absorption.upsampled(node)) is not None:
            self._add(source.small, self._upsampling(source, self._scaled(dy, norms)))
        elif isinstance(op, MaxPool):
            self._add(first, self._pooling(node, op, self._scaled(dy, norms)))
        else:
            self._plain(node, Gradient(dy, norms))

    def _passes(self, node: Node) -> bool:
        """Whether the gradient goes on unchanged."""
        alike = all(self._shapes[name] == self._shapes[node.name] for name in node.inputs)
        cropless = isinstance(node.op, Crop) and self._shapes[node.inputs[0]] == self._shapes[node.name]
        return (isinstance(node.op, Add | Dropout | Identity) and alike) or cropless

    def _add(self, name: str, contribution: Contribution) -> None:
        if name in self._depends:
            self._pending.setdefault(name, []).append(contribution)

    def _leave(self, name: str) -> None:
        """What is wanted at the layer."""
        if self._means_only:
            self._left[name] = self._sums(name, self._pending[name])
        else:
            self._left[name] = gradient = self._whole(self._sum(self._pending[name]))
            self._pending[name] = [Gradient(gradient)]

    def _sum(self, contributions: Sequence[Contribution], mask: FeatureMaps | None = None) -> Gradient:
        """The sum of the contributions, where `mask` is above 0 and zero elsewhere."""
        if len(contributions) == 1 and isinstance(contributions[0], Gradient) and mask is None:
            return contributions[0]
        ready = [self._whole(c) for c in contributions if isinstance(c, Gradient)]
        adjoints = [c for c in contributions if isinstance(c, Adjoint)]
        if any(isinstance(value, Buffer) for value in ready):
            assert mask is None
            assert not adjoints
            return Gradient(self._plain_sum(ready))
        maps = [value for value in ready if isinstance(value, FeatureMaps)]
        total = self._combined(maps, None if adjoints else mask) if maps else None
        for i, adjoint in enumerate(adjoints):
            total = self._adjoint(adjoint, total, mask if i == len(adjoints) - 1 else None)
        assert total is not None
        return Gradient(total)

    def _combined(self, maps: Sequence[FeatureMaps], mask: FeatureMaps | None) -> FeatureMaps:
        if len(maps) == 1 and mask is None:
            return maps[0]
        some = [self.sum_of(maps[:-1]), maps[-1]] if len(maps) > 1 else maps
        result = like(maps[-1])
        self.launch(combine(some, result, mask=mask))
        return result

    def _adjoint(self, adjoint: Adjoint, added: FeatureMaps | None, mask: FeatureMaps | None) -> FeatureMaps:
        """What a convolution contributes, plus `added`, where `mask` is above 0."""
        _, rows, columns = self._shapes[adjoint.conv.inputs[0]]
        dx = feature_maps(self._targets, rows, columns, adjoint.channels[1])
        window = plane_window(adjoint.conv)
        row, column = window.stride
        for phase in phases(window):
            y, more, where = (maps and maps.every((row, column), phase) for maps in (dx, added, mask))
            assert y is not None
            found = self._weights.adjoint(adjoint.conv, adjoint.norms, adjoint.channels, phase)
            if y.rows < 1 or y.columns < 1:
                continue
            if found is None:  # no output looks at these positions
                self.launch(combine([more if more is not None else self._zeros(y)], y, mask=where))
            else:
                branch = Branch(*found, None, y, more, where)
                self.launch(correlate(adjoint.gradient, [branch], (1, 1), False, self._arithmetic, self._processors))
        return dx

    def _upsampling(self, source: Upsampled, dy: FeatureMaps) -> Gradient:
        dx = self._new(source.small)
        kernel, _ = self._weights.upsampling(source)
        self.launch(upsample_adjoint(dy, kernel, dx, source.op.stride, cropping(source, self._shapes)))
        return Gradient(dx)

    def _pooling(self, node: Node, op: MaxPool, dy: FeatureMaps) -> Gradient:
        x, (channels, rows, columns) = self.maps(node.inputs[0]), self._shapes[node.name]
        y, dx = feature_maps(x.samples, rows, columns, channels), self._new(node.inputs[0])
        self.launch(max_pool(x, y, op))
        self.launch(max_pool_adjoint(x, y, dy, dx, op))
        return Gradient(dx)

    def _sums(self, name: str, contributions: Sequence[Contribution]) -> Value:
        """The gradient's sums over the positions, (N, C) or (N, C, 1, 1)."""
        if self._is_plane(name):
            return self.sum_of([self._channel_sums(contribution) for contribution in contributions])
        gradient = self._whole(self._sum(contributions))
        sums = Buffer((self._targets, self._shapes[name][0]))
        self.call(lambda dx: [dx.reshape(*dx.shape[:2], -1).sum(axis=2)], [gradient], [sums])
        return sums

    def _channel_sums(self, contribution: Contribution) -> FeatureMaps:
        """(N, 1, 1, C). A convolution's adjoint is not worked out for it: each of its taps passes on the sum of dy over
        the outputs at which it looks inside the input."""
        if isinstance(contribution, Gradient):
            maps = self._whole(contribution)
            assert isinstance(maps, FeatureMaps)
            sums = Buffer((self._targets, 1, maps.channels))
            self.launch(rectangle_sums(maps, [(0, maps.rows, 0, maps.columns)], sums))
            return self._vectors(sums)
        conv, dy = contribution.conv, contribution.gradient
        _, rows, columns = self._shapes[conv.inputs[0]]
        rectangles = covered(plane_window(conv), (dy.rows, dy.columns), (rows, columns))
        each = Buffer((self._targets, len(rectangles), dy.channels))
        sums = Buffer((self._targets, contribution.channels[1]))
        self.launch(rectangle_sums(dy, rectangles, each))
        self.launch(product(each, self._weights.sums(conv, contribution.norms, contribution.channels), sums))
        return self._vectors(sums)

    def _vectors(self, sums: Buffer) -> FeatureMaps:
        """A buffer of one vector for each target as feature maps of one pixel."""
        channels = sums.shape[-1]
        return FeatureMaps(Place(sums), self._targets, 1, 1, channels, channels, channels, channels)

    def _plain(self, node: Node, gradient: Gradient) -> None:
        """By the op's own definition, on CuPy arrays. What it does not look inside is handed over as NaNs."""
        names = (node.name, *node.inputs)
        there = [name for name in names if name in self.values]
        shapes = [(self._samples, *self._shapes[name]) for name in names]
        written = [i for i, name in enumerate(node.inputs) if name in self._depends and i not in node.op.shape_only]

        def backward(dy: Any, *arrays: Any) -> list[Any]:
            known = dict(zip(there, arrays, strict=True))
            xp = array_module(dy)
            nan = xp.asarray(float("nan"), dy.dtype)
            y, *xs = (
                known[name] if name in known else xp.broadcast_to(nan, shape)
                for name, shape in zip(names, shapes, strict=True)
            )
            dxs = node.op.backward(dy, y, *xs, **self._weights.like(node.name, dy))
            return [dxs[i] for i in written]

        found = [self._new(node.inputs[i]) for i in written]
        self.call(backward, [self._whole(gradient), *(self.values[name] for name in there)], found)
        for i, dx in zip(written, found, strict=True):
            self._add(node.inputs[i], Gradient(dx))

    def _plain_sum(self, values: Sequence[Value]) -> Value:
        total = Buffer(values[0].shape) if isinstance(values[0], Buffer) else like(values[0])
        self.call(lambda first, *others: [sum(others, first)], values, [total])
        return total

    def _whole(self, gradient: Gradient) -> Value:
        """The gradient with its factors."""
        return self._scaled(gradient.value, gradient.norms) if gradient.norms else gradient.value

    def _scaled(self, value: Value, norms: tuple[Node, ...]) -> FeatureMaps:
        assert isinstance(value, FeatureMaps)
        if not norms:
            return value
        result = like(value)
        self.launch(combine([value], result, scale=self._weights.slopes(norms)))
        return result

    def _new(self, name: str) -> Any:
        """Where a gradient at the layer is to be written."""
        if self._is_plane(name):
            channels, rows, columns = self._shapes[name]
            return feature_maps(self._targets, rows, columns, channels)
        return Buffer((self._targets, *self._shapes[name]))

    def _repeated(self, maps: FeatureMaps) -> FeatureMaps:
        """A layer's value for every target."""
        return maps if maps.samples == self._targets else replace(maps, samples=self._targets, sample_pitch=0)

    def _zeros(self, maps: FeatureMaps) -> FeatureMaps:
        """A pixel of zeros, repeated to the size of some maps."""
        zero = self._weights.zeros(maps.channels)
        return replace(maps, place=Place(zero), pixel_pitch=0, row_pitch=0, sample_pitch=0)

    def _is_plane(self, *names: str) -> bool:
        return all(len(self._shapes[name]) == 3 for name in names)
