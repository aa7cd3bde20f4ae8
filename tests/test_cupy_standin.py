"""The stand-in for CuPy: it has nothing that CuPy has not, and is as strict."""

import importlib.util
import inspect
import pickle
import re
import sys

import numpy as np
import pytest
from cupy_standin import names, standin
from cupy_standin.arrays import IMPLICIT


def has_cupy() -> bool:
    return importlib.util.find_spec("cupy") is not None


needs_cupy = pytest.mark.skipif(not has_cupy(), reason="compares with CuPy, which needs no GPU for it")


@pytest.fixture
def cupy():
    with standin.install() as module:
        yield module


def ones(cupy, *shape):
    return cupy.ones(shape, np.float32)


def parameters(text: str) -> str:
    """What stands between the parentheses of a signature, without `self` and types."""
    inside = text[text.index("(") + 1 : text.rindex(")")]
    return re.sub(r"^self(, )?|: '[^']*'|\bint |\bPy_ssize_t ", "", inside).replace(" = ", "=")


# Against the real one


@needs_cupy
def test_methods_are_those_of_cupy():
    import cupy

    with standin.install() as own:
        mine = {name for name in dir(own.ndarray) if not name.startswith("_") or name.startswith("__")}
    plain = set(dir(object)) | {"__slots__", "__weakref__", "__annotations__", "__static_attributes__"}
    assert mine - plain - {"__firstlineno__"} <= set(dir(cupy.ndarray))
    for name, expected in names.METHODS.items():
        first = getattr(cupy.ndarray, name).__doc__.splitlines()[0]
        assert parameters(first) == expected, name


@needs_cupy
def test_functions_are_those_of_cupy():
    import cupy

    for name, expected in (names.FUNCTIONS | names.CREATION).items():
        found = str(inspect.signature(getattr(cupy, name)))
        assert parameters(found) == expected, name
    assert all(isinstance(getattr(cupy, name), cupy.ufunc) for name in names.UFUNCS)
    with standin.install() as own:
        for name in names.CREATION:
            found = inspect.signature(getattr(own, name)).parameters
            assert list(found) == list(inspect.signature(getattr(cupy, name)).parameters), name
        missing = {name for name in vars(own) if not name.startswith("__") and not hasattr(cupy, name)}
        missing |= {name for name in vars(own.cuda) if not name.startswith("__") and not hasattr(cupy.cuda, name)}
    assert not missing


# What must be said explicitly


def test_nothing_comes_to_the_host_by_itself(cupy):
    x = ones(cupy, 2)
    for convert in (np.asarray, np.array, lambda x: np.ones(2).__setitem__(slice(None), x)):
        with pytest.raises(TypeError, match=re.escape(IMPLICIT)):
            convert(x)


@pytest.mark.parametrize(
    "mix",
    [
        lambda cupy, x: x + np.ones(2),
        lambda cupy, x: np.ones(2) + x,
        lambda cupy, x: x * np.array(2.0),
        lambda cupy, x: x @ np.ones((2, 2)),
        lambda cupy, x: np.ones((2, 2)) @ x,
        lambda cupy, x: cupy.exp(np.ones(2)),
        lambda cupy, x: cupy.sum(np.ones(2)),
        lambda cupy, x: cupy.where(x > 0, x, np.zeros(2)),
        lambda cupy, x: cupy.concatenate([x, np.ones(2)]),
        lambda cupy, x: np.concatenate([x, np.ones(2)]),
        lambda cupy, x: np.add(x, 1, out=np.ones(2)),
    ],
)
def test_nothing_goes_to_the_device_by_itself(cupy, mix):
    with pytest.raises(TypeError, match=r"Unsupported type|expected a cupy.ndarray|must be cupy.ndarray"):
        mix(cupy, ones(cupy, 2))


def test_elements_take_scalars_and_arrays_on_the_device(cupy):
    x = cupy.zeros((2, 3))
    x[0, 1:] = ones(cupy, 2)
    x[1] = np.float32(2)
    x[:, 0] = np.array(5)
    assert x.tolist() == [[5, 1, 1], [5, 2, 2]]
    with pytest.raises(ValueError, match=r"non-scalar numpy.ndarray cannot be used for fill"):
        x[0] = np.ones(3)
    with pytest.raises(TypeError, match="Unsupported type"):
        x[0] = [1, 2, 3]
    x[[0, 1], [1, 2]] = np.array([7, 8])
    assert x.tolist() == [[5, 7, 1], [5, 2, 8]]


