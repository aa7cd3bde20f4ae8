"""A plan with its memory, ready to run: first as single launches, from the second time on as one CUDA graph."""

import weakref
from collections.abc import Mapping
from typing import Any

import numpy as np

from minicam.backend import Array
from minicam.cuda.arena import ALIGNMENT, offsets, packed
from minicam.cuda.buffers import Buffer, FeatureMaps, Launch, Place
from minicam.cuda.kernels import Kernels
from minicam.cuda.plan import Call, Plan, Value, buffer_of


class Constants:
    """Constant buffers on the device, each copied there once for as long as the buffer exists."""

    def __init__(self, module: Any):
        self._module = module
        self._arrays: weakref.WeakKeyDictionary[Buffer, Array] = weakref.WeakKeyDictionary()

    def address(self, buffer: Buffer) -> int:
        if buffer not in self._arrays:
            self._arrays[buffer] = self._module.asarray(buffer.value)
        return self._arrays[buffer].data.ptr


class Lease:
    """What the arrays of one run hold on to, so that it is seen when the last of them is gone."""


class Bound:
    """A plan bound to addresses. given: the arrays of the caller that it reads, by name, which must stay.

    The arrays that a run leaves are valid until the next run, for which `free` must be true: it is once nobody holds
    any of them. Raises CuPy's OutOfMemoryError where the device has not enough memory.
    """

    def __init__(self, plan: Plan, given: Mapping[str, Array], module: Any, kernels: Kernels, constants: Constants):
        self.plan = plan
        self._module, self._kernels = module, kernels
        self._lease: weakref.ref[Lease] | None = None
        self._graph: Any = None
        self._runs = 0
        inside, size = offsets(plan.lifetimes())
        kept, kept_size = packed(plan.results())
        self._arena = module.empty(max(size, ALIGNMENT), np.uint8)
        self._results = module.empty(max(kept_size, ALIGNMENT), np.uint8)
        self._addresses = {buffer: self._arena.data.ptr + offset for buffer, offset in inside.items()}
        self._addresses |= {buffer: self._results.data.ptr + offset for buffer, offset in kept.items()}
        self._addresses |= {buffer: given[name].data.ptr for name, buffer in plan.given.items()}
        self._addresses |= {buffer: constants.address(buffer) for buffer in plan.constants()}
        self._handed_out = {name: value for name, value in plan.left.items() if name not in plan.fetched}
        self._copied = {name: self._anywhere(buffer) for name, buffer in plan.copied.items()}

    @property
    def free(self) -> bool:
        """Whether nobody holds what the last run left."""
        return self._lease is None or self._lease() is None

    @property
    def bytes(self) -> int:
        """Of device memory, without the constants."""
        return self._arena.nbytes + self._results.nbytes

    def run(self, contents: Mapping[str, Array]) -> dict[str, Array]:
        """Copy `contents` to the plan's inputs, run it on the current stream, and return what it leaves, by name; of
        what is to be fetched see `block`."""
        for name, array in contents.items():
            self._copied[name][...] = array
        if self._runs == 0 or not self.plan.capturable:
            self._start()  # compiles and loads the kernels, which may not happen during a capture
        else:
            if self._graph is None:
                self._graph = self._captured()
            self._graph.launch()
        self._runs += 1
        pointer = self._leased()
        return {name: self._view(value, pointer, self._results.data.ptr) for name, value in self._handed_out.items()}

    def block(self) -> Array:
        """What the last run left of the plan's `fetched`, (1, bytes) uint8: see `Plan.parts`."""
        _, size = packed(dict.fromkeys(buffer_of(self.plan.left[name]) for name in self.plan.fetched))
        return self._module.ndarray((1, size), np.uint8, self._leased())

    def _leased(self) -> Any:
        """A pointer to the results, which are not free as long as it is held."""
        lease = self._lease() if self._lease else None
        if lease is None:
            lease = Lease()
            self._lease = weakref.ref(lease)
        results = self._results
        owned = self._module.cuda.UnownedMemory(results.data.ptr, results.nbytes, (lease, results), -1)
        return self._module.cuda.MemoryPointer(owned, 0)

    def _start(self) -> None:
        for step in self.plan.steps:
            if isinstance(step, Launch):
                self._launch(step)
            else:
                self._call(step)

    def _launch(self, launch: Launch) -> None:
        function = self._kernels.function(launch.kernel, launch.shared)
        arguments = tuple(self._argument(argument) for argument in launch.arguments)
        function(launch.grid, (launch.block,), arguments, shared_mem=launch.shared)

    def _argument(self, argument: Any) -> Any:
        if argument is None:
            return np.uint64(0)
        if isinstance(argument, Place):
            return np.uint64(self._addresses[argument.buffer] + argument.offset * argument.buffer.dtype.itemsize)
        return argument

    def _call(self, call: Call) -> None:
        arrays = [self._anywhere(value).astype(np.float32, copy=False) for value in call.reads]
        for value, result in zip(call.writes, call.function(*arrays), strict=True):
            self._anywhere(value)[...] = result

    def _captured(self) -> Any:
        """The launches as a CUDA graph."""
        stream = self._module.cuda.Stream(non_blocking=True)
        with stream:
            stream.begin_capture()
            try:
                self._start()
            finally:
                graph = stream.end_capture()
        return graph

    def _anywhere(self, value: Value) -> Array:
        """The array (N, C, *space) of any value, also of one in the caller's memory."""
        address = self._addresses[value.place.buffer if isinstance(value, FeatureMaps) else value]
        size = value.place.buffer.bytes if isinstance(value, FeatureMaps) else value.bytes
        memory = self._module.cuda.UnownedMemory(address, size, (self._arena, self._results), -1)
        return self._view(value, self._module.cuda.MemoryPointer(memory, 0), address)

    def _view(self, value: Value, pointer: Any, base: int) -> Array:
        """value as an array (N, C, *space) in the memory that `pointer` points to, which begins at address `base`."""
        if isinstance(value, Buffer):
            return self._module.ndarray(value.shape, value.dtype, pointer + (self._addresses[value] - base))
        size = value.dtype.itemsize
        first = self._addresses[value.place.buffer] - base + value.place.offset * size
        shape = (value.samples, value.channels, value.rows, value.columns)
        pitches = (value.sample_pitch, 1, value.row_pitch, value.pixel_pitch)
        return self._module.ndarray(shape, value.dtype, pointer + first, tuple(pitch * size for pitch in pitches))
