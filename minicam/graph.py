"""The layer graph: named nodes, a loop forward, and a loop backward from a seed to the layers asked for."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from minicam.backend import Array, array_module
from minicam.errors import LayerError, close_names
from minicam.ops import Op, Shape

MOST_SHAPES = 32
"""Sizes of inputs for which a graph remembers the shapes of its layers."""

Parameters = Mapping[str, Mapping[str, Array]]
"""Node name -> parameter name -> array."""


@dataclass(frozen=True)
class Node:
    """An op with a name, and the names of what it reads."""

    name: str
    op: Op
    inputs: tuple[str, ...]


Step = Callable[[Node, Any, Array, list[Array]], Iterable[Any]]


class Values(dict[str, Array]):
    """What `Graph.forward` returns: name -> array, and the feeds that it was computed from."""

    def __init__(self, kept: Mapping[str, Array], feeds: Mapping[str, Array]):
        super().__init__(kept)
        self.feeds = dict(feeds)


@dataclass(frozen=True)
class Graph:
    """Inputs (name -> shape of one sample, None where any size will do), nodes in running order, names of the outputs.

    Raises LayerError, naming the node, where names repeat, an input is not there yet, or shapes do not fit.
    """

    inputs: Mapping[str, Shape]
    nodes: tuple[Node, ...]
    outputs: tuple[str, ...]

    def __post_init__(self) -> None:
        seen = set(self.inputs)
        for node in self.nodes:
            if node.name in seen:
                raise LayerError(f"layer {node.name!r} exists twice; every name must be unique")
            if node.op.arity not in (None, len(node.inputs)) or not node.inputs:
                raise LayerError(
                    f"layer {node.name!r}: {type(node.op).__name__} takes {node.op.arity or 'one or more'} inputs, "
                    f"not {len(node.inputs)}"
                )
            for name in node.inputs:
                if name not in seen:
                    raise LayerError(f"layer {node.name!r} reads {name!r}, which no earlier layer or input provides")
            seen.add(node.name)
        for name in self.outputs:
            self.check_name(name)
        _ = self.parameter_shapes

    @cached_property
    def by_name(self) -> dict[str, Node]:
        return {node.name: node for node in self.nodes}

    @cached_property
    def parameter_shapes(self) -> dict[str, dict[str, tuple[int, ...]]]:
        """Node name -> parameter name -> shape, for the nodes that have parameters."""
        shapes = self.shapes(self.inputs)
        found = {n.name: n.op.parameter_shapes(*(shapes[name] for name in n.inputs)) for n in self.nodes}
        return {name: parameters for name, parameters in found.items() if parameters}

    def check_name(self, name: str) -> None:
        """LayerError, with close names, if there is no layer or input of that name."""
        if name not in self.by_name and name not in self.inputs:
            raise LayerError(f"there is no layer {name!r}{close_names(name, self.by_name)}")

    def shapes(self, fed: Mapping[str, Shape]) -> Mapping[str, Shape]:
        """The shape of one sample at every layer that follows from the shapes of what is fed."""
        key = tuple(fed.items())
        if key not in self._known_shapes:
            if len(self._known_shapes) >= MOST_SHAPES:
                self._known_shapes.clear()
            self._known_shapes[key] = self._shapes(fed)
        return self._known_shapes[key]

    @cached_property
    def _known_shapes(self) -> dict[Any, Mapping[str, Shape]]:
        return {}

    def _shapes(self, fed: Mapping[str, Shape]) -> dict[str, Shape]:
        shapes = dict(fed)
        for node in self.nodes:
            if node.name in shapes or any(name not in shapes for name in node.inputs):
                continue
            try:
                shape = node.op.output_shape(*(shapes[name] for name in node.inputs))
                if any(size is not None and size < 1 for size in shape):
                    raise LayerError(f"the output would have shape {shape}; the input is too small")
            except LayerError as error:
                raise LayerError(f"layer {node.name!r} ({type(node.op).__name__}): {error}") from None
            shapes[node.name] = shape
        return shapes

    def forward(self, parameters: Parameters, feeds: Mapping[str, Array], keep: Iterable[str]) -> Values:
        """Compute the layers in `keep`, and only what they need; an array is freed after its last use.

        feeds: name -> (N, C, *space), for the inputs or for any layers, which are then not computed.
        """
        keep = list(keep)
        nodes = self.needed(keep, feeds)
        self.check_feeds(feeds)
        uses = Counter(name for node in nodes for name in node.inputs)
        values = dict(feeds)
        for node in nodes:
            xs = [values[name] for name in node.inputs]
            values[node.name] = node.op.forward(*xs, **parameters.get(node.name, {}))
            uses.subtract(node.inputs)
            for name in node.inputs:
                if uses[name] == 0 and name not in keep:
                    values.pop(name, None)
        return Values({name: values[name] for name in keep}, feeds)

    def backward(
        self, parameters: Parameters, values: Values, seeds: Mapping[str, Array], wrt: Iterable[str]
    ) -> dict[str, Array]:
        """Gradients of the sum over the seeds of <seed, layer> at the layers in `wrt`: name -> array like the layer's.

        values: from `forward`. What backward reads and `values` does not hold is computed anew from its feeds, at the
        price of a forward pass: keep `reads(seeds, wrt)` to avoid it. A seed may hold several samples where the values
        hold one; then there is one gradient for each. Raises LayerError where a seed does not depend on `wrt`.
        """

        def step(node: Node, dy: Array, y: Array, xs: list[Array]) -> tuple[Array, ...]:
            return node.op.backward(dy, y, *xs, **parameters.get(node.name, {}))

        return self.backpropagate(parameters, values, seeds, wrt, step)

    def backpropagate(
        self, parameters: Parameters, values: Values, seeds: Mapping[str, Any], wrt: Iterable[str], step: Step
    ) -> dict[str, Any]:
        """The loop of `backward`, with `step` for what one node does: (node, dy, y, xs) -> one gradient per input.

        Gradients may be anything that has a shape and that + adds.
        """
        wrt = list(wrt)
        path, depends = self.between(seeds, wrt, values.feeds)
        values = self._with(parameters, values, read_by(path))
        shapes = self.shapes_of(values.feeds)
        check_seeds(seeds, values, shapes)
        gradients = dict(seeds)
        for node in reversed(path):
            dy = gradients[node.name] if node.name in wrt else gradients.pop(node.name)
            y, *xs = (value_or_nans(name, values, shapes) for name in (node.name, *node.inputs))
            for name, dx in zip(node.inputs, step(node, dy, y, xs), strict=True):
                if name in depends and name in gradient_inputs(node):
                    gradients[name] = gradients[name] + dx if name in gradients else dx
        return {name: gradients[name] for name in wrt}

    def backward_params(
        self, parameters: Parameters, values: Values, seeds: Mapping[str, Array]
    ) -> dict[str, dict[str, Array]]:
        """Gradients of the sum over the seeds of <seed, layer> for the parameters of every layer that it depends on:
        layer -> parameter -> array, summed over samples. values and errors: as in `backward`."""
        leads = self.leading_to(seeds, values.feeds)
        layers = [n for n in self.nodes if n.name in leads and n.name in self.parameter_shapes]
        layers = [node for node in layers if node.name not in values.feeds]
        if not layers:
            return {}
        path, _ = self.between(seeds, [node.name for node in layers], values.feeds)
        values = self._with(parameters, values, read_by(path) | read_for_params(layers))
        dys = self.backward(parameters, values, seeds, [node.name for node in layers])
        shapes = self.shapes_of(values.feeds)
        gradients = {}
        for node in layers:
            y, *xs = (value_or_nans(name, values, shapes) for name in (node.name, *node.inputs))
            gradients[node.name] = node.op.backward_params(dys[node.name], y, *xs, **parameters[node.name])
        return gradients

    def reads(self, seeds: Iterable[str], wrt: Iterable[str]) -> set[str]:
        """The layers that `backward` from `seeds` to `wrt` looks inside: what `forward` should keep for it."""
        return read_by(self.path(seeds, wrt))

    def check_feeds(self, feeds: Mapping[str, Array]) -> None:
        """LayerError unless rank and channels are those of the layer, and every size that follows is 1 or more."""
        for name, array in feeds.items():
            expected = self._declared_shapes[name]
            if array.ndim != len(expected) + 1 or array.shape[1] != expected[0]:
                wanted = ", ".join(("N", *(str(size or "any") for size in expected)))
                raise LayerError(f"{name!r} was given an array of shape {array.shape}; expected ({wanted})")
        shapes = self.shapes_of(feeds)
        for node in self.nodes:
            if node.name in self.parameter_shapes and all(name in shapes for name in node.inputs):
                needed = node.op.parameter_shapes(*(shapes[name] for name in node.inputs))
                if needed != self.parameter_shapes[node.name]:
                    raise LayerError(
                        f"layer {node.name!r} ({type(node.op).__name__}) has parameters for inputs of another size: "
                        f"{self.parameter_shapes[node.name]}; this input needs {needed}"
                    )

    @cached_property
    def _declared_shapes(self) -> Mapping[str, Shape]:
        return self.shapes(self.inputs)

    def needed(self, keep: Iterable[str], feeds: Mapping[str, Array]) -> list[Node]:
        """The nodes to run, in running order."""
        for name in (*keep, *feeds):
            self.check_name(name)
        wanted = set(keep) - set(feeds)
        nodes = []
        for node in reversed(self.nodes):
            if node.name in wanted:
                nodes.append(node)
                wanted.update(name for name in node.inputs if name not in feeds)
        missing = wanted & set(self.inputs)
        if missing:
            raise LayerError(f"input {', '.join(sorted(missing))} is needed, but was not fed")
        return nodes[::-1]

    def leading_to(self, seeds: Iterable[str], feeds: Iterable[str] = ()) -> set[str]:
        """The names whose value has an influence on a seed's. What is fed depends on nothing."""
        leads = set(seeds)
        for node in reversed(self.nodes):
            if node.name in leads and node.name not in feeds:
                leads.update(gradient_inputs(node))
        return leads

    def path(self, seeds: Iterable[str], wrt: Iterable[str]) -> list[Node]:
        """The nodes that `backward` from `seeds` to `wrt` walks, in running order."""
        return self.between(seeds, list(wrt), {})[0]

    def between(self, seeds: Iterable[str], wrt: list[str], feeds: Iterable[str]) -> tuple[list[Node], set[str]]:
        """The nodes on a path from `wrt` to `seeds` in running order, and all names that depend on `wrt`."""
        for name in (*seeds, *wrt):
            self.check_name(name)
        depends = set(wrt)
        for node in self.nodes:
            if node.name not in feeds and not depends.isdisjoint(gradient_inputs(node)):
                depends.add(node.name)
        leads = self.leading_to(seeds, feeds)
        for name in wrt:
            if name not in leads:
                raise LayerError(f"{_names(seeds)} does not depend on layer {name!r}")
        for name in seeds:
            if name not in depends:
                raise LayerError(f"layer {name!r} does not depend on {_names(wrt)}")
        path = [
            node
            for node in self.nodes
            if node.name in leads and node.name not in feeds and not depends.isdisjoint(gradient_inputs(node))
        ]
        return path, depends

    def _with(self, parameters: Parameters, values: Values, names: set[str]) -> Values:
        """values, and whichever of `names` they lack."""
        missing = names - values.keys()
        if not missing:
            return values
        return Values({**values, **self.forward(parameters, values.feeds, missing)}, values.feeds)

    def shapes_of(self, feeds: Mapping[str, Array]) -> Mapping[str, Shape]:
        """The shape of one sample at every layer that follows from what is fed, arrays (N, C, *space)."""
        return self.shapes({name: array.shape[1:] for name, array in feeds.items()})


