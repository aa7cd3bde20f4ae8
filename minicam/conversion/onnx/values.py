"""What a tensor of the source is while it is translated: known beforehand, or given by a layer."""

from dataclasses import dataclass

import numpy as np


class Unsupported(Exception):
    """A node cannot be translated; the text says why. needs: tensors that would have to be constant."""

    def __init__(self, reason: str, needs: tuple[str, ...] = ()):
        super().__init__(reason)
        self.needs = needs


@dataclass(frozen=True)
class Constant:
    """A tensor that does not depend on the values of the inputs, but perhaps on their sizes: one array for each of
    the `PROBES` sizes that stand for those that are open."""

    arrays: tuple[np.ndarray, ...]

    @property
    def fixed(self) -> np.ndarray | None:
        """The array, if it is the same for all sizes of the inputs."""
        first, *others = self.arrays
        same = all(a is first or (a.dtype == first.dtype and np.array_equal(a, first)) for a in others)
        return first if same else None


@dataclass(frozen=True)
class Layer:
    """A tensor that a layer gives, perhaps in another order: axis a of a sample of the tensor is axis axes[a] of the
    layer's. Layer axes that are not among them have size 1, which is how a tensor without axes is a layer (1,)."""

    name: str
    axes: tuple[int, ...]

    @property
    def plain(self) -> bool:
        """Whether the orders are the same."""
        return self.axes == tuple(range(len(self.axes)))


@dataclass(frozen=True)
class Unknown:
    """What a node gives that cannot be translated."""


Value = Constant | Layer | Unknown

PROBES = (256, 512)
"""Two sizes that stand for every open size of the inputs: what agrees for both does not depend on it. They can be
halved often, as networks do."""
BATCHES = (5, 7)
"""The same for the number of samples."""
