"""What is fast equals what is plain: every way of a convolution, every rewriting, whole networks, any thread count."""

import itertools
import tracemalloc

import numpy as np
import pytest
from networks import segmenter

from minicam.errors import MinicamError
from minicam.fast import FastGraph, convolution, products, rewrite, winograd
from minicam.fast.arena import ALIGNMENT, SEGMENT, Arena
from minicam.fast.banded import outer_factors, upsampling_matrix
from minicam.fast.epilogue import Epilogue
from minicam.fast.pooling import largest
from minicam.fast.products import weight_matrices
from minicam.fast.softmax import softmax_adjoint
from minicam.fast.sums import convolution_sums, position_sums
from minicam.fast.threads import Workers, default_threads
from minicam.fast.upsampling import UpsampledConvolution, Upsampling
from minicam.fast.windows2d import Source, Span, channels_first, channels_last
from minicam.graph import Graph
from minicam.ops import (
    Add,
    BatchNorm,
    Concat,
    Conv,
    ConvTranspose,
    Crop,
    Dense,
    Dropout,
    GlobalAveragePool,
    MaxPool,
    Relu,
    Softmax,
)
from minicam.resizing import imresize
from minicam.zoo import bilinear_kernel, deeplabv3plus_resnet18, initial_parameters
from minicam.zoo.builder import Builder

BOUND = 2e-5
"""The largest error, relative to the layer's peak, that the fast mode may make."""
WORKERS = Workers(2)


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype(np.float32)


def error(found: np.ndarray, exact: np.ndarray) -> float:
    assert found.shape == exact.shape
    assert found.dtype == np.float32
    return float(np.abs(found - exact).max() / (np.abs(exact).max() or 1))


CONVOLUTIONS = [
    # kernel, stride, dilation, padding, height, width, channels, filters
    ((1, 1), 1, 1, 0, 7, 9, 5, 4),
    ((1, 1), 2, 1, 0, 7, 9, 5, 4),
    ((3, 3), 1, 1, 1, 37, 41, 6, 5),
    ((3, 3), 1, 1, 1, 1, 1, 3, 2),
    ((3, 3), 1, 1, 0, 8, 11, 6, 5),
    ((3, 3), 1, 1, 5, 6, 3, 4, 5),
    ((3, 3), 1, 1, ((0, 2), (1, 0)), 9, 10, 4, 5),
    ((3, 3), 1, 2, 2, 11, 9, 6, 5),
    ((3, 3), 1, 6, 6, 13, 9, 4, 3),
    ((3, 3), 1, 18, 18, 7, 20, 4, 3),
    ((3, 3), 1, (2, 3), 2, 12, 14, 4, 3),
    ((3, 3), 2, 1, 1, 13, 11, 6, 5),
    ((3, 3), 2, 1, ((0, 1), (0, 1)), 12, 10, 6, 5),
    ((3, 3), (3, 2), 2, 1, 12, 10, 6, 5),
    ((7, 7), 2, 1, 3, 31, 24, 3, 8),
    ((2, 5), 1, 1, (1, 2), 9, 12, 3, 4),
    ((1, 3), 1, 1, (0, 1), 5, 12, 3, 4),
]
WAYS = [
    (case, way)
    for case in CONVOLUTIONS
    for way in ("columns", "taps", "winograd")
    if way != "winograd" or (case[0] == (3, 3) and case[1] == 1 and not isinstance(case[2], tuple))
]


