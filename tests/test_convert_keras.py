"""Keras models: files built here by the format against JAX with channels last, and files that Keras wrote against Keras
itself where that is installed."""

import copy
import io
import json
import logging
import os
import zipfile

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from references import peak_error

from minicam.conversion import Options, conversion
from minicam.conversion.keras.files import snake_case
from minicam.errors import ConversionError


def layer(kind, name, *weights, reads=None, **options):
    """(description, weights) of a layer that reads the layers named, or in a sequence the one before."""
    config = {
        "module": "keras.layers",
        "class_name": kind,
        "config": {"name": name, **options},
        "registered_name": None,
    }
    if reads is not None:
        tensors = [{"class_name": "__keras_tensor__", "config": {"keras_history": [key, 0, 0]}} for key in reads]
        config["inbound_nodes"] = [{"args": tensors, "kwargs": {"mask": None}}] if tensors else []
    return config, weights


def sequential(path, shape, *layers):
    first = layer("InputLayer", "input", batch_shape=[None, *shape])
    return keras_file(path, {"class_name": "Sequential", "config": {"name": "model"}}, [first, *layers])


def functional(path, layers, inputs, outputs):
    config = {"name": "model", "input_layers": [[name, 0, 0] for name in inputs]}
    config["output_layers"] = [[name, 0, 0] for name in outputs]
    return keras_file(path, {"class_name": "Functional", "config": config}, layers)


def keras_file(path, config, layers):
    """A .keras file as Keras 3 writes it, or an .h5 file as Keras 2 does."""
    config = copy.deepcopy(config)
    config["config"]["layers"] = [description for description, _ in layers]
    buffer, counts = io.BytesIO(), {}
    with h5py.File(buffer if path.suffix == ".keras" else path, "w") as file:
        for description, weights in layers:
            name, kind = description["config"]["name"], snake_case(description["class_name"])
            counts[kind] = counts.get(kind, -1) + 1
            place = f"layers/{kind}" + (f"_{counts[kind]}" if counts[kind] else "") + "/vars"
            names = [str(i) for i in range(len(weights))]
            if path.suffix == ".h5":
                place, names = f"model_weights/{name}", [f"{name}/weight_{i}:0" for i in names]
            group = file.create_group(place)
            if path.suffix == ".h5":
                group.attrs["weight_names"] = [text.encode() for text in names]
            for key, array in zip(names, weights, strict=True):
                group[key] = array
        if path.suffix == ".h5":
            file.attrs["model_config"] = json.dumps(config)
    if path.suffix == ".keras":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("metadata.json", "{}")
            archive.writestr("config.json", json.dumps(config))
            archive.writestr("model.weights.h5", buffer.getvalue())
    return path


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def outputs(path, *xs, **options):
    """What minicam computes in float64 for x (N, *space, C), channels last again."""
    graph = (network := conversion(path, Options(**options), checked=False).network).graph
    feeds = {name: np.moveaxis(x, -1, 1) for name, x in zip(graph.inputs, xs, strict=True)}
    found = network.forward(feeds)
    return [np.moveaxis(found[name], 1, -1) for name in graph.outputs]


def check(found, expected):
    assert peak_error(found, np.asarray(expected)) < 1e-10


SPACES = {1: (13,), 2: (11, 8), 3: (7, 6, 5)}
LETTERS = {1: "W", 2: "HW", 3: "DHW"}


def numbers(rank):
    space = LETTERS[rank]
    return f"N{space}C", f"{space}IO", f"N{space}C"


GEOMETRIES = [(1, 1, 3), (2, 1, 3), (3, 1, 2), (2, 1, 4), (1, 2, 3)]  # stride, dilation, kernel
CASES = [(2, padding, geometry) for padding in ("same", "valid") for geometry in GEOMETRIES]


