"""`explain` and `segment` on the GPU by the kernels equal the CPU's: all at once or in parts, alone or in batches."""

import numpy as np
import pytest
from networks import thinned
from test_fast import random_parameters

import minicam as mc
from minicam import Network
from minicam.errors import DeviceMemoryError, LayerError
from minicam.explanation import pipeline
from minicam.zoo import deeplabv3plus_resnet18, resnet18

GRAPH = thinned(deeplabv3plus_resnet18(input_shape=(3, 32, 48)))
LAYERS = ["dec_relu4", "catAspp", "res5b_relu", "res2b_relu"]
NAMES = tuple(f"class {i}" for i in range(11))
TARGETS = ["class 3", 8, mc.Contrast("class 1", 2)]
BOUNDS = {"exact": 1e-5, "fast": 2e-5, "tf32": 0.1, "fp16": 0.1}
"""Of the peak, from the image to the maps. With 10 bits a ReLU's input near 0 may change sign, which counts much in a
network of few channels; layer by layer see test_cuda_engine."""


def network(device: str, precision: str = "fast") -> Network:
    return Network(GRAPH, random_parameters(GRAPH), NAMES, device=device, precision=precision)


def picture(height: int = 32, width: int = 48, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def check_alike(found: mc.Explanation, expected: mc.Explanation, bound: float = 2e-5) -> None:
    assert (found.labels != expected.labels).mean() < bound**0.5
    for one, other in zip(found.cams, expected.cams, strict=True):
        assert (one.titles, one.notes) == (other.titles, other.notes)
        for name in ("maps", "raw", "alpha", "activations", "scores", "positions", "outside"):
            a, b = getattr(one, name), getattr(other, name)
            assert isinstance(a, np.ndarray)
            assert (a.shape, a.dtype) == (b.shape, b.dtype)
            assert np.abs(a - b).max() <= bound * (np.abs(b).max() or 1), name


@pytest.mark.parametrize("precision", list(BOUNDS))
def test_everything_at_once_equals_the_cpu(gpu, precision):
    """Three images in turn, so that the third is a replay; then other classes by the same plan."""
    cpu, net = network("cpu"), network("gpu", precision)
    for seed in range(3):
        image = picture(seed=seed)
        check_alike(mc.explain(net, image, TARGETS, LAYERS), mc.explain(cpu, image, TARGETS, LAYERS), BOUNDS[precision])
    others = [5, 6, 7]
    check_alike(mc.explain(net, image, others, LAYERS), mc.explain(cpu, image, others, LAYERS), BOUNDS[precision])


@pytest.fixture
def both():
    return network("cpu"), network("gpu")


@pytest.mark.parametrize(
    ("targets", "options"),
    [
        (TARGETS, {"alpha": "sum", "upsampling": "bilinear"}),
        (TARGETS, {"upsampling": "none"}),
        (TARGETS, {"edges": "clamp"}),
        (TARGETS, {"reduction_layer": "scorer"}),
        (TARGETS, {"method": "hirescam"}),
        (None, {}),
        ([mc.Pixel(10, 20), 3, mc.Predicted(4), mc.Border(8), mc.Region(np.eye(32, 48, dtype=bool), 2)], {}),
    ],
)
def test_in_parts_where_the_plan_does_not_reach(gpu, both, targets, options):
    cpu, net = both
    layers = ["dec_relu4", "res5b_relu"]
    found, expected = (mc.explain(one, picture(), targets, layers, **options) for one in (net, cpu))
    check_alike(found, expected)


def test_at_once_and_in_parts_are_the_same(gpu, both, monkeypatch):
    net = both[1]
    at_once = mc.explain(net, picture(), TARGETS, LAYERS)
    monkeypatch.setattr(pipeline, "over_all_positions", lambda targets, scores: None)
    check_alike(at_once, mc.explain(net, picture(), TARGETS, LAYERS), 2e-6)


def test_images_of_another_size(gpu, both):
    cpu, net = both
    check_alike(mc.explain(net, picture(45, 50), TARGETS, LAYERS), mc.explain(cpu, picture(45, 50), TARGETS, LAYERS))


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_batches(gpu, both, batch):
    cpu, net = both
    images = np.stack([picture(seed=seed) for seed in range(3)])
    expected = mc.explain(cpu, images, TARGETS, LAYERS)
    for found in (mc.explain(net, images, TARGETS, LAYERS, batch=batch), mc.explain_all(net, images, TARGETS, LAYERS)):
        for one, other in zip(found, expected, strict=True):
            check_alike(one, other)
    np.testing.assert_array_equal(mc.segment(net, images, batch=batch), [one.labels for one in expected])


def test_a_classifier_has_no_labels_and_goes_in_parts(gpu):
    graph = thinned(resnet18(5, (3, 64, 64)))
    cpu, net = (Network(graph, random_parameters(graph), device=device) for device in ("cpu", "gpu"))
    found, expected = (mc.gradcam(one, picture(64, 64), [1, 2]) for one in (net, cpu))
    assert found.feature_layer == "res5b_relu"
    np.testing.assert_allclose(found.raw, expected.raw, atol=2e-5 * np.abs(expected.raw).max())


def test_what_computed_a_result_is_recorded(gpu, both):
    cpu, net = both
    assert mc.gradcam(cpu, picture(), 1).device == "cpu"
    name = gpu.cuda.runtime.getDeviceProperties(0)["name"].decode()
    assert mc.gradcam(net, picture(), 1).device == f"gpu ({name}, fast)"


def test_results_stay_when_other_images_follow(gpu, both):
    """Also what has not been looked at yet, and lies on the device."""
    cpu, net = both
    found = [mc.explain(net, picture(seed=seed), TARGETS, LAYERS) for seed in range(3)]
    for seed, one in enumerate(found):
        check_alike(one, mc.explain(cpu, picture(seed=seed), TARGETS, LAYERS))


def test_out_of_memory(gpu, both):
    cpu, net = both
    expected = mc.explain(cpu, picture(), TARGETS, LAYERS)
    check_alike(mc.explain(net, picture(), TARGETS, LAYERS), expected)
    pool = gpu.get_default_memory_pool()
    pool.set_limit(size=pool.used_bytes())
    try:
        with pytest.raises(DeviceMemoryError, match="the GPU has not enough memory: Out of memory allocating"):
            net.forward(np.zeros((4, 3, 320, 480)))
        pool.set_limit(size=0)
        check_alike(mc.explain(net, picture(), TARGETS, LAYERS), expected)  # it goes on as if nothing had been
    finally:
        pool.set_limit(size=0)


def test_errors_name_the_layer_before_anything_runs(gpu, both):
    with pytest.raises(LayerError, match="there is no layer 'dec_relu5'"):
        mc.explain(both[1], picture(), TARGETS, ["dec_relu5"])
    with pytest.raises(LayerError, match="'image' was given an array of shape"):
        both[1].forward(np.zeros((1, 4, 32, 48), np.uint8))


def test_a_file_is_verified_on_the_gpu(gpu):
    """A network of other ops than the street's; what its file holds was computed by the plain definitions."""
    report = mc.verify("weights/digits.h5", device="gpu")
    assert report.device == Network(GRAPH, random_parameters(GRAPH), device="gpu").device_name
    assert 0 < report.check < 1e-5


def test_progress_is_shown_and_many_targets_go_in_parts(gpu, both, monkeypatch):
    cpu, net = both
    shown = []
    layers = ["dec_relu4", "res5b_relu"]
    expected = mc.explain(cpu, picture(), TARGETS, layers)
    check_alike(mc.explain(net, picture(), TARGETS, layers, progress=lambda plan: shown.append(plan) or plan), expected)
    assert len(shown) == 1
    monkeypatch.setattr("minicam.explanation.at_once.MOST_TARGETS", 2)
    monkeypatch.setattr(net, "explained", None)
    check_alike(mc.explain(net, picture(), TARGETS, layers), expected)
