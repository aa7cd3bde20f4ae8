"""The plain definitions on arrays of CuPy: every op, graphs, networks, explanations and training, against NumPy's.

Each test runs on the stand-in, and with the marker `gpu` on CuPy.
"""

import functools
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from cases import CASES, Case
from networks import CLASSES, COLORS, segmenter, street, with_random_parameters
from PIL import Image
from references import Gradients, by_op, peak_error, worst_error

import minicam as mc
from minicam import Network
from minicam.backend import array_module
from minicam.evaluation import evaluate, labelled_frames
from minicam.explanation.methods import METHODS
from minicam.ops import BatchNorm, Conv, CrossEntropy, Dropout, MeanSquaredError, Normalize, Relu, Softmax
from minicam.training import SGD, AdamW, constant, train
from minicam.zoo import digits_regression, initial_parameters, unet, volume_classifier, vowels_classifier
from minicam.zoo.builder import Builder

BOUND = {np.float32: 2e-5, np.float64: 1e-9}
"""The largest deviation, relative to the largest value: that of another order of summation."""
IMAGE = street()
X = np.moveaxis(IMAGE, -1, 0)[None]
LAYERS = ["relu1", "relu2"]

every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
every_type = pytest.mark.parametrize("dtype", BOUND)


def both(make: Callable[..., Network] = segmenter, **options: Any) -> tuple[Network, Network]:
    """The same network on the CPU and on the GPU."""
    cpu, gpu = (make(device=device, precision="exact", **options) for device in ("cpu", "gpu"))
    return cpu, gpu


def same(found: Any, expected: Any, dtype: type = np.float32) -> None:
    """Check that results, both in main memory, agree in type, shape and values."""
    assert type(found) is type(expected)
    assert found.dtype == expected.dtype
    assert peak_error(found, expected) < BOUND[dtype] if found.size else found.shape == expected.shape


def same_on_gpu(gpu, found: dict[str, Any], expected: dict[str, Any], dtype: type = np.float32) -> None:
    """The same of arrays by name that are still on the GPU."""
    assert found.keys() == expected.keys()
    for name, array in found.items():
        assert isinstance(array, gpu.ndarray)
        same(array.get(), expected[name], dtype)


def same_explanation(found: mc.Explanation, expected: mc.Explanation) -> None:
    if expected.labels is not None:
        assert type(found.labels) is np.ndarray
        assert np.array_equal(found.labels, expected.labels)
    for cam, other in zip(found.cams, expected.cams, strict=True):
        for name in ("maps", "raw", "alpha", "activations", "scores", "outside", "positions"):
            same(getattr(cam, name), getattr(other, name))
        assert (cam.gradients is None) == (other.gradients is None)
        if cam.gradients is not None:
            same(cam.gradients, other.gradients)
        assert (cam.targets, cam.notes, cam.titles) == (other.targets, other.notes, other.titles)
        for mark, like in zip(cam.marks, other.marks, strict=True):
            assert type(mark) is type(like)
            assert np.array_equal(mark, like) if isinstance(mark, np.ndarray) else mark == like


# Ops


@every_case
@every_type
def test_an_op_gives_what_it_gives_in_numpy(case: Case, dtype, gpu):
    sample = case.sample().astype(dtype)
    xs, dy = [gpu.asarray(x) for x in sample.xs], gpu.asarray(sample.dy)
    parameters = {name: gpu.asarray(value) for name, value in sample.parameters.items()}
    y = case.op.forward(*xs, **parameters)
    dxs = case.op.backward(dy, y, *xs, **parameters)
    dparameters = case.op.backward_params(dy, y, *xs, **parameters)
    for array in (y, *dxs, *dparameters.values()):
        assert isinstance(array, gpu.ndarray)
        assert array.dtype == dtype
    found = Gradients(y.get(), [dx.get() for dx in dxs], {name: value.get() for name, value in dparameters.items()})
    assert worst_error(found, by_op(case, dtype)) < BOUND[dtype]


