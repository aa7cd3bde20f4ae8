"""Adding up what the readers of a layer contribute to its gradient.

What convolutions contribute is worked out only when all contributions are known, so that the last one's kernel can add
the others and apply the ReLU that comes next; or not at all, where the sums over the positions are all that is wanted.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from minicam.cuda.buffers import Buffer, FeatureMaps, Place, feature_maps
from minicam.cuda.convolution import Branch, correlate
from minicam.cuda.layout import combine
from minicam.cuda.plan import Value
from minicam.cuda.planner import Planner, Shapes, like
from minicam.cuda.sums import product, rectangle_sums
from minicam.cuda.taps import covered, phases
from minicam.cuda.tiles import Processors
from minicam.cuda.weights import Weights
from minicam.fast.prepared import plane_window
from minicam.graph import Node


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


class Contributions(Planner):
    """shapes: of one sample at every layer; targets: how many gradients go back together; the rest as in `Forward`."""

    def __init__(self, shapes: Shapes, targets: int, weights: Weights, arithmetic: str, processors: Processors):
        super().__init__()
        self._shapes, self._targets = shapes, targets
        self._weights, self._arithmetic, self._processors = weights, arithmetic, processors

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
