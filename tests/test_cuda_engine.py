"""Whole passes by the kernels equal the plain definitions: every way of a layer, arenas, replays, precisions."""

import numpy as np
import pytest
from networks import thinned
from test_fast import BOUND, DEEPLAB, FEATURES, branches, error, image, normal, options_without_steps, random_parameters

from minicam.cuda.engine import CudaGraph, arithmetic_of
from minicam.errors import DeviceError
from minicam.graph import Values
from minicam.images import read_image
from minicam.network import Network
from minicam.ops import Conv, ConvTranspose, Crop, MaxPool, Relu, Softmax
from minicam.resizing import imresize
from minicam.store import load
from minicam.zoo.builder import Builder

THIN = thinned(DEEPLAB)
"""DeepLab with all its layers and few channels."""
BOUNDS = {"fast": BOUND, "tf32": 3e-3, "fp16": 3e-3}


@pytest.fixture(params=list(BOUNDS))
def precision(request):
    return request.param


def engine_of(module, graph, precision="fast"):
    return CudaGraph(graph, random_parameters(graph), module, precision)


def on(module, values: Values, dtype=np.float32) -> Values:
    """The values on the device."""
    feeds = {name: module.asarray(array, dtype) for name, array in values.feeds.items()}
    return Values({name: module.asarray(array, dtype) for name, array in values.items()}, feeds)


@pytest.mark.parametrize(
    ("space", "samples", "keep"),
    [
        ((16, 16), 2, ["softmax-out"]),
        ((32, 48), 1, ["softmax-out", *FEATURES]),
        (
            (16, 32),
            1,
            ["softmax-out", "data", "res3a", "dec_upsample1", "dec_cat1", "dec_c3", "scorer", "dec_upsample2"],
        ),
        ((16, 16), 1, [node.name for node in THIN.nodes]),
    ],
    ids=["output", "features", "middle", "all"],
)
def test_deeplab_forward(gpu, space, samples, keep, precision):
    x = image(samples, *space)
    engine = engine_of(gpu, THIN, precision)
    exact = THIN.forward(random_parameters(THIN, np.float64), {"image": x.astype(float)}, keep)
    for _ in range(3):  # launched, captured and replayed
        found = engine.forward({"image": gpu.asarray(x)}, keep)
        assert list(found) == list(exact)
        wrong = {name: e for name in keep if not (e := error(found[name].get(), exact[name])) < BOUNDS[precision]}
        assert wrong == {}


@pytest.mark.parametrize(
    ("space", "samples", "targets", "wrt"),
    [
        ((32, 48), 1, 2, FEATURES),
        ((16, 16), 1, 3, ("res5b_relu",)),
        ((16, 16), 2, 2, ("res5b_relu", "dec_c4")),
        ((16, 32), 1, 1, ("res4a_relu", "res2b_relu", "pool1", "dec_cat1", "dec_upsample1", "bn3a_branch1", "scorer")),
        ((16, 16), 1, 1, ("image", "conv1")),
    ],
)
def test_deeplab_backward(gpu, space, samples, targets, wrt):
    """Gradients and their sums, of values that are handed over exact: see the test of the same name in test_fast."""
    engine, parameters = engine_of(gpu, THIN), random_parameters(THIN, np.float64)
    seed = normal(targets, 11, *space)
    keep = {"softmax-out", *wrt, *THIN.reads(["softmax-out"], wrt)} - {"image"}
    exact = THIN.forward(parameters, {"image": image(samples, *space).astype(float)}, keep)
    gradients = THIN.backward(parameters, exact, {"softmax-out": seed.astype(float)}, wrt)
    values, seeds = on(gpu, exact), {"softmax-out": gpu.asarray(seed)}
    for _ in range(2):
        found = engine.backward(values, seeds, wrt)
        wrong = {name: e for name in wrt if not (e := error(found[name].get(), gradients[name])) < BOUND}
        assert wrong == {}
        sums = engine.channel_sums(values, seeds, wrt)
        for name in wrt:
            scale = np.abs(gradients[name]).sum(axis=(2, 3)).max()
            assert np.abs(sums[name].get() - gradients[name].sum(axis=(2, 3))).max() < BOUND * scale


def test_seeds_that_are_the_same_everywhere(gpu):
    engine = engine_of(gpu, THIN)
    values = engine.forward({"image": gpu.asarray(image(1, 16, 16))}, ["softmax-out", "dec_relu4"])
    vectors = gpu.asarray(np.eye(11, dtype=np.float32)[:2, :, None, None])
    seed = gpu.broadcast_to(vectors, (2, 11, 16, 16))
    one = engine.channel_sums(values, {"softmax-out": seed}, ["dec_relu4", "res5b_relu"])
    other = engine.channel_sums(values, {"softmax-out": seed.copy()}, ["dec_relu4", "res5b_relu"])
    for name in one:
        assert error(one[name].get(), other[name].get()) < 1e-5


