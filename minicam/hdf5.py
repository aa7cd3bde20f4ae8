"""A tree of named arrays in an HDF5 file: read from a file that nobody vouches for, and written so that it lasts.

HDF5 lets a file point into other files (external links, external storage, virtual datasets) and at itself, and lets
it choose code to run (filters are plug-ins). None of it is needed to store arrays. So only plain groups, plain
contiguous arrays with a SHA-256 digest and short scalar attributes are taken, and everything else is refused before
it is followed, read or allocated. Each rule of the file format stands in one place below.
"""

import hashlib
import math
import mmap
import os
import re
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from minicam.errors import MinicamError, ModelFileError
from minicam.files import replaced_when_written

MAX_DEPTH = 4  # components of a name
MAX_OBJECTS = 100_000
MAX_ATTRIBUTES = 16  # of one object
MAX_TEXT = 4096  # characters in an attribute
SIGNATURE = b"\x89HDF\r\n\x1a\n"
OTHER_FORMATS = (
    (b"version https://git-lfs", "a Git LFS pointer, not the file that it stands for: run `git lfs pull`"),
    (b"PK\x03\x04", "a ZIP archive (PyTorch, Keras or NumPy?): `minicam convert` reads it, if it holds a network"),
    (b"MATLAB 5.0 MAT-file", "a MATLAB MAT-file of version 5: `minicam convert` reads it, if it holds a network"),
    (b"MATLAB 7.3 MAT-file", "a MATLAB MAT-file of version 7.3: `minicam convert` reads it, if it holds a network"),
    *((bytes([0x80, protocol]), "a Python pickle, which minicam never opens") for protocol in (2, 3, 4, 5)),
    (b"\x93NUMPY", "a NumPy .npy file"),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"\x1f\x8b", "gzip data: decompress it first"),
    (b"<", "an HTML or XML page, perhaps an error page that was saved in place of the file: download it again"),
)

Attribute = str | int | float
Attributes = Mapping[str, Attribute]


@dataclass(frozen=True)
class StoredArray:
    """An array that passed every check but that of its digest, for which its bytes have to be read."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    sha256: str
    dataset: Any

    def read(self) -> np.ndarray:
        """The values. Raises ModelFileError if their digest is not the one stored with them."""
        from h5py import h5s

        array = np.empty(self.shape, self.dtype)
        self.dataset.read(h5s.ALL, h5s.ALL, array)
        found = digest(array)
        if found != self.sha256:
            raise ModelFileError(
                f"{self.name}: the values have the SHA-256 digest {found[:16]}..., but {self.sha256[:16]}... is stored "
                "with them: the file is damaged or was altered; fetch it again"
            )
        return array


@dataclass(frozen=True)
class Tree:
    """What a file holds: the attributes of each group, and the arrays, by full name ("/", "/params/conv1/weight")."""

    groups: dict[str, Attributes]
    arrays: dict[str, StoredArray]


def digest(array: np.ndarray) -> str:
    """SHA-256 of the bytes of a C-contiguous array, in hexadecimal."""
    return hashlib.sha256(array.reshape(-1).view(np.uint8).data).hexdigest()


def check_name(name: str, where: str) -> str:
    """The name, or ModelFileError if it may not stand in a file; "." and ".." are path syntax elsewhere."""
    good = re.fullmatch(r"[A-Za-z0-9_.-]+", name) and name not in (".", "..")
    shown = repr(name if len(name) < 80 else name[:80] + "...")
    require(good, f"{where}: the name {shown} is not allowed; expected letters of A-Z a-z, digits, '_', '.' and '-'")
    return name


def require(condition: Any, message: str) -> None:
    """ModelFileError(message) unless the condition holds."""
    if not condition:
        raise ModelFileError(message)


@contextmanager
def naming(path: Path, done: str) -> Iterator[None]:
    """Whatever fails inside becomes a ModelFileError that starts with the file's name."""
    try:
        yield
    except MinicamError as error:
        raise ModelFileError(f"{path}: {error}") from error
    except Exception as error:  # on damaged data HDF5 and h5py raise nearly every class there is
        raise ModelFileError(f"{path}: cannot be {done} ({type(error).__name__}: {error})") from error


@contextmanager
def open_file(path: Path, max_bytes: int) -> Iterator[Any]:
    """An open h5py.File that has the size its superblock says. Failures inside name the file, see `naming`."""
    import h5py

    with naming(path, "read; it is damaged, fetch it again"):
        _check_frame(path, max_bytes)
        with h5py.File(path, "r") as file:
            yield file


def read_tree(file: Any) -> Tree:
    """All groups, attributes and arrays of an open file; of the arrays only what describes them.

    Raises ModelFileError, naming the object and the rule, for anything but what the module describes.
    """
    from h5py import h5o

    tree = Tree({}, {})
    root = h5o.open(file.id, b"/")
    size = file.id.get_filesize()
    _walk(root, "", tree, {h5o.get_info(root).addr: "/"}, size)
    declared = sum(math.prod(array.shape) * array.dtype.itemsize for array in tree.arrays.values())
    require(declared <= size, f"the arrays have {declared} bytes together, but the file only {size}; they overlap")
    return tree


