"""What arrays on the device can do: CuPy's universal functions, and what is NumPy's function with CuPy's parameters.

To import it gives `ndarray` its operators, and the methods that are such functions.
"""

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from cupy_standin import streams
from cupy_standin.arrays import SCALARS, checked_key, ndarray, wrapped
from cupy_standin.names import FUNCTIONS, METHODS, UFUNCS


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
        streams.turn()
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
        streams.turn()
        with np.errstate(all="ignore"):
            found = self._function(*unwrapped(args), **unwrapped(options))
        return wrapped(np.asarray(found)) if out is None else out

    def at(self, a: ndarray, indices: Any, b: Any = None) -> None:
        if not isinstance(a, ndarray) or not isinstance(b, (ndarray, *SCALARS)):
            raise TypeError(f"Unsupported type {type(a)} or {type(b)}")
        streams.turn()
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
