"""Compiling the kernels, with NVRTC through CuPy, at their first use.

A kernel's source is `instructions.cu`, which wraps what needs assembly, and `vectors.cu`, followed by its own file.
There are no includes, so that the compiler needs no headers. CuPy keeps what it has compiled on disk.
"""

from functools import cache
from importlib import resources
from typing import Any

from minicam.cuda.buffers import Kernel
from minicam.errors import DeviceError

OPTIONS = ("-std=c++17",)
STATIC_SHARED = 48 << 10
"""Bytes of shared memory that a kernel may take without asking."""


@cache
def source(name: str) -> str:
    """The text to compile for kernels of the file of that name."""
    folder = resources.files("minicam.cuda")
    before = ("correlation",) if name.startswith("convolution") else ()
    return "\n".join((folder / f"{file}.cu").read_text() for file in ("instructions", "vectors", *before, name))


def options(kernel: Kernel) -> tuple[str, ...]:
    """What the compiler is told besides the source."""
    return (*OPTIONS, *(f"-D{name}={value}" for name, value in kernel.defines))


class Kernels:
    """The compiled kernels of one device. module: cupy."""

    def __init__(self, module: Any):
        self._module = module
        self._modules: dict[tuple[str, tuple[str, ...]], Any] = {}
        self._functions: dict[tuple[Kernel, int], Any] = {}

    def function(self, kernel: Kernel, shared: int = 0) -> Any:
        """What launches the kernel with that much shared memory: call with (grid, block, arguments, shared_mem=).

        Raises DeviceError where it cannot be compiled or loaded.
        """
        key = kernel, shared
        if key not in self._functions:
            try:
                self._functions[key] = self._compiled(kernel, shared)
            except Exception as error:  # CuPy raises its own classes, which cannot be named without importing it
                raise DeviceError(
                    f"the kernel {kernel.name} of {kernel.source}.cu cannot be compiled or loaded for this GPU; "
                    f"precision='exact' needs no kernels of ours. {error}"
                ) from error
        return self._functions[key]

    def _compiled(self, kernel: Kernel, shared: int) -> Any:
        unit = kernel.source, options(kernel)
        if unit not in self._modules:
            self._modules[unit] = self._module.RawModule(code=source(kernel.source), options=unit[1])
        function = self._modules[unit].get_function(kernel.name)
        if shared > STATIC_SHARED:
            function.max_dynamic_shared_size_bytes = shared
        return function
