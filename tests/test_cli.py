"""The command line as a person meets it: what it writes, what it says, how it ends."""

import json
import shutil

import numpy as np
import pytest
from networks import CLASSES, segmenter, street
from PIL import Image

import minicam as mc
from minicam.__main__ import main


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a small network and two pictures, which is also the working directory."""
    mc.save(segmenter(), tmp_path / "net.h5")
    for i in (1, 2):
        Image.fromarray(street(36, 48, seed=i)).save(tmp_path / f"street{i}.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(capsys, *arguments):
    """Exit status, standard output, standard error."""
    status = main([str(argument) for argument in arguments])
    return status, *capsys.readouterr()


def test_explain_writes_one_picture(folder, capsys):
    status, out, err = run(
        capsys, "explain", "street1.png", "--weights", "net.h5", "--classes", "Road", "Car", "-o", "out.png"
    )
    assert (status, err) == (0, "")
    assert "street1.png -> out.png: Road at relu2, Car at relu2" in out
    with Image.open("out.png") as picture:
        assert picture.format == "PNG"
        assert picture.width > 800


def test_explain_several_layers_of_several_images_into_a_folder(folder, capsys):
    status, out, _ = run(
        capsys,
        *("explain", "street1.png", "street2.png", "--weights", "net.h5", "--classes", "2"),
        *("--layers", "relu1", "relu2", "-o", "maps"),
    )
    assert status == 0
    assert out.count("Car at relu1, Car at relu2") == 2
    assert sorted(p.name for p in (folder / "maps").iterdir()) == ["street1_explained.png", "street2_explained.png"]


def test_explain_without_an_output_name_writes_beside_the_caller(folder, capsys):
    assert run(capsys, "explain", "street1.png", "--weights", "net.h5")[0] == 0
    assert (folder / "street1_explained.png").exists()


def test_explain_one_pixel(folder, capsys):
    status, out, _ = run(capsys, "explain", "street1.png", "--weights", "net.h5", "--pixel", 30, 40, "--json")
    assert status == 0
    (found,) = json.loads(out)["maps"]
    assert found["target"].endswith("at (30, 40)")
    assert found["positions"] == 1


def test_json_reports_what_was_computed(folder, capsys):
    status, out, err = run(
        capsys,
        *("explain", "street1.png", "--weights", "net.h5", "--classes", "Car", "--json"),
        *("--reduction", "crop", "-o", "out.png"),
    )
    assert (status, err) == (0, "")
    report = json.loads(out)
    cam = mc.gradcam(mc.load("net.h5"), "street1.png", "Car", reduction_layer="crop")
    assert report["image"] == "street1.png"
    assert report["output"] == "out.png"
    assert report["maps"] == [
        {
            "target": "Car",
            "feature_layer": "relu2",
            "reduction_layer": "crop",
            "score": pytest.approx(cam.scores[0]),
            "positions": 18 * 24,
            "map_max": pytest.approx(cam.maps.max()),
        }
    ]
    assert sum(report["shares"].values()) == pytest.approx(1, abs=1e-3)


def test_segment_writes_picture_and_label_map(folder, capsys):
    status, out, _ = run(capsys, "segment", "street1.png", "--weights", "net.h5", "-o", "labels/street.png")
    assert status == 2  # the folder "labels" is not there
    status, out, _ = run(capsys, "segment", "street1.png", "--weights", "net.h5", "-o", "street.png")
    assert status == 0
    assert any(name in out for name in CLASSES)
    with Image.open("street_labels.png") as label_map:
        np.testing.assert_array_equal(np.asarray(label_map), mc.segment(mc.load("net.h5"), "street1.png"))


def test_images_that_fail_do_not_stop_the_others(folder, capsys):
    (folder / "broken.png").write_bytes(b"not a picture")
    status, out, err = run(
        capsys, "explain", "broken.png", "gone.png", "street1.png", "--weights", "net.h5", "-o", "maps"
    )
    assert status == 1
    assert "broken.png" in err
    assert "gone.png: does not exist" in err
    assert "street1.png -> maps/street1_explained.png" in out
    status, out, _ = run(capsys, "segment", "broken.png", "street1.png", "--weights", "net.h5", "--json")
    lines = [json.loads(line) for line in out.splitlines()]
    assert status == 1
    assert "error" in lines[0]
    assert lines[1]["label_map"] == "street1_segmented_labels.png"


def test_a_pixel_outside_the_image_is_a_failed_input(folder, capsys):
    status, _, err = run(capsys, "explain", "street1.png", "--weights", "net.h5", "--pixel", 36, 0)
    assert status == 1
    assert "pixel (36, 0) lies outside the image, whose size is (36, 48)" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--classes", "car"), "there is no class 'car'; did you mean 'Car'?"),
        (("--layers", "relu7"), "there is no layer 'relu7'"),
        (("--reduction", "sofmax"), "there is no layer 'sofmax'; did you mean 'softmax'?"),
        (("-o", "out.bmp7"), "out.bmp7"),
        (("-o", "street1.png"), "street1.png: is the image itself; choose another name with -o"),
    ],
)
def test_wrong_usage(folder, capsys, arguments, message):
    before = (folder / "street1.png").read_bytes()
    status, out, err = run(capsys, "explain", "street1.png", "--weights", "net.h5", *arguments)
    assert (status, out) == (2, "")
    assert message in err
    assert (folder / "street1.png").read_bytes() == before
    assert sorted(p.name for p in folder.iterdir()) == ["net.h5", "street1.png", "street2.png"]


def test_two_images_of_one_name_are_not_written_to_one_file(folder, capsys):
    (folder / "a").mkdir()
    shutil.copy("street1.png", "a")
    status, _, err = run(capsys, "explain", "street1.png", "a/street1.png", "--weights", "net.h5")
    assert status == 2
    assert "several images would be written to it" in err


def test_layers_and_their_json(folder, capsys):
    status, out, _ = run(capsys, "layers", "net.h5")
    assert status == 0
    assert "relu2" in out
    status, out, _ = run(capsys, "layers", "net.h5", "--json")
    rows = json.loads(out)
    assert [row["layer"] for row in rows] == segmenter().layers
    assert rows[1] == {
        **{"layer": "conv1", "op": "Conv", "output": [6, 9, 12], "parameters": 168},
        **{"receptive_field": [3, 3], "stride": [2.0, 2.0]},
    }


def test_verify(folder, capsys):
    status, out, _ = run(capsys, "verify", "net.h5")
    assert status == 0
    assert "net.h5: sound: 9 layers" in out
    assert json.loads(run(capsys, "verify", "net.h5", "--json")[1])["layers"] == 9
    data = (folder / "net.h5").read_bytes()
    (folder / "net.h5").write_bytes(data[:-7])
    status, _, err = run(capsys, "verify", "net.h5")
    assert status == 1
    assert "net.h5" in err


@pytest.mark.parametrize("arguments", [(), ("explode",), ("verify",), ("explain", "--device", "tpu")])
def test_argparse_refuses_with_status_2(arguments):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
