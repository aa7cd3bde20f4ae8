"""The emulator finds what is wrong with a kernel, and computes what the instructions are documented to."""

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from cupy_standin import compilation, kernels, standin
from launches import CanaryError, run_launches

from minicam.cuda.buffers import Buffer, Kernel, Launch, Place, constant

CODE = Path(__file__).with_name("emulated.cu").read_text()
SEEDS = range(5)


@pytest.fixture(scope="module", params=[(), ("-DEMULATOR_UCONTEXT",)], ids=["own switch", "ucontext"])
def either(request: pytest.FixtureRequest) -> Any:
    """The kernels of emulated.cu, with either way to switch between threads."""
    return kernels.RawModule(code=CODE, options=("-std=c++17", *request.param))


@pytest.fixture(scope="module")
def module() -> Any:
    return kernels.RawModule(code=CODE, options=("-std=c++17",))


@pytest.fixture(autouse=True)
def cupy() -> Iterator[ModuleType]:
    with standin.install() as installed:
        yield installed


def called(
    module: Any, name: str, *args: Any, seed: int = 0, grid: Any = (1,), block: Any = (64,), shared: int = 0
) -> Any:
    """Launches a kernel, and returns its arguments with the arrays as it left them."""
    import cupy

    kernels.schedule.seed(seed)
    given = [cupy.asarray(one) if isinstance(one, np.ndarray) and not one.dtype.fields else one for one in args]
    module.get_function(name)(grid, block, given, shared_mem=shared)
    return [one.get() if isinstance(one, cupy.ndarray) else one for one in given]


def unwritten(*shape: int) -> np.ndarray:
    return np.full(shape, np.nan, np.float32)


def numbers(*shape: int) -> np.ndarray:
    """Whole, so that sums are exact."""
    return np.random.default_rng(0).integers(-99, 99, shape).astype(np.float32)


X = numbers(3, 4, 128)
REVERSED_SUMS = X[:, :, ::-1].sum(1)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", ["reversed_sums", "copied_sums"])
def test_right_kernels_are_right_in_any_order(either: Any, name: str, seed: int) -> None:
    _, y = called(either, name, X, unwritten(3, 128), seed=seed, grid=(3,), block=(128,), shared=1024)
    np.testing.assert_array_equal(y, REVERSED_SUMS)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    "name",
    [
        "reversed_sums_without_barrier_after_write",
        "reversed_sums_without_barrier_after_read",
        "copied_sums_without_wait",
        "copied_sums_with_wait_for_too_few",
        "copied_sums_without_barrier_after_wait",
        "copied_sums_without_barrier_after_read",
    ],
)
def test_what_is_missing_shows(either: Any, name: str, seed: int) -> None:
    _, y = called(either, name, X, unwritten(3, 128), seed=seed, grid=(3,), block=(128,), shared=1024)
    assert not np.array_equal(y, REVERSED_SUMS)


@pytest.mark.parametrize("seed", SEEDS)
def test_lanes_wait_for_each_other_only_if_told_to(either: Any, seed: int) -> None:
    x = numbers(2, 64)
    neighbours = x.reshape(2, 32, 2)[:, :, ::-1].reshape(2, 64)
    _, y = called(either, "neighbours", x, unwritten(2, 64), seed=seed, grid=(2,), shared=256)
    np.testing.assert_array_equal(y, neighbours)
    _, y = called(either, "neighbours_without_syncwarp", x, unwritten(2, 64), seed=seed, grid=(2,), shared=256)
    assert not np.array_equal(y, neighbours)


def test_shared_memory_holds_nan_before_it_is_written(module: Any) -> None:
    x = numbers(64)
    _, y = called(module, "sum_of_unwritten", x, x, grid=(1,), block=(32,), shared=128)
    assert np.isnan(y[:32]).all()


def test_registers_hold_a_huge_number_before_they_are_set(module: Any) -> None:
    x = numbers(64)
    _, y = called(module, "sum_of_unset", x, x)
    np.testing.assert_array_less(y, -1e38)