@pytest.mark.parametrize("dtype", [np.uint8, np.float16, np.float32, np.float64])
@pytest.mark.parametrize("method", ["bicubic", "bilinear", "nearest"])
def test_resizing(gpu, dtype, method):
    x = np.random.default_rng(0).uniform(0, 255, (9, 14, 3)).astype(dtype)
    for size, options in (((20, 7), {}), ((4, 30), {"edges": "clamp"}), ((5, 5), {"antialias": False})):
        found, expected = (mc.imresize(array, size, method, **options) for array in (gpu.asarray(x), x))
        assert isinstance(found, gpu.ndarray)
        assert found.dtype == dtype
        if dtype == np.uint8:
            assert np.array_equal(found.get(), expected)
        else:
            assert peak_error(found.get(), expected) < max(BOUND.get(dtype, 0), float(np.finfo(dtype).eps))


# Graphs and networks


@every_type
def test_a_graph_goes_forward_and_backward(gpu, dtype):
    net = segmenter(precision="exact")
    keep, seed = ["relu1", "conv2", "softmax"], np.random.default_rng(0).standard_normal((1, 3, 18, 24)).astype(dtype)
    parameters, x = net.parameters(dtype), X.astype(dtype)
    moved = {layer: {k: gpu.asarray(a) for k, a in arrays.items()} for layer, arrays in parameters.items()}
    expected = net.graph.forward(parameters, {"image": x}, keep)
    found = net.graph.forward(moved, {"image": gpu.asarray(x)}, keep)
    same_on_gpu(gpu, found, expected, dtype)
    seeds = {"softmax": gpu.asarray(seed)}
    gradients = net.graph.backward(parameters, expected, {"softmax": seed}, keep[:2])
    same_on_gpu(gpu, net.graph.backward(moved, found, seeds, keep[:2]), gradients, dtype)
    for layer, own in net.graph.backward_params(moved, found, seeds).items():
        same_on_gpu(gpu, own, net.graph.backward_params(parameters, expected, {"softmax": seed})[layer], dtype)


@pytest.mark.parametrize("seed_on_gpu", [False, True])
def test_a_network_takes_inputs_and_seeds_from_both_memories(gpu, seed_on_gpu):
    put = gpu.asarray if seed_on_gpu else np.asarray
    cpu, net = both()
    expected, found = cpu.forward(X, ["relu1", "softmax"]), net.forward(put(X), ["relu1", "softmax"])
    same_on_gpu(gpu, found, expected)
    seed = np.random.default_rng(0).standard_normal((4, 3, 18, 24))
    for method in ("backward", "channel_sums"):
        gradients = getattr(cpu, method)(expected, {"softmax": seed}, ["relu1"])
        same_on_gpu(gpu, getattr(net, method)(found, {"softmax": put(seed)}, ["relu1"]), gradients)
    gradients = cpu.backward_params(expected, {"softmax": seed[:1]})
    for layer, own in net.backward_params(found, {"softmax": put(seed[:1])}).items():
        same_on_gpu(gpu, own, gradients[layer])


def test_a_network_on_the_cpu_takes_arrays_from_the_gpu(gpu):
    cpu, net = both()
    same(cpu.forward(gpu.asarray(X))["softmax"], cpu.forward(X)["softmax"])
    moved = Network(net.graph, net.parameters(), CLASSES, COLORS, device="cpu")
    same(moved.forward(X)["softmax"], cpu.forward(X)["softmax"])


def test_float64_stays_float64(gpu):
    cpu, net = both()
    same_on_gpu(gpu, net.forward(X.astype(np.float64)), cpu.forward(X.astype(np.float64)), np.float64)


def test_what_is_not_finite_is_named(gpu):
    x = X.astype(np.float32)
    x[0, 2, 3, 5:] = np.nan
    with pytest.raises(
        mc.LayerError, match=r"'image' was given 19 NaN or infinite values, the first at \(0, 2, 3, 5\)"
    ):
        segmenter(device="gpu", precision="exact").forward(x)


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (functools.partial(unet, 2, 4, 3, (3, 16, 24)), (3, 16, 24)),
        (digits_regression, (1, 28, 28)),
        (vowels_classifier, (12, 9)),
        (functools.partial(volume_classifier, input_shape=(1, 8, 12, 8)), (1, 8, 12, 8)),
    ],
)
def test_networks_of_the_zoo(gpu, make, shape):
    graph = make()
    parameters = initial_parameters(graph)
    cpu, net = both(functools.partial(Network, graph, parameters))
    x = np.random.default_rng(0).uniform(0, 255, (2, *shape)).astype(np.uint8)
    same_on_gpu(gpu, net.forward(x), cpu.forward(x))
    given = np.moveaxis(x[0], 0, -1) if len(shape) == 3 else x[0]
    same_explanation(mc.explain(net, given, keep_gradients=True), mc.explain(cpu, given, keep_gradients=True))


