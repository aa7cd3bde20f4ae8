"""All kernels but convolution against the definitions in minicam.ops: on a GPU where one answers, else emulated.

What a kernel may not read is NaN, what it may not write is looked at afterwards, and every launch runs in two orders of
blocks and threads, which must give the same bits.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest
from launches import run_launches

from minicam.cuda import layout, maps, pooling, softmax, sums, upsampling
from minicam.cuda.buffers import FLOAT, HALF, Buffer, FeatureMaps, Launch, Place, constant, feature_maps
from minicam.errors import LayerError
from minicam.ops import BatchNorm, Conv, ConvTranspose, MaxPool, Relu, Softmax
from minicam.resizing import imresize, resize_weights

ROUNDING = {FLOAT: 2.0**-24, HALF: 2.0**-11}
"""The largest relative error of one rounding to the type."""
BYTES = {FLOAT: np.uint32, HALF: np.uint16}


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).normal(size=shape)


def elements(maps: FeatureMaps) -> np.ndarray:
    """(N, C, H, W): the index in its buffer of every element."""
    n, r, c, k = np.ogrid[: maps.samples, : maps.rows, : maps.columns, : maps.channels]
    index = maps.place.offset + n * maps.sample_pitch + r * maps.row_pitch + c * maps.pixel_pitch + k
    return np.moveaxis(index, 3, 1)


def holding(maps: FeatureMaps, values: np.ndarray) -> np.ndarray:
    """The content of the maps' buffer: values (N, C, H, W) at their places, NaN elsewhere."""
    content = np.full(maps.place.buffer.shape, np.nan, maps.dtype)
    content.reshape(-1)[elements(maps)] = values
    return content


def part_of_a_concatenation(n: int, rows: int, columns: int, channels: int, dtype=FLOAT) -> FeatureMaps:
    """Feature maps with others on both sides; of 1, 3 and 33 channels not aligned."""
    before = 3 if channels in (1, 3, 33) else 4
    return feature_maps(n, rows, columns, channels + before + 5, dtype).only(before, channels)


class Given:
    """Maps or buffers with random content."""

    def __init__(self) -> None:
        self.contents: dict[Buffer, np.ndarray] = {}

    def maps(self, maps: FeatureMaps, values: np.ndarray) -> np.ndarray:
        """Gives maps their content (N, C, H, W) and returns it as they hold it, float64."""
        values = values.astype(maps.dtype)
        self.contents[maps.place.buffer] = holding(maps, values)
        return values.astype(np.float64)

    def buffer(self, values: np.ndarray) -> tuple[Buffer, np.ndarray]:
        values = values.astype(np.float32)
        buffer = Buffer(values.shape)
        self.contents[buffer] = values
        return buffer, values.astype(np.float64)


def results(launches: Sequence[Launch], contents: Mapping[Buffer, np.ndarray], *found: FeatureMaps | Buffer) -> list:
    """What the launches leave in each of `found`: maps as (N, C, H, W). float64, except labels."""
    first, second = (run_launches(launches, contents, seed) for seed in (1, 2))
    for buffer, array in first.items():
        assert array.tobytes() == second[buffer].tobytes(), f"{buffer} depends on the order of threads"
        assert buffer not in contents or array.tobytes() == contents[buffer].tobytes(), f"{buffer} was an input"
    arrays = []
    for result in found:
        if isinstance(result, Buffer):
            arrays.append(first[result] if result.dtype == np.uint8 else first[result].astype(np.float64))
            continue
        flat = first[result.place.buffer].reshape(-1)
        others = np.ones(len(flat), bool)
        others[elements(result)] = False
        bits = flat[others].view(BYTES[result.dtype])
        assert (bits == np.iinfo(bits.dtype).max).all(), "wrote next to the channels of the result"
        arrays.append(flat[elements(result)].astype(np.float64))
    return arrays


def assert_close(found: np.ndarray, expected: np.ndarray, dtype=FLOAT, units: float = 16) -> None:
    """Within some units of rounding of the largest number, and one more of the type of the result."""
    assert found.shape == expected.shape
    bound = (units * ROUNDING[FLOAT] + (dtype == HALF) * ROUNDING[HALF]) * np.abs(expected).max(initial=1e-30)
    assert np.abs(found - expected).max(initial=0) <= bound


# layout