FAILURES = {
    0: r"wait for each other for ever; .*16 threads .* wait in __syncthreads at line \d+; 48 threads .* have returned",
    1: r"not all threads come to the same barrier(; 32 threads .* wait in __syncthreads at line \d+){2}",
    2: r"wait for each other for ever; .*32 threads .* wait in __shfl_xor_sync at line \d+ with mask 0xffffffff",
    3: r"__syncwarp at line \d+: a thread outside its own mask",
    4: r"wrote to byte 256 of 256 bytes of shared memory",
    5: r"access to an address that is null or not aligned at line",
    6: r"copy_async at line \d+: byte 4 of shared memory",
    7: r"copy_async at line \d+: byte 0 of shared memory or the address 0x\w+ is no multiple of 16",
    8: r"copy_async at line \d+ writes to byte 256 of 256 bytes",
    9: r"copy_async at line \d+: 20 bytes, expected 0 to 16",
    10: r"index outside of an array at line",
    11: r"integer overflow in \+ at line",
    12: r"division by zero",
    13: r"shift by a negative number or too far",
    14: r"illegal access to the address 0x10",
    15: r"wrote outside of the memory that it was given",
    16: r"16 threads .* wait in multiply_tf32 at line",
}


@pytest.mark.parametrize("what", FAILURES)
def test_what_has_no_defined_result_is_an_error(either: Any, what: int) -> None:
    with pytest.raises(kernels.EmulatorError, match=rf"(?s)kernel fails.*{FAILURES[what]}"):
        called(either, "fails", unwritten(64), np.int32(what), np.int32(1), shared=256)
    # and the next launch is none the worse
    _, y = called(either, "reversed_sums", X, unwritten(3, 128), grid=(3,), block=(128,), shared=1024)
    np.testing.assert_array_equal(y, REVERSED_SUMS)


def test_the_error_shows_the_line(module: Any) -> None:
    with pytest.raises(kernels.EmulatorError, match=r"\d+: if \(what == 0 && i < 16\) __syncthreads\(\);"):
        called(module, "fails", unwritten(64), np.int32(0), np.int32(1), shared=256)


def test_blocks_and_threads_of_three_dimensions(module: Any) -> None:
    size = np.array([(5, 7, 2.0)], [("rows", np.int32), ("columns", np.int32), ("scale", np.float32)])
    found = called(module, "indices", size, np.full((4, 5, 7), -1, np.int32), grid=(2, 3, 2), block=(4, 2, 2))[1]
    samples, rows, columns = np.indices((4, 5, 7))
    np.testing.assert_array_equal(found, 2 * (100 * samples + 10 * rows + columns))


