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
import json
import math
import operator
import os
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from minicam.backend import Array, to_numpy
from minicam.errors import LayerError, ModelFileError
from minicam.graph import Graph, Node
from minicam.hdf5 import MAX_TEXT, Tree, check_name, naming, open_file, read_attribute, read_tree, require, write_tree
from minicam.network import Network
from minicam.ops import OPS, Op, Shape

BUNDLED = "deeplabv3plus_resnet18_camvid.h5"
VERSION = 1
MAX_GRAPH_BYTES = 4 * 2**20
MAX_RANK = 8  # entries of a shape or an option
MAX_INTEGER = 2**31 - 1  # in an option or a shape
MAX_ELEMENTS = 2**31  # of one layer's output, 8 GiB in float32
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
    """What `verify` found: counts, the size of the file, and the largest relative difference from the file's own
    example (None where it has none)."""

    path: str
    layers: int
    parameters: int
    bytes: int
    check: float | None


def load(path: str | os.PathLike[str] | None = None, device: str = "auto", max_bytes: int = 2 * 2**30) -> Network:
    """The network in a file; by default, or by its plain name, the CamVid network that comes with minicam.

    Parameters keep the type that they are stored in. Raises ModelFileError, naming the file, the object in it and the
    rule, for a file that is not there, damaged, hostile, larger than max_bytes, or not a minicam network; DeviceError
    for a device ("auto", "cpu", "gpu") that cannot be used.
    """
    return _read(_located(path), device, max_bytes)[0]


def verify(path: str | os.PathLike[str] | None = None, device: str = "auto", max_bytes: int = 2 * 2**30) -> Report:
    """Load a file with all its rules, and compute its own example in float32. Errors as for `load`; ModelFileError
    where a layer differs from the example by more than the stored tolerance."""
    path = _located(path)
    network, example = _read(path, device, max_bytes)
    with naming(path, "checked"):
        difference = None if example is None else _difference(network, example)
    parameters = sum(math.prod(s) for shapes in network.graph.parameter_shapes.values() for s in shapes.values())
    return Report(str(path), len(network.layers), parameters, path.stat().st_size, difference)


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
            require(len(text.encode()) <= MAX_TEXT, f"the text {_shown(text)} is too long; expected {MAX_TEXT} bytes")
        require(dtype in DTYPES, f"cannot be stored as {dtype!r}; expected one of {', '.join(DTYPES)}")
        graph = graph_text(network.graph, network.classes, network.colors)
        graph_from_text(graph)  # refuses here what it would refuse on loading
        arrays = {"/graph": np.frombuffer(graph, np.uint8)}
        with np.errstate(over="ignore"):  # infinities are found below
            rounded = network.parameters(np.dtype(dtype))
        parameters = {
            layer: {name: to_numpy(rounded[layer][name]) for name in shapes}
            for layer, shapes in network.graph.parameter_shapes.items()
        }
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


def _read(path: Path, device: str, max_bytes: int) -> tuple[Network, Example | None]:
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
    return Network(graph, parameters, classes, colors, device), example


def _check_format(file: Any) -> None:
    """ModelFileError unless it is a minicam file of this version: asked first, since the rest follows from it."""
    found = read_attribute(file, "format")
    require(found == "minicam", f"is HDF5, but its attribute format is {_shown(found)}; expected 'minicam'")
    version = read_attribute(file, "version")
    if not isinstance(version, int) or version < 1:
        raise ModelFileError(f"has the format version {_shown(version)}; expected {VERSION}")
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
        require(not surplus, f"{name}: has unknown attributes {_shown(surplus)}; expected {allowed.get(name, 'none')}")


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
        raise ModelFileError(f"/check: the attribute tolerance is {_shown(tolerance)}; expected a number")
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
    require(fed == wanted, f"/check/inputs: holds {_shown(fed)}; expected the inputs {_shown(wanted)}")
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
    _check_sizes(shapes, samples)
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


