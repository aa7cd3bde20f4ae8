"""The pickles in PyTorch's files, read as data: nothing that they name is imported, and nothing is called.

A pickle is a program for a small stack machine that can import and call anything. Here `pickletools` only splits it
into its instructions, and the few that a state dict needs are carried out on plain lists, dicts and tuples. A global
name that is not in the tables below ends the reading.

Sources: CPython's pickletools.py, which describes every instruction; PyTorch's torch/_utils.py (_rebuild_tensor_v2).
"""

import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from minicam.errors import ModelFileError
from minicam.graph_text import shown
from minicam.hdf5 import require

MAX_INSTRUCTIONS = 2_000_000  # a state dict takes about 40 for each of its tensors
STORAGES: dict[str, np.dtype | str] = {
    "torch DoubleStorage": np.dtype("f8"),
    "torch FloatStorage": np.dtype("f4"),
    "torch HalfStorage": np.dtype("f2"),
    "torch BFloat16Storage": "bfloat16",
    "torch LongStorage": np.dtype("i8"),
    "torch IntStorage": np.dtype("i4"),
    "torch ShortStorage": np.dtype("i2"),
    "torch CharStorage": np.dtype("i1"),
    "torch ByteStorage": np.dtype("u1"),
    "torch BoolStorage": np.dtype("?"),
}
"""The type of the elements; NumPy has none for bfloat16, the upper half of a float32."""
TYPES = frozenset(
    f"torch {name}"
    for name in ("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool")
)
_NAMES = ", ".join(name.removeprefix("torch ") for name in STORAGES)
MAX_ARGUMENTS = 8
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
LITERALS = frozenset(
    ("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE", "SHORT_BINSTRING")
)
Number = int | float | bool | None


@dataclass(frozen=True)
class Storage:
    """The elements that one or more tensors look into: a global name of STORAGES, their place in the file, and how
    many there are."""

    kind: str
    key: str
    count: int


@dataclass(frozen=True)
class Tensor:
    """A view of a storage: element i is storage[offset + sum of stride i]. Checked where it is read."""

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


@dataclass(frozen=True)
class Global:
    """A name, "module attribute", that stands for something in Python. Here it stands for itself."""

    name: str


def read_pickle(file: BinaryIO) -> Any:
    """The object that a pickle at the file's position describes, of dict, list, tuple, str, numbers, None, Tensor,
    Storage and Global. Raises ModelFileError, naming it, for anything that a state dict does not need."""
    machine = _Machine()
    try:
        for count, (instruction, argument, _) in enumerate(pickletools.genops(file)):
            require(count < MAX_INSTRUCTIONS, f"its pickle has more than {MAX_INSTRUCTIONS} instructions")
            if instruction.name == "STOP":
                return machine.pop()
            machine.step(instruction.name, argument)
    except (ValueError, IndexError, KeyError) as error:
        raise ModelFileError(f"its pickle is damaged: {shown(str(error))}") from error
    raise ModelFileError("its pickle ends in the middle")


def words(value: Any) -> str:
    """A value for a message. Of what may be nested without end only the type is named."""
    if isinstance(value, Global):
        return value.name.replace(" ", ".")
    return shown(value) if isinstance(value, Number | str) else f"a {type(value).__name__}"