@pytest.mark.parametrize(
    ("channels", "pitch", "dtype", "corner", "border"),
    [
        (3, 4, FLOAT, (3, 3), (5, 7)),
        (3, 8, HALF, (0, 0), (0, 0)),
        (1, 4, FLOAT, (1, 0), (2, 0)),
        (33, 36, FLOAT, (0, 2), (1, 3)),
        (40, 40, FLOAT, (0, 0), (0, 0)),
    ],
)
def test_channels_first_arrays_become_channels_last(channels, pitch, dtype, corner, border):
    given = Given()
    buffer, x = given.buffer(normal(2, channels, 5, 37))
    scale, a = given.buffer(normal(channels, seed=1))
    offset, b = given.buffer(normal(channels, seed=2))
    rows, columns = 5 + border[0], 37 + border[1]
    y = replace(feature_maps(2, rows, columns, pitch, dtype), channels=channels)
    expected = np.zeros((2, pitch, rows, columns))
    inside = expected[:, :channels, corner[0] : corner[0] + 5, corner[1] : corner[1] + 37]
    for scaled, shifted in itertools.product((True, False), repeat=2):
        inside[:] = (x * a[:, None, None] if scaled else x) + (b[:, None, None] if shifted else 0)
        launches = layout.to_channels_last(buffer, y, scale if scaled else None, offset if shifted else None, corner)
        (found,) = results(launches, given.contents, replace(y, channels=pitch))
        assert_close(found, expected, dtype, units=4)
        assert not found[:, channels:].any()


@pytest.mark.parametrize(
    ("channels", "source", "result"),
    [(8, FLOAT, FLOAT), (8, HALF, FLOAT), (8, HALF, HALF), (1, FLOAT, FLOAT), (33, FLOAT, FLOAT)],
)
def test_copies_between_any_pitches_and_types(channels, source, result):
    given = Given()
    x = part_of_a_concatenation(2, 4, 9, channels, source).every((2, 3), (1, 0))
    y = part_of_a_concatenation(2, 2, 3, channels, result)
    expected = given.maps(x, 10 * normal(2, channels, 2, 3)).astype(result).astype(np.float64)
    (found,) = results(layout.copy(x, y), given.contents, y)
    np.testing.assert_array_equal(found, expected)


def test_copies_into_every_other_pixel():
    given = Given()
    x, whole = feature_maps(1, 3, 2, 4), feature_maps(1, 5, 4, 4)
    values = given.maps(x, normal(1, 4, 3, 2))
    (found,) = results(layout.copy(x, whole.every((2, 2), (0, 1))), given.contents, whole.every((2, 2), (0, 1)))
    np.testing.assert_array_equal(found, values)


def _combined(given: Given, channels: int, types: tuple, terms: int = 1, mask: FeatureMaps | None = None, **options):
    """What combine leaves for random inputs, and their sum."""
    shape = (2, channels, 3, 7)
    xs = [part_of_a_concatenation(2, 3, 7, channels, types[0]) for _ in range(terms)]
    total = sum(given.maps(x, normal(*shape, seed=i)) for i, x in enumerate(xs))
    y = part_of_a_concatenation(2, 3, 7, channels, types[-1])
    (found,) = results(layout.combine(xs, y, mask, **options), given.contents, y)
    return found, total


@pytest.mark.parametrize(("channels", "types"), [(33, (FLOAT, FLOAT)), (11, (FLOAT, FLOAT)), (8, (HALF, HALF))])
@pytest.mark.parametrize("terms", [1, 2, 3])
def test_sums_of_layers_and_relu(channels, types, terms):
    found, total = _combined(Given(), channels, types, terms)
    assert_close(found, total, types[1], units=4)
    found, total = _combined(Given(), channels, types, terms, rectify=True)
    assert_close(found, Relu().forward(total), types[1], units=4)