def graph_text(graph: Graph, classes: Iterable[str] = (), colors: Iterable[Iterable[int]] = ()) -> bytes:
    """A graph, and what its outputs mean, as the JSON of a file: inputs, nodes (name, op, inputs, options), outputs,
    and classes and colors where there are any. options: all fields of the op."""
    document: dict[str, Any] = {
        "inputs": [{"name": name, "shape": shape} for name, shape in graph.inputs.items()],
        "nodes": [
            {"name": n.name, "op": type(n.op).__name__, "inputs": n.inputs, "options": _options(n.op)}
            for n in graph.nodes
        ],
        "outputs": graph.outputs,
        "classes": list(classes),
        "colors": [list(color) for color in colors],
    }
    document = {key: value for key, value in document.items() if value or key not in ("classes", "colors")}
    return json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def graph_from_text(text: bytes) -> tuple[Graph, tuple[str, ...], tuple[tuple[int, ...], ...]]:
    """The graph, classes and colors in the JSON of a file. Raises ModelFileError for whatever `graph_text` does not
    write, and for a layer whose output would have more than MAX_ELEMENTS elements."""
    require(len(text) <= MAX_GRAPH_BYTES, f"/graph: has {len(text)} bytes; expected at most {MAX_GRAPH_BYTES}")
    try:
        document = json.loads(
            text.decode(), object_pairs_hook=_unique, parse_constant=_finite_number, parse_float=_finite_number
        )
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"/graph: is not JSON in UTF-8: {error}") from error
    _keys(document, "/graph: the text", ("inputs", "nodes", "outputs"), ("classes", "colors"))
    for key, value in document.items():
        require(isinstance(value, list), f"/graph: {key} is {_shown(value)}; expected a list")
    inputs = [_input(value) for value in document["inputs"]]
    require(inputs and document["outputs"], "/graph: has no inputs or no outputs; expected one or more of each")
    require(len(dict(inputs)) == len(inputs), "/graph: two inputs have the same name")
    nodes = tuple(_node(value) for value in document["nodes"])
    outputs = _names(document["outputs"], "outputs")
    classes = tuple(document.get("classes", ()))
    colors = tuple(tuple(_color(value)) for value in document.get("colors", ()))
    _check_classes(classes, colors)
    try:
        graph = Graph(dict(inputs), nodes, outputs)
    except LayerError as error:
        raise ModelFileError(f"/graph: {error}") from error
    _check_sizes(graph.shapes(graph.inputs))
    return graph, classes, colors


def _node(value: Any) -> Node:
    _keys(value, "/graph: a node", ("name", "op", "inputs", "options"))
    name = _name(value["name"], "the name of a node")
    kind = value["op"]
    known = isinstance(kind, str) and kind in OPS
    require(known, f"/graph: layer {name!r} has the unknown op {_shown(kind)}; known are {', '.join(OPS)}")
    try:
        op = _op(OPS[kind], value["options"])
    except (LayerError, ModelFileError) as error:
        raise ModelFileError(f"/graph: layer {name!r} ({kind}): {error}") from error
    require(isinstance(value["inputs"], list), f"/graph: layer {name!r}: inputs is not a list")
    return Node(name, op, _names(value["inputs"], f"an input of layer {name!r}"))


def _op(kind: type[Op], options: Any) -> Op:
    """The op with these options, which are checked against the types of its fields before it sees them."""
    types = typing.get_type_hints(kind)
    fields = [field.name for field in dataclasses.fields(typing.cast(Any, kind))]
    _keys(options, "its options", fields)
    for name, value in options.items():
        require(_fits(value, types[name]), f"option {name} is {_shown(value)}; expected {_type_name(types[name])}")
    try:
        op = kind(**{name: _tuples(value) for name, value in options.items()})
    except (TypeError, ValueError, IndexError) as error:  # a structure that the op does not expect
        raise ModelFileError(f"the options {_shown(options)} do not fit together: {error}") from error
    canonical = _options(op)
    require(canonical == options, f"the options are {_shown(options)}; expected them written as {_shown(canonical)}")
    return op


