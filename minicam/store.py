"""Networks in files: `load`, `save`, `verify`.

One HDF5 file is the whole network; docs/file-format.md describes it and `hdf5` refuses what is not plain in it:

    /                         attributes format = "minicam", version = 1, made_by, source, licence
    /graph                    uint8[n]: UTF-8 JSON, see `graph_text`
    /params/<layer>/<name>    float16, float32 or float64
    /check                    optional; attribute tolerance
    /check/inputs/<input>     float32 (N, C, *space), one for each input of the graph
    /check/outputs/<layer>    float32 (N, C, *space), what these layers have to give, to within tolerance times the
                              layer's largest absolute value

Every array has the attribute sha256, the digest of its bytes.
"""

import dataclasses
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from minicam.backend import Array, to_numpy
from minicam.errors import LayerError, ModelFileError
from minicam.graph import Graph
from minicam.graph_text import MAX_GRAPH_BYTES, check_sizes, graph_from_text, graph_text, shown
from minicam.hdf5 import MAX_TEXT, Tree, naming, open_file, read_attribute, read_tree, require, write_tree
from minicam.network import Network

BUNDLED = "deeplabv3plus_resnet18_camvid.h5"
VERSION = 1
DTYPES = ("float16", "float32", "float64")
ROOT_TEXTS = ("made_by", "source", "licence")


@dataclasses.dataclass(frozen=True)
class Example:
    """A small input, by input name, and the values (N, C, *space) that it gives at some layers, by layer name.

    tolerance: the difference allowed, relative to each layer's largest absolute value.
    """

    inputs: Mapping[str, np.ndarray]
    outputs: Mapping[str, np.ndarray]
    tolerance: float = 1e-4


@dataclasses.dataclass(frozen=True)
class Report:
    """What `verify` found: counts, the size of the file, the largest relative difference from the file's own example
    (None where it has none), and the device that computed that."""

    path: str
    layers: int
    parameters: int
    bytes: int
    check: float | None
    device: str


def load(
    path: str | os.PathLike[str] | None = None,
    device: str = "auto",
    precision: str = "fast",
    threads: int | None = None,
    max_bytes: int = 2 * 2**30,
) -> Network:
    """The network in a file; by default, or by its plain name, the CamVid network that comes with minicam.

    Parameters keep the type that they are stored in. Raises ModelFileError, naming the file, the object in it and the
    rule, for a file that is not there, damaged, hostile, larger than max_bytes, or not a minicam network; DeviceError
    for a device ("auto", "cpu", "gpu") that cannot be used. precision, threads: see `Network`.
    """
    return _read(_located(path), max_bytes, device=device, precision=precision, threads=threads)[0]


def verify(path: str | os.PathLike[str] | None = None, device: str = "auto", max_bytes: int = 2 * 2**30) -> Report:
    """Load a file with all its rules, and compute its own example in float32 on that device, which checks the device
    as well. Errors as for `load`; ModelFileError where a layer differs from the example by more than the stored
    tolerance."""
    path = _located(path)
    network, example = _read(path, max_bytes, device=device)
    with naming(path, "checked"):
        difference = None if example is None else _difference(network, example)
    parameters = sum(math.prod(s) for shapes in network.graph.parameter_shapes.values() for s in shapes.values())
    return Report(str(path), len(network.layers), parameters, path.stat().st_size, difference, network.device_name)


def save(
    network: Network,
    path: str | os.PathLike[str],
    *,
    made_by: str | None = None,
    source: str = "",
    licence: str = "",
    dtype: str = "float32",
    check: Example | None = None,
) -> None:
    """Write a network to a file, which is replaced as a whole or not at all; same arguments, same bytes.

    made_by (default: minicam and its version), source, licence: short texts. dtype: "float16", "float32" or "float64".
    check: an example for `verify`, computed with the parameters as they are stored. Raises ModelFileError for what
    `load` or `verify` would refuse, for values that dtype cannot hold, and where the file cannot be written.
    """
    from minicam import __version__

    path = Path(path)
    texts = (f"minicam {__version__}" if made_by is None else made_by, source, licence)
    groups: dict[str, dict[str, Any]] = {"/": {"format": "minicam", "version": VERSION}, "/params": {}}
    groups["/"].update(zip(ROOT_TEXTS, texts, strict=True))
    with naming(path, "written"):
        for text in texts:
            require(len(text.encode()) <= MAX_TEXT, f"the text {shown(text)} is too long; expected {MAX_TEXT} bytes")
        require(dtype in DTYPES, f"cannot be stored as {dtype!r}; expected one of {', '.join(DTYPES)}")
        graph = graph_text(network.graph, network.classes, network.colors)
        graph_from_text(graph)  # refuses here what it would refuse on loading
        parameters = _rounded(network, dtype)
        arrays = {"/graph": np.frombuffer(graph, np.uint8)}
        for layer, found in parameters.items():
            arrays.update(_named(f"/params/{layer}", found, dtype))
        if check is not None:
            groups["/check"] = {"tolerance": float(check.tolerance)}
            arrays.update(_named("/check/inputs", check.inputs, "float32"))
            arrays.update(_named("/check/outputs", check.outputs, "float32"))
            _check_example(network.graph, check)
            _difference(Network(network.graph, parameters), check)
    write_tree(path, groups, arrays)


