"""minicam bench: the translations compute what minicam computes, and the report says what was found. No time is
asserted."""

import json
from importlib.util import find_spec
from types import SimpleNamespace

import numpy as np
import pytest
from networks import with_random_parameters

import minicam as mc
from minicam import bench
from minicam.bench import contest, sizes
from minicam.bench.agreement import compare
from minicam.bench.contestant import REGISTRY, Contestant, contestant_class
from minicam.bench.layers import fused_group, layer_times
from minicam.bench.processes import Process, Setting, WorkerError
from minicam.bench.report import ratios
from minicam.bench.task import FEATURE_LAYERS, Answer, batch, resize_matrices, space_of, street
from minicam.bench.translation import TranslationError, folded
from minicam.bench.with_minicam import Minicam
from minicam.ops import Add, Concat, Conv, ConvTranspose, Crop, Dropout, MaxPool, Normalize, Relu, Sigmoid, Softmax
from minicam.zoo.builder import PAD_BOTTOM_RIGHT, Builder

SPACE = (48, 64)


def little_deeplab(classes=("Sky", "Road", "Car"), space=SPACE):
    """Every op and geometry of the bundled network, its layers' names, and a thousandth of its size."""
    b = Builder("image", (3, *space))
    b.add("data", Normalize())
    b.conv_norm(("conv1", "bn1", "relu1"), Conv(8, (7, 7), stride=2, padding=3))
    skip = b.add("pool1", MaxPool((3, 3), stride=2, padding=1))
    short = b.conv_norm(("branch1", "bn_branch1"), Conv(12, (1, 1), stride=2))
    b.conv_norm(("branch2a", "bn_2a", "relu2a"), Conv(12, (3, 3), stride=2, padding=PAD_BOTTOM_RIGHT), skip)
    long = b.conv_norm(("branch2b", "bn_2b"), Conv(12, (3, 3), padding=2, dilation=2))
    b.add("res5b", Add(), long, short)
    source = b.add("res5b_relu", Relu())
    for i, rate in enumerate((1, 3), start=1):
        conv = Conv(6, (3, 3), dilation=rate, padding=rate)
        b.conv_norm((f"aspp{i}", f"aspp_bn{i}", f"aspp_relu{i}"), conv, source)
    b.add("catAspp", Concat(), "aspp_relu1", "aspp_relu2")
    b.add("dropout", Dropout())
    b.conv_norm(("dec_c1", "dec_bn1", "dec_relu1"), Conv(8, (1, 1)))
    up = b.add("up1", ConvTranspose(8, (4, 4), stride=2, cropping=1, groups=8))
    b.add("dec_cat1", Concat(), skip, b.add("crop1", Crop(), up, skip))
    b.conv_norm(("dec_c4", "dec_bn4", "dec_relu4"), Conv(8, (3, 3), padding=1, groups=2))
    b.add("scorer", Conv(len(classes), (1, 1)))
    b.add("up2", ConvTranspose(len(classes), (8, 8), stride=4, cropping=2, groups=len(classes)))
    b.add("crop2", Crop(), "up2", "data")
    b.add("softmax-out", Softmax())
    return with_random_parameters(b, classes)


@pytest.fixture(scope="module")
def network():
    return little_deeplab()


@pytest.fixture(scope="module")
def image():
    return batch(street(SPACE))


@pytest.fixture(scope="module")
def reference(network, image):
    """minicam's answer, and its maps before upsampling."""
    own = Minicam()
    own.prepare(network, image)
    explained = own.explained()
    return Answer(own.forward(), explained.labels, own.answer(explained).maps), [cam.raw for cam in explained.cams]


@pytest.fixture
def weights(network, tmp_path):
    mc.save(network, tmp_path / "net.h5")
    return str(tmp_path / "net.h5")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(contest, "PAUSE", 0)


def contestant(name):
    """The contestant of that name, where its packages are installed and work."""
    made = contestant_class(REGISTRY[name])()
    if not made.available():
        pytest.skip(f"needs {', '.join(made.missing())}")
    try:
        made.load(2)
    except (ImportError, RuntimeError) as error:
        pytest.skip(str(error))
    return made


@pytest.mark.filterwarnings("ignore")  # what other packages warn of is theirs
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] if name == "PyTorch, compiled" else [])
        for name in REGISTRY
        if name != "minicam"
    ],
)
def test_contestants_compute_what_minicam_computes(name, network, image, reference):
    rival = contestant(name)
    rival.prepare(network, image)
    rival.compile()
    answer, raw = reference
    found = Answer()
    if "job" in rival.kinds:
        found = rival.job()
        assert found.labels.dtype == np.uint8
        assert found.maps.shape == (4, 2, *SPACE)
    found = Answer(rival.forward() if "forward" in rival.kinds else None, found.labels, found.maps)
    expected = rival.expected(answer, raw)
    for layer, maps in zip(FEATURE_LAYERS, expected.maps, strict=True):
        assert (maps.max(axis=(1, 2)) > 0).any(), layer  # there is something to compare
    agreement = compare(expected, found)
    assert agreement["agrees"], agreement
    assert agreement["difference"] < 1e-4


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["PyTorch", "ONNX Runtime", "JAX"])
def test_what_has_no_translation_is_named(name, image):
    b = Builder("image", (3, *SPACE))
    b.add("sigmoid", Sigmoid())
    for layer in FEATURE_LAYERS:
        b.add(layer, Relu())
    with pytest.raises(TranslationError, match=r"'sigmoid'.*no translation of Sigmoid into"):
        run_all(contestant(name), with_random_parameters(b, ("Sky", "Road", "Car")), image)


