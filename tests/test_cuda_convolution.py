"""The correlation kernels, on the emulator or a GPU, against the definition in float64.

What no kernel may read or write is NaN: the padding of pixels, the channels beside a part of a concatenation, the rows
between those of a phase. Everything runs twice, in two orders of blocks and threads, which must give the same bits.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from launches import run_launches

from minicam.cuda import tiles
from minicam.cuda.buffers import FLOAT, HALF, Buffer, FeatureMaps, Launch, constant, feature_maps
from minicam.cuda.convolution import KERNELS, Branch, correlate
from minicam.cuda.packing import Packed, element_type, pack, round_to_tf32
from minicam.errors import LayerError

ARITHMETICS = tuple(tiles.TILES)
BOUNDS = {"float32": 1e-6, "3xtf32": 1e-6, "tf32": 1e-3, "float16": 1e-3}
"""Of the largest error, relative to the largest result."""
PROCESSORS = tiles.Processors(132, 233472)
EVERY_TILE = [(arithmetic, i) for arithmetic in ARITHMETICS for i in range(len(tiles.TILES[arithmetic]))]


def square(size: int, dilation: int = 1, low: tuple[int, int] | None = None) -> tuple[tuple[int, int], ...]:
    """The taps of a square window with that padding above and to the left, else centred."""
    top, left = low or (dilation * (size // 2),) * 2
    return tuple((dilation * i - top, dilation * j - left) for i in range(size) for j in range(size))


def elements(maps: FeatureMaps) -> np.ndarray:
    """(N, H, W, C): the index in its buffer of every element."""
    n, r, c, k = np.ogrid[: maps.samples, : maps.rows, : maps.columns, : maps.channels]
    return maps.place.offset + n * maps.sample_pitch + r * maps.row_pitch + c * maps.pixel_pitch + k


def defined(x: np.ndarray, branch: Branch, weight: np.ndarray, step: tuple[int, int], rectify: bool, values: Any):
    """The definition, in float64, one position and tap after the other. values: the content of bias, added and mask."""
    y = np.zeros((len(x), branch.y.rows, branch.y.columns, branch.y.channels))
    for (down, right), w in zip(branch.taps, weight.astype(np.float64), strict=True):
        for i, j in np.ndindex(*y.shape[1:3]):
            row, column = step[0] * i + down, step[1] * j + right
            if 0 <= row < x.shape[1] and 0 <= column < x.shape[2]:
                y[:, i, j] += x[:, row, column] @ w
    y += values(branch.bias) + values(branch.added)
    if rectify:
        y = np.maximum(y, 0)
    return y if branch.mask is None else np.where(values(branch.mask) > 0, y, 0)


@dataclass
class Case:
    """A correlation of random numbers. size: rows and columns of x; beside: channels on both sides of x's in memory."""

    size: tuple[int, int]
    channels: int
    filters: Sequence[int]
    taps: Sequence[Sequence[tuple[int, int]]]
    out: tuple[int, int] | None = None
    samples: int = 1
    step: tuple[int, int] = (1, 1)
    rectify: bool = False
    bias: bool = False
    added: bool = False
    mask: np.dtype | None = None
    y: np.dtype = FLOAT
    beside: int = 0
    once: bool = False  # one sample of x and of the mask for all
    phase: bool = False  # y is each second row and third column of larger feature maps
    joined: bool = False  # the branches lie next to each other in one buffer
    random: np.random.Generator = field(default_factory=lambda: np.random.default_rng(1))
    contents: dict[Buffer, np.ndarray] = field(default_factory=dict)

    def maps(self, size: tuple[int, int], channels: int, dtype: np.dtype, once: bool = False) -> FeatureMaps:
        maps = feature_maps(1 if once else self.samples, *size, channels + 2 * self.beside, dtype)
        maps = maps.only(self.beside, channels)
        self.contents[maps.place.buffer] = np.full(maps.place.buffer.shape, np.nan, dtype)
        return replace(maps, samples=self.samples, sample_pitch=0) if once else maps

    def filled(self, size: tuple[int, int], channels: int, dtype: np.dtype, once: bool = False) -> FeatureMaps:
        maps = self.maps(size, channels, dtype, once)
        index = elements(maps)
        self.contents[maps.place.buffer].reshape(-1)[index] = self.random.standard_normal(index.shape)
        return maps

    def value(self, of: Buffer | FeatureMaps | None) -> np.ndarray | float:
        if of is None:
            return 0.0
        if isinstance(of, Buffer):
            assert of.value is not None
            return of.value.astype(np.float64)
        return self.contents[of.place.buffer].reshape(-1)[elements(of)].astype(np.float64)

    def outputs(self, out: tuple[int, int]) -> list[FeatureMaps]:
        if self.joined:
            whole, first = self.maps(out, sum(self.filters), self.y), 0
            parts = []
            for count in self.filters:
                parts.append(whole.only(first, count))
                first += count
            return parts
        if self.phase:
            size = 2 * out[0], 3 * out[1]
            return [self.maps(size, count, self.y).every((2, 3), (1, 2)) for count in self.filters]
        return [self.maps(out, count, self.y) for count in self.filters]

    def check(self, arithmetic: str) -> list[Launch]:
        """Runs and compares everything; returns the launches."""
        out = self.out or self.size
        x = self.filled(self.size, self.channels, element_type(arithmetic), self.once)
        branches, weights = [], []
        for taps, filters, y in zip(self.taps, self.filters, self.outputs(out), strict=True):
            scale = np.sqrt(len(taps) * self.channels)
            weight = (self.random.standard_normal((len(taps), self.channels, filters)) / scale).astype(np.float32)
            bias = constant(self.random.standard_normal(filters).astype(np.float32)) if self.bias else None
            added = self.filled(out, filters, self.y) if self.added else None
            mask = self.filled(out, filters, self.mask, self.once) if self.mask is not None else None
            weights.append(weight)
            branches.append(Branch(tuple(taps), pack(weight, arithmetic), bias, y, added, mask))
        launches = correlate(x, branches, self.step, self.rectify, arithmetic, PROCESSORS)
        after, again = (run_launches(launches, self.contents, seed) for seed in (1, 2))
        value_of_x = self.value(x)
        for branch, weight in zip(branches, weights, strict=True):
            expected = defined(value_of_x, branch, weight, self.step, self.rectify, self.value)
            found = after[branch.y.place.buffer].reshape(-1)[elements(branch.y)]
            peak = max(1e-30, np.abs(expected).max())
            bound = max(BOUNDS[arithmetic], 2**-11 if self.y == HALF else 0)
            assert np.abs(found - expected).max() <= bound * peak
        for buffer, content in self.contents.items():
            outside = np.ones(content.size, bool)
            for branch in branches:
                if branch.y.place.buffer is buffer:
                    outside[elements(branch.y)] = False
            kept = np.uint16 if buffer.dtype == HALF else np.uint32
            np.testing.assert_array_equal(
                after[buffer].view(kept).reshape(-1)[outside], content.view(kept).reshape(-1)[outside]
            )
            np.testing.assert_array_equal(after[buffer].view(kept), again[buffer].view(kept))
        return launches


