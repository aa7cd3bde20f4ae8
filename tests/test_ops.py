"""Every op against JAX, finite differences, plain loops, SciPy and PyTorch; and what the ops promise in common."""

import dataclasses
import inspect
import math
from fractions import Fraction
from functools import partial

import numpy as np
import pytest
import scipy.ndimage
import scipy.signal
import scipy.special
from cases import CASES, LINEAR, WHOLE, Case, huge, normal, positive, zero_or_one
from hypothesis import given
from hypothesis import strategies as st
from references import (
    FORMULAS,
    TOLERANCE,
    by_jax,
    by_op,
    look_ups,
    peak_error,
    positions,
    quickly,
    require_torch,
    windows,
    worst_error,
)

from minicam.errors import LayerError
from minicam.ops import (
    OPS,
    Add,
    AveragePool,
    BatchNorm,
    ChannelMax,
    Clip,
    Concat,
    Constant,
    Conv,
    ConvTranspose,
    Crop,
    Dense,
    DepthToSpace,
    Elu,
    Expand,
    Flatten,
    Gelu,
    GlobalAveragePool,
    GlobalMaxPool,
    GroupNorm,
    InstanceNorm,
    LayerNorm,
    LeakyRelu,
    LocalResponseNorm,
    LpPool,
    MatMul,
    MaxPool,
    Multiply,
    Op,
    Pad,
    Power,
    PRelu,
    ReduceNorm,
    ReduceSum,
    Relu,
    Reshape,
    Resize,
    Shrink,
    Sigmoid,
    Slice,
    Softmax,
    Softplus,
    SpaceToDepth,
    Sum,
    Tanh,
    Transpose,
)
from minicam.ops.base import POINT, Footprint
from minicam.ops.erf import erf
from minicam.ops.rearranging import END
from minicam.ops.resampling import resizing_matrix
from minicam.resizing import resize_weights
from minicam.windows import Window

every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
zero = np.zeros(1)


def with_output(case: Case) -> tuple[list[np.ndarray], dict[str, np.ndarray], np.ndarray, np.ndarray]:
    sample = case.sample()
    return sample.xs, sample.parameters, sample.dy, case.op.forward(*sample.xs, **sample.parameters)


# The table


def test_every_op_has_a_case_and_a_formula():
    assert {type(case.op).__name__ for case in CASES} == set(OPS) == set(FORMULAS)
    assert set(OPS) >= LINEAR


def test_case_ids_are_unique():
    assert len({case.id for case in CASES}) == len(CASES)


@pytest.mark.parametrize("name", OPS)
def test_an_op_is_a_frozen_dataclass_that_documents_itself(name):
    assert dataclasses.is_dataclass(OPS[name])
    assert OPS[name].__dataclass_params__.frozen
    assert ">>> " in inspect.getdoc(OPS[name])
    assert "adjoint" in inspect.getdoc(OPS[name]).lower()


# Values and gradients


@every_case
def test_values_and_gradients_equal_jax(case):
    assert worst_error(by_op(case), by_jax(case)) < TOLERANCE


@every_case
def test_gradients_equal_differences(case):
    """<f(x + v) - f(x - v), dy> / 2 = <v, backward(dy)>: for every v where f is linear, else for a small one."""
    xs, parameters, dy, _ = with_output(case)
    rng = np.random.default_rng(0)
    whole = WHOLE.get(type(case.op).__name__, ())
    # Anew, since where values are tied nothing is differentiable.
    draw = positive if case.draw in (positive, zero_or_one) else normal
    xs = [x if i in whole else draw(rng, x.shape) for i, x in enumerate(xs)]
    step, tolerance = (1.0, 1e-12) if type(case.op).__name__ in LINEAR else (1e-5, 1e-8)
    vs = [0 * x if i in whole else step * rng.normal(size=x.shape) for i, x in enumerate(xs)]
    above = case.op.forward(*map(np.add, xs, vs), **parameters)
    below = case.op.forward(*map(np.subtract, xs, vs), **parameters)
    dxs = case.op.backward(dy, case.op.forward(*xs, **parameters), *xs, **parameters)
    forth, back = np.vdot(above - below, dy) / 2, sum(map(np.vdot, vs, dxs))
    assert abs(forth - back) <= tolerance * np.linalg.norm(above - below) * np.linalg.norm(dy)


@every_case
def test_a_gradient_for_each_of_several_seeds(case):
    """One sample x, three cotangents dy: as many gradients as cotangents, each as if it were alone."""
    xs, parameters, _, y = with_output(case)
    xs, y = [x[:1] for x in xs], y[:1]
    dy = np.random.default_rng(0).normal(size=(3, *y.shape[1:]))
    together = case.op.backward(dy, y, *xs, **parameters)
    alone = [case.op.backward(dy[i : i + 1], y, *xs, **parameters) for i in range(3)]
    for dx, parts in zip(together, zip(*alone, strict=True), strict=True):
        np.testing.assert_allclose(dx, np.concatenate(parts), rtol=1e-13, atol=1e-13)


# What ops promise in common


@every_case
def test_shapes(case):
    found = by_op(case)
    assert found.y.shape == (case.shapes[0][0], *case.op.output_shape(*case.sample_shapes))
    assert [dx.shape for dx in found.dxs] == list(case.shapes)
    shapes = case.op.parameter_shapes(*case.sample_shapes)
    assert {name: value.shape for name, value in found.dparameters.items()} == shapes
    assert case.op.arity in (None, len(case.shapes))


@every_case
def test_an_input_of_any_size_gives_an_output_of_any_size(case):
    """Sizes left open (None) pass through output_shape: what is known of the output stays true."""
    if isinstance(case.op, Dense | Flatten):
        with pytest.raises(LayerError, match="must be a fixed number here"):
            case.op.output_shape((2, None))
        return
    exact = case.op.output_shape(*case.sample_shapes)
    found = case.op.output_shape(*((shape[0], *(None,) * (len(shape) - 1)) for shape in case.sample_shapes))
    assert len(found) == len(exact)
    assert all(size is None or size == known for size, known in zip(found, exact, strict=True))