def _options(op: Op) -> dict[str, Any]:
    """All fields of an op as JSON has them: tuples as lists, NumPy numbers as plain ones."""
    require(OPS.get(type(op).__name__) is type(op), f"the op {type(op).__name__} is not one that a file can name")
    return json.loads(json.dumps(dataclasses.asdict(typing.cast(Any, op)), default=operator.methodcaller("item")))


def _fits(value: Any, kind: Any) -> bool:
    """Whether a JSON value may stand for an op's field of that type. True is no integer; PerAxis (Any) is whole
    numbers, or lists of them."""
    if kind in (bool, str):
        return type(value) is kind
    if kind is int:
        return type(value) is int and abs(value) <= MAX_INTEGER
    if kind is float:
        return type(value) is float or _fits(value, int)
    if kind is Any:
        return _fits(value, int) or _fits(value, tuple[int, ...]) or _fits(value, tuple[tuple[int, ...], ...])
    element = typing.get_args(kind)[0]
    return isinstance(value, list) and len(value) <= MAX_RANK and all(_fits(v, element) for v in value)


def _type_name(kind: Any) -> str:
    return "whole numbers" if kind is Any else getattr(kind, "__name__", str(kind))


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _input(value: Any) -> tuple[str, Shape]:
    _keys(value, "/graph: an input", ("name", "shape"))
    name, shape = _name(value["name"], "the name of an input"), value["shape"]
    good = isinstance(shape, list) and 1 <= len(shape) <= MAX_RANK
    good = good and all(size is None or (_fits(size, int) and size >= 1) for size in shape)
    require(good, f"/graph: input {name!r} has the shape {_shown(shape)}; expected [channels, sizes ...], null for any")
    return name, tuple(shape)


def _check_classes(classes: tuple[Any, ...], colors: tuple[Any, ...]) -> None:
    good = all(isinstance(name, str) and name.strip() and name.isprintable() for name in classes)
    require(good and len(set(classes)) == len(classes), "/graph: classes must be different names of printable text")
    require(not colors or len(colors) == len(classes), f"/graph: {len(colors)} colors for {len(classes)} classes")


def _color(value: Any) -> list[int]:
    good = isinstance(value, list) and len(value) == 3 and all(_fits(part, int) and 0 <= part <= 255 for part in value)
    require(good, f"/graph: the color {_shown(value)} is not [red, green, blue] of 0 to 255")
    return value


def _names(values: list[Any], what: str) -> tuple[str, ...]:
    return tuple(_name(value, what) for value in values)


def _name(value: Any, what: str) -> str:
    require(isinstance(value, str), f"/graph: {what} is {_shown(value)}; expected text")
    return check_name(value, "/graph")


def _keys(value: Any, what: str, required: Iterable[str], optional: Iterable[str] = ()) -> None:
    """ModelFileError unless value is a JSON object with these keys and no other."""
    require(isinstance(value, dict), f"{what} is {_shown(value)}; expected an object")
    missing = sorted(set(required) - value.keys())
    unknown = sorted(value.keys() - set(required) - set(optional))
    require(not missing, f"{what} lacks {', '.join(missing)}")
    require(not unknown, f"{what} has the unknown key {_shown(unknown[0]) if unknown else ''}")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("an object has the same key twice")
    return found


def _finite_number(text: str) -> float:
    if not math.isfinite(float(text)):
        raise ValueError(f"{text} is not a finite number")
    return float(text)


def _check_sizes(shapes: Mapping[str, Shape], samples: int = 1) -> None:
    for layer, shape in shapes.items():
        elements = samples * math.prod(size or 1 for size in shape)
        require(
            elements <= MAX_ELEMENTS,
            f"/graph: layer {layer!r} would give {shape} for each of {samples} samples; the limit is {MAX_ELEMENTS} "
            "elements, 8 GiB in float32",
        )


def _first(names: list[str]) -> str:
    """The start of a sentence about names that may be none, one or many."""
    if len(names) < 2:
        return "".join(f"{name} is" for name in names)
    return f"{names[0]} and {len(names) - 1} more are"


def _shown(value: Any) -> str:
    """The value for a message, shortened: what a hostile file holds may be long."""
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:100]}..."
