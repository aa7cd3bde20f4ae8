"""`cupy.RawModule` and its functions, on the emulator: kernels run on the CPU, when it is their stream's turn."""

import ctypes
import math
import mmap
import random
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from cupy_standin import memory, streams
from cupy_standin.compilation import compiled

STATIC_SHARED, MOST_SHARED = 48 << 10, 227 << 10
MOST_THREADS = 1024
POINTER = ord("p")
MOST_BLOCKS = (2**31 - 1, 65535, 65535)
STACK_BYTES = (64 << 10) + 1088
"""Of one thread. No multiple of 4096, so that the stacks do not fall on the same lines of the cache."""

schedule = random.Random(0)
"""Where the orders of blocks and threads come from: reseed it for others."""


class CUDADriverError(RuntimeError):
    """What CUDA itself refuses. (CuPy's name.)"""


class EmulatorError(Exception):
    """A kernel did what has no defined result on a GPU, though a GPU might not say so."""


class _Launch(ctypes.Structure):
    _fields_ = (
        *(("grid", ctypes.c_uint * 3), ("block", ctypes.c_uint * 3), ("shared", ctypes.c_int)),
        *(("seed", ctypes.c_uint64), ("stacks", ctypes.c_void_p), ("stack_bytes", ctypes.c_uint64)),
        *(("message", ctypes.c_char_p), ("message_bytes", ctypes.c_int)),
    )


class _Parameter(ctypes.Structure):
    _fields_ = (("bytes", ctypes.c_int), ("kind", ctypes.c_int))


_stacks = mmap.mmap(-1, MOST_THREADS * STACK_BYTES)
_stacks_address = ctypes.addressof(ctypes.c_char.from_buffer(_stacks))


class RawModule:
    """The kernels of a source. It is compiled at the first `get_function`."""

    def __init__(self, code: str, *, options: tuple[str, ...] = ()):
        if not isinstance(options, tuple):
            raise TypeError(f"options: expected a tuple, got {type(options)}")
        self.code, self._options = code, options
        self.library: ctypes.PyDLL | None = None
        self.launched: set[str] = set()

    def get_function(self, name: str) -> "Function":
        if self.library is None:
            streams.refuse_during_capture("loading a module")
            self.library = compiled(self.code, self._options)
        if not hasattr(self.library, f"launch_{name}"):
            raise CUDADriverError(f"CUDA_ERROR_NOT_FOUND: named symbol not found: {name}")
        return Function(self, self.library, name)