@pytest.mark.parametrize(("channels", "types"), [(11, (FLOAT, FLOAT)), (8, (FLOAT, HALF)), (8, (FLOAT, FLOAT))])
def test_frozen_batch_norm_with_relu_and_their_adjoint(channels, types):
    statistics = {"mean": normal(channels), "variance": 1 + normal(channels, seed=3) ** 2}
    parameters = {"scale": normal(channels, seed=4), "offset": normal(channels, seed=5), **statistics}
    factor = parameters["scale"] / np.sqrt(parameters["variance"] + 1e-5)
    given = Given()
    scale, _ = given.buffer(factor)
    offset, _ = given.buffer(parameters["offset"] - factor * parameters["mean"])
    found, x = _combined(given, channels, (FLOAT, FLOAT), scale=scale, offset=offset, rectify=True)
    y = BatchNorm().forward(x, **parameters)
    assert_close(found, Relu().forward(y), units=8)
    mask = feature_maps(1, 3, 7, channels, types[1])
    activity = given.maps(mask, np.round(normal(1, channels, 3, 7, seed=6)))  # with zeros
    found, dy = _combined(given, channels, types[:1], 2, mask, scale=scale)
    expected = BatchNorm().backward(Relu().backward(dy, activity, None)[0], y, x, **parameters)[0]
    assert_close(found, expected, units=8)


def test_relu_keeps_nan_and_a_mask_lets_nan_of_masked_elements_go():
    given = Given()
    x, y = feature_maps(1, 1, 3, 4), feature_maps(1, 1, 3, 4)
    given.maps(x, np.full((1, 4, 1, 3), np.nan))
    (found,) = results(layout.combine([x], y, rectify=True), given.contents, y)
    assert np.isnan(found).all()
    mask = feature_maps(1, 1, 3, 4)
    given.maps(mask, np.full((1, 4, 1, 3), -0.0))
    (found,) = results(layout.combine([x], y, mask), given.contents, y)
    assert not found.any()


# upsampling


UPSAMPLINGS = [
    # kernel, stride, cropping_low, input, output
    ((8, 8), (4, 4), (2, 2), (4, 5), (16, 20)),
    ((8, 8), (4, 4), (3, 5), (3, 4), (9, 7)),  # with a centre crop: fewer rows and columns
    ((3, 2), (2, 3), (0, 1), (3, 4), (9, 13)),  # with positions at the end that no input reaches
    ((2, 5), (3, 2), (1, 0), (1, 6), (4, 9)),
]


def _transposed(x, weight, bias, stride, cropping, out):
    """ConvTranspose of each channel alone, with the low cropping and the output size as they are asked for."""
    full = [(size - 1) * s + taps for size, s, taps in zip(x.shape[2:], stride, weight.shape[1:], strict=True)]
    pairs = tuple((low, size - low - o) for size, low, o in zip(full, cropping, out, strict=True))
    channels = x.shape[1]
    op = ConvTranspose(channels, weight.shape[1:], stride, cropping=pairs, groups=channels)
    return op, {"weight": np.broadcast_to(weight, (channels, *weight.shape[1:]))[:, None], "bias": bias}


@pytest.mark.parametrize(("taps", "stride", "cropping", "small", "large"), UPSAMPLINGS)
@pytest.mark.parametrize(
    ("channels", "kernels", "types"),
    [(3, 3, (FLOAT, FLOAT)), (11, 1, (FLOAT, FLOAT)), (11, 11, (FLOAT, FLOAT)), (4, 1, (HALF, HALF))],
)
@pytest.mark.parametrize("is_constant", [True, False])
def test_upsampling_and_its_adjoint(taps, stride, cropping, small, large, channels, kernels, types, is_constant):
    given = Given()
    kernel, weight = given.buffer(normal(kernels, *taps))
    bias, b = given.buffer(normal(channels, seed=1))
    if is_constant:
        kernel = constant(weight.astype(np.float32))
    x = part_of_a_concatenation(2, *small, channels, types[0])
    y = part_of_a_concatenation(2, *large, channels, types[1])
    values = given.maps(x, normal(2, channels, *small, seed=2))
    op, parameters = _transposed(values, weight, b, stride, cropping, large)
    expected = op.forward(values, **parameters)
    (found,) = results(upsampling.upsample(x, kernel, y, stride, cropping, bias), given.contents, y)
    assert_close(found, expected, types[1])
    (found,) = results(upsampling.upsample(x, kernel, y, stride, cropping, None), given.contents, y)
    assert_close(found, expected - b[:, None, None], types[1])

    given = Given()
    dy, dx = (feature_maps(m.samples, m.rows, m.columns, channels, m.dtype) for m in (y, x))
    if not is_constant:
        given.contents[kernel] = weight.astype(np.float32)
    gradient = given.maps(dy, normal(2, channels, *large, seed=3))
    expected = op.backward(gradient, None, values, **parameters)[0]
    (found,) = results(upsampling.upsample_adjoint(dy, kernel, dx, stride, cropping), given.contents, dx)
    assert_close(found, expected, types[1])