def test_what_cupy_does_not_take_as_an_index(cupy):
    x, mask = cupy.zeros((2, 3)), cupy.ones(2, bool)
    assert x[mask].shape == (2, 3)
    assert x[np.array([1]), :2].shape == (1, 2)
    for key, error in (
        ((mask, cupy.arange(2)), ValueError),
        ((np.int64(1), [0, 1]), IndexError),
        (1.0, IndexError),
        (ones(cupy, 2), IndexError),
        (5, IndexError),
        ([5], IndexError),  # which CuPy lets pass, without an error
    ):
        with pytest.raises(error):
            x[key]
    with pytest.raises(TypeError):
        range(3)[cupy.asarray(1)]


@pytest.mark.parametrize("dtype", [object, str, "datetime64[s]", np.longdouble])
def test_types_that_a_device_does_not_know(cupy, dtype):
    with pytest.raises(ValueError, match="Unsupported dtype"):
        cupy.zeros(2, dtype)


def test_what_numpy_has_and_cupy_has_not(cupy):
    x = ones(cupy, 2)
    for name in ("ctypes", "newbyteorder", "tostring", "ptp", "__array_interface__", "__index__", "__contains__"):
        assert not hasattr(x, name)
    for call in (lambda: x.sum(where=x > 0), lambda: x.max(initial=0), lambda: cupy.take(x, 0, mode="clip")):
        with pytest.raises(TypeError, match="unexpected keyword argument"):
            call()


# What comes back


def test_single_numbers_stay_on_the_device(cupy):
    x = cupy.asarray([[1.0, 4.0], [2.0, 3.0]], np.float32)
    for found in (
        x.sum(),
        x[0, 1],
        x.argmax(),
        x.max(axis=(0, 1)),
        cupy.sum(x),
        x.sum() > 0,
        -x[0, 0],
        next(iter(x[0])),
    ):
        assert type(found) is cupy.ndarray
        assert found.shape == ()
    assert (x.sum().dtype, (2 * x).dtype, (x > 1).dtype) == (np.float32, np.float32, bool)
    assert (float(x.sum()), int(x.argmax()), bool(x.any()), x[1, 1].item()) == (10.0, 1, True, 3.0)
    assert f"{x[0, 1]:.1f} {x[1]}" == "4.0 [2. 3.]"


def test_functions_of_numpy_give_arrays_on_the_device(cupy):
    x = ones(cupy, 2, 3)
    for found in (np.exp(x), np.stack([x, x]), np.float32(2) * x, np.argwhere(x), np.maximum(x, 0), np.sum(x)):
        assert type(found) is cupy.ndarray
    with pytest.raises(TypeError, match=r"no implementation found|not supported"):
        np.linalg.norm(x)


def test_views_share_memory_and_copies_do_not(cupy):
    x = cupy.zeros((2, 3))
    for view in (x[1], x.T[:, 1], x.reshape(6)[3:], x[1:].view(np.int64), np.moveaxis(x, 0, 1)[:, 1], x[1, 0]):
        assert view.base is x
        assert view.data.ptr == x.data.ptr + 24
    x[1, 0].fill(7)
    assert x.tolist() == [[0, 0, 0], [7, 0, 0]]
    assert all(copy.base is None for copy in (x + 0, x.copy(), x.astype(x.dtype), x[[0]], cupy.asarray(x.get())))
    assert cupy.asarray(x) is x
    assert x.astype(x.dtype, copy=False) is x


def test_an_array_can_be_put_on_memory_that_is_there(cupy):
    memory = cupy.cuda.alloc(64)
    x = cupy.ndarray((2, 2), np.float32, memptr=memory + 16)
    x.set(np.eye(2, dtype=np.float32))
    assert x.data.ptr == memory.ptr + 16
    assert cupy.ndarray((6,), np.float32, memptr=memory + 8)[2:].get().tolist() == [1, 0, 0, 1]


