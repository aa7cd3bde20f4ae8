"""Per-channel upsampling of planes, and convolutions of upsampled channels done at low resolution.

A convolution with weight w[t] (K, C) per tap, after an upsampling y = A x B^T of each channel, is

    z[Y, X] = sum over t of w[t] y[Y + e_t, X + f_t] = sum over (t, r) of A_t (w[t, r] x) B_r^T

where A_t is A with its rows shifted by the tap's offset: first mix the channels of the small image for each tap, then
upsample the results, shifted, and add them up. With upsampling by 4 that is a sixteenth of the multiplications. The
adjoint takes the same steps backwards. (Convolution and upsampling are linear and act on different axes; nothing is
rounded differently but the order of the sums.)
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from minicam.fast.banded import Piece, pieces, shifted
from minicam.fast.threads import Workers
from minicam.fast.windows2d import Source
from minicam.windows import Window

PLANE_ROWS = 32
PLANE_COLUMNS = 64
IMAGE_ROWS = 16
IMAGE_COLUMNS = 16


@dataclass(frozen=True)
class Upsampling:
    """y = down x across^T for every channel: down (H, h) and across (W, w), banded, float64."""

    down: np.ndarray
    across: np.ndarray

    def forward(
        self, x: np.ndarray, workers: Workers, finish: Callable[[np.ndarray], None] | None = None
    ) -> np.ndarray:
        """x (N, C, h, w) -> y (N, C, H, W), planar. finish(y) may change a block (C, rows, W) in place."""
        samples, channels, height, _ = x.shape
        wide = workers.empty(samples, channels, height, len(self.across))
        y = workers.empty(samples, channels, len(self.down), len(self.across))
        x = np.ascontiguousarray(x)

        def stretch(block: tuple[int, Piece]) -> None:
            sample, piece = block
            np.matmul(x[sample][..., piece.low : piece.high], piece.values.T, out=wide[sample][..., slice(*piece[:2])])

        def lengthen(block: tuple[int, Piece]) -> None:
            sample, piece = block
            rows = y[sample, :, piece.first : piece.last]
            np.matmul(piece.values, wide[sample, :, piece.low : piece.high], out=rows)
            if finish is not None:
                finish(rows)

        workers.run(stretch, [(n, piece) for n in range(samples) for piece in self._across])
        workers.run(lengthen, [(n, piece) for n in range(samples) for piece in self._down])
        return y

    def adjoint(self, dy: np.ndarray, workers: Workers) -> np.ndarray:
        """dy (N, C, H, W) -> dx (N, C, h, w), planar."""
        samples, channels = dy.shape[:2]
        flat = workers.empty(samples, channels, self.down.shape[1], len(self.across))
        dx = workers.empty(samples, channels, self.down.shape[1], self.across.shape[1])
        dy = np.ascontiguousarray(dy)

        def shorten(block: tuple[int, Piece]) -> None:
            sample, piece = block
            np.matmul(piece.values, dy[sample, :, piece.low : piece.high], out=flat[sample, :, slice(*piece[:2])])

        def narrow(block: tuple[int, Piece]) -> None:
            sample, piece = block
            np.matmul(flat[sample][..., piece.low : piece.high], piece.values.T, out=dx[sample][..., slice(*piece[:2])])

        workers.run(shorten, [(n, piece) for n in range(samples) for piece in self._down_back])
        workers.run(narrow, [(n, piece) for n in range(samples) for piece in self._across_back])
        return dx

    @cached_property
    def _down(self) -> list[Piece]:
        return pieces(self.down, PLANE_ROWS)

    @cached_property
    def _across(self) -> list[Piece]:
        return pieces(self.across, PLANE_COLUMNS)

    @cached_property
    def _down_back(self) -> list[Piece]:
        return pieces(self.down.T, PLANE_ROWS // 2)

    @cached_property
    def _across_back(self) -> list[Piece]:
        return pieces(self.across.T, PLANE_COLUMNS // 2)


class UpsampledConvolution:
    """A convolution of stride 1 of an upsampled image, and its adjoint, computed on the small image.

    weight (K, C, kernel rows, kernel columns); window: the convolution's, whose output has the upsampled size.
    """

    def __init__(self, weight: np.ndarray, window: Window, upsampling: Upsampling):
        (rows, columns), ((above, _), (left, _)) = window.kernel, window.padding
        self.filters, self.channels = weight.shape[:2]
        self.taps = (rows, columns)
        # (kernel rows, C, kernel columns * K): what mixes the channels of a small pixel for each tap of one kernel row
        self.mix = np.ascontiguousarray(weight.transpose(2, 1, 3, 0), np.float32).reshape(rows, self.channels, -1)
        self.unmix = np.ascontiguousarray(self.mix.swapaxes(1, 2))
        down = shifted(upsampling.down, [window.dilation[0] * t - above for t in range(rows)])
        across = shifted(upsampling.across, [window.dilation[1] * t - left for t in range(columns)])
        self.small = (down.shape[1], across.shape[1])
        self.large = (len(down), len(across))
        self._down = pieces(down.reshape(len(down), -1), IMAGE_ROWS)
        self._across = pieces(across.reshape(len(across), -1), IMAGE_COLUMNS)
        self._down_back = pieces(down.reshape(len(down), -1).T, IMAGE_ROWS)
        self._across_back = pieces(across.reshape(len(across), -1).T, IMAGE_COLUMNS)

    def forward(self, x: np.ndarray, out: np.ndarray, workers: Workers) -> None:
        """x (N, h, w, C) -> out (N, H, W, K), contiguous; without bias."""
        (rows, columns), (height, width), (_, broad) = self.taps, self.small, self.large
        wide = workers.empty(len(x), height, rows, broad, self.filters)

        def stretch(block: tuple[int, int]) -> None:
            sample, row = block
            mixed = workers.scratch("u", rows, width, columns * self.filters)
            np.matmul(x[sample, row], self.mix, out=mixed)
            mixed = mixed.reshape(rows, width * columns, self.filters)
            for piece in self._across:
                target = wide[sample, row, :, piece.first : piece.last]
                np.matmul(piece.values, mixed[:, piece.low : piece.high], out=target)

        def lengthen(block: tuple[int, Piece]) -> None:
            sample, piece = block
            small = wide[sample].reshape(height * rows, -1)[piece.low : piece.high]
            np.matmul(piece.values, small, out=out[sample, piece.first : piece.last].reshape(-1, small.shape[1]))

        workers.run(stretch, [(n, row) for n in range(len(x)) for row in range(height)])
        workers.run(lengthen, [(n, piece) for n in range(len(x)) for piece in self._down])

    def adjoint(self, dy: Source, out: np.ndarray, workers: Workers) -> None:
        """dy (N, H, W, K) -> out (N, h, w, C)."""
        (rows, columns), (height, width), (_, broad) = self.taps, self.small, self.large
        flat = workers.empty(len(out), height * rows, broad, self.filters)

        def shorten(block: tuple[int, Piece]) -> None:
            sample, piece = block
            seen = workers.scratch("window", piece.high - piece.low, broad, self.filters)
            dy.read(sample, slice(piece.low, piece.high), slice(None), seen)
            target = flat[sample, piece.first : piece.last].reshape(piece.last - piece.first, -1)
            np.matmul(piece.values, seen.reshape(len(seen), -1), out=target)

        def narrow(block: tuple[int, int]) -> None:
            sample, row = block
            mixed = workers.scratch("u", rows, width * columns, self.filters)
            for piece in self._across_back:
                seen = flat[sample, row * rows : (row + 1) * rows, piece.low : piece.high]
                np.matmul(piece.values, seen, out=mixed[:, piece.first : piece.last])
            unmixed = workers.scratch("v", rows, width, self.channels)
            np.matmul(mixed.reshape(rows, width, -1), self.unmix, out=unmixed)
            np.sum(unmixed, axis=0, out=out[sample, row])

        workers.run(shorten, [(n, piece) for n in range(len(out)) for piece in self._down_back])
        workers.run(narrow, [(n, row) for n in range(len(out)) for row in range(height)])
