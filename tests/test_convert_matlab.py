"""MATLAB networks: files built here as MATLAB would write them, column-major, against JAX with its axes (N, H, W, C).

MATLAB's convolution weights (h, w, channels, filters) are JAX's HWIO.
"""

import itertools
import json

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from references import peak_error

from minicam.conversion import Options, conversion
from minicam.errors import ConversionError


def layer(kind, name, **properties):
    return {"name": name, "class": f"nnet.cnn.layer.{kind}", "properties": properties}


def exported(path, layers, connections=None):
    """A file as tools/export_matlab.m writes it. Without connections the layers are a chain."""
    chain = [[a["name"], b["name"]] for a, b in itertools.pairwise(layers)]
    arrays = []

    def plain(value):
        if not isinstance(value, np.ndarray):
            return value
        if value.size <= 16:
            return value.tolist()
        arrays.append(value)
        return {"array": len(arrays), "size": trimmed(value.shape)}

    described = [{**one, "properties": {k: plain(v) for k, v in one["properties"].items()}} for one in layers]
    document = {"format": "minicam-matlab", "version": 1, "layers": described}
    document["connections"] = chain if connections is None else connections
    with h5py.File(path, "w") as file:
        file["network"] = np.frombuffer(json.dumps(document).encode(), np.uint8)
        for i, array in enumerate(arrays, start=1):
            file[f"arrays/{i}"] = array.reshape(-1, order="F")
    return path


def trimmed(shape):
    """As MATLAB's size gives it: without ones at the end, but two numbers at least."""
    sizes = list(shape) + [1] * (2 - len(shape))
    while len(sizes) > 2 and sizes[-1] == 1:
        sizes.pop()
    return sizes


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def outputs(path, x, **options):
    """What minicam computes in float64 for x (N, *space, C), channels last again."""
    network = conversion(path, Options(**options)).network
    found = network.forward(np.moveaxis(x, -1, 1))
    return [np.moveaxis(found[name], 1, -1) for name in network.graph.outputs]


def check(found, expected):
    assert peak_error(found, np.asarray(expected)) < 1e-10


def image(shape, **properties):
    return layer("ImageInputLayer", "data", InputSize=list(shape), **properties)


def conv(name, weight, bias=None, **properties):
    kernel = list(weight.shape[:2])
    bias = np.zeros((1, 1, weight.shape[3])) if bias is None else bias.reshape(1, 1, -1)
    options = {"FilterSize": kernel, "NumFilters": weight.shape[3], "Stride": [1, 1], "DilationFactor": [1, 1]}
    options |= {"PaddingMode": "manual", "PaddingSize": [0, 0, 0, 0], "Weights": weight, "Bias": bias}
    return layer("Convolution2DLayer", name, **(options | properties))


def convolved(x, weight, stride=1, padding="VALID", dilation=1, groups=1):
    arguments = ((stride,) * 2, padding, None, (dilation,) * 2, ("NHWC", "HWIO", "NHWC"), groups)
    return lax.conv_general_dilated(x, weight, *arguments)


