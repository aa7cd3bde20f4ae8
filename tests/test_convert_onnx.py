"""ONNX files: what becomes of them, against ONNX Runtime, and which are refused."""

import os

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_models import keras_model, matlab_model, model, random, save

import minicam as mc
from minicam.conversion import Options, conversion
from minicam.conversion.onnx.names import layer_names
from minicam.ops import BatchNorm, Conv, ConvTranspose, Dense, Greater, GroupNorm, Normalize

pytest.importorskip("onnxruntime")


def read(tmp_path, proto, **options):
    """The conversion of a model, which has to agree with ONNX Runtime to 1e-5 of the peak."""
    found = conversion(save(proto, tmp_path / "model.onnx"), Options(**options))
    assert found.check.by.startswith("ONNX Runtime")
    assert found.check.difference < 1e-5
    return found


def ops_of(network):
    return {node.name: node.op for node in network.graph.nodes}


def refusal(tmp_path, proto, **options):
    with pytest.raises(mc.ConversionError) as error:
        conversion(save(proto, tmp_path / "model.onnx"), Options(**options))
    return str(error.value)


def test_a_matlab_export_has_matlabs_layers(tmp_path):
    network = read(tmp_path, matlab_model()).network
    assert network.layers == [
        *("data", "conv_1", "batchnorm", "relu_1", "maxpool", "up", "gap", "fc_flatten", "fc", "softmax")
    ]
    ops = ops_of(network)
    assert isinstance(ops["data"], Normalize)
    np.testing.assert_allclose(network.parameters()["data"]["mean"], 100 + random(1, 3, 1, 1).ravel(), rtol=1e-6)
    assert ops["up"] == ConvTranspose(4, (2, 2), stride=2, groups=4), "a weight that is diagonal is stored per channel"
    assert network.parameters()["up"]["weight"].shape == (4, 1, 2, 2)


def test_a_keras_export_loses_its_transpositions(tmp_path):
    found = read(tmp_path, keras_model())
    network = found.network
    assert network.layers == ["conv2d", "re_lu", "rescaling", "up", "concatenate", "head", "softmax"]
    assert network.graph.inputs == {"input_1": (3, 10, 12)}
    assert [note.split(" is ")[0] for note in found.notes] == ["input 'input_1'", "output 'softmax'"]
    assert ops_of(network)["conv2d"] == Conv(4, (3, 3), stride=2, padding=((0, 1), (0, 1)))
    np.testing.assert_array_equal(network.parameters()["conv2d"]["bias"], random(4))


def test_names_are_those_of_modules_or_weights_or_made_of_kind_and_output():
    def named(*nodes):
        made = [helper.make_node(kind, inputs, [f"t{i}"], name) for i, (kind, inputs, name) in enumerate(nodes)]
        return layer_names(made, {"conv1.weight", "fc_W", "a.b.weight"}, {"x"})

    pytorch = [
        ("Conv", ["x", "w"], "/layer1/layer1.0/conv1/Conv"),
        ("Relu", ["t0"], "/layer1/layer1.0/relu/Relu"),
        ("Add", ["t1", "t0"], "/layer1/layer1.0/Add"),
        ("Gemm", ["t2", "w"], "/fc/Gemm"),
    ]
    assert named(*pytorch) == ["layer1.0.conv1", "layer1.0.relu", "layer1.0.Add", "fc"]
    counted = [("Conv", ["x", "conv1.weight"], "Conv_0"), ("Relu", ["t0"], "Relu_1"), ("Conv", ["x", "a.b.weight"], "")]
    assert named(*counted) == ["conv1", "Relu_1", "a.b"]
    assert named(("Gemm", ["x", "fc_W"], "node_linear"), ("Relu", ["t0"], "node_relu")) == ["fc", "relu"]
    assert named(("Relu", ["x"], ""), ("Relu", ["t0"], "x"), ("Relu", ["t1"], "π r²")) == ["Relu_t0", "x_2", "__r_"]


