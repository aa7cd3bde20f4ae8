"""An ONNX file as a model in memory, refusing what is damaged, too large, or reaches outside its folder."""

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from minicam.conversion.reading import framework
from minicam.errors import ConversionError

MAX_BYTES = 2**31
"""Of the file, which is also the most that a protobuf may have, and of all external data together."""
MAX_NODES = 20_000
OLDEST = 7
"""Opset from which on models are read as they are; older ones are brought to OLDEST by onnx itself."""
DOMAINS = ("", "ai.onnx")


def load(path: Path) -> Any:
    """The ModelProto in a file, whole: external data is read in, functions are put in place of their calls.

    Raises ConversionError for a file that is damaged or no ONNX model, for one larger than MAX_BYTES or MAX_NODES, and
    for external data that is not a plain file in the model's folder or below it.
    """
    onnx = framework("onnx", "onnx")
    if path.is_dir():
        raise ConversionError("is a folder; expected an ONNX file")
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise ConversionError(f"has {size} bytes; at most {MAX_BYTES} are read")
    model = onnx.ModelProto()
    try:
        model.ParseFromString(path.read_bytes())
    except Exception as error:  # protobuf's classes differ between its implementations
        raise ConversionError(f"is damaged, truncated or no ONNX model ({error}); export it again") from error
    if not model.HasField("graph") or not model.graph.node or not model.opset_import:
        raise ConversionError("holds no ONNX graph: it is truncated or no ONNX model; export it again")
    _check_texts(model.graph)
    _read_external(model, path.parent)
    return prepared(model)


def prepared(model: Any) -> Any:
    """The same model checked, without functions of its own, and of an opset that the translations know."""
    onnx = framework("onnx", "onnx")
    try:
        onnx.checker.check_model(model)
        if model.functions:
            model = framework("onnx.inliner", "onnx").inline_local_functions(model)
        if opset(model) < OLDEST:
            model = framework("onnx.version_converter", "onnx").convert_version(model, OLDEST)
    except Exception as error:  # the checker's, the converter's, and what they let through
        raise ConversionError(f"is not a valid ONNX model: {str(error).strip().splitlines()[0]}") from error
    nodes = len(model.graph.node)
    if nodes > MAX_NODES:
        raise ConversionError(f"has {nodes} nodes; at most {MAX_NODES} are read")
    return model


def opset(model: Any) -> int:
    """The version of the standard operators that the model uses."""
    for entry in model.opset_import:
        if entry.domain in DOMAINS:
            return entry.version
    raise ConversionError("uses no standard ONNX operators; expected an opset of the domain ai.onnx")


def _check_texts(graph: Any) -> None:
    """ConversionError for names that are not UTF-8, which protobuf hands over as bytes."""
    for node in graph.node:
        texts = (node.name, node.op_type, node.domain, *node.input, *node.output, *(a.name for a in node.attribute))
        if not all(isinstance(text, str) for text in texts):
            raise ConversionError("is damaged: names of nodes or tensors are not text in UTF-8; export it again")
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _check_texts(attribute.g)
    for named in (*graph.initializer, *graph.input, *graph.output):
        if not isinstance(named.name, str):
            raise ConversionError("is damaged: names of tensors are not text in UTF-8; export it again")


def _read_external(model: Any, folder: Path) -> None:
    """Put data that lies in other files into the model."""
    onnx = framework("onnx", "onnx")
    left = MAX_BYTES
    for tensor in _tensors(model.graph):
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        entries = {entry.key: entry.value for entry in tensor.external_data}
        file = _inside(folder, entries.get("location", ""), tensor.name)
        needed = _stored_bytes(tensor)
        try:
            offset, length = int(entries.get("offset", 0)), int(entries.get("length", needed))
        except ValueError:
            raise ConversionError(
                f"tensor {tensor.name!r}: offset or length of its external data is no number"
            ) from None
        size = file.stat().st_size
        if offset < 0 or length != needed or offset + length > size:
            raise ConversionError(
                f"tensor {tensor.name!r}: {file.name} has {size} bytes; expected {needed} from {offset} on, and the "
                f"model says {length}"
            )
        left -= length
        if left < 0:
            raise ConversionError(f"has more than {MAX_BYTES} bytes of external data")
        with file.open("rb") as data:
            data.seek(offset)
            tensor.raw_data = data.read(length)
        del tensor.external_data[:]
        tensor.data_location = onnx.TensorProto.DEFAULT


def _inside(folder: Path, location: str, tensor: str) -> Path:
    """The file at `location`, which has to be a plain one in the folder or below, reached without any link."""
    parts = Path(location).parts
    refused = f"tensor {tensor!r}: its external data {location!r} "
    plain = (
        location and not Path(location).is_absolute() and not {"..", "."} & set(location.replace("\\", "/").split("/"))
    )
    if not plain or "\\" in location or "\0" in location or ":" in location:
        raise ConversionError(refused + "is not a path inside the model's folder; expected a file beside the model")
    path = folder
    for part in parts:
        path = path / part
        if path.is_symlink():
            raise ConversionError(refused + "is reached through a link; expected a plain file beside the model")
    if not path.is_file():
        raise ConversionError(refused + f"is not there as a plain file; expected it in {folder}")
    if not os.access(path, os.R_OK):
        raise ConversionError(refused + "may not be read by this user; change its permissions")
    return path


def _stored_bytes(tensor: Any) -> int:
    """The bytes that a tensor's values take in a file."""
    onnx = framework("onnx", "onnx")
    try:
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
    except (KeyError, TypeError, ValueError):
        raise ConversionError(f"tensor {tensor.name!r}: has the unknown type {tensor.data_type}") from None
    if any(size < 0 for size in tensor.dims):
        raise ConversionError(f"tensor {tensor.name!r}: has the shape {list(tensor.dims)}; expected sizes of 0 or more")
    return math.prod(tensor.dims) * dtype.itemsize


def _tensors(graph: Any) -> Iterator[Any]:
    """Every tensor of a graph: initialisers, attributes, and those of graphs in attributes."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            for inner in (*([attribute.g] if attribute.HasField("g") else ()), *attribute.graphs):
                yield from _tensors(inner)