def test_a_classifier_with_its_classes(tmp_path):
    """The fully connected layer reads the elements of (H, W, C) from the first axis on."""
    x, weight, bias, shift = normal(2, 8, 7, 3), normal(3, 3, 3, 4), normal(4), normal(5)
    gamma, beta, mean, variance = (normal(4, seed=seed) for seed in (1, 2, 3, 4))
    names = {"Scale": gamma, "Offset": beta, "TrainedMean": mean, "TrainedVariance": variance**2}
    layers = [
        image((8, 7, 3), Normalization="zscore", Mean=normal(1, 1, 3), StandardDeviation=np.array([[[1.0, 2.0, 4.0]]])),
        conv("conv", weight, bias, Stride=[2, 1], PaddingMode="same"),
        layer("BatchNormalizationLayer", "norm", Epsilon=0.1, **{k: v.reshape(1, 1, -1) for k, v in names.items()}),
        layer("LeakyReLULayer", "leaky", Scale=0.2),
        layer(
            "MaxPooling2DLayer", "pool", PoolSize=[2, 2], Stride=[1, 1], PaddingMode="manual", PaddingSize=[1, 0, 0, 1]
        ),
        layer("DropoutLayer", "drop", Probability=0.5),
        layer("FullyConnectedLayer", "fc", OutputSize=5, Weights=normal(5, 112), Bias=shift.reshape(-1, 1)),
        layer("SoftmaxLayer", "prob"),
        layer("nnet.ClassificationOutputLayer", "classoutput", Classes=["a", "b", "c", "d", "e"]),
    ]
    path = exported(tmp_path / "net.h5", layers)
    y = (x - normal(1, 1, 3)) / [1, 2, 4]
    y = lax.conv_general_dilated(y, weight, (2, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")) + bias
    y = gamma * (y - mean) / np.sqrt(variance**2 + 0.1) + beta
    y = jnp.where(y > 0, y, 0.2 * y)
    padded = jnp.pad(y, ((0, 0), (1, 0), (0, 1), (0, 0)), constant_values=-jnp.inf)
    y = lax.reduce_window(padded, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 1, 1, 1), "VALID")
    flat = np.stack([sample.reshape(-1, order="F") for sample in np.asarray(y)])
    check(outputs(path, x)[0], jax.nn.softmax(flat @ layers[6]["properties"]["Weights"].T + shift))
    found = conversion(path, Options())
    assert found.network.classes == ("a", "b", "c", "d", "e")
    assert "the loss classoutput is left out" in found.notes
    assert found.network.layers[:3] == ["data", "conv", "norm"]


def test_a_segmentation_network_with_its_connections(tmp_path):
    """Inputs in the order of their numbers, a crop with its reference, and an upsampler stored per channel."""
    x, first, second = normal(2, 9, 8, 3), normal(3, 3, 3, 4), normal(3, 3, 3, 4, seed=1)
    taps = normal(4, 4)
    diagonal = np.zeros((4, 4, 8, 8))
    for c in range(8):
        diagonal[:, :, c, c] = taps * (c + 1)
    window = {"FilterSize": [4, 4], "Stride": [2, 2], "CroppingMode": "manual", "CroppingSize": [1, 1, 1, 1]}
    layers = [
        image((9, 8, 3), Normalization="none"),
        conv("left", first, PaddingSize=[1, 1, 1, 1]),
        conv("right", second, PaddingMode="same", DilationFactor=[2, 2]),
        layer("DepthConcatenationLayer", "cat"),
        layer("TransposedConvolution2DLayer", "up", Weights=diagonal, Bias=np.zeros((1, 1, 8)), **window),
        layer("Crop2DLayer", "crop", Mode="centercrop", Location="auto"),
        layer("AdditionLayer", "sum"),
        layer(
            "AveragePooling2DLayer", "mean", PoolSize=[3, 3], Stride=[2, 2], PaddingSize=[1, 1, 1, 1], PaddingValue=0
        ),
    ]
    connections = [["data", "left"], ["data", "right"], ["right", "cat/in1"], ["left", "cat/in2"], ["cat", "up"]]
    connections += [["left", "crop/ref"], ["up", "crop/in"], ["crop", "sum/in2"], ["cat", "sum/in1"], ["sum", "mean"]]
    path = exported(tmp_path / "net.h5", layers, connections)
    left, right = convolved(x, first, padding="SAME"), convolved(x, second, padding="SAME", dilation=2)
    cat = jnp.concatenate([right, left], axis=-1)

    def down(y):
        kernel = diagonal[:, :, np.arange(8), np.arange(8)][:, :, None]
        return convolved(y, kernel, 2, ((1, 1), (1, 1)), groups=8)

    _, gradient = jax.vjp(down, jnp.zeros((2, 18, 16, 8)))
    up = gradient(cat)[0]
    total = up[:, 4:13, 4:12] + cat
    mean = lax.reduce_window(total, 0.0, lax.add, (1, 3, 3, 1), (1, 2, 2, 1), ((0, 0), (1, 1), (1, 1), (0, 0))) / 9
    check(outputs(path, x)[0], mean)
    up_node = conversion(path, Options()).network.graph.by_name["up"]
    assert up_node.op.groups == 8


def test_a_sequence_of_any_length(tmp_path):
    x, weight, bias = normal(2, 11, 3), normal(3, 3, 4), normal(4)
    scale, offset, dense = normal(4, seed=1), normal(4, seed=2), normal(5, 4)
    layers = [
        layer("SequenceInputLayer", "seq", InputSize=3, Normalization="none", MinLength=1),
        layer(
            *("Convolution1DLayer", "conv"),
            **{"FilterSize": 3, "NumFilters": 4, "Stride": 1, "DilationFactor": 2, "PaddingMode": "causal"},
            **{"PaddingSize": [4, 0], "Weights": weight, "Bias": bias.reshape(1, -1)},
        ),
        layer("LayerNormalizationLayer", "norm", Scale=scale.tolist(), Offset=offset.tolist(), Epsilon=1e-5),
        layer("FullyConnectedLayer", "fc", OutputSize=5, Weights=dense, Bias=[0.0] * 5),
        layer("GlobalAveragePooling1DLayer", "mean"),
    ]
    padded = np.pad(x, ((0, 0), (4, 0), (0, 0)))
    y = np.stack([sum(padded[:, t + 2 * i] @ weight[i] for i in range(3)) + bias for t in range(11)], axis=1)
    y = scale * (y - y.mean(-1, keepdims=True)) / np.sqrt(y.var(-1, keepdims=True) + 1e-5) + offset
    path = exported(tmp_path / "net.h5", layers)
    check(outputs(path, x)[0], (y @ dense.T).mean(axis=1, keepdims=True))
    assert conversion(path, Options()).network.input_shape == (3, None)


def test_volumes_groups_and_flattening(tmp_path):
    x, weight = normal(1, 5, 6, 4, 2), normal(3, 2, 3, 2, 3)
    size = {"FilterSize": [3, 2, 3], "Stride": [2, 1, 1], "DilationFactor": [1, 1, 1], "NumFilters": 3}
    volume = layer("Image3DInputLayer", "data", InputSize=[5, 6, 4, 2], Normalization="none")
    padding = {"PaddingMode": "manual", "PaddingSize": [[1, 0, 2], [0, 1, 0]]}
    convolution = layer("Convolution3DLayer", "conv", Weights=weight, Bias=[0.5, 1.0, 2.0], **size, **padding)
    path = exported(tmp_path / "net.h5", [volume, convolution, layer("FlattenLayer", "flat")])
    pairs = ((1, 0), (0, 1), (2, 0))
    y = lax.conv_general_dilated(x, weight, (2, 1, 1), pairs, dimension_numbers=("NDHWC", "DHWIO", "NDHWC"))
    y = np.asarray(y + np.array([0.5, 1.0, 2.0]))
    check(outputs(path, x)[0], y[0].reshape(1, -1, order="F"))

    x, weight = normal(2, 6, 7, 4), normal(3, 3, 2, 3, 2)  # two channels and three filters in each of two groups
    grouped = conv("conv", weight.reshape(3, 3, 2, 6))["properties"] | {"Weights": weight, "NumGroups": 2}
    path = exported(tmp_path / "net.h5", [image((6, 7, 4)), layer("GroupedConvolution2DLayer", "conv", **grouped)])
    parts = [convolved(x[..., 2 * g : 2 * g + 2], weight[..., g]) for g in range(2)]
    check(outputs(path, x)[0], jnp.concatenate(parts, axis=-1))


@pytest.mark.parametrize(
    ("normalization", "properties", "expected"),
    [
        ("zerocenter", {"Mean": normal(4, 5, 2)}, lambda x: x - normal(4, 5, 2)),
        ("zerocenter", {"Mean": [3.0]}, lambda x: x - 3),
        ("rescale-zero-one", {"Min": 10.0, "Max": [[[30.0, 50.0]]]}, lambda x: (x - 10) / [20, 40]),
        ("rescale-symmetric", {"Min": 10.0, "Max": 30.0}, lambda x: 2 * (x - 10) / 20 - 1),
    ],
)
def test_input_normalisations(normalization, properties, expected, tmp_path):
    x = 100 * normal(3, 4, 5, 2, seed=5)
    path = exported(tmp_path / "net.h5", [image((4, 5, 2), Normalization=normalization, **properties)])
    check(outputs(path, x)[0], expected(x))


@pytest.mark.parametrize(
    ("kind", "properties", "expected"),
    [
        ("ReLULayer", {}, lambda x: jnp.maximum(x, 0)),
        ("ClippedReLULayer", {"Ceiling": 0.5}, lambda x: jnp.clip(x, 0, 0.5)),
        ("ELULayer", {"Alpha": 0.5}, lambda x: jax.nn.elu(x, 0.5)),
        ("GELULayer", {"Approximation": "tanh"}, lambda x: jax.nn.gelu(x, approximate=True)),
        ("PReLULayer", {"Alpha": [0.1, 0.2, 0.3, 0.4]}, lambda x: jnp.where(x > 0, x, x * jnp.arange(1, 5) / 10)),
        ("SigmoidLayer", {}, jax.nn.sigmoid),
        ("TanhLayer", {}, jnp.tanh),
        ("SwishLayer", {}, jax.nn.swish),
        ("SoftplusLayer", {}, jax.nn.softplus),
        (
            "CrossChannelNormalizationLayer",
            {"WindowChannelSize": 3, "Alpha": 0.3, "Beta": 0.5, "K": 2},
            lambda x: (
                x
                / (
                    2
                    + 0.1 * (pad := jnp.pad(x**2, ((0, 0),) * 3 + ((1, 1),)))[..., :-2]
                    + 0.1 * x**2
                    + 0.1 * pad[..., 2:]
                )
                ** 0.5
            ),
        ),
        ("GlobalMaxPooling2DLayer", {}, lambda x: x.max(axis=(1, 2), keepdims=True)),
        (
            "GroupNormalizationLayer",
            {"NumGroups": "channel-wise", "Scale": [1, 2, 3, 4], "Offset": [0, 1, 0, 1], "Epsilon": 0},
            lambda x: (
                (x - x.mean((1, 2), keepdims=True)) / x.std((1, 2), keepdims=True) * np.arange(1, 5)
                + np.array([0, 1, 0, 1])
            ),
        ),
        ("Resize2DLayer", {"Scale": [2, 3], "Method": "nearest"}, lambda x: x.repeat(2, 1).repeat(3, 2)),
        ("ConcatenationLayer", {"Dim": 1}, lambda x: x),
    ],
)
def test_other_layers(kind, properties, expected, tmp_path):
    x = normal(2, 5, 6, 4)
    path = exported(tmp_path / "net.h5", [image((5, 6, 4)), layer(kind, "it", **properties)])
    check(outputs(path, x)[0], expected(jnp.asarray(x)))


# What is refused


def refusal(path, **options):
    with pytest.raises(ConversionError) as error:
        conversion(path, Options(**options), kind="matlab")
    message = str(error.value)
    assert message.startswith(f"{path}: ")
    return message


def test_all_unknown_layers_are_listed(tmp_path):
    custom = {"name": "mine", "class": "myLayer", "properties": {}}
    path = exported(
        tmp_path / "net.h5", [image((4, 4, 1)), layer("LSTMLayer", "lstm"), layer("ReLULayer", "r"), custom]
    )
    assert refusal(path).endswith("has 2 layers that are not known here: lstm (LSTMLayer), mine (myLayer)")


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (layer("Convolution2DLayer", "c", FilterSize=[3, 3]), "it has no Weights: was the network trained"),
        (conv("c", normal(3, 3, 2, 4)), "its Weights has the size .* expected|is not known|cannot reshape|damaged"),
        (conv("c", normal(3, 3, 1, 4), PaddingValue="replicate"), "its PaddingValue is 'replicate'; known is 0"),
        (conv("c", normal(3, 3, 1, 4), PaddingSize=[1, 2, 3]), r"its PaddingSize is \[1, 2, 3\]; expected 4 whole"),
        (conv("c", normal(3, 3, 1, 4), Stride="two"), "its Stride is 'two'; expected 2 whole numbers"),
        (layer("FullyConnectedLayer", "c", Weights=normal(3, 5)), r"Weights has the size \(3, 5\)|damaged"),
        (layer("BatchNormalizationLayer", "c"), "it has no Scale: was the network trained"),
        (layer("MaxPooling2DLayer", "c", PoolSize=[2, 2], HasUnpoolingOutputs=True), "its HasUnpoolingOutputs is True"),
        (layer("Resize2DLayer", "c", Scale=[1.5, 2]), "with the method 'nearest'; known are whole numbers"),
        (layer("Crop2DLayer", "c", Mode="custom"), "its Mode is 'custom'; known is 'centercrop'"),
        (layer("PReLULayer", "c", Alpha=[1, 2]), "its Alpha has 2 numbers for 1 channels"),
    ],
)
def test_properties_that_do_not_fit(bad, message, tmp_path):
    path = exported(tmp_path / "net.h5", [image((8, 8, 1)), bad])
    with pytest.raises(ConversionError, match=message):
        conversion(path, Options())
    assert "layer 'c'" in refusal(path)


