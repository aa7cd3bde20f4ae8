"""A graph as the JSON text of a file, and back, refusing everything that it would not write itself.

Nothing from the text is imported, evaluated or used as an attribute name: ops are looked up in `OPS`, and options are
checked against the fields of the op before it sees them.
"""

import dataclasses
import json
import math
import operator
import typing
from collections.abc import Iterable, Mapping
from typing import Any

from minicam.errors import LayerError, ModelFileError
from minicam.graph import Graph, Node
from minicam.hdf5 import check_name, require
from minicam.ops import OPS, Op, Shape

MAX_GRAPH_BYTES = 4 * 2**20
MAX_RANK = 8  # entries of a shape or an option
MAX_CLASSES = 100_000  # entries of an option with a number for each class
MAX_INTEGER = 2**31 - 1  # in an option or a shape
MAX_ELEMENTS = 2**31  # of one layer's output, 8 GiB in float32


def graph_text(graph: Graph, classes: Iterable[str] = (), colors: Iterable[Iterable[int]] = ()) -> bytes:
    """A graph, and what its outputs mean, as the JSON of a file: inputs, nodes (name, op, inputs, options), outputs,
    and classes and colors where there are any. options: the fields of the op."""
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
        require(isinstance(value, list), f"/graph: {key} is {shown(value)}; expected a list")
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
    check_sizes(graph.shapes(graph.inputs))
    return graph, classes, colors


def _node(value: Any) -> Node:
    _keys(value, "/graph: a node", ("name", "op", "inputs", "options"))
    name = _name(value["name"], "the name of a node")
    kind = value["op"]
    known = isinstance(kind, str) and kind in OPS
    require(known, f"/graph: layer {name!r} has the unknown op {shown(kind)}; known are {', '.join(OPS)}")
    try:
        op = _op(OPS[kind], value["options"])
    except (LayerError, ModelFileError) as error:
        raise ModelFileError(f"/graph: layer {name!r} ({kind}): {error}") from error
    require(isinstance(value["inputs"], list), f"/graph: layer {name!r}: inputs is not a list")
    return Node(name, op, _names(value["inputs"], f"an input of layer {name!r}"))


def _op(kind: type[Op], options: Any) -> Op:
    """The op with these options, which are checked against the types of its fields before it sees them."""
    types = typing.get_type_hints(kind)
    later = [field.name for field in _fields(kind) if field.kw_only]
    _keys(options, "its options", [field.name for field in _fields(kind) if not field.kw_only], later)
    for name, value in options.items():
        require(_fits(value, types[name]), f"option {name} is {shown(value)}; expected {_type_name(types[name])}")
    try:
        op = kind(**{name: _tuples(value) for name, value in options.items()})
    except (TypeError, ValueError, IndexError) as error:  # a structure that the op does not expect
        raise ModelFileError(f"the options {shown(options)} do not fit together: {error}") from error
    canonical = _options(op)
    require(canonical == options, f"the options are {shown(options)}; expected them written as {shown(canonical)}")
    return op


def _options(op: Op) -> dict[str, Any]:
    """The fields of an op as JSON has them: tuples as lists, NumPy numbers as plain ones. Keyword-only fields came
    later than the first files, and are written where they are not the default: so old files and readers stay valid."""
    require(OPS.get(type(op).__name__) is type(op), f"the op {type(op).__name__} is not one that a file can name")
    first = {field.name: getattr(op, field.name) for field in _fields(type(op)) if not field.kw_only}
    usual = type(op)(**first)
    later = {field.name: getattr(op, field.name) for field in _fields(type(op)) if field.kw_only}
    used = {name: value for name, value in later.items() if value != getattr(usual, name)}
    return json.loads(json.dumps(first | used, default=operator.methodcaller("item")))


def _fields(kind: type[Op]) -> tuple[dataclasses.Field, ...]:
    return dataclasses.fields(typing.cast(Any, kind))


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
    return (
        isinstance(value, list)
        and len(value) <= (MAX_CLASSES if element is float else MAX_RANK)
        and all(_fits(v, element) for v in value)
    )


def _type_name(kind: Any) -> str:
    return "whole numbers" if kind is Any else getattr(kind, "__name__", str(kind))


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _input(value: Any) -> tuple[str, Shape]:
    _keys(value, "/graph: an input", ("name", "shape"))
    name, shape = _name(value["name"], "the name of an input"), value["shape"]
    good = isinstance(shape, list) and 1 <= len(shape) <= MAX_RANK
    good = good and all(size is None or (_fits(size, int) and size >= 1) for size in shape)
    require(good, f"/graph: input {name!r} has the shape {shown(shape)}; expected [channels, sizes ...], null for any")
    return name, tuple(shape)


def _check_classes(classes: tuple[Any, ...], colors: tuple[Any, ...]) -> None:
    good = all(isinstance(name, str) and name.strip() and name.isprintable() for name in classes)
    require(good and len(set(classes)) == len(classes), "/graph: classes must be different names of printable text")
    require(not colors or len(colors) == len(classes), f"/graph: {len(colors)} colors for {len(classes)} classes")


def _color(value: Any) -> list[int]:
    good = isinstance(value, list) and len(value) == 3 and all(_fits(part, int) and 0 <= part <= 255 for part in value)
    require(good, f"/graph: the color {shown(value)} is not [red, green, blue] of 0 to 255")
    return value


def _names(values: list[Any], what: str) -> tuple[str, ...]:
    return tuple(_name(value, what) for value in values)


def _name(value: Any, what: str) -> str:
    require(isinstance(value, str), f"/graph: {what} is {shown(value)}; expected text")
    return check_name(value, "/graph")


def _keys(value: Any, what: str, required: Iterable[str], optional: Iterable[str] = ()) -> None:
    """ModelFileError unless value is a JSON object with these keys and no other."""
    require(isinstance(value, dict), f"{what} is {shown(value)}; expected an object")
    missing = sorted(set(required) - value.keys())
    unknown = sorted(value.keys() - set(required) - set(optional))
    require(not missing, f"{what} lacks {', '.join(missing)}")
    require(not unknown, f"{what} has the unknown key {shown(unknown[0]) if unknown else ''}")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("an object has the same key twice")
    return found


def _finite_number(text: str) -> float:
    if not math.isfinite(float(text)):
        raise ValueError(f"{text} is not a finite number")
    return float(text)


def check_sizes(shapes: Mapping[str, Shape], samples: int = 1) -> None:
    for layer, shape in shapes.items():
        elements = samples * math.prod(size or 1 for size in shape)
        require(
            elements <= MAX_ELEMENTS,
            f"/graph: layer {layer!r} would give {shape} for each of {samples} samples; the limit is {MAX_ELEMENTS} "
            "elements, 8 GiB in float32",
        )


def shown(value: Any) -> str:
    """The value for a message, shortened: what a hostile file holds may be long."""
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:100]}..."
