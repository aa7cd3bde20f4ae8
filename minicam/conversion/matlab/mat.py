"""Networks in .mat files, through the package mat-io, as far as that can read MATLAB's objects.

How MATLAB lays out its networks is not documented and differs between versions. So this looks through all that the file
holds for objects of the classes nnet.cnn.layer..., and for a table or struct with the columns Source and Destination. A
SeriesNetwork has none: its layers are a chain. Where no connections are found in any other network, it is refused.
"""

import itertools
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from minicam.conversion.matlab.network import Connection, network
from minicam.conversion.matlab.record import Record
from minicam.conversion.reading import Converted, Options, framework
from minicam.errors import ConversionError
from minicam.graph_text import shown

LAYER = re.compile(r"nnet\.(?:internal\.)?cnn\.layer\.(\w+)")
MAX_DEPTH = 32
ADVICE = "run tools/export_matlab.m in MATLAB, or exportONNXNetwork, and convert what that writes"


def read_mat(path: Path, options: Options) -> Converted:
    """The network in a .mat file. Raises ConversionError, with what to do in MATLAB, where it cannot be made out."""
    matio = framework("matio", "convert-matlab")
    try:
        variables = matio.load_from_mat(str(path))
    except Exception as error:  # mat-io raises what its parts raise
        raise ConversionError(f"mat-io cannot read it ({type(error).__name__}: {error}); {ADVICE}") from error
    objects = [value for value in _walk(variables) if _class(value)]
    networks = [name for name in map(_class, objects) if name.endswith("Network")]
    records = [_record(value) for value in objects if LAYER.fullmatch(_class(value)) and _has_name(value)]
    if not records:
        held = ", ".join(f"{name} ({type(value).__name__})" for name, value in variables.items()) or "nothing"
        raise ConversionError(f"holds {held}, and no layers that mat-io can read; {ADVICE}")
    connections = next((found for value in _walk(variables) if (found := _connections(value))), None)
    if connections is None:
        if networks != ["SeriesNetwork"]:
            raise ConversionError(f"holds layers, but not how they are connected (found {shown(networks)}); {ADVICE}")
        names = [record.name for record in records]
        connections = list(itertools.pairwise(names))
    return network(records, connections, options)


def _walk(value: Any) -> Iterator[Any]:
    """Everything inside a value, in order, each object once."""
    seen: set[int] = set()

    def inside(value: Any, depth: int) -> Iterator[Any]:
        if depth > MAX_DEPTH or (id(value) in seen and not isinstance(value, str | int | float)):
            return
        seen.add(id(value))
        yield value
        if not LAYER.fullmatch(_class(value)):
            for part in _parts(value):
                yield from inside(part, depth + 1)

    yield from inside(value, 0)


def _parts(value: Any) -> list[Any]:
    properties = getattr(value, "properties", None)
    if isinstance(properties, Mapping):
        return list(properties.values())
    if isinstance(value, Mapping):
        return list(value.values())
    if isinstance(value, np.ndarray) and value.dtype.names:
        return [value[name] for name in value.dtype.names]
    if isinstance(value, np.ndarray) and value.dtype == object:
        return list(value.reshape(-1, order="F"))
    return list(value) if isinstance(value, list | tuple) else []


def _class(value: Any) -> str:
    name = getattr(value, "classname", None)
    return name if isinstance(name, str) and isinstance(getattr(value, "properties", None), Mapping) else ""


def _has_name(value: Any) -> bool:
    return isinstance(_properties(value).get("Name"), str)


def _record(value: Any) -> Record:
    properties = _properties(value)
    kind = _class(value).rpartition(".")[2]
    return Record(properties["Name"], kind, properties)


def _properties(value: Any) -> dict[str, Any]:
    """The properties of a layer and of the structs and objects in it, where MATLAB keeps most of them."""
    found: dict[str, Any] = {}
    waiting = [getattr(value, "properties", {})]
    while waiting and len(found) < 1000:
        for name, inner in dict(waiting.pop(0)).items():
            plain = _plain(inner)
            if isinstance(plain, Mapping):
                content = plain.get("Value")
                if content is not None:
                    found.setdefault(name, _plain(content))
                else:
                    waiting.append(plain)
            else:
                found.setdefault(name.removeprefix("Private"), plain)
    return found


def _plain(value: Any) -> Any:
    """Text as str, a struct or an object as a dict, a list of texts as a list, numbers as they are."""
    properties = getattr(value, "properties", None)
    if isinstance(properties, Mapping):
        return properties
    if isinstance(value, np.ndarray):
        if value.dtype.names and value.size == 1:
            return {name: value[name].reshape(-1)[0] for name in value.dtype.names}
        if value.dtype.kind in "US":
            texts = [str(text) for text in value.reshape(-1, order="F")]
            return texts[0] if len(texts) == 1 else texts
        if value.dtype == object and value.size:
            parts = [_plain(part) for part in value.reshape(-1, order="F")]
            return parts[0] if len(parts) == 1 else parts
    return value


def _connections(value: Any) -> list[Connection] | None:
    """The pairs in a table (of pandas) or struct with the columns Source and Destination."""
    columns = value if hasattr(value, "columns") else _plain(value)
    try:
        source, destination = (_texts(columns[name]) for name in ("Source", "Destination"))
    except (KeyError, TypeError, IndexError, ValueError):
        return None
    return list(zip(source, destination, strict=True)) if len(source) == len(destination) else None


def _texts(column: Any) -> list[str]:
    """The texts of a column, however MATLAB has wrapped them."""
    if isinstance(column, str):
        return [column]
    return [text for part in np.asarray(column).reshape(-1, order="F").tolist() for text in _texts(part)]
