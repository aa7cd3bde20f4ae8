"""Planning a backward pass: gradients of the sum over the seeds of <seed, layer> at the layers in `wrt`.

The nodes are walked back; each hands on what it contributes to the gradients at what it reads. `contributions` adds.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from minicam.backend import array_module
from minicam.cuda.buffers import Buffer, FeatureMaps, Place, feature_maps
from minicam.cuda.contributions import Adjoint, Contribution, Contributions, Gradient
from minicam.cuda.plan import Plan, Value
from minicam.cuda.planner import Shapes, cropping
from minicam.cuda.pooling import max_pool, max_pool_adjoint
from minicam.cuda.softmax import softmax_adjoint
from minicam.cuda.tiles import Processors
from minicam.cuda.upsampling import upsample_adjoint
from minicam.cuda.weights import Weights
from minicam.fast.rewrite import Absorption, Upsampled, channel_ranges, is_plane_convolution
from minicam.graph import Node
from minicam.ops import Add, BatchNorm, Concat, Crop, Dropout, Identity, MaxPool, Relu, Softmax


class Backward(Contributions):
    """One backward pass.

    path: the nodes between, in running order; depends: the names that depend on `wrt`; samples: how many values there
    are, 1 or as many as targets; means_only: leave sums over the positions. The rest is as in `Contributions`.
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
        super().__init__(shapes, targets, weights, arithmetic, processors)
        self._path, self._depends, self._samples, self._means_only = path, depends, samples, means_only
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
