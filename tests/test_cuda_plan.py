"""Plans as data: taps, lifetimes and the memory of buffers."""

import numpy as np
import pytest

from minicam.cuda.arena import ALIGNMENT, offsets
from minicam.cuda.buffers import Buffer, feature_maps
from minicam.cuda.taps import adjoint_taps, covered, forward_taps, forward_weight, phases, row_taps
from minicam.ops import Conv
from minicam.windows import Window

WINDOWS = [
    Window((3, 3), (1, 1), (1, 1), ((1, 1), (1, 1))),
    Window((3, 3), (2, 2), (1, 1), ((0, 1), (0, 1))),
    Window((1, 1), (2, 2), (1, 1), ((0, 0), (0, 0))),
    Window((3, 2), (2, 3), (2, 1), ((2, 1), (0, 2))),
    Window((7, 7), (2, 2), (1, 1), ((3, 3), (3, 3))),
    Window((3, 3), (1, 1), (18, 18), ((18, 18), (18, 18))),
]


def gathered(x, taps, weight, step, rows, columns):
    """The sum over taps by its definition. x (N, H, W, C), weight (T, C, K)."""
    y = np.zeros((len(x), rows, columns, weight.shape[2]))
    for i, j in np.ndindex(rows, columns):
        for (row, column), matrix in zip(taps, weight, strict=True):
            a, b = step[0] * i + row, step[1] * j + column
            if 0 <= a < x.shape[1] and 0 <= b < x.shape[2]:
                y[:, i, j] += x[:, a, b] @ matrix
    return y


@pytest.fixture(params=WINDOWS, ids=str)
def case(request):
    """A convolution with its window, weight, input and output."""
    window, rng = request.param, np.random.default_rng(0)
    op = Conv(4, window.kernel, stride=window.stride, dilation=window.dilation, padding=window.padding)
    x, weight = rng.normal(size=(2, 3, 11, 13)), rng.normal(size=(4, 3, *window.kernel))
    return window, op, weight, x, op.forward(x, weight=weight, bias=np.zeros(4))


def test_a_convolution_is_a_sum_over_taps(case):
    window, _, weight, x, y = case
    found = gathered(x.transpose(0, 2, 3, 1), forward_taps(window), forward_weight(weight), window.stride, *y.shape[2:])
    np.testing.assert_allclose(found.transpose(0, 3, 1, 2), y, atol=1e-12)


def test_its_adjoint_is_one_for_every_phase(case):
    window, op, weight, x, y = case
    dy = np.random.default_rng(1).normal(size=y.shape)
    dx = np.zeros((2, 11, 13, 3))
    for row, column in phases(window):
        part = dx[:, row :: window.stride[0], column :: window.stride[1]]
        taps, chosen = adjoint_taps(window, (row, column))
        transposed = forward_weight(weight)[chosen].transpose(0, 2, 1)
        part[...] = gathered(dy.transpose(0, 2, 3, 1), taps, transposed, (1, 1), *part.shape[1:3])
    exact = op.backward(dy, y, x, weight=weight, bias=np.zeros(4))[0]
    np.testing.assert_allclose(dx.transpose(0, 3, 1, 2), exact, atol=1e-12)
    rectangles = covered(window, y.shape[2:], (11, 13))
    sums = sum(
        np.einsum("nk,ck->nc", dy[:, :, top:bottom, left:right].sum(axis=(2, 3)), matrix)
        for (top, bottom, left, right), matrix in zip(rectangles, forward_weight(weight), strict=True)
    )
    np.testing.assert_allclose(sums, exact.sum(axis=(2, 3)), atol=1e-11)


def test_whole_kernel_rows_as_taps():
    window, rng = Window((7, 5), (2, 2), (1, 1), ((0, 0), (0, 0))), np.random.default_rng(0)
    x, weight = rng.normal(size=(2, 3, 11, 13)), rng.normal(size=(4, 3, 7, 5))
    pixels = np.full((2, 11, 13, 4), 7.0)  # the fourth number of a pixel is multiplied by 0
    pixels[..., :3] = x.transpose(0, 2, 3, 1)
    rows = np.stack([pixels[:, :, i : i + 5].reshape(2, 11, 20) for i in range(9)], axis=2)
    taps, spread = row_taps(window, 4, weight)
    y = Conv(4, (7, 5), stride=2).forward(x, weight=weight, bias=np.zeros(4))
    found = gathered(rows, taps, spread, (2, 2), *y.shape[2:])
    np.testing.assert_allclose(found.transpose(0, 3, 1, 2), y, atol=1e-12)


def test_buffers_that_live_at_the_same_time_lie_apart():
    rng = np.random.default_rng(0)
    lifetimes = {}
    for _ in range(150):
        begin = int(rng.integers(0, 50))
        lifetimes[Buffer((int(rng.integers(1, 5000)),))] = begin, begin + int(rng.integers(0, 10))
    found, size = offsets(lifetimes)
    ranges = {buffer: (start, start + buffer.bytes) for buffer, start in found.items()}
    for one, (begin, end) in lifetimes.items():
        for other, (other_begin, other_end) in lifetimes.items():
            if one is not other and begin <= other_end and other_begin <= end:
                assert ranges[one][1] <= ranges[other][0] or ranges[other][1] <= ranges[one][0]
    alive = [sum(b.bytes for b, (first, last) in lifetimes.items() if first <= t <= last) for t in range(60)]
    assert max(alive) <= size <= 1.15 * max(alive)
    assert not any(start % ALIGNMENT for start in found.values())
    assert offsets({}) == ({}, 0)


def test_parts_and_phases_of_feature_maps():
    maps = feature_maps(2, 5, 7, 6)
    memory = np.arange(2 * 5 * 7 * 8).reshape(2, 5, 7, 8)  # 6 channels take 8, for the sake of 16-byte vectors

    def array(m):
        strides = [8 * pitch for pitch in (*m.pitches, 1)]
        shape = m.samples, m.rows, m.columns, m.channels
        return np.lib.stride_tricks.as_strided(memory.reshape(-1)[m.place.offset :], shape, strides)

    np.testing.assert_array_equal(array(maps), memory[..., :6])
    np.testing.assert_array_equal(array(maps.only(2, 3)), memory[..., 2:5])
    np.testing.assert_array_equal(array(maps.every((2, 3), (1, 2))), memory[:, 1::2, 2::3, :6])
    assert maps.every((2, 3), (1, 2)).positions == 2 * 2 * 2