@every_case
def test_an_output_position_depends_on_nothing_outside_its_footprint(case):
    xs, parameters, _, y = with_output(case)
    footprint = case.op.footprint(y.ndim - 2)
    if footprint is None or isinstance(case.op, ConvTranspose | Crop):  # theirs is the most common case
        return
    rng = np.random.default_rng(0)
    for o in rng.permutation(list(np.ndindex(y.shape[2:])))[:5]:
        dy = np.zeros_like(y)
        dy[:, :, *o] = rng.normal(size=y.shape[:2])
        for dx in case.op.backward(dy, y, *xs, **parameters):
            for axis, i in enumerate(np.nonzero(dx)[2:]):
                step, low, high = footprint[axis]
                assert ((step * o[axis] + low <= i) & (i <= step * o[axis] + high)).all()


@every_case
def test_the_type_of_the_result_is_that_of_the_input(case):
    exact, single = by_op(case), by_op(case, np.float32)
    for found, dtype in ((exact, np.float64), (single, np.float32)):
        assert {a.dtype for a in (found.y, *found.dxs, *found.dparameters.values())} == {np.dtype(dtype)}
    # Values near 10 000 have a spacing of 0.001 in single precision.
    assert worst_error(single, exact) < (2e-3 if case.draw is huge else 1e-5)


@every_case
def test_nothing_is_written_to(case):
    sample, original = case.sample(), case.sample()
    y = case.op.forward(*sample.xs, **sample.parameters)
    y_before = y.copy()
    case.op.backward(sample.dy, y, *sample.xs, **sample.parameters)
    case.op.backward_params(sample.dy, y, *sample.xs, **sample.parameters)
    np.testing.assert_array_equal(y, y_before, strict=True)
    np.testing.assert_array_equal(sample.dy, original.dy, strict=True)
    for found, expected in zip(sample.xs, original.xs, strict=True):
        np.testing.assert_array_equal(found, expected, strict=True)
    for name, expected in original.parameters.items():
        np.testing.assert_array_equal(sample.parameters[name], expected, strict=True)


def hide(array: np.ndarray, hidden: bool) -> np.ndarray:
    return np.full_like(array, math.nan) if hidden else array


@every_case
def test_backward_reads_no_more_than_it_declares(case):
    xs, parameters, dy, y = with_output(case)

    def hidden(reads: frozenset[str]) -> tuple[np.ndarray, ...]:
        return (hide(y, "y" not in reads), *(hide(x, "x" not in reads) for x in xs))

    expected = case.op.backward(dy, y, *xs, **parameters)
    found = case.op.backward(dy, *hidden(case.op.reads), **parameters)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b, strict=True)
    expected = case.op.backward_params(dy, y, *xs, **parameters)
    found = case.op.backward_params(dy, *hidden(case.op.reads_for_params), **parameters)
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, strict=True)


@pytest.mark.parametrize("name", OPS)
def test_backward_declares_no_more_than_it_reads(name):
    """An array that is declared and not read would be kept in memory for nothing."""
    op, needed, needed_for_params = OPS[name], set(), set()
    for case in (case for case in CASES if isinstance(case.op, op)):
        xs, parameters, dy, y = with_output(case)
        for array in ("x", "y"):
            arrays = (hide(y, array == "y"), *(hide(x, array == "x") for x in xs))
            found = case.op.backward(dy, *arrays, **parameters)
            expected = case.op.backward(dy, y, *xs, **parameters)
            if not all(map(np.array_equal, found, expected)):
                needed.add(array)
            found = case.op.backward_params(dy, *arrays, **parameters)
            expected = case.op.backward_params(dy, y, *xs, **parameters)
            if not all(np.array_equal(found[key], expected[key]) for key in expected):
                needed_for_params.add(array)
    assert needed == op.reads
    assert needed_for_params == op.reads_for_params


# Plain loops over the formulas in the docstrings


def grouped(op: Conv | ConvTranspose, channels: int):
    """The input channels, the filters and their place, as slices, for each group."""
    inputs, filters = channels // op.groups, op.filters // op.groups
    for group in range(op.groups):
        yield slice(group * inputs, (group + 1) * inputs), slice(group * filters, (group + 1) * filters)


@quickly
@given(windows(), st.integers(1, 2), st.integers(1, 2), st.integers(1, 3))
def test_conv_equals_loops(geometry, inputs, filters, groups):
    window, space = geometry
    op = Conv(filters * groups, *window, groups)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, inputs * groups, *space))
    weight, bias = rng.normal(size=(op.filters, inputs, *window.kernel)), rng.normal(size=op.filters)
    y = np.zeros((2, op.filters, *positions(window, space))) + bias.reshape(-1, *(1,) * len(space))
    for c, k in grouped(op, x.shape[1]):
        for o, t, i in look_ups(window, space):
            y[:, k, *o] += x[:, c, *i] @ weight[k, :, *t].T
    assert peak_error(op.forward(x, weight=weight, bias=bias), y) < 1e-13


@quickly
@given(windows(), st.integers(1, 2), st.integers(1, 2), st.integers(1, 3))
def test_conv_transpose_equals_loops_and_is_the_adjoint_of_conv(geometry, inputs, filters, groups):
    window, out = geometry[0], positions(*geometry)
    op = ConvTranspose(filters * groups, *window, groups)
    space = window.input_space(out)
    if min(space) < 1:  # all that the smallest input has is cropped
        return
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, inputs * groups, *out))
    weight, bias = rng.normal(size=(inputs * groups, filters, *window.kernel)), rng.normal(size=op.filters)
    y = np.zeros((2, op.filters, *space)) + bias.reshape(-1, *(1,) * len(space))
    for c, k in grouped(op, x.shape[1]):
        for o, t, i in look_ups(window, space):
            y[:, k, *i] += x[:, c, *o] @ weight[c, :, *t]
    assert peak_error(op.forward(x, weight=weight, bias=bias), y) < 1e-13

    conv = Conv(inputs * groups, *window, groups)
    (adjoint,) = conv.backward(x, x, y, weight=weight, bias=np.zeros(conv.filters))
    assert peak_error(adjoint, op.forward(x, weight=weight, bias=0 * bias)) == 0