@pytest.mark.parametrize(("rank", "padding", "geometry"), [*CASES, (1, "same", (2, 1, 4)), (3, "same", (2, 1, 3))])
def test_convolutions(rank, padding, geometry, tmp_path):
    stride, dilation, size = geometry
    kernel, bias, x = normal(*(size,) * rank, 4, 6), normal(6), normal(2, *SPACES[rank], 4, seed=1)
    options = {"kernel_size": [size] * rank, "strides": [stride] * rank, "dilation_rate": [dilation] * rank}
    options |= {"padding": padding, "activation": "relu", "filters": 6}
    path = sequential(tmp_path / "m.keras", x.shape[1:], layer(f"Conv{rank}D", "conv", kernel, bias, **options))
    arguments = ((stride,) * rank, padding.upper(), None, (dilation,) * rank, numbers(rank))
    y = lax.conv_general_dilated(x, kernel, *arguments)
    check(outputs(path, x)[0], jnp.maximum(y + bias, 0))


def test_groups_and_the_names_of_a_layer_and_its_parts(tmp_path):
    kernel, x = normal(3, 3, 2, 6), normal(1, 8, 9, 4, seed=1)
    options = {"kernel_size": [3, 3], "groups": 2, "use_bias": False, "activation": "sigmoid"}
    path = sequential(tmp_path / "m.keras", x.shape[1:], layer("Conv2D", "conv", kernel, **options))
    y = lax.conv_general_dilated(x, kernel, (1, 1), "VALID", None, (1, 1), numbers(2), 2)
    check(outputs(path, x)[0], jax.nn.sigmoid(y))
    assert conversion(path, Options()).network.layers == ["conv_linear", "conv"]


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize(("stride", "size"), [(1, 3), (2, 3), (2, 4), (2, 2), (3, 2), (3, 5)])
def test_transposed_convolutions_are_the_gradient_of_convolutions(padding, stride, size, tmp_path):
    """Keras's own definition. Where several sizes of the input give one of the output, it takes size x stride."""
    kernel, bias, x = normal(size, size, 5, 4), normal(5), normal(2, 6, 7, 4, seed=1)
    options = {"kernel_size": [size] * 2, "strides": [stride] * 2, "padding": padding}
    path = sequential(tmp_path / "m.keras", x.shape[1:], layer("Conv2DTranspose", "up", kernel, bias, **options))
    space = [n * stride if padding == "same" else (n - 1) * stride + max(size, stride) for n in (6, 7)]

    def convolve(y):
        return lax.conv_general_dilated(y, kernel, (stride,) * 2, padding.upper(), dimension_numbers=numbers(2))

    _, gradient = jax.vjp(convolve, jnp.zeros((2, *space, 5)))
    check(outputs(path, x)[0], gradient(jnp.asarray(x))[0] + bias)


def test_causal_convolutions_see_no_later_step(tmp_path):
    kernel, bias, x = normal(3, 2, 4), normal(4), normal(2, 9, 2, seed=1)
    options = {"kernel_size": [3], "dilation_rate": [2], "padding": "causal"}
    path = sequential(tmp_path / "m.keras", (None, 2), layer("Conv1D", "conv", kernel, bias, **options))
    padded = np.pad(x, ((0, 0), (4, 0), (0, 0)))
    expected = [sum(padded[:, t + 2 * i] @ kernel[i] for i in range(3)) + bias for t in range(9)]
    check(outputs(path, x)[0], np.stack(expected, axis=1))


def test_depthwise_and_separable_convolutions(tmp_path):
    depth, point, bias, x = normal(3, 3, 4, 2), normal(1, 1, 8, 5), normal(5), normal(2, 9, 10, 4, seed=1)
    options = {"kernel_size": [3, 3], "strides": [2, 2], "padding": "same", "depth_multiplier": 2}
    first = layer("DepthwiseConv2D", "depthwise", depth, use_bias=False, **options)
    last = layer("SeparableConv2D", "separable", normal(3, 3, 8, 1), point, bias, kernel_size=[3, 3])
    path = sequential(tmp_path / "m.keras", x.shape[1:], first, last)
    y = lax.conv_general_dilated(x, depth.reshape(3, 3, 1, 8), (2, 2), "SAME", None, (1, 1), numbers(2), 4)
    y = lax.conv_general_dilated(y, last[1][0].reshape(3, 3, 1, 8), (1, 1), "VALID", None, (1, 1), numbers(2), 8)
    check(outputs(path, x)[0], y @ point[0, 0] + bias)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("between", [[], ["BatchNormalization"]])
