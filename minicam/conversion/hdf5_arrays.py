"""Other programs' HDF5 files, read with the same distrust as our own.

They are not as plain as those of `minicam.hdf5`: there are no digests, and arrays may be cut into chunks that HDF5
itself compressed. But links out of the file, values kept elsewhere and filters that are plug-ins are refused all the
same.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from minicam.errors import ConversionError, ModelFileError
from minicam.graph_text import shown
from minicam.hdf5 import open_file, require

MAX_BYTES = 8 * 2**30  # of a file, and of one array
MAX_CHILDREN = 100_000  # of one group
MAX_TEXT = 64 * 2**20  # bytes of one text, such as the description of a network in JSON
FILTERS = {1: "deflate", 2: "shuffle", 3: "fletcher32"}  # those built into HDF5


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """An open h5py.File. Whatever fails inside is a ConversionError, without the file's name."""
    try:
        with open_file(path, MAX_BYTES) as file:
            yield file
    except ModelFileError as error:
        raise ConversionError(str(error).removeprefix(f"{path}: ")) from error


def children(group: Any) -> list[str]:
    """The names in a group, in the order that HDF5 has them; ModelFileError for links that lead out of it."""
    from h5py import h5l

    require(len(group) <= MAX_CHILDREN, f"{group.name}: has {len(group)} entries; the limit is {MAX_CHILDREN}")
    names = []
    for part in group.id:
        good = group.id.links.get_info(part).type == h5l.TYPE_HARD
        name = part.decode(errors="backslashreplace")
        require(good, f"{group.name}/{shown(name)}: is a link to somewhere else; links are not followed")
        names.append(name)
    return names


def member(group: Any, name: str) -> Any:
    """The group or dataset "a/b/c" below a group, None if there is none. Every step of the path is looked at before it
    is taken."""
    for part in filter(None, name.split("/")):
        if not hasattr(group, "id") or part not in children(group):
            return None
        group = group[part]
    return group


def array(dataset: Any) -> np.ndarray:
    """The numbers in a dataset, in this machine's byte order. Raises ModelFileError, before it reads them, for anything
    but plain numbers inside the file."""
    from h5py import h5d

    name = dataset.name
    require(isinstance(dataset.id, h5d.DatasetID), f"{name}: is a group; expected an array")
    properties = dataset.id.get_create_plist()
    outside = properties.get_external_count() or properties.get_layout() == h5d.VIRTUAL
    require(not outside, f"{name}: its values lie in another file or another dataset")
    filters = [properties.get_filter(i)[0] for i in range(properties.get_nfilters())]
    unknown = [code for code in filters if code not in FILTERS]
    require(not unknown, f"{name}: is packed by the filters {unknown}; known are {', '.join(FILTERS.values())}")
    require(dataset.dtype.kind in "fiub", f"{name}: holds values of type {dataset.dtype}; expected numbers")
    require(dataset.shape is not None, f"{name}: has no axes; expected an array")
    declared = math.prod(dataset.shape) * dataset.dtype.itemsize
    stored = dataset.id.get_storage_size()
    rule = f"{name}: declares {declared} bytes (shape {dataset.shape}), but {stored} are stored"
    require(declared <= (1100 * stored if filters else stored), rule)  # deflate packs at most 1032 to 1
    require(declared <= MAX_BYTES, rule)
    values = dataset[()]
    return np.asarray(values, values.dtype.newbyteorder("="))


def text(owner: Any, name: str) -> str | None:
    """An attribute that is one text, None if there is none."""
    from h5py import h5a, h5s, h5t

    if not h5a.exists(owner.id, name.encode()):
        return None
    attribute = h5a.open(owner.id, name.encode())
    scalar = attribute.get_space().get_simple_extent_type() == h5s.SCALAR
    good = scalar and attribute.get_type().get_class() == h5t.STRING and attribute.get_storage_size() <= MAX_TEXT
    require(good, f"{owner.name}: the attribute {name!r} is not one text")
    value = owner.attrs[name]
    value = value.decode() if isinstance(value, bytes) else str(value)
    require(len(value) <= MAX_TEXT, f"{owner.name}: the attribute {name!r} has more than {MAX_TEXT} bytes")
    return value


def texts(owner: Any, name: str) -> list[str]:
    """An attribute that is a list of texts, which may be cut into name0, name1 ... where it is long; empty if there is
    none."""
    from h5py import h5a

    if h5a.exists(owner.id, name.encode()):
        return _texts(owner, name)
    found: list[str] = []
    while h5a.exists(owner.id, f"{name}{len(found)}".encode()) and len(found) < 1000:
        found.append(f"{name}{len(found)}")
    return [value for part in found for value in _texts(owner, part)]


def _texts(owner: Any, name: str) -> list[str]:
    from h5py import h5a, h5t

    attribute = h5a.open(owner.id, name.encode())
    count = math.prod(attribute.shape)
    if count == 0:
        return []
    good = attribute.get_type().get_class() == h5t.STRING and count <= MAX_CHILDREN
    require(
        good and attribute.get_storage_size() <= MAX_TEXT, f"{owner.name}: the attribute {name!r} is no list of texts"
    )
    values = np.asarray(owner.attrs[name]).reshape(-1).tolist()
    return [value.decode() if isinstance(value, bytes) else str(value) for value in values]