@quickly
@given(windows(pads_less_than_kernel=True, dilates=False), st.booleans())
def test_pools_equal_loops(geometry, count_padding):
    window, space = geometry
    kernel, stride, _, padding = window
    x = np.random.default_rng(0).normal(size=(2, 2, *space))
    out = positions(window, space)
    largest, total, count = np.full((2, 2, *out), -math.inf), np.zeros((2, 2, *out)), np.zeros(out)
    for o, _, i in look_ups(window, space):
        largest[:, :, *o] = np.maximum(largest[:, :, *o], x[:, :, *i])
        total[:, :, *o] += x[:, :, *i]
        count[o] += 1
    mean = total / (math.prod(kernel) if count_padding else count)
    assert peak_error(MaxPool(kernel, stride, padding).forward(x), largest) == 0
    assert peak_error(AveragePool(kernel, stride, padding, count_padding).forward(x), mean) < 1e-14


# SciPy


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_stride_1_convolutions_equal_scipy(rank):
    rng = np.random.default_rng(rank)
    x, weight = rng.normal(size=(1, 1, *(5, 6, 4)[:rank])), rng.normal(size=(1, 1, *(3, 2, 3)[:rank]))
    kernel = weight.shape[2:]
    inside = Conv(1, kernel).forward(x, weight=weight, bias=zero)
    assert peak_error(inside[0, 0], scipy.signal.correlate(x[0, 0], weight[0, 0], "valid")) < 1e-14
    everywhere = Conv(1, kernel, padding=tuple((k - 1, k - 1) for k in kernel)).forward(x, weight=weight, bias=zero)
    assert peak_error(everywhere[0, 0], scipy.signal.correlate(x[0, 0], weight[0, 0], "full")) < 1e-14
    transposed = ConvTranspose(1, kernel).forward(x, weight=weight, bias=zero)
    assert peak_error(transposed[0, 0], scipy.signal.convolve(x[0, 0], weight[0, 0], "full")) < 1e-14


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_pools_equal_scipy(rank):
    x = np.random.default_rng(rank).normal(size=(6, 7, 5)[:rank])
    kernel = (3, 5, 3)[:rank]
    centred = {"padding": tuple((k // 2, k // 2) for k in kernel)}
    largest = scipy.ndimage.maximum_filter(x, kernel, mode="constant", cval=-math.inf)
    mean = scipy.ndimage.uniform_filter(x, kernel, mode="constant")
    assert peak_error(MaxPool(kernel, **centred).forward(x[None, None])[0, 0], largest) == 0
    assert peak_error(AveragePool(kernel, **centred).forward(x[None, None])[0, 0], mean) < 1e-14


def test_softmax_equals_scipy():
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 5))
    assert peak_error(Softmax().forward(x), scipy.special.softmax(x, axis=1)) < 1e-15


def test_erf_equals_scipy():
    x = np.concatenate([np.linspace(-8, 8, 100_001), [0.0, 1e-300, -1e-9, 1e300, -math.inf, math.inf]])
    assert np.abs(erf(x) - scipy.special.erf(x)).max() < 1e-15
    single = x[np.abs(x) < 9].astype(np.float32)
    assert np.abs(erf(single) - scipy.special.erf(single.astype(float))).max() < 5e-7
    assert math.isnan(erf(np.array(math.nan)))
    np.testing.assert_array_equal(erf(-x), -erf(x))


def test_activations_equal_scipy():
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 5)) * 5
    assert peak_error(Gelu().forward(x), x * scipy.special.ndtr(x)) < 1e-15
    assert peak_error(Sigmoid().forward(x), scipy.special.expit(x)) < 1e-15


@pytest.mark.parametrize(("size_in", "size_out"), [(5, 10), (4, 7), (7, 3), (6, 3), (1, 4), (9, 1), (5, 5)])
def test_resize_has_the_weights_of_image_resizing(size_in, size_out):
    """Where both have the same definition: half-pixel centres, clamped edges, no antialiasing, a = -0.5."""
    for method, of_images in (("linear", "bilinear"), ("cubic", "bicubic"), ("nearest", "nearest")):
        indices, weights = resize_weights(size_in, size_out, of_images, "clamp", antialias=False)
        expected = np.zeros((size_out, size_in))
        np.add.at(expected, (np.arange(size_out)[:, None], indices), weights)
        assert peak_error(resizing_matrix(size_in, size_out, method, "half_pixel", -0.5), expected) < 1e-15


@pytest.mark.parametrize("coordinates", ["half_pixel", "align_corners"])
@pytest.mark.parametrize("method", ["linear", "cubic"])
def test_resizing_keeps_what_is_constant_and_the_middle_of_a_ramp(method, coordinates):
    matrix = resizing_matrix(8, 20, method, coordinates, -0.5)
    np.testing.assert_allclose(matrix.sum(axis=1), 1, rtol=1e-14)
    o = np.arange(20)
    u = (o + 0.5) * 8 / 20 - 0.5 if coordinates == "half_pixel" else o * 7 / 19
    middle = (u >= 1) & (u <= 6)  # within a cubic kernel's reach of the ends, they are repeated
    np.testing.assert_allclose((matrix @ np.arange(8.0))[middle], u[middle], rtol=1e-13)


# PyTorch


def numbers(*shape: int) -> np.ndarray:
    return np.random.default_rng(shape).normal(size=shape)


def compare_with_torch(op: Op, function, x: np.ndarray, *values: np.ndarray) -> None:
    """`function`: PyTorch's with the same options. `values`: the parameters in their order."""
    torch = require_torch()
    tensors = [torch.tensor(array, requires_grad=True) for array in (x, *values)]
    expected = function(*tensors)
    dy = np.random.default_rng(0).normal(size=expected.shape)
    expected.backward(torch.tensor(dy))
    parameters = dict(zip(op.parameter_shapes(x.shape[1:]), values, strict=True))
    y = op.forward(x, **parameters)
    dx, dparameters = op.backward(dy, y, x, **parameters)[0], op.backward_params(dy, y, x, **parameters)
    assert peak_error(y, expected.detach().numpy()) < 1e-12
    for found, tensor in zip((dx, *dparameters.values()), tensors, strict=True):
        assert peak_error(found, tensor.grad.numpy()) < 1e-12


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_convolutions_equal_torch(rank):
    functional = require_torch().nn.functional
    options = {"stride": (2, 1, 3)[:rank], "dilation": (1, 2, 1)[:rank], "groups": 2}
    padding, kernel, space = (1, 2, 0)[:rank], (3, 2, 2)[:rank], (4, 5, 2)[:rank]
    conv = (functional.conv1d, functional.conv2d, functional.conv3d)[rank - 1]
    compare_with_torch(
        Conv(6, kernel, padding=padding, **options),
        lambda *tensors: conv(*tensors, padding=padding, **options),
        *(numbers(2, 4, *space), numbers(6, 2, *kernel), numbers(6)),
    )
    transposed = (functional.conv_transpose1d, functional.conv_transpose2d, functional.conv_transpose3d)[rank - 1]
    compare_with_torch(
        ConvTranspose(6, kernel, cropping=padding, **options),
        lambda *tensors: transposed(*tensors, padding=padding, **options),
        *(numbers(2, 4, *space), numbers(4, 3, *kernel), numbers(6)),
    )