def test_connections_that_do_not_fit(tmp_path):
    layers = [image((8, 8, 1)), layer("ReLULayer", "a"), layer("ReLULayer", "b")]
    path = tmp_path / "net.h5"
    exported(path, layers, [["data", "a"], ["a", "c"]])
    assert "a connection names 'c', which is not one of its layers" in refusal(path)
    exported(path, layers, [["b", "a"], ["a", "b"]])
    assert "the layers a, b read what nothing provides" in refusal(path)
    exported(path, layers, [["data/size", "a"], ["a", "b"]])
    assert "layer 'a' reads 'data/size'; known are layers with a single output" in refusal(path)
    exported(path, layers, [["data", "a"], ["a", "b/indices"]])
    assert "layer 'b' has the input 'indices'" in refusal(path)
    exported(path, layers, [["data", "a"]])
    assert "layer 'b' (ReLULayer): nothing is connected to its input" in refusal(path)
    exported(path, [*layers, layers[1]], [])
    assert "two of its layers have the same name" in refusal(path)


def test_files_that_are_damaged(tmp_path):
    path = exported(tmp_path / "net.h5", [image((4, 4, 3), Normalization="zerocenter", Mean=normal(4, 4, 3))])
    with h5py.File(path, "a") as file:
        del file["arrays/1"]
    assert "/arrays/1: is missing" in refusal(path)
    with h5py.File(path, "a") as file:
        file["arrays/1"] = normal(5)
    assert "/arrays/1: has 5 elements; its size is [4, 4, 3]" in refusal(path)
    for text, message in (
        ("{", "is not JSON"),
        ("[]", "its format is None"),
        ('{"format": "minicam-matlab"}', "version"),
    ):
        with h5py.File(path, "a") as file:
            del file["network"]
            file["network"] = np.frombuffer(text.encode(), np.uint8)
        assert message in refusal(path)
    with h5py.File(path, "a") as file:
        del file["network"]
        file["network"] = h5py.ExternalLink("/etc/hostname", "/")
    assert "is a link to somewhere else" in refusal(path)
    path.write_bytes(path.read_bytes()[:-100])
    assert "truncated" in refusal(path)


