"""How a correlation is cut into blocks: the shapes there are kernels for, and which one a layer gets.

The choice follows from a model of the costs on a processor (an SM): arithmetic and copies at rates of the usual order,
a price for every block and launch, and less speed where few warps hide each other's waiting. The numbers are reasoned
from documented rates, not measured. Nothing is timed at run time, so a layer is always summed in the same order on the
same GPU.
"""

from dataclasses import dataclass
from typing import NamedTuple

from minicam.cuda.buffers import Kernel, blocks_of
from minicam.errors import LayerError


@dataclass(frozen=True)
class Tile:
    """What a block computes: `rows` positions of `columns` filters, in chunks of `depth` products each.

    Each warp works on warp_rows x warp_columns of it. `stages` chunks lie in shared memory at a time; `resident` blocks
    fit the registers of a processor.
    """

    rows: int
    columns: int
    depth: int
    warp_rows: int
    warp_columns: int
    stages: int
    resident: int

    @property
    def warps(self) -> int:
        return self.rows * self.columns // (self.warp_rows * self.warp_columns)


PLAIN = (Tile(128, 128, 8, 32, 64, 2, 2), Tile(128, 64, 8, 32, 64, 2, 4), Tile(64, 64, 8, 32, 64, 2, 6))
WORDS = 16
"""Of 4 bytes, that a chunk of the tensor-core kernels has in a row: 16 TF32 numbers or 32 halves."""


def _tensor_tiles(depth: int) -> tuple[Tile, ...]:
    return (
        Tile(256, 128, depth, 64, 64, 4, 1),
        Tile(128, 128, depth, 64, 64, 4, 2),
        Tile(128, 64, depth, 64, 32, 4, 3),
        Tile(64, 64, depth, 32, 32, 4, 4),
    )


TILES = {
    "float32": PLAIN,
    "3xtf32": (
        Tile(128, 128, WORDS, 64, 32, 4, 1),
        Tile(128, 64, WORDS, 64, 32, 4, 2),
        Tile(64, 64, WORDS, 32, 32, 4, 3),
    ),
    "tf32": _tensor_tiles(WORDS),
    "float16": _tensor_tiles(2 * WORDS),
}
RATES = {"float32": 128, "3xtf32": 512 / 3, "tf32": 512, "float16": 1024}
"""Products that a processor adds in a cycle. Those of tensor cores are half of an H100's, which mma.sync gets near."""
BYTES = 32
"""That a processor gets from the second-level cache in a cycle."""
BLOCK_CYCLES, LAUNCH_CYCLES = 2000, 4000
"""What a block needs until its first products and after its last; what one more launch costs."""
HALF_SPEED_WARPS = 2
"""With so many warps at work, a processor is busy half of the time."""
OPERANDS = 8
"""Reading a row or a column of a warp's share from shared memory takes as long as so many of its products."""
RESERVED = 1024
"""Bytes of shared memory that CUDA takes for each block."""
MOST_SPLITS, FEW_TURNS = 16, 2
"""Sums are split where there are at most so many blocks for each processor: what is left over at the end matters."""


class Processors(NamedTuple):
    """Of a device: how many there are, and the bytes of shared memory of each."""

    number: int
    shared: int


@dataclass(frozen=True)
class Tiling:
    """A tile, and in how many `splits` of `chunks` chunks each the sums are worked out."""

    tile: Tile
    splits: int
    chunks: int


def choose(
    positions: int, filters: int, reduction: int, branches: int, arithmetic: str, processors: Processors
) -> Tiling:
    """The tiling of least modelled cost.

    reduction: products in one sum. Raises LayerError for an arithmetic that there is no kernel for.
    """
    if arithmetic not in TILES:
        raise LayerError(f"no kernel computes in {arithmetic!r}; expected one of {', '.join(TILES)}")
    tilings = []
    for tile in TILES[arithmetic]:
        chunks = blocks_of(reduction, tile.depth)
        few = _blocks(tile, positions, filters) * branches <= FEW_TURNS * processors.number
        for parts in range(1, min(MOST_SPLITS, chunks) + 1 if few else 2):
            each = blocks_of(chunks, parts)
            tilings.append(Tiling(tile, blocks_of(chunks, each), each))
    return min(tilings, key=lambda tiling: _cycles(tiling, positions, filters, branches, arithmetic, processors))


def _blocks(tile: Tile, positions: int, filters: int) -> int:
    return blocks_of(positions, tile.rows) * blocks_of(filters, tile.columns)


def _cycles(
    tiling: Tiling, positions: int, filters: int, branches: int, arithmetic: str, processors: Processors
) -> float:
    """What the model expects of a tiling. Of equal ones the first wins, which has the larger tile and fewer splits."""
    tile = tiling.tile
    blocks = _blocks(tile, positions, filters) * branches * tiling.splits
    turns = blocks_of(blocks, processors.number)
    resident = min(tile.resident, max(1, processors.shared // (shared_bytes(tile, arithmetic) + RESERVED)))
    warps = tile.warps * min(turns, resident)
    size = 2 if arithmetic == "float16" else 4
    products = tile.rows * tile.columns * tile.depth / RATES[arithmetic]
    products *= 1 + OPERANDS / tile.warp_rows + OPERANDS / tile.warp_columns
    products *= 1 + HALF_SPEED_WARPS / warps
    copies = (tile.rows + tile.columns * parts_of(arithmetic)) * tile.depth * size / BYTES
    cycles = turns * tiling.chunks * max(products, copies) + blocks_of(turns, resident) * BLOCK_CYCLES
    if tiling.splits == 1:
        return cycles
    written_and_read = 2 * 4 * positions * filters * branches * tiling.splits
    return cycles + LAUNCH_CYCLES + written_and_read / (BYTES * processors.number)


def parts_of(arithmetic: str) -> int:
    """The numbers that a weight is stored as."""
    return 2 if arithmetic == "3xtf32" else 1


def shared_bytes(tile: Tile, arithmetic: str) -> int:
    """Shared memory of a block."""
    if arithmetic == "float32":
        return tile.stages * tile.depth * (tile.rows + 4 + tile.columns) * 4
    return tile.stages * (tile.rows + tile.columns * parts_of(arithmetic)) * WORDS * 4


def kernel(name: str, tile: Tile, arithmetic: str) -> Kernel:
    """The kernel of that name among those compiled for a tile."""
    half = arithmetic == "float16"
    defines: tuple[tuple[str, int | str], ...] = (
        ("INPUT", "half_bits" if half else "float"),
        *(("BM", tile.rows), ("BN", tile.columns), ("BK", tile.depth), ("RESIDENT", tile.resident)),
    )
    if arithmetic == "float32":
        return Kernel("convolution", name, defines)
    warps = (("WM", tile.warp_rows), ("WN", tile.warp_columns), ("STAGES", tile.stages))
    return Kernel("convolution_tensor", name, (*defines, *warps, ("PARTS", parts_of(arithmetic))))