def test_pools_equal_torch():
    functional = require_torch().nn.functional
    x = numbers(2, 3, 7, 6)
    geometry = {"stride": (2, 1), "padding": (1, 0)}
    compare_with_torch(MaxPool((3, 2), **geometry), lambda x: functional.max_pool2d(x, (3, 2), **geometry), x)
    for counted in (True, False):
        average = partial(functional.avg_pool2d, kernel_size=(3, 2), **geometry, count_include_pad=counted)
        compare_with_torch(AveragePool((3, 2), **geometry, count_padding=counted), average, x)


def test_layer_norm_equals_torch():
    functional = require_torch().nn.functional

    def channels_last(x, scale, offset):
        return functional.layer_norm(x.mT, (3,), scale, offset, 0.1).mT

    compare_with_torch(LayerNorm(epsilon=0.1), channels_last, numbers(2, 3, 4), numbers(3), numbers(3))


def test_norms_of_groups_equal_torch():
    functional = require_torch().nn.functional
    x, scale, offset = numbers(2, 6, 4, 3), numbers(6), numbers(6)
    groups = partial(functional.group_norm, num_groups=3, eps=0.1)
    compare_with_torch(
        GroupNorm(3, epsilon=0.1), lambda x, scale, offset: groups(x, weight=scale, bias=offset), x, scale, offset
    )
    instances = partial(functional.instance_norm, eps=0.1)
    compare_with_torch(
        InstanceNorm(epsilon=0.1), lambda x, scale, offset: instances(x, weight=scale, bias=offset), x, scale, offset
    )


@pytest.mark.parametrize("window", [1, 2, 3, 4, 5])
def test_local_response_norm_equals_torch(window):
    """PyTorch mirrors even windows: they reach further to the channels before."""
    functional = require_torch().nn.functional

    def mirrored(x):
        y = functional.local_response_norm(x.flip(1) if window % 2 == 0 else x, window, 2.0, 0.6, 1.5)
        return y.flip(1) if window % 2 == 0 else y

    compare_with_torch(LocalResponseNorm(window, alpha=2.0, beta=0.6, k=1.5), mirrored, numbers(2, 7, 4, 3))


def test_activations_equal_torch():
    """Also at the kinks."""
    functional = require_torch().nn.functional
    x = np.concatenate([numbers(2, 3, 4), np.broadcast_to([-1.0, -0.0, 0.0, 6.0], (2, 3, 4))], axis=2)
    for op, function in (
        (LeakyRelu(0.2), partial(functional.leaky_relu, negative_slope=0.2)),
        (Elu(1.5), partial(functional.elu, alpha=1.5)),
        (Gelu(), functional.gelu),
        (Gelu("tanh"), partial(functional.gelu, approximate="tanh")),
        (Clip(0, 6), functional.relu6),
        (Sigmoid(), functional.sigmoid),
        (Tanh(), functional.tanh),
    ):
        compare_with_torch(op, function, x)
    compare_with_torch(PRelu(), functional.prelu, x, numbers(3))


@pytest.mark.parametrize("corners", [False, True])
@pytest.mark.parametrize("sizes", [(7,), (3,), (8, 9), (2, 11), (1, 4), (6, 3, 5)])
def test_resize_equals_torch(sizes, corners):
    interpolate = require_torch().nn.functional.interpolate
    rank = len(sizes)
    x = numbers(2, 3, *(4, 6, 3)[:rank])
    coordinates = "align_corners" if corners else "half_pixel"
    linear = ("linear", "bilinear", "trilinear")[rank - 1]
    compare_with_torch(
        Resize(sizes, coordinates=coordinates), partial(interpolate, size=sizes, mode=linear, align_corners=corners), x
    )
    if rank == 2:
        cubic = partial(interpolate, size=sizes, mode="bicubic", align_corners=corners)
        compare_with_torch(Resize(sizes, method="cubic", coordinates=coordinates), cubic, x)
    if not corners:
        nearest = partial(interpolate, size=sizes, mode="nearest-exact")
        compare_with_torch(Resize(sizes, method="nearest"), nearest, x)


def test_nearest_by_whole_scales_equals_torchs_nearest():
    interpolate = require_torch().nn.functional.interpolate
    nearest = partial(interpolate, scale_factor=(2, 3), mode="nearest")
    compare_with_torch(Resize(scales=(2, 3), method="nearest"), nearest, numbers(2, 3, 4, 5))


def test_padding_equals_torch():
    functional = require_torch().nn.functional
    x = numbers(2, 3, 4, 5)
    for mode, of_torch in (("constant", "constant"), ("reflect", "reflect"), ("edge", "replicate")):
        function = partial(functional.pad, pad=(1, 2, 3, 0), mode=of_torch)
        compare_with_torch(Pad((0, (3, 0), (1, 2)), mode), function, x)


# Documented conventions


def test_the_gradient_of_relu_at_zero_is_zero():
    x = np.array([[-1.0, -0.0, 0.0, 1.0]])
    (dx,) = Relu().backward(np.full((1, 4), 5.0), Relu().forward(x), x)
    np.testing.assert_array_equal(dx, [[0, 0, 0, 5]])