# The package of exportNetworkToTensorFlow

PROGRAM = """#    This file was created by
#    MATLAB Deep Learning Toolbox Converter for TensorFlow Models.
import tensorflow as tf
from tensorflow import keras
from tensorflow.keras import layers

def create_model():
    data_unnormalized = keras.Input(shape=(6,5,3), name="data_unnormalized")
    data = keras.layers.Normalization(axis=(1,2,3), name="data_")(data_unnormalized)
    conv_1_prepadded = layers.ZeroPadding2D(padding=((1,0),(2,1)))(data)
    conv_1 = layers.Conv2D(8, (3,3), name="conv_1_")(conv_1_prepadded)
    relu_1 = layers.ReLU()(conv_1)
    CCNormLayer = layers.Lambda(lambda X: tf.nn.local_response_normalization(X, depth_radius=1.000000, bias=2.000000, alpha=0.100000, beta=0.500000))
    norm = CCNormLayer(relu_1)
    add = layers.Add()([norm, conv_1])
    pool = layers.MaxPool2D(pool_size=(2,2), strides=(2,2))(add)
    fc = layers.Reshape((1, 1, -1), name="fc_preFlatten1")(pool)
    fc = layers.Dense(4, name="fc_")(fc)
    softmax = layers.Softmax()(fc)
    classoutput = softmax

    model = keras.Model(inputs=[data_unnormalized], outputs=[classoutput])
    return model
"""  # noqa: E501