def test_dense_layers_after_flattening_read_keras_s_order(suffix, between, tmp_path):
    """The batch norm makes the order explicit: it is of the vector, whose elements Keras counts channels last."""
    x, weight, bias = normal(3, 4, 5, 6), normal(120, 7), normal(7)
    gamma, beta, mean, variance = (normal(120, seed=seed) for seed in range(4))
    middle = [layer(kind, kind, gamma, beta, mean, variance**2) for kind in between]
    dense = layer("Dense", "dense", weight, bias, units=7)
    layers = (layer("Flatten", "flatten"), layer("Dropout", "dropout", rate=0.5), *middle, dense)
    path = sequential(tmp_path / f"m{suffix}", x.shape[1:], *layers)
    flat = x.reshape(3, -1)
    if between:
        flat = gamma * (flat - mean) / np.sqrt(variance**2 + 1e-3) + beta
    check(outputs(path, x)[0], flat @ weight + bias)


def test_flattening_reshaping_and_permuting_are_in_keras_s_order(tmp_path):
    x = normal(2, 4, 5, 6)
    reshape = layer("Reshape", "reshape", target_shape=[10, -1, 3])
    permute = layer("Permute", "permute", dims=[3, 1, 2])
    path = sequential(tmp_path / "m.keras", x.shape[1:], reshape, permute, layer("Flatten", "flatten"))
    check(outputs(path, x)[0], x.reshape(2, 10, 4, 3).transpose(0, 3, 1, 2).reshape(2, -1))


def test_pooling_with_padding(tmp_path):
    x = normal(2, 9, 10, 3)
    options = {"pool_size": [3, 3], "strides": [2, 2], "padding": "same"}
    window = ((1, 3, 3, 1), (1, 2, 2, 1), "SAME")
    path = sequential(tmp_path / "m.keras", x.shape[1:], layer("MaxPooling2D", "pool", **options))
    check(outputs(path, x)[0], lax.reduce_window(x, -jnp.inf, lax.max, *window))
    path = sequential(tmp_path / "m.keras", x.shape[1:], layer("AveragePooling2D", "pool", **options))
    counts = lax.reduce_window(jnp.ones_like(x), 0.0, lax.add, *window)
    check(outputs(path, x)[0], lax.reduce_window(x, 0.0, lax.add, *window) / counts)
    path = sequential(tmp_path / "m.keras", x.shape[1:], layer("GlobalMaxPooling2D", "pool"))
    check(outputs(path, x)[0], x.max(axis=(1, 2)))


def test_normalisations(tmp_path):
    x, gamma, beta = normal(2, 6, 5, 4), normal(4, seed=1), normal(4, seed=2)
    mean, variance = normal(4, seed=3), normal(4, seed=4) ** 2
    layers = (
        layer("Rescaling", "scaled", scale=0.5, offset=-1.0),
        layer("Normalization", "z", mean=mean.tolist(), variance=variance.tolist()),
        layer("BatchNormalization", "batch", beta, mean, variance, axis=-1, scale=False, epsilon=0.1),
        layer("LayerNormalization", "layer", gamma, axis=-1, center=False),
        layer("Rescaling", "negative", scale=-2.0, offset=[1.0, 2.0, 3.0, 4.0]),
    )
    y = (x * 0.5 - 1 - mean) / np.sqrt(variance)
    y = (y - mean) / np.sqrt(variance + 0.1) + beta
    y = gamma * (y - y.mean(-1, keepdims=True)) / np.sqrt(y.var(-1, keepdims=True) + 1e-3)
    check(outputs(sequential(tmp_path / "m.keras", x.shape[1:], *layers), x)[0], -2 * y + [1, 2, 3, 4])


