"""`cupy.ndarray` in NumPy, as strict as CuPy's: nothing goes to the device or comes back unless it is told to.

Where CuPy is lenient without a message (indices out of bounds wrap around, memory that is broadcast can be written), it
raises, since either is a mistake.
"""

import ctypes
import functools
import inspect
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from cupy_standin.names import FUNCTIONS, METHODS, UFUNCS

SCALARS = (bool, int, float, complex, np.bool_, np.number)
KINDS = "biufc"
"""The kinds of dtypes that an array on the device may have."""
IMPLICIT = (
    "Implicit conversion to a NumPy array is not allowed. Please use `.get()` to construct a NumPy array explicitly."
)


class Pointer:
    """To a place in memory, which it keeps alive."""

    def __init__(self, memory: Any, ptr: int):
        self.mem, self.ptr = memory, ptr

    def __add__(self, offset: int) -> "Pointer":
        return Pointer(self.mem, self.ptr + offset)


def allocated(size: int) -> Any:
    """A pointer to so many bytes, which hold NaN."""
    memory = np.full(size + 512, 0xFF, np.uint8)
    return Pointer(memory, -(memory.ctypes.data // -512) * 512)


def on_stream(stream: Any, blocking: bool, work: Callable[[], None]) -> None:
    """Do the work when it is the stream's turn."""
    work()


def on_host(pointer: Any, shape: tuple[int, ...], dtype: np.dtype, strides: tuple[int, ...]) -> np.ndarray:
    """The memory behind a pointer as NumPy's array."""
    reach = sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True)) + dtype.itemsize
    memory = (ctypes.c_byte * (reach if 0 not in shape else 0)).from_address(pointer.ptr)
    return np.ndarray(shape, dtype, memory, strides=strides)


class ndarray:
    """What cupy.ndarray has, and no more."""

    __slots__ = ("__weakref__", "_array", "_pointer", "base")
    __array_priority__ = 100
    __hash__ = None

    def __init__(self, shape: Any, dtype: Any = float, memptr: Any = None, strides: Any = None, order: str = "C"):
        like = np.lib.stride_tricks.as_strided(np.empty(1, checked(dtype)), np.empty(shape, bool).shape)
        layout = np.empty_like(like, order=order)
        self._pointer = allocated(layout.nbytes) if memptr is None else memptr
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
    flags = property(lambda self: self._array.flags)
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
        on_stream(stream, blocking, lambda: np.copyto(out, self._array))
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
        on_stream(stream, stream is None, lambda: np.copyto(self._array, arr))

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
        return wrapped(self._array[checked_key(key)], self)

    def __setitem__(self, key: Any, value: Any) -> None:
        key = checked_key(key)
        parts = key if isinstance(key, tuple) else (key,)
        if isinstance(value, np.ndarray) and value.ndim and not any(isinstance(part, np.ndarray) for part in parts):
            raise ValueError("non-scalar numpy.ndarray cannot be used for fill")
        if not isinstance(value, (ndarray, np.ndarray, *SCALARS)):
            raise TypeError(f"Unsupported type {type(value)}")
        with np.errstate(all="ignore"):
            self._array[key] = value._array if isinstance(value, ndarray) else value

    def fill(self, value: Any) -> None:
        self[...] = value

    # Types and memory

    def astype(
        self, dtype: Any, order: str = "K", casting: None = None, subok: None = None, copy: bool = True
    ) -> "ndarray":
        if casting is not None or subok is not None:
            raise TypeError("casting is not supported yet" if subok is None else "subok is not supported yet")
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
    """A dtype that a device can hold. TypeError for others, such as object and str."""
    dtype = np.dtype(dtype)
    if dtype.kind not in KINDS or dtype.itemsize > 16:
        raise ValueError(f"Unsupported dtype {dtype}")
    return dtype


def checked_key(key: Any) -> Any:
    """A key for NumPy. IndexError or ValueError where CuPy does not take it."""
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
    return parts if isinstance(key, tuple) else parts[0]


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
    """A copy on the device, of the same layout."""
    layout = np.empty_like(found)
    new = ndarray(found.shape, found.dtype, strides=layout.strides)
    new._array[...] = found
    return new


def unwrapped(value: Any, host: bool = False) -> Any:
    """An argument for NumPy. TypeError for a NumPy array, which no function takes, unless `host`."""
    if isinstance(value, ndarray):
        return value._array
    if isinstance(value, np.ndarray) and not host:
        raise TypeError(f"Unsupported type {type(value)}")
    if isinstance(value, tuple | list):
        return type(value)(unwrapped(one, host) for one in value)
    if isinstance(value, dict):
        return {name: unwrapped(one, host) for name, one in value.items()}
    return value