def package(folder, weights, program=PROGRAM):
    """As MATLAB writes it: one group for each layer, its weights numbered, their Keras shapes as attributes."""
    folder.mkdir(exist_ok=True)
    (folder / "model.py").write_text(program)
    (folder / "__init__.py").write_text('import x.model\n\nclasses = [\n    "a",\n    "b",\n    "c",\n    "d",\n]\n')
    with h5py.File(folder / "weights.h5", "w") as file:
        file["0"] = 0.0
        for number, (name, arrays) in enumerate(weights.items()):
            group = file.create_group(f"layer{number}")
            group.attrs["Name"], group.attrs["NumVars"] = name, float(len(arrays))
            for i, array in reversed(list(enumerate(arrays))):
                dataset = group.create_dataset(f"{name}var{i}", data=array.reshape(-1))
                dataset.attrs["Name"], dataset.attrs["WeightNum"] = f"v{i}", float(i)
                dataset.attrs["Shape"] = [float(size) for size in array.shape]
    return folder


@pytest.fixture
def weights():
    normalization = [normal(1, 1, 1, 3), normal(1, 1, 1, 3) ** 2]
    return {"data_": normalization, "conv_1_": [normal(3, 3, 3, 8), normal(8)], "fc_": [normal(48, 4), normal(4)]}


