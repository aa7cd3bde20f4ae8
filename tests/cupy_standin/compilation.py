"""Compiling CUDA sources with g++: the headers in `emulator` define what a CUDA compiler and device would."""

import ctypes
import hashlib
import os
import platform
import re
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest

HEADERS = Path(__file__).parent / "emulator"


def _processor() -> str:
    """What Linux tells of it."""
    path = Path("/proc/cpuinfo")
    return path.read_text() if path.exists() else ""


FLAGS = (
    *("-std=c++17", "-O1", "-fPIC", "-w", "-fvisibility=hidden", "-fno-gnu-unique", "-ffp-contract=off"),
    *("-fno-strict-aliasing", "-fno-exceptions"),
    "-ftrivial-auto-var-init=pattern",  # registers that are not set hold -1.7e38
    "-fsanitize=alignment,bounds,signed-integer-overflow,integer-divide-by-zero,shift",
    *(("-fcf-protection=none",) if platform.machine() == "x86_64" else ()),
    *(("-mavx2", "-mfma") if re.search(r"^flags.* avx2 .* fma |^flags.* fma .* avx2 ", _processor(), re.M) else ()),
)
OLDEST = 12
"""The version of g++ that has these flags."""
MARK = "EMULATOR_BOUND_"


class CompileException(Exception):
    """The source does not compile. (CuPy's name.)"""


@cache
def _headers() -> str:
    return "\n".join(path.read_text() for path in sorted(HEADERS.glob("*.h")))


def _folder() -> Path:
    """Of what has been compiled. It is the user's own: what lies in it is executed."""
    folder = Path(tempfile.gettempdir()) / f"minicam-emulator-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise PermissionError(f"{folder} belongs to another user: set TMPDIR to a folder of your own")
    return folder


@cache
def _version(compiler: str) -> int:
    """Of GCC; 0 of another compiler that calls itself g++."""
    told = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.match(r"g\+\+[^)]*\) (\d+)\.", told)
    return int(found[1]) if found else 0


def _run(arguments: list[str], code: str) -> str:
    """What g++ prints. Without g++ the test is skipped, or fails if MINICAM_REQUIRE_GXX is set."""
    compiler = shutil.which("g++")
    if compiler is None or _version(compiler) < OLDEST:
        problem = f"g++ {OLDEST} or later is not installed"
        if not os.environ.get("MINICAM_REQUIRE_GXX"):
            pytest.skip(problem)
        raise CompileException(problem)
    done = subprocess.run([compiler, *arguments], input=code, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CompileException(done.stderr)
    return done.stdout


def _without_bounds(code: str) -> tuple[str, list[str]]:
    """The code with each __launch_bounds__(...) replaced by MARK and its number, and what was in the parentheses."""
    parts, bounds, end = [], [], 0
    for found in re.finditer(r"__launch_bounds__\s*\(", code):
        parts += [code[end : found.start()], f" {MARK}{len(bounds)} "]
        depth, end = 1, found.end()
        while depth:
            depth += {"(": 1, ")": -1}.get(code[end], 0)
            end += 1
        bounds.append(code[found.end() : end - 1])
    return "".join((*parts, code[end:])), bounds


def kernels_of(code: str, options: tuple[str, ...]) -> dict[str, str]:
    """The names of the kernels of a source, with an expression of the most threads a block of each may have."""
    preprocessed = _run(["-E", "-P", "-x", "c++", "-D__CUDA_ARCH__=900", *options, "-"], code)
    text, bounds = _without_bounds(preprocessed)
    kernels = {}
    for words, name in re.findall(r'extern\s*"C"\s*((?:\w+\s+)+?)(\w+)\s*\(', text):
        if "__global__" in words.split():
            mark = re.search(rf"{MARK}(\d+)", words)
            # The first argument of the macro; the others are about registers.
            kernels[name] = f"emulator::first({bounds[int(mark[1])]})" if mark else "1024"
    return kernels


def compiled(code: str, options: tuple[str, ...]) -> ctypes.PyDLL:
    """The library of a source: for each kernel, describe_NAME, most_threads_NAME and launch_NAME (see launch.h).

    Raises CompileException with what g++ says; the lines it names are those of `code`.
    """
    for option in options:
        if not option.startswith(("-D", "-U", "-std=")):
            raise CompileException(f"the stand-in's compiler knows -D, -U and -std=, not {option}")
    library = _folder() / f"{_hash(code, options)}.so"
    if not library.exists():
        entries = "\n".join(f"EMULATOR_KERNEL({name}, {most})" for name, most in kernels_of(code, options).items())
        unit = f'#include "launch.h"\n#line 1 "kernels.cu"\n{code}\n#line 1 "entries"\n{entries}\n'
        places = f"-I{_precompiled()}", f"-I{HEADERS}"
        _written(library, ["-x", "c++", "-shared", *FLAGS, *options, *places, "-"], unit)
    return ctypes.PyDLL(str(library))


@cache
def _precompiled() -> Path:
    """The folder of the precompiled header. g++ takes launch.h itself where that does not fit the options."""
    folder = _folder() / _hash()
    folder.mkdir(exist_ok=True)
    header = folder / "launch.h.gch"
    if not header.exists():
        _written(header, ["-x", "c++-header", *FLAGS, str(HEADERS / "launch.h")])
    return folder


def _hash(*parts: Any) -> str:
    return hashlib.sha256(repr((parts, FLAGS, _headers())).encode()).hexdigest()[:32]


def _written(path: Path, arguments: list[str], code: str = "") -> None:
    """Others may write the same at the same time: it is there as a whole, or not at all."""
    written = path.with_suffix(f".{os.getpid()}")
    _run([*arguments, "-o", str(written)], code)
    written.replace(path)