CASES = {
    "few channels and filters": Case((9, 11), 3, [11], [square(3)], bias=True),
    "one filter": Case((8, 9), 20, [1], [square(1)], bias=True, rectify=True),
    "one pixel": Case((1, 1), 48, [70], [square(3)], bias=True, samples=3),
    "more than a tile": Case((13, 11), 11, [70], [square(3)], samples=2, bias=True, rectify=True),
    "a stride, asymmetric padding": Case((10, 9), 20, [48], [square(3, low=(0, 1))], out=(5, 4), step=(2, 2)),
    "unequal strides": Case((11, 13), 4, [5], [square(5)], out=(4, 7), step=(3, 2), bias=True),
    "a dilation beyond the image": Case((5, 6), 20, [11], [square(3, 9)], bias=True),
    "no tap inside": Case((3, 3), 8, [4], [[(7, 0), (0, -5)]], bias=True, rectify=True),
    "a phase": Case((4, 5), 20, [11], [((0, 0), (0, 1), (1, 0), (1, 1))], phase=True),
    "a phase, added, masked": Case((4, 5), 8, [12], [((0, 0), (1, 1))], phase=True, added=True, mask=FLOAT),
    "a part of a concatenation": Case((6, 7), 16, [48], [square(3)], beside=8, bias=True, added=True, rectify=True),
    "an unaligned part": Case((6, 7), 5, [9], [square(3)], beside=3, bias=True, added=True, mask=FLOAT),
    "one sample for all": Case((5, 7), 12, [20], [square(3)], samples=3, once=True, mask=FLOAT, added=True),
    "a mask of halves": Case((5, 7), 12, [20], [square(3)], mask=HALF, added=True),
    "a mask of few halves": Case((5, 7), 12, [3], [square(1)], mask=HALF, bias=True),
    "an output of halves": Case((7, 6), 24, [20], [square(3)], y=HALF, added=True, bias=True, rectify=True),
    "an output of few halves": Case((7, 6), 24, [6], [square(1)], y=HALF, added=True, mask=HALF),
    "three branches": Case(
        (6, 7), 32, [16] * 3, [square(3, d) for d in (1, 2, 4)], bias=True, rectify=True, joined=True
    ),
    "unlike branches": Case((6, 7), 20, [8, 8, 4, 8, 8], [square(3), square(3), square(1), square(3, 2), square(3, 3)]),
    "a long sum": Case((4, 4), 304, [16], [square(3)], bias=True, added=True, rectify=True),
}


