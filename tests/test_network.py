"""Network: what it accepts, in which type it computes, and what it refuses."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from networks import segmenter, street

import minicam
from minicam import DeviceError, Graph, LayerError, MinicamError, Network, Node
from minicam.ops import Add, Conv, Dense, MaxPool, Normalize, Relu, Softmax
from minicam.summary import table
from minicam.zoo import initial_parameters
from minicam.zoo.builder import Builder

NODES = (
    Node("pool", MaxPool((2,)), ("image",)),
    Node("data", Normalize(), ("pool",)),
    Node("conv", Conv(2, (3,)), ("data",)),
    Node("relu", Relu(), ("conv",)),
    Node("softmax", Softmax(), ("relu",)),
)
GRAPH = Graph({"image": (3, None)}, NODES, ("softmax",))
CLASSES = ("Road", "Car")


def changed(layer, **arrays):
    """The parameters with those of one layer replaced; None removes one."""
    parameters = initial_parameters(GRAPH)
    merged = {**parameters.get(layer, {}), **arrays}
    return {**parameters, layer: {name: array for name, array in merged.items() if array is not None}}


def network(**changes):
    # For pixels around this mean the scores are not saturated, so that gradients are not 0.
    parameters = changed("data", mean=np.full(3, 128.0), std=np.full(3, 75.0))
    return Network(GRAPH, **{"parameters": parameters, "classes": CLASSES, **changes})


def image(samples=1, size=9):
    return np.random.default_rng(0).integers(0, 256, (samples, 3, size)).astype(np.float64)


# What it tells


def test_a_network_describes_itself():
    net = network(colors=((128, 64, 128), np.array([64, 0, 128])))
    assert net.layers == ["pool", "data", "conv", "relu", "softmax"]
    assert net.input_shape == (3, None)
    assert net.classes == CLASSES
    assert net.colors == ((128, 64, 128), (64, 0, 128))
    assert net.summary() == table(GRAPH)


def test_classes_and_colours_are_optional():
    net = network(classes=())
    assert net.classes == net.colors == ()


def test_the_input_shape_is_that_of_the_only_input():
    g = Graph({"left": (1, 4), "right": (1, 4)}, (Node("sum", Add(), ("left", "right")),), ("sum",))
    net = Network(g, {})
    with pytest.raises(LayerError, match="the network has 2 inputs: left, right"):
        _ = net.input_shape
    ones = np.ones((1, 1, 4))
    assert np.all(net.forward({"left": ones, "right": ones})["sum"] == 2)


# Types


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int64, np.float16, np.float32, np.longdouble])
def test_everything_but_float64_is_computed_in_float32(dtype):
    net = network()
    values = net.forward(image().astype(dtype), net.layers)
    assert {value.dtype for value in values.values()} == {np.dtype(np.float32)}
    assert np.array_equal(values["softmax"], net.forward(image().astype(np.float32))["softmax"])
    seeds = {"softmax": np.ones((1, 2, 6), np.float64)}
    assert net.backward(values, seeds, ["conv"])["conv"].dtype == np.float32
    assert net.backward_params(values, seeds)["conv"]["weight"].dtype == np.float32


def test_float64_stays_float64():
    net = network()
    values = net.forward(image(), net.layers)
    assert {value.dtype for value in values.values()} == {np.dtype(np.float64)}
    seeds = {"softmax": np.ones((1, 2, 6), np.int64)}
    assert net.backward(values, seeds, ["conv"])["conv"].dtype == np.float64
    assert net.backward_params(values, seeds)["conv"]["weight"].dtype == np.float64


def test_one_float64_feed_is_enough():
    features = np.zeros((1, 2, 7), np.float64)
    values = network().forward({"image": image().astype(np.uint8), "conv": features}, ["data", "softmax"])
    assert values["data"].dtype == values["softmax"].dtype == np.float64


def test_half_precision_parameters_are_computed_in_float32():
    stored = {
        layer: {name: array.astype(np.float16) for name, array in arrays.items()}
        for layer, arrays in initial_parameters(GRAPH).items()
    }
    net = network(parameters=stored)
    assert net.forward(image().astype(np.float32))["softmax"].dtype == np.float32
    assert net.parameters()["conv"]["weight"].dtype == np.float32
    assert np.array_equal(net.parameters()["conv"]["weight"], stored["conv"]["weight"])
    assert net.parameters(np.float64)["conv"]["weight"].dtype == np.float64
    assert net.parameters(np.float64) is net.parameters(np.float64), "cast once"


# What it computes


def test_by_default_the_outputs_are_kept():
    values = network().forward(image(samples=2))
    assert values.keys() == {"softmax"}
    assert values["softmax"].shape == (2, 2, 6)


def test_nothing_that_happens_to_the_input_later_changes_a_gradient():
    net = network()
    x = image()
    seeds = {"softmax": np.random.default_rng(1).standard_normal((1, 2, 6))}
    values = net.forward(x)
    before = net.backward(values, seeds, ["image"])["image"]
    x[:] = 0
    assert np.array_equal(net.backward(values, seeds, ["image"])["image"], before)
    assert np.any(before != 0)


def test_the_input_is_not_changed():
    net = network()
    x = image()
    values = net.forward(x, net.layers)
    net.backward(values, {"softmax": np.ones((1, 2, 6))}, ["image"])
    assert np.array_equal(x, image())


# What it refuses


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.ones((3, 9)), r"'image' was given an array of shape \(3, 9\); expected \(N, 3, any\)"),
        (np.ones((1, 4, 9)), r"'image' was given an array of shape \(1, 4, 9\); expected \(N, 3, any\)"),
        (np.ones((1, 3, 9, 9)), r"'image' was given an array of shape \(1, 3, 9, 9\); expected \(N, 3, any\)"),
        (np.ones((0, 3, 9)), r"'image' was given an empty array of shape \(0, 3, 9\)"),
        (np.ones((1, 3, 0)), r"'image' was given an empty array of shape \(1, 3, 0\)"),
        (np.array([[["a"]]]), "'image' was given values of type <U1; expected numbers"),
        (np.ones((1, 3, 9), complex), "'image' was given values of type complex128; expected numbers"),
        (np.ones((1, 3, 9), object), "'image' was given values of type object; expected numbers"),
        ("street.png", "'image' was given values of type .*; expected numbers"),
        (None, "'image' was given values of type object; expected numbers"),
        (np.ones((1, 3, 3)), r"layer 'conv' \(Conv\): .*the input is too small"),
    ],
)
def test_an_input_that_does_not_fit_is_refused(x, message):
    with pytest.raises(LayerError, match=message):
        network().forward(x)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_located(value):
    x = image()
    x[0, 2, 5] = x[0, 2, 7] = value
    with pytest.raises(LayerError, match=r"'image' was given 2 NaN or infinite values, the first at \(0, 2, 5\)"):
        network().forward(x)


def test_an_interior_feed_is_checked_too():
    with pytest.raises(LayerError, match="'conv' was given 14 NaN"):
        network().forward({"conv": np.full((1, 2, 7), np.nan)})
    with pytest.raises(LayerError, match="there is no layer 'cnv'; did you mean 'conv'"):
        network().forward({"cnv": np.ones((1, 2, 7))})


def test_keep_must_be_a_list_of_layers():
    with pytest.raises(LayerError, match=r"keep is the string 'conv'; expected a list of layer names: \['conv'\]"):
        network().forward(image(), "conv")
    with pytest.raises(LayerError, match="there is no layer 'cnv'; did you mean 'conv'"):
        network().forward(image(), ["cnv"])


def test_values_must_come_from_forward():
    net = network()
    values = dict(net.forward(image()))
    with pytest.raises(LayerError, match="values is a dict; expected what forward returned"):
        net.backward(values, {"softmax": np.ones((1, 2, 6))}, ["conv"])
    with pytest.raises(LayerError, match="values is a dict; expected what forward returned"):
        net.backward_params(values, {"softmax": np.ones((1, 2, 6))})


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (changed("conv", bias=None), r"layer 'conv' \(Conv\) has the parameters \['weight'\]; expected \['bias', 'w"),
        (changed("conv", bias=None, weight=None), r"layer 'conv' \(Conv\) has the parameters \[\]; expected"),
        (changed("conv", slope=np.ones(2)), r"parameters \['bias', 'slope', 'weight'\]; expected \['bias', 'weight'\]"),
        (changed("relu", slope=np.ones(2)), r"layer 'relu' \(Relu\) has the parameters \['slope'\]; expected \[\]"),
        (changed("other", slope=np.ones(2)), "there are parameters for 'other', which is not a layer"),
        (changed("conv", bias=np.ones(3)), r"bias of layer 'conv' has shape \(3,\); expected \(2,\)"),
        (changed("conv", weight=np.ones((2, 3))), r"weight of layer 'conv' has shape \(2, 3\); expected \(2, 3, 3\)"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(parameters, message):
    with pytest.raises(LayerError, match=message):
        network(parameters=parameters)


def test_there_must_be_one_colour_for_each_class():
    with pytest.raises(LayerError, match="there are 1 colours for 2 classes; expected one for each"):
        network(colors=((0, 0, 0),))


# Devices and imports


def test_an_unknown_device_is_refused():
    with pytest.raises(DeviceError, match="device 'tpu' is not known; expected 'auto', 'cpu' or 'gpu'"):
        network(device="tpu")


def test_the_gpu_cannot_be_had_without_cupy(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)  # which makes `import cupy` fail
    with pytest.raises(DeviceError, match=r'device \'gpu\' cannot be used: .*pip install "minicam\[cuda12\]"'):
        network(device="gpu")
    assert isinstance(network(device="auto").forward(image())["softmax"], np.ndarray)


def test_importing_minicam_imports_nothing_heavy():
    program = "import sys, minicam; print(*{name.partition('.')[0] for name in sys.modules})"
    root = Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert {"minicam", "numpy"} <= loaded
    assert loaded.isdisjoint({"h5py", "scipy", "PIL", "matplotlib", "cupy", "tqdm"})


def test_precision_is_one_that_the_device_has():
    with pytest.raises(MinicamError, match=r"precision is 'double'; expected one of fast, exact, tf32, fp16"):
        segmenter(precision="double")
    with pytest.raises(MinicamError, match=r"precision 'tf32' needs a GPU; on the CPU there are 'fast' and 'exact'"):
        segmenter(precision="tf32", device="cpu")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_fast_path_is_for_float32_and_agrees_with_the_plain_definitions(dtype):
    x = np.moveaxis(street(), -1, 0)[None].astype(dtype)
    exact, fast = segmenter(precision="exact"), segmenter(threads=2)
    layers = ["relu1", "conv2", "softmax"]
    found, expected = fast.forward(x, layers), exact.forward(x, layers)
    seed = {"softmax": np.random.default_rng(0).standard_normal(expected["softmax"].shape).astype(dtype)}
    bound = 0 if dtype == np.float64 else 2e-5
    for layer in layers:
        assert np.abs(found[layer] - expected[layer]).max() <= bound * np.abs(expected[layer]).max()
    gradient, reference = fast.backward(found, seed, ["relu1"]), exact.backward(expected, seed, ["relu1"])
    assert np.abs(gradient["relu1"] - reference["relu1"]).max() <= bound * np.abs(reference["relu1"]).max()
    sums, references = (net.channel_sums(v, seed, ["relu1"]) for net, v in ((fast, found), (exact, expected)))
    np.testing.assert_allclose(references["relu1"], reference["relu1"].sum(axis=(2, 3)), rtol=1e-4)
    assert np.abs(sums["relu1"] - references["relu1"]).max() <= 10 * bound * np.abs(references["relu1"]).max()


def test_without_the_fast_folder_the_results_are_the_same(tmp_path):
    """As the documentation says: it makes nothing right, only fast."""
    package = Path(minicam.__file__).parent
    shutil.copytree(package, tmp_path / "minicam", ignore=shutil.ignore_patterns("fast", "__pycache__", "weights"))
    shutil.copy(Path(__file__).with_name("networks.py"), tmp_path)
    program = (
        "import numpy, minicam, networks; net, image = networks.segmenter(), networks.street()\n"
        "cam = minicam.gradcam(net, image, ['Car', minicam.Pixel(5, 7, 'Road')], 'relu1')\n"
        "numpy.savez('out.npz', maps=cam.maps, labels=minicam.segment(net, image), origin=minicam.__file__)"
    )
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True, env={**os.environ, "PYTHONPATH": "."})
    cam = minicam.gradcam(segmenter(), street(), ["Car", minicam.Pixel(5, 7, "Road")], "relu1")
    with np.load(tmp_path / "out.npz") as found:
        assert str(tmp_path) in str(found["origin"]) or str(found["origin"]).startswith("./minicam")
        np.testing.assert_array_equal(found["labels"], minicam.segment(segmenter(), street()))
        np.testing.assert_allclose(found["maps"], cam.maps, atol=2e-5 * cam.maps.max())


def test_weighted_sums_and_labels_are_those_of_the_plain_definitions():
    fast, exact = segmenter(), segmenter(precision="exact")
    values = fast.forward(np.moveaxis(street(), -1, 0)[None], ["conv1"])["conv1"][0]
    weights = np.random.default_rng(0).standard_normal((4, len(values))).astype(np.float32)
    expected = np.einsum("tk,khw->thw", weights, values)
    for net in (fast, exact):
        np.testing.assert_allclose(net.weighted_sum(weights, values), expected, atol=1e-5 * np.abs(expected).max())
        np.testing.assert_array_equal(net.largest_channel(values[None]), [values.argmax(axis=0)])


def test_labels_are_bytes():
    with pytest.raises(LayerError, match=r"the output has 257 channels"):
        segmenter().largest_channel(np.zeros((1, 257, 2, 2), np.float32))


def test_a_dense_layer_refuses_another_input_size():
    b = Builder("x", (1, 4, 4))
    b.add("fc", Dense(2))
    net = Network(b.graph(), initial_parameters(b.graph()))
    with pytest.raises(
        LayerError, match=r"layer 'fc' \(Dense\) has parameters for inputs of another size: .*\(2, 16\)"
    ):
        net.forward(np.zeros((1, 1, 5, 4)))
