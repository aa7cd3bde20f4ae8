"""Conversions from start to end, whatever the source: kinds, the check, what is written and what is not."""

import json

import numpy as np
import pytest
from networks import segmenter

import minicam as mc
from minicam.__main__ import main
from minicam.conversion import KINDS, Converted, Kind, Options, conversion, core
from minicam.conversion.kinds import kind_of
from minicam.conversion.reading import layer_name

pytest.importorskip("onnx")

from onnx_models import keras_model, matlab_model, model, save


@pytest.fixture
def source(tmp_path, monkeypatch):
    """A file model.onnx in the working directory."""
    monkeypatch.chdir(tmp_path)
    return save(matlab_model(), tmp_path / "model.onnx")


@pytest.fixture
def read_as(monkeypatch):
    """Lets the next conversion, of any file, find this."""

    def install(converted):
        kind = Kind("test", "test", (".test",), "")
        object.__setattr__(kind, "read", lambda path, options: converted)
        monkeypatch.setattr(core, "kind_of", lambda source, name: kind)

    return install


def ours(network, **spoiled):
    """A runner that is the network itself, with some layers spoiled."""

    def run(inputs):
        values = network.forward(dict(inputs))
        return {name: spoiled.get(name, lambda y: y)(y) for name, y in values.items()}

    return run


def test_the_file_written_is_the_network_returned_with_its_check(source, tmp_path):
    pytest.importorskip("onnxruntime")
    network = mc.convert(source, "out.h5", classes=["a", "b", "c", "d", "e"])
    report = mc.verify("out.h5")
    assert report.layers == len(network.layers)
    assert report.check is not None
    assert report.check < 1e-5
    loaded = mc.load("out.h5")
    assert loaded.classes == ("a", "b", "c", "d", "e")
    x = np.random.default_rng(0).standard_normal((2, 3, 8, 10))
    np.testing.assert_array_equal(loaded.forward(x)["softmax"], network.forward(x)["softmax"])
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["model.onnx", "out.h5"]


def test_an_existing_file_is_replaced_only_if_asked(source):
    with open("out.h5", "w") as file:
        file.write("mine")
    with pytest.raises(mc.ConversionError, match=r"out\.h5: exists; it is replaced only with force"):
        mc.convert(source, "out.h5")
    with open("out.h5") as file:
        assert file.read() == "mine"
    mc.convert(source, "out.h5", force=True)
    assert mc.verify("out.h5").layers == 10


def test_a_missing_folder_and_a_folder_are_said_before_the_work(source, tmp_path, monkeypatch):
    monkeypatch.setattr(core, "conversion", lambda *arguments, **options: pytest.fail("work was done"))
    with pytest.raises(mc.ConversionError, match=r"there is no folder nowhere; create it first"):
        mc.convert(source, "nowhere/out.h5")
    (tmp_path / "folder").mkdir()
    with pytest.raises(mc.ConversionError, match=r"folder: is a folder; expected the path of the file to write"):
        mc.convert(source, "folder", force=True)


def test_nothing_is_left_behind_by_a_conversion_that_fails(source, tmp_path):
    save(model([("NonZero", ["x"], ["y"], {})], {"x": [1, 2]}, {"y": None}), tmp_path / "bad.onnx")
    with pytest.raises(mc.ConversionError):
        mc.convert("bad.onnx", "out.h5")
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["bad.onnx", "model.onnx"]


def test_a_network_that_differs_from_its_source_is_refused(read_as, tmp_path):
    network = segmenter()
    read_as(Converted(network, run=ours(network, softmax=lambda y: y + 0.01 * (y == y.max())), runner="Other 1.0"))
    with pytest.raises(
        mc.ConversionError, match=r"'softmax' differs from Other 1\.0 by 1\.\de-02 of its largest value"
    ):
        mc.convert("any.test", tmp_path / "out.h5")
    read_as(Converted(network, run=ours(network, softmax=lambda y: y[:, :2]), runner="Other 1.0"))
    with pytest.raises(mc.ConversionError, match=r"has shape \(1, 3, 18, 24\); Other 1\.0 gives \(1, 2, 18, 24\)"):
        mc.convert("any.test", tmp_path / "out.h5")
    assert not list(tmp_path.iterdir())


