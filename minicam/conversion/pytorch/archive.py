"""The tensors in a .pt or .pth file, as arrays, without PyTorch.

The format of PyTorch 1.6 and later is a ZIP archive of uncompressed entries: NAME/data.pkl, the pickle of an object in
which tensors refer to storages, and NAME/data/KEY, the bytes of each storage. The format before it is a sequence of
pickles (a magic number, a version, the machine, the object, the list of keys), then each storage: the number of its
elements as int64, and their bytes.

Source: PyTorch's torch/serialization.py (_save, _legacy_save).
"""

import io
import math
import re
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np

from minicam.conversion.pytorch.pickles import STORAGES, Storage, Tensor, read_pickle, words
from minicam.errors import ConversionError
from minicam.graph_text import shown
from minicam.hdf5 import require

MAGIC = 0x1950A86A20F9469CFC6C
MAX_PICKLE = 16 * 2**20  # bytes; a state dict takes about 150 for each of its tensors
MAX_ENTRIES = 100_000
MAX_BYTES = 8 * 2**30

ReadStorage = Callable[[Storage], np.ndarray]
"""What reads all elements of a storage, (n,)."""


def read_archive(path: Path) -> tuple[Any, ReadStorage]:
    """The object in the file, see `read_pickle`, and the function that reads the elements of its storages (n,).

    Raises ConversionError or ModelFileError for what is damaged, hostile or no PyTorch file.
    """
    size = path.stat().st_size
    require(size <= MAX_BYTES, f"has {size} bytes; the limit is {MAX_BYTES}")
    with path.open("rb") as file:
        start = file.read(4)
        if start == b"PK\x03\x04":
            return _read_zip(path, size)
        if start[:2] == b"\x80\x02":
            return _read_sequence(path, size)
        file.seek(257)
        require(file.read(5) != b"ustar", "is in PyTorch's first, tar format; load it in PyTorch and save it anew")
    raise ConversionError(f"starts with the bytes {start.hex(' ')}; expected a file made by torch.save")


def array_of(tensor: Tensor, read: ReadStorage) -> np.ndarray:
    """The tensor's elements, of its size; bfloat16 as float32, which holds them exactly. A view where it can be.

    Raises ModelFileError where it looks beyond its storage, or repeats elements.
    """
    count = tensor.storage.count
    elements = math.prod(tensor.size)
    last = tensor.offset + sum((n - 1) * step for n, step in zip(tensor.size, tensor.stride, strict=True))
    rule = f"a tensor of size {tensor.size}, stride {tensor.stride} and offset {tensor.offset}"
    require(elements == 0 or last < count, f"{rule} does not fit its storage of {count} elements")
    require(elements <= count, f"{rule} repeats the elements of its storage; save a contiguous copy of it")
    if elements == 0:
        return np.zeros(tensor.size, np.float32)
    storage = read(tensor.storage)
    strides = [step * storage.itemsize for step in tensor.stride]
    return np.lib.stride_tricks.as_strided(storage[tensor.offset :], tensor.size, strides, writeable=False)


def _read_zip(path: Path, size: int) -> tuple[Any, ReadStorage]:
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError) as error:
        raise ConversionError(f"is a damaged ZIP archive ({error}): fetch it again") from error
    with archive:
        entries = {entry.filename: entry for entry in archive.infolist()}
        _check_entries(archive.infolist(), size)
        pickles = [name for name in entries if re.fullmatch(r"([^/]+/)?data\.pkl", name)]
        if len(pickles) != 1:
            what = "a Keras model" if "config.json" in entries else "another ZIP archive"
            raise ConversionError(f"is {what}: it has {len(pickles)} entries data.pkl; a PyTorch file has one")
        folder = pickles[0].removesuffix("data.pkl")
        require(f"{folder}constants.pkl" not in entries, "is TorchScript, a program; save the model's state_dict()")
        require(entries[pickles[0]].file_size <= MAX_PICKLE, f"{pickles[0]} has more than {MAX_PICKLE} bytes")
        order = _entry(archive, f"{folder}byteorder") if f"{folder}byteorder" in entries else b"little"
        require(order in (b"little", b"big"), f"{folder}byteorder is {shown(order)}; expected little or big")
        document = read_pickle(io.BytesIO(_entry(archive, pickles[0])))

    def read(storage: Storage) -> np.ndarray:
        name = f"{folder}data/{storage.key}"
        require(name in entries, f"the storage {name} is missing")
        with zipfile.ZipFile(path) as archive:
            return _elements(storage, _entry(archive, name), "<" if order == b"little" else ">")

    return document, _remembering(read)


