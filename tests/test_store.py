"""Files: round trips, what the loader refuses, damage of every kind, and the file's own example."""

import dataclasses
import hashlib
import json
import math
import os
import sys
import time
import typing
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from cases import CASES, Case
from hypothesis import given, settings
from hypothesis import strategies as st

from minicam import graph_text, ops, store
from minicam.errors import ModelFileError
from minicam.graph import Graph, Node
from minicam.network import Network
from minicam.ops import OPS
from minicam.zoo import initial_parameters
from minicam.zoo.builder import Builder


def small_network() -> Network:
    b = Builder("image", (3, None, None))
    b.add("data", ops.Normalize())
    b.conv_norm(("conv", "norm", "relu"), ops.Conv(4, (3, 3), stride=2, padding=((0, 1), (1, 0))))
    b.add("scores", ops.Softmax())
    parameters = random_parameters(b.graph(), "float16")
    return Network(b.graph(), parameters, ["Road", "Car", "Sky", "Größe"], [(i, 0, 255) for i in range(4)])


def graph_1d() -> Graph:
    b = Builder("sequence", (4, None))
    b.add("conv", ops.Conv(6, (3,), dilation=2, padding=((4, 0),), groups=2))
    b.add("normed", ops.LayerNorm("sample", 1e-3))
    b.add("dropped", ops.Dropout(0.25))
    b.add("largest", ops.GlobalMaxPool())
    b.add("mean", ops.GlobalAveragePool(), "dropped")
    b.add("both", ops.Concat(), "largest", "mean")
    return b.graph()


def graph_2d() -> Graph:
    b = Builder("image", (3, 12, 10))
    b.add("data", ops.Normalize())
    b.conv_norm(("conv", "norm", "relu"), ops.Conv(4, (3, 3), stride=(2, 1), padding=((0, 1), (1, 1))))
    b.add("norm2", ops.BatchNorm(0.5))
    b.add("largest", ops.MaxPool((3, 2), stride=(2, 1), padding=((1, 1), (0, 1))))
    b.add("up", ops.ConvTranspose(4, (4, 4), stride=2, cropping=((1, 1), (1, 0)), groups=4))
    b.add("fitted", ops.Crop(), "up", "norm2")
    b.add("sum", ops.Add(), "fitted", "norm2")
    b.add("flat", ops.Flatten())
    b.add("scores", ops.Dense(3))
    b.add("probabilities", ops.Softmax())
    return b.graph()


def graph_3d() -> Graph:
    b = Builder("volume", (1, None, 6, None))
    b.add("conv", ops.Conv(2, (2, 3, 1), stride=(1, 2, 1), padding=((1, 0), (0, 0), (0, 0))))
    b.add("mean", ops.AveragePool((2, 2, 2), stride=2, padding=1, count_padding=False))
    return b.graph()


def two_inputs() -> Graph:
    nodes = (Node("a", ops.Conv(2, (1, 1)), ("left",)), Node("b", ops.Crop(), ("a", "right")))
    return Graph({"left": (1, None, None), "right": (5, 3, 3)}, nodes, ("b", "a"))


GRAPHS = [graph_1d, graph_2d, graph_3d, two_inputs]


def random_parameters(graph: Graph, dtype: str = "float32") -> dict[str, dict[str, np.ndarray]]:
    random = np.random.default_rng(5)
    return {
        layer: {name: random.uniform(0.5, 2, shape).astype(dtype) for name, shape in shapes.items()}
        for layer, shapes in graph.parameter_shapes.items()
    }


def example(network: Network, seed: int = 1) -> store.Example:
    x = np.random.default_rng(seed).uniform(0, 255, (2, 3, 5, 7)).astype(np.float32)
    return store.Example({"image": x}, dict(network.forward(x.astype(np.float64), ["relu", "scores"])))


