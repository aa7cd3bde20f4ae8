"""The example scripts: they write the figures they promise, and the maps point where they should."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import minicam as mc
from minicam.zoo import deeplabv3plus_resnet18

EXAMPLES = Path(__file__).parents[1] / "examples"
SEGMENTATION = {"segmentation_labels.png", "segmentation_maps.png", "segmentation_layers.png"}
SEG_GRAD_CAM = {f"seg_grad_cam{part}.png" for part in ("", "_layers", "_methods", "_alpha")}


@pytest.fixture
def example(monkeypatch):
    """Loads a script of examples/ by name, as running it would."""
    monkeypatch.syspath_prepend(EXAMPLES)

    def load(name):
        specification = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
        module = importlib.util.module_from_spec(specification)
        specification.loader.exec_module(module)
        return module

    yield load
    sys.modules.pop("fitting", None)


@pytest.fixture(scope="module")
def small():
    """The bundled network for images of a third of the size: the same layers and parameters, a ninth of the work."""
    net = mc.load()
    return mc.Network(deeplabv3plus_resnet18(input_shape=(3, 240, 320)), net.parameters(), net.classes, net.colors)


@pytest.fixture
def small_street(tmp_path):
    path = tmp_path / "street.png"
    with Image.open(EXAMPLES / "street.png") as picture:
        picture.resize((320, 240)).save(path)
    return path


def check_figures(folder, names):
    """The folder holds these PNG figures and nothing else, each of a sensible size and colourful."""
    assert {path.name for path in folder.iterdir()} == set(names)
    for name in names:
        with Image.open(folder / name) as picture:
            assert picture.format == "PNG"
            assert 1000 <= picture.width <= 2000
            assert 300 <= picture.height <= 2500
            pixels = np.asarray(picture.convert("RGB"))
        assert np.ptp(pixels.astype(int), axis=2).max() > 100, name
        assert pixels.std() > 30, name


def numbers(pattern, out):
    """All matches of a pattern with groups of numbers, as an array with a row per match."""
    found = re.findall(pattern, out)
    assert found, f"{pattern!r} is not in:\n{out}"
    return np.array(found, float)


# --------------------------------------------------------------------------------------------- segmentation


def test_segmentation(example, tmp_path, capsys):
    example("segmentation").main(tmp_path / "new" / "figures")
    check_figures(tmp_path / "new" / "figures", SEGMENTATION)
    out = capsys.readouterr().out
    shares = dict(re.findall(r"(\w+) +([\d.]+)% of the image", out))
    assert sum(map(float, shares.values())) == pytest.approx(100, abs=1)
    assert 25 < float(shares["Road"]) < 50
    assert 5 < float(shares["Car"]) < 15
    layers = ("dec_relu4", "res5b_relu", "catAspp", "dec_relu1")
    peaks = re.findall(r"(\w+ \(\w+\)): the map's peak is ([\d.]+)", out)
    assert [title for title, _ in peaks] == [f"{name} ({layer})" for layer in layers for name in ("Road", "Car")]
    assert all(float(peak) > 0 for _, peak in peaks)


def test_segmentation_of_another_image(example, tmp_path, small, small_street):
    example("segmentation").main(tmp_path / "figures", small_street, small)
    check_figures(tmp_path / "figures", SEGMENTATION)


def check_seg_grad_cam(folder, out):
    check_figures(folder, SEG_GRAD_CAM)
    outside = numbers(
        r"Car at \(\d+, \d+\) \(catAspp, logits\): ([\d.]+)% of the map lies where the gradient is 0", out
    )
    assert outside.item() > 80  # alpha is global, the pixel's reach is not
    assert numbers(r"\(res2b_relu, logits\): ([\d.]+)%", out).max() < 20  # early layers reach far
    low = numbers(r"alpha on a grid of \(\d+, \d+\): similarity to \(\d+, \d+\) from (-?[\d.]+) to 1", out)
    assert -1 <= low.item() < 0.9


def test_seg_grad_cam(example, tmp_path, capsys, small, small_street):
    example("seg_grad_cam").main(tmp_path / "figures", small_street, small)
    check_seg_grad_cam(tmp_path / "figures", capsys.readouterr().out)


@pytest.mark.slow
def test_seg_grad_cam_at_full_size(example, tmp_path, capsys):
    example("seg_grad_cam").main(tmp_path)
    out = capsys.readouterr().out
    check_seg_grad_cam(tmp_path, out)
    assert "every class was found, so no map is empty" in out


def test_seg_grad_cam_without_cars(example, tmp_path, small):
    Image.new("RGB", (320, 240), (150, 150, 150)).save(tmp_path / "grey.png")
    with pytest.raises(mc.TargetError, match=r"grey\.png: the network found no Car"):
        example("seg_grad_cam").main(tmp_path, tmp_path / "grey.png", small)


@pytest.mark.parametrize("name", ["segmentation", "seg_grad_cam"])
def test_an_image_that_is_missing(example, tmp_path, name):
    with pytest.raises(mc.ImageError, match=r"gone\.png: does not exist"):
        example(name).main(tmp_path / "figures", tmp_path / "gone.png")
    assert not (tmp_path / "figures").exists()


# ------------------------------------------------------------------------------------------- other networks


def test_classification(example, tmp_path, capsys):
    module = example("classification")
    module.main(tmp_path)
    check_figures(tmp_path, {"classification.png"})
    out = capsys.readouterr().out
    assert numbers(r"accuracy on 100 fresh balls: ([\d.]+)", out).item() > 0.95
    found = numbers(r"of the map ([\d.]+) on its ball, ([\d.]+) on the next", out)
    assert len(found) == len(module.KINDS)
    assert np.all(found[:, 0] > 0.2)  # no ball covers more than 0.13 of the picture
    assert np.all(found[:, 0] > 1.3 * found[:, 1])


def test_regression(example, tmp_path, capsys):
    example("regression").main(tmp_path)
    check_figures(tmp_path, {"regression.png"})
    out = capsys.readouterr().out
    assert numbers(r"error on 300 printed digits: ([\d.]+) degrees", out).item() < 5
    angles = numbers(r"turned by (-?\d+): the network says (-?[\d.]+)", out)
    np.testing.assert_allclose(angles[:, 1], angles[:, 0], atol=8)


def test_strokes_turn_the_answer_the_way_the_digit_is_turned(example):
    """The share of a map on the strokes, for the digits that the example shows turned by much."""
    regression = example("regression")
    net = mc.load(regression.WEIGHTS)
    for digit, angle in (("7", -35), ("4", 30)):
        picture = regression.draw_digit(digit, angle)
        up, down = mc.gradcam(net, picture, [0, regression.clockwise]).maps
        with_it, against = (up, down) if angle > 0 else (down, up)
        assert with_it[picture > 64].sum() > 2 * against[picture > 64].sum()


def test_sequence(example, tmp_path, capsys):
    example("sequence").main(tmp_path)
    check_figures(tmp_path, {"sequence_speaker1.png", "sequence_speaker4.png"})
    found = numbers(
        r"speaker \d: ([\d.]+) of the map at steps \d+ to \d+ of \d+, ([\d.]+) of all", capsys.readouterr().out
    )
    assert len(found) == 2
    assert np.all(found[:, 0] > 0.8)
    assert np.all(found[:, 1] <= 0.5)


def test_made_up_utterances_are_recognised(example):
    sequence = example("sequence")
    net = mc.load(sequence.WEIGHTS)
    for speaker in range(9):
        made_up = sequence.make_up(net, speaker, 6, 24, np.random.default_rng(speaker))
        assert net.forward(made_up[None])["softmax"][0, speaker] > 0.8
        assert abs(np.delete(made_up, range(6, 6 + sequence.CHANGED), axis=1)).max() < 0.5


def test_sequence_of_a_recording(example, tmp_path, capsys):
    sequence = example("sequence")
    net = mc.load(sequence.WEIGHTS)
    np.save(tmp_path / "recording.npy", sequence.make_up(net, 5, 6, 24, np.random.default_rng(5)))
    sequence.main(tmp_path / "figures", tmp_path / "recording.npy")
    check_figures(tmp_path / "figures", {"sequence.png"})
    assert "recording.npy: speaker 6 with a score of 0.9" in capsys.readouterr().out
    with pytest.raises(mc.ModelFileError, match=r"none\.h5"):
        sequence.main(tmp_path / "figures", tmp_path / "recording.npy", tmp_path / "none.h5")


def test_the_signed_map_of_a_fitted_network_sums_to_its_score(example):
    classification, fitting = example("classification"), example("fitting")
    pictures, kinds = classification.draw_balls(60, np.random.default_rng(2))
    wanted = fitting.logits(len(classification.KINDS), kinds)
    net = fitting.fitted(classification.network(), pictures.astype(np.float32), wanted)
    cam = mc.gradcam(net, pictures[0].transpose(1, 2, 0), 1, reduction_layer="fc")
    assert cam.raw.sum() == pytest.approx(cam.scores[0], rel=1e-3)
    inside = np.array([False, True, True])
    assert fitting.share(np.array([3.0, -9.0, 1.0]), inside) == 0.25
    assert fitting.share(np.zeros(3), inside) == 0


def test_as_a_command(tmp_path):
    command = [sys.executable, EXAMPLES / "sequence.py", "-o", tmp_path / "figures"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    check_figures(tmp_path / "figures", {"sequence_speaker1.png", "sequence_speaker4.png"})