def run_all(rival, network, image):
    rival.prepare(network, image)
    rival.compile()
    rival.forward()


def test_folding_changes_no_layer_that_is_kept(network, image):
    keep = ["softmax-out", "bn_2b", "aspp1", "dec_relu4"]
    plain, other = network.forward(image, keep), folded(network, keep)
    found = other.forward(image, keep)
    assert {"conv1", "dec_c4", "dropout"}.isdisjoint(other.layers)
    assert {"aspp1", "aspp_bn1"} <= set(other.layers)
    for name in keep:
        np.testing.assert_allclose(found[name], plain[name], rtol=1e-4, atol=1e-4 * abs(plain[name]).max())


def test_resize_matrices_are_minicams_bicubic():
    x = np.random.default_rng(0).standard_normal((5, 7)).astype(np.float32)
    rows, columns = resize_matrices((5, 7), (20, 21))
    np.testing.assert_allclose(rows @ x @ columns.T, mc.imresize(x, (20, 21)), atol=1e-5)


def test_agreement():
    maps = np.random.default_rng(0).random((1, 2, 4, 5))
    right = Answer(None, np.zeros((4, 5), np.uint8), maps)
    assert compare(right, right) == {"labels_equal": 1.0, "difference": 0.0, "agrees": True}
    assert not compare(right, Answer(None, right.labels, maps + 0.002))["agrees"]
    assert not compare(right, Answer(None, right.labels + np.eye(4, 5, dtype=np.uint8), maps))["agrees"]
    assert not compare(right, Answer(None, right.labels, maps * np.nan))["agrees"]
    assert not compare(right, Answer(None, right.labels, maps[..., 1:]))["agrees"]
    with pytest.raises(ValueError, match="nothing to compare"):
        compare(right, Answer())


def test_the_work_is_counted():
    b = Builder("image", (3, 8, 8))
    b.add("conv", Conv(4, (3, 3), padding=1))
    b.add("up", ConvTranspose(4, (4, 4), stride=2, cropping=1, groups=4))
    graph = b.graph()
    assert bench.multiplications(graph) == 64 * 4 * 27 + 64 * 4 * 16
    assert bench.multiplications(graph, (16, 8)) == 2 * bench.multiplications(graph)


def test_layers_are_timed_with_what_can_be_fused_into_them(network, image):
    def names(layer):
        return [node.name for node in fused_group(network.graph, layer)]

    assert names("conv1") == ["conv1", "bn1", "relu1"]
    assert names("branch2b") == ["branch2b", "bn_2b", "res5b", "res5b_relu"]
    assert names("branch1") == ["branch1", "bn_branch1"]
    assert names("up2") == ["up2"]
    found = {each["layer"]: each for each in layer_times(network, image, 1)}
    assert list(found) == [n.name for n in network.graph.nodes if isinstance(n.op, Conv | ConvTranspose)]
    assert found["conv1"]["to"] == "relu1"
    assert found["conv1"]["gflop"] == pytest.approx(2 * 24 * 32 * 8 * 3 * 49 / 1e9)
    assert all(each["seconds"] > 0 and each["gflops"] > 0 for each in found.values())


def test_the_picture_has_the_size_that_the_network_takes(network):
    assert space_of(network) == SPACE
    assert space_of(SimpleNamespace(input_shape=(3, None, None))) == (720, 960)
    assert street((30, 40)).shape == (30, 40, 3)