def test_branches_and_several_inputs_and_outputs(tmp_path):
    a, b = normal(2, 4, 5, 3), normal(2, 4, 5, 2, seed=1)
    kernel, bias = normal(1, 1, 2, 3), normal(3)
    layers = [
        layer("InputLayer", "a", batch_shape=[None, 4, 5, 3], reads=[]),
        layer("InputLayer", "b c", batch_shape=[None, None, 5, 2], reads=[]),
        layer("Concatenate", "rows", axis=1, reads=["sum", "a"]),
        layer("Add", "sum", reads=["a", "conv"]),
        layer("Conv2D", "conv", kernel, bias, kernel_size=[1, 1], reads=["b c"]),
        layer("GlobalAveragePooling2D", "mean", keepdims=True, reads=["sum"]),
        layer("Multiply", "gated", reads=["sum", "mean"]),
    ]
    path = functional(tmp_path / "m.keras", layers, ["a", "b c"], ["rows", "gated"])
    rows, gated = outputs(path, a, b)
    total = a + b @ kernel[0, 0] + bias
    check(rows, np.concatenate([total, a], axis=1))
    check(gated, total * total.mean(axis=(1, 2), keepdims=True))


def test_old_files(tmp_path):
    """As Keras 2 wrote them: nodes are lists, and the input's shape is called otherwise."""
    kernel, bias, x = normal(3, 3, 2, 4), normal(4), normal(1, 6, 6, 2, seed=1)
    conv, weights = layer("Conv2D", "conv", kernel, bias, kernel_size=[3, 3], padding="same")
    leaky = layer("LeakyReLU", "leaky", alpha=0.25)[0]
    first = layer("InputLayer", "in", batch_input_shape=[None, 6, 6, 2])[0]
    for description, node in (
        (first, []),
        (conv, [[["in", 0, 0, {}]]]),
        (leaky, [[["conv", 0, 0, {"training": False}]]]),
    ):
        del description["module"], description["registered_name"]
        description["inbound_nodes"] = node
    config = {"class_name": "Model", "config": {"name": "m", "input_layers": [["in", 0, 0]]}}
    config["config"]["output_layers"] = [["leaky", 0, 0]]
    path = keras_file(tmp_path / "m.h5", config, [(first, ()), (conv, weights), (leaky, ())])
    y = lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=numbers(2)) + bias
    check(outputs(path, x)[0], jnp.where(y > 0, y, 0.25 * y))


# What is refused


def refusal(path, **options):
    with pytest.raises(ConversionError) as error:
        conversion(path, Options(**options), kind="keras")
    message = str(error.value)
    assert message.startswith(f"{path}: ")
    assert message.count(str(path)) == 1
    return message


def test_all_unknown_layers_are_listed_and_nothing_is_executed(tmp_path):
    code = layer("Lambda", "code", function={"class_name": "__lambda__", "config": {"code": "4wEAAAA="}})
    own = layer("Dense", "own")
    own[0]["module"], own[0]["registered_name"] = "my.package", "my>Dense"
    call = layer("Add", "tensor_sum")
    call[0]["module"] = "keras.src.ops.numpy"
    path = sequential(tmp_path / "m.keras", (4, 4, 1), code, own, layer("ReLU", "relu"), call, layer("LSTM", "lstm"))
    assert refusal(path).endswith(
        "has 4 layers that are not known here: code (Lambda), own (my.package), tensor_sum (keras.src.ops.numpy), "
        "lstm (LSTM)"
    )


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (layer("Conv2D", "c", normal(3, 3, 1, 2), kernel_size=[3, 3]), "it has 1 weights .* expected kernel, bias"),
        (layer("Conv2D", "c", normal(3, 3, 2, 2), normal(2), kernel_size=[3, 3]), "weight of layer 'c' has shape"),
        (layer("Conv2D", "c", normal(3), normal(2), kernel_size=[3, 3]), "its options or weights are damaged"),
        (layer("Conv2D", "c", normal(3, 3, 1, 2), normal(2), kernel_size=[3]), r"kernel_size is \[3\]; expected 2"),
        (layer("Conv2D", "c", kernel_size=[3, 3], padding="causal"), "its padding is 'causal', which is for sequences"),
        (
            layer("Conv2D", "c", data_format="channels_first"),
            "data_format is 'channels_first'; known is 'channels_last'",
        ),
        (
            layer("Flatten", "c", data_format="channels_first"),
            "data_format is 'channels_first'; known is 'channels_last'",
        ),
        (
            layer("Activation", "c", activation={"class_name": "function"}),
            "its activation is .*; known are linear, relu",
        ),
        (layer("BatchNormalization", "c", axis=1), "its option axis is 1; known is -1"),
        (layer("ReLU", "c", threshold=1.0), "its option threshold is 1.0"),
        (layer("ReLU", "c", max_value=1.0, negative_slope=0.1), "both a max_value and a negative_slope"),
        (layer("UpSampling2D", "c", interpolation="bicubic"), "interpolation is 'bicubic'"),
        (layer("Reshape", "c"), "options or weights are damaged"),
        (layer("Reshape", "c", target_shape=[5, 5]), "the numbers of elements differ"),
        (layer("ZeroPadding2D", "c", padding=[[1, 1], [1, "a"]]), "its option padding is"),
        (layer("Concatenate", "c", axis=0), "its axis is 0; expected 1 to 3"),
    ],
)
def test_options_and_weights_that_do_not_fit(bad, message, tmp_path):
    path = sequential(tmp_path / "m.keras", (8, 8, 1), bad)
    with pytest.raises(ConversionError, match=message):
        conversion(path, Options())
    assert "'c'" in refusal(path)


