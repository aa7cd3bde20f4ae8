"""`cupy.cuda.memory`: a pool with a limit, pointers, pinned memory, and copies between the host and the device.

What is allocated holds NaN. What is freed holds NaN again, once what was queued before on its stream is done. Around
each piece lie canaries.
"""

import bisect
import ctypes
import weakref
from typing import Any

import numpy as np

from cupy_standin import device, streams

UNIT = 512
"""Bytes: sizes and addresses are multiples of it."""
POISON, CANARY = 0xFF, 0xFE


class OutOfMemoryError(MemoryError):
    """As CuPy's."""

    def __init__(self, size: int, total: int, limit: int = 0):
        set_to = f", limit set to: {limit:,} bytes" if limit else ""
        super().__init__(f"Out of memory allocating {size:,} bytes (allocated so far: {total:,} bytes{set_to}).")


class Block:
    """The bytes of a piece of memory: they stay as long as work that is queued may use them."""

    def __init__(self, size: int):
        whole = np.full(size + 3 * UNIT, CANARY, np.uint8)
        begin = UNIT + -whole.ctypes.data % UNIT
        self.bytes = whole[begin : begin + size]
        self._around = whole[begin - UNIT : begin], whole[begin + size : begin + size + UNIT]
        self.begin, self.end = self.bytes.ctypes.data, self.bytes.ctypes.data + size
        self.poison()

    def poison(self) -> None:
        self.bytes[:] = POISON

    @property
    def intact(self) -> bool:
        """Whether nothing was written around it."""
        return all((part == CANARY).all() for part in self._around)


class Blocks:
    """What there is, by address."""

    def __init__(self) -> None:
        self._begins: list[int] = []
        self._blocks: dict[int, weakref.ref[Block]] = {}

    def add(self, block: Block) -> None:
        if block.begin not in self._blocks:
            bisect.insort(self._begins, block.begin)
        self._blocks[block.begin] = weakref.ref(block)

    def at(self, address: int) -> Block | None:
        """The one in which the address lies, or which ends there."""
        index = bisect.bisect_right(self._begins, address) - 1
        while index >= 0:
            block = self._blocks[self._begins[index]]()
            if block is not None:
                return block if address <= block.end else None
            del self._blocks[self._begins.pop(index)]
            index -= 1
        return None


on_device, pinned = Blocks(), Blocks()


class Memory:
    """A piece of memory of the pool, which goes back there with the last reference to this object."""

    def __init__(self, size: int, pool: "MemoryPool"):
        block = Block(size)
        on_device.add(block)
        self.ptr, self.size, self.device_id = block.begin, size, 0
        weakref.finalize(self, pool._take_back, block, streams.get_current_stream()).atexit = False


class UnownedMemory:
    """Memory that something else owns."""

    def __init__(self, ptr: int, size: int, owner: Any, device_id: int = -1):
        self.ptr, self.size, self.device_id, self._owner = ptr, size, max(device_id, 0), owner


class MemoryPointer:
    """To a place in memory, which it keeps."""

    def __init__(self, mem: Any, offset: int):
        self.mem, self.ptr = mem, mem.ptr + offset

    @property
    def device(self) -> device.Device:
        return device.Device(self.mem.device_id)

    def __int__(self) -> int:
        return self.ptr

    def __add__(self, offset: int) -> "MemoryPointer":
        return MemoryPointer(self.mem, self.ptr - self.mem.ptr + offset)

    __radd__ = __add__

    def __sub__(self, offset: int) -> "MemoryPointer":
        return self + -offset


def _in_units(size: int) -> int:
    return -(size // -UNIT) * UNIT


def _on_the_device() -> int:
    """Bytes of memory."""
    properties = getattr(device.runtime, "properties", device.PROPERTIES)  # set by standin.install
    return properties["totalGlobalMem"]


class MemoryPool:
    """Memory that was freed stays in the pool until it is needed elsewhere."""

    def __init__(self) -> None:
        self._used = self._free = self._limit = 0

    def malloc(self, size: int) -> MemoryPointer:
        streams.refuse_during_capture("allocating memory")
        units = _in_units(size)
        with streams.lock:
            limit = self._limit or _on_the_device()
            if self._used + units > limit:
                self._free = 0
                raise OutOfMemoryError(units, self._used, self._limit)
            self._free = max(0, min(self._free - units, limit - self._used - units))
            self._used += units
        return MemoryPointer(Memory(size, self), 0)

    def _take_back(self, block: Block, stream: streams.Stream) -> None:
        with streams.lock:
            self._used -= _in_units(block.end - block.begin)
            self._free += _in_units(block.end - block.begin)
            stream.add_work(block.poison)

    def set_limit(self, size: int | None = None, fraction: float | None = None) -> None:
        if size is not None and fraction is not None:
            raise ValueError("size and fraction cannot be specified at the same time")
        self._limit = int((fraction or 0) * _on_the_device()) if size is None else size

    def get_limit(self) -> int:
        return self._limit

    def used_bytes(self) -> int:
        return self._used

    def free_bytes(self) -> int:
        return self._free

    def total_bytes(self) -> int:
        return self._used + self._free

    def free_all_blocks(self, stream: Any = None) -> None:
        self._free = 0


_pool = MemoryPool()


def get_default_memory_pool() -> MemoryPool:
    return _pool


def alloc(size: int) -> MemoryPointer:
    """From the default pool. Raises OutOfMemoryError, and what CUDA raises while a graph is captured."""
    return _pool.malloc(size)


def alloc_pinned_memory(size: int) -> Any:
    """Host memory that the device reads and writes while the host goes on. Gives a buffer; its content is arbitrary."""
    size = _in_units(max(size, 1))
    block = Block(size)
    pinned.add(block)
    kind = type(
        "PinnedMemoryPointer", (ctypes.c_char * size,), {"ptr": block.begin, "size": lambda _: size, "mem": block}
    )
    return kind.from_buffer(block.bytes)


def copy_in(to: np.ndarray, host: np.ndarray, stream: streams.Stream | None = None) -> None:
    """to[...] = host, to being memory of the device, when it is the stream's turn: if the host's memory is pinned, its
    content at that time, else that of now."""
    if pinned.at(host.ctypes.data) is None:
        (stream or streams.get_current_stream()).refuse("a copy from memory that is not pinned")
        host = host.copy()
    block = on_device.at(to.ctypes.data)
    streams.enqueue(lambda kept=block: np.copyto(to, host), stream)


def copy_out(host: np.ndarray, of: np.ndarray, stream: streams.Stream | None = None, blocking: bool = True) -> None:
    """host[...] = of, `of` being memory of the device, when it is the stream's turn. Waits for it if `blocking`, or if
    the host's memory is not pinned."""
    stream = stream or streams.get_current_stream()
    if blocking:
        stream.refuse("a copy that blocks")
    elif pinned.at(host.ctypes.data) is None:
        stream.refuse("a copy to memory that is not pinned")
    block = on_device.at(of.ctypes.data)
    work = streams.enqueue(lambda kept=block: np.copyto(host, of), stream)
    if work and (blocking or pinned.at(host.ctypes.data) is None):
        streams.finish(work)
