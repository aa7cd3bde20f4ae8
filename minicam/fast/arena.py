"""One memory for the arrays of all layers: where a layer that is no longer needed lay, the next one is written.

An array that is freed goes back to the operating system, which has to clear the memory for the next one. An arena keeps
it: a pass whose arrays fit where those of the last one lay touches no new memory. Nobody says when an array is no
longer needed. Its place is free as soon as the last view of it is gone, a caller's included.
"""

import math
import threading
from collections import deque

import numpy as np

SEGMENT = 64 << 20
"""Bytes that are asked of the operating system at least: it counts them only when they are first written to."""
ALIGNMENT = 64
"""Bytes: a cache line, and the widest vector of any processor."""

Range = tuple[int, int]
"""Bytes [first, last) of a segment."""


class Segment:
    """Some memory with its free ranges, of which no two touch."""

    def __init__(self, size: int):
        self.memory = np.empty(size + ALIGNMENT, np.uint8)
        start = -self.memory.ctypes.data % ALIGNMENT
        self.whole = (start, start + size)
        self.free = [self.whole]
        self.used = True  # since the last `Arena.trim`

    def take(self, gap: Range, size: int) -> Range:
        """The first bytes of a free range."""
        first, last = gap
        self.free.remove(gap)
        if first + size < last:
            self.free.append((first + size, last))
        self.used = True
        return first, first + size

    def give_back(self, given: Range) -> None:
        joined: list[Range] = []
        for first, last in sorted([*self.free, given]):
            if joined and joined[-1][1] == first:
                joined[-1] = (joined[-1][0], last)
            else:
                joined.append((first, last))
        self.free = joined


class Lease:
    """What an array from the arena is made of, and holds on to: gone with it, it reports its range as free."""

    def __init__(self, segment: Segment, taken: Range, shape: tuple[int, ...], returned: deque[tuple[Segment, Range]]):
        self._place, self._returned = (segment, taken), returned
        address = segment.memory.ctypes.data + taken[0]
        self.__array_interface__ = {"version": 3, "typestr": "<f4", "shape": shape, "data": (address, False)}

    def __del__(self) -> None:
        self._returned.append(self._place)  # from whichever thread, perhaps one that holds the lock: so no more here


class Arena:
    """Memory for float32 arrays of any shape, for any number of threads."""

    def __init__(self) -> None:
        self._segments: list[Segment] = []
        self._returned: deque[tuple[Segment, Range]] = deque()
        self._lock = threading.Lock()

    def empty(self, *shape: int) -> np.ndarray:
        """An array like `np.empty(shape, np.float32)`, in the smallest free range that is large enough."""
        size = max(-(4 * math.prod(shape) // -ALIGNMENT), 1) * ALIGNMENT
        with self._lock:
            self._take_back()
            fitting = [
                (last - first, i, (first, last))
                for i, segment in enumerate(self._segments)
                for first, last in segment.free
                if last - first >= size
            ]
            if fitting:
                _, i, gap = min(fitting)
                segment = self._segments[i]
            else:
                segment = Segment(max(size, SEGMENT))
                self._segments.append(segment)
                gap = segment.whole
            return np.asarray(Lease(segment, segment.take(gap, size), shape, self._returned))

    def trim(self) -> None:
        """Give the operating system the segments from which nothing was taken since the last call."""
        with self._lock:
            self._take_back()
            self._segments = [s for s in self._segments if s.used or s.free != [s.whole]]
            for segment in self._segments:
                segment.used = False

    @property
    def size(self) -> int:
        """Bytes held, in use or not."""
        with self._lock:
            return sum(last - first for first, last in (segment.whole for segment in self._segments))

    def _take_back(self) -> None:
        while self._returned:
            segment, given = self._returned.popleft()
            segment.give_back(given)