def test_max_pool_gives_the_gradient_to_the_first_of_equals():
    x = np.array([[[[1.0, 7, 7], [7, 7, 0], [0, 0, 7]]]])
    (dx,) = MaxPool((3, 3)).backward(np.full((1, 1, 1, 1), 5.0), np.full((1, 1, 1, 1), 7.0), x)
    np.testing.assert_array_equal(dx, [[[[0, 5, 0], [0, 0, 0], [0, 0, 0]]]])
    (dx,) = GlobalMaxPool().backward(np.full((1, 1, 1, 1), 5.0), np.full((1, 1, 1, 1), 7.0), x)
    np.testing.assert_array_equal(dx, [[[[0, 5, 0], [0, 0, 0], [0, 0, 0]]]])


def test_gradients_at_kinks():
    x, five = np.array([[-0.0, 0.0, 1.0, 6.0]]), np.full((1, 4), 5.0)
    for op, expected in (
        (LeakyRelu(0.5), [2.5, 2.5, 5, 5]),
        (Elu(2.0), [10, 10, 5, 5]),
        (Clip(0, 6), [0, 0, 5, 0]),
    ):
        np.testing.assert_array_equal(op.backward(five, op.forward(x), x), [[expected]])
    (dx,) = PRelu().backward(five, x, x, slope=np.array([0.5, 2, 2, 2]))
    np.testing.assert_array_equal(dx, [[2.5, 10, 5, 5]])


def test_channel_max_gives_the_gradient_to_the_first_of_equal_channels():
    x = np.array([[[1.0, 7, -0.0], [7, 7, 0], [7, 0, 0]]])
    (dx,) = ChannelMax().backward(np.full((1, 1, 3), 5.0), ChannelMax().forward(x), x)
    np.testing.assert_array_equal(dx, [[[0, 5, 5], [5, 0, 0], [0, 0, 0]]])


def test_activations_do_not_overflow():
    x = np.array([[-1e300, -1e4, 1e4, 1e300]])
    np.testing.assert_array_equal(Sigmoid().forward(x), [[0, 0, 1, 1]])
    np.testing.assert_array_equal(Elu().forward(x), [[-1, -1, 1e4, 1e300]])
    np.testing.assert_array_equal(Elu().backward(x, x, x), [[[0, 0, 1e4, 1e300]]])
    for gelu in (Gelu(), Gelu("tanh")):
        y = gelu.forward(x[:, 1:3])
        np.testing.assert_array_equal(y, [[0, 1e4]])
        np.testing.assert_array_equal(gelu.backward(y, y, x[:, 1:3]), [[[0, 1e4]]])


def test_a_scale_need_not_give_a_whole_size():
    """ONNX and PyTorch round down, and look where the scale itself tells."""
    assert Resize(scales=(1.5,)).output_shape((1, 5)) == (1, 7)
    assert Resize(scales=(1 / 3,)).output_shape((1, 6)) == (1, 2)
    interpolate = require_torch().nn.functional.interpolate
    linear = partial(interpolate, scale_factor=1.3, mode="linear")
    compare_with_torch(Resize(scales=(1.3,)), linear, numbers(2, 3, 5))


def test_a_group_norm_of_one_group_is_a_layer_norm_and_of_single_channels_an_instance_norm():
    x, parameters = numbers(2, 4, 3, 2), {"scale": numbers(4), "offset": numbers(4, 1)[:, 0]}
    one, each = GroupNorm(1).forward(x, **parameters), GroupNorm(4).forward(x, **parameters)
    assert peak_error(one, LayerNorm("sample").forward(x, **parameters)) < 1e-14
    np.testing.assert_array_equal(each, InstanceNorm().forward(x, **parameters))


def test_the_window_of_local_response_norm_reaches_further_up_where_it_is_even():
    """As in ONNX and MATLAB: floor((window - 1) / 2) channels below, ceil((window - 1) / 2) above."""
    x = np.zeros((1, 7))
    x[0, 3] = 1.0
    for window, reached in ((1, [3]), (2, [2, 3]), (3, [2, 3, 4]), (4, [1, 2, 3, 4]), (5, [1, 2, 3, 4, 5])):
        op = LocalResponseNorm(window, alpha=window, beta=1.0)
        small = 1e-6 * np.ones_like(x)
        found = op.forward(x + small) / (x + small)
        np.testing.assert_array_equal(np.flatnonzero(found < 0.9), reached)


def test_constant_padding_drops_the_gradient_of_what_it_adds():
    op = Pad(((0, 0), (1, 2)), value=7)
    x = np.array([[[1.0, 2.0]]])
    np.testing.assert_array_equal(op.forward(x), [[[7, 1, 2, 7, 7]]])
    np.testing.assert_array_equal(op.backward(np.arange(5.0).reshape(1, 1, 5), x, x), [[[[1, 2]]]])


def test_resizing_is_exact_where_sizes_stay():
    x = numbers(2, 3, 4, 5)
    for method in ("nearest", "linear", "cubic"):
        for coordinates in ("half_pixel", "align_corners"):
            np.testing.assert_array_equal(Resize((4, 5), (), method, coordinates).forward(x), x)


def test_footprints():
    for op in (LeakyRelu(), PRelu(), Elu(), Gelu(), Clip(0, 1), Sigmoid(), Tanh(), ChannelMax(), LocalResponseNorm()):
        assert op.footprint(2) == (POINT, POINT)
    shifted = Footprint(Fraction(1), Fraction(-2), Fraction(-2))
    assert Pad((0, (2, 1), 0)).footprint(2) == (shifted, POINT)
    every_other = Footprint(Fraction(2), Fraction(1), Fraction(1))
    assert Slice((0, 1, 0), (END,) * 3, (1, 2, 1)).footprint(2) == (every_other, POINT)
    for op in (Pad(((1, 1),) * 3, "reflect"), Pad(((1, 1),) * 3, "edge"), Slice((0, -1, 0), (1, 1, 1))):
        assert op.footprint(2) is None
    for op in (Reshape((1, -1)), Transpose((0, 2, 1)), Resize((2, 2)), Multiply(), GroupNorm(1), InstanceNorm()):
        assert op.footprint(2) is None


def test_minus_zero_and_zero_are_equal_for_the_largest():
    x = np.array([[[-0.0, 0.0], [0.0, -0.0]]])
    for op in (MaxPool((2,)), GlobalMaxPool()):
        (dx,) = op.backward(np.full((1, 2, 1), 5.0), op.forward(x), x)
        np.testing.assert_array_equal(dx, [[[5, 0], [5, 0]]])