def _located(path: str | os.PathLike[str] | None) -> Path:
    """Where the file is: the bundled network lies in the package, or beside it in a checkout."""
    if path is not None and (os.fspath(path) != BUNDLED or Path(path).exists()):
        return Path(path)
    package = Path(__file__).parent
    places = [folder / "weights" / BUNDLED for folder in (package, package.parent)]
    for place in places:
        if place.is_file():
            return place
    raise ModelFileError(f"{BUNDLED}: is neither {' nor '.join(map(str, places))}; reinstall minicam or name a file")


def _read(path: Path, max_bytes: int, **options: Any) -> tuple[Network, Example | None]:
    """The network, made with these options, and the example."""
    with open_file(path, max_bytes) as file:
        _check_format(file)
        tree = read_tree(file)
        graph, classes, colors = graph_from_text(_read_text(tree))
        _check_tree(tree, graph)
        parameters = {
            layer: {name: _values(tree, f"/params/{layer}/{name}") for name in shapes}
            for layer, shapes in graph.parameter_shapes.items()
        }
        example = _read_example(tree, graph)
    return Network(graph, parameters, classes, colors, **options), example


def _check_format(file: Any) -> None:
    """ModelFileError unless it is a minicam file of this version: asked first, since the rest follows from it."""
    found = read_attribute(file, "format")
    require(found == "minicam", f"is HDF5, but its attribute format is {shown(found)}; expected 'minicam'")
    version = read_attribute(file, "version")
    if not isinstance(version, int) or version < 1:
        raise ModelFileError(f"has the format version {shown(version)}; expected {VERSION}")
    require(version <= VERSION, f"was written by a newer minicam (format version {version}, not {VERSION}): upgrade")


def _read_text(tree: Tree) -> bytes:
    require("/graph" in tree.arrays, "has no /graph; expected the JSON of the network there")
    text = tree.arrays["/graph"]
    plain = text.dtype == np.uint8 and len(text.shape) == 1 and text.shape[0] <= MAX_GRAPH_BYTES
    require(plain, f"/graph: is {text.dtype} {text.shape}; expected uint8, one axis of at most {MAX_GRAPH_BYTES}")
    return text.read().tobytes()


def _check_tree(tree: Tree, graph: Graph) -> None:
    """ModelFileError unless the arrays, groups and attributes are those of the graph, by name and shape."""
    wanted = {f"/params/{k}/{n}": s for k, shapes in graph.parameter_shapes.items() for n, s in shapes.items()}
    arrays = {name: array for name, array in tree.arrays.items() if not name.startswith("/check/") and name != "/graph"}
    missing, extra = sorted(wanted.keys() - arrays.keys()), sorted(arrays.keys() - wanted.keys())
    require(not missing, f"{_first(missing)} missing; the graph needs every parameter of its layers")
    require(not extra, f"{_first(extra)} not part of the graph; expected only its parameters")
    for name, shape in wanted.items():
        require(arrays[name].shape == shape, f"{name}: has shape {arrays[name].shape}; expected {shape}")
    parents = {parent for name in tree.arrays for parent in _parents(name)}
    unknown = sorted(tree.groups.keys() - parents - {"/params"})
    require(not unknown, f"{_first(unknown)} an empty group; expected arrays in it")
    allowed: dict[str, tuple[str, ...]] = {"/": ("format", "version", *ROOT_TEXTS), "/check": ("tolerance",)}
    for name, attributes in tree.groups.items():
        surplus = sorted(attributes.keys() - allowed.get(name, ()))
        require(not surplus, f"{name}: has unknown attributes {shown(surplus)}; expected {allowed.get(name, 'none')}")


def _parents(name: str) -> list[str]:
    """The groups above an array: "/a/b/c" -> "/", "/a", "/a/b"."""
    parts = name.split("/")
    return ["/".join(parts[:i]) or "/" for i in range(1, len(parts))]


def _values(tree: Tree, name: str) -> np.ndarray:
    dtype = tree.arrays[name].dtype
    require(dtype.kind == "f", f"{name}: has values of type {dtype}; expected floating point")
    array = tree.arrays[name].read()
    _check_values(array, name)
    return array