@pytest.mark.parametrize("named", ["", "model.py", "weights.h5"])
def test_a_package_is_parsed_and_not_run(named, weights, tmp_path):
    folder = package(tmp_path / "net", weights)
    mean, variance = weights["data_"]
    x = normal(2, 6, 5, 3)
    y = np.pad((x - mean) / np.sqrt(variance), ((0, 0), (1, 0), (2, 1), (0, 0)))
    y = convolved(y, weights["conv_1_"][0]) + weights["conv_1_"][1]
    z = jnp.maximum(y, 0)
    squares = jnp.pad(z**2, ((0, 0),) * 3 + ((1, 1),))
    z = z / (2 + 0.1 * (squares[..., :-2] + squares[..., 1:-1] + squares[..., 2:])) ** 0.5 + y
    pooled = lax.reduce_window(z, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
    scores = pooled.reshape(2, 1, 1, -1) @ weights["fc_"][0] + weights["fc_"][1]
    path = folder / named
    check(outputs(path, x)[0], jax.nn.softmax(scores))
    network = conversion(path, Options()).network
    assert network.classes == ("a", "b", "c", "d")
    assert {"data", "conv_1", "relu_1", "fc", "softmax"} <= set(network.layers)


def test_a_mean_image(weights, tmp_path):
    mean, variance = normal(1, 6, 5, 3), normal(1, 6, 5, 3) ** 2
    program = PROGRAM.replace("outputs=[classoutput]", "outputs=[data]")
    folder = package(tmp_path / "net", weights | {"data_": [mean, variance]}, program)
    x = normal(2, 6, 5, 3)
    found = conversion(folder, Options()).network.forward(np.moveaxis(x, -1, 1), ["data"])["data"]
    check(np.moveaxis(found, 1, -1), (x - mean) / np.maximum(np.sqrt(variance), 1e-7))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("import os; os.system('true')", "it is no assignment"),
        ("data = os.system('true')(data)", "it is no call of a layer|not known here"),
        ("data = layers.Conv2D(open('x').read(), 3)(data_unnormalized)", "malformed"),
        ("data = layers.Lambda(lambda X: eval('X'))(data_unnormalized)", "not the local response normalisation"),
        ("data = layers.ReLU()(nothing)", "KeyError|'nothing'"),
        ("data, x = layers.ReLU()(data_unnormalized)", "does not assign one variable"),
        ("data = data_unnormalized + 1", "it is no call of a layer"),
    ],
)
def test_programs_that_do_something_else(line, message, weights, tmp_path):
    program = PROGRAM.replace("    conv_1_prepadded", f"    {line}\n    conv_1_prepadded")
    folder = package(tmp_path / "net", weights, program)
    with pytest.raises(ConversionError, match=message):
        conversion(folder, Options())
    refusal(folder)


