"""Weights of PyTorch's networks: what minicam computes from them against PyTorch, and files that are refused."""

import contextlib
import io
import pickle
import struct
import sys
import types
import zipfile

import numpy as np
import pytest
from references import peak_error, require_torch

from minicam.conversion import Options, conversion
from minicam.conversion.pytorch.state import torch_state
from minicam.errors import ConversionError, MinicamError

torch = require_torch()
import torch_modules as modules  # noqa: E402

NETWORKS = {
    "resnet18": (lambda: modules.ResNet18(7), (3, 70, 65)),
    "squeezenet1_1": (lambda: modules.SqueezeNet(5), (3, 71, 66)),
    "googlenet": (lambda: modules.GoogLeNet(6), (3, 75, 66)),
    "smp_unet_resnet18": (lambda: modules.Unet(3), (3, 32, 64)),
    "smp_deeplabv3plus_resnet18": (lambda: modules.DeepLabV3Plus(4, decoder_channels=48), (3, 32, 64)),
}


def pixels(shape):
    return np.random.default_rng(0).uniform(0, 255, (2, *shape))


def scores_by_torch(model, network, x):
    """What the module gives in float64 for the pixels, normalised as the network does it."""
    p = network.parameters(np.float64)["data"]
    normalised = (x - p["mean"].reshape(-1, 1, 1)) / p["std"].reshape(-1, 1, 1)
    with torch.no_grad():
        return model.double()(torch.tensor(normalised)).numpy()


def scores_by_minicam(network, x):
    layer = network.graph.nodes[-1].inputs[0]
    return network.forward(x, [layer])[layer]


def check_scores(path, model, shape, **options):
    found = conversion(path, Options(input_shape=(shape[0], None, None), **options))
    x = pixels(shape)
    expected = scores_by_torch(model, found.network, x)
    assert peak_error(scores_by_minicam(found.network, x).reshape(expected.shape), expected) < 1e-10
    return found


@pytest.mark.parametrize("name", NETWORKS)
def test_weights_give_what_pytorch_computes(name, tmp_path):
    build, shape = NETWORKS[name]
    model = modules.randomise(build())
    torch.save(model.state_dict(), tmp_path / "weights.pth")
    found = check_scores(tmp_path / "weights.pth", model, shape)
    assert found.notes[0] == f"read as {name}"
    assert "assumed" in found.notes[1]
    assert found.check.difference is None
    assert "not installed" in found.check.by


def test_a_deeplab_of_plain_dilated_convolutions_for_grey_images_and_one_class(tmp_path):
    model = modules.DeepLabV3Plus(1, in_channels=1, decoder_channels=32, decoder_aspp_separable=False)
    torch.save(modules.randomise(model).state_dict(), tmp_path / "weights.pt")
    found = check_scores(tmp_path / "weights.pt", model, (1, 32, 64), mean=(100.0,), std=(50.0,))
    assert type(found.network.graph.nodes[-1].op).__name__ == "Sigmoid"
    assert found.notes[1] == "pixels from 0 to 255 are normalised by mean (100.0,) and std (50.0,)"


def test_the_camvid_twin(tmp_path):
    import deeplab_twin

    model = modules.randomise(deeplab_twin.DeepLab())
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    found = check_scores(tmp_path / "weights.pt", model, (3, 32, 48))
    assert found.network.classes[3] == "Road"
    assert found.network.colors[3] == (128, 64, 128)


