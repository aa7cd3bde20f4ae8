"""Running the steps of a forward pass."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from minicam.backend import Array
from minicam.fast import pooling
from minicam.fast.convolution import convolve
from minicam.fast.epilogue import Epilogue
from minicam.fast.prepared import Prepared, plane_window
from minicam.fast.rewrite import AnyStep, ConvolutionStep, Step, Upsampled, UpsamplingStep, channel_ranges, steps
from minicam.fast.shapes import Shapes, shapes_from
from minicam.fast.softmax import softmax_in_place
from minicam.fast.threads import Workers
from minicam.fast.windows2d import Source, channels_first, channels_last
from minicam.graph import Graph, Values
from minicam.ops import MaxPool


class Forward:
    """The forward passes of a graph with given parameters, float32."""

    def __init__(self, graph: Graph, prepared: Prepared, workers: Workers):
        self._graph = graph
        self._prepared = prepared
        self._workers = workers
        self._plans: dict[tuple[frozenset[str], frozenset[str]], list[AnyStep]] = {}

    def __call__(self, feeds: Mapping[str, Array], keep: Iterable[str]) -> Values:
        """The layers in `keep`, as `Graph.forward` gives them."""
        keep = list(keep)
        self._graph.check_feeds(feeds)
        plan = self._plan(keep, feeds)
        shapes = shapes_from(self._graph, feeds)
        uses = Counter(name for step in plan for name in step.reads)
        values = dict(feeds)
        for step in plan:
            values[step.name] = self._run(step, values, shapes)
            uses.subtract(step.reads)
            for name in step.reads:
                if uses[name] == 0 and name not in keep:
                    values.pop(name, None)
        return Values({name: values[name] for name in keep}, feeds)

    def _plan(self, keep: Sequence[str], feeds: Mapping[str, Array]) -> list[AnyStep]:
        key = frozenset(keep), frozenset(feeds)
        if key not in self._plans:
            nodes = self._graph.needed(keep, feeds)
            self._plans[key] = steps(nodes, {*keep, *feeds}, self._prepared.parameters)
        return self._plans[key]

    def _run(self, step: AnyStep, values: Mapping[str, Array], shapes: Shapes) -> Array:
        if isinstance(step, ConvolutionStep):
            return self._convolution(step, values, shapes)
        if isinstance(step, UpsamplingStep):
            return self._upsampling(step, values, shapes)
        return self._plain(step, values)

    def _plain(self, step: Step, values: Mapping[str, Array]) -> Array:
        xs = [values[name] for name in step.reads]
        op = step.node.op
        if isinstance(op, MaxPool) and xs[0].ndim == 4:
            return channels_first(pooling.largest(channels_last(xs[0]), op, self._workers))
        return op.forward(*xs, **self._prepared.plain(step.name))

    def _convolution(self, step: ConvolutionStep, values: Mapping[str, Array], shapes: Shapes) -> Array:
        """The parts that are upsampled write their sum into the result first; the others add it in their epilogue."""
        conv, norms = step.conv, (step.norm,) if step.norm else ()
        sources, channels, residuals = [], [], [channels_last(values[name]) for name in step.added]
        samples = max(len(values[name]) for name in step.reads)
        filters, *space = shapes[conv.name]
        out = self._workers.empty(samples, *space, filters)
        for part, (first, count) in zip(step.parts, channel_ranges(step.parts, shapes), strict=True):
            if isinstance(part, Upsampled):
                mixing = self._prepared.upsampled_convolution(conv, norms, part, first, shapes)
                mixing.forward(channels_last(values[part.small]), out, self._workers)
                residuals.append(out)
            else:
                sources.append(Source(channels_last(values[part])))
                channels.append((first, count))
        epilogue = Epilogue(self._prepared.bias(conv, step.norm), tuple(residuals), step.rectify)
        if sources:
            weight = self._prepared.matrices(conv, norms, tuple(channels))
            convolve(sources, weight, plane_window(conv), out, epilogue, self._workers)
        else:
            epilogue.finish_all(out, self._workers)
        return channels_first(out)

    def _upsampling(self, step: UpsamplingStep, values: Mapping[str, Array], shapes: Shapes) -> Array:
        upsampling = self._prepared.upsampling(step.source, shapes)
        bias = self._prepared.parameters[step.source.up.name]["bias"]
        offset = bias[:, None, None] if bias.any() else None

        def finish(block: np.ndarray) -> None:
            if offset is not None:
                np.add(block, offset, out=block)
            if step.softmax:
                softmax_in_place(block, self._workers)

        return upsampling.forward(values[step.source.small], self._workers, finish)