@pytest.mark.parametrize(("case", "way"), WAYS, ids=lambda value: str(value))
def test_convolutions_equal_the_plain_definition(case, way, monkeypatch):
    """Forward from two sources with bias, residual and ReLU, and the input gradient through a mask, for each way."""
    kernel, stride, dilation, padding, height, width, channels, filters = case
    monkeypatch.setattr(convolution, "choose", lambda *shape: way)
    op = Conv(filters, kernel, stride=stride, dilation=dilation, padding=padding)
    x, weight, bias = normal(2, channels, height, width), normal(filters, channels, *kernel), normal(filters)
    y = op.forward(*(a.astype(float) for a in (x,)), weight=weight.astype(float), bias=bias)
    residual, mask = normal(*y.shape, seed=1), normal(1, *y.shape[1:], seed=3)

    out = np.full((2, *y.shape[2:], filters), np.nan, np.float32)
    pixels = channels_last(x)
    sources = [Source(pixels[..., :1]), Source(pixels[..., 1:])]
    window = op._window()
    epilogue = Epilogue(bias, (channels_last(residual),), rectify=True)
    convolution.convolve(sources, weight_matrices(weight), window, out, epilogue, WORKERS)
    assert error(channels_first(out), np.maximum(y + residual, 0)) < BOUND / 4

    few, mixing = normal(2, *y.shape[2:], 2, seed=2), normal(2, filters, seed=4)
    dy = few @ mixing
    exact = op.backward(channels_first(dy) * (mask > 0.0), y, x, weight=weight.astype(float), bias=bias)[0]
    adjoint = weight_matrices(convolution.turned(weight, window))
    for source in (Source(dy, channels_last(mask)), Source(few, channels_last(mask), mixing)):
        dx = np.full((2, height, width, channels), np.nan, np.float32)
        convolution.adjoint(source, adjoint, window, dx, WORKERS)
        assert error(channels_first(dx), exact) < BOUND / 4
        sums = convolution_sums(source.whole(), weight_matrices(weight), window, (height, width))
        np.testing.assert_allclose(sums, exact.sum(axis=(2, 3)), rtol=1e-5, atol=1e-5 * np.abs(exact).sum())


def test_winograd_in_many_blocks(monkeypatch):
    """Blocks smaller than the image, strips of several tiles, and a ragged last one."""
    monkeypatch.setattr(winograd, "BLOCK_TILES", 5)
    monkeypatch.setattr(products, "BLOCK_POSITIONS", 50)
    x, weight = normal(3, 4, 41, 22), normal(6, 4, 3, 3)
    for way, dilation in itertools.product(("winograd", "columns", "taps"), (1, 2)):
        monkeypatch.setattr(convolution, "choose", lambda *shape, way=way: way)
        op = Conv(6, (3, 3), dilation=dilation, padding=dilation)
        out = np.empty((3, 41, 22, 6), np.float32)
        source = [Source(channels_last(x))]
        convolution.convolve(source, weight_matrices(weight), op._window(), out, Epilogue(), WORKERS)
        exact = op.forward(x.astype(float), weight=weight, bias=np.zeros(6))
        assert error(channels_first(out), exact) < BOUND / 4


def test_the_precision_of_winograd():
    """256 channels: the balanced points keep the error near 2e-6 of the peak."""
    x, weight = np.maximum(normal(1, 256, 24, 24), 0), normal(64, 256, 3, 3) / 48
    op = Conv(64, (3, 3), padding=1)
    out = np.empty((1, 24, 24, 64), np.float32)
    winograd.convolve([Source(channels_last(x))], weight_matrices(weight), (1, 1), 1, out, Epilogue(), WORKERS)
    exact = op.forward(x.astype(float), weight=weight.astype(float), bias=np.zeros(64))
    assert error(channels_first(out), exact) < 5e-6


def test_the_way_is_chosen_by_cost():
    same = Conv(1, (3, 3), padding=1)._window()
    assert convolution.choose(same, (180, 240), (180, 240), 256, 256) == "winograd"
    assert convolution.choose(same, (180, 240), (180, 240), 3, 8) == "columns"
    assert convolution.choose(Conv(1, (1, 1))._window(), (45, 60), (45, 60), 1024, 256) == "columns"
    wide = Conv(1, (3, 3), dilation=18, padding=18)._window()
    assert convolution.choose(wide, (45, 60), (45, 60), 512, 256) == "taps"


@pytest.mark.parametrize(
    ("start", "number", "step", "size"), list(itertools.product((-7, -2, 0, 3), (1, 4), (1, 3), (1, 5)))
)
def test_spans(start, number, step, size):
    positions = start + step * np.arange(number)
    where, seen = Span(start, number, step).inside(size)
    inside = (positions >= 0) & (positions < size)
    np.testing.assert_array_equal(positions[where], np.arange(size)[seen])
    np.testing.assert_array_equal(positions[where], positions[inside])


