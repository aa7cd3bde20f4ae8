"""Where arrays live: each test that uses these fixtures runs once for every place there is.

"stand-in" is `cupy_standin`. "gpu" is CuPy, with the marker of that name; skipped where no device answers.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from types import ModuleType

import numpy as np
import pytest
from cupy_standin import standin

from minicam.backend import device_module

GPU = pytest.param("gpu", marks=pytest.mark.gpu)
DEVICES = ["stand-in", GPU]
BACKENDS = ["numpy", *DEVICES]


@cache
def gpu_answers() -> bool:
    """Whether there is a real CuPy and a device that it can use."""
    return device_module("auto") is not np


@contextmanager
def array_backend(name: str) -> Iterator[ModuleType]:
    """The array module of that name: numpy, or what `import cupy` gives inside."""
    if name == "numpy":
        yield np
    elif name == "stand-in":
        with standin.install() as module:
            yield module
    elif gpu_answers():
        import cupy

        yield cupy
    else:
        pytest.skip("no GPU answers")


@pytest.fixture(params=BACKENDS)
def xp(request: pytest.FixtureRequest) -> Iterator[ModuleType]:
    """Each array module in turn."""
    with array_backend(request.param) as module:
        yield module


@pytest.fixture(params=DEVICES)
def gpu(request: pytest.FixtureRequest) -> Iterator[ModuleType]:
    """CuPy, or what stands in for it: while it is in use, device="gpu" works."""
    with array_backend(request.param) as module:
        yield module