def _check_values(array: np.ndarray, name: str) -> None:
    """ModelFileError for values that no parameter may have; the last part of the name says what it is."""
    require(np.isfinite(array).all(), f"{name}: holds NaN or infinity in {array.dtype}; expected finite values")
    kind = name.rpartition("/")[2] if name.startswith("/params/") else ""
    if kind == "variance" and array.min() < 0:
        raise ModelFileError(f"{name}: holds {array.min()}; expected 0 or more")
    if kind == "std" and array.min() <= 0:
        raise ModelFileError(f"{name}: holds {array.min()}; expected more than 0")


def _rounded(network: Network, dtype: str) -> dict[str, dict[str, np.ndarray]]:
    """The parameters as dtype holds them, perhaps infinite, in the order of the graph's layers."""
    with np.errstate(over="ignore"):
        rounded = network.parameters(np.dtype(dtype))
    return {
        layer: {name: to_numpy(rounded[layer][name]) for name in shapes}
        for layer, shapes in network.graph.parameter_shapes.items()
    }


def _named(group: str, arrays: Mapping[str, Array], dtype: str) -> dict[str, np.ndarray]:
    """The arrays as they are stored, by full name, in an order that depends on the names alone; ModelFileError for
    values that may not be."""
    stored = {}
    for name, array in sorted(arrays.items()):
        with np.errstate(over="ignore"):
            stored[f"{group}/{name}"] = np.ascontiguousarray(to_numpy(array), np.dtype(dtype).newbyteorder("<"))
        _check_values(stored[f"{group}/{name}"], f"{group}/{name}")
    return stored


def _read_example(tree: Tree, graph: Graph) -> Example | None:
    if "/check" not in tree.groups:
        return None
    found: dict[str, dict[str, np.ndarray]] = {"inputs": {}, "outputs": {}}
    for name in tree.arrays:
        _, top, *rest = name.split("/")
        if top == "check":
            require(len(rest) == 2 and rest[0] in found, f"{name}: expected /check/inputs/... or /check/outputs/...")
            found[rest[0]][rest[1]] = _values(tree, name)
    tolerance = tree.groups["/check"].get("tolerance")
    if not isinstance(tolerance, float):
        raise ModelFileError(f"/check: the attribute tolerance is {shown(tolerance)}; expected a number")
    example = Example(**found, tolerance=tolerance)
    _check_example(graph, example)
    return example


def _check_example(graph: Graph, example: Example) -> None:
    """ModelFileError unless the example fits the graph, in names and shapes (N, C, *space), and in memory."""
    for name, group in (("inputs", example.inputs), ("outputs", example.outputs)):
        require(all(a.ndim > 1 and a.size for a in group.values()), f"/check/{name}: expected arrays (N, C, *space)")
    tolerance = example.tolerance
    require(0 < tolerance < math.inf, f"/check: the tolerance is {tolerance}; expected a positive number")
    fed, wanted = sorted(example.inputs), sorted(graph.inputs)
    require(fed == wanted, f"/check/inputs: holds {shown(fed)}; expected the inputs {shown(wanted)}")
    require(example.outputs, "/check/outputs: is empty; expected the values of one layer or more")
    for name, expected in graph.inputs.items():
        found = example.inputs[name].shape[1:]
        fits = len(found) == len(expected) and found[0] == expected[0]
        require(fits, f"/check/inputs/{name}: has the shape {found} for each sample; expected {expected}")
    try:
        shapes = graph.shapes({name: array.shape[1:] for name, array in example.inputs.items()})
    except LayerError as error:
        raise ModelFileError(f"/check/inputs: {error}") from error
    samples, *others = {len(array) for array in example.inputs.values()}
    require(not others, "/check/inputs: hold different numbers of samples")
    check_sizes(shapes, samples)
    for name, array in example.outputs.items():
        require(name in graph.by_name, f"/check/outputs/{name}: there is no such layer")
        expected_shape = (samples, *shapes[name])
        require(array.shape == expected_shape, f"/check/outputs/{name}: shape {array.shape}; expected {expected_shape}")


def _difference(network: Network, example: Example) -> float:
    """The largest difference from the example, relative to its layer's peak; ModelFileError above the tolerance."""
    inputs = {name: np.asarray(x, np.float32) for name, x in example.inputs.items()}
    with np.errstate(all="ignore"):  # what overflows differs from the example, and is reported as that
        values = network.forward(inputs, list(example.outputs))
    largest = 0.0
    for layer, expected in example.outputs.items():
        peak = float(np.abs(expected).max())
        difference = float(np.abs(to_numpy(values[layer]) - expected).max())
        relative = difference / peak if peak else difference
        require(
            relative <= example.tolerance,
            f"layer {layer!r} differs from the file's own example by {relative:.2e} of its largest value; the "
            f"tolerance is {example.tolerance:.2e}. The file was altered, or minicam computes wrongly here",
        )
        largest = max(largest, relative)
    return largest


def _first(names: list[str]) -> str:
    """The start of a sentence about names that may be none, one or many."""
    if len(names) < 2:
        return "".join(f"{name} is" for name in names)
    return f"{names[0]} and {len(names) - 1} more are"