class Function:
    """A kernel: call with the grid, the block, the arguments and the bytes of dynamic shared memory."""

    def __init__(self, module: RawModule, library: ctypes.PyDLL, name: str):
        self.name, self._module = name, module
        self._launch = library[f"launch_{name}"]
        self._most_threads = library[f"most_threads_{name}"]()
        parameters = (_Parameter * 256)()
        self._parameters = parameters[: library[f"describe_{name}"](parameters)]
        self._most_shared = STATIC_SHARED

    @property
    def max_dynamic_shared_size_bytes(self) -> int:
        return self._most_shared

    @max_dynamic_shared_size_bytes.setter
    def max_dynamic_shared_size_bytes(self, size: int) -> None:
        if not 0 <= size <= MOST_SHARED:
            raise CUDADriverError(f"CUDA_ERROR_INVALID_VALUE: invalid argument: {size} bytes of shared memory")
        self._most_shared = size

    def __call__(
        self, grid: tuple, block: tuple, args: Sequence[Any], *, shared_mem: int = 0, stream: Any = None
    ) -> None:
        """Queues it. What CUDA refuses at once is raised here; arguments are copied here."""
        if self.name not in self._module.launched:
            # CUDA loads a kernel when it is launched first.
            (stream or streams.get_current_stream()).refuse(f"the first launch of {self.name}")
            self._module.launched.add(self.name)
        if not isinstance(grid, tuple) or not isinstance(block, tuple):
            raise TypeError(f"grid and block: expected tuples, got {type(grid)} and {type(block)}")
        grid, block = ((*map(int, sizes), 1, 1)[:3] for sizes in (grid, block))
        self._check_sizes(grid, block, shared_mem)
        if len(args) != len(self._parameters):
            raise TypeError(f"{self.name} takes {len(self._parameters)} arguments, got {len(args)}")
        pairs = list(zip(args, self._parameters, strict=True))
        values = [self._checked(number, *pair) for number, pair in enumerate(pairs)]
        addresses = [
            int.from_bytes(value, "little")
            for value, (_, one) in zip(values, pairs, strict=True)
            if one.kind == POINTER
        ]
        blocks = [self._block(address) for address in addresses if address]
        streams.enqueue(lambda: self._run(grid, block, values, shared_mem, blocks), stream)

    def _check_sizes(self, grid: tuple, block: tuple, shared: int) -> None:
        """Raises CUDADriverError for a launch that is too large or empty."""
        problem = None
        if min(*grid, *block) < 1 or any(size > most for size, most in zip(grid, MOST_BLOCKS, strict=True)):
            problem = f"grid {grid}, block {block}"
        elif math.prod(block) > min(self._most_threads, MOST_THREADS):
            problem = f"{block} threads in a block, at most {self._most_threads}"
        elif shared > self._most_shared:
            problem = f"{shared} bytes of shared memory, max_dynamic_shared_size_bytes is {self._most_shared}"
        if problem:
            raise CUDADriverError(f"CUDA_ERROR_INVALID_VALUE: invalid argument: {self.name}: {problem}")

    def _block(self, address: int) -> memory.Block:
        """Where the address lies. Queued work keeps it, as on a GPU memory stays when it goes back to the pool."""
        block = memory.on_device.at(address) or memory.pinned.at(address)
        if block is None:
            raise CUDADriverError(f"CUDA_ERROR_ILLEGAL_ADDRESS: {self.name}: no memory of the device at {address:#x}")
        return block

    def _checked(self, number: int, argument: Any, parameter: _Parameter) -> bytes:
        """The argument's bytes. Raises TypeError where CUDA would read something else than what was meant."""
        value, kind = _bytes_and_kind(argument)
        expected = chr(parameter.kind)
        fits = kind == expected or (expected == "p" and kind == "i" and len(value) == 8)
        if len(value) != parameter.bytes or not fits:
            names = {"p": "a pointer", "i": "an integer", "f": "a floating-point number", "s": "a structure"}
            raise TypeError(
                f"{self.name}, argument {number}: {names[kind]} of {len(value)} bytes ({argument!r}), "
                f"expected {names[expected]} of {parameter.bytes} bytes"
            )
        return value

    def _run(self, grid: tuple, block: tuple, values: list[bytes], shared: int, blocks: list[memory.Block]) -> None:
        buffers = [ctypes.create_string_buffer(value, len(value)) for value in values]
        pointers = (ctypes.c_void_p * len(values))(*map(ctypes.addressof, buffers))
        message = ctypes.create_string_buffer(4096)
        launch = _Launch(grid, block, shared, schedule.getrandbits(64), _stacks_address, STACK_BYTES)
        launch.message, launch.message_bytes = ctypes.cast(message, ctypes.c_char_p), len(message)
        if self._launch(ctypes.byref(launch), pointers):
            raise EmulatorError(f"kernel {self.name}, {self._with_source(message.value.decode())}")
        if not all(block.intact for block in blocks):
            raise EmulatorError(f"kernel {self.name} wrote outside of the memory that it was given")

    def _with_source(self, text: str) -> str:
        lines = self._module.code.splitlines()
        numbers = sorted({int(number) for number in re.findall(r"line (\d+)", text)})
        return text + "".join(f"\n{number}: {lines[number - 1].strip()}" for number in numbers)


def _bytes_and_kind(argument: Any) -> tuple[bytes, str]:
    """As CuPy passes it: Python's numbers with 8 bytes, NumPy's arrays by value, arrays on the device by address."""
    if argument is None:
        return bytes(8), "p"
    pointer = getattr(argument, "data", None) if not isinstance(argument, (np.ndarray, np.generic)) else None
    address = getattr(pointer if pointer is not None else argument, "ptr", None)
    if address is not None:
        return np.uint64(address).tobytes(), "p"
    if isinstance(argument, np.ndarray):
        return argument.tobytes(), "s" if argument.dtype.fields else argument.dtype.kind.replace("u", "i")
    number = np.asarray(argument, dtype=None if isinstance(argument, np.generic) else type(argument))
    return number.tobytes(), number.dtype.kind.replace("u", "i").replace("b", "i")