def test_padding_never_wins_in_max_pool():
    x = np.full((1, 1, 2), -np.finfo(float).max)
    op = MaxPool((2,), padding=1)
    np.testing.assert_array_equal(op.forward(x), np.full((1, 1, 3), -np.finfo(float).max))
    (dx,) = op.backward(np.array([[[1.0, 2, 4]]]), op.forward(x), x)
    np.testing.assert_array_equal(dx, [[[3, 4]]])


def test_softmax_does_not_overflow():
    x = np.array([[1e4, 1e4, -1e4], [-1e4, -2e4, -2e4]])
    np.testing.assert_array_equal(Softmax().forward(x), [[0.5, 0.5, 0], [1, 0, 0]])


def test_averages_leave_padding_out_or_count_it():
    x = np.array([[[6.0, 12.0]]])
    np.testing.assert_array_equal(AveragePool((2,), padding=1).forward(x), [[[3, 9, 6]]])
    np.testing.assert_array_equal(AveragePool((2,), padding=1, count_padding=False).forward(x), [[[6, 9, 12]]])


# Options that cannot be


def test_options_are_stored_per_axis():
    conv = Conv(1, [3, 3], stride=2, padding=(1, 2))
    assert (conv.kernel, conv.stride, conv.dilation, conv.padding) == ((3, 3), (2, 2), (1, 1), ((1, 1), (2, 2)))
    assert conv == Conv(1, (3, 3), (2, 2), (1, 1), ((1, 1), (2, 2)))
    assert ConvTranspose(1, (3,), cropping=[[1, 2]]).cropping == ((1, 2),)
    assert MaxPool((2,), padding=1).padding == ((1, 1),)
    assert Pad([0, [1, 2]]).padding == ((0, 0), (1, 2))
    assert Slice([0, 1], [END, 2], 3) == Slice((0, 1), (END, 2), (3, 3))
    assert (Reshape([2, -1]).shape, Transpose([1, 0]).axes, Resize([3]).sizes) == ((2, -1), (1, 0), (3,))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Conv(1, ()), r"Conv: kernel is \(\); expected one size per axis"),
        (lambda: Conv(1, 3), r"Conv: kernel is 3; expected one size per axis"),
        (lambda: Conv(1, (3,), stride=1.5), r"Conv: stride is 1\.5; expected a whole number"),
        (lambda: Conv(1, (3,), stride=(True,)), r"Conv: stride is \(True,\); expected a whole number"),
        (lambda: Conv(1, (3,), padding=((1, 2, 3),)), r"Conv: padding is \(\(1, 2, 3\),\); expected a whole number"),
        (lambda: Conv(1, (0,)), r"Conv: kernel is \(0,\); expected 1 or more on each axis"),
        (lambda: Conv(1, (3, 3), stride=(1, 0)), r"Conv: stride is \(1, 0\); expected 1 or more"),
        (lambda: Conv(1, (3,), dilation=0), r"Conv: dilation is \(0,\); expected 1 or more"),
        (lambda: Conv(1, (3,), padding=-1), r"Conv: padding is \(\(-1, -1\),\); expected 0 or more"),
        (lambda: Conv(1, (3,), padding=((0, -1),)), r"Conv: padding is \(\(0, -1\),\); expected 0 or more"),
        (
            lambda: Conv(1, (3, 3), stride=(1,)),
            r"Conv: stride is \(1,\); .*one for each of 2 axes",
        ),
        (
            lambda: Conv(1, (3,), dilation=(1, 1)),
            r"Conv: dilation is \(1, 1\); .*one for each of 1 axes",
        ),
        (
            lambda: Conv(1, (3, 3), padding=((1, 1),)),
            r"Conv: padding is \(\(1, 1\),\); .*a pair for each of 2",
        ),
        (lambda: Conv(0, (3,)), r"filters is 0; expected 1 or more"),
        (lambda: Conv(3, (3,), groups=2), r"groups is 2; expected a divisor of the 3 filters"),
        (lambda: Conv(3, (3,), groups=0), r"groups is 0; expected a divisor of the 3 filters"),
        (lambda: ConvTranspose(1, (0,)), r"ConvTranspose: kernel is \(0,\)"),
        (
            lambda: ConvTranspose(1, (3,), cropping=-1),
            r"ConvTranspose: cropping is \(\(-1, -1\),\);",
        ),
        (lambda: ConvTranspose(3, (3,), groups=2), r"groups is 2; expected a divisor of the 3 filters"),
        (lambda: MaxPool((0,)), r"MaxPool: kernel is \(0,\)"),
        (lambda: MaxPool((3,), stride=0), r"MaxPool: stride is \(0,\)"),
        (lambda: MaxPool((2, 3), padding=2), r"\(\(2, 2\), \(2, 2\)\); expected less than the kernel \(2, 3\)"),
        (lambda: AveragePool((2,), padding=((0, 2),)), r"\(\(0, 2\),\); expected less than the kernel \(2,\)"),
        (lambda: AveragePool((2,), padding=-1), r"AveragePool: padding is \(\(-1, -1\),\); expected 0 or more"),
        (lambda: BatchNorm(epsilon=-1e-5), r"epsilon is -1e-05; expected 0 or more"),
        (lambda: LayerNorm(epsilon=-1.0), r"epsilon is -1.0; expected 0 or more"),
        (lambda: LayerNorm(over="batch"), r"over is 'batch'; expected 'channels' or 'sample'"),
        (lambda: Dense(0), r"units is 0; expected 1 or more"),
        (lambda: GroupNorm(0), r"GroupNorm: groups is 0; expected 1 or more"),
        (lambda: GroupNorm(1, epsilon=-1.0), r"GroupNorm: epsilon is -1\.0; expected 0 or more"),
        (lambda: InstanceNorm(epsilon=-1.0), r"InstanceNorm: epsilon is -1\.0; expected 0 or more"),
        (lambda: LocalResponseNorm(0), r"LocalResponseNorm: window is 0; expected 1 or more"),
        (lambda: LocalResponseNorm(k=0.0), r"LocalResponseNorm: k is 0\.0 and alpha 0\.0001; expected above 0"),
        (lambda: LocalResponseNorm(alpha=-1.0), r"LocalResponseNorm: k is 1\.0 and alpha -1\.0; expected above 0"),
        (lambda: Gelu("erf"), r"Gelu: approximate is 'erf'; expected 'none' or 'tanh'"),
        (lambda: Clip(1.0, 1.0), r"Clip: minimum is 1\.0; expected less than maximum 1\.0"),
        (lambda: Resize(), r"Resize: expected sizes or scales, or as many of both"),
        (lambda: Resize((2,), (2.0, 2.0)), r"Resize: expected sizes or scales, or as many of both"),
        (lambda: Resize((2,), rounding="up"), r"Resize: rounding is 'up'; expected one of \('round_prefer_ceil'"),
        (lambda: Resize(2), r"Resize: sizes is 2; expected one for each spatial axis"),
        (lambda: Resize(scales=2.0), r"Resize: scales is 2\.0; expected one for each spatial axis"),
        (lambda: Resize((2.0,)), r"Resize: sizes is \(2\.0,\); expected a whole number"),
        (lambda: Resize((2, 0)), r"Resize: sizes is \(2, 0\); expected 1 or more"),
        (lambda: Resize(scales=(2, 0.0)), r"Resize: scales is \(2, 0\.0\); expected more than 0"),
        (lambda: Resize((2,), method="area"), r"Resize: method is 'area'; expected one of \('nearest'"),
        (
            lambda: Resize((2,), coordinates="corners"),
            r"Resize: coordinates is 'corners'; expected one of \('half_pixel'",
        ),
        (lambda: Pad(1), r"Pad: padding is 1; expected one entry per axis of a sample"),
        (lambda: Pad(()), r"Pad: padding is \(\); expected one entry per axis of a sample"),
        (lambda: Pad((0, (1, 2, 3))), r"Pad: padding is \(0, \(1, 2, 3\)\); expected a whole number"),
        (lambda: Pad((0, (1, -1))), r"Pad: padding is \(\(0, 0\), \(1, -1\)\); expected 0 or more"),
        (lambda: Pad((0, 1), "mirror"), r"Pad: mode is 'mirror'; expected one of \('constant'"),
        (lambda: Slice(0, 1), r"Slice: start is 0; expected one entry per axis of a sample"),
        (lambda: Slice((0, 0), (1,)), r"Slice: stop is \(1,\); .*one for each of 2 axes"),
        (lambda: Slice((0, 0), (1, 1), (1, 0)), r"Slice: step is \(1, 0\); expected no 0"),
        (lambda: ConvTranspose(1, (3,), cropping=((-1, 2),)), r"cropping is \(\(-1, 2\),\); expected 0 or more"),
        (lambda: LpPool((2,), p=0.5), r"LpPool: p is 0\.5; expected 1 or more"),
        (lambda: ReduceNorm((0,), 0), r"ReduceNorm: p is 0; expected 1 or more"),
        (lambda: ReduceSum(0), r"ReduceSum: axes is 0; expected one or more axes"),
        (lambda: ReduceSum(()), r"ReduceSum: axes is \(\); expected one or more axes"),
        (
            lambda: Softmax(axes=(-1,)),
            r"Softmax: axes is \(-1,\); expected different axes of a sample",
        ),
        (lambda: LayerNorm(axes=(1, 1)), r"LayerNorm: axes is \(1, 1\); expected different axes"),
        (lambda: Concat(axis=-1), r"Concat: axis is -1; expected 0 \(the channels\) or more"),
        (lambda: Constant((2, 0)), r"Constant: shape is \(2, 0\); expected sizes of 1 or more"),
        (lambda: PRelu(shape=(0, 1)), r"PRelu: shape is \(0, 1\); expected sizes of 1 or more"),
        (lambda: Expand((2, 0)), r"Expand: shape is \(2, 0\); expected sizes of 1 or more"),
        (lambda: Expand(3), r"Expand: shape is 3; expected one entry per axis of a sample"),
        (lambda: DepthToSpace(2), r"DepthToSpace: block is 2; expected sizes"),
        (lambda: SpaceToDepth((2, 0)), r"SpaceToDepth: block is \(2, 0\); expected sizes of 1 or more"),
        (lambda: DepthToSpace((2,), "DCR"), r"DepthToSpace: order is 'DCR'; expected one of \('positions_first'"),
        (lambda: Power(0), r"Power: exponent is 0, so that y is 1 everywhere"),
        (lambda: Elu(width=0), r"Elu: width is 0; expected more than 0"),
        (lambda: Softplus(0.0), r"Softplus: beta is 0\.0; expected more than 0"),
        (lambda: Shrink(-1.0), r"Shrink: threshold is -1\.0; expected 0 or more"),
        (lambda: Reshape(6), r"Reshape: shape is 6; expected one entry per axis of a sample"),
        (lambda: Reshape((2, 0)), r"Reshape: shape is \(2, 0\); expected sizes of 1 or more"),
        (lambda: Reshape((-1, -1)), r"Reshape: shape is \(-1, -1\); .* at most once"),
        (lambda: Transpose((1, 2)), r"Transpose: axes is \(1, 2\); expected each of 0 to 1 once"),
        (lambda: Transpose((0, 0)), r"Transpose: axes is \(0, 0\); expected each of 0 to 1 once"),
    ],
)
def test_impossible_options(make, message):
    with pytest.raises(LayerError, match=message):
        make()