def test_open_sizes_and_given_shapes(tmp_path):
    options = {"pool_size": [2, 2], "padding": "same"}
    path = sequential(tmp_path / "m.keras", (None, None, 3), layer("MaxPooling2D", "pool", **options))
    assert "its padding 'same' follows from the size of the input, which is open: give its shape" in refusal(path)
    assert conversion(path, Options(input_shape=(3, 7, 9))).network.input_shape == (3, 7, 9)


def test_a_layer_that_is_called_for_training(tmp_path):
    path = tmp_path / "m.keras"
    noisy = layer("Dropout", "drop", rate=0.5, reads=["in"])
    noisy[0]["inbound_nodes"][0]["kwargs"]["training"] = True
    functional(path, [layer("InputLayer", "in", batch_shape=[None, 4], reads=[]), noisy], ["in"], ["drop"])
    assert "a layer is called with the argument True; known are other layers' outputs" in refusal(path)


def test_cycles_and_missing_layers(tmp_path):
    first = layer("InputLayer", "in", batch_shape=[None, 4], reads=[])
    loop = [layer("ReLU", "a", reads=["b"]), layer("ReLU", "b", reads=["a"])]
    path = functional(tmp_path / "m.keras", [first, *loop], ["in"], ["b"])
    assert "the layers a, b read what nothing provides" in refusal(path)
    path = functional(tmp_path / "m.keras", [first], ["in"], ["nothing"])
    assert "its description of the model is damaged" in refusal(path)