PADDINGS = {
    "same upper": ("Conv", (3, 2), {"auto_pad": "SAME_UPPER", "strides": [2, 3]}),
    "same lower": ("Conv", (2, 4), {"auto_pad": "SAME_LOWER", "strides": [1, 2]}),
    "valid": ("Conv", (3, 3), {"auto_pad": "VALID"}),
    "asymmetric, in groups": ("Conv", (3, 3), {"pads": [0, 2, 1, 3], "group": 2}),
    "transposed, output padding": ("ConvTranspose", (3, 3), {"strides": [2, 3], "output_padding": [1, 2]}),
    "transposed, asymmetric": ("ConvTranspose", (4, 3), {"pads": [1, 0, 2, 1], "strides": [2, 2]}),
    "transposed, output shape": ("ConvTranspose", (3, 3), {"strides": [2, 2], "output_shape": [16, 19]}),
    "transposed, same upper": ("ConvTranspose", (3, 3), {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    "transposed, beyond its reach": ("ConvTranspose", (2, 2), {"strides": [3, 3], "output_padding": [2, 2]}),
    "max, ceil mode": ("MaxPool", (3, 3), {"strides": [2, 2], "ceil_mode": 1}),
    "max, ceil mode, window outside": ("MaxPool", (1, 2), {"strides": [2, 3], "ceil_mode": 1, "pads": [0, 1, 0, 1]}),
    "max, dilated": ("MaxPool", (2, 3), {"dilations": [3, 2]}),
    "average, ceil mode": ("AveragePool", (3, 2), {"strides": [2, 3], "ceil_mode": 1, "pads": [1, 0, 1, 1]}),
    "average, ceil mode, counting": (
        "AveragePool",
        (3, 2),
        {"strides": [2, 3], "ceil_mode": 1, "pads": [1, 0, 1, 1], "count_include_pad": 1},
    ),
    "average, same lower": ("AveragePool", (2, 4), {"auto_pad": "SAME_LOWER"}),
    "response": ("LRN", (), {"size": 3, "alpha": 0.5, "bias": 2.0, "beta": 0.5}),
}


@pytest.mark.parametrize("case", PADDINGS)
def test_padding_is_onnx_runtimes(case, tmp_path):
    kind, kernel, attributes = PADDINGS[case]
    constants = {}
    if "Conv" in kind:
        shape = (4, 4 // attributes.get("group", 1), *kernel)
        constants = {"w": random(*shape), "b": random(4)}
    if kernel:
        attributes = {"kernel_shape": list(kernel), **attributes}
    node = (kind, ["x", *constants], ["y"], attributes, "layer")
    read(tmp_path, model([node], {"x": ["N", 4, 8, 9]}, {"y": None}, constants))


def test_response_normalisation_of_an_even_size_reaches_further_up(tmp_path):
    """ONNX Runtime has odd sizes only, and onnx's reference is wrong: it counts samples in place of channels."""
    node = ("LRN", ["x"], ["y"], {"size": 4, "alpha": 2.0, "beta": 1.0, "bias": 1.0}, "norm")
    found = conversion(save(model([node], {"x": [1, 5, 2, 2]}, {"y": None}), tmp_path / "model.onnx"), Options())
    assert found.check.difference is None
    assert "onnx's reference is wrong for LRN" in str(found.check)
    x = np.arange(20.0).reshape(1, 5, 2, 2)
    sums = [sum(x[0, j] ** 2 for j in range(max(0, c - 1), min(5, c + 3))) for c in range(5)]
    np.testing.assert_allclose(found.network.forward(x)["norm"][0], x[0] / (1 + 2 / 4 * np.array(sums)), rtol=1e-12)


def test_shape_arithmetic_is_folded(tmp_path):
    """The flattening that PyTorch writes for x.view(x.size(0), -1), and a resizing to the size of another tensor."""
    nodes = [
        ("MaxPool", ["x"], ["p"], {"kernel_shape": [2, 2], "strides": [2, 2]}, "pool"),
        ("Shape", ["x"], ["s"], {}),
        ("Slice", ["s", "two", "four", "zero"], ["hw"], {}),
        ("Shape", ["p"], ["ps"], {}),
        ("Slice", ["ps", "zero", "two", "zero"], ["nc"], {}),
        ("Concat", ["nc", "hw"], ["sizes"], {"axis": 0}),
        ("Resize", ["p", "", "", "sizes"], ["u"], {"mode": "nearest", "nearest_mode": "floor"}, "up"),
        ("Gather", ["s", "first"], ["n"], {"axis": 0}),
        ("Unsqueeze", ["n", "zero"], ["n1"], {}),
        ("Concat", ["n1", "rest"], ["flat"], {"axis": 0}),
        ("Reshape", ["u", "flat"], ["f"], {}, "flatten"),
        ("MatMul", ["f", "w"], ["m"], {}, "fc"),
        ("Add", ["m", "b"], ["y"], {}, "fc_bias"),
    ]
    constants = {
        **{"zero": np.array([0]), "two": np.array([2]), "four": np.array([4]), "first": np.array(0)},
        **{"rest": np.array([-1]), "w": random(96, 5), "b": random(5)},
    }
    network = read(tmp_path, model(nodes, {"x": ["N", 2, 6, 8]}, {"y": None}, constants)).network
    assert network.layers == ["pool", "up", "flatten", "fc"]
    assert isinstance(ops_of(network)["fc"], Dense)
    assert network.parameters()["fc"]["bias"].any()


def test_open_sizes_stay_open_where_they_can(tmp_path):
    nodes = [
        ("Conv", ["x", "w"], ["c"], {"pads": [1, 1, 1, 1]}, "conv"),
        ("Shape", ["x"], ["s"], {}),
        ("Slice", ["s", "two", "four", "zero"], ["hw"], {}),
        ("MaxPool", ["c"], ["p"], {"kernel_shape": [2, 2], "strides": [2, 2]}, "pool"),
        ("Shape", ["p"], ["ps"], {}),
        ("Slice", ["ps", "zero", "two", "zero"], ["nc"], {}),
        ("Concat", ["nc", "hw"], ["sizes"], {"axis": 0}),
        ("Resize", ["p", "", "", "sizes"], ["y"], {"mode": "linear"}, "up"),
    ]
    constants = {"zero": np.array([0]), "two": np.array([2]), "four": np.array([4]), "w": random(3, 2, 3, 3)}
    network = read(tmp_path, model(nodes, {"x": ["N", 2, "H", "W"]}, {"y": None}, constants)).network
    assert network.graph.inputs == {"x": (2, None, None)}
    for size in (6, 10):
        assert network.forward(np.ones((1, 2, size, size + 2)))["up"].shape == (1, 3, size, size + 2)

    flat = [("Flatten", ["x"], ["f"], {}, "flat"), ("Gemm", ["f", "w"], ["y"], {}, "fc")]
    proto = model(flat, {"x": ["N", 2, "H", 3]}, {"y": None}, {"w": random(24, 5)})
    assert "must be a fixed number here" in refusal(tmp_path, proto)
    assert read(tmp_path, proto, input_shape=(2, 4, 3)).network.graph.inputs == {"x": (2, 4, 3)}


def test_several_inputs_and_outputs(tmp_path):
    nodes = [
        ("Conv", ["a", "w"], ["c"], {}, "conv"),
        ("Mul", ["c", "gate"], ["m"], {}, "gated"),
        ("Sigmoid", ["m"], ["s"], {}, "probability"),
        ("ArgMax", ["s"], ["labels"], {"axis": 1}, "labels"),
    ]
    inputs = {"a": ["N", 2, 5, 5], "gate": ["N", 3, 1, 1]}
    proto = model(nodes, inputs, {"m": None, "labels": None}, {"w": random(3, 2, 1, 1)})
    proto.graph.output[1].type.tensor_type.elem_type = TensorProto.INT64
    found = read(tmp_path, proto)
    assert found.network.graph.outputs == ("gated", "probability")
    assert list(found.network.graph.inputs) == ["a", "gate"]
    assert found.notes == ("output 'labels', the largest channel, is left out, since it has no gradient",)


def test_a_bias_is_not_given_to_a_layer_that_others_read(tmp_path):
    nodes = [
        ("Conv", ["x", "w"], ["c"], {}, "conv"),
        ("Transpose", ["c"], ["t"], {"perm": [0, 2, 3, 1]}),
        ("Add", ["t", "b"], ["a"], {}, "shifted"),
        ("Transpose", ["a"], ["back"], {"perm": [0, 3, 1, 2]}),
        ("Sub", ["back", "c"], ["y"], {}, "difference"),
    ]
    constants = {"w": random(3, 2, 1, 1), "b": random(3)}
    network = read(tmp_path, model(nodes, {"x": ["N", 2, 5, 5]}, {"y": None}, constants)).network
    assert network.layers == ["conv", "shifted", "difference"]
    assert isinstance(ops_of(network)["shifted"], BatchNorm)
    values = network.forward(np.zeros((1, 2, 5, 5)))["difference"]
    np.testing.assert_allclose(values, np.broadcast_to(random(3).reshape(3, 1, 1), (1, 3, 5, 5)), rtol=1e-6)


def test_an_if_whose_condition_is_known_becomes_its_branch(tmp_path):
    def branch(kind, name):
        node = helper.make_node(kind, ["x"], [f"{name}_y"], name)
        return helper.make_graph([node], name, [], [helper.make_tensor_value_info(f"{name}_y", 1, None)])

    attributes = {"then_branch": branch("Relu", "yes"), "else_branch": branch("Loop", "no")}
    nodes = [
        ("Shape", ["x"], ["s"], {}),
        ("Gather", ["s", "one"], ["channels"], {}),
        ("Equal", ["channels", "two"], ["condition"], {}),
        ("If", ["condition"], ["y"], {**attributes, "else_branch": branch("Sigmoid", "no")}, "choice"),
    ]
    constants = {"one": np.array(1), "two": np.array(2)}
    network = read(tmp_path, model(nodes, {"x": ["N", 2, 3]}, {"y": None}, constants)).network
    assert network.layers == ["yes"]


def test_all_that_is_unsupported_is_listed(tmp_path):
    nodes = [
        ("GridSample", ["x", "grid"], ["g"], {}, "warp"),
        ("Relu", ["g"], ["r"], {}, "relu"),
        ("NonZero", ["r"], ["z"], {}, "places"),
        ("Conv", ["x", "x"], ["c"], {}, "dynamic"),
        ("Transpose", ["x"], ["t"], {"perm": [1, 0, 2, 3]}, "swap"),
    ]
    constants = {"grid": random(1, 4, 4, 2)}
    outputs = {"z": None, "c": None, "t": None}
    proto = model(nodes, {"x": [1, 1, 4, 4]}, outputs, constants)
    proto.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
    text = refusal(tmp_path, proto)
    assert text.splitlines()[0].endswith("model.onnx: cannot be converted, because of 4 things:")
    assert text.splitlines()[1:] == [
        "  warp (GridSample): minicam has no such op",
        "  places (NonZero): minicam has no such op",
        "  dynamic (Conv): input 1 ('x') is not a constant; minicam needs it as one",
        "  swap (Transpose): moves axis 0, which counts samples; minicam treats each sample alone",
    ]


def test_an_op_of_another_domain_is_named(tmp_path):
    proto = model([("Relu", ["x"], ["r"], {}), ("FusedConv", ["r"], ["y"], {}, "fused")], {"x": [1, 2]}, {"y": None})
    proto.graph.node[1].domain = "com.microsoft"
    proto.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    assert "fused (FusedConv): is an op of the domain 'com.microsoft'" in refusal(tmp_path, proto)


def test_whole_numbers_as_input_are_refused(tmp_path):
    proto = model([("Relu", ["x"], ["y"], {})], {"x": [1, 2]}, {"y": None})
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.elem_type = TensorProto.INT32
    assert "x (input): has values of type INT32; minicam's inputs are floating point" in refusal(tmp_path, proto)


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.9, 0.999])
def test_a_truncated_file_is_refused(keep, tmp_path):
    data = matlab_model().SerializeToString()
    path = tmp_path / "model.onnx"
    path.write_bytes(data[: int(keep * len(data))])
    with pytest.raises(mc.ConversionError, match=r"model\.onnx: .*(truncated|not a valid)"):
        conversion(path, Options())


def test_damaged_files_give_an_error_or_a_network(tmp_path):
    """Bytes changed at random: never another kind of error, and never a hang."""
    data = bytearray(keras_model().SerializeToString())
    random_bytes = np.random.default_rng(0)
    refused = 0
    for _ in range(60):
        spoiled = bytearray(data)
        for place in random_bytes.integers(0, len(data), 4):
            spoiled[place] = random_bytes.integers(256)
        path = tmp_path / "model.onnx"
        path.write_bytes(spoiled)
        try:
            conversion(path, Options(), kind="onnx", checked=False)
        except mc.ConversionError as error:
            refused += str(error).startswith(f"{path}: ")
    assert refused > 20


def test_what_would_not_fit_in_memory_is_refused(tmp_path):
    huge = np.array([1, 100_000, 100_000], np.int64)
    nodes = [("ConstantOfShape", ["shape"], ["c"], {}, "huge"), ("Add", ["x", "c"], ["y"], {}, "add")]
    text = refusal(tmp_path, model(nodes, {"x": [1, 2, 3]}, {"y": None}, {"shape": huge}))
    assert "huge (ConstantOfShape): would make a constant of 1e+10 elements" in text
    growing = [("Tile", ["c" if i == 0 else f"t{i}", "repeats"], [f"t{i + 1}"], {}, f"tile{i}") for i in range(40)]
    nodes = [*growing, ("Add", ["x", "t40"], ["y"], {}, "add")]
    constants = {"c": np.ones((1, 1000), np.float32), "repeats": np.array([1, 10])}
    assert "elements" in refusal(tmp_path, model(nodes, {"x": [1, 1000]}, {"y": None}, constants))


def external(tmp_path, location, data=None, length=None):
    """A model whose weight lies in another file."""
    weight = random(3, 2, 1, 1)
    proto = model([("Conv", ["x", "w"], ["y"], {}, "conv")], {"x": [1, 2, 4, 4]}, {"y": None}, {"w": weight})
    tensor = proto.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, "offset": "4", "length": str(length or weight.nbytes)}.items():
        tensor.external_data.add(key=key, value=value)
    folder = tmp_path / "model"
    folder.mkdir(exist_ok=True)
    data = b"1234" + weight.tobytes() if data is None else data
    for place in (tmp_path / "weights.bin", folder / "weights.bin"):
        place.write_bytes(data)
    path = folder / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    return path, weight