def test_files_hold_the_same(gpu, tmp_path):
    cpu, net = both()
    for name, network in {"cpu": cpu, "gpu": net}.items():
        mc.save(network, tmp_path / f"{name}.h5")
    assert (tmp_path / "cpu.h5").read_bytes() == (tmp_path / "gpu.h5").read_bytes()
    loaded = mc.load(tmp_path / "gpu.h5", device="auto", precision="exact")
    same_on_gpu(gpu, loaded.forward(X), cpu.forward(X))


# Explanations

MASK = np.zeros(IMAGE.shape[:2], bool)
MASK[3:9, 5:11] = True
TRUTH = np.random.default_rng(1).integers(0, 4, MASK.shape).astype(np.uint8)


def in_the_other(y):
    """A gradient that is where the network is not."""
    return 1.0, np.ones(y.shape) if array_module(y) is not np else sys.modules["cupy"].ones(y.shape)


def where_it_is(y):
    return y[0, 1, 3].sum(), y * 0 + 1


TARGETS = {
    "largest": None,
    "class": "Car",
    "index": np.int64(1),
    "pixel": mc.Pixel(3, 4),
    "pixel of a class": mc.Pixel(3, 4, "Car"),
    "region": mc.Region(MASK, "Road"),
    "predicted": mc.Predicted("Road"),
    "threshold": mc.Predicted("Road", 0.4),
    "component": mc.Component(12, 3),
    "border": mc.Border("Road"),
    "false": mc.Errors("Road", TRUTH),
    "missed": mc.Errors("Road", TRUTH, missed=True),
    "contrast": mc.Contrast("Road", "Car"),
    "contrast in a mask": mc.Contrast("Road", "Car", MASK),
    "function": where_it_is,
    "function from elsewhere": in_the_other,
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_targets_and_methods(gpu, target, method):
    cpu, net = both()
    for options in ({}, {"keep_gradients": True}, {"truncate": True, "alpha": "sum"}):
        found, expected = (mc.explain(n, IMAGE, target, LAYERS, method=method, **options) for n in (net, cpu))
        same_explanation(found, expected)


@pytest.mark.parametrize("upsampling", ["bicubic", "bilinear", "nearest", "none", ("nearest", "bicubic")])
@pytest.mark.parametrize("edges", ["mirror", "clamp"])
def test_upsampling_of_many_targets_together(gpu, upsampling, edges):
    cpu, net = both()
    targets = [target for target in TARGETS.values() if target is not None]
    found, expected = (mc.explain(n, IMAGE, targets, LAYERS, upsampling=upsampling, edges=edges) for n in (net, cpu))
    same_explanation(found, expected)


def test_logits_and_closed_forms(gpu):
    cpu, net = both()
    for options in ({}, {"method": "hirescam"}):
        found, expected = (mc.explain(n, IMAGE, [0, mc.Pixel(2, 3)], ["relu2"], "crop", **options) for n in (net, cpu))
        same_explanation(found, expected)
    same(mc.linear_head(net, "relu2", "crop").get(), mc.linear_head(cpu, "relu2", "crop"))
    same(*(mc.alpha_field(n, IMAGE, 1, "relu1", step=6).alpha for n in (net, cpu)))
    assert mc.why_empty(mc.gradcam(net, IMAGE, 1)) == mc.why_empty(mc.gradcam(cpu, IMAGE, 1))


def test_batches(gpu):
    cpu, net = both()
    images = np.stack([street(seed=seed) for seed in range(5)])
    assert np.array_equal(mc.segment(net, images), mc.segment(cpu, images))
    for found, expected in zip(
        mc.explain(net, images, [0, mc.Pixel(3, 4)], batch=2), mc.explain(cpu, images, [0, mc.Pixel(3, 4)]), strict=True
    ):
        same_explanation(found, expected)


def test_images_and_masks_on_the_gpu(gpu):
    cpu, net = both()
    target = mc.Region(gpu.asarray(MASK), "Road")
    for given in (gpu.asarray(IMAGE), gpu.asarray(IMAGE)[None]):
        assert np.array_equal(mc.segment(net, given), mc.segment(cpu, given.get()))
    same_explanation(mc.explain(net, gpu.asarray(IMAGE), target), mc.explain(cpu, IMAGE, TARGETS["region"]))


def test_evaluation(gpu, tmp_path):
    for part, pixels in {"images": IMAGE, "labels": TRUTH}.items():
        (tmp_path / part).mkdir()
        Image.fromarray(pixels).save(tmp_path / part / "one.png")
    cpu, net = both()
    frames = labelled_frames(tmp_path, 3)
    found, expected = evaluate(net, frames), evaluate(cpu, frames)
    assert np.array_equal(found.confusion, expected.confusion)
    assert found.totals == expected.totals


# Training


def learner(device: str, *, batch_norm: bool = True) -> Network:
    b = Builder("image", (3, 8, 10))
    b.add("data", Normalize())
    b.add("conv1", Conv(6, (3, 3), padding=1))
    if batch_norm:
        b.add("norm", BatchNorm())
    b.add("relu", Relu())
    b.add("dropout", Dropout(0.3))
    b.add("scores", Conv(3, (1, 1)))
    b.add("softmax", Softmax())
    return with_random_parameters(b, CLASSES, device=device, precision="exact")


def labelled(random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    return random.uniform(0, 255, (4, 3, 8, 10)), random.integers(-1, 3, (4, 1, 8, 10))


def measured(random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    return random.uniform(0, 255, (4, 3, 8, 10)), random.normal(size=(4, 3, 8, 10))


def trained(start: Network, steps: int = 4, **options: Any) -> Network:
    settings = {"loss": CrossEntropy((1, 2, 0.5)), "optimizer": SGD(weight_decay=1e-3), "schedule": constant(0.05)}
    settings |= {"scores": "scores", "steps": steps, "progress": False}
    return train(start, options.pop("batch", labelled), **settings | options)


def same_change(found: Network, expected: Network, start: Network) -> None:
    """Check that training did the same to both."""
    for layer, arrays in expected.parameters().items():
        for name, array in arrays.items():
            change, like = (n.parameters()[layer][name] - start.parameters()[layer][name] for n in (found, expected))
            assert peak_error(change, like) < 1e-3, (layer, name)
            assert array.dtype == np.float32


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"optimizer": SGD(nesterov=True)},
        {"optimizer": AdamW(epsilon=1e-3)},
        {"loss": MeanSquaredError(), "batch": measured},
        {"fixed": ["norm", "conv1"]},
    ],
    ids=["SGD", "Nesterov", "AdamW", "regression", "fixed"],
)
def test_training_does_the_same(gpu, options):
    found, expected = trained(learner("gpu"), **options), trained(learner("cpu"), **options)
    assert all(isinstance(a, gpu.ndarray) for arrays in found.parameters().values() for a in arrays.values())
    on_host = Network(found.graph, found.parameters(), device="cpu")
    same_change(on_host, expected, learner("cpu"))


def test_batches_may_be_on_the_gpu(gpu):
    def moved(random):
        return tuple(gpu.asarray(array) for array in labelled(random))

    for device in ("cpu", "gpu"):
        found, expected = trained(learner(device), batch=moved), trained(learner(device))
        for layer, arrays in found.parameters().items():
            for name, array in arrays.items():
                assert (array == expected.parameters()[layer][name]).all()


def test_a_run_goes_on_from_a_checkpoint_on_either_device(gpu, tmp_path):
    file = tmp_path / "run.h5"
    trained(learner("gpu"), 2, checkpoint=file)
    content = file.read_bytes()
    expected = trained(learner("cpu"), 4)
    for device in ("gpu", "cpu"):
        file.write_bytes(content)
        found = trained(learner(device), 4, checkpoint=file)
        same_change(Network(found.graph, found.parameters(), device="cpu"), expected, learner("cpu"))


def test_a_loss_that_is_not_finite_is_found(gpu):
    with pytest.raises(
        mc.MinicamError, match=r"the loss is (nan|inf) at step \d with learning rate 1e\+30; try a lower"
    ):
        trained(learner("gpu", batch_norm=False), schedule=constant(1e30))
