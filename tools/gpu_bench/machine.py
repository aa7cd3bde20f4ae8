"""The machine: the libraries that reach its GPU, or stand-ins for them in a rehearsal."""

import importlib
import platform
import subprocess
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from gpu_bench.rows import Missing, Row, row
from gpu_bench.timing import Clock
from minicam.backend import device_module
from minicam.errors import DeviceError, MinicamError

ROOT = Path(__file__).parent.parent.parent
REHEARSAL = "rehearsal: no timing is meaningful"
PACKAGES = ("minicam", "numpy", "torch", "triton", "cupy-cuda12x", "cupy-cuda13x", "nvidia-cudnn-cu13", "grad-cam")
GPU_STATE = "name,driver_version,memory.total,clocks.sm,clocks.mem,clocks.max.sm,power.limit,temperature.gpu"


@dataclass(frozen=True)
class Machine:
    """torch, cupy: the modules, None where they cannot be used, which `missing` explains. cuda: torch.cuda. device:
    what PyTorch calls the GPU. compiler: the backend of torch.compile. rehearsal: whether these are stand-ins."""

    torch: Any = None
    cupy: Any = None
    cuda: Any = None
    device: str = "cuda"
    compiler: str = "inductor"
    rehearsal: bool = False
    missing: dict[str, str] = field(default_factory=dict)

    def need_torch(self) -> Any:
        if self.torch is None:
            raise Missing(self.missing["torch"])
        return self.torch

    def need_cupy(self) -> Any:
        if self.cupy is None:
            raise Missing(self.missing["cupy"])
        return self.cupy

    @property
    def torch_clock(self) -> Clock:
        return Clock(lambda: self.cuda.Event(enable_timing=True), lambda begin, end: begin.elapsed_time(end))

    @property
    def cupy_clock(self) -> Clock:
        return Clock(self.cupy.cuda.Event, self.cupy.cuda.get_elapsed_time)

    def pinned(self, tensor: Any) -> Any:
        """tensor in page-locked memory, from which copies to the device do not wait for the host."""
        return tensor if self.rehearsal else tensor.pin_memory()

    def free_memory(self) -> None:
        """Give back what PyTorch and CuPy keep of memory that nobody uses any more."""
        if self.torch is not None:
            self.cuda.empty_cache()
        if self.cupy is not None:
            self.cupy.get_default_memory_pool().free_all_blocks()


def find_machine() -> Machine:
    """The libraries here, those that see a GPU. Raises MinicamError if none does."""
    torch, why_torch = _torch()
    cupy, why_cupy = None, ""
    try:
        cupy = device_module("gpu")
    except DeviceError as error:
        why_cupy = str(error)
    if torch is None and cupy is None:
        raise MinicamError(f"there is nothing to measure: {why_torch}; {why_cupy}. --rehearse runs without a GPU")
    missing = {name: why for name, why in (("torch", why_torch), ("cupy", why_cupy)) if why}
    return Machine(torch, cupy, None if torch is None else torch.cuda, missing=missing)


def _torch() -> tuple[Any, str]:
    try:
        torch = importlib.import_module("torch")
    except ImportError as error:
        return None, f"not installed: torch ({error})"
    return (torch, "") if torch.cuda.is_available() else (None, f"PyTorch {torch.__version__} sees no GPU")


def about(machine: Machine) -> Row:
    """The first row: what a reader needs to know to compare the numbers with others."""
    commit = _said("git", "-C", str(ROOT), "rev-parse", "HEAD") or "unknown"
    changed = bool(_said("git", "-C", str(ROOT), "status", "--porcelain", "--untracked-files=no"))
    versions = {name: _version(name) for name in PACKAGES}
    return row(
        "machine",
        _gpu_name(machine),
        note="; ".join(filter(None, (REHEARSAL if machine.rehearsal else "", *machine.missing.values()))),
        rehearsal=machine.rehearsal,
        nvidia_smi=_said("nvidia-smi", f"--query-gpu={GPU_STATE}", "--format=csv,noheader"),
        gpu=_properties(machine),
        host=f"{platform.machine()}, {platform.system()} {platform.release()}",
        python=platform.python_version(),
        torch_cuda=None if machine.torch is None else machine.torch.version.cuda,
        cudnn=None if machine.torch is None else machine.torch.backends.cudnn.version(),
        commit=commit + (" with changes" if changed else ""),
        versions={name: found for name, found in versions.items() if found},
    )


def _gpu_name(machine: Machine) -> str:
    if machine.rehearsal:
        return "no GPU"
    if machine.torch is not None:
        return machine.cuda.get_device_name()
    return machine.cupy.cuda.runtime.getDeviceProperties(0)["name"].decode()


def _properties(machine: Machine) -> dict[str, Any]:
    """Of the GPU: number of processors, bytes of memory and of second-level cache, compute capability."""
    if machine.rehearsal or machine.torch is None:
        return {}
    found = machine.cuda.get_device_properties(0)
    names = ("multi_processor_count", "total_memory", "L2_cache_size", "major", "minor")
    return {name: getattr(found, name, None) for name in names}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _said(*command: str) -> str:
    """What a program prints; nothing if there is none, or it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
