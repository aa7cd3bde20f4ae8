"""What a target may look at: the reduction layer's output, and where its cells lie in the image."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from minicam.backend import Array, as_array, to_numpy
from minicam.errors import TargetError, close_names
from minicam.graph import Graph
from minicam.ops import ConvTranspose, Crop, Dropout, Flatten, Identity, LogSoftmax, Resize, Softmax
from minicam.resizing import imresize

SOFTMAX, LOGITS, OUTPUT = "softmax scores", "logits", "output"
KEEPS_LOGITS = (Crop, ConvTranspose, Dropout, Flatten, Identity, Resize)


@dataclass(frozen=True)
class Scores:
    """The output of the reduction layer for one sample.

    values: (C, *space). kind: "softmax scores", "logits" or "output". classes: the network's class names.
    image_space: the size of the image given, in which pixels and masks are meant.
    """

    values: Array
    kind: str
    classes: tuple[str, ...]
    image_space: tuple[int, ...]

    @property
    def space(self) -> tuple[int, ...]:
        return tuple(self.values.shape[1:])

    @cached_property
    def labels(self) -> np.ndarray:
        """The channel with the largest value at each position, (*space)."""
        return to_numpy(self.values.argmax(axis=0))

    @cached_property
    def probabilities(self) -> Array:
        """(C, *space). Raises TargetError where the layer holds neither scores nor logits."""
        if self.kind == OUTPUT:
            raise TargetError("a threshold needs probabilities; this layer holds neither softmax scores nor logits")
        return self.values if self.kind == SOFTMAX else Softmax().forward(self.values[None])[0]

    def class_index(self, wanted: Any) -> int:
        """The channel of a class given by name or 0-based index. Raises TargetError with close names."""
        channels = len(self.values)
        if isinstance(wanted, str):
            if wanted not in self.classes:
                raise TargetError(f"there is no class {wanted!r}{close_names(wanted, self.classes)}")
            wanted = self.classes.index(wanted)
        if isinstance(wanted, bool) or not hasattr(wanted, "__index__"):
            raise TargetError(f"{wanted!r} is not a class; expected a name or a 0-based index")
        if not 0 <= wanted < channels:
            raise TargetError(f"class {wanted} does not exist; the layer has {channels} channels: 0 to {channels - 1}")
        return wanted.__index__()

    def class_name(self, index: int) -> str:
        if index < len(self.classes):
            return self.classes[index]
        return f"output {index}" if self.kind == OUTPUT else f"class {index}"

    def cell(self, position: Sequence[int]) -> tuple[int, ...]:
        """The position in `values` under a 0-based position in the image: of the cell that its centre falls in."""
        self._check_alike(f"pixel {tuple(position)}", len(position))
        for coordinate, size in zip(position, self.image_space, strict=True):
            if not 0 <= coordinate < size:
                raise TargetError(
                    f"pixel {tuple(position)} lies outside the image, whose size is {tuple(self.image_space)}; "
                    "expected (row, column), 0-based"
                )
        return tuple(
            (2 * coordinate + 1) * cells // (2 * size)
            for coordinate, cells, size in zip(position, self.space, self.image_space, strict=True)
        )

    def cells(self, mask: np.ndarray) -> np.ndarray:
        """A mask of the image as a mask of the output: the cells whose centre lies in it, or that one of its pixels'
        centres falls in, so that no pixel is lost where the output is coarser."""
        found = self.nearest(mask)
        pixels = np.nonzero(mask)
        sizes = zip(pixels, self.space, self.image_space, strict=True)
        found[tuple((2 * coordinates + 1) * cells // (2 * size) for coordinates, cells, size in sizes)] = True
        return found

    def nearest(self, array: np.ndarray) -> np.ndarray:
        """An array of the image's size, looked up at the centres of the output's cells."""
        return imresize(array, self.space, method="nearest")

    def on_image(self, cells: np.ndarray) -> np.ndarray:
        """A mask of the output at the image's size."""
        return imresize(cells, self.image_space, method="nearest")

    def image_array(self, what: str, array: Any) -> np.ndarray:
        """`array` if it has the image's size; else TargetError."""
        array = as_array(np, array)
        self._check_alike(f"a {what} of shape {array.shape}", array.ndim)
        if array.shape != tuple(self.image_space):
            raise TargetError(f"the {what} has shape {array.shape}; the image has {tuple(self.image_space)}")
        return array

    def _check_alike(self, what: str, rank: int) -> None:
        if not rank == len(self.space) == len(self.image_space):
            raise TargetError(
                f"{what} cannot be found in an output with {len(self.space)} spatial axes, of an input with "
                f"{len(self.image_space)}"
            )


def score_kind(graph: Graph, layer: str) -> str:
    """Softmax scores; logits, if only resampling lies between the layer and a softmax, or its logarithm; or an
    output."""
    node = graph.by_name.get(layer)
    if node is not None and node.op == Softmax():
        return SOFTMAX
    logits = {layer}
    for node in graph.nodes:
        if node.inputs[0] in logits:
            if node.op in (Softmax(), LogSoftmax()):
                return LOGITS
            if isinstance(node.op, KEEPS_LOGITS):
                logits.add(node.name)
    return OUTPUT