def _check_entries(entries: list[zipfile.ZipInfo], size: int) -> None:
    """ModelFileError for archives that unpack to more than the file holds."""
    require(len(entries) <= MAX_ENTRIES, f"has {len(entries)} entries; the limit is {MAX_ENTRIES}")
    for entry in entries:
        plain = entry.compress_type == zipfile.ZIP_STORED and not entry.flag_bits & 1
        require(plain, f"its entry {shown(entry.filename)} is compressed or encrypted; PyTorch stores plain bytes")
    total = sum(entry.file_size for entry in entries)
    require(total <= size, f"its entries have {total} bytes together, but the file only {size}; they overlap")


def _entry(archive: zipfile.ZipFile, name: str) -> bytes:
    try:
        return archive.read(name)
    except (zipfile.BadZipFile, ValueError, OSError, EOFError, NotImplementedError) as error:
        raise ConversionError(f"its entry {name} is damaged ({error}): fetch it again") from error


def _read_sequence(path: Path, size: int) -> tuple[Any, ReadStorage]:
    """The format before 1.6. The sizes of the storages follow from the pickle, since the file repeats only counts."""
    with path.open("rb") as file:
        head = io.BytesIO(file.read(MAX_PICKLE))
    magic = read_pickle(head)
    require(magic == MAGIC, "is a Python pickle, but not one that torch.save wrote; expected PyTorch's magic number")
    version, machine = read_pickle(head), read_pickle(head)
    require(version == 1001, f"has the format version {words(version)}; expected 1001")
    order: Literal["<", ">"] = ">" if isinstance(machine, dict) and machine.get("little_endian") is False else "<"
    document, keys = read_pickle(head), read_pickle(head)
    require(isinstance(keys, list), "its list of storages is not one")
    start = head.tell()
    storages = _storages_in(document)
    places: dict[str, int] = {}
    for key in keys:
        known = isinstance(key, str) and key in storages and key not in places
        require(known, f"its list of storages has {words(key)}, which no tensor names or which is there twice")
        places[key] = start
        start += 8 + storages[key].count * _itemsize(storages[key])
        require(start <= size, f"is truncated: its storages end at byte {start}, the file at {size}; fetch it again")

    def read(storage: Storage) -> np.ndarray:
        require(storage.key in places, f"the storage {shown(storage.key)} is missing")
        with path.open("rb") as file:
            file.seek(places[storage.key])
            (count,) = struct.unpack(f"{order}q", file.read(8))
            require(count == storage.count, f"the storage {storage.key} has {count} elements; expected {storage.count}")
            return _elements(storage, file.read(count * _itemsize(storage)), order)

    return document, _remembering(read)


def _storages_in(document: Any) -> dict[str, Storage]:
    """All storages that tensors in the document refer to, by key. It may hold an object many times, so each is looked
    at once."""
    found: dict[str, Storage] = {}
    seen: set[int] = set()
    rest = [document]
    while rest:
        value = rest.pop()
        if isinstance(value, Tensor):
            known = found.setdefault(value.storage.key, value.storage)
            require(known == value.storage, f"the storage {shown(known.key)} has two sizes or types")
        elif isinstance(value, dict | list | tuple) and id(value) not in seen:
            seen.add(id(value))
            rest.extend(value.values() if isinstance(value, dict) else value)
    return found


def _itemsize(storage: Storage) -> int:
    kind = STORAGES[storage.kind]
    return 2 if isinstance(kind, str) else kind.itemsize


def _elements(storage: Storage, data: bytes, order: Literal["<", ">"]) -> np.ndarray:
    """The elements in their bytes, in this machine's byte order; bfloat16 as float32."""
    expected = storage.count * _itemsize(storage)
    require(len(data) == expected, f"the storage {storage.key} has {len(data)} bytes; expected {expected}")
    kind = STORAGES[storage.kind]
    if isinstance(kind, str):
        halves = np.frombuffer(data, f"{order}u2").astype(np.uint32)
        return (halves << 16).view(np.float32)
    return np.frombuffer(data, kind.newbyteorder(order)).astype(kind, copy=False)


def _remembering(read: ReadStorage) -> ReadStorage:
    """The same, reading each storage once."""
    found: dict[Storage, np.ndarray] = {}

    def remembered(storage: Storage) -> np.ndarray:
        if storage not in found:
            found[storage] = read(storage)
        return found[storage]

    return remembered