def test_the_result_is_compared_with_torchvision_where_that_is_installed(tmp_path, monkeypatch):
    """Here with the twins in its place."""

    def squeezenet1_1(weights, num_classes):
        assert weights is None
        return modules.SqueezeNet(num_classes)

    def googlenet(weights, num_classes, aux_logits, init_weights, transform_input):
        assert (weights, aux_logits, init_weights, transform_input) == (None, True, False, False)
        return modules.GoogLeNet(num_classes)

    models = types.SimpleNamespace(squeezenet1_1=squeezenet1_1, googlenet=googlenet)
    monkeypatch.setitem(sys.modules, "torchvision", types.SimpleNamespace(__version__="0.1", models=models))
    monkeypatch.setitem(sys.modules, "torchvision.models", models)
    for model in (modules.SqueezeNet(5), modules.GoogLeNet(6)):
        torch.save(modules.randomise(model).state_dict(), tmp_path / "weights.pt")
        found = conversion(tmp_path / "weights.pt", Options(input_shape=(3, 64, 64)))
        assert found.check.difference < 1e-5
        assert found.check.by == f"PyTorch {torch.__version__} and torchvision 0.1"


def test_the_result_is_compared_with_segmentation_models_where_that_is_installed(tmp_path, monkeypatch):
    def unet(encoder, encoder_weights, **options):
        assert (encoder, encoder_weights) == ("resnet18", None)
        return modules.Unet(**options)

    def deeplab(encoder, encoder_weights, **options):
        assert (encoder, encoder_weights) == ("resnet18", None)
        return modules.DeepLabV3Plus(**options)

    package = types.SimpleNamespace(Unet=unet, DeepLabV3Plus=deeplab)
    monkeypatch.setitem(sys.modules, "segmentation_models_pytorch", package)
    for model in (modules.Unet(2, decoder_channels=(64, 32, 16, 16, 8)), modules.DeepLabV3Plus(2, 3, 32, False)):
        torch.save(modules.randomise(model).state_dict(), tmp_path / "weights.pt")
        assert conversion(tmp_path / "weights.pt", Options(input_shape=(3, 64, 64))).check.difference < 1e-5


@pytest.fixture(scope="module")
def squeezenet():
    return modules.randomise(modules.SqueezeNet(3)).state_dict()


def same(found, expected):
    assert list(found) == list(expected)
    for name, tensor in expected.items():
        assert np.array_equal(found[name], tensor.numpy()), name
        assert found[name].dtype == tensor.numpy().dtype, name


def test_the_format_before_pytorch_1_6(squeezenet, tmp_path):
    torch.save(squeezenet, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    same(torch_state(tmp_path / "old.pth"), squeezenet)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {"epoch": 3, "state_dict": state, "optimizer": {"lr": 0.1, "steps": [torch.ones(2)]}},
        lambda state: {"model": state, "loss": 0.5, "size": torch.Size([2, 3]), "type": torch.float16},
        lambda state: {"weights of the best epoch": state},
        lambda state: {f"module.{name}": value for name, value in state.items()},
        lambda state: {"state_dict": {f"_orig_mod.module.{name}": value for name, value in state.items()}},
        lambda state: {name: torch.nn.Parameter(value) for name, value in state.items()},
    ],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_checkpoints_and_wrapped_modules(wrap, zipped, squeezenet, tmp_path):
    torch.save(wrap(squeezenet), tmp_path / "weights.pt", _use_new_zipfile_serialization=zipped)
    same(torch_state(tmp_path / "weights.pt"), squeezenet)


@pytest.mark.parametrize("zipped", [True, False])
def test_types_views_and_orders_of_memory(zipped, tmp_path):
    values = torch.arange(48.0).reshape(2, 3, 2, 4) / 7
    shared = torch.arange(10)
    tensors = {
        "double": values.double(),
        "half": values.half(),
        "channels_last": values.contiguous(memory_format=torch.channels_last),
        "transposed": values.permute(3, 0, 2, 1),
        "part": shared[2:7],
        "every_second": shared[1::2],
        "scalar": torch.tensor(3),
        "empty": torch.zeros(0, 3),
        "flags": torch.tensor([True, False]),
        "bytes": torch.tensor([-1, 5], dtype=torch.int8),
    }
    path = tmp_path / "weights.pt"
    torch.save({**tensors, "brain": values.bfloat16()}, path, _use_new_zipfile_serialization=zipped)
    found = torch_state(path)
    assert np.array_equal(found.pop("brain"), values.bfloat16().float().numpy())
    same(found, tensors)


