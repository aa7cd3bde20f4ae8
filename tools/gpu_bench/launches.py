"""The time of a single launch of a plan."""

from collections.abc import Hashable
from dataclasses import replace
from typing import Any

from gpu_bench.ceilings import random_array
from gpu_bench.machine import Machine
from gpu_bench.timing import Effort, Times, measured
from minicam.cuda.bound import Bound, Constants
from minicam.cuda.buffers import Buffer, Launch, Place
from minicam.cuda.kernels import Kernels
from minicam.cuda.plan import Plan

MOST_SETS = 16
"""Of inputs that take turns."""


def timed_launch(machine: Machine, launch: Launch, effort: Effort, cache: int) -> Times:
    """Seconds of one launch, in a graph of several whose buffers, other than constants, hold other random numbers."""
    cupy = machine.need_cupy()
    buffers = list(dict.fromkeys(buffer for buffer in launch.buffers() if buffer.value is None))
    sets = rotations(sum(buffer.bytes for buffer in buffers), cache)
    given: dict[str, Buffer] = {}
    repeated = []
    for i in range(sets):
        others = {buffer: Buffer(buffer.shape, buffer.dtype) for buffer in buffers}
        given |= {f"{i} {n}": other for n, other in enumerate(others.values())}
        repeated.append(moved(launch, others))
    arrays = {name: random_array(cupy, buffer.shape, buffer.dtype) for name, buffer in given.items()}
    constants = Constants(cupy)  # which, like the arrays, has to be there as long as it is run
    bound = Bound(Plan(tuple(repeated), given=given), arrays, cupy, Kernels(cupy), constants)
    bound.run({})  # compiles; from the second run on it is a graph
    return measured(machine.cupy_clock, lambda: bound.run({}), effort, calls=sets)


def signature(launch: Launch) -> Hashable:
    """What the time of a launch depends on: everything but the numbers in its buffers."""

    def of(argument: Any) -> Hashable:
        if isinstance(argument, Place):
            return argument.buffer.shape, argument.buffer.dtype, argument.offset
        return None if argument is None else argument.tobytes()

    return launch.kernel, launch.grid, launch.block, launch.shared, tuple(map(of, launch.arguments))


def moved(launch: Launch, others: dict[Buffer, Buffer]) -> Launch:
    """The launch with other buffers."""

    def argument(given: Any) -> Any:
        return Place(others.get(given.buffer, given.buffer), given.offset) if isinstance(given, Place) else given

    return replace(launch, arguments=tuple(argument(given) for given in launch.arguments))


def rotations(size: int, cache: int) -> int:
    """How many inputs of that many bytes exceed the cache; within reason."""
    return max(1, min(MOST_SETS, -(-cache // max(size, 1))))
