"""How fast minicam computes each layer of the forward pass, measured layer by layer."""

import statistics
import time
from collections.abc import Iterable
from typing import Any

import numpy as np

from minicam.backend import Array
from minicam.bench.work import layer_multiplications
from minicam.graph import Graph, Node
from minicam.network import Network
from minicam.ops import Add, BatchNorm, Dropout, Relu

FUSED = (BatchNorm, Add, Relu, Dropout)
"""What follows a convolution and can be done with it."""


def layer_times(network: Network, image: np.ndarray, repeat: int) -> list[dict[str, Any]]:
    """For each convolution, together with what can be fused into it: name, last layer, seconds (the median of
    `repeat` runs after one), GFLOP and GFLOP/s.

    Each is run alone through `Network.forward`, fed with what it reads; what the checks and copies of the feeding take
    is measured with the same call, and taken off.
    """
    graph = network.graph
    groups = {name: fused_group(graph, name) for name in layer_multiplications(graph)}
    work = layer_multiplications(graph, image.shape[2:])
    read = {source for group in groups.values() for source in _outside(group)}
    values = network.forward(image, sorted(read))
    found = []
    for name, group in groups.items():
        feeds = {source: values[source] for source in _outside(group)}
        run = _median_seconds(network, feeds, [group[-1].name], repeat)
        feeding = _median_seconds(network, feeds, list(feeds), repeat)
        seconds, gflop = max(run - feeding, 1e-9), 2 * len(image) * work[name] / 1e9
        found.append(
            {"layer": name, "to": group[-1].name, "seconds": seconds, "gflop": gflop, "gflops": gflop / seconds}
        )
    return found


def fused_group(graph: Graph, name: str) -> list[Node]:
    """The layer and those after it that can be fused into it: each the only reader of the one before."""
    group = [graph.by_name[name]]
    while True:
        readers = [node for node in graph.nodes if group[-1].name in node.inputs]
        if len(readers) != 1 or not isinstance(readers[0].op, FUSED) or group[-1].name in graph.outputs:
            return group
        if isinstance(readers[0].op, Add) and readers[0].inputs[0] != group[-1].name:
            return group  # the sum goes with the convolution that it names first
        group.append(readers[0])


def _outside(group: Iterable[Node]) -> list[str]:
    """What the group reads from elsewhere."""
    inside = {node.name for node in group}
    return list(dict.fromkeys(name for node in group for name in node.inputs if name not in inside))


def _median_seconds(network: Network, feeds: dict[str, Array], keep: list[str], repeat: int) -> float:
    seconds = []
    for _ in range(1 + repeat):
        start = time.perf_counter()
        network.forward(feeds, keep)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[1:])