def test_safetensors(squeezenet, tmp_path):
    torch_file = pytest.importorskip("safetensors.torch")
    half = {name: tensor.bfloat16() for name, tensor in squeezenet.items()}
    torch_file.save_file(half, tmp_path / "weights.safetensors")
    network = conversion(tmp_path / "weights.safetensors", Options()).network
    expected = half["classifier.1.weight"].float().numpy()
    assert np.array_equal(network.parameters()["conv10"]["weight"], expected)
    data = (tmp_path / "weights.safetensors").read_bytes()
    (tmp_path / "weights.safetensors").write_bytes(data[:-5])
    with pytest.raises(ConversionError, match="is no valid safetensors file"):
        conversion(tmp_path / "weights.safetensors", Options())


def refusal(path, **options):
    with pytest.raises(ConversionError) as error:
        conversion(path, Options(**options))
    message = str(error.value)
    assert message.startswith(f"{path}: ")
    return message


def test_all_that_does_not_fit_is_listed_at_once(squeezenet, tmp_path):
    state = dict(squeezenet)
    del state["features.0.bias"], state["features.3.squeeze.weight"], state["features.4.expand1x1.weight"]
    state["features.6.expand3x3.weight"] = torch.ones(2, 2)
    state["features.7.squeeze.bias"] = torch.ones(32, dtype=torch.int64)
    state |= {"extra.weight": torch.ones(3), "features.0.running_mean": torch.ones(64)}
    torch.save(state, tmp_path / "weights.pt")
    assert refusal(tmp_path / "weights.pt").endswith(
        "its weights do not fit the network; missing: features.3.squeeze.weight, features.4.expand1x1.weight; "
        "of no layer: extra.weight, features.0.running_mean; of another shape: features.6.expand3x3.weight is float32 "
        "(2, 2), expected (128, 32, 3, 3), features.7.squeeze.bias is int64 (32,), expected (32,)"
    )


def test_other_networks_are_refused_by_what_is_known(squeezenet, tmp_path):
    path = tmp_path / "weights.pt"
    torch.save({"blocks.0.weight": torch.ones(2)}, path)
    assert "holds 1 weights (blocks.0.weight ...), which are not those of a network known here" in refusal(path)
    torch.save(squeezenet, path)
    assert "no architecture 'squeezenet'; did you mean 'squeezenet1_1'" in refusal(path, architecture="squeezenet")
    assert "has no conv1.weight with 2 axes or more" in refusal(path, architecture="resnet18")
    assert "the input shape (1, 64, 64) has 1 channels; the weights are for 3" in refusal(path, input_shape=(1, 64, 64))
    assert "std has 2 numbers; expected one, or one for each of 3" in refusal(path, std=(1.0, 2.0))
    assert "std is (0.0,); expected numbers above 0" in refusal(path, std=(0.0,))


# Files that are damaged or made to do harm


def archive(path, data, order=b"little", compression=zipfile.ZIP_STORED, **storages):
    """A file as PyTorch writes it, of these bytes of a pickle."""
    with zipfile.ZipFile(path, "w", compression) as file:
        file.writestr("x/data.pkl", data)
        file.writestr("x/byteorder", order)
        for key, values in storages.items():
            file.writestr(f"x/data/{key[1:]}", values)
    return path


def tensor_pickle(storage="FloatStorage", count=4, offset=0, size=(2, 2), stride=(2, 1), key="0"):
    """{"a": a tensor}, in pickle's instructions."""

    def text(value):
        return b"X" + struct.pack("<I", len(value)) + value.encode()

    def numbers(values):
        return b"(" + b"".join(b"\x8a\x08" + struct.pack("<q", value) for value in values) + b"t"

    reference = b"(" + text("storage") + f"ctorch\n{storage}\n".encode() + text(key) + text("cpu")
    reference += numbers([count])[1:-1] + b"tQ"
    arguments = b"(" + reference + numbers([offset])[1:-1] + numbers(size) + numbers(stride) + b"\x89}t"
    return b"\x80\x02}" + text("a") + b"ctorch._utils\n_rebuild_tensor_v2\n" + arguments + b"Rs."