def read_attribute(owner: Any, name: str) -> Attribute | None:
    """A short scalar attribute of an open group or array, None if there is none. ModelFileError for any other kind.

    A text's length is known before it is read only where it is stored with a fixed length; else the file's size is
    the bound.
    """
    from h5py import h5a, h5s, h5t

    if not h5a.exists(owner.id, name.encode()):
        return None
    attribute = h5a.open(owner.id, name.encode())
    kind = attribute.get_type()
    rule = f"{owner.name}: the attribute {name!r} is not one number or one text of at most {MAX_TEXT} bytes"
    require(attribute.get_space().get_simple_extent_type() == h5s.SCALAR and not kind.committed(), rule)
    require(kind.get_class() in (h5t.STRING, h5t.INTEGER, h5t.FLOAT), rule)
    require(attribute.get_storage_size() <= MAX_TEXT, rule)
    value = owner.attrs[name]
    if isinstance(value, bytes):  # what h5py returns for a fixed length
        value = value.decode()
    if isinstance(value, str):
        require(len(value.encode()) <= MAX_TEXT, rule)
        return value
    return value.item()


def write_tree(path: Path, groups: Mapping[str, Attributes], arrays: Mapping[str, np.ndarray]) -> None:
    """Write groups and little-endian arrays, by full name, and a digest with each array; same input, same bytes.

    The target is replaced as a whole or not at all. Raises ModelFileError, and leaves no other file, if that fails.
    """
    import h5py

    with replaced_when_written(path, ModelFileError) as temporary, naming(path, "written"):
        require(path.parent.is_dir(), f"there is no folder {path.parent}; create it first")
        with h5py.File(temporary, "x", libver=("v108", "v108")) as file:  # has checksums on all structure
            for name, attributes in groups.items():
                _group(file, name).attrs.update(attributes)
            for name, array in arrays.items():
                group, _, last = name.rpartition("/")
                parent = _group(file, group)
                parent.create_dataset(last, data=array, track_times=False).attrs["sha256"] = digest(array)


def _group(file: Any, name: str) -> Any:
    """The group of that full name; made one by one, since h5py puts a time stamp on groups made in passing."""
    group = file
    for part in filter(None, name.split("/")):
        group = group.require_group(part)
    return group


def _check_frame(path: Path, max_bytes: int) -> None:
    """ModelFileError unless the file is a whole HDF5 file and nothing else. HDF5 itself is not asked yet."""
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "is not a regular file" if path.exists() else "does not exist"
        raise ModelFileError(f"{what}; expected the path of a weight file")
    require(os.access(path, os.R_OK), "may not be read by this user; change its permissions")
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(64)
        if head[:8] != SIGNATURE:
            raise ModelFileError(f"is {_content(file, head, size)}; expected an HDF5 file made by minicam")
    require(size <= max_bytes, f"has {size} bytes; the limit max_bytes is {max_bytes}: raise it if you trust the file")
    base, end = _addresses(head)
    require(base == 0, f"its addresses start at byte {base}, so something lies before the HDF5 data; expected 0")
    require(size >= end, f"has {size} bytes, but should have {end}: it is truncated; fetch it again")
    require(size <= end, f"has {size - end} bytes after the end of the HDF5 data; expected none")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        _check_heaps(data)


def _addresses(head: bytes) -> tuple[int, int]:
    """Base and end-of-file address in a superblock (HDF5 File Format Specification 3.0, section II.A)."""
    require(len(head) == 64, f"has {len(head)} bytes: it is truncated; fetch it again")
    version = head[8]
    require(version <= 3, f"has an HDF5 superblock of version {version}; expected 0 to 3")
    sizes = head[13:15] if version < 2 else head[9:11]
    require(sizes == b"\x08\x08", f"has addresses and lengths of {sizes[0]} and {sizes[1]} bytes; expected 8 and 8")
    base_at = (24, 28, 12, 12)[version]
    base, _, end = struct.unpack_from("<3Q", head, base_at)
    return base, end


def _check_heaps(data: mmap.mmap) -> None:
    """ModelFileError for a damaged heap of texts (HDF5 File Format Specification 3.0, section III.E).

    HDF5 2.0 walks these heaps without end if a piece in them has no length. Whatever looks like one is walked here
    first; that values of an array look like one by chance, with a length that fits the file, is out of the question.
    """
    pieces = 0
    start = data.find(b"GCOL\x01")
    while start >= 0:
        end = start + int.from_bytes(data[start + 8 : start + 16], "little")
        place = start + 16
        while end <= len(data) and end - place >= 16:
            index, length = struct.unpack_from("<H6xQ", data, place)
            place += 16 + (length + 7) // 8 * 8 if index else length  # piece 0, free space, counts its own header
            pieces += 1
            broken = place > end or (index == 0 and length < 16)
            require(not broken, f"the heap of texts at byte {start} is damaged; fetch the file again")
            require(pieces <= MAX_OBJECTS, f"there are more than {MAX_OBJECTS} texts in the file")
        start = data.find(b"GCOL\x01", start + 1)