def arrays_in(values: Iterable[Any]) -> Iterator[ndarray]:
    for value in values:
        if isinstance(value, ndarray):
            yield value
        elif isinstance(value, tuple | list):
            yield from arrays_in(value)


def lifted(function: Callable[..., Any], name: str, parameters: str, host: bool = False) -> Callable[..., Any]:
    """NumPy's function for these arrays, with CuPy's parameters. host: whether it takes NumPy arrays too."""
    signature = inspect.signature(eval(f"lambda {parameters}: None"))

    def call(*args: Any, **options: Any) -> Any:
        bound = signature.bind(*args, **options)
        given = [*bound.args, *bound.kwargs.values()]
        first = args[0] if args else None
        if not isinstance(first, ndarray | str) and not any(True for _ in arrays_in([first])):
            raise TypeError(f"cupy.{name}: expected a cupy.ndarray first, got {type(first)}")
        with np.errstate(all="ignore"):
            found = function(*unwrapped(args, host), **unwrapped(options, host))
        if isinstance(options.get("out"), ndarray):
            return options["out"]
        return wrapped(found, *arrays_in(given))

    call.__name__, call.__qualname__ = name, name
    call.__signature__ = signature
    return call


class ufunc:
    """A universal function: of arrays on the device and scalars."""

    def __init__(self, name: str):
        self._function, self.name, self.__name__ = getattr(np, name), f"cupy_{name}", name
        self.nin, self.nout = self._function.nin, self._function.nout

    def __call__(self, *args: Any, **options: Any) -> Any:
        unknown = options.keys() - {"out", "dtype", "casting", "where"}
        if unknown:
            raise TypeError(f"Wrong arguments {unknown}")
        out = options.get("out", args[self.nin] if len(args) > self.nin else None)
        for value in (*args, *(() if out is None else (out,))):
            if not isinstance(value, (ndarray, *SCALARS)):
                raise TypeError(f"Unsupported type {type(value)}")
        if out is not None and not isinstance(out, ndarray):
            raise TypeError("Output arguments must be cupy.ndarray")
        with np.errstate(all="ignore"):
            found = self._function(*unwrapped(args), **unwrapped(options))
        return wrapped(np.asarray(found)) if out is None else out

    def at(self, a: ndarray, indices: Any, b: Any = None) -> None:
        if not isinstance(a, ndarray) or not isinstance(b, (ndarray, *SCALARS)):
            raise TypeError(f"Unsupported type {type(a)} or {type(b)}")
        self._function.at(a._array, checked_key(indices), unwrapped(b))


UFUNC = {name: ufunc(name) for name in UFUNCS}

BINARY = {
    **{"add": "add", "sub": "subtract", "mul": "multiply", "truediv": "divide", "floordiv": "floor_divide"},
    **{"mod": "remainder", "pow": "power", "matmul": "matmul", "lshift": "left_shift", "rshift": "right_shift"},
    **{"and": "bitwise_and", "or": "bitwise_or", "xor": "bitwise_xor"},
}
COMPARISONS = {
    **{"eq": "equal", "ne": "not_equal", "lt": "less", "le": "less_equal", "gt": "greater", "ge": "greater_equal"}
}
UNARY = {"abs": "absolute", "neg": "negative", "pos": "positive", "invert": "invert"}


def _define(name: str, function: str, operands: Callable[[Any, Any], tuple[Any, Any]]) -> None:
    own = UFUNC.get(function) or lifted(np.matmul, function, FUNCTIONS[function])
    setattr(ndarray, f"__{name}__", lambda self, other: own(*operands(self, other)))


def _define_in_place(name: str, function: str) -> None:
    own = UFUNC[function]
    setattr(ndarray, f"__i{name}__", lambda self, other: own(self, other, out=self))


def _define_all() -> None:
    for name, function in (BINARY | COMPARISONS).items():
        _define(name, function, lambda own, other: (own, other))
    for name, function in BINARY.items():
        _define(f"r{name}", function, lambda own, other: (other, own))
        if function in UFUNC:
            _define_in_place(name, function)
    for name, function in UNARY.items():
        setattr(ndarray, f"__{name}__", functools.partialmethod(lambda self, own: own(self), UFUNC[function]))
    for name, parameters in METHODS.items():
        host = name == "take"  # whose indices may be on the host
        signature = ", ".join(filter(None, ("self", parameters)))
        setattr(ndarray, name, lifted(getattr(np.ndarray, name), name, signature, host))


_define_all()
