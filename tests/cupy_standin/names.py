"""What CuPy 14 has, as far as the stand-in has it too: `test_cupy_arrays` compares with the installed CuPy."""


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


METHODS = {
    **dict.fromkeys(("all", "any", "max", "min"), "axis=None, out=None, keepdims=False"),
    **dict.fromkeys(("argmax", "argmin"), "axis=None, out=None, dtype=None, keepdims=False"),
    **dict.fromkeys(("mean", "sum"), "axis=None, dtype=None, out=None, keepdims=False"),
    "prod": "axis=None, dtype=None, out=None, keepdims=None",
    **dict.fromkeys(("std", "var"), "axis=None, dtype=None, out=None, ddof=0, keepdims=False"),
    **dict.fromkeys(("cumprod", "cumsum"), "axis=None, dtype=None, out=None"),
    "argsort": "axis=-1, kind=None",
    "clip": "min=None, max=None, out=None",
    "copy": "order='C'",
    "diagonal": "offset=0, axis1=0, axis2=1",
    "flatten": "order='C'",
    "nonzero": "",
    "ravel": "order='C'",
    "repeat": "repeats, axis=None",
    "reshape": "*shape, order='C', copy=None",
    "round": "decimals=0, out=None",
    "sort": "axis=-1, kind=None",
    "squeeze": "axis=None",
    "swapaxes": "axis1, axis2",
    "take": "indices, axis=None, out=None",
    "trace": "offset=0, axis1=0, axis2=1, dtype=None, out=None",
    "transpose": "*axes",
}
"""Methods of cupy.ndarray that do what NumPy's of that name do -> their parameters."""

FUNCTIONS = {
    **dict.fromkeys(("all", "any", "amax", "amin", "max", "min"), "a, axis=None, out=None, keepdims=False"),
    **dict.fromkeys(("argmax", "argmin"), "a, axis=None, dtype=None, out=None, keepdims=False"),
    **dict.fromkeys(("mean", "prod", "sum"), "a, axis=None, dtype=None, out=None, keepdims=False"),
    **dict.fromkeys(("std", "var"), "a, axis=None, dtype=None, out=None, ddof=0, keepdims=False"),
    **dict.fromkeys(("cumprod", "cumsum"), "a, axis=None, dtype=None, out=None"),
    **dict.fromkeys(("concatenate", "stack"), "tup, axis=0, out=None, *, dtype=None, casting='same_kind'"),
    **dict.fromkeys(("hstack", "vstack"), "tup, *, dtype=None, casting='same_kind'"),
    **dict.fromkeys(("allclose", "isclose"), "a, b, rtol=1e-05, atol=1e-08, equal_nan=False"),
    **dict.fromkeys(("argsort", "sort"), "a, axis=-1, kind=None"),
    **dict.fromkeys(("argwhere", "flatnonzero", "nonzero"), "a"),
    **dict.fromkeys(("around", "round"), "a, decimals=0, out=None"),
    **dict.fromkeys(("ascontiguousarray", "asfortranarray"), "a, dtype=None"),
    **dict.fromkeys(("flip", "squeeze"), "a, axis=None"),
    **dict.fromkeys(("tril", "triu"), "m, k=0"),
    **dict.fromkeys(("inner", "vdot"), "a, b"),
    **dict.fromkeys(("dot", "outer"), "a, b, out=None"),
    "array_equal": "a1, a2, equal_nan=False",
    "broadcast_arrays": "*args",
    "broadcast_to": "array, shape",
    "clip": "a, a_min, a_max, out=None",
    "copy": "a, order='K'",
    "count_nonzero": "a, axis=None",
    "diff": "a, n=1, axis=-1, prepend=None, append=None",
    "einsum": "*operands, **kwargs",
    "expand_dims": "a, axis",
    "matmul": "*args, axes=None, axis=None, keepdims=False, casting='same_kind', dtype=None, signature=None, "
    "order='K', out=None",
    "moveaxis": "a, source, destination",
    "nan_to_num": "x, copy=True, nan=0.0, posinf=None, neginf=None",
    "ravel": "a, order='C'",
    "repeat": "a, repeats, axis=None",
    "reshape": "a, newshape, order='C', *, copy=None",
    "roll": "a, shift, axis=None",
    "searchsorted": "a, v, side='left', sorter=None",
    "split": "ary, indices_or_sections, axis=0",
    "swapaxes": "a, axis1, axis2",
    "take": "a, indices, axis=None, out=None",
    "take_along_axis": "a, indices, axis",
    "tensordot": "a, b, axes=2",
    "tile": "A, reps",
    "transpose": "a, axes=None",
    "where": "condition, x=None, y=None",
}
"""Functions of the module cupy that do what NumPy's of that name do -> their parameters."""

UFUNCS = _words(
    "absolute add arccos arccosh arcsin arcsinh arctan arctan2 arctanh bitwise_and bitwise_or bitwise_xor ceil "
    "copysign cos cosh divide equal exp exp2 expm1 floor floor_divide fmax fmin greater greater_equal hypot "
    "invert isfinite isinf isnan left_shift less less_equal log log10 log1p log2 logical_and logical_not "
    "logical_or logical_xor maximum minimum multiply negative not_equal positive power reciprocal remainder "
    "right_shift rint sign signbit sin sinh sqrt square subtract tan tanh trunc"
)
"""Universal functions of the module cupy."""

CREATION = {
    "arange": "start, stop=None, step=1, dtype=None",
    "array": "obj, dtype=None, copy=True, order='K', subok=False, ndmin=0, *, blocking=False",
    "asarray": "a, dtype=None, order=None, *, copy=None, blocking=False",
    "asnumpy": "a, stream=None, order='C', out=None, *, blocking=True",
    **dict.fromkeys(("empty", "ones", "zeros"), "shape, dtype=<class 'float'>, order='C'"),
    "empty_like": "prototype, dtype=None, order='K', subok=None, shape=None",
    **dict.fromkeys(("ones_like", "zeros_like"), "a, dtype=None, order='K', subok=None, shape=None"),
    "eye": "N, M=None, k=0, dtype=<class 'float'>, order='C'",
    "full": "shape, fill_value, dtype=None, order='C'",
    "full_like": "a, fill_value, dtype=None, order='K', subok=None, shape=None",
    "pad": "array, pad_width, mode='constant', **kwargs",
    "linspace": "start, stop, num=50, endpoint=True, retstep=False, dtype=None, axis=0",
}
"""Functions that make arrays, or take them off the device -> their parameters."""

TYPES = _words(
    "bool_ int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64 complex64 complex128 dtype "
    "finfo iinfo inf nan pi e newaxis can_cast promote_types"
)
"""What the module cupy shares with NumPy."""
