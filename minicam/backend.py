"""NumPy or CuPy: which array module an array belongs to, and moving arrays between them."""

import importlib
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
    """The array module for "cpu", "gpu", or "auto" (the GPU if CuPy is installed and a device answers).

    Raises DeviceError for any other name, and for "gpu" where none can be used.
    """
    if device not in ("auto", "cpu", "gpu"):
        raise DeviceError(f"device {device!r} is not known; expected 'auto', 'cpu' or 'gpu'")
    if device == "cpu":
        return np
    try:
        cupy = importlib.import_module("cupy")
        count = cupy.cuda.runtime.getDeviceCount()
    except Exception as error:  # CuPy raises its own classes, which cannot be named without importing it
        if device == "gpu":
            raise DeviceError(
                f"device 'gpu' cannot be used: {error}. It needs an NVIDIA driver and CuPy: "
                'pip install "minicam[cuda12]" or "minicam[cuda13]"'
            ) from error
        return np
    if count == 0 and device == "gpu":
        raise DeviceError("device 'gpu' cannot be used: CuPy is installed, but the driver reports no device")
    log.info("device: %s", "gpu" if count else "cpu")
    return cupy if count else np


def to_numpy(x: Array) -> np.ndarray:
    """x in main memory; x itself if it is there already."""
    return x if isinstance(x, np.ndarray) else x.get()