def test_weights_alone_and_other_files(tmp_path):
    path = tmp_path / "m.weights.h5"
    with h5py.File(path, "w") as file:
        file["layers/dense/vars/0"] = normal(3, 4)
    assert "holds the weights of a model without the model; write model.to_json() to m.json beside it" in refusal(path)
    with h5py.File(path, "w") as file:
        file["a"] = normal(3, 4)
    assert "holds no model of Keras" in refusal(path)
    path.write_bytes(b"nothing")
    assert "starts with the bytes" in refusal(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme", "")
    assert "is a ZIP archive without config.json" in refusal(path)


@pytest.mark.parametrize("description", ["model.json", "config.json"])
def test_weights_with_the_description_beside_them(description, tmp_path):
    conv = layer("Conv2D", "conv", normal(3, 3, 1, 2), normal(2), kernel_size=[3, 3])
    whole = sequential(tmp_path / "m.keras", (8, 8, 1), conv)
    folder = tmp_path / "unpacked"
    with zipfile.ZipFile(whole) as archive:
        archive.extract("model.weights.h5", folder)
        (folder / description).write_bytes(archive.read("config.json"))
    x = normal(1, 8, 8, 1, seed=1)
    np.testing.assert_array_equal(outputs(folder / "model.weights.h5", x), outputs(whole, x))
    (folder / description).write_text("[1]")
    assert "its description of the model is no JSON object" in refusal(folder / "model.weights.h5")


def model_bytes(tmp_path):
    conv = layer("Conv2D", "conv", normal(3, 3, 1, 2), normal(2), kernel_size=[3, 3])
    return sequential(tmp_path / "m.keras", (8, 8, 1), conv).read_bytes()


def test_archives_that_are_damaged_or_unpack_to_more_than_they_hold(tmp_path):
    data = model_bytes(tmp_path)
    path = tmp_path / "m.keras"
    for length in range(4, len(data) - 1, len(data) // 40):
        path.write_bytes(data[:length])
        refusal(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", b" " * 10**7)
    assert "its entry config.json unpacks to 10000000 bytes" in refusal(path)
    for text in (
        "{",
        "[1]",
        "[" * 100_000,
        '{"class_name": "Sequential"}',
        '{"class_name": "Sequential", "config": 3}',
    ):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("config.json", text)
            archive.writestr("model.weights.h5", zipfile.ZipFile(io.BytesIO(data)).read("model.weights.h5"))
        assert "description of the model" in refusal(path)


def test_weights_in_other_files_are_not_followed(tmp_path):
    path = tmp_path / "m.h5"
    conv = layer("Conv2D", "conv", normal(3, 3, 1, 2), normal(2), kernel_size=[3, 3])
    sequential(path, (8, 8, 1), conv)
    with h5py.File(path, "a") as file:
        del file["model_weights/conv"]
        file["model_weights/conv"] = h5py.ExternalLink("/etc/hostname", "/")
    assert "is a link to somewhere else; links are not followed" in refusal(path)
    sequential(path, (8, 8, 1), conv)
    with h5py.File(path, "a") as file:
        del file["model_weights/conv/conv/weight_1:0"]
        file.create_dataset("model_weights/conv/conv/weight_1:0", (2,), "f8", external=[("/etc/hostname", 0, 16)])
    assert "its values lie in another file" in refusal(path)


# Keras itself


@pytest.fixture(scope="module")
def keras():
    os.environ.setdefault("KERAS_BACKEND", "jax")
    logging.getLogger("absl").setLevel(logging.ERROR)
    return pytest.importorskip("keras")


by_keras = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Keras's own
ACTIVATIONS = "relu relu6 leaky_relu elu selu gelu hard_sigmoid hard_silu mish silu softplus softsign tanh exponential"
IMAGE = (11, 14, 4)
MODELS = {
    "activations": (IMAGE, lambda k: [k.Activation(name) for name in ACTIVATIONS.split()]),
    "transposed valid": (
        IMAGE,
        lambda k: [k.Conv2DTranspose(3, 3, strides=(2, 4)), k.Conv2DTranspose(2, 4, strides=3, padding="same")],
    ),
    "rectifiers": (
        IMAGE,
        lambda k: [
            k.LeakyReLU(0.2),
            k.ReLU(2.0),
            k.ReLU(None, 0.1),
            k.PReLU(shared_axes=[1, 2]),
            k.PReLU(),
            k.ELU(0.7),
            k.Softmax(),
        ],
    ),
    "sizes": (
        IMAGE,
        lambda k: [
            k.ZeroPadding2D(((1, 2), (3, 0))),
            k.Cropping2D(((1, 0), (2, 1))),
            k.UpSampling2D((2, 3)),
            k.Resizing(9, 20),
        ],
    ),
    "bilinear": (
        IMAGE,
        lambda k: [k.UpSampling2D((2, 3), interpolation="bilinear"), k.AveragePooling2D(3, strides=2, padding="same")],
    ),
    "training": (
        IMAGE,
        lambda k: [
            k.SpatialDropout2D(0.2),
            k.GaussianNoise(0.1),
            k.RandomFlip(),
            k.GaussianDropout(0.1),
            k.RandomContrast(0.2),
        ],
    ),
    "convolutions": (
        IMAGE,
        lambda k: [k.Conv2D(8, (4, 3), strides=2, padding="same", activation="relu"), k.Conv2D(6, 3, groups=2)],
    ),
    "transposed": (IMAGE, lambda k: [k.Conv2DTranspose(3, 3, strides=2, padding="same", output_padding=1)]),
    "sequence": (
        (13, 4),
        lambda k: [k.Conv1D(3, 3, padding="causal"), k.SeparableConv1D(4, 3), k.Conv1DTranspose(2, 4, strides=3)],
    ),
    "volume": (
        (6, 7, 5, 2),
        lambda k: [k.Conv3D(3, 3, strides=(2, 1, 2), padding="same"), k.MaxPooling3D(2), k.GlobalMaxPooling3D()],
    ),
    "separable": (
        IMAGE,
        lambda k: [k.SeparableConv2D(5, 3, depth_multiplier=2), k.DepthwiseConv2D(3, depth_multiplier=2)],
    ),
    "classifier": (
        IMAGE,
        lambda k: [k.Conv2D(3, 3), k.Flatten(), k.Dropout(0.3), k.Activation("relu"), k.Dense(5, activation="softmax")],
    ),
    "flattened": (IMAGE, lambda k: [k.Flatten(), k.BatchNormalization(), k.Dense(3)]),
    "dense maps": (IMAGE, lambda k: [k.Dense(6, activation="gelu"), k.Dense(2)]),
    "norms": (
        IMAGE,
        lambda k: [k.BatchNormalization(scale=False), k.LayerNormalization(center=False), k.GroupNormalization(2)],
    ),
    "adapted": (IMAGE, lambda k: [k.Normalization(), k.GroupNormalization(-1), k.BatchNormalization(center=False)]),
    "shapes": (
        IMAGE,
        lambda k: [k.Reshape((7, -1, 8)), k.Permute((2, 3, 1)), k.Reshape((-1,)), k.Reshape((4, -1)), k.Flatten()],
    ),
}


def randomise(model):
    random = np.random.default_rng(1)
    for variable in model.weights:
        if variable.dtype.startswith("float"):
            positive = "var" in variable.path
            values = (
                random.uniform(0.2, 1, variable.shape) if positive else 0.4 * random.standard_normal(variable.shape)
            )
            variable.assign(values)
    return model


@by_keras
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("name", MODELS)
def test_models_that_keras_saved(name, suffix, keras, tmp_path):
    shape, layers = MODELS[name]
    model = randomise(keras.Sequential([keras.layers.Input(shape), *layers(keras.layers)]))
    model.save(tmp_path / f"m{suffix}")
    found = conversion(tmp_path / f"m{suffix}", Options())
    assert found.check.difference < 1e-5
    assert found.check.by == f"Keras {keras.__version__} ({keras.backend.backend()})"


@by_keras
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_models_in_models_and_shared_layers(suffix, keras, tmp_path):
    layers = keras.layers
    a, b = layers.Input((8, 9, 3), name="a"), layers.Input((8, 9, 2), name="b c")
    shared = layers.Conv2D(4, 3, padding="same")
    y = layers.Add()([shared(a), shared(layers.Conv2D(3, 1)(b))])
    z = layers.Concatenate(axis=1)([y, layers.Multiply()([y, layers.GlobalAveragePooling2D(keepdims=True)(y)])])
    start = layers.Input((16, 9, 4))
    inner = keras.Model(start, [layers.Conv2D(4, 3, padding="same")(start), layers.Flatten()(start)], name="inner")
    sequence = keras.Sequential([layers.Input((16, 9, 4)), layers.RandomFlip(), layers.Conv2D(4, 1)])
    p, q = inner(inner(sequence(sequence(z)))[0])
    model = randomise(keras.Model([a, b], [layers.Dense(2)(q), p, layers.BatchNormalization()(p), sequence(z)]))
    model.save(tmp_path / f"m{suffix}")
    assert conversion(tmp_path / f"m{suffix}", Options()).check.difference < 1e-5


@by_keras
def test_weights_that_keras_saved_alone(keras, tmp_path):
    path = tmp_path / "m.weights.h5"
    model = randomise(keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(2), keras.layers.Dense(3)]))
    model.save_weights(path)
    assert "holds the weights of a model without the model" in refusal(path)
    (tmp_path / "m.json").write_text(model.to_json())
    assert conversion(path, Options()).check.difference < 1e-5