class _Machine:
    """The stack, the stacks below it that `MARK` has set aside, and the memo."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []
        self.memo: dict[int, Any] = {}

    def pop(self) -> Any:
        return self.stack.pop()

    def step(self, name: str, argument: Any) -> None:
        """Carry out one instruction."""
        if name in CONSTANTS:
            self.stack.append(CONSTANTS[name])
        elif name in LITERALS:
            self.stack.append(argument)
        elif name in ("BINPUT", "LONG_BINPUT", "MEMOIZE"):
            self.memo[len(self.memo) if argument is None else argument] = self.stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            self.stack.append(self.memo[argument])
        elif name == "GLOBAL":
            self.stack.append(_known(argument))
        elif name not in ("PROTO", "FRAME"):
            require(name in _STEPS, f"its pickle has the instruction {name}, which no state dict needs")
            _STEPS[name](self)

    def mark(self) -> None:
        self.below.append(self.stack)
        self.stack = []

    def marked(self) -> list[Any]:
        """What was put on the stack since the last mark."""
        values, self.stack = self.stack, self.below.pop()
        return values

    def push_tuple(self, length: int) -> None:
        start = len(self.stack) - length
        if start < 0:
            raise IndexError("the stack is empty")
        self.stack[start:] = [tuple(self.stack[start:])]

    def push_marked_tuple(self) -> None:
        values = tuple(self.marked())
        self.stack.append(values)

    def push_global(self) -> None:
        name, module = self.pop(), self.pop()
        self.stack.append(_known(f"{module} {name}"))

    def set_items(self, values: list[Any]) -> None:
        target = self.stack[-1]
        require(isinstance(target, dict), "its pickle sets items of something that is no dict")
        for key, value in zip(values[::2], values[1::2], strict=True):
            require(isinstance(key, Number | str), f"its pickle has a dict with the key {words(key)}")
            target[key] = value

    def set_item(self) -> None:
        value, key = self.pop(), self.pop()
        self.set_items([key, value])

    def append(self, values: list[Any]) -> None:
        target = self.stack[-1]
        require(isinstance(target, list), "its pickle appends to something that is no list")
        target.extend(values)

    def append_one(self) -> None:
        value = self.pop()
        self.append([value])

    def call(self) -> None:
        arguments, function = self.pop(), self.pop()
        good = isinstance(function, Global) and function.name in CALLS and isinstance(arguments, tuple)
        require(good, f"its pickle calls {words(function)}; only tensors, sizes and dicts are made here")
        require(len(arguments) <= MAX_ARGUMENTS, f"its pickle calls {words(function)} with {len(arguments)} arguments")
        try:
            self.stack.append(CALLS[function.name](*arguments))
        except TypeError as error:
            raise ModelFileError(f"its pickle calls {words(function)} with {len(arguments)} arguments") from error

    def build(self) -> None:
        """Attributes of a dict, which are PyTorch's notes about versions. Dropped."""
        self.pop()
        require(isinstance(self.stack[-1], dict), "its pickle sets attributes of something that is no dict")

    def storage(self) -> None:
        """("storage", its type, its key, the device, the number of elements, and None in old files)."""
        value = self.pop()
        good = (
            isinstance(value, tuple) and len(value) in (5, 6) and value[0] == "storage" and value[5:] in ((), (None,))
        )
        require(good, f"its pickle refers to {words(value)}; expected the storage of a tensor")
        _, kind, key, _, count = value[:5]
        good = isinstance(kind, Global) and kind.name in STORAGES and isinstance(key, str) and _is_count(count)
        require(good, f"its pickle refers to a storage {words(key)} of type {words(kind)}; known are {_NAMES}")
        self.stack.append(Storage(kind.name, key, count))


_STEPS: dict[str, Callable[[_Machine], None]] = {
    "MARK": _Machine.mark,
    "TUPLE": _Machine.push_marked_tuple,
    "EMPTY_TUPLE": lambda machine: machine.push_tuple(0),
    "TUPLE1": lambda machine: machine.push_tuple(1),
    "TUPLE2": lambda machine: machine.push_tuple(2),
    "TUPLE3": lambda machine: machine.push_tuple(3),
    "EMPTY_DICT": lambda machine: machine.stack.append({}),
    "EMPTY_LIST": lambda machine: machine.stack.append([]),
    "SETITEM": _Machine.set_item,
    "SETITEMS": lambda machine: machine.set_items(machine.marked()),
    "APPEND": _Machine.append_one,
    "APPENDS": lambda machine: machine.append(machine.marked()),
    "STACK_GLOBAL": _Machine.push_global,
    "REDUCE": _Machine.call,
    "BUILD": _Machine.build,
    "BINPERSID": _Machine.storage,
}


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Tensor:
    good = isinstance(storage, Storage) and _is_count(offset) and _are_counts(size) and _are_counts(stride)
    good = good and len(size) == len(stride)
    require(good, "its pickle has a tensor whose offset, size or stride is not what PyTorch writes")
    return Tensor(storage, offset, size, stride)


def _size(size: Any = ()) -> tuple[int, ...]:
    require(_are_counts(size), f"its pickle has the size {words(size)}; expected whole numbers")
    return size


def _parameter(data: Any, *_: Any) -> Tensor:
    require(isinstance(data, Tensor), "its pickle has a parameter that is no tensor")
    return data


def _dict(pairs: Any = ()) -> dict[Any, Any]:
    require(pairs in ((), []), "its pickle makes a dict of something else")
    return {}


CALLS: Mapping[str, Callable[..., Any]] = {
    "collections OrderedDict": _dict,
    "torch._utils _rebuild_tensor": _tensor,
    "torch._utils _rebuild_tensor_v2": _tensor,
    "torch._utils _rebuild_parameter": _parameter,
    "torch Size": _size,
}


def _known(name: str) -> Global:
    """The global, or a ModelFileError if no state dict needs it."""
    if name in CALLS or name in STORAGES or name in TYPES:
        return Global(name)
    raise ModelFileError(
        f"its pickle names {words(Global(name[:100]))}, which is not part of a state dict and is never imported "
        "here: save the weights alone, torch.save(model.state_dict(), path)"
    )


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**62


def _are_counts(values: Any) -> bool:
    return isinstance(values, tuple) and len(values) <= 8 and all(map(_is_count, values))