def same(a: Network, b: Network) -> bool:
    left, right = a.parameters(np.float64), b.parameters(np.float64)
    return (
        (a.graph, a.classes, a.colors) == (b.graph, b.classes, b.colors)
        and left.keys() == right.keys()
        and all(np.array_equal(array, right[k][name]) for k, arrays in left.items() for name, array in arrays.items())
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "net.h5"


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes of a small good file with an example."""
    target = tmp_path_factory.mktemp("good") / "net.h5"
    network = small_network()
    store.save(network, target, source="a test", licence="MIT", dtype="float16", check=example(network))
    return target.read_bytes()


# Round trips


@pytest.mark.parametrize("dtype", store.DTYPES)
@pytest.mark.parametrize("make", GRAPHS)
def test_round_trip(make: Callable[[], Graph], dtype: str, path: Path) -> None:
    graph = make()
    network = Network(graph, random_parameters(graph, dtype))
    store.save(network, path, dtype=dtype)
    loaded = store.load(path, device="cpu")
    assert same(loaded, network)
    assert all(a.dtype == dtype for arrays in loaded._stored.values() for a in arrays.values())
    assert store.verify(path, device="cpu").check is None


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_every_op_makes_the_round_trip(case: Case) -> None:
    inputs = {f"x{i}": shape[1:] for i, shape in enumerate(case.shapes)}
    graph = Graph(inputs, (Node("op", case.op, tuple(inputs)),), ("op",))
    assert graph_text.graph_from_text(graph_text.graph_text(graph))[0] == graph


def test_options_that_came_later_are_written_only_where_they_are_used():
    """So files from before, and their readers, stay valid."""

    def options(op: ops.Op) -> dict:
        graph = Graph({"image": (4, 4, 4)}, (Node("layer", op, ("image",)),), ("layer",))
        text = graph_text.graph_text(graph)
        assert graph_text.graph_from_text(text)[0] == graph
        return json.loads(text)["nodes"][0]["options"]

    assert options(ops.Softmax()) == {}
    assert options(ops.Softmax(axes=(2, 1))) == {"axes": [1, 2]}
    assert options(ops.MaxPool((2, 2))) == {"kernel": [2, 2], "stride": [1, 1], "padding": [[0, 0], [0, 0]]}
    assert options(ops.MaxPool((2, 2), dilation=2))["dilation"] == [2, 2]


@pytest.mark.parametrize("name", sorted(OPS))
def test_the_loader_knows_the_type_of_every_option(name: str) -> None:
    types = typing.get_type_hints(OPS[name])
    for field in dataclasses.fields(typing.cast(typing.Any, OPS[name])):
        assert not graph_text._fits({"an": "object"}, types[field.name])
        assert not graph_text._fits(None, types[field.name])


def test_classes_and_attributes(path: Path) -> None:
    store.save(small_network(), path, made_by="me", source="nowhere", licence="MIT")
    assert store.load(path, device="cpu").classes == ("Road", "Car", "Sky", "Größe")
    assert store.load(str(path), device="cpu").colors[3] == (3, 0, 255)
    with h5py.File(path) as file:
        assert dict(file.attrs) == {
            "format": "minicam", "version": 1, "made_by": "me", "source": "nowhere", "licence": "MIT"
        }  # fmt: skip
        graph, weight = file["graph"], file["params/conv/weight"]
        assert graph.dtype == np.uint8
        assert json.loads(graph[()].tobytes())["nodes"][1]["options"]["padding"] == [[0, 1], [1, 0]]
        assert weight.attrs["sha256"] == hashlib.sha256(weight[()].tobytes()).hexdigest()
        assert weight.chunks is None


def test_same_network_same_bytes(path: Path, good: bytes) -> None:
    time.sleep(1.1)  # HDF5's time stamps count seconds
    network = small_network()
    backwards = {k: dict(reversed(v.items())) for k, v in reversed(network.parameters().items())}
    other = Network(network.graph, backwards, network.classes, network.colors)
    store.save(other, path, source="a test", licence="MIT", dtype="float16", check=example(network))
    assert path.read_bytes() == good


def test_float16_rounds_once_and_computes_in_float32(path: Path) -> None:
    network = small_network()
    store.save(network, path, dtype="float16")
    loaded = store.load(path, device="cpu")
    weight = network.parameters()["conv"]["weight"]
    np.testing.assert_array_equal(loaded.parameters()["conv"]["weight"], weight.astype(np.float16).astype(np.float32))


def test_numpy_numbers_in_options_are_stored_as_plain_ones(path: Path) -> None:
    graph = Graph({"x": (2, 4)}, (Node("dense", ops.Dense(int(np.int64(3))), ("x",)),), ("dense",))
    odd = Graph({"x": (2, 4)}, (Node("dense", ops.Dense(np.int64(3)), ("x",)),), ("dense",))  # type: ignore[arg-type]
    store.save(Network(odd, initial_parameters(odd)), path)
    assert store.load(path, device="cpu").graph == graph


# The bundled network


@pytest.mark.parametrize("name", [None, store.BUNDLED])
def test_bundled_from_another_folder(name: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    network = store.load(name, device="cpu")
    assert network.input_shape == (3, 720, 960)
    assert network.classes[3] == "Road"
    assert network._stored["conv1"]["weight"].dtype == np.float16


def test_bundled_passes_its_own_example() -> None:
    report = store.verify(device="cpu")
    assert report.layers == 99
    assert report.parameters > 16_000_000
    assert report.check is not None
    assert report.check < 1e-5


def test_a_file_of_the_bundled_name_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store.save(small_network(), store.BUNDLED)
    assert "conv" in store.load(store.BUNDLED, device="cpu").layers


def test_bundled_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(store, "__file__", str(tmp_path / "minicam" / "store.py"))
    with pytest.raises(ModelFileError, match=r"is neither .*minicam/weights.* nor .*weights"):
        store.load()
    with pytest.raises(ModelFileError, match="does not exist"):
        store.load(f"./{store.BUNDLED}x")


# Saving


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"nowhere.*create it"):
        store.save(small_network(), tmp_path / "nowhere" / "net.h5")


def test_target_is_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="cannot be written"):
        store.save(small_network(), tmp_path)
    assert list(tmp_path.iterdir()) == []


def no_space(*_: object, **__: object) -> None:
    raise OSError(28, "No space left on device")


def broken(*_: object, **__: object) -> None:
    raise RuntimeError("HDF5 gave up")


@pytest.mark.parametrize(
    ("place", "failure"),
    [
        ((os, "replace"), no_space),
        ((os, "fsync"), no_space),
        ((h5py.Group, "create_dataset"), no_space),
        ((h5py.Group, "create_dataset"), broken),
        ((h5py.File, "close"), broken),
    ],
)
def test_a_failed_save_changes_nothing(
    place: tuple[object, str], failure: Callable, path: Path, good: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.write_bytes(good)
    monkeypatch.setattr(*place, failure)
    with pytest.raises(ModelFileError, match=r"net\.h5: cannot be written.*(No space|gave up)"):
        store.save(small_network(), path, made_by="someone else")
    assert [p.name for p in path.parent.iterdir()] == ["net.h5"]
    assert path.read_bytes() == good


def changed(layer: str, name: str, value: float) -> Network:
    network = small_network()
    parameters = {k: {n: a.copy() for n, a in arrays.items()} for k, arrays in network.parameters().items()}
    parameters[layer][name].flat[1] = value
    return Network(network.graph, parameters)


@pytest.mark.parametrize(
    ("layer", "name", "value", "message"),
    [
        ("conv", "weight", 70000.0, "/params/conv/weight: holds NaN or infinity in float16"),
        ("conv", "bias", math.nan, "/params/conv/bias: holds NaN or infinity"),
        ("norm", "variance", -0.5, r"/params/norm/variance: holds -0\.5; expected 0 or more"),
        ("data", "std", 1e-9, r"/params/data/std: holds 0\.0; expected more than 0"),
    ],
)
def test_save_refuses_values(layer: str, name: str, value: float, message: str, path: Path) -> None:
    with pytest.raises(ModelFileError, match=message):
        store.save(changed(layer, name, value), path, dtype="float16")
    assert list(path.parent.iterdir()) == []


def test_save_refuses_what_load_would(path: Path) -> None:
    class Unknown(ops.Relu):
        pass

    def network(node: Node) -> Network:
        return Network(Graph({"x": (1, 4)}, (node,), (node.name,)), {})

    with pytest.raises(ModelFileError, match="Unknown is not one that a file can name"):
        store.save(network(Node("relu", Unknown(), ("x",))), path)
    with pytest.raises(ModelFileError, match="the name 'relu/1' is not allowed"):
        store.save(network(Node("relu/1", ops.Relu(), ("x",))), path)
    with pytest.raises(ModelFileError, match="'bfloat16'; expected one of float16"):
        store.save(small_network(), path, dtype="bfloat16")
    with pytest.raises(ModelFileError, match="too long"):
        store.save(small_network(), path, source="x" * 5000)
    with pytest.raises(ModelFileError, match="different names"):
        store.save(Network(small_network().graph, small_network().parameters(), ["a", "a"]), path)
    assert list(path.parent.iterdir()) == []


# The file's own example


def test_verify(path: Path, good: bytes) -> None:
    path.write_bytes(good)
    report = store.verify(path, device="cpu")
    assert (report.layers, report.bytes, report.path) == (5, len(good), str(path))
    assert report.parameters == 2 * 3 + 4 * 27 + 4 + 4 * 4
    assert report.check is not None
    assert report.check < 1e-4


def test_verify_reports_other_values(path: Path, good: bytes) -> None:
    path.write_bytes(good)
    with h5py.File(path, "r+") as file:
        put(file, "check/outputs/relu", file["check/outputs/relu"][()] * np.float32(1.01))
    assert same(store.load(path, device="cpu"), small_network())
    with pytest.raises(
        ModelFileError, match=r"net\.h5: layer 'relu' differs .* by 9\.90e-03 .* tolerance is 1\.00e-04"
    ):
        store.verify(path, device="cpu")


def test_an_example_of_other_parameters_is_not_saved(path: Path) -> None:
    network = small_network()
    thirds = {k: {name: array / 3 for name, array in v.items()} for k, v in network.parameters().items()}
    odd = Network(network.graph, thirds)
    store.save(odd, path, dtype="float64", check=example(odd))
    with pytest.raises(ModelFileError, match="differs from the file's own example"):
        store.save(odd, path, dtype="float16", check=example(odd))
    assert store.verify(path, device="cpu").check is not None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inputs": {}}, r"/check/inputs: holds \[\]; expected the inputs \['image'\]"),
        ({"inputs": {"image": np.zeros((1, 4, 5, 7))}}, r"shape \(4, 5, 7\) .*; expected \(3, None, None\)"),
        ({"inputs": {"image": np.zeros((1, 3, 1, 1))}}, "too small"),
        ({"inputs": {"image": np.zeros(3)}}, r"expected arrays \(N, C, \*space\)"),
        ({"outputs": {}}, "/check/outputs: is empty"),
        ({"outputs": {"nowhere": np.zeros((1, 1))}}, "/check/outputs/nowhere: there is no such layer"),
        ({"outputs": {"relu": np.zeros((1, 1))}}, r"/check/outputs/relu: shape \(1, 1\); expected \(2, 4, 2, 3\)"),
        ({"outputs": {"relu": np.full((2, 4, 2, 3), np.nan)}}, "NaN"),
        ({"tolerance": 0.0}, "tolerance is 0.0"),
        ({"tolerance": math.inf}, "tolerance is inf"),
    ],
)
def test_examples_that_do_not_fit(change: dict, message: str, path: Path) -> None:
    with pytest.raises(ModelFileError, match=message):
        store.save(small_network(), path, check=dataclasses.replace(example(small_network()), **change))


# What is no minicam file at all


def zip_bytes(folder: Path) -> bytes:
    with zipfile.ZipFile(folder / "a.zip", "w") as archive:
        archive.writestr("data.pkl", b"x")
    return (folder / "a.zip").read_bytes()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer.*git lfs pull"),
        (zip_bytes, "ZIP archive"),
        (b"\x80\x04\x95\x10\x00", "pickle"),
        (b"\n<!DOCTYPE html><html>Not found</html>", "HTML"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "PNG"),
        (b"MATLAB 5.0 MAT-file, Platform: GLNXA64", "version 5"),
        (b"MATLAB 7.3 MAT-file, Platform: GLNXA64", "version 7.3"),
        (b"\x93NUMPY\x01\x00", "NumPy"),
        (b"\x08\x07\x12\x05torch", "starts with the bytes 08 07 12 05"),
        (b"\x89HDF\r\n\x1a\n", "truncated"),
        (b"\x89HDF\r\n\x1a\n\x09" + bytes(200), "superblock of version 9"),
        (b"\x89HDF\r\n\x1a\n\x02\x04\x04" + bytes(200), "addresses and lengths of 4 and 4 bytes"),
    ],
)
def test_other_content(content: bytes | Callable, message: str, path: Path) -> None:
    path.write_bytes(content(path.parent) if callable(content) else content)
    with pytest.raises(ModelFileError, match=rf"net\.h5: (is|has) .*{message}"):
        store.load(path)


def test_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="is a folder"):
        store.load(tmp_path)
    with pytest.raises(ModelFileError, match=r"none\.h5: does not exist"):
        store.load(tmp_path / "none.h5")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")  # opening it would wait for ever
        with pytest.raises(ModelFileError, match="not a regular file"):
            store.load(tmp_path / "pipe")


def test_trailing_bytes_user_block_and_size(path: Path, good: bytes) -> None:
    path.write_bytes(good + b"x")
    with pytest.raises(ModelFileError, match="has 1 bytes after the end"):
        store.load(path)
    path.write_bytes(bytes(512) + good)
    with pytest.raises(ModelFileError, match="user block of 512 bytes"):
        store.load(path)
    with h5py.File(path, "w", userblock_size=2048):
        pass
    with pytest.raises(ModelFileError, match="user block of 2048 bytes"):
        store.load(path)
    path.write_bytes(good)
    with pytest.raises(ModelFileError, match=f"has {len(good)} bytes; the limit max_bytes is 1000"):
        store.load(path, max_bytes=1000)


# Hostile files: each case changes a good file


def put(file: h5py.File, name: str, values: np.ndarray, **options: object) -> h5py.Dataset:
    """Replace an array, with a digest that is right."""
    if name in file:
        del file[name]
    dataset = file.create_dataset(name, data=values, **options)
    dataset.attrs["sha256"] = hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()
    return dataset


def put_graph(change: Callable[[dict], object]) -> Callable[[h5py.File], None]:
    def mutate(file: h5py.File) -> None:
        document = json.loads(file["graph"][()].tobytes())
        change(document)
        put(file, "graph", np.frombuffer(json.dumps(document).encode(), np.uint8))

    return mutate


def put_text(old: str, new: str) -> Callable[[h5py.File], None]:
    def mutate(file: h5py.File) -> None:
        text = file["graph"][()].tobytes()
        assert old.encode() in text
        put(file, "graph", np.frombuffer(text.replace(old.encode(), new.encode(), 1), np.uint8))

    return mutate


def array(name: str, values: object, **options: object) -> Callable[[h5py.File], None]:
    return lambda file: put(file, name, np.asarray(values), **options) and None


def link(name: str, target: object) -> Callable[[h5py.File], None]:
    def mutate(file: h5py.File) -> None:
        if name in file:
            del file[name]
        file[name] = target

    return mutate


def hard_link(name: str, target: str) -> Callable[[h5py.File], None]:
    return lambda file: link(name, file[target])(file)


def attribute(where: str, name: str, value: object) -> Callable[[h5py.File], None]:
    return lambda file: file[where].attrs.__setitem__(name, value)


def without(where: str, name: str) -> Callable[[h5py.File], None]:
    return lambda file: file[where].attrs.__delitem__(name)


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout(shape=(4,), dtype="<f4")
    layout[:] = h5py.VirtualSource("/etc/hostname", "x", shape=(4,))
    del file["params/conv/bias"]
    file.create_virtual_dataset("params/conv/bias", layout)


def never_written(file: h5py.File) -> None:
    del file["params/conv/bias"]
    file.create_dataset("params/conv/bias", (2**40,), "<f4").attrs["sha256"] = "0" * 64


def compact(file: h5py.File) -> None:
    del file["params/conv/bias"]
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_layout(h5py.h5d.COMPACT)
    h5py.h5d.create(file.id, b"params/conv/bias", h5py.h5t.IEEE_F32LE, h5py.h5s.create_simple((4,)), properties)


def named_type(file: h5py.File) -> None:
    file["params/conv/type"] = np.dtype("<f4")


def of_named_type(file: h5py.File) -> None:
    named_type(file)
    del file["params/conv/bias"]
    file.create_dataset("params/conv/bias", (4,), file["params/conv/type"], data=np.zeros(4))
    del file["params/conv/type"]


def deep(file: h5py.File) -> None:
    file.create_group("params/a/b/c/d")


def scalar(file: h5py.File) -> None:
    put(file, "params/conv/bias", np.float32(1))


def flipped_value(file: h5py.File) -> None:
    file["params/conv/weight"][0, 0, 0, 0] += np.float16(1)


def option(layer: int, name: str, value: object) -> Callable[[h5py.File], None]:
    return put_graph(lambda d: d["nodes"][layer]["options"].__setitem__(name, value))


def node(layer: int, name: str, value: object) -> Callable[[h5py.File], None]:
    return put_graph(lambda d: d["nodes"][layer].__setitem__(name, value))


def key(name: str, value: object) -> Callable[[h5py.File], None]:
    return put_graph(lambda d: d.__setitem__(name, value))


ZEROS = np.zeros(4, np.float32)
HOSTILE = {
    "soft link": (link("params/conv/bias", h5py.SoftLink("/params/norm/offset")), "/params/conv/bias: is a soft link"),
    "dangling soft link": (link("params/x", h5py.SoftLink("/nowhere")), "/params/x: is a soft link"),
    "external link": (link("params/conv", h5py.ExternalLink("/etc/passwd", "/")), "/params/conv: is an external link"),
    "external graph": (link("graph", h5py.ExternalLink("other.h5", "/graph")), "/graph: is an external link"),
    "virtual dataset": (virtual, "/params/conv/bias: is a virtual dataset"),
    "compressed": (
        array("params/conv/bias", ZEROS, compression="gzip"),
        "/params/conv/bias: is compressed or filtered",
    ),
    "checksummed": (array("params/conv/bias", ZEROS, fletcher32=True), "bias: is compressed or filtered"),
    "chunked": (array("params/conv/bias", ZEROS, chunks=(2,)), "/params/conv/bias: is chunked or compact"),
    "compact": (compact, "/params/conv/bias: is chunked or compact"),
    "big-endian": (array("params/conv/bias", ZEROS.astype(">f4")), "bias: has values of type >f4"),
    "integers": (array("params/conv/bias", ZEROS.astype("<i4")), "bias: has values of type <i4"),
    "bytes": (array("params/conv/bias", ZEROS.astype("u1")), "bias: has values of type uint8"),
    "complex": (array("params/conv/bias", ZEROS.astype("c8")), "bias: has values of type <c8"),
    "texts": (array("params/conv/bias", ZEROS.astype("S4")), "bias: has values of type"),
    "scalar": (scalar, "/params/conv/bias: has no axes"),
    "named type": (named_type, "/params/conv/type: is a named type"),
    "of named type": (of_named_type, "/params/conv/bias: refers to a named type"),
    "bad name": (array("params/conv/bias s", ZEROS), "the name 'bias s' is not allowed"),
    "name not ASCII": (lambda f: f.create_group("params/größe") and None, "is not allowed"),
    "dots": (lambda f: f.create_group("params/..") and None, r"the name '\.\.' is not allowed"),
    "two names": (hard_link("params/conv/again", "params/conv/bias"), "is the same object as /params/conv/"),
    "two groups": (hard_link("params/again", "params/conv"), "/params/conv: is the same object as /params/again"),
    "cycle": (hard_link("params/conv/loop", "params"), "/params/conv/loop: is the same object as /params"),
    "cycle to root": (hard_link("params/loop", "/"), "/params/loop: is the same object as /"),
    "deep": (deep, "/params/a/b/c/d: is nested more than 4 deep"),
    "never written": (never_written, r"declares 4398046511104 bytes \(shape \(1099511627776,\)\), but 0 are stored"),
    "empty group": (lambda f: f.create_group("params/extra") and None, "/params/extra is an empty group"),
    "unknown group": (array("other/x", ZEROS), "/other/x is not part of the graph"),
    "unknown array": (array("other", ZEROS), "/other is not part of the graph"),
    "missing parameter": (lambda f: f.__delitem__("params/conv/bias"), "/params/conv/bias is missing"),
    "missing layer": (lambda f: f.__delitem__("params/norm"), "/params/norm/mean and 3 more are missing"),
    "missing graph": (lambda f: f.__delitem__("graph"), "has no /graph"),
    "extra parameter": (array("params/conv/slope", ZEROS), "/params/conv/slope is not part of the graph"),
    "extra layer": (array("params/relu/slope", ZEROS), "/params/relu/slope is not part of the graph"),
    "shape": (array("params/conv/bias", np.zeros(5, "f4")), r"bias: has shape \(5,\); expected \(4,\)"),
    "rank": (array("params/conv/bias", np.zeros((4, 1), "f4")), r"bias: has shape \(4, 1\); expected \(4,\)"),
    "empty": (array("params/conv/bias", np.zeros(0, "f4")), r"bias: has shape \(0,\)|not lie inside|are stored"),
    "NaN": (array("params/conv/bias", np.full(4, np.nan, "f4")), "/params/conv/bias: holds NaN or infinity"),
    "infinity": (array("params/conv/bias", np.full(4, -np.inf, "f2")), "/params/conv/bias: holds NaN or infinity"),
    "variance": (array("params/norm/variance", -np.ones(4, "f4")), "variance: holds -1.0; expected 0 or more"),
    "std": (array("params/data/std", np.zeros(3, "f4")), "std: holds 0.0; expected more than 0"),
    "digest": (flipped_value, "/params/conv/weight: the values have the SHA-256 digest"),
    "no digest": (without("params/conv/bias", "sha256"), "/params/conv/bias: has no digest"),
    "no digest of the graph": (without("graph", "sha256"), "/graph: has no digest"),
    "digest is a number": (attribute("params/conv/bias", "sha256", 5), "/params/conv/bias: has no digest"),
    "second attribute": (attribute("params/conv/bias", "more", 5), "bias: has 2 attributes; expected at most 1"),
    "attribute of a group": (attribute("params/conv", "more", 5), "/params/conv: has unknown attributes"),
    "unknown attribute": (attribute("/", "more", 5), r"/: has unknown attributes \['more'\]"),
    "many attributes": (lambda f: [f.attrs.__setitem__(f"a{i}", i) for i in range(20)] and None, "expected at most 16"),
    "huge attribute": (attribute("/", "source", np.zeros(8000)), "'source' is not one number or one text"),
    "long text": (attribute("/", "source", "x" * 5000), "'source' is not one number or one text"),
    "long fixed text": (attribute("/", "source", np.bytes_("x" * 5000)), "'source' is not one number or one text"),
    "attribute not UTF-8": (attribute("/", "source", b"\xff\xfe"), "cannot be read"),
    "fixed digest": (attribute("params/conv/bias", "sha256", np.bytes_("0" * 64)), "0000000000000000... is stored"),
    "reference": (lambda f: f.attrs.__setitem__("source", f.ref), "'source' is not one number or one text"),
    "no format": (without("/", "format"), "attribute format is None; expected 'minicam'"),
    "other format": (attribute("/", "format", "keras"), "attribute format is 'keras'; expected 'minicam'"),
    "newer": (attribute("/", "version", 2), "newer minicam .*upgrade"),
    "version 0": (attribute("/", "version", 0), "format version 0; expected 1"),
    "version text": (attribute("/", "version", "1"), "format version '1'; expected 1"),
    "graph of floats": (array("graph", np.zeros(9, "f4")), r"/graph: is float32 \(9,\)"),
    "graph too long": (array("graph", np.full(2**22 + 1, 32, "u1")), r"/graph: is uint8 \(4194305,\)"),
    "graph not UTF-8": (array("graph", np.full(9, 255, "u1")), "/graph: is not JSON in UTF-8"),
    "graph not JSON": (array("graph", np.frombuffer(b"__import__('os')", "u1")), "/graph: is not JSON"),
    "graph nested": (array("graph", np.full(100_000, ord("["), "u1")), "/graph: is not JSON"),
    "graph a list": (array("graph", np.frombuffer(b"[1, 2]", "u1")), r"/graph: the text is \[1, 2\]; expected an obj"),
    "huge number": (put_text('"stride":[2', '"stride":[' + "9" * 5000), "/graph: is not JSON"),
    "large number": (put_text('"stride":[2', '"stride":[4294967296'), r"option stride is \[4294967296, 2\]"),
    "duplicate key": (put_text('"inputs":', '"outputs":[],"inputs":'), "same key twice"),
    "duplicate option": (put_text('"groups":1', '"groups":1,"groups":1'), "same key twice"),
    "NaN option": (put_text('"epsilon":1e-05', '"epsilon":NaN'), "NaN is not a finite number"),
    "infinite option": (put_text('"epsilon":1e-05', '"epsilon":1e999'), "1e999 is not a finite number"),
    "negative epsilon": (option(2, "epsilon", -1.0), r"layer 'norm' \(BatchNorm\): epsilon is -1.0"),
    "unknown op": (node(1, "op", "os.system"), "layer 'conv' has the unknown op 'os.system'"),
    "op a method": (node(1, "op", "__class__"), "unknown op"),
    "op a list": (node(1, "op", ["Conv"]), "unknown op"),
    "unknown option": (option(1, "__class__", 1), "its options has the unknown key '__class__'"),
    "method as option": (option(3, "forward", 1), "its options has the unknown key 'forward'"),
    "class variable as option": (option(3, "reads", []), "its options has the unknown key 'reads'"),
    "missing option": (put_graph(lambda d: d["nodes"][1]["options"].pop("groups")), "its options lacks groups"),
    "options a list": (node(1, "options", []), r"its options is \[\]; expected an object"),
    "true for one": (option(1, "groups", True), "option groups is True; expected int"),
    "float for integer": (option(1, "filters", 4.0), "option filters is 4.0; expected int"),
    "text for integer": (option(1, "kernel", "33"), "option kernel is '33'"),
    "null for integer": (option(1, "filters", None), "option filters is None"),
    "stride 0": (option(1, "stride", [0, 2]), r"stride is \(0, 2\); expected 1 or more"),
    "negative padding": (option(1, "padding", [[0, -1], [1, 0]]), "padding is .*expected 0 or more"),
    "short padding": (option(1, "padding", [[0], [1]]), "padding is|do not fit together"),
    "long kernel": (option(1, "kernel", [1] * 9), "option kernel is"),
    "not canonical": (option(1, "stride", 2), r"the options are .*expected them written as"),
    "negative filters": (option(1, "filters", -4), "filters is -4"),
    "node unknown key": (node(1, "code", "x"), "/graph: a node has the unknown key 'code'"),
    "node without op": (put_graph(lambda d: d["nodes"][1].pop("op")), "/graph: a node lacks op"),
    "node a number": (put_graph(lambda d: d["nodes"].append(5)), "/graph: a node is 5; expected an object"),
    "cycle of layers": (node(1, "inputs", ["relu"]), "layer 'conv' reads 'relu', which no earlier layer"),
    "dangling input": (node(1, "inputs", ["nowhere"]), "layer 'conv' reads 'nowhere'"),
    "input a list": (node(1, "inputs", [["data"]]), r"an input of layer 'conv' is \['data'\]; expected text"),
    "inputs a text": (node(1, "inputs", "data"), "layer 'conv': inputs is not a list"),
    "no inputs": (node(1, "inputs", []), "takes 1 inputs, not 0"),
    "layer twice": (node(3, "name", "conv"), "layer 'conv' exists twice"),
    "layer name": (node(3, "name", "a/b"), "the name 'a/b' is not allowed"),
    "layer name empty": (node(3, "name", ""), "the name '' is not allowed"),
    "layer name a number": (node(3, "name", 3), "the name of a node is 3; expected text"),
    "unknown output": (key("outputs", ["nowhere"]), "there is no layer 'nowhere'"),
    "no outputs": (key("outputs", []), "has no inputs or no outputs"),
    "outputs a text": (key("outputs", "scores"), "/graph: outputs is 'scores'; expected a list"),
    "no graph inputs": (key("inputs", []), "has no inputs or no outputs"),
    "unknown top key": (key("script", []), "/graph: the text has the unknown key 'script'"),
    "missing top key": (put_graph(lambda d: d.pop("nodes")), "/graph: the text lacks nodes"),
    "shape negative": (key("inputs", [{"name": "image", "shape": [3, -1, 4]}]), r"has the shape \[3, -1, 4\]"),
    "shape true": (key("inputs", [{"name": "image", "shape": [True, 4, 4]}]), r"has the shape \[True, 4, 4\]"),
    "shape open": (key("inputs", [{"name": "image", "shape": [None, 4, 4]}]), "the number of channels must be a fixed"),
    "shape of rank 1": (key("inputs", [{"name": "image", "shape": [3, 4]}]), "has 1 spatial axes; the kernel has 2"),
    "shape empty": (key("inputs", [{"name": "image", "shape": []}]), r"has the shape \[\]"),
    "two inputs of one name": (key("inputs", 2 * [{"name": "image", "shape": [3, None, None]}]), "the same name"),
    "input too small": (key("inputs", [{"name": "image", "shape": [3, 1, 1]}]), "the input is too small"),
    "output too large": (
        key("inputs", [{"name": "image", "shape": [3, 10**6, 10**6]}]),
        "limit is 2147483648 elements",
    ),
    "classes twice": (key("classes", ["a", "b", "c", "a"]), "classes must be different"),
    "class empty": (key("classes", ["a", "b", "c", " "]), "classes must be different"),
    "class a number": (key("classes", ["a", "b", "c", 4]), "classes must be different"),
    "class with an escape": (key("classes", ["a", "b", "c", "\x1b[31m"]), "printable"),
    "class a surrogate": (key("classes", ["a", "b", "c", "\ud800"]), "printable"),
    "colors and classes": (key("colors", [[0, 0, 0]]), "1 colors for 4 classes"),
    "colors alone": (put_graph(lambda d: d.pop("classes")), "4 colors for 0 classes"),
    "color out of range": (key("colors", [[0, 0, 256]] * 4), r"the color \[0, 0, 256\]"),
    "color a float": (key("colors", [[0, 0, 1.0]] * 4), r"the color \[0, 0, 1.0\]"),
    "color of two": (key("colors", [[0, 0]] * 4), r"the color \[0, 0\]"),
    "check elsewhere": (array("check/more/x", ZEROS), "/check/more/x: expected /check/inputs"),
    "check at the top": (array("check/x", ZEROS), "/check/x: expected /check/inputs"),
    "check without tolerance": (without("check", "tolerance"), "/check: the attribute tolerance is None"),
    "check input missing": (lambda f: f.__delitem__("check/inputs/image"), "/check/inputs is an empty group"),
    "check unknown input": (array("check/inputs/other", ZEROS), "/check/inputs"),
    "check of bytes": (array("check/inputs/image", np.zeros((1, 3, 5, 7), "u1")), "values of type uint8"),
    "check linked": (link("check/outputs/norm", h5py.SoftLink("/graph")), "/check/outputs/norm: is a soft link"),
}


@pytest.mark.parametrize(("mutate", "message"), HOSTILE.values(), ids=HOSTILE)
def test_hostile_files(mutate: Callable[[h5py.File], None], message: str, path: Path, good: bytes) -> None:
    path.write_bytes(good)
    with h5py.File(path, "r+", track_times=False) as file:
        mutate(file)
    with pytest.raises(ModelFileError, match=message) as caught:
        store.load(path, device="cpu")
    assert str(caught.value).startswith(f"{path}: ")
    assert len(str(caught.value)) < 1000
    path.unlink()  # on Windows this fails if the file is still open


def earliest(path: Path, content: bytes) -> bytes:
    """The same file in HDF5's oldest structures: superblock 0, symbol tables, no checksums."""
    path.write_bytes(content)
    other = path.with_name("other.h5")
    with h5py.File(path) as source, h5py.File(other, "w", libver="earliest") as target:
        for name in source:
            source.copy(name, target)
        target.attrs.update(source.attrs)
    return other.read_bytes()


def test_old_structures_load(path: Path, good: bytes) -> None:
    old = earliest(path, good)
    assert old[8] == 0
    path.write_bytes(old)
    assert same(store.load(path, device="cpu"), small_network())
    path.write_bytes(old[:-1])
    with pytest.raises(ModelFileError, match="truncated"):
        store.load(path)
    path.write_bytes(old[:24] + b"\x01" + old[25:])
    with pytest.raises(ModelFileError, match="addresses start at byte 1"):
        store.load(path)


def test_external_storage_is_not_read(path: Path, good: bytes, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(np.arange(4, dtype="<f4").tobytes())
    path.write_bytes(good)
    with h5py.File(path, "r+") as file:
        del file["params/conv/bias"]
        dataset = file.create_dataset("params/conv/bias", (4,), "<f4", external=[(str(secret), 0, 16)])
        dataset.attrs["sha256"] = hashlib.sha256(secret.read_bytes()).hexdigest()
    with pytest.raises(ModelFileError, match="/params/conv/bias: its values lie in another file"):
        store.load(path)


def test_overlapping_arrays(path: Path, good: bytes) -> None:
    """Arrays that all claim the same bytes of the file may not ask for more memory than its size."""
    path.write_bytes(earliest(path, good))
    names = [f"check/outputs/x{i}" for i in range(9)]
    with h5py.File(path, "r+") as file:
        for name in names:
            file.create_dataset(name, (5000,), "<f4").attrs["sha256"] = "0" * 64
        for name in names:  # the values come last in the file, one after the other
            file[name][:] = 1
        first, *others = (file[name].id.get_offset() for name in names)
    content = path.read_bytes()
    end = others[0]
    for place in others:
        content = content.replace(place.to_bytes(8, "little"), first.to_bytes(8, "little"))
    content = content[:40] + end.to_bytes(8, "little") + content[48:end]
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=rf"arrays have \d+ bytes together, but the file only {end}; they overlap"):
        store.load(path)


# Damage


def refused_or_same(path: Path, expected: Network) -> bool:
    """True if the file was refused, False if it gave the network; anything else fails."""
    try:
        found = store.load(path, device="cpu")
    except ModelFileError:
        return True
    assert same(found, expected)
    return False


def test_truncation_at_any_length(path: Path, good: bytes) -> None:
    path.write_bytes(good)
    lengths = sorted({*range(0, 100), *range(0, len(good), 997), len(good) - 1})
    for length in lengths:
        path.write_bytes(good[:length])
        with pytest.raises(ModelFileError, match=r"truncated|empty|starts with the bytes 89"):
            store.load(path)


@pytest.mark.parametrize("libver", ["v108", "earliest"])
def test_flipped_bits_never_change_a_network_silently(libver: str, path: Path, good: bytes) -> None:
    path.write_bytes(good)
    expected = store.load(path, device="cpu")
    content = good if libver == "v108" else earliest(path, good)
    random = np.random.default_rng(7)
    used = np.flatnonzero(np.frombuffer(content, np.uint8))  # most of a small file is padding
    places = np.concatenate([random.choice(used, 250), random.integers(0, len(content), 50)])
    refused = 0
    for place in places:
        damaged = bytearray(content)
        damaged[place] ^= 1 << random.integers(8)
        path.write_bytes(damaged)
        refused += refused_or_same(path, expected)
    assert refused > 100


@pytest.mark.parametrize("length", [0, 15, 2**64 - 1, 2**63])
@pytest.mark.parametrize("index", [0, 1])
def test_damaged_heap_of_texts(length: int, index: int, path: Path, good: bytes) -> None:
    """HDF5 2.0 does not come back from reading an attribute where a free space of the heap has length 0."""
    start = good.index(b"GCOL") + 16
    piece = index.to_bytes(8, "little") + length.to_bytes(8, "little")
    path.write_bytes(good[:start] + piece + good[start + 16 :])
    with pytest.raises(ModelFileError, match=r"heap of texts at byte \d+ is damaged|cannot be read"):
        store.load(path)


def test_garbage_in_the_middle(path: Path, good: bytes) -> None:
    path.write_bytes(good)
    expected = store.load(path, device="cpu")
    random = np.random.default_rng(8)
    for _ in range(100):
        damaged = bytearray(good)
        start = int(random.integers(0, len(good) - 64))
        damaged[start : start + 64] = random.bytes(64)
        path.write_bytes(damaged)
        refused_or_same(path, expected)


def test_the_file_is_closed_after_an_error(path: Path, good: bytes) -> None:
    path.write_bytes(good)
    with h5py.File(path, "r+") as file:
        file.attrs["format"] = "other"
    with pytest.raises(ModelFileError):
        store.load(path)
    with h5py.File(path, "r+") as file:  # needs the lock that an open reader would hold
        file.attrs["format"] = "minicam"
    assert store.load(path, device="cpu").layers[0] == "data"


# The JSON

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 2**40)
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["conv", "Conv"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["name", "op", "options"]), inner),
    max_leaves=6,
)


