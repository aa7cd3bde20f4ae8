"""Space to channels and back: each block of positions becomes channels of one position, or the reverse."""

import math
from dataclasses import dataclass

from minicam.backend import Array
from minicam.ops.base import Op, Shape, require
from minicam.windows import per_axis

ORDERS = ("positions_first", "channels_first")


class _Blocks(Op):
    """What both ops share: the block, and how it is read from the channels."""

    block: tuple[int, ...]
    order: str

    def __post_init__(self) -> None:
        kind = type(self).__name__
        require(isinstance(self.block, list | tuple) and self.block, f"{kind}: block is {self.block!r}; expected sizes")
        block = per_axis(f"{kind}: block", self.block, len(self.block))
        require(min(block) >= 1, f"{kind}: block is {block}; expected sizes of 1 or more")
        require(self.order in ORDERS, f"{kind}: order is {self.order!r}; expected one of {ORDERS}")
        object.__setattr__(self, "block", block)

    def footprint(self, rank: int) -> None:
        return None

    def _check(self, shape: Shape) -> None:
        rank = len(self.block)
        require(len(shape) == rank + 1, f"the input {shape} has {len(shape) - 1} spatial axes; the block has {rank}")

    def _to_space(self, x: Array) -> Array:
        """(N, C, *space) -> (N, C / prod(block), *(space block))."""
        rank = len(self.block)
        if self.order == "channels_first":
            split = x.reshape(len(x), -1, *self.block, *x.shape[2:])
            axes = [0, 1]
            first = 2
        else:
            split = x.reshape(len(x), *self.block, -1, *x.shape[2:])
            axes = [0, rank + 1]
            first = 1
        for axis in range(rank):
            axes += [rank + 2 + axis, first + axis]
        space = [size * block for size, block in zip(x.shape[2:], self.block, strict=True)]
        return split.transpose(axes).reshape(len(x), -1, *space)

    def _to_depth(self, x: Array) -> Array:
        """(N, C, *space) -> (N, C prod(block), *(space / block)), the reverse."""
        rank = len(self.block)
        sizes = [size // block for size, block in zip(x.shape[2:], self.block, strict=True)]
        pairs = [part for pair in zip(sizes, self.block, strict=True) for part in pair]
        split = x.reshape(len(x), -1, *pairs)
        blocks, outer = range(3, 3 + 2 * rank, 2), range(2, 2 + 2 * rank, 2)
        channels = (1, *blocks) if self.order == "channels_first" else (*blocks, 1)
        return split.transpose(0, *channels, *outer).reshape(len(x), -1, *sizes)


@dataclass(frozen=True)
class DepthToSpace(_Blocks):
    """y[n, c, block i + b] = x[n, k, i], where channel k stands for channel c of y at the place b of each block.

    x (N, C, *space) -> y (N, C / prod(block), *(space block)). order: how the channels of x run over b, in row-major
    order, and c: "positions_first" (k = b C / prod(block) + c) or "channels_first" (k = c prod(block) + b).
    Adjoint: `SpaceToDepth` of dy.

    Source: Shi et al., arXiv:1609.05158, equation 4 (the pixel shuffle, which is "channels_first", as in PyTorch). ONNX
    operator DepthToSpace, version 13: its DCR is "positions_first", its CRD "channels_first".

    >>> import numpy as np
    >>> DepthToSpace((2,)).forward(np.array([[[1., 2.], [10., 20.]]]))
    array([[[ 1., 10.,  2., 20.]]])
    """

    block: tuple[int, ...]
    order: str = "positions_first"

    def output_shape(self, *shapes: Shape) -> Shape:
        self._check(shapes[0])
        channels, *space = shapes[0]
        count = math.prod(self.block)
        require(
            channels is None or channels % count == 0,
            f"the input has {channels} channels; expected a multiple of {count}, the size of the block {self.block}",
        )
        sizes = zip(space, self.block, strict=True)
        return (channels and channels // count, *(size and size * block for size, block in sizes))

    def forward(self, x):
        return self._to_space(x)

    def backward(self, dy, y, x):
        return (self._to_depth(dy),)


@dataclass(frozen=True)
class SpaceToDepth(_Blocks):
    """The reverse of `DepthToSpace`: x (N, C, *space) -> y (N, C prod(block), *(space / block)).

    order: as there. Adjoint: `DepthToSpace` of dy.

    >>> import numpy as np
    >>> SpaceToDepth((2,)).forward(np.array([[[1., 10., 2., 20.]]]))
    array([[[ 1.,  2.],
            [10., 20.]]])
    """

    block: tuple[int, ...]
    order: str = "positions_first"

    def output_shape(self, *shapes: Shape) -> Shape:
        self._check(shapes[0])
        channels, *space = shapes[0]
        require(
            all(size is None or size % block == 0 for size, block in zip(space, self.block, strict=True)),
            f"the input {shapes[0]} does not consist of blocks of {self.block}",
        )
        sizes = zip(space, self.block, strict=True)
        return (channels and channels * math.prod(self.block), *(size and size // block for size, block in sizes))

    def forward(self, x):
        return self._to_depth(x)

    def backward(self, dy, y, x):
        return (self._to_space(dy),)
