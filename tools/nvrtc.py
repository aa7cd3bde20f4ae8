"""NVIDIA's run-time compiler, without a GPU: what it makes of the kernels, and what it says of them.

The library comes with the package nvidia-cuda-nvrtc (the extra test-cuda); nothing else of CUDA is needed.
"""

import ctypes
import importlib
import os
import pkgutil
import re
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from typing import NamedTuple

import minicam.cuda
from minicam.cuda.buffers import Kernel
from minicam.cuda.kernels import options, source

PACKAGE = "nvidia-cuda-nvrtc"
CUPY_OPTIONS = ("-ftz=true", "--device-as-default-execution-space")
"""What CuPy 14 adds to the options of a RawModule."""


class CompilationError(Exception):
    """Why a source cannot be compiled."""


class Unit(NamedTuple):
    """What is compiled at once: a file with its definitions."""

    source: str
    options: tuple[str, ...]


class Parameter(NamedTuple):
    """Of a kernel. type: as PTX calls it, such as u64 (pointers), u32 or f32; b8 of a structure."""

    type: str
    bytes: int


@dataclass(frozen=True)
class Function:
    """A kernel in machine code. threads, resident: its launch bounds, the threads of a block and the blocks that a
    processor must be able to hold at a time."""

    registers: int
    stack_bytes: int
    spill_bytes: int
    threads: int
    resident: int
    parameters: tuple[Parameter, ...]


@dataclass(frozen=True)
class Compiled:
    """A unit for one architecture. messages: what the compiler says, its report of resources aside."""

    functions: dict[str, Function]
    messages: str
    ptx: str


def all_kernels() -> Iterator[tuple[Kernel, int]]:
    """All kernels of minicam, with the least compute capability of each."""
    for module in pkgutil.iter_modules(minicam.cuda.__path__):
        yield from getattr(importlib.import_module(f"minicam.cuda.{module.name}"), "KERNELS", ())


def unit_of(kernel: Kernel) -> Unit:
    return Unit(kernel.source, options(kernel))


@cache
def library() -> ctypes.CDLL:
    """NVRTC. Raises ImportError where the package is not installed."""
    try:
        files = metadata.files(PACKAGE) or []
    except metadata.PackageNotFoundError as error:
        raise ImportError(f"{PACKAGE} is not installed; pip install minicam[test-cuda]") from error
    found = ctypes.CDLL(str(next(file.locate() for file in files if file.name.startswith("libnvrtc.so"))))
    found.nvrtcGetErrorString.restype = ctypes.c_char_p
    return found


def compile_units(units: Collection[Unit], architecture: int) -> dict[Unit, Compiled]:
    """Machine code for a compute capability such as 90, by all processors. Raises CompilationError."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(zip(units, pool.map(compiled, units, [architecture] * len(units)), strict=True))


@cache
def compiled(unit: Unit, architecture: int) -> Compiled:
    """Machine code, with the options of CuPy. Raises CompilationError."""
    return compile_source(source(unit.source), architecture, unit.options)


def compile_source(text: str, architecture: int, some_options: tuple[str, ...] = ()) -> Compiled:
    """Machine code of any source. Raises CompilationError."""
    program = ctypes.c_void_p()
    _check(library().nvrtcCreateProgram(ctypes.byref(program), text.encode(), b"source", 0, None, None))
    try:
        asked = (*some_options, *CUPY_OPTIONS, f"--gpu-architecture=sm_{architecture}", "--ptxas-options=-v")
        failed = library().nvrtcCompileProgram(
            program, len(asked), (ctypes.c_char_p * len(asked))(*map(str.encode, asked))
        )
        log = _output("ProgramLog", program)
        if failed:
            raise CompilationError(f"{' '.join(asked)}\n{log}")
        return _read(log, _output("PTX", program))
    finally:
        _check(library().nvrtcDestroyProgram(ctypes.byref(program)))


def _output(name: str, program: ctypes.c_void_p) -> str:
    """A text that NVRTC keeps of a compilation."""
    size = ctypes.c_size_t()
    _check(getattr(library(), f"nvrtcGet{name}Size")(program, ctypes.byref(size)))
    content = ctypes.create_string_buffer(size.value)
    _check(getattr(library(), f"nvrtcGet{name}")(program, content))
    return content.value.decode()


def _check(result: int) -> None:
    if result:
        raise RuntimeError(library().nvrtcGetErrorString(result).decode())


def _read(log: str, ptx: str) -> Compiled:
    """The assembler's report of each kernel, with what its declaration in PTX says."""
    functions = {}
    for report in log.split("Compiling entry function ")[1:]:
        name = _found(r"'(\w+)'", report)[0]
        stack, *spills = _found(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", report)
        declared = _found(rf"\.entry {name}\(([^)]*)\)([^{{]*)", ptx)
        bounds = dict(re.findall(r"\.(maxntid|minnctapersm) (\d+)", declared[1]))
        functions[name] = Function(
            registers=int(_found(r"Used (\d+) registers", report)[0]),
            stack_bytes=int(stack),
            spill_bytes=sum(map(int, spills)),
            threads=int(bounds.get("maxntid", 1024)),
            resident=int(bounds.get("minnctapersm", 1)),
            parameters=tuple(map(_parameter, filter(str.strip, declared[0].split(",")))),
        )
    messages = (line for line in log.splitlines() if line.strip() and not re.match(r"ptxas (info )? +[:.]", line))
    return Compiled(functions, "\n".join(messages), ptx)


def _parameter(declaration: str) -> Parameter:
    """From `.param .u64 name` or `.param .align 4 .b8 name[12]`."""
    bits, count = re.search(r"\.[usfb](\d+) ", declaration), re.search(r"\[(\d+)\]", declaration)
    return Parameter(bits[0].strip(". "), int(bits[1]) // 8 * (int(count[1]) if count else 1))


def _found(pattern: str, text: str) -> tuple[str, ...]:
    match = re.search(pattern, text)
    if match is None:
        raise RuntimeError(f"NVRTC's report has another form than expected: no {pattern!r} in\n{text[:500]}")
    return match.groups()