def test_external_data_in_the_models_folder_is_read(tmp_path):
    path, weight = external(tmp_path, "weights.bin")
    found = conversion(path, Options())
    assert found.check.difference < 1e-5
    np.testing.assert_array_equal(found.network.parameters()["conv"]["weight"], weight)


@pytest.mark.parametrize(
    "location", ["../weights.bin", "sub/../../weights.bin", "/etc/passwd", "", ".", "..\\weights.bin", "c:weights.bin"]
)
def test_external_data_outside_the_models_folder_is_refused(location, tmp_path):
    path, _ = external(tmp_path, location)
    with pytest.raises(mc.ConversionError, match=r"tensor 'w': its external data .* is not a path inside the model's"):
        conversion(path, Options())


def test_external_data_behind_a_link_is_refused(tmp_path):
    path, _ = external(tmp_path, "linked.bin")
    os.symlink(tmp_path / "weights.bin", path.parent / "linked.bin")
    os.symlink(tmp_path, path.parent / "folder")
    with pytest.raises(mc.ConversionError, match=r"'linked\.bin' is reached through a link"):
        conversion(path, Options())
    path, _ = external(tmp_path, "folder/weights.bin")
    with pytest.raises(mc.ConversionError, match=r"'folder/weights\.bin' is reached through a link"):
        conversion(path, Options())


