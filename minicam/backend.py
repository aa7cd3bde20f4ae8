"""NumPy or CuPy: which array module an array belongs to, and moving arrays between them."""

import ctypes
import importlib.util
import logging
import sys
from types import ModuleType
from typing import Any

import numpy as np

from minicam.errors import DeviceError

Array = Any  # numpy.ndarray or cupy.ndarray; CuPy has no type stubs

log = logging.getLogger("minicam")


def array_module(x: Array) -> ModuleType:
    """The module whose functions work on x: numpy, or cupy if x lives on a GPU. Never imports cupy."""
    cupy = sys.modules.get("cupy")
    return cupy if cupy is not None and isinstance(x, cupy.ndarray) else np


def device_module(device: str) -> ModuleType:
    """The array module for "cpu", "gpu", or "auto" (the GPU if CuPy is installed and a device answers; the log says
    which it is, and why).

    Raises DeviceError for any other name, and for "gpu" where none can be used.
    """
    if device not in ("auto", "cpu", "gpu"):
        raise DeviceError(f"device {device!r} is not known; expected 'auto', 'cpu' or 'gpu'")
    if device == "cpu":
        return np
    missing = _missing()
    if missing and device == "gpu":
        raise DeviceError(f"device 'gpu' cannot be used: {missing}")
    log.info("device: %s", f"cpu, since {missing}" if missing else "gpu")
    return np if missing else sys.modules["cupy"]


DRIVERS = ("libcuda.so.1", "nvcuda.dll")
"""The libraries of the NVIDIA driver on Linux and Windows."""


def _missing() -> str | None:
    """What a GPU lacks to be used, and what to do about it; None if it can be used. CuPy, which takes long to import,
    is imported only where there is a driver."""
    if importlib.util.find_spec("cupy") is None:
        return (
            'CuPy is not installed: pip install "minicam[cuda12]" or, for NVIDIA drivers from 580 on, "minicam[cuda13]"'
        )
    if "cupy" not in sys.modules and not _has_driver():
        return "there is no NVIDIA driver: install it, and check that the command nvidia-smi lists the GPU"
    try:
        count = importlib.import_module("cupy").cuda.runtime.getDeviceCount()
    except ImportError as error:
        return f"CuPy is installed, but cannot be imported: {error}"
    except Exception as error:  # CuPy raises its own classes, which cannot be named without importing it
        if "cudaErrorNoDevice" not in str(error):
            return f"{error}: update the NVIDIA driver, or install a CuPy that fits it"
        count = 0
    if count == 0:
        return "the NVIDIA driver reports no device: check nvidia-smi, and the variable CUDA_VISIBLE_DEVICES"
    return None


def _has_driver() -> bool:
    for library in DRIVERS:
        try:
            ctypes.CDLL(library)
        except OSError:
            continue
        return True
    return False


def is_out_of_memory(error: Exception) -> bool:
    """Whether it is what CuPy raises where the device has no more memory."""
    cupy = sys.modules.get("cupy")
    return cupy is not None and isinstance(error, cupy.cuda.memory.OutOfMemoryError)


def to_numpy(x: Array) -> np.ndarray:
    """x in main memory; x itself if it is there already.

    What comes from a GPU is in pinned memory, which it writes to without a detour, and in C order.
    """
    if isinstance(x, np.ndarray):
        return x
    memory = array_module(x).cuda.alloc_pinned_memory(max(x.nbytes, 1))
    host = np.frombuffer(memory, x.dtype, x.size).reshape(x.shape)
    x.get(out=host)
    return host


def as_array(module: ModuleType, x: Any, dtype: Any = None) -> Array:
    """x, anything that is like an array, as an array of that module, brought over from the other one's memory.

    An array whose axes lie in another order in memory, such as an image's channels, is brought over as it lies.
    """
    if module is np:
        return np.asarray(to_numpy(x) if array_module(x) is not np else x, dtype)
    if not isinstance(x, np.ndarray) or x.flags.c_contiguous:
        return module.asarray(x, dtype)
    order = sorted(range(x.ndim), key=lambda axis: -abs(x.strides[axis]))
    return module.asarray(np.ascontiguousarray(x.transpose(order)), dtype).transpose(np.argsort(order).tolist())