def test_the_same_bits_from_run_to_run(gpu, precision):
    """Launched one by one, or replayed as a graph; in one order of the threads, or in another."""
    engine, x = engine_of(gpu, THIN, precision), gpu.asarray(image(1, 16, 32))
    seeds = {"softmax-out": gpu.asarray(normal(2, 11, 16, 32))}

    def run():
        values = engine.forward({"image": x}, ["softmax-out", *FEATURES])
        return [array.get() for array in (*values.values(), *engine.channel_sums(values, seeds, FEATURES).values())]

    first = run()
    for _ in range(2):
        for one, other in zip(first, run(), strict=True):
            np.testing.assert_array_equal(one, other)


def test_what_somebody_holds_is_not_written_to(gpu):
    engine = engine_of(gpu, THIN)
    images = [gpu.asarray(image(1, 16, 16) / (i + 1)) for i in range(3)]
    held = [engine.forward({"image": x}, ["dec_relu4"])["dec_relu4"] for x in images]
    views = [array[0, :3] for array in held]
    before, copies = engine.bytes, [array.get() for array in held]
    del held
    engine.forward({"image": images[0]}, ["dec_relu4"])
    for view, copy in zip(views, copies, strict=True):
        np.testing.assert_array_equal(view.get(), copy[0, :3])
    assert engine.bytes > before
    del views, view
    most = engine.bytes
    for x in images:
        engine.forward({"image": x}, ["dec_relu4"])
    assert engine.bytes == most


def test_layers_in_the_middle_may_be_fed(gpu):
    engine, parameters = engine_of(gpu, THIN), random_parameters(THIN, np.float64)
    x = image(1, 16, 32)
    values = THIN.forward(parameters, {"image": x.astype(float)}, ["dec_c3", "data", "catAspp", "dec_relu2"])
    for fed in (("dec_c3", "data"), ("catAspp", "dec_relu2", "data")):
        feeds = {name: values[name] for name in fed}
        exact = THIN.forward(parameters, feeds, ["softmax-out", "dec_bn3"])
        on_device = {name: gpu.asarray(array, np.float32) for name, array in feeds.items()}
        found = engine.forward(on_device, ["softmax-out", "dec_bn3"])
        assert max(error(found[name].get(), exact[name]) for name in exact) < BOUND


def check_graph(module, builder, x, wrt, precision="fast"):
    """Every value and the gradients at `wrt` of a small graph."""
    graph = builder.graph()
    exact_parameters = random_parameters(graph, np.float64)
    engine, source, last = engine_of(module, graph, precision), next(iter(graph.inputs)), graph.outputs[0]
    names = [node.name for node in graph.nodes]
    exact = graph.forward(exact_parameters, {source: x.astype(float)}, names)
    for keep in ([last], names):
        found = engine.forward({source: module.asarray(x)}, keep)
        assert {name: e for name in keep if not (e := error(found[name].get(), exact[name])) < BOUNDS[precision]} == {}
    seed = normal(*exact[last].shape, seed=5)
    gradients = graph.backward(exact_parameters, exact, {last: seed.astype(float)}, wrt)
    values, seeds = on(module, exact), {last: module.asarray(seed)}
    found = engine.backward(values, seeds, wrt)
    assert {name: e for name in wrt if not (e := error(found[name].get(), gradients[name])) < BOUNDS[precision]} == {}
    sums = engine.channel_sums(values, seeds, wrt)
    for name in wrt:
        expected = gradients[name].reshape(*gradients[name].shape[:2], -1)
        scale = np.abs(expected).sum(axis=2).max()
        assert np.abs(sums[name].get() - expected.sum(axis=2)).max() < BOUNDS[precision] * scale


def test_branches_shared_inputs_and_repeated_ones(gpu, precision):
    check_graph(gpu, branches(), normal(2, 4, 9, 8), ["x", "conv1", "relu1", "norm"], precision)


def test_what_has_no_kernel_takes_the_plain_definition(gpu):
    check_graph(gpu, options_without_steps(), normal(2, 3, 5, 6), ["x", "up", "joined", "conv"])