def test_a_constant_kernel_that_all_channels_share_is_kept_once():
    kernel = constant(np.repeat(normal(1, 8, 8).astype(np.float32), 256, axis=0))
    place, _ = upsampling.weights(kernel, 256, (4, 4), (2, 2))
    assert place.buffer.shape == (1, 8, 8)


# softmax


def _with_ties(*shape: int) -> np.ndarray:
    """Multiples of 1/2, of which the largest of a position often occurs twice; one position's are huge."""
    x = np.round(2 * normal(*shape)) / 2
    x[:, :, 0, 0] *= 8000
    return x


@pytest.mark.parametrize(
    ("channels", "dtype"),
    [*((c, FLOAT) for c in (1, 3, 4, 11, 12, 13, 32, 33, 100)), (3, HALF), (11, HALF), (12, HALF)],
)
def test_softmax_and_labels(channels, dtype):
    given = Given()
    x, y = (feature_maps(2, 3, 35, channels, dtype) for _ in range(2))
    labels = Buffer((2, 3, 35), np.uint8)
    values = given.maps(x, _with_ties(2, channels, 3, 35))
    found, found_labels = results(softmax.softmax(x, y, labels), given.contents, y, labels)
    assert_close(found, Softmax().forward(values), dtype, units=64)
    np.testing.assert_array_equal(found_labels, values.argmax(axis=1))
    (found_labels,) = results(softmax.largest_channel(x, labels), given.contents, labels)
    np.testing.assert_array_equal(found_labels, values.argmax(axis=1))
    (found,) = results(softmax.softmax(x, y), given.contents, y)
    assert_close(found, Softmax().forward(values), dtype, units=64)


@pytest.mark.parametrize("channels", [3, 11, 33])
def test_softmax_inside_of_concatenations(channels):
    given = Given()
    x, y = (part_of_a_concatenation(1, 2, 3, channels) for _ in range(2))
    values = given.maps(x, normal(1, channels, 2, 3))
    (found,) = results(softmax.softmax(x, y), given.contents, y)
    assert_close(found, Softmax().forward(values), units=32)
    dx, seed = (part_of_a_concatenation(1, 2, 3, channels) for _ in range(2))
    given = Given()
    probabilities = given.maps(y, Softmax().forward(values))
    gradient = given.maps(seed, normal(1, channels, 2, 3, seed=1))
    (found,) = results(softmax.softmax_adjoint(y, seed, dx), given.contents, dx)
    assert_close(found, Softmax().backward(gradient, probabilities, None)[0], units=32)


@pytest.mark.parametrize("channels", [12, 33])
def test_nan_wins_and_spreads_over_its_position_only(channels):
    given = Given()
    x, y = feature_maps(1, 2, 3, channels), feature_maps(1, 2, 3, channels)
    values = normal(1, channels, 2, 3)
    values[0, [5, 7], 1, 1] = np.nan
    values[0, :, 0, 2] = -np.inf
    values = given.maps(x, values)
    labels = Buffer((1, 2, 3), np.uint8)
    found, found_labels = results(softmax.softmax(x, y, labels), given.contents, y, labels)
    np.testing.assert_array_equal(found_labels, values.argmax(axis=1))
    assert np.isnan(found[0, :, 1, 1]).all()
    assert np.isnan(found[0, :, 0, 2]).all()  # as 0 / 0
    assert np.isfinite(found).sum() == 4 * channels


@pytest.mark.parametrize(("channels", "dtype"), [(11, FLOAT), (12, FLOAT), (21, FLOAT), (33, FLOAT), (12, HALF)])
def test_softmax_adjoint_of_several_targets_with_a_seed_each(channels, dtype):
    given = Given()
    y, dx = feature_maps(1, 3, 5, channels, dtype), feature_maps(3, 3, 5, channels, dtype)
    probabilities = given.maps(y, Softmax().forward(normal(1, channels, 3, 5)))
    vectors = Buffer((3, channels), dtype)
    seeds = normal(3, channels, seed=1).astype(dtype)
    given.contents[vectors] = seeds
    seed = FeatureMaps(Place(vectors), 3, 3, 5, channels, pixel_pitch=0, row_pitch=0, sample_pitch=channels)
    (found,) = results(softmax.softmax_adjoint(y, seed, dx), given.contents, dx)
    gradient = np.broadcast_to(seeds.astype(np.float64)[:, :, None, None], (3, channels, 3, 5))
    expected = Softmax().backward(gradient, probabilities, None)[0]
    assert_close(found, expected, dtype, units=32)


