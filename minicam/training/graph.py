"""The graph of a network rewritten for training, and back.

Batch normalisations take the statistics of the batch, dropout multiplies by a mask that is fed, and a loss follows the
scores:

    image ... BatchNorm ... Dropout ... scores ... softmax
    image ... BatchStatisticsNorm ... Multiply ... scores ... softmax
                            dropout_mask -^             '--- loss
                                                target -----^
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from minicam.backend import Array, to_numpy
from minicam.errors import LayerError
from minicam.graph import Graph, Node, Parameters
from minicam.ops import (
    BatchNorm,
    BatchStatisticsNorm,
    ConvTranspose,
    CrossEntropy,
    Dropout,
    Loss,
    Multiply,
    Normalize,
    Shape,
    Softmax,
)
from minicam.ops.base import known
from minicam.training.optimizers import Tree
from minicam.zoo.initial import bilinear_kernel

TARGET, LOSS = "target", "loss"
STATISTICS = ("mean", "variance")


@dataclass(frozen=True)
class TrainingGraph:
    """A graph for training, and the one that it was made from.

    graph: has the inputs of `inference`, `target`, and `<layer>_mask` for each dropout; its output is `loss` (N, 1),
    whose sum is the loss of the batch. dropped: name of a dropout -> fraction dropped. normalized: the layers that take
    the statistics of the batch.
    """

    graph: Graph
    inference: Graph
    scores: str
    dropped: Mapping[str, float]
    normalized: tuple[str, ...]

    def thawed(self, parameters: Parameters) -> tuple[Tree, Tree]:
        """The parameters of `inference` as those of `graph`, and the running statistics, layer -> mean and variance."""
        shapes = self.graph.parameter_shapes
        kept = {layer: {name: parameters[layer][name] for name in names} for layer, names in shapes.items()}
        return kept, {layer: {name: parameters[layer][name] for name in STATISTICS} for layer in self.normalized}

    def frozen(self, parameters: Parameters, running: Parameters) -> Tree:
        """Parameters for `inference`, the opposite of `thawed`: batch normalisations hold the running statistics."""
        return {layer: {**arrays, **running.get(layer, {})} for layer, arrays in parameters.items()}

    def masks(self, random: np.random.Generator, fed: Mapping[str, Array]) -> dict[str, np.ndarray]:
        """A mask for each dropout, float32 (N, C, *space): 0 for the fraction dropped, 1 / (1 - that) for the others.

        fed: the inputs of `inference`, arrays (N, C, *space). Raises LayerError, naming the layer, where the batch is
        too small for its statistics.
        """
        shapes = self.inference.shapes_of(fed)
        (samples,) = {len(x) for x in fed.values()}
        for layer in self.normalized:
            op = self.graph.by_name[layer].op
            assert isinstance(op, BatchStatisticsNorm)
            try:
                op.check_batch((samples, *map(_size, shapes[layer])))
            except LayerError as error:
                raise LayerError(f"layer {layer!r} (BatchStatisticsNorm): {error}") from None
        drawn = {}
        for layer, rate in self.dropped.items():
            kept = random.random((samples, *map(_size, shapes[layer])), np.float32) >= rate
            drawn[_mask(layer)] = kept.astype(np.float32) / (1 - rate)
        return drawn


def training_graph(graph: Graph, *, loss: Loss, scores: str, fixed: Collection[str] = ()) -> TrainingGraph:
    """The graph for training with a loss of the layer `scores` (for `CrossEntropy`, the input of the softmax).

    fixed: layers that stay as they are: a batch normalisation keeps its statistics, and a dropout does nothing.
    Raises LayerError for an unknown layer, or where the loss does not fit the scores.
    """
    for name in (scores, *fixed):
        graph.check_name(name)
    if isinstance(loss, CrossEntropy) and scores in graph.by_name and isinstance(graph.by_name[scores].op, Softmax):
        source = graph.by_name[scores].inputs[0]
        raise LayerError(
            f"layer {scores!r} is a softmax, and CrossEntropy takes what comes before it: scores={source!r}"
        )
    shapes = graph.shapes(graph.inputs)
    changing = graph.leading_to([scores]) - set(fixed)
    added: dict[str, Shape] = {TARGET: _target_shape(loss, shapes[scores], scores)}
    nodes, dropped, normalized = [], {}, []
    for node in graph.nodes:
        op = node.op
        if node.name in changing and isinstance(op, BatchNorm):
            normalized.append(node.name)
            node = Node(node.name, BatchStatisticsNorm(op.epsilon), node.inputs)
        elif node.name in changing and isinstance(op, Dropout) and op.rate > 0:
            if not op.rate < 1:
                raise LayerError(f"layer {node.name!r} (Dropout): the rate is {op.rate}; expected less than 1")
            dropped[node.name], added[_mask(node.name)] = op.rate, shapes[node.name]
            node = Node(node.name, Multiply(), (*node.inputs, _mask(node.name)))
        nodes.append(node)
    nodes.append(Node(LOSS, loss, (scores, TARGET)))
    taken = added.keys() & graph.inputs.keys()
    if taken:
        raise LayerError(f"the network has an input {taken.pop()!r}, a name that training needs; rename it")
    training = Graph({**graph.inputs, **added}, tuple(nodes), (LOSS,))
    return TrainingGraph(training, graph, scores, dropped, tuple(normalized))


def _mask(dropout: str) -> str:
    return f"{dropout}_mask"


def _size(size: int | None) -> int:
    return known(size, "every size of a batch")


def _target_shape(loss: Loss, shape: Shape, scores: str) -> Shape:
    try:
        return loss.target_shape(shape)
    except LayerError as error:
        raise LayerError(f"layer {scores!r}, of which {type(loss).__name__} is taken: {error}") from None


def trainable(graph: Graph, parameters: Parameters, fixed: Collection[str] = ()) -> dict[str, tuple[str, ...]]:
    """Layer -> names of the parameters that training changes: all on which the outputs of a training graph depend, but

    - those of the layers in `fixed`, and of `Normalize`, the input's own scale;
    - transposed convolutions that hold bilinear weights, the upsampling of Long et al., arXiv:1411.4038;
    - biases that a batch normalisation subtracts again with the mean, since their gradient is 0.

    Raises LayerError if nothing remains.
    """
    found = {}
    subtracted, leading = _subtracted(graph), graph.leading_to(graph.outputs)
    for node in graph.nodes:
        names = graph.parameter_shapes.get(node.name)
        if not names or node.name not in leading or node.name in fixed or isinstance(node.op, Normalize):
            continue
        if isinstance(node.op, ConvTranspose) and _is_bilinear(node.op, parameters[node.name]):
            continue
        found[node.name] = tuple(name for name in names if name != "bias" or node.name not in subtracted)
    if not found:
        raise LayerError("there is nothing to train: the loss depends on no parameter that is not fixed")
    return found


def _is_bilinear(op: ConvTranspose, parameters: Mapping[str, Any]) -> bool:
    weight = to_numpy(parameters["weight"])
    kernel = bilinear_kernel(op.kernel, op.stride).astype(weight.dtype)
    return op.groups == len(weight) == op.filters and bool((weight == kernel).all())


def _subtracted(graph: Graph) -> set[str]:
    """The layers that nothing but normalisations by the statistics of the batch read."""
    normalized = {name for node in graph.nodes if isinstance(node.op, BatchStatisticsNorm) for name in node.inputs}
    others = {name for node in graph.nodes if not isinstance(node.op, BatchStatisticsNorm) for name in node.inputs}
    return normalized - others
