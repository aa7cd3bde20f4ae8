"""Putting the stand-in where `import cupy` finds it."""

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from cupy_standin import device, functions

PARTS = {
    "kernels": {"cupy": ("RawModule",), "cupy.cuda.driver": ("CUDADriverError",)},
    "streams": {"cupy.cuda": ("Stream", "Event", "Graph", "get_current_stream", "get_elapsed_time")},
    "memory": {
        "cupy": ("get_default_memory_pool", "get_default_pinned_memory_pool"),
        "cupy.cuda": ("MemoryPointer", "MemoryPool", "UnownedMemory", "alloc", "alloc_pinned_memory", "set_allocator"),
        "cupy.cuda.memory": ("OutOfMemoryError", "MemoryPointer", "MemoryPool"),
    },
}
"""Module of this package -> where what it defines belongs."""


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
    finally:
        for name in [name for name in sys.modules if name.split(".")[0] in ("cupy", "cupyx")]:
            del sys.modules[name]
        sys.modules.update(before)


def built() -> dict[str, ModuleType]:
    """Name -> module, as they shall be in sys.modules."""
    cupy, cuda, cupyx = ModuleType("cupy"), ModuleType("cupy.cuda"), ModuleType("cupyx")
    vars(cupy).update(functions.namespace(), cuda=cuda, __version__="14.2.0", __path__=[])
    cupy.__spec__ = ModuleSpec("cupy", None)
    cupy.is_available = cuda.is_available = lambda: device.runtime.error is None and device.runtime.devices > 0
    vars(cuda).update(runtime=device.runtime, Device=device.Device, __path__=[])
    modules = {"cupy": cupy, "cupy.cuda": cuda, "cupyx": cupyx}
    for part, places in PARTS.items():
        if importlib.util.find_spec(f"cupy_standin.{part}") is None:
            continue
        source = importlib.import_module(f"cupy_standin.{part}")
        for place, names in places.items():
            if place not in modules:
                modules[place] = ModuleType(place)
                setattr(modules["cupy.cuda"], place.rsplit(".", 1)[1], modules[place])
            vars(modules[place]).update({name: getattr(source, name) for name in names if hasattr(source, name)})
    return modules