@pytest.mark.parametrize(
    ("op", "shapes", "message"),
    [
        (Conv(1, (3, 3)), [(1, 5)], r"the input \(1, 5\) has 1 spatial axes; the kernel has 2"),
        (Conv(2, (3,), groups=2), [(3, 5)], r"the input has 3 channels; expected a multiple of groups = 2"),
        (Conv(2, (3,)), [(None, 5)], r"the number of channels must be a fixed number here"),
        (ConvTranspose(1, (3,)), [(1, 5, 5)], r"the input \(1, 5, 5\) has 2 spatial axes; the kernel has 1"),
        (ConvTranspose(2, (3,), groups=2), [(3, 5)], r"the input has 3 channels; expected a multiple of groups = 2"),
        (MaxPool((2, 2)), [(1, 5)], r"has 1 spatial axes; the kernel has 2"),
        (AveragePool((2,)), [(1, 5, 5)], r"has 2 spatial axes; the kernel has 1"),
        (GlobalAveragePool(), [(3,)], r"the input \(3,\) has no spatial axis to pool"),
        (GlobalMaxPool(), [(3,)], r"the input \(3,\) has no spatial axis to pool"),
        (Add(), [(1, 5), (1, 6)], r"the inputs \(1, 5\), \(1, 6\) do not fit together"),
        (Add(), [(2, 5), (1, 5)], r"do not fit together"),
        (Add(), [(2,), (2, 5)], r"do not fit together"),
        (Concat(), [(1, 5), (1, 6)], r"the inputs \(1, 5\), \(1, 6\) do not fit together"),
        (Concat(), [(2, 5), (1, 5, 5)], r"do not fit together"),
        (Concat(), [(2,), (1, 5)], r"do not fit together"),
        (Crop(), [(1, 5, 5), (1, 5, 6)], r"cannot crop \(1, 5, 5\) to the larger size \(5, 6\) of the reference"),
        (Crop(), [(1, 5), (1, 5, 5)], r"cannot crop \(1, 5\) to \(1, 5, 5\): the ranks differ"),
        (Dense(1), [(1, None)], r"fully connected layer must be a fixed number here"),
        (Flatten(), [(1, None)], r"fully connected layer must be a fixed number here"),
        (GroupNorm(2), [(3, 5)], r"the input has 3 channels; expected a multiple of groups = 2"),
        (GroupNorm(2), [(None, 5)], r"the number of channels must be a fixed number here"),
        (InstanceNorm(), [(3,)], r"the input \(3,\) has no spatial axis to take statistics over"),
        (Multiply(), [(2, 5), (1, 4)], r"the inputs \(2, 5\), \(1, 4\) do not fit together"),
        (Multiply(), [(2, 5), (2,)], r"the inputs \(2, 5\), \(2,\) do not fit together"),
        (Resize((2,)), [(3, 4, 5)], r"the input \(3, 4, 5\) has 2 spatial axes; Resize has 1"),
        (Softmax(axes=(2,)), [(3, 4)], r"the input \(3, 4\) has 2 axes; Softmax: axes is \(2,\)"),
        (LayerNorm(axes=(2,)), [(3, 4)], r"the input \(3, 4\) has 2 axes; LayerNorm: axes is \(2,\)"),
        (ReduceSum((0, 2)), [(3, 4)], r"the input \(3, 4\) has 2 axes; ReduceSum: axes is \(0, 2\)"),
        (Concat(axis=2), [(3, 4), (3, 4, 5)], r"the input \(3, 4\) has 2 axes; Concat: axis is 2"),
        (Concat(axis=1), [(3, 4), (2, 4)], r"the inputs \(3, 4\), \(2, 4\) do not fit together"),
        (Sum(), [(2, 5), (1, 4)], r"the inputs \(2, 5\), \(1, 4\) do not fit together"),
        (MatMul(), [(2, 5), (4, 2)], r"the inputs \(2, 5\) and \(4, 2\) have no matrix product"),
        (MatMul(), [(3, 2, 5), (2, 5, 2)], r"the inputs \(3, 2, 5\), \(2, 5, 2\) do not fit together"),
        (PRelu(shape=(2, 1)), [(3, 4)], r"the slopes \(2, 1\) do not fit the input \(3, 4\)"),
        (Expand((3, 4)), [(2, 4)], r"the input \(2, 4\) cannot be stretched to \(3, 4\)"),
        (DepthToSpace((2, 2)), [(6, 3, 3)], r"the input has 6 channels; expected a multiple of 4"),
        (DepthToSpace((2,)), [(6, 3, 3)], r"the input \(6, 3, 3\) has 2 spatial axes; the block has 1"),
        (SpaceToDepth((2, 2)), [(6, 4, 3)], r"the input \(6, 4, 3\) does not consist of blocks of \(2, 2\)"),
        (MaxPool((2,), padding=2, dilation=3), [(1, 1)], r"a window of \(2,\) with padding .* would see nothing of"),
        (Pad((0, 1)), [(3, 4, 5)], r"the input \(3, 4, 5\) has 3 axes; Pad: padding has 2"),
        (Pad((0, 4), "reflect"), [(3, 4)], r"the input \(3, 4\) has too few elements to reflect"),
        (Slice((0,), (1,)), [(3, 4)], r"the input \(3, 4\) has 2 axes; Slice: start has 1"),
        (Reshape((4, -1)), [(3, 5)], r"the input \(3, 5\) cannot take the shape \(4, -1\)"),
        (Reshape((3, 4)), [(3, 5)], r"the input \(3, 5\) cannot take the shape \(3, 4\)"),
        (Reshape((5,)), [(3, 5)], r"the input \(3, 5\) cannot take the shape \(5,\)"),
        (Transpose((1, 0)), [(3, 4, 5)], r"the input \(3, 4, 5\) has 3 axes; Transpose: axes has 2"),
    ],
)
def test_inputs_that_do_not_fit(op, shapes, message):
    with pytest.raises(LayerError, match=message):
        op.output_shape(*shapes)


def test_open_sizes():
    assert Multiply().output_shape((3, None, 1), (3, 1, 1), (1, 4, 1)) == (3, 4, 1)
    assert Multiply().output_shape((3, None, 1), (3, 1, None)) == (3, None, None)
    assert Resize(scales=(2, 0.5)).output_shape((3, None, 4)) == (3, None, 2)
    assert Resize((7, 8)).output_shape((3, None, None)) == (3, 7, 8)
    assert Pad((0, (1, 2))).output_shape((3, None)) == (3, None)
    assert Slice((0, -2), (END, END)).output_shape((3, None)) == (3, None)
    assert Reshape((3, -1, 2)).output_shape((6, None)) == (3, None, 2)


def test_a_window_that_fits_nowhere_has_no_output():
    """The graph turns sizes below 1 into an error that names the layer."""
    assert Conv(1, (5,), stride=2).output_shape((1, 2)) == (1, -1)
    assert Window((5,), (1,), (1,), ((0, 0),)).output_space((4,)) == (0,)