@pytest.mark.parametrize(("taps", "stride", "cropping", "small", "large"), UPSAMPLINGS)
@pytest.mark.parametrize("channels", [1, 11, 12, 21])
def test_upsampling_with_softmax(taps, stride, cropping, small, large, channels):
    given = Given()
    kernel = constant(normal(channels if channels != 11 else 1, *taps).astype(np.float32))
    bias, b = given.buffer(normal(channels, seed=1))
    x, y = feature_maps(2, *small, channels), feature_maps(2, *large, channels)
    labels = Buffer((2, *large), np.uint8)
    values = given.maps(x, normal(2, channels, *small, seed=2))
    op, parameters = _transposed(values, kernel.value.astype(np.float64), b, stride, cropping, large)
    scores = op.forward(values, **parameters)
    launches = softmax.upsample_softmax(x, kernel, y, stride, cropping, bias, labels)
    found, found_labels = results(launches, given.contents, y, labels)
    assert_close(found, Softmax().forward(scores), units=64)
    np.testing.assert_array_equal(found_labels, scores.argmax(axis=1))
    (found,) = results(softmax.upsample_softmax(x, kernel, y, stride, cropping, None), given.contents, y)
    assert_close(found, Softmax().forward(scores - b[:, None, None]), units=64)


# pooling


POOLINGS = [
    # op, rows and columns of the input
    (MaxPool((3, 3), 2, 1), (7, 8)),
    (MaxPool((2, 2), 2), (6, 7)),
    (MaxPool((3, 3), 2, ((0, 1), (0, 1))), (6, 6)),
    (MaxPool((3, 2), (1, 3), ((2, 0), (0, 1)), dilation=(2, 1)), (5, 9)),
    (MaxPool((1, 1)), (1, 1)),
]


@pytest.mark.parametrize(("op", "size"), POOLINGS)
@pytest.mark.parametrize(("channels", "dtype"), [(1, FLOAT), (8, FLOAT), (11, FLOAT), (8, HALF)])
def test_max_pooling_and_its_adjoint(op, size, channels, dtype):
    given = Given()
    values = np.round(normal(2, channels, *size))  # with ties
    values[0, 0, 0, 0], values[1, :, -1, -1] = np.nan, -np.inf
    x = part_of_a_concatenation(2, *size, channels, dtype)
    values = given.maps(x, values)
    expected = op.forward(values)
    y = part_of_a_concatenation(2, *expected.shape[2:], channels, dtype)
    (found,) = results(pooling.max_pool(x, y, op), given.contents, y)
    np.testing.assert_array_equal(found, expected)

    given.maps(y, expected)
    dy, dx = feature_maps(2, y.rows, y.columns, channels), part_of_a_concatenation(2, *size, channels)
    gradient = given.maps(dy, normal(*expected.shape, seed=1))
    (found,) = results(pooling.max_pool_adjoint(x, y, dy, dx, op), given.contents, dx)
    assert_close(found, op.backward(gradient, expected, values)[0], units=4)


def test_the_adjoint_of_max_pooling_for_several_targets():
    op, given = MaxPool((3, 3), 2, 1), Given()
    x, y = feature_maps(1, 5, 6, 4), feature_maps(1, 3, 3, 4)
    values = given.maps(x, np.zeros((1, 4, 5, 6)))  # nothing but ties
    given.maps(y, op.forward(values))
    dy, dx = feature_maps(3, 3, 3, 4), feature_maps(3, 5, 6, 4)
    gradient = given.maps(dy, normal(3, 4, 3, 3))
    (found,) = results(pooling.max_pool_adjoint(x, y, dy, dx, op), given.contents, dx)
    assert_close(found, op.backward(gradient, None, values)[0], units=4)


# sums


