"""unfold and fold against plain loops and against each other, and the sizes of windows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from references import look_ups, peak_error, positions, quickly, windows

from minicam.windows import Window, fold, pairs_per_axis, per_axis, unfold


@quickly
@given(windows())
def test_output_space_counts_the_positions(geometry):
    window, space = geometry
    assert window.output_space(space) == positions(window, space)


@quickly
@given(windows())
def test_input_space_is_the_smallest_input_with_these_positions(geometry):
    window, space = geometry
    out = window.output_space(space)
    smallest = window.input_space(out)
    assert window.output_space(smallest) == out or min(smallest) < 1
    shorter = zip(smallest, space, window.stride, strict=True)
    assert all(least <= size < least + stride for least, size, stride in shorter)


def test_sizes_by_hand():
    window = Window((3, 3), (2, 1), (1, 2), ((1, 1), (0, 3)))
    assert window.output_space((7, 8)) == (4, 7)
    assert window.input_space((4, 7)) == (7, 8)
    assert Window((8,), (4,), (1,), ((2, 2),)).input_space((45,)) == (180,)
    assert Window((7,), (2,), (1,), ((3, 3),)).output_space((360,)) == (180,)


def test_sizes_left_open_stay_open():
    window = Window((3, 3), (2, 2), (1, 1), ((1, 1), (1, 1)))
    assert window.output_space((None, 8)) == (None, 4)
    assert window.input_space((4, None)) == (7, None)


@quickly
@given(windows(), st.sampled_from([0.0, 1.0, -np.inf]))
def test_unfold_equals_loops(geometry, fill):
    window, space = geometry
    x = np.random.default_rng(0).normal(size=(2, 2, *space))
    expected = np.full((2, 2, *window.kernel, *positions(window, space)), fill)
    for o, t, i in look_ups(window, space):
        expected[:, :, *t, *o] = x[:, :, *i]
    np.testing.assert_array_equal(unfold(x, window, fill), expected, strict=True)


@quickly
@given(windows())
def test_fold_equals_loops_and_is_the_adjoint_of_unfold(geometry):
    window, space = geometry
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 2, *space))
    columns = rng.normal(size=(2, 2, *window.kernel, *positions(window, space)))
    expected = np.zeros(x.shape)
    for o, t, i in look_ups(window, space):
        expected[:, :, *i] += columns[:, :, *t, *o]
    found = fold(columns, window, space)
    assert peak_error(found, expected) < 1e-14
    forth, back = np.vdot(unfold(x, window), columns), np.vdot(x, found)
    assert abs(forth - back) < 1e-13 * np.linalg.norm(x) * np.linalg.norm(columns)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_types_are_kept(dtype, xp):
    window = Window((2,), (1,), (1,), ((1, 0),))
    columns = unfold(xp.ones((1, 1, 3), dtype), window)
    assert isinstance(columns, xp.ndarray)
    assert columns.dtype == dtype
    assert fold(columns, window, (3,)).dtype == dtype


def test_the_result_is_separate_and_contiguous():
    """Not a view of the argument, even where nothing is padded and the kernel is 1."""
    x = np.ones((1, 1, 3))
    for window in (Window((1,), (1,), (1,), ((0, 0),)), Window((2,), (1,), (1,), ((1, 1),))):
        columns = unfold(x, window)
        folded = fold(columns, window, (3,))
        assert not np.shares_memory(x, columns)
        assert not np.shares_memory(columns, folded)
        assert columns.flags.c_contiguous
        assert folded.flags.c_contiguous


def test_a_window_past_the_last_position_reads_nothing(xp):
    """Stride 2 on size 4 with kernel 1 never sees elements 1 and 3."""
    window = Window((1,), (2,), (1,), ((0, 0),))
    assert unfold(xp.arange(4.0)[None, None], window).tolist() == [[[[0, 2]]]]
    assert fold(xp.array([[[[5.0, 7.0]]]]), window, (4,)).tolist() == [[[5, 0, 7, 0]]]


def test_options_per_axis():
    assert per_axis("stride", 3, 2) == (3, 3)
    assert per_axis("stride", (1, 2), 2) == (1, 2)
    assert per_axis("stride", [1, 2], 2) == (1, 2)
    assert pairs_per_axis("padding", 1, 2) == ((1, 1), (1, 1))
    assert pairs_per_axis("padding", (1, 2), 2) == ((1, 1), (2, 2))
    assert pairs_per_axis("padding", ((1, 2), (3, 4)), 2) == ((1, 2), (3, 4))
    assert pairs_per_axis("padding", [[1, 2], 3], 2) == ((1, 2), (3, 3))
