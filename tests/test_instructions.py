"""The instructions that kernels use do what is documented: the emulator's and, with the marker `gpu`, a GPU's."""

from functools import cache
from importlib import resources
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from minicam.cuda.kernels import OPTIONS

CODE = (resources.files("minicam.cuda") / "instructions.cu").read_text()
CODE += Path(__file__).with_name("emulated.cu").read_text()


def called(gpu: ModuleType, name: str, *args: Any, grid: int = 1, block: int = 32) -> Any:
    """Launches a kernel of emulated.cu, and returns its arguments with the arrays as it left them."""
    module = gpu.RawModule(code=CODE, options=OPTIONS)
    given = [gpu.asarray(one) if isinstance(one, np.ndarray) else one for one in args]
    module.get_function(name)((grid,), (block,), tuple(given))
    return [one.get() if isinstance(one, gpu.ndarray) else one for one in given]


def unwritten(*shape: int) -> np.ndarray:
    return np.full(shape, np.nan, np.float32)


def numbers(*shape: int) -> np.ndarray:
    """Whole, so that sums are exact."""
    return np.random.default_rng(0).integers(-99, 99, shape).astype(np.float32)


@pytest.mark.parametrize(("by", "width"), [(1, 32), (5, 32), (3, 8), (8, 16), (0, 4)])
def test_shuffles(gpu: ModuleType, by: int, width: int) -> None:
    x = numbers(32)
    *_, y = called(gpu, "shuffles", x, np.int32(by), np.int32(width), unwritten(4, 32))
    lanes = np.arange(32)
    first = lanes // width * width
    np.testing.assert_array_equal(y[0], x[first + by % width])
    np.testing.assert_array_equal(y[1], x[np.where(lanes - by < first, lanes, lanes - by)])
    np.testing.assert_array_equal(y[2], x[np.where(lanes + by >= first + width, lanes, lanes + by)])
    source = lanes ^ by  # lanes of segments before may be read, those behind may not
    np.testing.assert_array_equal(y[3], x[np.where(source >= first + width, lanes, source)])


def test_a_part_of_a_warp(gpu: ModuleType) -> None:
    x = numbers(32)
    _, y = called(gpu, "half_a_warp", x, unwritten(32))
    np.testing.assert_array_equal(y, np.concatenate((np.full(16, x[:16].sum()), x[16:])))


@cache
def floats() -> np.ndarray:
    """Random bits, halves, what lies in the middle between two of them, and the neighbours of that."""
    halves = np.arange(0x7C01, dtype=np.uint16).view(np.float16).astype(np.float32)
    middles = (halves[:-2] + halves[1:-1]) / 2
    last = np.float32([65519.99, 65520, 65536, 1e38, np.inf, np.nan, 2**-25, 2**-149, 2**-126, 0])
    near = [np.nextafter(middles, side, dtype=np.float32) for side in np.float32([-1, np.inf])]
    positive = np.concatenate((halves, middles, *near, last))
    some = np.random.default_rng(0).integers(0, 2**32, 1 << 18, np.uint32).view(np.float32)
    return np.concatenate((positive, -positive, some))


def tf32(x: np.ndarray) -> np.ndarray:
    """Rounded to multiples of the last place of 11 significant bits, ties away from zero, in float64."""
    x = x.astype(np.float64)
    unit = 2.0 ** np.maximum(np.frexp(x)[1] - 11, -136)
    return np.copysign(np.floor(np.abs(x) / unit + 0.5) * unit, x)


def test_conversions_from_float(gpu: ModuleType) -> None:
    x = floats()
    n = len(x)
    found = called(gpu, "conversions", x, np.int32(n), np.zeros(n, np.uint16), np.zeros(n, np.uint32), grid=16)
    with np.errstate(over="ignore", invalid="ignore"):
        np.testing.assert_array_equal(found[2].view(np.float16), x.astype(np.float16))
        finite = np.isfinite(x)
        rounded = np.where(finite, tf32(np.where(finite, x, 0)), x).astype(np.float32)
    np.testing.assert_array_equal(found[3].view(np.float32), rounded)
    np.testing.assert_array_equal((found[2] >> 15)[finite], np.signbit(x[finite]))
    assert not (found[3][finite] & 0x1FFF).any()


def test_every_half_to_float(gpu: ModuleType) -> None:
    x = np.arange(1 << 16, dtype=np.uint16)
    _, y = called(gpu, "from_halves", x, unwritten(1 << 16), grid=256, block=256)
    np.testing.assert_array_equal(y, x.view(np.float16).astype(np.float32))
    np.testing.assert_array_equal(np.signbit(y[[0, 0x8000]]), [False, True])


# Where the elements lie, as CUTLASS states it (cute/atom/mma_traits_sm80.hpp, SM80_16x8x8_F32TF32TF32F32_TN and
# SM80_16x8x16_F32F16F16F32_TN): the sizes and strides of lane % 4, lane / 4 and of the bits of the number of the
# element in a lane; what is summed is row + 16 column of A and D, and column + 8 row of B.
LAYOUTS = {
    "tf32": (8, ((4, 16), (8, 1), (2, 8), (2, 64)), ((4, 8), (8, 1), (2, 32))),
    "half": (16, ((4, 32), (8, 1), (2, 16), (2, 8), (2, 128)), ((4, 16), (8, 1), (2, 8), (2, 64))),
}
LAYOUT_OF_D = ((4, 32), (8, 1), (2, 16), (2, 8))


def places(layout: tuple[tuple[int, int], ...]) -> np.ndarray:
    """[lane, element] -> the place that the layout gives."""
    sizes, strides = zip(*layout, strict=True)
    number = np.arange(np.prod(sizes))
    digits = np.unravel_index(number, sizes, order="F")
    return sum(digit * stride for digit, stride in zip(digits, strides, strict=True)).reshape(-1, 32).T


@pytest.mark.parametrize("kind", LAYOUTS)
def test_products_of_a_warp(gpu: ModuleType, kind: str) -> None:
    depth, layout_of_a, layout_of_b = LAYOUTS[kind]
    a, b, d = numbers(16, depth), numbers(depth, 8) / 4, numbers(16, 8)
    if kind == "half":
        convert = lambda x: np.ascontiguousarray(x.astype(np.float16)).view(np.uint32)  # noqa: E731
    else:
        # The lowest 13 bits are not read.
        convert = lambda x: x.view(np.uint32) | np.uint32(0x1FFF)  # noqa: E731
    lanes_of_a = np.ascontiguousarray(a.ravel("F")[places(layout_of_a)])
    lanes_of_b = np.ascontiguousarray(b.ravel("C")[places(layout_of_b)])
    lanes_of_d = np.ascontiguousarray(d.ravel("F")[places(LAYOUT_OF_D)])
    given = convert(lanes_of_a), convert(lanes_of_b), lanes_of_d, np.int32(kind == "half")
    found = called(gpu, "multiply", *given)[2]
    np.testing.assert_array_equal(found, (d + a @ b).ravel("F")[places(LAYOUT_OF_D)])