def test_what_could_not_be_checked_says_so(read_as):
    network = segmenter()

    def fails(inputs):
        raise RuntimeError("no such kernel")

    for converted, expected in (
        (Converted(network), "not checked: there is no other program here to compare with"),
        (Converted(network, runner="Other is not installed"), "not checked: Other is not installed"),
        (
            Converted(network, run=fails, runner="Other 1.0"),
            "not checked: Other 1.0 cannot run the source (RuntimeError: no such kernel)",
        ),
        (
            Converted(network, run=ours(network, softmax=lambda y: y * np.nan), runner="Other 1.0"),
            "not checked: Other 1.0 gives NaN or infinity for random input at 'softmax'",
        ),
    ):
        read_as(converted)
        found = conversion("any.test", Options())
        assert str(found.check) == expected
        assert found.check.example is None


def test_the_check_can_be_left_out(source):
    found = conversion(source, Options(), checked=False)
    assert str(found.check) == "not checked: it was not asked for"


def test_the_check_uses_raw_pixels_before_a_normalisation(read_as):
    network = segmenter()
    seen = {}

    def run(inputs):
        seen.update(inputs)
        return network.forward(dict(inputs))

    read_as(Converted(network, run=run, runner="Other 1.0"))
    conversion("any.test", Options())
    assert 100 < seen["image"].mean() < 120, "about the mean of the Normalize layer"
    assert 60 < seen["image"].std() < 80


def test_an_unknown_kind_lists_those_there_are(tmp_path):
    path = tmp_path / "net.xyz"
    path.write_bytes(b"what is this")
    with pytest.raises(mc.ConversionError) as error:
        mc.convert(path)
    for kind in KINDS:
        assert f"{kind.name} ({kind.description}, " in str(error.value)
    with pytest.raises(mc.ConversionError, match=r"there is no kind 'onxx' of files; did you mean 'onnx'\?"):
        mc.convert(path, kind="onxx")
    with pytest.raises(mc.ConversionError, match=r"missing\.onnx: does not exist"):
        mc.convert("missing.onnx")


def test_a_kind_is_found_by_content_whatever_the_name(source, tmp_path):
    other = tmp_path / "model.bin"
    source.rename(other)
    assert kind_of(other).name == "onnx"


def test_names_for_layers():
    assert layer_name("/features/conv 1:0") == "features.conv_1_0"
    assert layer_name("", {"layer"}) == "layer_2"
    assert layer_name("..") == "layer"
    taken = set()
    for _ in range(20_000):
        taken.add(layer_name("same", taken))
    assert len(taken) == 20_000


def run(capsys, *arguments):
    """Exit status, standard output, standard error."""
    status = main(["convert", *map(str, arguments)])
    return status, *capsys.readouterr()


def test_the_command_writes_and_tells(source, capsys):
    pytest.importorskip("onnxruntime")
    status, out, err = run(capsys, source, "out.h5")
    assert (status, err) == (0, "")
    assert "model.onnx (onnx) -> out.h5: 10 layers, input image (3, 8, 10)" in out
    assert "checked against ONNX Runtime" in out
    assert mc.verify("out.h5").layers == 10


def test_the_command_tells_machines(tmp_path, capsys):
    status, out, _ = run(capsys, save(keras_model(), tmp_path / "keras.onnx"), tmp_path / "out.h5", "--json")
    report = json.loads(out)
    assert status == 0
    assert report["inputs"] == {"input_1": [3, 10, 12]}
    assert report["difference"] < 1e-5
    assert len(report["notes"]) == 2


def test_the_command_refuses_with_status_1_and_writes_nothing(source, tmp_path, capsys):
    source.write_bytes(b"\x08\x08 rubbish")
    status, out, err = run(capsys, source, "out.h5")
    assert (status, out) == (1, "")
    assert err.startswith("minicam: error: ")
    assert "is damaged, truncated or no ONNX model" in err
    assert not (tmp_path / "out.h5").exists()


def test_the_command_passes_on_the_shape_and_the_names(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    proto = model([("Relu", ["x"], ["y"], {}, "relu")], {"x": ["N", 3, "H", "W"]}, {"y": None})
    save(proto, "open.onnx")
    options = ("--input-shape", 3, "any", 12, "--classes", "a", "b", "c", "--no-check")
    status, out, _ = run(capsys, "open.onnx", "out.h5", *options)
    assert status == 0
    assert "input x (3, 'any', 12)" in out
    assert "not checked: it was not asked for" in out
    net = mc.load("out.h5")
    assert (net.input_shape, net.classes) == ((3, None, 12), ("a", "b", "c"))
