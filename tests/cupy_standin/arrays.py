"""`cupy.ndarray` in NumPy, as strict as CuPy's: nothing goes to the device or comes back unless it is told to.

Where CuPy is lenient without a message (indices out of bounds wrap around, memory that is broadcast can be written), it
raises, since either is a mistake.
"""

import ctypes
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from cupy_standin import memory, streams

SCALARS = (bool, int, float, complex, np.bool_, np.number)
TYPES = "?bBhHiIlLqQefdFD"
"""The characters of the dtypes that an array on the device may have."""
IMPLICIT = (
    "Implicit conversion to a NumPy array is not allowed. Please use `.get()` to construct a NumPy array explicitly."
)


def on_host(pointer: Any, shape: tuple[int, ...], dtype: np.dtype, strides: tuple[int, ...]) -> np.ndarray:
    """The memory behind a pointer as NumPy's array."""
    reach = sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True)) + dtype.itemsize
    memory = (ctypes.c_byte * (reach if 0 not in shape else 0)).from_address(pointer.ptr)
    return np.ndarray(shape, dtype, memory, strides=strides)


class Flags(NamedTuple):
    """What CuPy tells of an array's layout."""

    c_contiguous: bool
    f_contiguous: bool
    fnc: bool
    forc: bool
    owndata: bool


class ndarray:
    """What cupy.ndarray has, and no more."""

    __slots__ = ("__weakref__", "_array", "_pointer", "base")
    __array_priority__ = 100
    __hash__ = None

    def __init__(self, shape: Any, dtype: Any = float, memptr: Any = None, strides: Any = None, order: str = "C"):
        like = np.lib.stride_tricks.as_strided(np.empty(1, checked(dtype)), np.empty(shape, bool).shape)
        layout = np.empty_like(like, order=order)
        self._pointer = memory.alloc(layout.nbytes) if memptr is None else memptr
        self._array = on_host(self._pointer, layout.shape, layout.dtype, strides or layout.strides)
        self.base = None

    # What it is

    shape = property(lambda self: self._array.shape)
    strides = property(lambda self: self._array.strides)
    dtype = property(lambda self: self._array.dtype)
    ndim = property(lambda self: self._array.ndim)
    size = property(lambda self: self._array.size)
    itemsize = property(lambda self: self._array.itemsize)
    nbytes = property(lambda self: self._array.nbytes)
    flags = property(lambda self: Flags(*(getattr(self._array.flags, name) for name in Flags._fields)))
    T = property(lambda self: wrapped(self._array.T, self))
    real = property(lambda self: wrapped(self._array.real, self))

    @property
    def data(self) -> Any:
        """A pointer to the first element."""
        return self._pointer + (self._array.ctypes.data - self._pointer.ptr)

    # To the host and back

    def __array__(self, *_: Any, **__: Any) -> None:
        raise TypeError(IMPLICIT)

    def get(self, stream: Any = None, order: str = "C", out: np.ndarray | None = None, blocking: bool = True) -> Any:
        if out is None:
            out = np.empty(self.shape, self.dtype, order)
        elif not isinstance(out, np.ndarray):
            raise TypeError("Only numpy.ndarray can be obtained from cupy.ndarray")
        elif out.dtype != self.dtype:
            raise TypeError(f"{out.dtype} array cannot be obtained from {self.dtype} array")
        elif out.shape != self.shape:
            raise ValueError(f"Shape mismatch. Expected shape: {self.shape}, actual shape: {out.shape}")
        memory.copy_out(out, self._array, stream, blocking)
        return out

    def set(self, arr: np.ndarray, stream: Any = None) -> None:
        if not isinstance(arr, np.ndarray):
            raise TypeError("Only numpy.ndarray can be set to cupy.ndarray")
        if arr.dtype != self.dtype:
            raise TypeError(f"{arr.dtype} array cannot be set to {self.dtype} array")
        if arr.shape != self.shape:
            raise ValueError(f"Shape mismatch. Old shape: {self.shape}, new shape: {arr.shape}")
        if not (self.flags.c_contiguous or self.flags.f_contiguous):
            raise RuntimeError("Cannot set to non-contiguous array")
        memory.copy_in(self._array, arr, stream)

    def item(self) -> Any:
        if self.size != 1:
            raise ValueError("can only convert an array of size 1 to a Python scalar")
        return self.get().item()

    def tolist(self) -> Any:
        return self.get().tolist()

    def tobytes(self, order: str = "C") -> bytes:
        return self.get().tobytes(order)

    def __bool__(self) -> bool:
        return bool(self.get())

    def __int__(self) -> int:
        return int(self.get())

    def __float__(self) -> float:
        return float(self.get())

    def __repr__(self) -> str:
        return repr(self.get())

    def __str__(self) -> str:
        return str(self.get())

    def __format__(self, specification: str) -> str:
        return format(self.get(), specification)

    def __reduce__(self) -> Any:
        return from_host, (self.get(),)

    # Elements

    def __len__(self) -> int:
        return len(self._array)

    def __iter__(self) -> Iterator["ndarray"]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, key: Any) -> "ndarray":
        parts = checked_key(key)
        if any(isinstance(part, np.ndarray) for part in parts):
            streams.turn()
        elif not any(part is Ellipsis for part in parts):
            parts = (*parts, ...)  # with which NumPy gives a view, of a single element too
        return wrapped(self._array[parts], self)

    def __setitem__(self, key: Any, value: Any) -> None:
        parts = checked_key(key)
        if isinstance(value, np.ndarray) and value.ndim and not any(isinstance(part, np.ndarray) for part in parts):
            raise ValueError("non-scalar numpy.ndarray cannot be used for fill")
        if not isinstance(value, (ndarray, np.ndarray, *SCALARS)):
            raise TypeError(f"Unsupported type {type(value)}")
        streams.turn()
        with np.errstate(all="ignore"):
            self._array[parts] = value._array if isinstance(value, ndarray) else value

    def fill(self, value: Any) -> None:
        self[...] = value

    # Types and memory

    def astype(
        self, dtype: Any, order: str = "K", casting: None = None, subok: None = None, copy: bool = True
    ) -> "ndarray":
        if casting is not None or subok is not None:
            raise TypeError("casting is not supported yet" if subok is None else "subok is not supported yet")
        streams.turn()
        with np.errstate(all="ignore"):
            found = self._array.astype(checked(dtype), order, copy=copy)
        return self if found is self._array else wrapped(found)

    def view(self, dtype: Any = None, type: None = None) -> "ndarray":
        return wrapped(self._array.view() if dtype is None else self._array.view(checked(dtype)), self)

    def __copy__(self) -> "ndarray":
        return self.copy()

    def __deepcopy__(self, memo: Any) -> "ndarray":
        return self.copy()

    # NumPy's functions of these arrays are CuPy's of that name, and give these arrays

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        import cupy

        own = getattr(cupy, ufunc.__name__, None)
        if method != "__call__" or own is None:
            return NotImplemented
        if "out" in options:
            (options["out"],) = options["out"]
        return own(*inputs, **options)

    def __array_function__(self, function: Callable[..., Any], types: Any, args: Any, options: Any) -> Any:
        import cupy

        own = getattr(cupy, function.__name__, None)
        if function.__module__ != "numpy" or own is None or not set(types) <= {ndarray, np.ndarray}:
            return NotImplemented
        return own(*args, **options)