@pytest.mark.parametrize("rank", [1, 3])
def test_other_ranks_take_the_plain_definition(gpu, rank):
    space = (9, 8, 7)[:rank]
    b = Builder("x", (4, *space))
    b.conv_norm(("conv", "norm", "relu"), Conv(6, (3,) * rank, padding=1))
    b.add("grouped", Conv(4, (3,) * rank, groups=2))
    check_graph(gpu, b, normal(2, 4, *space), ["conv", "x"])


def test_a_real_crop_and_a_stride_that_skips_inputs(gpu):
    """Phases that no output looks at, an upsampling cropped at its centre, max pooling backward, ragged sizes."""
    b = Builder("x", (5, 11, 14))
    b.add("conv1", Conv(6, (3, 2), stride=(2, 3), padding=1))
    b.add("relu1", Relu())
    b.add("pool", MaxPool((2, 3), stride=(2, 1), padding=((0, 1), (1, 1))))
    b.add("skips", Conv(7, (1, 1), stride=2))
    b.add("up", ConvTranspose(7, (4, 4), stride=2, cropping=1, groups=7))
    b.add("crop", Crop(), "up", "pool")
    b.add("softmax", Softmax())
    check_graph(gpu, b, normal(2, 5, 11, 14), ["x", "relu1", "pool", "skips", "up"])


@pytest.mark.parametrize(
    ("precision", "capability", "expected"),
    [
        ("fast", 75, ("float32", "float32")),
        ("fast", 86, ("float32", "float32")),
        ("fast", 90, ("3xtf32", "3xtf32")),
        ("tf32", 80, ("tf32", "tf32")),
        ("fp16", 120, ("float16", "tf32")),
    ],
)
def test_the_arithmetic_depends_on_the_device(precision, capability, expected):
    assert arithmetic_of(precision, capability) == expected


def test_a_device_without_the_tensor_cores():
    with pytest.raises(DeviceError, match=r"'tf32' needs a GPU of compute capability 8\.0 or later; this one has 7\.5"):
        arithmetic_of("tf32", 75)


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "bound"), [("fast", 3e-6), ("tf32", 3e-3), ("fp16", 3e-3)])
def test_the_bundled_network(gpu, precision, bound):
    """With all its channels and its weights, in which the errors that docs/gpu.md states were measured."""
    net = load(device="cpu", precision="exact")
    picture = imresize(read_image("examples/street.png"), (64, 96))
    x, wrt = np.moveaxis(picture, -1, 0)[None], list(FEATURES)
    keep = sorted({"softmax-out", *wrt, *net.graph.reads(["softmax-out"], wrt)})
    exact = net.forward(x.astype(float), keep)
    seed = np.zeros((2, 11, 64, 96), np.float32)
    seed[0, 3] = seed[1, 8] = 1
    gradients = net.backward(exact, {"softmax-out": seed}, wrt)
    parameters = net.parameters(np.float32)
    on_gpu = Network(net.graph, parameters, net.classes, net.colors, device="gpu", precision=precision)
    values = on_gpu.forward(x, keep)
    assert {name: e for name in keep if not (e := error(values[name].get(), exact[name])) < bound} == {}
    found = on_gpu.backward(on(gpu, exact), {"softmax-out": seed}, wrt)
    assert {name: e for name in wrt if not (e := error(found[name].get(), gradients[name])) < bound} == {}


def test_memory_of_other_plans_is_taken_before_giving_up(gpu):
    engine = engine_of(gpu, THIN)
    x = gpu.asarray(image(1, 16, 16))
    expected = engine.forward({"image": x}, ["softmax-out"])["softmax-out"].get()
    pool = gpu.get_default_memory_pool()
    others = engine.bytes
    pool.free_all_blocks()
    pool.set_limit(size=pool.used_bytes() + others // 2)
    try:
        found = engine.forward({"image": x}, ["dec_relu4"])  # needs more than what is left, and less than all
        assert found["dec_relu4"].shape == (1, 16, 4, 4)
        assert engine.bytes < 2 * others
    finally:
        pool.set_limit(size=0)
    np.testing.assert_array_equal(engine.forward({"image": x}, ["softmax-out"])["softmax-out"].get(), expected)


def test_a_kernel_that_cannot_be_compiled(gpu, monkeypatch):
    monkeypatch.setattr("minicam.cuda.kernels.source", lambda name: "this is no kernel")
    said = (
        r"the kernel to_channels_last of layout.cu cannot be compiled .*'exact' needs no kernels of ours\. kernels\.cu"
    )
    with pytest.raises(DeviceError, match=said):
        engine_of(gpu, THIN).forward({"image": gpu.asarray(image(1, 16, 16))}, ["softmax-out"])
