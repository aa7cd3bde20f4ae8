"""The kinds of files that can be read, found by what is in them, else by the end of their name."""

import importlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from minicam.conversion.reading import Converted, Options
from minicam.errors import ConversionError, MinicamError, close_names

HEAD = 512
"""Bytes from the start of a file that a kind is recognised by; of a folder there are none."""


@dataclass(frozen=True)
class Kind:
    """A kind of file. `reader`, "module:function", is imported only when a file of this kind is read.

    recognises: whether a path, the first HEAD bytes of which are given, holds this kind, whatever its name is.
    """

    name: str
    description: str
    suffixes: tuple[str, ...]
    reader: str
    recognises: Callable[[Path, bytes], bool] = lambda path, head: False

    def read(self, path: Path, options: Options) -> Converted:
        module, _, function = self.reader.partition(":")
        return getattr(importlib.import_module(module), function)(path, options)


def _is_onnx(path: Path, head: bytes) -> bool:
    """Whether a file starts like a ModelProto: field 1, ir_version, is a small number, and another field follows."""
    return len(head) > 2 and head[0] == 0x08 and 1 <= head[1] < 0x40 and head[2] & 7 in (0, 2)


def _is_torch(path: Path, head: bytes) -> bool:
    """Whether the first entry of a ZIP archive is PyTorch's, or a pickle starts with PyTorch's magic number."""
    return (head[:2] == b"PK" and b"data.pkl" in head) or head.startswith(b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19")


def _is_safetensors(path: Path, head: bytes) -> bool:
    """Whether a length of 8 bytes comes before an object in JSON."""
    return head[8:10] == b'{"' and head[6:8] == b"\0\0"


def _is_keras(path: Path, head: bytes) -> bool:
    """Whether an archive or an HDF5 file holds a Keras model, or the weights of one."""
    if head[:2] == b"PK":
        return b"metadata.json" in head or b"config.json" in head
    return any(name in ("model_config", "model_weights", "layers") for name in _hdf5_names(path, head))


def _hdf5_names(path: Path, head: bytes) -> set[str]:
    """The names of what lies at the top of an HDF5 file, groups, arrays and attributes; none of any other file."""
    if not head.startswith(b"\x89HDF\r\n\x1a\n"):
        return set()
    from minicam.conversion.hdf5_arrays import children, opened

    try:
        with opened(path) as file:
            return {*children(file), *file.attrs}
    except MinicamError:
        return set()


def _is_matlab(path: Path, head: bytes) -> bool:
    """Whether it is a .mat file, the package of exportNetworkToTensorFlow, or a file of tools/export_matlab.m."""
    if path.is_dir() or path.name in ("model.py", "weights.h5"):
        folder = path if path.is_dir() else path.parent
        return (folder / "model.py").is_file() and (folder / "weights.h5").is_file()
    return head.startswith(b"MATLAB ") or "network" in _hdf5_names(path, head)


KINDS: tuple[Kind, ...] = (
    Kind("onnx", "ONNX model", (".onnx",), "minicam.conversion.onnx:read", _is_onnx),
    Kind("pytorch", "PyTorch weights", (".pt", ".pth"), "minicam.conversion.pytorch:read", _is_torch),
    Kind(
        *("safetensors", "weights", (".safetensors",), "minicam.conversion.pytorch:read_safetensors"), _is_safetensors
    ),
    Kind("keras", "Keras model", (".keras", ".h5", ".hdf5"), "minicam.conversion.keras:read", _is_keras),
    Kind("matlab", "MATLAB network", (".mat",), "minicam.conversion.matlab:read", _is_matlab),
)


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(HEAD)


def kind_of(source: str | os.PathLike[str], name: str | None = None) -> Kind:
    """The kind of a file or folder; `name` decides where it is given. ConversionError, with the kinds that there are,
    where the source is missing, cannot be read, or is of no known kind."""
    path = Path(source)
    if not path.exists():
        raise ConversionError(f"{path}: does not exist; expected a network's file")
    if name is not None:
        for kind in KINDS:
            if kind.name == name:
                return kind
        raise ConversionError(f"there is no kind {name!r} of files{close_names(name, [kind.name for kind in KINDS])}")
    try:
        head = b"" if path.is_dir() else _head(path)
    except OSError as error:
        raise ConversionError(f"{path}: cannot be read: {error.strerror or error}") from error
    recognised = [kind for kind in KINDS if kind.recognises(path, head)]
    suffixed = [kind for kind in KINDS if path.suffix.lower() in kind.suffixes]
    for kind in (*(kind for kind in recognised if kind in suffixed), *recognised, *suffixed):
        return kind
    known = "; ".join(f"{kind.name} ({kind.description}, {' '.join(kind.suffixes)})" for kind in KINDS)
    raise ConversionError(f"{path}: is of no kind that minicam reads: {known}. If it is one of these, name the kind")