def test_external_data_of_another_length_is_refused(tmp_path):
    path, _ = external(tmp_path, "weights.bin", data=b"12345678")
    with pytest.raises(mc.ConversionError, match=r"weights\.bin has 8 bytes; expected 24 from 4 on"):
        conversion(path, Options())
    path, _ = external(tmp_path, "weights.bin", length=2**40)
    with pytest.raises(mc.ConversionError, match=f"the model says {2**40}"):
        conversion(path, Options())
    path, _ = external(tmp_path, "missing.bin")
    with pytest.raises(mc.ConversionError, match=r"'missing\.bin' is not there as a plain file"):
        conversion(path, Options())


def test_the_runner_of_onnx_itself_takes_over_where_the_runtime_is_missing(tmp_path, monkeypatch):
    from minicam.conversion.onnx import running

    monkeypatch.setattr(running.importlib.util, "find_spec", lambda name: None)
    found = conversion(save(keras_model(), tmp_path / "model.onnx"), Options())
    assert found.check.by == f"onnx.reference {onnx.__version__}"
    assert found.check.difference < 1e-5


def test_a_weight_may_be_computed_from_others(tmp_path):
    nodes = [
        ("Mul", ["v", "g"], ["w"], {}, "norm"),
        ("Conv", ["x", "w"], ["y"], {}, "conv"),
    ]
    constants = {"v": random(3, 2, 1, 1), "g": random(3, 1, 1, 1)}
    network = read(tmp_path, model(nodes, {"x": [1, 2, 4, 4]}, {"y": None}, constants)).network
    np.testing.assert_array_equal(network.parameters()["conv"]["weight"], constants["v"] * constants["g"])


