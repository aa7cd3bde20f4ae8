"""Putting the stand-in where `import cupy` finds it."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from cupy_standin import device, functions, kernels, memory, streams

PLACES = {
    "cupy": (kernels.RawModule, memory.get_default_memory_pool),
    "cupy.cuda": (
        *(device.Device, kernels.Function, streams.Stream, streams.Event, streams.Graph, streams.get_current_stream),
        *(streams.get_elapsed_time, memory.MemoryPointer, memory.MemoryPool, memory.UnownedMemory, memory.alloc),
        memory.alloc_pinned_memory,
    ),
    "cupy.cuda.driver": (kernels.CUDADriverError,),
    "cupy.cuda.memory": (memory.OutOfMemoryError, memory.MemoryPointer, memory.MemoryPool),
    "cupyx": (),
}
"""Module -> what belongs there."""


@contextmanager
def install(devices: int = 1, error: tuple[int, str, str] | None = None, **properties: Any) -> Iterator[ModuleType]:
    """Inside, `import cupy` gives the stand-in, which is also what `as` gives; outside, all is as it was.

    devices: how many there are. error: what every question to the runtime raises, such as `device.NO_DRIVER`.
    properties: those of the device that differ from `device.PROPERTIES`, such as major=7, minor=5.
    """
    device.runtime.devices, device.runtime.error = devices, error
    device.runtime.properties = {**device.PROPERTIES, **properties}
    before = {name: sys.modules.pop(name) for name in list(sys.modules) if name.split(".")[0] in ("cupy", "cupyx")}
    modules = built()
    sys.modules.update(modules)
    try:
        yield modules["cupy"]
        streams.synchronize_all()  # so that what nobody waited for is found here, if it fails
    finally:
        streams.discard()
        memory.get_default_memory_pool().set_limit(size=0)
        for name in [name for name in sys.modules if name.split(".")[0] in ("cupy", "cupyx")]:
            del sys.modules[name]
        sys.modules.update(before)


def built() -> dict[str, ModuleType]:
    """Name -> module, as they shall be in sys.modules."""
    modules = {name: ModuleType(name) for name in PLACES}
    for name, values in PLACES.items():
        vars(modules[name]).update({value.__name__: value for value in values}, __path__=[])
        if "." in name:
            owner, _, own = name.rpartition(".")
            setattr(modules[owner], own, modules[name])
    cupy, cuda = modules["cupy"], modules["cupy.cuda"]
    vars(cupy).update(functions.namespace(), __version__="14.2.0", __spec__=ModuleSpec("cupy", None))
    cuda.runtime = device.runtime
    cupy.is_available = cuda.is_available = lambda: device.runtime.error is None and device.runtime.devices > 0
    return modules