def test_the_report(weights, monkeypatch):
    monkeypatch.setattr(sizes, "CURVE", ((SPACE, 1), ((24, 32), 2), ((50, 64), 1)))
    told = []
    report = bench.run(weights, "cpu", 1, threads=1, rivals=[], layers=True, sizes=True, tell=told.append)
    assert json.loads(json.dumps(report)) == report
    assert (report["threads"], report["space"], report["repeat"]) == (1, list(SPACE), 1)
    own = report["contestants"]["minicam"]
    assert own["status"] == "timed"
    assert set(own["seconds"]) == set(report["over_floor"]) == {"forward", "job"}
    assert {kind: len(runs) for kind, runs in own["runs"].items()} == {"forward": 1, "job": 1}
    assert 0 < own["peak_resident_gb"] < 2
    assert own["start_to_first"] <= sum(own["stages"].values())
    assert report["floor_seconds"] > 0
    assert report["ratios"] == {"forward": {}, "job": {}, "start_to_first": {}, "peak_resident_gb": {}}
    assert [each["layer"] for each in report["layers"]][:2] == ["conv1", "branch1"]
    sizes_found = [(each["space"], each["samples"], "seconds" in each) for each in report["sizes"]]
    assert sizes_found == [([48, 64], 1, True), ([24, 32], 2, True), ([50, 64], 1, False)]
    assert told == ["minicam: start", "run 1 of 1", "sizes"]
    text = bench.table(report)
    for part in (
        "minicam",
        "conv1 ... relu1",
        "2 x 24 x 32",
        "1 x 50 x 64",
        "do not fit",
        "GFLOP/s",
        "in units of the floor: ",
    ):
        assert part in text
    assert max(map(len, text.splitlines())) <= 120


class Wrong(Minicam):
    """A contestant that computes something else."""

    packages = ("numpy",)

    def answer(self, explained):
        right = super().answer(explained)
        return Answer(labels=right.labels, maps=right.maps + 1)


class Broken(Contestant):
    """A contestant that cannot do it."""

    def prepare(self, network, image):
        raise RuntimeError("no such kernel")


class Missing(Contestant):
    packages = ("numpy", "no_such_package_at_all")


def test_who_is_missing_broken_or_wrong_is_not_timed(weights, monkeypatch, request):
    place = f"{request.path.stem}"
    monkeypatch.setenv("PYTHONPATH", str(request.path.parent))
    for name in ("Wrong", "Broken", "Missing"):
        monkeypatch.setitem(REGISTRY, name, f"{place}:{name}")
    report = bench.run(weights, "cpu", 1, threads=1, rivals=["Missing", "Broken", "Wrong"])
    found = report["contestants"]
    assert list(found) == ["minicam", "Wrong", "Broken", "Missing"]
    assert found["Missing"] == {"status": "not installed", "note": "no_such_package_at_all"}
    assert found["Broken"] == {"status": "failed", "note": "RuntimeError: no such kernel"}
    assert found["Wrong"]["status"] == "disagrees"
    assert found["Wrong"]["labels_equal"] == 1
    assert found["Wrong"]["difference"] > 0.1
    text = bench.table(report)
    assert "Missing was not timed: not installed (no_such_package_at_all)" in text
    assert "Broken was not timed: failed (RuntimeError: no such kernel)" in text
    assert "Wrong was not timed: 100.00 % of the labels equal minicam's, and the largest difference is" in text


@pytest.mark.skipif(find_spec("onnxruntime") is None or find_spec("onnx") is None, reason="needs ONNX Runtime")
def test_a_rival_is_timed_in_its_own_process(weights):
    report = bench.run(weights, "cpu", 2, threads=1, rivals=["ONNX Runtime"])
    rival = report["contestants"]["ONNX Runtime"]
    assert rival["status"] == "timed"
    assert list(rival["seconds"]) == ["forward"]
    assert len(rival["runs"]["forward"]) == 2
    assert rival["labels_equal"] > 0.999
    assert set(report["ratios"]["forward"]) == {"ONNX Runtime"}
    assert "ONNX Runtime" in bench.table(report)


def test_a_process_that_dies_says_its_last_words(weights):
    with pytest.raises(WorkerError, match=r"ended with status .*invalid int value"):
        Process(REGISTRY["minicam"], Setting(weights, "cpu", "many", SPACE))


def test_ratios_are_of_the_same_round():
    own = {"status": "timed", "runs": {"forward": [1.0, 4.0, 1.0]}, "start_to_first": 1.0, "peak_resident_gb": 0.5}
    first = {"status": "timed", "runs": {"forward": [2.0, 8.0]}, "start_to_first": 2.0, "peak_resident_gb": 1.0}
    last = {"status": "timed", "runs": {"forward": [3.0, 8.0, 1.5]}, "start_to_first": 3.0, "peak_resident_gb": 1.0}
    found = {"minicam": own, "PyTorch": first, "PyTorch, channels-last": last, "JAX": {"status": "not installed"}}
    expected = {"PyTorch": 2.0, "PyTorch, channels-last": 2.0, "PyTorch by hand at its best": 2.0}
    assert ratios(found)["forward"] == expected


def test_wrong_usage(weights, tmp_path):
    with pytest.raises(mc.MinicamError, match="repeat is 0"):
        bench.run(weights, "cpu", 0)
    with pytest.raises(mc.MinicamError, match=r"no contestant 'Torch'.*"):
        bench.run(weights, "cpu", 1, rivals=["Torch"])
    mc.save(little_deeplab(("Sky", "Road", "Cat")), tmp_path / "other.h5")
    with pytest.raises(mc.LayerError, match="no class 'Car'"):
        bench.run(str(tmp_path / "other.h5"), "cpu", 1)
