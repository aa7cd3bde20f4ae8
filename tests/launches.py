"""Running launches of kernels for tests: on a GPU where one answers, else on the emulator."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from backends import array_backend, gpu_answers
from cupy_standin import kernels, memory

from minicam.cuda.buffers import Buffer, Launch, Place
from minicam.cuda.kernels import Kernels

ALIGNMENT, CANARY_BYTES = 256, 4096
POISON, CANARY = memory.POISON, memory.CANARY
"""Bytes of what nothing was written to, and of what lies around buffers. Both are NaN as float32 and as float16."""
PLACE = "gpu" if gpu_answers() else "stand-in"
_functions: dict[str, Kernels] = {}


class CanaryError(AssertionError):
    """A kernel wrote where no buffer is, or to a constant."""


def _content(buffer: Buffer, contents: Mapping[Buffer, np.ndarray]) -> np.ndarray:
    """The bytes of a buffer before the first launch."""
    value = contents.get(buffer, buffer.value)
    if value is None:
        return np.full(buffer.bytes, POISON, np.uint8)
    if value.shape != buffer.shape or value.dtype != buffer.dtype:
        raise ValueError(f"{value.shape} {value.dtype} is no content of {buffer}")
    return np.ascontiguousarray(value).reshape(-1).view(np.uint8)


class _Memory:
    """All buffers in one piece of the device's memory, with canaries around each. module: cupy."""

    def __init__(self, module: Any, buffers: Sequence[Buffer], contents: Mapping[Buffer, np.ndarray]):
        self._buffers, self._starts, size = buffers, {}, CANARY_BYTES
        for buffer in buffers:
            self._starts[buffer] = size
            size += -(buffer.bytes // -ALIGNMENT) * ALIGNMENT + CANARY_BYTES
        self._host = np.full(size, CANARY, np.uint8)
        for buffer in buffers:
            self.raw(buffer)[:] = _content(buffer, contents)
        self._device = module.empty(size, np.uint8)
        self._device.set(self._host)

    def raw(self, buffer: Buffer) -> np.ndarray:
        """Its bytes, as `fetch` found them."""
        start = self._starts[buffer]
        return self._host[start : start + buffer.bytes]

    def fetch(self) -> None:
        self._host = self._device.get()

    def argument(self, argument: Any) -> Any:
        if not isinstance(argument, Place):
            return argument
        offset = argument.offset * argument.buffer.dtype.itemsize
        if not 0 <= offset <= argument.buffer.bytes:
            raise ValueError(f"element {argument.offset} is not in {argument.buffer}")
        return np.uint64(self._device.data.ptr + self._starts[argument.buffer] + offset)

    def check(self, launch: Launch) -> None:
        end = 0
        for buffer in (*self._buffers, None):
            start = self._starts[buffer] if buffer else len(self._host)
            wrong = np.flatnonzero(self._host[end:start] != CANARY)
            if len(wrong):
                near = f"{start - end - wrong[-1]} bytes before {buffer}" if buffer else "behind the last buffer"
                raise CanaryError(f"{launch.kernel} wrote to {len(wrong)} bytes outside of all buffers, {near}")
            end = start + buffer.bytes if buffer else start
        for buffer in self._buffers:
            if buffer.value is not None and not np.array_equal(self.raw(buffer), _content(buffer, {})):
                raise CanaryError(f"{launch.kernel} wrote to the constant {buffer}")


def run_launches(
    launches: Sequence[Launch], contents: Mapping[Buffer, np.ndarray], seed: int = 0
) -> dict[Buffer, np.ndarray]:
    """All buffers after the launches, one after the other. contents: of buffers before; constants have their own.

    Buffers without content are full of NaN. All lie between canaries: CanaryError says which kernel wrote to these, or
    to a constant. seed: of the orders in which the emulator runs blocks and threads.
    """
    kernels.schedule.seed(seed)
    buffers = list(dict.fromkeys((*contents, *(buffer for launch in launches for buffer in launch.buffers()))))
    with array_backend(PLACE) as module:
        functions = _functions.setdefault(PLACE, Kernels(module))
        held = _Memory(module, buffers, contents)
        for launch in launches:
            function = functions.function(launch.kernel, launch.shared)
            arguments = tuple(map(held.argument, launch.arguments))
            function(launch.grid, (launch.block,), arguments, shared_mem=launch.shared)
            held.fetch()
            held.check(launch)
    return {buffer: held.raw(buffer).view(buffer.dtype).reshape(buffer.shape) for buffer in buffers}
