"""Shapes with every size known, as they are once the feeds are."""

from collections.abc import Mapping

from minicam.backend import Array
from minicam.graph import Graph

Shapes = Mapping[str, tuple[int, ...]]
"""Layer -> (C, *space)."""


def shapes_from(graph: Graph, feeds: Mapping[str, Array]) -> Shapes:
    """The shape of one sample at every layer that follows from what is fed."""
    shapes = graph.shapes_of(feeds)
    return {name: tuple(size for size in shape if size is not None) for name, shape in shapes.items()}