SIZE = np.array([(5, 7)], [("rows", np.int32), ("columns", np.int32)])
N = np.int32(64)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("adds", (X, X, N), "takes 4 arguments, got 3"),
        ("adds", (X, X, 64, N), r"argument 2: an integer of 8 bytes \(64\), expected an integer of 4 bytes"),
        ("adds", (X, X, np.float32(64), N), "argument 2: a floating-point number of 4 bytes .* expected an integer"),
        ("adds", (N, X, N, N), "argument 0: an integer of 4 bytes .* expected a pointer of 8 bytes"),
        ("indices", (SIZE, X), "argument 0: a structure of 8 bytes .* expected a structure of 12 bytes"),
    ],
)
def test_arguments_that_would_be_misread(module: Any, name: str, arguments: tuple, message: str) -> None:
    with pytest.raises(TypeError, match=f"{name}.*{message}"):
        called(module, name, *arguments)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"grid": (0,)}, r"grid \(0, 1, 1\)"),
        ({"grid": (1, 65536)}, r"grid \(1, 65536, 1\)"),
        ({"block": (1025,)}, r"\(1025, 1, 1\) threads in a block, at most 1024"),
        ({"shared": (48 << 10) + 1}, "49153 bytes of shared memory, max_dynamic_shared_size_bytes is 49152"),
    ],
)
def test_launches_that_cuda_refuses(module: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(kernels.CUDADriverError, match=rf"CUDA_ERROR_INVALID_VALUE.*adds.*{message}"):
        called(module, "adds", X, X, N, N, **options)


def test_launch_bounds_and_null_pointers(cupy: ModuleType, module: Any) -> None:
    size = np.array([(5, 7, 2.0)], [("rows", np.int32), ("columns", np.int32), ("scale", np.float32)])
    with pytest.raises(kernels.CUDADriverError, match="at most 128"):
        called(module, "indices", size, X, block=(129,))
    with pytest.raises(kernels.EmulatorError, match=r"illegal access to the address 0x\w+"):
        called(module, "adds", X, None, N, N)
    with pytest.raises(kernels.CUDADriverError, match=r"ILLEGAL_ADDRESS.*no memory of the device at 0x40"):
        called(module, "adds", X, np.uint64(64), N, N)


def test_shared_memory_beyond_48_kilobytes(module: Any) -> None:
    function = module.get_function("sum_of_unwritten")
    function.max_dynamic_shared_size_bytes = 227 << 10
    assert function.max_dynamic_shared_size_bytes == 227 << 10
    with pytest.raises(kernels.CUDADriverError, match="INVALID_VALUE"):
        function.max_dynamic_shared_size_bytes = (227 << 10) + 1


def test_what_does_not_compile(module: Any) -> None:
    with pytest.raises(kernels.CUDADriverError, match=r"NOT_FOUND.*nothing"):
        module.get_function("nothing")
    with pytest.raises(compilation.CompileException, match=r"kernels.cu:2:.*undeclared_name"):
        kernels.RawModule(code='extern "C" __global__ void f(int* x) {\n*x = undeclared_name; }').get_function("f")
    with pytest.raises(compilation.CompileException, match=r"__shared__.* was not declared"):
        kernels.RawModule(code='extern "C" __global__ void f() { __shared__ int x[1]; }').get_function("f")
    with pytest.raises(compilation.CompileException, match="not --use_fast_math"):
        kernels.RawModule(code=CODE, options=("--use_fast_math",)).get_function("adds")


def test_what_was_compiled_is_kept(module: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    module.get_function("adds")
    monkeypatch.setattr(compilation, "_run", None)
    kernels.RawModule(code=CODE, options=("-std=c++17",)).get_function("adds")


def test_without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    other = kernels.RawModule(code="// not compiled before")
    monkeypatch.delenv("MINICAM_REQUIRE_GXX", raising=False)
    with pytest.raises(pytest.skip.Exception, match=r"g\+\+ 12 or later is not installed"):
        other.get_function("f")
    monkeypatch.setenv("MINICAM_REQUIRE_GXX", "1")
    with pytest.raises(compilation.CompileException, match=r"g\+\+ 12 or later is not installed"):
        other.get_function("f")


# run_launches


def additions(x: Buffer, y: Buffer, n: int, forgotten: int = -1) -> Launch:
    arguments = Place(x), Place(y), np.int32(n), np.int32(forgotten)
    return Launch(Kernel("emulated", "adds"), (2, 1, 1), 64, arguments)


@pytest.fixture
def adding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minicam.cuda.kernels.source", lambda name: CODE)


@pytest.mark.usefixtures("adding")
def test_launches_run_in_order_and_give_all_buffers() -> None:
    x, y, z = Buffer((10, 10)), Buffer((100,)), Buffer((100,))
    content = numbers(10, 10)
    found = run_launches([additions(x, y, 100), additions(y, z, 100, forgotten=7)], {x: content})
    assert found.keys() == {x, y, z}
    np.testing.assert_array_equal(found[x], content)
    np.testing.assert_array_equal(found[y], content.ravel() + 1)
    assert np.isnan(found[z][7])
    np.testing.assert_array_equal(np.delete(found[z], 7), np.delete(content.ravel() + 2, 7))


@pytest.mark.usefixtures("adding")
def test_launches_that_write_elsewhere() -> None:
    x, y = constant(numbers(100)), Buffer((99,))
    with pytest.raises(CanaryError, match=r"adds.* wrote to 4 bytes outside of all buffers"):
        run_launches([additions(x, y, 100)], {})
    with pytest.raises(CanaryError, match=r"adds.* wrote to the constant"):
        run_launches([additions(x, x, 100)], {})
    with pytest.raises(ValueError, match="is no content of"):
        run_launches([additions(x, y, 99)], {y: numbers(98)})