def checked(dtype: Any) -> np.dtype:
    """A dtype that a device can hold. ValueError for others, such as object and str."""
    dtype = np.dtype(dtype)
    if dtype.char not in TYPES:
        raise ValueError(f"Unsupported dtype {dtype}")
    return dtype


def checked_key(key: Any) -> tuple[Any, ...]:
    """A key as a tuple for NumPy. IndexError or ValueError where CuPy does not take it."""
    parts = key if isinstance(key, tuple) else (key,)
    parts = tuple(np.array(part, int if part == [] else None) if isinstance(part, list) else part for part in parts)
    parts = tuple(part._array if isinstance(part, ndarray) else part for part in parts)
    arrays = [part for part in parts if isinstance(part, np.ndarray)]
    if any(array.dtype.kind not in "biu" for array in arrays):
        raise IndexError("arrays used as indices must be of integer or boolean type.")
    if any(array.dtype.kind == "b" for array in arrays) and len(arrays) > 1:
        raise ValueError("currently, CuPy only supports slices that consist of one boolean array.")
    for part in parts:
        plain = isinstance(part, (int, slice, np.ndarray)) or part is None or part is Ellipsis
        if not plain and not (isinstance(part, np.integer) and not arrays):
            raise IndexError(f"only integers, slices and arrays are valid indices, not {type(part)}")
    return parts


def wrapped(found: Any, *sources: Any) -> Any:
    """NumPy's result as an array on the device: a view where it shares memory with one of `sources`, else new."""
    if isinstance(found, tuple | list):
        return type(found)(wrapped(one, *sources) for one in found)
    if found is None or type(found) in (bool, int, float):
        return found
    found = np.asarray(found)
    for source in sources:
        if isinstance(source, ndarray) and np.may_share_memory(found, source._array):
            view = ndarray.__new__(ndarray)
            view._array, view._pointer = found, source._pointer
            view.base = source if source.base is None else source.base
            return view
    return from_host(found)


def from_host(found: np.ndarray) -> ndarray:
    """A copy on the device, of the same layout, when it is the current stream's turn."""
    new = ndarray(found.shape, found.dtype, strides=np.empty_like(found).strides)
    memory.copy_in(new._array, found)
    return new