def _content(file: Any, head: bytes, size: int) -> str:
    """What a file that does not start as HDF5 looks like, in words."""
    if not head:
        return "empty (0 bytes)"
    for start, words in OTHER_FORMATS:
        if head.lstrip().startswith(start):
            return words
    place = 512  # where the specification allows the HDF5 data to start: 512, 1024, 2048 ...
    while place < size:
        file.seek(place)
        if file.read(8) == SIGNATURE:
            return f"HDF5 after a user block of {place} bytes"
        place *= 2
    return f"something else that starts with the bytes {head[:8].hex(' ')}"


def _walk(group: Any, name: str, tree: Tree, seen: dict[int, str], size: int) -> None:
    """Add an open group and all below it to the tree; seen: address -> name of every object so far."""
    import h5py
    from h5py import h5d, h5g, h5l, h5o

    tree.groups[name or "/"] = _attributes(h5py.Group(group), MAX_ATTRIBUTES)
    count = len(seen) + group.get_num_objs()
    require(count <= MAX_OBJECTS, f"{name or '/'}: there are {count} objects so far; the limit is {MAX_OBJECTS}")
    for part in group:
        child_name = f"{name}/{check_name(part.decode(errors='backslashreplace'), name or '/')}"
        require(child_name.count("/") <= MAX_DEPTH, f"{child_name}: is nested more than {MAX_DEPTH} deep")
        kind = group.links.get_info(part).type  # asks about the link itself, and follows nothing
        word = {h5l.TYPE_SOFT: "a soft link", h5l.TYPE_EXTERNAL: "an external link"}.get(kind, "a user-defined link")
        require(kind == h5l.TYPE_HARD, f"{child_name}: is {word}; links are not followed")
        child = h5o.open(group, part)
        address = h5o.get_info(child).addr
        require(address not in seen, f"{child_name}: is the same object as {seen.get(address)}")
        seen[address] = child_name
        if isinstance(child, h5g.GroupID):
            _walk(child, child_name, tree, seen, size)
        else:
            require(isinstance(child, h5d.DatasetID), f"{child_name}: is a named type; expected a group or an array")
            tree.arrays[child_name] = _array(child, child_name, size)


def _array(dataset: Any, name: str, size: int) -> StoredArray:
    """The description of an open dataset in a file of `size` bytes. Nothing of its values is read."""
    import h5py
    from h5py import h5d, h5s

    properties = dataset.get_create_plist()
    layout = properties.get_layout()
    require(properties.get_external_count() == 0, f"{name}: its values lie in another file (external storage)")
    require(layout != h5d.VIRTUAL, f"{name}: is a virtual dataset, which reads other datasets")
    require(properties.get_nfilters() == 0, f"{name}: is compressed or filtered; expected plain values")
    require(layout == h5d.CONTIGUOUS, f"{name}: is chunked or compact; expected contiguous values")
    dtype = _dtype(dataset.get_type(), name)
    space = dataset.get_space()
    require(space.get_simple_extent_type() == h5s.SIMPLE, f"{name}: has no axes; expected an array")
    shape = tuple(space.get_simple_extent_dims())
    declared, stored = math.prod(shape) * dtype.itemsize, dataset.get_storage_size()
    require(declared == stored, f"{name}: declares {declared} bytes (shape {shape}), but {stored} are stored")
    offset = dataset.get_offset()
    require(offset is not None and offset + stored <= size, f"{name}: its values do not lie inside the file")
    attributes = _attributes(h5py.Dataset(dataset), limit=1)
    sha256 = attributes.get("sha256")
    require(isinstance(sha256, str), f"{name}: has no digest; expected one attribute, sha256, not {list(attributes)}")
    return StoredArray(name, shape, dtype, str(sha256), dataset)


def _dtype(kind: Any, name: str) -> np.dtype:
    from h5py import h5t

    require(not kind.committed(), f"{name}: refers to a named type; expected a type of its own")
    types = {"<f2": h5t.IEEE_F16LE, "<f4": h5t.IEEE_F32LE, "<f8": h5t.IEEE_F64LE, "|u1": h5t.STD_U8LE}
    for code, expected in types.items():
        if kind.equal(expected):
            return np.dtype(code)
    raise ModelFileError(f"{name}: has values of type {kind.dtype.str}; expected one of {', '.join(types)}")


def _attributes(owner: Any, limit: int) -> dict[str, Attribute]:
    from h5py import h5a

    count = h5a.get_num_attrs(owner.id)
    require(count <= limit, f"{owner.name}: has {count} attributes; expected at most {limit}")
    names = [h5a.open(owner.id, index=i).name.decode() for i in range(count)]
    found = {name: read_attribute(owner, name) for name in names}
    return {name: value for name, value in found.items() if value is not None}
