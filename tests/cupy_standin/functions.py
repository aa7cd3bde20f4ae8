"""The functions of the module `cupy`, by NumPy's of the same name."""

from functools import cache
from typing import Any

import numpy as np

from cupy_standin.arrays import checked, from_host, ndarray, wrapped
from cupy_standin.names import FUNCTIONS, TYPES
from cupy_standin.operations import UFUNC, arrays_in, lifted, ufunc


def asarray(a: Any, dtype: Any = None, order: Any = None, *, copy: bool | None = None, blocking: bool = False) -> Any:
    return array(a, dtype, bool(copy), order or "K")


def array(
    obj: Any,
    dtype: Any = None,
    copy: bool = True,
    order: str = "K",
    subok: bool = False,
    ndmin: int = 0,
    *,
    blocking: bool = False,
) -> ndarray:
    if isinstance(obj, list | tuple) and any(True for _ in arrays_in(obj)):
        obj = np.array([one.get() for one in arrays_in(obj)])  # a list of arrays on the device
    if isinstance(obj, ndarray):
        same = dtype is None or np.dtype(dtype) == obj.dtype
        found = obj if same and not copy else obj.astype(obj.dtype if dtype is None else dtype, order)
    else:
        host = np.asarray(obj, dtype)
        checked(host.dtype)
        found = from_host(np.ascontiguousarray(host) if order == "C" else host)
    return found if found.ndim >= ndmin else found.reshape((1,) * (ndmin - found.ndim) + found.shape)


def asnumpy(a: Any, stream: Any = None, order: str = "C", out: Any = None, *, blocking: bool = True) -> np.ndarray:
    return a.get(stream, order, out, blocking) if isinstance(a, ndarray) else np.asarray(a)


def empty(shape: Any, dtype: Any = float, order: str = "C") -> ndarray:
    return ndarray(shape, dtype, order=order)


def full(shape: Any, fill_value: Any, dtype: Any = None, order: str = "C") -> ndarray:
    new = ndarray(shape, np.asarray(fill_value).dtype if dtype is None else dtype, order=order)
    new.fill(fill_value)
    return new


def zeros(shape: Any, dtype: Any = float, order: str = "C") -> ndarray:
    return full(shape, 0, dtype, order)


def ones(shape: Any, dtype: Any = float, order: str = "C") -> ndarray:
    return full(shape, 1, dtype, order)


def empty_like(prototype: ndarray, dtype: Any = None, order: str = "K", subok: None = None, shape: Any = None) -> Any:
    if not isinstance(prototype, ndarray):
        raise TypeError(f"Unsupported type {type(prototype)}")
    layout = np.empty_like(prototype._array, dtype, order, shape=shape)
    return ndarray(layout.shape, layout.dtype, strides=layout.strides)


def full_like(
    a: ndarray, fill_value: Any, dtype: Any = None, order: str = "K", subok: None = None, shape: Any = None
) -> ndarray:
    new = empty_like(a, dtype, order, subok, shape)
    new.fill(fill_value)
    return new


def zeros_like(a: ndarray, dtype: Any = None, order: str = "K", subok: None = None, shape: Any = None) -> ndarray:
    return full_like(a, 0, dtype, order, subok, shape)


def ones_like(a: ndarray, dtype: Any = None, order: str = "K", subok: None = None, shape: Any = None) -> ndarray:
    return full_like(a, 1, dtype, order, subok, shape)


def arange(start: Any, stop: Any = None, step: Any = 1, dtype: Any = None) -> ndarray:
    return from_host(np.arange(start, dtype=dtype) if stop is None else np.arange(start, stop, step, dtype))


def linspace(
    start: Any,
    stop: Any,
    num: int = 50,
    endpoint: bool = True,
    retstep: bool = False,
    dtype: Any = None,
    axis: int = 0,
) -> Any:
    return wrapped(np.linspace(start, stop, num, endpoint, retstep, dtype, axis))


def eye(N: int, M: int | None = None, k: int = 0, dtype: Any = float, order: str = "C") -> ndarray:
    return from_host(np.eye(N, M, k, dtype))


def pad(array: ndarray, pad_width: Any, mode: str = "constant", **kwargs: Any) -> ndarray:
    widths = np.broadcast_to(np.asarray(pad_width), (array.ndim, 2))
    if mode == "wrap" and any(pair.max() > size for pair, size in zip(widths, array.shape, strict=True)):
        raise NotImplementedError("CuPy's and NumPy's padding differ where it is larger than what is repeated")
    return lifted(np.pad, "pad", "array, pad_width, mode='constant', **kwargs")(array, widths.tolist(), mode, **kwargs)


def get_array_module(*args: Any) -> Any:
    import cupy

    return cupy if any(isinstance(one, ndarray) for one in args) else np


@cache
def namespace() -> dict[str, Any]:
    """Name -> function, universal function or type, of the module `cupy`."""
    made = (array, asarray, asnumpy, empty, full, zeros, ones, empty_like, full_like, zeros_like, ones_like)
    made += (arange, linspace, eye, pad, get_array_module, ndarray)
    found = {one.__name__: one for one in made}
    for name, parameters in FUNCTIONS.items():
        found[name] = lifted(getattr(np, name), name, parameters, host=name == "take")
    shared = {name: getattr(np, name) for name in TYPES}
    return {**shared, **found, **UFUNC, "ufunc": ufunc, "abs": UFUNC["absolute"]}
