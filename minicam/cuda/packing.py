"""Weights in the order and types that the kernels of convolution read."""

from dataclasses import dataclass

import numpy as np

from minicam.cuda import tiles
from minicam.cuda.arguments import check_elements
from minicam.cuda.buffers import FLOAT, HALF, Buffer, blocks_of, constant
from minicam.errors import LayerError


@dataclass(frozen=True)
class Packed:
    """Weights (taps, channels, filters) in the order and type that the kernels of an arithmetic read."""

    buffer: Buffer
    taps: int
    channels: int
    filters: int
    arithmetic: str


def element_type(arithmetic: str) -> np.dtype:
    """Of the feature maps that are read, and of the weights."""
    return HALF if arithmetic == "float16" else FLOAT


def pack(weight: np.ndarray, arithmetic: str) -> Packed:
    """Weights (T, C, K) float32 as a constant.

    arithmetic: "float32", "3xtf32" (tensor cores, the error of float32), "tf32" or "float16". Raises LayerError for
    another one, and for weights that it cannot represent.
    """
    if arithmetic not in tiles.TILES:
        raise LayerError(f"no kernel computes in {arithmetic!r}; expected one of {', '.join(tiles.TILES)}")
    taps, channels, filters = weight.shape
    dtype = element_type(arithmetic)
    with np.errstate(over="ignore", invalid="ignore"):
        rounded = round_to_tf32(weight) if arithmetic in ("tf32", "3xtf32") else weight.astype(dtype)
        parts = [rounded, round_to_tf32(weight - rounded)] if arithmetic == "3xtf32" else [rounded]
    if np.any(np.isfinite(weight) & ~np.isfinite(rounded)):
        raise LayerError(
            f"a weight is {np.nanmax(np.abs(weight)):.6g}, too large for {arithmetic}; use the precision 'exact'"
        )
    whole = np.zeros((len(parts), taps, padded(channels, dtype), blocks_of(filters, 32) * 32), dtype)
    whole[:, :, :channels, :filters] = parts
    matrices = whole.reshape(len(parts), -1, whole.shape[-1])
    if arithmetic == "float32":
        packed = matrices[0, :, : padded(filters, dtype)]
    else:
        packed = np.stack([_operands(matrix.T) for matrix in matrices], axis=2)
    check_elements(packed.size)
    return Packed(constant(packed), taps, channels, filters, arithmetic)


def _operands(weight: np.ndarray) -> np.ndarray:
    """Weights (filters, products) in the order of convolution_tensor.cu, (groups of 32 filters, chunks, ...)."""
    filters, products = weight.shape
    depth = tiles.WORDS * 4 // weight.itemsize
    whole = np.zeros((filters, blocks_of(products, depth) * depth), weight.dtype)
    whole[:, :products] = weight
    # The filters are those of a group, a thread's g, a tile, a row (g or g + 8); the words of a chunk are those of a
    # thread's t, a step, the two of that step.
    words = whole.view(np.uint32).reshape(filters // 32, 8, 2, 2, -1, 4, 2, 2)
    ordered = np.ascontiguousarray(words.transpose(0, 4, 2, 6, 1, 5, 7, 3))
    return ordered.view(weight.dtype).reshape(filters // 32, -1, 32 * depth)


def round_to_tf32(x: np.ndarray) -> np.ndarray:
    """The nearest numbers with 10 bits of mantissa, ties away from zero, as float32."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    return np.where(np.isfinite(x), ((bits + np.uint32(0x1000)) & np.uint32(0xFFFFE000)).view(np.float32), x)


def padded(size: int, dtype: np.dtype) -> int:
    """To whole vectors of 16 bytes."""
    vector = 16 // dtype.itemsize
    return blocks_of(size, vector) * vector