def places(value: object, here: tuple = ()) -> list[tuple]:
    """Every place in a JSON document, as the keys that lead to it."""
    inner = (
        list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else []
    )
    return [here, *(place for name, item in inner for place in places(item, (*here, name)))]


DOCUMENT = json.loads(graph_text.graph_text(graph_2d()))
PLACES = places(DOCUMENT)[1:]


@settings(max_examples=300, deadline=None)
@given(place=st.sampled_from(PLACES), value=JSON)
def test_fuzzed_json_is_refused_or_read_as_written(place: tuple, value: object) -> None:
    document = json.loads(json.dumps(DOCUMENT))
    inner = document
    for name in place[:-1]:
        inner = inner[name]
    inner[place[-1]] = value
    try:
        text = json.dumps(document).encode()
        graph, classes, colors = graph_text.graph_from_text(text)
    except ModelFileError:
        return
    assert json.loads(graph_text.graph_text(graph, classes, colors)) == document


@settings(max_examples=200, deadline=None)
@given(text=st.binary(max_size=40) | st.text(max_size=40).map(lambda text: text.encode("utf-8", "replace")))
def test_other_text_is_refused(text: bytes) -> None:
    with pytest.raises(ModelFileError, match="/graph"):
        graph_text.graph_from_text(text)


def test_importing_the_store_does_not_import_h5py() -> None:
    import subprocess

    code = "import sys, minicam.store; sys.exit('h5py' in sys.modules)"
    root = Path(store.__file__).parents[1]
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root, timeout=60)
