"""What the machine can do at most: copies, and products of large matrices, on random data."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gpu_bench.machine import Machine
from gpu_bench.precision import set_torch
from gpu_bench.rows import Missing, Row, row, tried
from gpu_bench.timing import Clock, Effort, measured

PRODUCTS = ("fp32", "tf32", "fp16")


@dataclass(frozen=True)
class Sizes:
    """Bytes of a copy on the device (several times its second-level cache), of one between host and device, and the
    rows of the square matrices."""

    copied: int = 2 << 30
    transferred: int = 256 << 20
    matrix: int = 8192


@dataclass
class Ceilings:
    """The best found so far. bandwidth: bytes read plus bytes written per second; rates: FLOP/s by kind of product."""

    bandwidth: float = 0.0
    rates: dict[str, float] = field(default_factory=dict)


def ceilings(machine: Machine, effort: Effort, sizes: Sizes, found: Ceilings) -> Iterator[Row]:
    """Rows of all copies and products, by PyTorch and by CuPy; `found` takes the best of each."""

    def limited(name: str, precision: str, work: Callable[[], tuple[Clock, Callable[[], Any], float, str]]) -> Row:
        def measure() -> Row:
            clock, run, amount, note = work()
            times = measured(clock, run, effort)
            rate = amount / times.median
            if precision:
                found.rates[precision] = max(rate, found.rates.get(precision, 0.0))
                return row(
                    "ceilings", name, precision, times=times, note=f"{rate / 1e12:.1f} TFLOP/s; {note}", flops=rate
                )
            if "between" not in name:
                found.bandwidth = max(rate, found.bandwidth)
            return row("ceilings", name, times=times, note=f"{rate / 1e9:.1f} GB/s; {note}", bytes_per_second=rate)

        made = tried("ceilings", name, measure, precision=precision)
        machine.free_memory()
        return made

    yield limited("copy, PyTorch", "", lambda: torch_copy(machine, sizes.copied))
    yield limited("copy, CuPy", "", lambda: cupy_copy(machine, sizes.copied))
    for to_device in (True, False):
        name = f"copy between host and device, {'in' if to_device else 'out'}"
        yield limited(name, "", lambda to_device=to_device: torch_transfer(machine, sizes.transferred, to_device))
    for kind in PRODUCTS:
        yield limited("matrix product, PyTorch", kind, lambda kind=kind: torch_product(machine, sizes.matrix, kind))
        yield limited("matrix product, CuPy", kind, lambda kind=kind: cupy_product(machine, sizes.matrix, kind))


def torch_copy(machine: Machine, size: int) -> tuple[Clock, Callable[[], Any], float, str]:
    torch = machine.need_torch()
    source = torch.randn(size // 4, device=machine.device)
    target = torch.empty_like(source)
    return machine.torch_clock, lambda: target.copy_(source), 2.0 * size, f"{size >> 20} MiB, read plus written"


def cupy_copy(machine: Machine, size: int) -> tuple[Clock, Callable[[], Any], float, str]:
    cupy = machine.need_cupy()
    source = random_array(cupy, (size // 4,), np.float32)
    target = cupy.empty(source.shape, source.dtype)

    def copy() -> None:
        target[...] = source

    return machine.cupy_clock, copy, 2.0 * size, f"{size >> 20} MiB, read plus written"


def torch_transfer(machine: Machine, size: int, to_device: bool) -> tuple[Clock, Callable[[], Any], float, str]:
    torch = machine.need_torch()
    host, there = machine.pinned(torch.randn(size // 4)), torch.randn(size // 4, device=machine.device)
    source, target = (host, there) if to_device else (there, host)
    note = f"{size >> 20} MiB, page-locked"
    return machine.torch_clock, lambda: target.copy_(source, non_blocking=True), float(size), note


def torch_product(machine: Machine, n: int, kind: str) -> tuple[Clock, Callable[[], Any], float, str]:
    torch = machine.need_torch()
    note = set_torch(torch, kind)
    dtype = torch.float16 if kind == "fp16" else torch.float32
    a, b = (torch.randn(n, n, device=machine.device, dtype=dtype) for _ in range(2))
    out = torch.empty_like(a)
    return machine.torch_clock, lambda: torch.mm(a, b, out=out), 2.0 * n**3, note


def cupy_product(machine: Machine, n: int, kind: str) -> tuple[Clock, Callable[[], Any], float, str]:
    cupy = machine.need_cupy()
    dtype = np.float16 if kind == "fp16" else np.float32
    a, b = (random_array(cupy, (n, n), dtype) for _ in range(2))
    return machine.cupy_clock, lambda: _multiplied(cupy, a, b, kind), 2.0 * n**3, "cuBLAS by CuPy"


def _multiplied(cupy: Any, a: Any, b: Any, kind: str) -> None:
    """CuPy reads CUPY_TF32 once, at its first product; afterwards only what is not public changes it."""
    if kind == "fp16" or not hasattr(cupy, "_core"):
        if kind == "tf32":
            raise Missing("this CuPy cannot be told to use TF32")
        cupy.matmul(a, b)
        return
    linear = cupy._core._routines_linalg
    before = linear.get_compute_type(np.float32)
    linear.set_compute_type(np.float32, linear.COMPUTE_TYPE_TF32 if kind == "tf32" else linear.COMPUTE_TYPE_DEFAULT)
    try:
        cupy.matmul(a, b)
    finally:
        linear.set_compute_type(np.float32, before)


def random_array(cupy: Any, shape: tuple[int, ...], dtype: np.dtype | type) -> Any:
    """Normally distributed numbers. A million are drawn and repeated: enough for the arithmetic, and quick."""
    count = math.prod(shape)
    drawn = cupy.asarray(np.random.default_rng().standard_normal(min(count, 1 << 20)).astype(dtype))
    array = cupy.empty(count, dtype)
    whole = count // len(drawn) * len(drawn)
    array[:whole].reshape(-1, len(drawn))[...] = drawn
    array[whole:] = drawn[: count - whole]
    return array.reshape(shape)
