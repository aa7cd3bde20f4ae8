"""The gradients of a loss for all parameters, in one forward and one backward pass."""

from collections.abc import Iterable, Mapping

from minicam.backend import Array, array_module
from minicam.graph import Graph, Node, Parameters, Values, gradient_inputs, read_for_params, value_or_nans
from minicam.training.optimizers import Tree


def loss_and_gradients(
    graph: Graph,
    parameters: Parameters,
    feeds: Mapping[str, Array],
    trained: Mapping[str, Iterable[str]],
    keep: Iterable[str] = (),
) -> tuple[Values, Tree]:
    """The values of the graph's output, the loss, and of `keep`; and the gradients of the sum over the samples of the
    loss for the parameters in `trained`, layer -> names.

    The forward pass keeps only what the backward pass reads. Each layer's gradient is made when the backward pass gets
    there, and what is not on the way to a trained layer is not visited.
    """
    (loss,) = graph.outputs
    nodes = [graph.by_name[layer] for layer in trained]
    first = _first(graph, trained)
    kept = {loss, *keep} | graph.reads([loss], first) | read_for_params(nodes)
    values = graph.forward(parameters, feeds, kept)
    gradients: Tree = {}

    def collect(node: Node, dy: Array, y: Array, xs: list[Array]) -> None:
        if node.name in trained:
            found = node.op.backward_params(dy, y, *xs, **parameters[node.name])
            gradients[node.name] = {name: found[name] for name in trained[node.name]}

    def step(node: Node, dy: Array, y: Array, xs: list[Array]) -> tuple[Array, ...]:
        collect(node, dy, y, xs)
        return node.op.backward(dy, y, *xs, **parameters.get(node.name, {}))

    seed = array_module(values[loss]).ones_like(values[loss])
    dys = graph.backpropagate(parameters, values, {loss: seed}, first, step)
    shapes = graph.shapes_of(feeds)
    for node in (graph.by_name[name] for name in first):
        y, *xs = (value_or_nans(name, values, shapes) for name in (node.name, *node.inputs))
        collect(node, dys[node.name], y, xs)
    return values, {layer: gradients[layer] for layer in trained}


def _first(graph: Graph, trained: Mapping[str, Iterable[str]]) -> list[str]:
    """The trained layers that depend on no other: where the backward pass may end."""
    reached: set[str] = set()
    first = []
    for node in graph.nodes:
        if not reached.isdisjoint(gradient_inputs(node)):
            reached.add(node.name)
        elif node.name in trained:
            first.append(node.name)
            reached.add(node.name)
    return first