def _names(names: Iterable[str]) -> str:
    return " or ".join(f"layer {name!r}" for name in names)


def gradient_inputs(node: Node) -> set[str]:
    """The inputs whose values, not only their shapes, decide y."""
    return {name for i, name in enumerate(node.inputs) if i not in node.op.shape_only}


def read_by(nodes: Iterable[Node]) -> set[str]:
    return {name for node in nodes for name in _names_of(node, node.op.reads)}


def read_for_params(nodes: Iterable[Node]) -> set[str]:
    return {name for node in nodes for name in _names_of(node, node.op.reads_for_params)}


def _names_of(node: Node, reads: frozenset[str]) -> set[str]:
    return ({node.name} if "y" in reads else set()) | (set(node.inputs) if "x" in reads else set())


def value_or_nans(name: str, values: Values, shapes: Mapping[str, Shape]) -> Array:
    """The layer's value; or, where nobody reads inside it, NaNs of its shape that take no memory."""
    if name in values:
        return values[name]
    like = next(iter(values.feeds.values()))
    xp = array_module(like)
    return xp.broadcast_to(xp.asarray(float("nan"), like.dtype), (len(like), *shapes[name]))


def check_seeds(seeds: Mapping[str, Array], values: Values, shapes: Mapping[str, Shape]) -> None:
    samples = len(next(iter(values.feeds.values())))
    for name, seed in seeds.items():
        if tuple(seed.shape[1:]) != tuple(shapes[name]) or samples not in (1, seed.shape[0]):
            raise LayerError(
                f"the seed for layer {name!r} has shape {tuple(seed.shape)}; expected {(samples, *shapes[name])}"
            )