@pytest.mark.parametrize(("channels", "dtype"), [(1, FLOAT), (33, FLOAT), (11, HALF), (132, HALF)])
def test_sums_over_rectangles(channels, dtype):
    rectangles = [(0, 9, 0, 19), (2, 9, 0, 17), (0, 1, 18, 19), (3, 3, 0, 19), (0, 9, 7, 7), (4, 6, 3, 17)]
    given = Given()
    x = part_of_a_concatenation(2, 9, 19, channels, dtype)
    values = given.maps(x, normal(2, channels, 9, 19))
    total = Buffer((2, len(rectangles), channels))
    (found,) = results(sums.rectangle_sums(x, rectangles, total), given.contents, total)
    for i, (row0, row1, column0, column1) in enumerate(rectangles):
        inside = values[:, :, row0:row1, column0:column1]
        bound = 4 * ROUNDING[FLOAT] * abs(inside).sum(axis=(2, 3))
        assert (abs(found[:, i] - inside.sum(axis=(2, 3))) <= bound).all()


def test_small_numbers_count_beside_large_ones():
    given = Given()
    x = feature_maps(1, 20, 90, 1)
    values = np.ones((1, 1, 20, 90))
    values[0, 0, 0, 0] = 2**24  # to which no 1 can be added in float32
    given.maps(x, values)
    total = Buffer((1, 1, 1))
    (found,) = results(sums.rectangle_sums(x, [(0, 20, 0, 90)], total), given.contents, total)
    assert abs(found.item() - values.sum()) <= 4


@pytest.mark.parametrize(
    "op",
    [
        Conv(5, (3, 3), padding=1),
        Conv(5, (3, 3), stride=2, padding=((0, 1), (0, 1))),
        Conv(5, (3, 2), dilation=(6, 3), padding=((6, 6), (0, 3))),
        Conv(9, (1, 1), stride=2),
    ],
)
def test_the_sums_of_a_convolutions_input_gradient(op):
    channels, size = 7, (9, 8)
    _, rows, columns = op.output_shape((channels, *size))
    given = Given()
    dy = feature_maps(2, rows, columns, op.filters)
    gradient = given.maps(dy, normal(2, op.filters, rows, columns))
    weight = normal(op.filters, channels, *op.kernel, seed=1).astype(np.float32)
    dx = op.backward(gradient, None, np.empty((2, channels, *size)), weight=weight, bias=None)[0]

    def seen(tap: int, axis: int) -> tuple[int, int]:
        """From which output to which one the tap looks inside the input."""
        shift = op.dilation[axis] * tap - op.padding[axis][0]
        inside = [o for o in range((rows, columns)[axis]) if 0 <= op.stride[axis] * o + shift < size[axis]]
        return (inside[0], inside[-1] + 1) if inside else (0, 0)

    rectangles = [(*seen(a, 0), *seen(b, 1)) for a, b in np.ndindex(*op.kernel)]
    total, means = Buffer((2, len(rectangles), op.filters)), Buffer((2, channels))
    matrices = constant(weight.transpose(2, 3, 0, 1).reshape(-1, op.filters, channels))
    launches = [*sums.rectangle_sums(dy, rectangles, total), *sums.product(total, matrices, means)]
    (found,) = results(launches, given.contents, means)
    assert_close(found, dx.sum(axis=(2, 3)))


# maps


@pytest.mark.parametrize(
    ("channels", "dtype", "samples", "targets"),
    [(1, FLOAT, 1, 1), (11, FLOAT, 3, 3), (40, FLOAT, 1, 1), (40, FLOAT, 3, 3), (40, HALF, 1, 6), (8, HALF, 1, 4)],
)
def test_weighted_sums_of_activations(channels, dtype, samples, targets):
    given = Given()
    x = part_of_a_concatenation(samples, 5, 7, channels, dtype)
    activations = given.maps(x, normal(samples, channels, 5, 7))
    buffer, weights = given.buffer(normal(targets, channels))
    y = Buffer((targets, 5, 7))
    (found,) = results(maps.weighted_sum(buffer, x, y), given.contents, y)
    activations = np.broadcast_to(activations, (targets, *activations.shape[1:]))
    assert_close(found, np.einsum("tk,tkrc->trc", weights, activations))


