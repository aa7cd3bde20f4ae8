"""Running a backward pass."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial

import numpy as np

from minicam.backend import Array
from minicam.fast.convolution import adjoint
from minicam.fast.gradients import Gradient
from minicam.fast.prepared import Prepared, plane_window
from minicam.fast.rewrite import Absorption, Part, Upsampled, channel_ranges, is_plane_convolution, mixes_few_channels
from minicam.fast.shapes import Shapes
from minicam.fast.softmax import softmax_adjoint
from minicam.fast.sums import convolution_sums, position_sums
from minicam.fast.threads import Workers
from minicam.fast.windows2d import channels_first
from minicam.graph import Node
from minicam.ops import Add, BatchNorm, Concat, Crop, Dropout, Relu, Softmax


class Backward:
    """One backward pass: gradients of the sum over the seeds of <seed, layer> at the layers in `wrt`.

    path: the nodes between, in running order; depends: all names that depend on `wrt`; values: name -> array, or a
    stand-in of the right shape where nobody looks inside.

    With `means_only`, what is wanted at each layer is the gradient's sum over the positions, and where nothing before
    the layer is wanted, its gradient is never computed.
    """

    def __init__(
        self,
        path: list[Node],
        depends: set[str],
        values: Mapping[str, Array],
        shapes: Shapes,
        wrt: Iterable[str],
        prepared: Prepared,
        workers: Workers,
        means_only: bool = False,
    ):
        self._path = path
        self._depends = depends
        self._values = values
        self._shapes = shapes
        self._wrt = set(wrt)
        self._prepared = prepared
        self._workers = workers
        self._means_only = means_only
        self._gradients: dict[str, Gradient] = {}
        self._sums: dict[str, np.ndarray] = {}
        self._inner = {node.name for node in path}

    def run(self, seeds: Mapping[str, Array]) -> dict[str, Array]:
        """name -> gradient (N, C, *space), or sums (N, C) if `means_only`."""
        absorption = Absorption(self._path, {*self._wrt, *seeds}, self._prepared.parameters)
        for name, seed in seeds.items():
            self._add(name, partial(Gradient, seed))
        for node in reversed(self._path):
            if node.name not in self._gradients:
                continue  # its reader went past it to what it reads
            gradient = self._gradients[node.name]
            if self._means_only or node.name not in self._wrt:
                del self._gradients[node.name]
            self._step(node, gradient, absorption)
        if self._means_only:
            return {name: self._sums[name].astype(np.float32) for name in self._wrt}
        return {name: self._gradients[name].whole(self._prepared) for name in self._wrt}

    def _step(self, node: Node, gradient: Gradient, absorption: Absorption) -> None:
        """Hand the gradient at the node on to what it reads."""
        op, first = node.op, node.inputs[0]
        if isinstance(op, Relu):
            self._add(first, lambda: gradient.masked(self._values[node.name], self._prepared))
        elif isinstance(op, BatchNorm):
            self._add(first, lambda: gradient.scaled(node))
        elif isinstance(op, Add | Dropout):
            for name in node.inputs:
                self._add(name, lambda: gradient)
        elif op == Concat():
            for name, channels in zip(node.inputs, channel_ranges(node.inputs, self._shapes), strict=True):
                self._add(name, partial(gradient.channels, *channels, self._prepared))
        elif is_plane_convolution(node):
            parts = absorption.parts(node)
            for part, channels in zip(parts, channel_ranges(parts, self._shapes), strict=True):
                self._convolution(node, part, channels, gradient)
        elif op == Softmax() and gradient.array.ndim == 4:
            self._add(first, lambda: self._softmax(node, gradient))
        elif (source := absorption.upsampled(node)) is not None:
            self._add(source.small, lambda: self._upsampling(source, gradient))
        elif isinstance(op, Crop) and self._shapes[node.name] == self._shapes[first]:
            self._add(first, lambda: gradient)
        else:
            self._plain(node, gradient)

    def _convolution(self, conv: Node, part: Part, channels: tuple[int, int], gradient: Gradient) -> None:
        """The gradient at one of the convolution's parts."""
        prepared, norms, source = self._prepared, gradient.norms, gradient.source()
        name, count = part if isinstance(part, str) else part.small, channels[1]
        height, width = self._shapes[name][1:]

        def full() -> Gradient:
            if mixes_few_channels(conv, count):
                mixing = prepared.adjoint_matrices(conv, norms, channels)[0, 0]
                return Gradient(channels_first(source.whole()), mixing=mixing)
            dx = self._workers.empty(source.samples, height, width, count)
            if isinstance(part, Upsampled):
                mixing = prepared.upsampled_convolution(conv, norms, part, channels[0], self._shapes)
                mixing.adjoint(source, dx, self._workers)
            else:
                weight = prepared.adjoint_matrices(conv, norms, channels)
                adjoint(source, weight, plane_window(conv), dx, self._workers)
            return Gradient(channels_first(dx))

        def sums() -> np.ndarray:
            weight = prepared.matrices(conv, norms, (channels,))
            return convolution_sums(source.whole(), weight, plane_window(conv), (height, width))

        self._add(name, full, None if isinstance(part, Upsampled) else sums)

    def _softmax(self, node: Node, gradient: Gradient) -> Gradient:
        return Gradient(softmax_adjoint(gradient.whole(self._prepared), self._values[node.name], self._workers))

    def _upsampling(self, source: Upsampled, gradient: Gradient) -> Gradient:
        upsampling = self._prepared.upsampling(source, self._shapes)
        return Gradient(upsampling.adjoint(gradient.whole(self._prepared), self._workers))

    def _plain(self, node: Node, gradient: Gradient) -> None:
        y, *xs = (self._values[name] for name in (node.name, *node.inputs))
        dy = gradient.whole(self._prepared)
        dxs = node.op.backward(dy, y, *xs, **self._prepared.plain(node.name))
        for i, (name, dx) in enumerate(zip(node.inputs, dxs, strict=True)):
            if i not in node.op.shape_only:
                self._add(name, partial(Gradient, dx))

    def _add(self, name: str, gradient: Callable[[], Gradient], sums: Callable[[], np.ndarray] | None = None) -> None:
        """Add what `gradient` computes to the gradient at the layer, as far as it is needed. sums: what computes its
        sums over the positions, if there is a shorter way."""
        if name not in self._depends:
            return
        only_sums = self._means_only and name in self._wrt
        if only_sums and sums is not None:
            self._sums[name] = self._sums.get(name, 0) + sums()
            if name not in self._inner:
                return
        found = gradient()
        if only_sums and sums is None:
            self._sums[name] = self._sums.get(name, 0) + position_sums(found.whole(self._prepared))
        if name in self._gradients:
            found = Gradient(self._gradients[name].whole(self._prepared) + found.whole(self._prepared))
        self._gradients[name] = found
