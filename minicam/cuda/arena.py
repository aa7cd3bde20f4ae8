"""One memory for all buffers of a plan: two whose lifetimes do not meet may lie in the same place."""

from collections.abc import Iterable, Mapping

from minicam.cuda.buffers import Buffer

ALIGNMENT = 256
"""Bytes; what CUDA's own allocations keep."""

Lifetimes = Mapping[Buffer, tuple[int, int]]
"""Buffer -> the first and the last step that uses it."""


def packed(buffers: Iterable[Buffer]) -> tuple[dict[Buffer, int], int]:
    """Where each buffer begins, in bytes, if they lie one after the other, and how large the memory is."""
    found, size = {}, 0
    for buffer in buffers:
        found[buffer] = size
        size += _rounded(buffer.bytes)
    return found, size


def offsets(lifetimes: Lifetimes) -> tuple[dict[Buffer, int], int]:
    """Where each buffer begins, in bytes, and how large the memory is.

    The largest first, each in the lowest gap that nothing occupies during its lifetime (greedy by size: Pisarchyk and
    Lee, arXiv:2001.03288).
    """
    placed: list[tuple[int, int, Buffer]] = []  # first byte, byte after the last
    found: dict[Buffer, int] = {}
    for buffer in sorted(lifetimes, key=lambda b: -b.bytes):
        begin, end = lifetimes[buffer]
        size = _rounded(buffer.bytes)
        start = 0
        for low, high, other in sorted(placed, key=lambda place: place[:2]):
            other_begin, other_end = lifetimes[other]
            if begin <= other_end and other_begin <= end:
                if start + size <= low:
                    break
                start = max(start, high)
        found[buffer] = start
        placed.append((start, start + size, buffer))
    return found, max((high for _, high, _ in placed), default=0)


def _rounded(size: int) -> int:
    return -(size // -ALIGNMENT) * ALIGNMENT