@pytest.mark.parametrize("method", ["bicubic", "bilinear", "nearest"])
@pytest.mark.parametrize(
    ("before", "after"), [((4, 5), (16, 20)), ((9, 7), (4, 3)), ((1, 8), (5, 300)), ((3, 3), (3, 1))]
)
def test_resizing_of_maps(method, before, after):
    given = Given()
    buffer, x = given.buffer(normal(2, *before))
    y = Buffer((2, *after))
    tables = [resize_weights(n, m, method) for n, m in zip(before, after, strict=True)]
    (found,) = results(maps.resize(buffer, y, *tables, False), given.contents, y)
    assert_close(found, imresize(x, after, method, axes=(1, 2)))
    (found,) = results(maps.resize(buffer, y, *tables, True), given.contents, y)
    assert_close(found, imresize(np.maximum(x, 0), after, method, axes=(1, 2)))


# what does not fit


def _maps(channels: int = 4, **changes) -> FeatureMaps:
    return replace(feature_maps(1, 3, 5, channels), **changes)


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (lambda: layout.copy(_maps(), _maps(rows=2)), r"1 x 3 x 5 x 4 do not fit others of 1 x 2 x 5 x 4"),
        (lambda: layout.combine([_maps()] * 4, _maps()), r"expected 1 to 3 feature maps of one type"),
        (lambda: layout.combine([_maps(), feature_maps(1, 3, 5, 4, HALF)], _maps()), r"\['float32', 'float16'\]"),
        (lambda: layout.combine([_maps()], _maps(), scale=Buffer((3,))), r"found Buffer\(\(3,\), float32\).*\(4,\)"),
        (lambda: layout.copy(_maps(row_pitch=2**30), _maps()), r"too many.*expected at most 2147483647.*fewer images"),
        (
            lambda: upsampling.upsample(_maps(), Buffer((3, 8, 8)), _maps(), (4, 4), (2, 2), None),
            r"found Buffer\(\(3, 8, 8\), float32\) for the upsampling of 4 channels; expected 1 or 4 first",
        ),
        (
            lambda: upsampling.upsample_adjoint(_maps(), Buffer((1, 8, 8)), _maps(8), (4, 4), (2, 2)),
            r"1 samples of 4 channels cannot give 1 of 8",
        ),
        (
            lambda: softmax.upsample_softmax(_maps(33), Buffer((1, 8, 8)), _maps(33), (4, 4), (2, 2), None),
            r"33 channels are too many for upsample_softmax; expected at most 32",
        ),
        (
            lambda: pooling.max_pool(_maps(), _maps(), MaxPool((2, 2))),
            r"found feature maps of 1 x 3 x 5 x 4, float32, as the result of MaxPool.*expected 1 x 2 x 4 x 4, float32",
        ),
        (
            lambda: pooling.max_pool_adjoint(
                _maps(), _maps(), feature_maps(1, 3, 5, 4, HALF), _maps(), MaxPool((1, 1))
            ),
            r"a gradient of float16 cannot become one of float32; expected one type",
        ),
        (
            lambda: sums.rectangle_sums(_maps(), [(0, 4, 0, 5)], Buffer((1, 1, 4))),
            r"the rectangle \(0, 4, 0, 5\) does not lie in 3 rows and 5 columns",
        ),
        (
            lambda: sums.product(Buffer((1, 9, 4)), Buffer((8, 4, 2)), Buffer((1, 2))),
            r"found Buffer\(\(8, 4, 2\), float32\) for a kernel; expected the shape \(9, 4, 2\)",
        ),
        (
            lambda: maps.weighted_sum(Buffer((3, 4)), replace(_maps(), samples=2), Buffer((3, 3, 5))),
            r"found the activations of 2 samples for 3 targets; expected 1 or 3",
        ),
        (
            lambda: maps.resize(Buffer((1, 3, 5)), Buffer((1, 6, 6)), *[resize_weights(4, 6)] * 2, False),
            r"a table with indices 0 to 3 and weights \(6, \d\) cannot resize an axis of 3",
        ),
        (
            lambda: softmax.largest_channel(_maps(257), Buffer((1, 3, 5), np.uint8)),
            r"labels of 257 channels cannot be kept as uint8; expected uint8 and at most 256 channels",
        ),
    ],
)
def test_what_does_not_fit_is_refused(plan: Callable[[], list[Launch]], message: str):
    with pytest.raises(LayerError, match=message):
        plan()
