"""Streams, events, graphs and memory of the stand-in: nothing happens before it must, and what CUDA refuses raises.

What holds for CuPy as well runs there too, with the marker `gpu`.
"""

from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from cupy_standin import kernels, memory, standin, streams, work
from cupy_standin.device import CUDARuntimeError

CODE = """
extern "C" __global__ void scale(const float* x, float* y, float by, int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) y[i] = by * x[i];
}
extern "C" __global__ void add(const float* x, float* y) { y[threadIdx.x] += x[threadIdx.x]; }
"""
N = 64


@pytest.fixture
def cupy() -> Iterator[ModuleType]:
    with standin.install() as module:
        yield module


def ones() -> np.ndarray:
    return np.ones(N, np.float32)


def scaling(module: ModuleType) -> Any:
    """scale(x, y, by) on the current stream."""
    function = module.RawModule(code=CODE, options=("-std=c++17",)).get_function("scale")
    return lambda x, y, by: function((1,), (N,), (x, y, np.float32(by), np.int32(N)))


def pinned(module: ModuleType, value: float) -> np.ndarray:
    array = np.frombuffer(module.cuda.alloc_pinned_memory(4 * N), np.float32, N)
    array[:] = value
    return array


# On CuPy too


def test_a_graph_does_again_what_was_captured(gpu: ModuleType) -> None:
    scale = scaling(gpu)
    x, y, z = (gpu.asarray(ones()) for _ in range(3))
    scale(x, y, 1)  # loads the kernel
    with gpu.cuda.Stream(non_blocking=True) as stream:
        gpu.cuda.Device().synchronize()
        stream.begin_capture()
        scale(x, y, 2)
        scale(y, z, 5)
        graph = stream.end_capture()
        np.testing.assert_array_equal(z.get(), ones())
        x.set(7 * ones())
        graph.launch()
        np.testing.assert_array_equal(z.get(), 70 * ones())
        x.set(3 * ones())
        graph.launch(stream)
        graph.launch(stream)
    stream.synchronize()
    assert stream.done
    np.testing.assert_array_equal(z.get(), 30 * ones())


def test_events_order_streams(gpu: ModuleType) -> None:
    scale = scaling(gpu)
    x, y, z = (gpu.asarray(ones()) for _ in range(3))
    first, second = gpu.cuda.Stream(non_blocking=True), gpu.cuda.Stream(non_blocking=True)
    gpu.cuda.Device().synchronize()
    started, ended = gpu.cuda.Event(), gpu.cuda.Event()
    with first:
        first.record(started)
        scale(x, y, 4)
        first.record(ended)
    with second:
        second.wait_event(ended)
        scale(y, z, 4)
        np.testing.assert_array_equal(z.get(), 16 * ones())
    ended.synchronize()
    assert ended.done
    assert gpu.cuda.get_elapsed_time(started, ended) >= 0


def test_copies_from_and_to_pinned_memory(gpu: ModuleType) -> None:
    source, target = pinned(gpu, 3), pinned(gpu, 0)
    x = gpu.asarray(ones())
    with gpu.cuda.Stream() as stream:
        x.set(source, stream=stream)
        x.get(stream=stream, out=target, blocking=False)
        stream.synchronize()
    np.testing.assert_array_equal(target, source)


def test_out_of_memory(gpu: ModuleType) -> None:
    pool = gpu.get_default_memory_pool()
    pool.free_all_blocks()
    before = pool.used_bytes()
    held = gpu.empty(1000, np.uint8)
    assert pool.used_bytes() == before + 1024
    pool.set_limit(size=pool.total_bytes() + 4096)
    try:
        with pytest.raises(
            gpu.cuda.memory.OutOfMemoryError, match=r"allocating 8,192 bytes .*limit set to: [\d,]+ bytes"
        ):
            gpu.empty(8192, np.uint8)
        other = gpu.empty(4096, np.uint8)
        del other
    finally:
        pool.set_limit(size=0)
    del held
    assert pool.used_bytes() == before
    pool.free_all_blocks()
    assert pool.total_bytes() >= before


# How late