def test_custom_layers_of_a_package_are_listed(weights, tmp_path):
    program = PROGRAM.replace("layers.ReLU()", "myLayer(3)").replace("layers.Softmax()", "layers.LSTM(2)")
    message = refusal(package(tmp_path / "net", weights, program))
    assert message.endswith("has 2 layers that are not known here: relu_1 (myLayer), softmax (LSTM)")
    (tmp_path / "net" / "model.py").write_text("def create_model(:")
    assert "model.py is not Python" in refusal(tmp_path / "net")
    (tmp_path / "net" / "weights.h5").unlink()
    assert "there is no weights.h5; expected the package of exportNetworkToTensorFlow" in refusal(tmp_path / "net")


# .mat files, written here by mat-io itself: what MATLAB writes could not be tried


@pytest.fixture
def opaque():
    matio = pytest.importorskip("matio")
    kind = pytest.importorskip("matio.utils.matclass").MatlabOpaque

    def save(path, layers, network="SeriesNetwork", **properties):
        cell = np.empty((len(layers), 1), object)
        cell[:, 0] = [kind({"Name": one["name"], **one["properties"]}, one["class"]) for one in layers]
        matio.save_to_mat(str(path), {"net": kind({"Layers": cell, **properties}, network)}, version="v7")
        return path

    return save


def test_a_series_network(opaque, tmp_path):
    x, weight, bias = normal(2, 6, 5, 3), normal(3, 3, 3, 4), normal(4)
    options = {"FilterSize": np.array([[3.0, 3.0]]), "Stride": np.array([[1.0, 1.0]]), "PaddingMode": "same"}
    convolution = layer("Convolution2DLayer", "conv", Weights={"Value": weight}, Bias={"Value": bias}, **options)
    source = image((6, 5, 3), Normalization="none")
    source["properties"]["InputSize"] = np.array([[6.0, 5.0, 3.0]])
    path = opaque(tmp_path / "net.mat", [source, convolution, layer("ReLULayer", "relu", Dummy="x")])
    check(outputs(path, x)[0], jnp.maximum(convolved(x, weight, padding="SAME") + bias, 0))
    path = opaque(tmp_path / "net.mat", [source, convolution], "DAGNetwork")
    assert "holds layers, but not how they are connected (found ['DAGNetwork']); run tools/export_matlab.m" in refusal(
        path
    )
    table = {"Source": np.array(["data"], object), "Destination": np.array(["conv"], object)}
    path = opaque(tmp_path / "net.mat", [source, convolution], "DAGNetwork", Connections=table)
    check(outputs(path, x)[0], convolved(x, weight, padding="SAME") + bias)


def test_mat_files_without_a_network(tmp_path):
    pytest.importorskip("matio")
    scipy = pytest.importorskip("scipy.io")
    path = tmp_path / "net.mat"
    scipy.savemat(path, {"x": np.ones(3)})
    assert "holds x (ndarray), and no layers that mat-io can read; run tools/export_matlab.m" in refusal(path)
    path.write_bytes(path.read_bytes()[:150])
    assert "mat-io cannot read it" in refusal(path) or "no layers that mat-io can read" in refusal(path)