@pytest.mark.parametrize("arithmetic", ARITHMETICS)
@pytest.mark.parametrize("name", CASES)
def test_correlation(name: str, arithmetic: str) -> None:
    case = replace(CASES[name], random=np.random.default_rng(1), contents={})
    case.check(arithmetic)


@pytest.mark.parametrize("splits", [1, 3])
@pytest.mark.parametrize(("arithmetic", "number"), EVERY_TILE)
def test_every_tile(arithmetic: str, number: int, splits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Positions and filters beyond one tile, in parts of the sum and in one."""
    tile = tiles.TILES[arithmetic][number]

    def choose(positions: int, filters: int, reduction: int, *_: Any) -> tiles.Tiling:
        chunks = -(reduction // -tile.depth)
        each = -(chunks // -splits)
        return tiles.Tiling(tile, -(chunks // -each), each)

    monkeypatch.setattr(tiles, "choose", choose)
    rows = tile.rows // 16 + 1
    case = Case((rows, 17), 20, [tile.columns + 6], [square(3)], bias=True, added=True, mask=FLOAT)
    launches = case.check(arithmetic)
    assert len(launches) == (1 if splits == 1 else 2)
    assert {launch.kernel for launch in launches} <= {kernel for kernel, _ in KERNELS}


@pytest.mark.parametrize("arithmetic", ARITHMETICS)
def test_long_sums_of_one_sign(arithmetic: str) -> None:
    """As long as the longest in ResNet-18. Errors of rounding average out; those of cutting off would add up."""
    random = np.random.default_rng(0)
    x, y = feature_maps(1, 4, 4, 512, element_type(arithmetic)), feature_maps(1, 4, 4, 8)
    content = random.random((1, 4, 4, 512)).astype(x.dtype)
    weight = random.random((9, 512, 8), np.float32)
    branch = Branch(square(3), pack(weight, arithmetic), None, y)
    launches = correlate(x, [branch], (1, 1), False, arithmetic, PROCESSORS)
    found = run_launches(launches, {x.place.buffer: content})[y.place.buffer]
    expected = defined(content.astype(np.float64), branch, weight, (1, 1), False, lambda _: 0.0)
    assert np.abs(found / expected - 1).max() < (1e-6 if BOUNDS[arithmetic] == 1e-6 else 1e-4)


@pytest.mark.parametrize("arithmetic", ARITHMETICS)
def test_nan_reaches_the_result(arithmetic: str) -> None:
    x = feature_maps(1, 3, 3, 8, element_type(arithmetic))
    y = feature_maps(1, 3, 3, 4)
    content = np.ones((1, 3, 3, 8), x.dtype)
    content[0, 0, 0, 0] = np.nan
    branch = Branch(square(1), pack(np.ones((1, 8, 4), np.float32), arithmetic), None, y)
    launches = correlate(x, [branch], (1, 1), True, arithmetic, PROCESSORS)
    found = run_launches(launches, {x.place.buffer: content})[y.place.buffer]
    assert np.isnan(found[0, 0, 0]).all()
    np.testing.assert_array_equal(found.reshape(9, 4)[1:], 8)


def test_branches_share_launches() -> None:
    launches = replace(CASES["three branches"], contents={}).check("float32")
    first, *others = launches
    assert first.kernel.name == "correlate"
    assert {launch.kernel.name for launch in others} <= {"add_parts"}
    assert first.multiplications == 3 * 6 * 7 * 9 * 32 * 16
    unlike = replace(CASES["unlike branches"], contents={}).check("float32")
    assert [launch.kernel.name for launch in unlike].count("correlate") == 3


def test_tf32_is_rounded_to_nearest() -> None:
    random = np.random.default_rng(0)
    x = (random.standard_normal(1000) * 10.0 ** random.integers(-30, 30, 1000)).astype(np.float32)
    rounded = round_to_tf32(x)
    mantissa, exponent = np.frexp(x.astype(np.float64))
    np.testing.assert_array_equal(rounded, np.ldexp(np.round(mantissa * 2**11), exponent - 11))
    special = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0], np.float32)
    np.testing.assert_array_equal(round_to_tf32(special), special)
    tie = np.float32(1 + 2**-11)
    np.testing.assert_array_equal(round_to_tf32(np.array([tie, -tie])), [1 + 2**-10, -1 - 2**-10])


def test_every_split_has_work() -> None:
    for arithmetic in ARITHMETICS:
        for positions in (1, 2700, 43200, 691200):
            for filters, reduction in ((11, 256), (48, 64), (512, 4608), (64, 28)):
                tiling = tiles.choose(positions, filters, reduction, 1, arithmetic, PROCESSORS)
                chunks = -(reduction // -tiling.tile.depth)
                assert (tiling.splits - 1) * tiling.chunks < chunks <= tiling.splits * tiling.chunks
                assert tiling == tiles.choose(positions, filters, reduction, 1, arithmetic, PROCESSORS)


def test_processors_are_filled() -> None:
    """A layer of few positions and long sums is split; one of many positions is not, and has the largest tile."""
    for arithmetic in ARITHMETICS:
        deep = tiles.choose(45 * 60, 256, 9 * 256, 1, arithmetic, PROCESSORS)
        blocks = -(2700 // -deep.tile.rows) * -(256 // -deep.tile.columns) * deep.splits
        assert blocks > PROCESSORS.number * 0.6
        wide = tiles.choose(16 * 180 * 240, 256, 9 * 256, 1, arithmetic, PROCESSORS)
        assert wide.splits == 1
        assert wide.tile == tiles.TILES[arithmetic][0]


def test_blocks_that_shared_memory_keeps_apart_cannot_hide_each_others_waiting() -> None:
    """Two blocks of 64 KiB fit a processor of an H100, one fits those of compute capability 8.6."""
    small = tiles.Processors(132, 100 << 10)
    tiling = tiles.Tiling(tiles.TILES["tf32"][1], 1, 144)
    costs = [tiles._cycles(tiling, 43200, 256, 1, "tf32", processors) for processors in (PROCESSORS, small)]
    assert costs[0] < costs[1]


def test_shared_memory_suffices_on_every_gpu() -> None:
    """Compute capability 7.5 has 64 KiB in all; 8.6, 8.9 and 12.0 have 99 for a block."""
    for arithmetic, shapes in tiles.TILES.items():
        for tile in shapes:
            most = 64 / tile.resident if arithmetic == "float32" else 99
            assert tiles.shared_bytes(tile, arithmetic) <= most * 1024


def branch_of(x: FeatureMaps, arithmetic: str = "float32", **changes: Any) -> Branch:
    weight = pack(np.ones((1, x.channels, 4), np.float32), arithmetic)
    return replace(Branch(((0, 0),), weight, None, feature_maps(1, 2, 2, 4)), **changes)


def refused(x: FeatureMaps, branch: Branch, arithmetic: str = "float32") -> str:
    with pytest.raises(LayerError) as caught:
        correlate(x, [branch], (1, 1), False, arithmetic, PROCESSORS)
    return str(caught.value)


def test_what_does_not_fit_is_refused() -> None:
    x = feature_maps(1, 2, 2, 8)
    assert "weights of (1, 8, 4, 'float32')" in refused(x, branch_of(x, y=feature_maps(1, 2, 2, 5)))
    assert "weights of (1, 8, 4, 'tf32')" in refused(x, branch_of(x, "tf32"))
    assert "weights of (1, 8, 4, 'float32')" in refused(x, branch_of(x, taps=((0, 0), (0, 1))))
    assert "reads float16, found float32" in refused(x, branch_of(x, "float16"), "float16")
    assert "1 samples into 2" in refused(x, branch_of(x, y=feature_maps(2, 2, 2, 4)))
    assert "1 x 3 x 2 x 4" in refused(x, branch_of(x, added=feature_maps(1, 3, 2, 4)))
    assert "1 x 2 x 2 x 5" in refused(x, branch_of(x, mask=feature_maps(1, 2, 2, 5)))
    assert "Buffer((5,), float32)" in refused(x, branch_of(x, bias=Buffer((5,))))


def test_what_is_too_large_is_refused() -> None:
    x = feature_maps(1, 2, 2, 8)
    huge = feature_maps(1, 2, 2**29, 4)
    assert "at most 2147483647" in refused(x, branch_of(x, y=huge))
    assert "at most 2147483647" in refused(x, branch_of(x, taps=((2**30, 0),)))


def test_weights_that_an_arithmetic_lacks_are_refused() -> None:
    with pytest.raises(LayerError, match="a weight is 70000, too large for float16"):
        pack(np.full((1, 4, 4), 7e4, np.float32), "float16")
    with pytest.raises(LayerError, match="no kernel computes in 'float64'; expected one of float32, 3xtf32"):
        pack(np.ones((1, 4, 4), np.float32), "float64")
    assert isinstance(pack(np.full((1, 4, 4), 7e4, np.float32), "tf32"), Packed)