def test_the_pickle_of_these_tests_is_one(tmp_path):
    path = archive(tmp_path / "a.pt", tensor_pickle(), _0=np.arange(4, dtype="<f4").tobytes())
    assert np.array_equal(torch_state(path)["a"], [[0, 1], [2, 3]])
    path = archive(tmp_path / "a.pt", tensor_pickle(), b"big", _0=np.arange(4, dtype=">f4").tobytes())
    assert np.array_equal(torch_state(path)["a"], [[0, 1], [2, 3]])


class Harmful:
    def __reduce__(self):
        return (open, ("harm", "w"))


NESTED = b"\x80\x02}X\x01\0\0\0a" + b")" + b"\x85" * 300_000 + b"s."
BYTES = np.arange(4, dtype="<f4").tobytes()
HOSTILE = {
    "code": (
        pickle.dumps(Harmful(), 2),
        {},
        r"names io\.open, which is not part of a state dict",
    ),
    "newer code": (pickle.dumps(Harmful(), 4), {}, r"names io\.open"),
    "eval": (b"\x80\x02c__builtin__\neval\nX\x01\0\0\x001\x85R.", {}, r"names __builtin__\.eval"),
    "a network": (b"\x80\x02ctorchvision.models.resnet\nResNet\n.", {}, r"ResNet.*save the weights alone"),
    "an old class": (b"\x80\x02(ios\nsystem\n.", {}, "instruction INST, which no state dict needs"),
    "a new object": (b"\x80\x02ccollections\nOrderedDict\n)\x81.", {}, "instruction NEWOBJ"),
    "a call of data": (b"\x80\x02})R.", {}, "calls a dict; only tensors"),
    "a call of a type": (b"\x80\x02ctorch\nFloatStorage\n)R.", {}, "calls torch.FloatStorage; only tensors"),
    "wrong arguments": (b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n)R.", {}, "_rebuild_tensor_v2 with 0 arguments"),
    "a filled dict": (b"\x80\x02ccollections\nOrderedDict\n](K\x01e\x85R.", {}, "makes a dict of something else"),
    "another reference": (b"\x80\x02X\x01\0\0\0aQ.", {}, "refers to 'a'; expected the storage of a tensor"),
    "a strange storage": (tensor_pickle("Size"), {}, r"storage '0' of type torch.Size; known are DoubleStorage"),
    "a list as key": (b"\x80\x02}](}s.", {}, "damaged|dict with the key a list"),
    "no dict": (b"\x80\x02]K\x01K\x02s.", {}, "sets items of something that is no dict"),
    "no list": (b"\x80\x02}K\x01a.", {}, "appends to something that is no list"),
    "attributes": (b"\x80\x02]}b.", {}, "sets attributes of something that is no dict"),
    "an empty stack": (b"\x80\x02\x85.", {}, "damaged"),
    "no mark": (b"\x80\x02t.", {}, "damaged"),
    "no memo": (b"\x80\x02h\x05.", {}, "damaged"),
    "the end missing": (b"\x80\x02}", {}, "damaged|ends in the middle"),
    "nothing": (b"", {}, "damaged|ends in the middle"),
    "a number": (b"\x80\x02K\x01.", {}, "holds a int; expected a state dict"),
    "an empty dict": (b"\x80\x02}.", {}, "holds nothing; expected a state dict"),
    "a dict in itself": (b"\x80\x02}q\0X\x05\0\0\0modelh\0s.", {}, "holds 'model'; expected a state dict"),
    "a deep tuple": (NESTED, {}, "holds 'a'; expected a state dict"),
    "no storage": (tensor_pickle(), {}, "the storage x/data/0 is missing"),
    "a path": (tensor_pickle(key="../byteorder"), {}, "the storage x/data/../byteorder is missing"),
    "a short storage": (tensor_pickle(), {"_0": BYTES[:-1]}, "storage 0 has 15 bytes; expected 16"),
    "a huge storage": (tensor_pickle(count=2**60), {"_0": BYTES}, f"16 bytes; expected {2**62}"),
    "a huge tensor": (tensor_pickle(size=(2**40, 2), stride=(0, 1)), {"_0": BYTES}, "repeats the elements"),
    "beyond the storage": (tensor_pickle(offset=1), {"_0": BYTES}, "offset 1 does not fit its storage of 4 elements"),
    "a stride beyond": (tensor_pickle(stride=(3, 1)), {"_0": BYTES}, "does not fit its storage"),
    "before the storage": (tensor_pickle(stride=(-1, 1)), {"_0": BYTES}, "not what PyTorch writes"),
    "other ranks": (tensor_pickle(stride=(1,)), {"_0": BYTES}, "not what PyTorch writes"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_pickles_are_refused_and_not_executed(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data, storages, message = HOSTILE[name]
    with pytest.raises(MinicamError, match=message):
        torch_state(archive(tmp_path / "a.pt", data, **storages))
    assert [path.name for path in tmp_path.iterdir()] == ["a.pt"]


def test_a_pickle_of_a_whole_network_is_refused(tmp_path):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "a.pt")
    assert "names torch.nn.modules.linear.Linear" in refusal(tmp_path / "a.pt")


def test_a_bomb_is_not_unpacked(tmp_path):
    path = archive(tmp_path / "a.pt", tensor_pickle(), compression=zipfile.ZIP_DEFLATED, _0=bytes(10**6))
    assert "its entry 'x/data.pkl' is compressed or encrypted" in refusal(path)


def test_other_archives_are_named(tmp_path):
    path = tmp_path / "a.pt"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("x/data.pkl", tensor_pickle())
        file.writestr("x/constants.pkl", b"")
    assert "is TorchScript, a program; save the model's state_dict()" in refusal(path)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("readme", b"")
    assert "is another ZIP archive: it has 0 entries data.pkl" in refusal(path)
    path.write_bytes(pickle.dumps({"a": 1}, 2))
    assert "is a Python pickle, but not one that torch.save wrote" in refusal(path)
    path.write_bytes(b"hello")
    assert "starts with the bytes 68 65 6c 6c; expected a file made by torch.save" in refusal(path)


@pytest.mark.parametrize("zipped", [True, False])
def test_damaged_files_are_refused(zipped, squeezenet, tmp_path):
    """Cut anywhere; with bits flipped, refused or read as the flipped bits say, and never another exception."""
    buffer = io.BytesIO()
    torch.save({"classifier.1.weight": torch.ones(3, 4)}, buffer, _use_new_zipfile_serialization=zipped)
    data = buffer.getvalue()
    path = tmp_path / "a.pt"
    for length in range(1, len(data) - 8, max(len(data) // 50, 1)):
        path.write_bytes(data[:length])
        with pytest.raises(MinicamError):
            torch_state(path)
    random = np.random.default_rng(0)
    for place in random.integers(0, len(data), 300):
        flipped = bytearray(data)
        flipped[place] ^= 1 << int(random.integers(8))
        path.write_bytes(flipped)
        with contextlib.suppress(MinicamError):
            torch_state(path)


def test_storages_of_the_old_format_must_be_there(tmp_path):
    path = tmp_path / "a.pt"
    torch.save({"a": torch.ones(5)}, path, _use_new_zipfile_serialization=False)
    data = path.read_bytes()
    path.write_bytes(data[:-4])
    with pytest.raises(MinicamError, match=rf"is truncated: its storages end at byte {len(data)}"):
        torch_state(path)
    path.write_bytes(data[:-28] + struct.pack("<q", 4) + data[-20:])
    with pytest.raises(MinicamError, match=r"has 4 elements; expected 5"):
        torch_state(path)