@pytest.fixture
def only_what_must(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing runs that nobody waits for."""
    monkeypatch.setattr(work.order, "random", lambda: 1.0)


@pytest.mark.usefixtures("only_what_must")
def test_nothing_runs_before_somebody_waits(cupy: ModuleType) -> None:
    scale = scaling(cupy)
    x, y = cupy.asarray(ones()), cupy.asarray(ones())
    target = pinned(cupy, 0)
    cupy.cuda.Device().synchronize()
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        scale(x, y, 2)
        y.get(out=target, blocking=False)
    np.testing.assert_array_equal(y._array, ones())
    y.get()  # on the default stream, which does not wait for this one
    np.testing.assert_array_equal(target, 0 * ones())
    stream.synchronize()
    np.testing.assert_array_equal(target, 2 * ones())


@pytest.mark.usefixtures("only_what_must")
@pytest.mark.parametrize("non_blocking", [True, False])
def test_the_default_stream_and_the_others_wait_for_each_other(cupy: ModuleType, non_blocking: bool) -> None:
    done: list[str] = []
    stream = cupy.cuda.Stream(non_blocking=non_blocking)
    streams.enqueue(lambda: done.append("default"))
    streams.enqueue(lambda: done.append("other"), stream)
    streams.enqueue(lambda: done.append("default again"))
    cupy.cuda.Stream.null.synchronize()
    assert done == (["default", "default again"] if non_blocking else ["default", "other", "default again"])
    streams.synchronize_all()
    assert len(done) == 3


def test_streams_without_events_run_in_any_order(cupy: ModuleType) -> None:
    found = set()
    for _ in range(100):
        done: list[str] = []
        for name in "ab":
            stream = cupy.cuda.Stream(non_blocking=True)
            for number in (1, 2):
                streams.enqueue(lambda what=f"{name}{number}", done=done: done.append(what), stream)
        streams.synchronize_all()
        assert done.index("a1") < done.index("a2")
        assert done.index("b1") < done.index("b2")
        found.add(tuple(done))
    assert len(found) == 6


def test_pinned_memory_is_read_when_the_copy_runs(cupy: ModuleType) -> None:
    x = cupy.asarray(ones())
    source, pageable = pinned(cupy, 3), 3 * ones()
    for host, expected in ((source, 4), (pageable, 3)):
        x.set(host)
        host[:] = 4
        np.testing.assert_array_equal(x.get(), expected * ones())


@pytest.mark.usefixtures("only_what_must")
def test_freed_memory_holds_nan(cupy: ModuleType) -> None:
    scale = scaling(cupy)
    x, y = cupy.asarray(ones()), cupy.asarray(ones())
    scale(x, y, 2)
    with cupy.cuda.Stream(non_blocking=True) as stream:
        scale(x, y, 3)  # which the stream of x's memory does not wait for
    del x
    cupy.cuda.Stream.null.synchronize()
    np.testing.assert_array_equal(np.isnan(y.get()), False)
    stream.synchronize()
    assert np.isnan(y.get()).all()


def test_what_is_asked_again_and_again_is_done_at_last(cupy: ModuleType) -> None:
    event = cupy.cuda.Stream(non_blocking=True).record()
    answers = []
    while not event.done:
        answers.append(False)
        assert len(answers) < 100
    with pytest.raises(CUDARuntimeError, match="InvalidResourceHandle"):
        cupy.cuda.get_elapsed_time(event, cupy.cuda.Event())
    with pytest.raises(CUDARuntimeError, match="NotReady"):
        cupy.cuda.get_elapsed_time(event, cupy.cuda.Stream.null.record())


def test_errors_of_kernels_show_where_somebody_waits(cupy: ModuleType) -> None:
    add = cupy.RawModule(code=CODE).get_function("add")
    x = cupy.empty(N, np.float32)
    add((1,), (N + 1,), (x, x))
    with pytest.raises(kernels.EmulatorError, match="add wrote outside of the memory"):
        cupy.cuda.Stream.null.synchronize()


# What CUDA refuses


REFUSED: dict[str, Any] = {
    "allocating memory": lambda cupy, x, module, event: cupy.empty(N, np.float32),
    "loading a module": lambda cupy, x, module, event: cupy.RawModule(code=CODE).get_function("add"),
    "the first launch of add": lambda cupy, x, module, event: module.get_function("add")((1,), (N,), (x, x)),
    "cudaStreamSynchronize": lambda cupy, x, module, event: cupy.cuda.get_current_stream().synchronize(),
    "cudaDeviceSynchronize": lambda cupy, x, module, event: cupy.cuda.Device().synchronize(),
    "a copy that blocks": lambda cupy, x, module, event: x.get(),
    "a copy to memory that is not pinned": lambda cupy, x, module, event: x.get(out=ones(), blocking=False),
    "a copy from memory that is not pinned": lambda cupy, x, module, event: x.set(ones()),
    "the stand-in captures launches": lambda cupy, x, module, event: x.fill(1),
    "waiting for an event from outside": lambda cupy, x, module, event: cupy.cuda.get_current_stream().wait_event(
        event
    ),
    "a query of the stream": lambda cupy, x, module, event: cupy.cuda.get_current_stream().done,
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_captured(cupy: ModuleType, what: str) -> None:
    module = cupy.RawModule(code=CODE)
    module.get_function("add")
    given = cupy.asarray(ones()), module, cupy.cuda.Stream.null.record()
    with cupy.cuda.Stream(non_blocking=True) as stream:
        stream.begin_capture()
        with pytest.raises(CUDARuntimeError, match=f"not permitted when stream is capturing: {what}"):
            REFUSED[what](cupy, *given)
        with pytest.raises(CUDARuntimeError, match="StreamCaptureInvalidated"):
            stream.end_capture()
        assert not stream.is_capturing()
        stream.synchronize()


def test_captures_begin_and_end(cupy: ModuleType) -> None:
    with pytest.raises(RuntimeError, match="cannot capture on the default"):
        cupy.cuda.Stream.null.begin_capture()
    stream = cupy.cuda.Stream()
    with pytest.raises(CUDARuntimeError, match="not capturing"):
        stream.end_capture()
    stream.begin_capture()
    with pytest.raises(CUDARuntimeError, match="capturing already"):
        stream.begin_capture()
    with pytest.raises(CUDARuntimeError, match="work on the legacy stream"):
        streams.enqueue(lambda: None)
    with pytest.raises(CUDARuntimeError, match="StreamCaptureInvalidated"):
        stream.end_capture()
    with pytest.raises(NotImplementedError):
        cupy.cuda.Graph()


def test_memory_goes_back_where_nobody_holds_it(cupy: ModuleType) -> None:
    pool = cupy.get_default_memory_pool()
    before = pool.used_bytes()
    x = cupy.empty((2, 100), np.float32)
    part = x[1, 3:]
    assert memory.on_device.at(part.data.ptr) is memory.on_device.at(x.data.ptr)
    assert part.data.ptr == x.data.ptr + 412
    del x
    assert pool.used_bytes() == before + 1024
    del part
    assert pool.used_bytes() == before
    assert pool.free_bytes() >= 1024