def test_memory_that_was_not_written_holds_nan(cupy):
    assert np.isnan(cupy.empty((3, 2), np.float32).get()).all()
    assert np.isnan(cupy.empty_like(cupy.zeros(2, np.float16)).get()).all()


def test_copies_must_fit(cupy):
    x = cupy.zeros((2, 3))
    for array, error, message in (
        (np.zeros((3, 2)), ValueError, "Shape mismatch"),
        (np.zeros((2, 3), np.float32), TypeError, "float32 array cannot be set to float64 array"),
        (cupy.zeros((2, 3)), TypeError, r"Only numpy.ndarray can be set to cupy.ndarray"),
    ):
        with pytest.raises(error, match=message):
            x.set(array)
    with pytest.raises(RuntimeError, match="Cannot set to non-contiguous array"):
        x[:, :2].set(np.zeros((2, 2)))
    out = np.zeros((2, 3), np.float32)
    with pytest.raises(TypeError, match="float32 array cannot be obtained from float64 array"):
        x.get(out=out)


def test_arrays_are_copied_and_pickled(cupy):
    import copy

    x = cupy.arange(3)
    assert copy.deepcopy([x])[0].tolist() == pickle.loads(pickle.dumps(x)).tolist() == [0, 1, 2]
    with pytest.raises(TypeError, match="unhashable"):
        hash(x)


def test_in_place_operators_and_out(cupy):
    x = cupy.zeros(2)
    y = x
    x += 2
    x *= cupy.asarray([1.0, 3.0])
    assert y.tolist() == [2, 6]
    assert cupy.matmul(cupy.eye(2), x, out=y) is y
    assert cupy.exp(x, out=x) is y
    np.add.at(np.zeros(2), [0], 1)
    cupy.add.at(x, cupy.asarray([0, 0]), 1.0)
    assert x[0].get() == pytest.approx(np.exp(2) + 2)
    with pytest.raises(TypeError, match="same_kind"):
        cupy.arange(2).__iadd__(0.5)


def test_floating_point_warns_of_nothing(cupy):
    x = cupy.zeros(2) / 0
    assert np.isnan(x.get()).all()
    assert np.isneginf(cupy.log(cupy.zeros(1)).get()).all()


def test_padding_where_cupy_differs_is_refused(cupy):
    assert cupy.pad(cupy.arange(3), (3, 2), "wrap").tolist() == [0, 1, 2, 0, 1, 2, 0, 1]
    with pytest.raises(NotImplementedError, match=r"CuPy's and NumPy's padding differ"):
        cupy.pad(cupy.arange(3), (4, 0), "wrap")


# Where it is


def test_it_is_there_only_while_installed():
    before = sys.modules.get("cupy")
    with standin.install() as module:
        import cupy
        import cupy.cuda

        assert cupy is module is sys.modules["cupy"]
        assert cupy.cuda.runtime.getDeviceCount() == 1
        assert cupy.cuda.Device(0).compute_capability == "90"
    assert sys.modules.get("cupy") is before


def test_devices_and_their_properties_are_set():
    with standin.install(devices=0) as cupy, pytest.raises(RuntimeError, match="cudaErrorInvalidDevice"):
        cupy.cuda.Device(0)
    with standin.install(major=7, minor=5, totalGlobalMem=10**6) as cupy:
        assert cupy.cuda.Device().compute_capability == "75"
        with pytest.raises(cupy.cuda.memory.OutOfMemoryError):
            cupy.zeros(10**6)


@needs_cupy
def test_cupys_own_padding_runs_on_it_and_agrees():
    """CuPy's `pad` is written in Python: here it is, on the stand-in's arrays."""
    from pathlib import Path

    folder = Path(importlib.util.find_spec("cupy").origin).parent
    source = compile((folder / "_padding" / "pad.py").read_text(), "pad.py", "exec")
    with standin.install() as cupy:
        module = {}
        exec(source, module)
        for mode in ("constant", "edge", "reflect", "symmetric", "wrap"):
            for pair in ((0, 0), (1, 0), (0, 4), (4, 3)):
                x = np.arange(10.0).reshape(2, 5)
                found = module["pad"](cupy.asarray(x), ((0, 1), pair), mode)
                assert np.array_equal(found.get(), np.pad(x, ((0, 1), pair), mode)), (mode, pair)