def test_float16_weights_are_kept(tmp_path):
    proto = model([("Conv", ["x", "w"], ["y"], {}, "conv")], {"x": [1, 2, 4, 4]}, {"y": None})
    proto.graph.initializer.append(numpy_helper.from_array(random(3, 2, 1, 1).astype(np.float16), "w"))
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.elem_type = TensorProto.FLOAT16
    found = conversion(save(proto, tmp_path / "model.onnx"), Options())
    assert found.check.difference < 1e-3


def test_group_normalisation_in_pieces_becomes_one_layer(tmp_path):
    """As PyTorch writes it: to (N, groups, -1), instance normalisation, and back; here with open sizes."""
    nodes = [
        ("Conv", ["x", "w"], ["c"], {}, "conv"),
        ("Reshape", ["c", "grouped"], ["r"], {}, "/norm/Reshape"),
        ("InstanceNormalization", ["r", "ones", "zeros"], ["i"], {"epsilon": 0.1}, "/norm/InstanceNormalization"),
        ("Shape", ["c"], ["s"], {}),
        ("Reshape", ["i", "s"], ["b"], {}, "/norm/Reshape_1"),
        ("Relu", ["b"], ["y"], {}, "relu"),
    ]
    constants = {"w": random(6, 2, 1, 1), "grouped": np.array([0, 3, -1])}
    constants |= {"ones": 1 + random(3), "zeros": random(3, seed=1)}
    network = read(tmp_path, model(nodes, {"x": ["N", 2, "H", "W"]}, {"y": None}, constants)).network
    assert network.layers == ["conv", "norm.Reshape_1", "relu"]
    assert ops_of(network)["norm.Reshape_1"] == GroupNorm(3, 0.1)