@pytest.mark.parametrize("crop", [(0, 0), (3, 2)])
def test_upsampling_and_convolutions_of_upsampled_channels(crop):
    """Planar upsampling, the convolution done at low resolution, and both adjoints."""
    small, stride = (5, 7), 4
    kernel = bilinear_kernel((8, 8), (4, 4)).astype(np.float32)
    up = ConvTranspose(3, (8, 8), stride=stride, cropping=2, groups=3)
    weight_up, no_bias = np.broadcast_to(kernel, (3, 1, 8, 8)).astype(float), np.zeros(3)
    space = tuple(stride * size - c for size, c in zip(small, crop, strict=True))
    factors = outer_factors(kernel)
    assert factors is not None
    upsampling = Upsampling(
        *(
            upsampling_matrix(taps, stride, 1, 2 + c // 2, (out, size))
            for taps, c, out, size in zip(factors, crop, space, small, strict=True)
        )
    )
    x, reference = normal(2, 3, *small), np.zeros((2, 1, *space))
    large = up.forward(x.astype(float), weight=weight_up, bias=no_bias)
    y = Crop().forward(large, reference)
    assert error(upsampling.forward(x, WORKERS), y) < 1e-6
    dy = normal(2, 3, *space, seed=1)
    back = up.backward(Crop().backward(dy.astype(float), y, large, reference)[0], large, x, weight=weight_up, bias=0)[0]
    assert error(upsampling.adjoint(dy, WORKERS), back) < 1e-6

    conv, weight = Conv(4, (3, 3), padding=1), normal(4, 3, 3, 3)
    z = conv.forward(y, weight=weight.astype(float), bias=np.zeros(4))
    fast = UpsampledConvolution(weight, conv._window(), upsampling)
    out = np.empty((2, *space, 4), np.float32)
    fast.forward(channels_last(x), out, WORKERS)
    assert error(channels_first(out), z) < 1e-6
    dz, mask = normal(*z.shape, seed=2), normal(*z.shape, seed=3)
    dy = conv.backward(dz * (mask > 0), z, y, weight=weight.astype(float), bias=0)[0]
    dx = np.empty((2, *small, 3), np.float32)
    fast.adjoint(Source(channels_last(dz), channels_last(mask)), dx, WORKERS)
    back = up.backward(Crop().backward(dy, y, large, reference)[0], large, x, weight=weight_up, bias=0)[0]
    assert error(channels_first(dx), back) < 1e-6


def test_kernels_that_are_no_outer_product_are_not_separable():
    assert outer_factors(np.eye(3)) is None


@pytest.mark.parametrize(
    "op", [MaxPool((3, 3), stride=2, padding=1), MaxPool((2, 3), stride=(1, 2)), MaxPool((3, 3), dilation=(2, 3))]
)
def test_maximum_pooling(op):
    x = normal(2, 5, 23, 12) - 3
    np.testing.assert_array_equal(channels_first(largest(channels_last(x), op, WORKERS)), op.forward(x))


def test_softmax_adjoint_of_broadcast_seeds():
    x = normal(1, 5, 40, 9)
    y, seed = Softmax().forward(x), np.broadcast_to(np.eye(5, dtype=np.float32)[:2, :, None, None], (2, 5, 40, 9))
    np.testing.assert_allclose(softmax_adjoint(seed, y, WORKERS), Softmax().backward(seed, y, x)[0], atol=1e-7)


def test_position_sums():
    for shape in ((2, 3), (2, 3, 5), (2, 3, 5, 4), (2, 3, 5, 4, 2)):
        x = normal(*shape)
        np.testing.assert_allclose(position_sums(x), x.reshape(2, 3, -1).sum(axis=2), rtol=1e-5)


# Whole networks.

DEEPLAB = deeplabv3plus_resnet18()
FEATURES = ("dec_relu4", "dec_relu1", "catAspp", "res5b_relu")


def random_parameters(graph: Graph, dtype=np.float32):
    """Initial parameters with every offset and variance drawn, so that no part of the folding vanishes."""
    rng = np.random.default_rng(0)
    parameters = initial_parameters(graph)
    for node in graph.nodes:
        for name, array in parameters.get(node.name, {}).items():
            if name in ("bias", "offset", "mean") and not isinstance(node.op, ConvTranspose):
                array += 0.2 * rng.normal(size=array.shape)
            if name in ("scale", "variance"):
                array *= rng.uniform(0.7, 1.4, array.shape)
    if "data" in parameters:
        parameters["data"] = {"mean": np.full(3, 110), "std": np.full(3, 70)}
    if "scorer" in parameters:
        parameters["scorer"]["weight"] *= 0.02  # else a softmax of 0 and 1, whose gradient is nothing but rounding
    return {layer: {name: a.astype(dtype) for name, a in arrays.items()} for layer, arrays in parameters.items()}


@pytest.fixture(scope="module")
def deeplab():
    return FastGraph(DEEPLAB, random_parameters(DEEPLAB), threads=2), random_parameters(DEEPLAB, np.float64)


def image(samples: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (samples, 3, height, width)).astype(np.float32)


@pytest.mark.parametrize("space", [(16, 16), (48, 80)])
@pytest.mark.parametrize("samples", [1, 2])
@pytest.mark.parametrize(
    "keep",
    [
        ["softmax-out"],
        ["softmax-out", *FEATURES],
        ["softmax-out", "bn2a_branch2b", "res3a", "dec_upsample1", "dec_cat1", "dec_c3", "scorer", "dec_upsample2"],
        [node.name for node in DEEPLAB.nodes],
    ],
    ids=["output", "features", "middle", "all"],
)
def test_deeplab_forward(deeplab, space, samples, keep):
    fast, parameters = deeplab
    x = image(samples, *space)
    found = fast.forward({"image": x}, keep)
    exact = DEEPLAB.forward(parameters, {"image": x.astype(float)}, keep)
    assert list(found) == list(exact)
    assert {name: e for name in keep if (e := error(found[name], exact[name])) > BOUND} == {}


@pytest.mark.parametrize(
    ("space", "samples", "targets", "wrt"),
    [
        ((48, 80), 1, 2, FEATURES),
        ((48, 80), 1, 3, ("res5b_relu",)),
        ((48, 80), 2, 2, ("res5b_relu", "dec_c4")),
        ((16, 16), 1, 2, FEATURES),
        ((48, 80), 1, 1, ("res4a_relu", "res2b_relu", "pool1", "dec_cat1", "dec_upsample1", "bn3a_branch1", "scorer")),
    ],
)
def test_deeplab_backward(deeplab, space, samples, targets, wrt):
    """Gradients and their sums. The values that backward reads are handed over exact: a ReLU's input near 0 may take
    either sign in float32, which is no error of the backward pass."""
    fast, parameters = deeplab
    seed = normal(targets, 11, *space)
    keep = {"softmax-out", *wrt, *DEEPLAB.reads(["softmax-out"], wrt)}
    exact = DEEPLAB.forward(parameters, {"image": image(samples, *space).astype(float)}, keep)
    gradients = DEEPLAB.backward(parameters, exact, {"softmax-out": seed.astype(float)}, wrt)
    values = type(exact)(
        {name: value.astype(np.float32) for name, value in exact.items()}, {"image": image(samples, *space)}
    )
    found = fast.backward(values, {"softmax-out": seed}, wrt)
    assert {name: e for name in wrt if (e := error(found[name], gradients[name])) > BOUND} == {}
    sums = fast.channel_sums(values, {"softmax-out": seed}, wrt)
    for name in wrt:
        scale = np.abs(gradients[name]).sum(axis=(2, 3)).max()
        assert np.abs(sums[name] - gradients[name].sum(axis=(2, 3))).max() < BOUND * scale


def test_targets_in_small_batches_have_the_same_sums(deeplab, monkeypatch):
    fast, _ = deeplab
    values = fast.forward({"image": image(1, 32, 48)}, ["softmax-out"])
    seeds = {"softmax-out": normal(3, 11, 32, 48)}
    together = fast.channel_sums(values, seeds, FEATURES)
    monkeypatch.setattr("minicam.fast.network.LARGEST_GRADIENT", 1)
    apart = fast.channel_sums(values, seeds, FEATURES)
    assert max(error(apart[name], together[name]) for name in FEATURES) < BOUND


def test_the_same_bits_from_run_to_run_and_close_ones_for_other_thread_counts(deeplab):
    fast, _ = deeplab
    feeds, keep = {"image": image(1, 48, 80)}, ["softmax-out", *FEATURES]
    first, second = fast.forward(feeds, keep), fast.forward(feeds, keep)
    for name in keep:
        np.testing.assert_array_equal(first[name], second[name])
    alone = FastGraph(DEEPLAB, random_parameters(DEEPLAB), threads=1)
    assert alone.threads == 1
    assert max(error(alone.forward(feeds, keep)[name], first[name]) for name in keep) < BOUND
    seed = {"softmax-out": normal(2, 11, 48, 80)}
    one, other, again = (net.channel_sums(first, seed, FEATURES) for net in (alone, fast, fast))
    assert max(error(one[name], other[name]) for name in FEATURES) < BOUND
    for name in FEATURES:
        np.testing.assert_array_equal(other[name], again[name])


def test_layers_in_the_middle_may_be_fed(deeplab):
    fast, parameters = deeplab
    x = image(1, 48, 80)
    values = fast.forward({"image": x}, ["dec_c3", "data", "catAspp", "dec_relu2"])
    for fed in (("dec_c3", "data"), ("catAspp", "dec_relu2", "data")):
        feeds = {name: values[name] for name in fed}
        found = fast.forward(feeds, ["softmax-out", "dec_bn3"])
        exact = DEEPLAB.forward(parameters, {n: a.astype(float) for n, a in feeds.items()}, ["softmax-out", "dec_bn3"])
        assert max(error(found[name], exact[name]) for name in exact) < BOUND


def check_graph(builder: Builder, x: np.ndarray, wrt: list[str]) -> None:
    """Every value and the gradients at `wrt` of a small graph, fast and plain."""
    graph = builder.graph()
    parameters, exact_parameters = random_parameters(graph), random_parameters(graph, np.float64)
    fast, source, last = FastGraph(graph, parameters, threads=2), next(iter(graph.inputs)), graph.outputs[0]
    names = [node.name for node in graph.nodes]
    exact = graph.forward(exact_parameters, {source: x.astype(float)}, names)
    for keep in ([last], names):
        found = fast.forward({source: x}, keep)
        assert {name: e for name in keep if (e := error(found[name], exact[name])) > BOUND} == {}
    seed = normal(*exact[last].shape, seed=5)
    gradients = graph.backward(exact_parameters, exact, {last: seed.astype(float)}, wrt)
    found = fast.backward(found, {last: seed}, wrt)
    assert {name: e for name in wrt if (e := error(found[name], gradients[name])) > BOUND} == {}


def test_rank_1_and_3_and_groups_take_the_plain_definition():
    for rank in (1, 3):
        space = (9, 8, 7)[:rank]
        b = Builder("x", (4, *space))
        b.conv_norm(("conv", "norm", "relu"), Conv(6, (3,) * rank, padding=1))
        b.add("grouped", Conv(4, (3,) * rank, groups=2))
        check_graph(b, normal(2, 4, *space), ["conv", "x"])
    b = Builder("x", (4, 9, 8))
    b.conv_norm(("conv", "norm", "relu"), Conv(8, (3, 3), groups=4, padding=1))
    check_graph(b, normal(2, 4, 9, 8), ["conv", "x"])


def branches() -> Builder:
    """Two readers, a layer added to itself, one concatenated twice, two ReLUs in a row, norms before a ReLU's mask."""
    b = Builder("x", (4, 9, 8))
    first = b.add("conv1", Conv(4, (3, 3), padding=1))
    relu = b.add("relu1", Relu())
    b.add("relu1b", Relu())
    b.add("sum", Add(), relu, relu)
    b.add("norm", BatchNorm())
    b.add("relu2", Relu())
    b.add("conv2", Conv(4, (3, 3), padding=1))
    b.add("three", Add(), "conv2", first, relu)
    b.add("relu3", Relu())
    b.add("joined", Concat(), "relu3", "relu3", "relu1b")
    b.add("conv3", Conv(5, (1, 1)))
    b.add("drop", Dropout())
    b.add("norm3", BatchNorm())
    b.add("norm4", BatchNorm())
    b.add("pool", GlobalAveragePool())
    b.add("fc", Dense(3))
    b.add("softmax", Softmax())
    return b


def test_branches_shared_inputs_and_repeated_ones():
    check_graph(branches(), normal(2, 4, 9, 8), ["x", "conv1", "relu1", "norm"])


def options_without_steps() -> Builder:
    """Concatenation and softmax along other axes, and an upsampling that reaches further than its inputs."""
    b = Builder("x", (3, 5, 6))
    b.add("up", ConvTranspose(3, (4, 4), stride=2, cropping=((1, -1), (1, 0)), groups=3))
    b.add("joined", Concat(axis=2), "up", "up")
    b.add("conv", Conv(4, (3, 3), padding=1))
    b.add("pool", MaxPool((2, 2), dilation=3))
    b.add("softmax", Softmax(axes=(1, 2)))
    return b


def test_options_that_the_fast_steps_do_not_have_take_the_plain_definition():
    check_graph(options_without_steps(), normal(2, 3, 5, 6), ["x", "up", "joined", "conv"])


@pytest.mark.parametrize("stride", [2, 4])
def test_upsampling_with_a_bias_and_between_readers(stride):
    """A biased upsampling before a convolution cannot be done at low resolution: padding is zero, not the bias."""
    b = Builder("x", (3, 5, 6))
    size = 2 * stride
    up = ConvTranspose(3, (size, size), stride=stride, cropping=stride // 2, groups=3)
    b.add("up", up)
    b.add("conv", Conv(4, (3, 3), padding=1))
    b.add("up2", ConvTranspose(4, (2, 2), stride=2, groups=4))
    b.add("crop", Crop(), "up2", "up")
    b.add("softmax", Softmax())
    check_graph(b, normal(2, 3, 5, 6), ["x", "up", "conv"])
    graph = b.graph()
    parameters = random_parameters(graph)
    parameters["up"]["bias"] += 1
    fast, feeds = FastGraph(graph, parameters, threads=2), {"x": normal(1, 3, 5, 6)}
    exact = graph.forward(parameters, feeds, ["softmax"])
    assert error(fast.forward(feeds, ["softmax"])["softmax"], exact["softmax"]) < BOUND


def steps_of(keep: list[str]) -> dict[str, rewrite.AnyStep]:
    nodes = DEEPLAB.needed(keep, {"image": None})
    return {step.name: step for step in rewrite.steps(nodes, {*keep, "image"}, random_parameters(DEEPLAB))}


def test_what_is_taken_in_and_what_is_not():
    plan = steps_of(["softmax-out"])
    assert "dec_c3" not in plan
    third = plan["dec_relu3"]
    assert isinstance(third, rewrite.ConvolutionStep)
    assert third.reads == ("dec_relu2", "dec_relu1")  # the upsampled part is read small
    assert not {"dec_upsample1", "dec_crop1", "dec_cat1", "dec_upsample2", "res2a", "bn5a_branch2b"} & set(plan)
    assert plan["res3a_relu"].reads == ("res3a_branch2a_relu", "bn3a_branch1")
    kept = steps_of(["softmax-out", "dec_bn3", "dec_crop1", "res3a", "dec_upsample2"])
    assert {"dec_bn3", "dec_relu3", "dec_crop1", "res3a", "res3a_relu", "dec_upsample2"} <= set(kept)
    assert kept["dec_bn3"].reads == ("dec_relu2", "dec_crop1")


def test_nothing_is_kept_that_nobody_reads():
    """A pass that kept all layers would need more than ten times the largest one."""
    fast = FastGraph(DEEPLAB, random_parameters(DEEPLAB), threads=1)
    x, largest_layer = image(1, 160, 240), 4 * 256 * 40 * 60
    fast.forward({"image": x}, ["scorer"])  # fills the scratch memory
    tracemalloc.start()
    values = fast.forward({"image": x}, ["scorer"])
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < values["scorer"].nbytes + 1e5
    assert peak < 4 * largest_layer


def test_results_for_maps_and_labels(deeplab):
    fast, _ = deeplab
    x = normal(2, 45, 60)
    assert error(fast.resize(x, (90, 133)), imresize(x, (90, 133), axes=(1, 2))) < 1e-6
    scores = np.round(normal(11, 70, 20))  # many equal ones
    np.testing.assert_array_equal(fast.labels(scores[None]), [scores.argmax(axis=0)])


def test_the_number_of_threads(monkeypatch):
    monkeypatch.setenv("MINICAM_THREADS", "3")
    assert default_threads() == 3
    for wrong in ("0", "two", "-1"):
        monkeypatch.setenv("MINICAM_THREADS", wrong)
        with pytest.raises(MinicamError, match="MINICAM_THREADS"):
            default_threads()
    monkeypatch.delenv("MINICAM_THREADS")
    assert default_threads() >= 1
    with pytest.raises(MinicamError, match="threads is 0"):
        Workers(0)


def test_an_error_in_a_block_is_raised():
    def work(block: int) -> None:
        if block == 3:
            raise ValueError("block 3")

    with pytest.raises(ValueError, match="block 3"):
        WORKERS.run(work, range(6))


def test_passes_asked_for_by_several_threads(deeplab):
    """Also by the workers themselves, all of which are then busy."""
    fast, _ = deeplab
    feeds = [{"image": image(1, 48, 80) + k} for k in range(4)]
    alone = [fast.forward(feed, ["softmax-out"])["softmax-out"] for feed in feeds]
    together: dict[int, np.ndarray] = {}
    fast.each(lambda k: together.update({k: fast.forward(feeds[k], ["softmax-out"])["softmax-out"]}), range(4))
    for k in range(4):
        np.testing.assert_array_equal(together[k], alone[k])


def test_without_a_blas_that_can_be_held_to_one_thread_there_is_one_worker(monkeypatch):
    monkeypatch.setattr("minicam.fast.threads._blas", lambda: None)
    assert Workers(4).threads == 1
    Workers(4).run(lambda block: None, range(3))


def test_an_arena_writes_the_next_array_where_a_lost_one_lay() -> None:
    arena = Arena()
    first, second = arena.empty(1000, 1000), arena.empty(10)
    first[:], second[:] = 1, 2
    place, view = first.ctypes.data, first[5:7]
    del first
    assert arena.empty(1000, 1000).ctypes.data != place, "a view of the first is still there"
    del view
    third = arena.empty(500, 2000)
    third[:] = 3
    assert third.ctypes.data == place
    assert (second == 2).all()
    assert second.ctypes.data % ALIGNMENT == 0


def test_arrays_of_an_arena_never_overlap() -> None:
    random, arena = np.random.default_rng(0), Arena()
    held: list[tuple[int, np.ndarray]] = []
    for value in range(400):
        shape = random.integers(0, 2000, 2).tolist()
        array = arena.empty(*shape)
        assert array.shape == tuple(shape)
        assert array.dtype == np.float32
        array[:] = value
        held.append((value, array))
        del array
        if len(held) > 8:
            held.pop(random.integers(len(held)))
        assert all((other == number).all() for number, other in held)
    most = arena.size
    assert most < 8 * SEGMENT
    held.clear()
    arena.trim()  # they were used since the last call
    assert arena.size == most
    arena.trim()
    assert arena.size == 0


def test_what_a_pass_returned_is_not_overwritten_by_the_next() -> None:
    net, random = segmenter(), np.random.default_rng(0)
    first, second = random.uniform(0, 255, (2, 1, *net.input_shape)).astype(np.float32)
    values = net.forward(first, net.layers)
    before = {name: array.copy() for name, array in values.items()}
    net.forward(second, net.layers)
    for name, array in values.items():
        np.testing.assert_array_equal(array, before[name])
