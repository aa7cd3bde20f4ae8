"""The file of tools/export_matlab.m: HDF5 with

/network    uint8: JSON, {"format": "minicam-matlab", "version": 1, "layers": [{"name", "class", "properties"}, ...],
            "connections": [[source, destination], ...]}
/arrays/N   the elements of an array in MATLAB's order, the first axis fastest; in place of the array the JSON has
            {"array": N, "size": [...]}
"""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from minicam.conversion.hdf5_arrays import array, member, opened
from minicam.conversion.matlab.network import Connection, network
from minicam.conversion.matlab.record import Record
from minicam.conversion.reading import Converted, Options
from minicam.errors import ConversionError
from minicam.graph_text import shown
from minicam.hdf5 import require

MAX_TEXT = 64 * 2**20


def read_exported(path: Path, options: Options) -> Converted:
    """The network in such a file. Raises ConversionError for anything else."""
    with opened(path) as file:
        document = _document(member(file, "network"))
        records = [_record(file, layer) for layer in document["layers"]]
        connections = document["connections"]
    good = isinstance(connections, list) and all(_is_pair(connection) for connection in connections)
    require(good, "/network: its connections are not pairs of names")
    pairs: list[Connection] = [(source, destination) for source, destination in connections]
    return network(records, pairs, options)


def _document(dataset: Any) -> dict[str, Any]:
    require(dataset is not None, "has no /network; expected a file of tools/export_matlab.m")
    good = getattr(dataset, "dtype", None) == np.uint8 and dataset.size <= MAX_TEXT
    require(good, f"/network: expected text of at most {MAX_TEXT} bytes as uint8")
    try:
        document = json.loads(array(dataset).tobytes())
    except (ValueError, RecursionError) as error:
        raise ConversionError(f"/network: is not JSON: {error}") from error
    found = document.get("format") if isinstance(document, dict) else None
    require(found == "minicam-matlab", f"/network: its format is {shown(found)}; expected 'minicam-matlab'")
    require(document.get("version") == 1, f"/network: its version is {shown(document.get('version'))}; expected 1")
    require(isinstance(document.get("layers"), list), "/network: has no list of layers")
    return {"connections": document.get("connections", []), "layers": document["layers"]}


def _record(file: Any, layer: Any) -> Record:
    good = isinstance(layer, dict) and isinstance(layer.get("name"), str) and isinstance(layer.get("class"), str)
    good = good and isinstance(layer.get("properties"), dict)
    require(good, f"/network: has a layer {shown(layer)}; expected name, class and properties")
    properties = {name: _value(file, value) for name, value in layer["properties"].items()}
    return Record(layer["name"], layer["class"].rpartition(".")[2], properties)


def _value(file: Any, value: Any) -> Any:
    """A number, text, list, or the array that stands elsewhere in the file."""
    if not isinstance(value, dict):
        return value
    key: Any = value.get("array")
    size: Any = value.get("size")
    good = type(key) is int and isinstance(size, list) and all(type(n) is int and n >= 0 for n in size)
    require(good and bool(size), f"/network: has a value {shown(value)}; expected the number of an array and its size")
    elements = member(file, f"arrays/{key}")
    require(elements is not None, f"/arrays/{key}: is missing")
    values = array(elements).reshape(-1)
    require(values.size == math.prod(size), f"/arrays/{key}: has {values.size} elements; its size is {size}")
    return values.reshape(size, order="F")


def _is_pair(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(isinstance(name, str) for name in value)