def test_a_model_for_a_fixed_number_of_samples_takes_any(tmp_path):
    nodes = [("Reshape", ["x", "flat"], ["f"], {}, "flat"), ("Gemm", ["f", "w"], ["y"], {}, "fc")]
    constants = {"flat": np.array([4, -1]), "w": random(12, 3)}
    network = read(tmp_path, model(nodes, {"x": [4, 2, 2, 3]}, {"y": None}, constants)).network
    assert network.forward(np.ones((7, 2, 2, 3)))["fc"].shape == (7, 3)


def test_a_constant_of_any_shape_takes_part(tmp_path):
    """One number per position, per channel on the left of a minus, and a power."""
    nodes = [
        ("Add", ["x", "positions"], ["a"], {}, "embedded"),
        ("Sub", ["channels", "a"], ["s"], {}, "mirrored"),
        ("Mul", ["s", "s"], ["m"], {}, "square"),
        ("Pow", ["m", "half"], ["y"], {}, "magnitude"),
    ]
    constants = {"positions": random(3, 4), "channels": random(2, 1, 1), "half": np.float32(0.5)}
    network = read(tmp_path, model(nodes, {"x": ["N", 2, 3, 4]}, {"y": None}, constants)).network
    assert network.layers[-3:] == ["mirrored", "square", "magnitude"]


def test_comparisons_choose_between_layers(tmp_path):
    """All four, with constants on both sides, and a Where of each."""
    nodes = [
        ("Mul", ["x", "third"], ["a"], {}, "scaled"),
        ("Sign", ["a"], ["s"], {}, "sign"),
        ("Greater", ["x", "zero"], ["g"], {}, "greater"),
        ("GreaterOrEqual", ["s", "rows"], ["ge"], {}, "at_least"),
        ("Less", ["rows", "a"], ["l"], {}, "less"),
        ("LessOrEqual", ["one", "s"], ["le"], {}, "at_most"),
        ("Where", ["g", "a", "rows"], ["w1"], {}, "first"),
        ("Where", ["ge", "zero", "w1"], ["w2"], {}, "second"),
        ("Where", ["l", "w2", "one"], ["w3"], {}, "third"),
        ("Where", ["mask", "w3", "x"], ["w4"], {}, "masked"),
        ("Cast", ["le"], ["c"], {"to": 1}),
        ("Sub", ["w4", "c"], ["y"], {}, "last"),
    ]
    constants = {"zero": np.float32(0), "one": np.float32(1), "third": np.float32(1 / 3), "mask": random(3, 1) > 0}
    constants["rows"] = np.array([[-1], [0], [1]], np.float32)
    network = read(tmp_path, model(nodes, {"x": ["N", 2, 3, 4]}, {"y": None}, constants)).network
    ops = ops_of(network)
    assert ops["less"] == ops["greater"] == Greater()
    assert ops["at_least"] == ops["at_most"] == Greater(equal=True)
    x = np.arange(-12.0, 12).reshape(1, 2, 3, 4)
    values = network.forward(x, network.layers)
    np.testing.assert_array_equal(values["sign"], np.sign(x))
    np.testing.assert_array_equal(values["at_least"], np.sign(x) >= constants["rows"])
    np.testing.assert_array_equal(values["at_most"], np.sign(x) >= 1)
