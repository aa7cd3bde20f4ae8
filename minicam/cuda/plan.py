"""A pass as data: its launches in order, what they are given, and what they leave."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minicam.cuda.arena import packed
from minicam.cuda.buffers import Buffer, FeatureMaps, Launch

Value = FeatureMaps | Buffer
"""A layer's value or gradient: feature maps for arrays (N, C, H, W), else a buffer (N, C, *space)."""


@dataclass(frozen=True)
class Call:
    """What has no kernel: `function` of the arrays in `reads`, (N, C, *space) float32 on the device, gives one array
    for each of `writes`. A plan with calls cannot be captured."""

    function: Callable[..., Sequence[Any]]
    reads: tuple[Value, ...]
    writes: tuple[Value, ...]

    def buffers(self) -> Iterator[Buffer]:
        return (buffer_of(value) for value in (*self.reads, *self.writes))


Step = Launch | Call


@dataclass(frozen=True)
class Plan:
    """steps, in order. copied: what is copied into the plan's own memory before each run, by name; given: buffers whose
    memory is that of an array of the caller; left: what is there after a run, by name; fetched: which of these, all of
    them buffers, lie next to each other, in this order, so that one copy brings them to the host."""

    steps: tuple[Step, ...]
    copied: Mapping[str, Buffer] = field(default_factory=dict)
    given: Mapping[str, Buffer] = field(default_factory=dict)
    left: Mapping[str, Value] = field(default_factory=dict)
    fetched: tuple[str, ...] = ()

    @property
    def launches(self) -> list[Launch]:
        return [step for step in self.steps if isinstance(step, Launch)]

    @property
    def capturable(self) -> bool:
        """Whether it consists of launches alone."""
        return len(self.launches) == len(self.steps)

    def constants(self) -> set[Buffer]:
        return {buffer for step in self.steps for buffer in step.buffers() if buffer.value is not None}

    def results(self) -> list[Buffer]:
        """The buffers that outlive a run, those of `fetched` first."""
        names = (*self.fetched, *self.left)
        return list(dict.fromkeys(buffer_of(self.left[name]) for name in names))

    def parts(self, block: np.ndarray) -> dict[str, np.ndarray]:
        """The arrays of `fetched` in the bytes that `Bound.block` gave."""
        places, _ = packed(buffer_of(self.left[name]) for name in self.fetched)
        found = {}
        for name in self.fetched:
            buffer = buffer_of(self.left[name])
            raw = block[places[buffer] : places[buffer] + buffer.bytes]
            found[name] = raw.view(buffer.dtype).reshape(buffer.shape)
        return found

    def lifetimes(self) -> dict[Buffer, tuple[int, int]]:
        """Of every buffer that needs memory only while the plan runs: its first and its last step."""
        outside = self.constants() | set(self.results()) | set(self.given.values())
        found = {buffer: (-1, -1) for buffer in self.copied.values() if buffer not in outside}
        for i, step in enumerate(self.steps):
            for buffer in step.buffers():
                if buffer not in outside:
                    found[buffer] = (found.get(buffer, (i, i))[0], i)
        return found

    def table(self) -> str:
        """One line for each step: kernel, blocks, threads, shared memory, GFLOP."""
        rows = [f"{'kernel':<40} {'blocks':>14} {'threads':>7} {'shared':>7} {'GFLOP':>8}"]
        for step in self.steps:
            if isinstance(step, Launch):
                blocks = " x ".join(str(n) for n in step.grid)
                flop = f"{2e-9 * step.multiplications:.3f}" if step.multiplications else ""
                rows.append(f"{step.kernel.name:<40} {blocks:>14} {step.block:>7} {step.shared:>7} {flop:>8}")
            else:
                rows.append(f"{step.function} by CuPy")
        return "\n".join(rows)


def buffer_of(value: Value) -> Buffer:
    return value if isinstance(value, Buffer) else value.place.buffer
