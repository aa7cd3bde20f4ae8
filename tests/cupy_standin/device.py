"""`cupy.cuda`, as far as it tells of devices."""

from types import SimpleNamespace
from typing import Any


class CUDARuntimeError(RuntimeError):
    """As CuPy raises it: with the name of the error, and what it means."""

    def __init__(self, status: int, name: str, meaning: str):
        super().__init__(f"{name}: {meaning}")
        self.status = status


NO_DRIVER = (35, "cudaErrorInsufficientDriver", "CUDA driver version is insufficient for CUDA runtime version")
NO_DEVICE = (100, "cudaErrorNoDevice", "no CUDA-capable device is detected")

PROPERTIES = {
    "name": b"stand-in",
    "major": 9,
    "minor": 0,
    "multiProcessorCount": 132,
    "totalGlobalMem": 2**30,
    "sharedMemPerBlockOptin": 232448,
    "sharedMemPerMultiprocessor": 233472,
}


class Runtime(SimpleNamespace):
    """`cupy.cuda.runtime`. devices: how many there are. error: (status, name, meaning) that every call raises."""

    CUDARuntimeError = CUDARuntimeError
    devices: int
    error: tuple[int, str, str] | None
    properties: dict[str, Any]

    def getDeviceCount(self) -> int:
        if self.error is not None:
            raise CUDARuntimeError(*self.error)
        return self.devices

    def getDeviceProperties(self, device: int) -> dict[str, Any]:
        if not 0 <= device < self.getDeviceCount():
            raise CUDARuntimeError(101, "cudaErrorInvalidDevice", "invalid device ordinal")
        return dict(self.properties)

    def getDevice(self) -> int:
        self.getDeviceCount()
        return 0

    def driverGetVersion(self) -> int:
        return 13000 if self.error is None else 0

    def runtimeGetVersion(self) -> int:
        return 13000


runtime = Runtime()


class Device:
    """One of the devices."""

    def __init__(self, device: int | None = None):
        self.id = 0 if device is None else int(device)
        runtime.getDeviceProperties(self.id)

    @property
    def compute_capability(self) -> str:
        """Such as "90"."""
        return f"{runtime.properties['major']}{runtime.properties['minor']}"

    @property
    def attributes(self) -> dict[str, int]:
        return {
            "MultiProcessorCount": runtime.properties["multiProcessorCount"],
            "MaxSharedMemoryPerBlockOptin": runtime.properties["sharedMemPerBlockOptin"],
            "MaxSharedMemoryPerMultiprocessor": runtime.properties["sharedMemPerMultiprocessor"],
        }

    @property
    def mem_info(self) -> tuple[int, int]:
        """Bytes free, and in all."""
        from cupy_standin import memory

        total = runtime.properties["totalGlobalMem"]
        return total - memory.get_default_memory_pool().total_bytes(), total

    def use(self) -> "Device":
        return self

    def synchronize(self) -> None:
        from cupy_standin import streams

        streams.synchronize_all()

    def __enter__(self) -> "Device":
        return self

    def __exit__(self, *_: object) -> None:
        pass
