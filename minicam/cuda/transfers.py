"""Copies between main memory and a GPU beside its computing: from and to pinned memory, on streams of their own.

Events keep the order: what the current stream computes after an upload waits for it, and a download waits for what was
computed before it. Memory goes back to CuPy's pool, which hands it out again in the order of one stream only, when the
other streams are done with it.
"""

import importlib
import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minicam.backend import Array


class Transfers:
    """Uploads and downloads, for as long as the `with` block lasts. Needs CuPy and a device."""

    def __init__(self) -> None:
        self._cupy = importlib.import_module("cupy")
        self._up, self._down = (self._cupy.cuda.Stream(non_blocking=True) for _ in range(2))
        self._uploads: deque[_Upload] = deque()
        self._downloads: list[_Download] = []

    def __enter__(self) -> "Transfers":
        return self

    def __exit__(self, *_: object) -> None:
        self.settle()
        self._cupy.cuda.get_current_stream().synchronize()
        self._uploads.clear()

    def upload(self, parts: Sequence[np.ndarray]) -> Array:
        """Parts of one shape and type as one array (N, ...), for what the current stream computes until the next call.
        The copy itself goes on beside what it computes now."""
        stream = self._cupy.cuda.get_current_stream()
        if self._uploads:
            self._uploads[-1].used = self._mark(stream)
        if len(self._uploads) == 2:
            self._uploads[0].used.synchronize()
            self._uploads.popleft()
        order = [0, *sorted(range(1, parts[0].ndim), key=lambda axis: -abs(parts[0].strides[axis]))]
        turned = [
            part.transpose(order) for part in parts
        ]  # as they lie in memory: an image's channels are its last axis
        host = self._pinned((sum(map(len, turned)), *turned[0].shape[1:]), parts[0].dtype)
        np.concatenate(turned, out=host)
        with self._up:
            array = self._cupy.empty(host.shape, host.dtype)
            found = array.transpose([order.index(axis) for axis in range(array.ndim)])
            array.set(host, stream=self._up)
        stream.wait_event(self._mark(self._up))
        self._uploads.append(_Upload(array, host))
        return found

    def download(self, array: Array) -> Callable[[int], np.ndarray]:
        """Begins to bring an array (N, ...) into main memory; what it returns waits, and gives a copy of the n-th part.
        An array that is there already is not copied."""
        if isinstance(array, np.ndarray):
            return array.__getitem__
        self._down.wait_event(self._mark(self._cupy.cuda.get_current_stream()))
        host = self._pinned(array.shape, array.dtype)
        with self._down:  # where the array has to be put into order first, that is for this stream too
            array.get(stream=self._down, out=host, blocking=False)
        self._downloads = [one for one in self._downloads if not one.settled]
        self._downloads.append(_Download(array, host, self._mark(self._down)))
        return self._downloads[-1].part

    def settle(self) -> None:
        """Wait for all downloads, which then hold no memory of the device any more."""
        for download in self._downloads:
            download.settle()
        self._downloads.clear()

    def _mark(self, stream: Any) -> Any:
        """An event after what the stream has been given so far."""
        event = self._cupy.cuda.Event(disable_timing=True)
        stream.record(event)
        return event

    def _pinned(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """An array in memory that the device reads and writes on its own; it holds on to the memory."""
        count = math.prod(shape)
        memory = self._cupy.cuda.alloc_pinned_memory(max(count, 1) * dtype.itemsize)
        return np.frombuffer(memory, dtype, count).reshape(shape)


class _Upload:
    """What must stay until `used`, the event after the last computing that reads the array."""

    def __init__(self, array: Array, host: np.ndarray):
        self.array, self.host = array, host
        self.used: Any = None


class _Download:
    """What must stay until `done`, the event after the copy."""

    def __init__(self, array: Array, host: np.ndarray, done: Any):
        self._array, self._host, self._done = array, host, done

    @property
    def settled(self) -> bool:
        return self._array is None

    def settle(self) -> None:
        self._done.synchronize()
        self._array = None

    def part(self, n: int) -> np.ndarray:
        """The n-th part: a copy, so that nobody holds the others' memory with it."""
        self.settle()
        return self._host[0] if len(self._host) == 1 else self._host[n].copy()
