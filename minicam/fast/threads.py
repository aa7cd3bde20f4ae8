"""Threads over blocks, each with a BLAS of one thread, and the scratch memory that they reuse.

NumPy lets go of the interpreter lock inside large operations, so ordinary threads over blocks that stay in cache keep
every core busy; the BLAS underneath must then not start threads of its own. The blocks never depend on how many threads
there are or on which of them takes which, so the results are the same bits from run to run.
"""

import ctypes
import math
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from glob import glob
from pathlib import Path
from typing import Any

import numpy as np

from minicam.errors import MinicamError
from minicam.fast.arena import Arena

_OPENBLAS = tuple(f"{prefix}openblas_{{}}_num_threads{suffix}" for prefix in ("scipy_", "") for suffix in ("64_", ""))
"""What the functions that count threads are called in the builds of OpenBLAS that NumPy comes with."""


def default_threads() -> int:
    """MINICAM_THREADS, or the number of cores that this process may use. Raises MinicamError for anything but a whole
    number from 1 on."""
    wanted = os.environ.get("MINICAM_THREADS")
    if wanted is not None:
        if not wanted.strip().isdecimal() or int(wanted) < 1:
            raise MinicamError(f"MINICAM_THREADS is {wanted!r}; expected a whole number from 1 on")
        return int(wanted)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def _blas() -> tuple[Callable[[int], None], Callable[[], int]] | None:
    """(set, get) for the number of threads of NumPy's OpenBLAS; None where NumPy was built with another BLAS."""
    package = Path(np.__file__).parent
    folders = (package.parent / "numpy.libs", package / ".dylibs", package / ".libs")
    for file in sorted(name for folder in folders for name in glob(str(folder / "*openblas*"))):
        try:
            library = ctypes.CDLL(file)
        except OSError:
            continue
        for name in _OPENBLAS:
            if hasattr(library, name.format("set")):
                return getattr(library, name.format("set")), getattr(library, name.format("get"))
    return None


class _OneThreadEach:
    """NumPy's BLAS at one thread while anybody is inside, and as it was found afterwards. The setting belongs to the
    whole process, so the first to come in changes it and the last to leave puts it back."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._found = 1

    @contextmanager
    def __call__(self) -> Iterator[None]:
        blas = _blas()
        with self._lock:
            self._inside += 1
            if blas and self._inside == 1:
                self._found = blas[1]()
                blas[0](1)
        try:
            yield
        finally:
            with self._lock:
                self._inside -= 1
                if blas and self._inside == 0:
                    blas[0](self._found)


_one_thread_each = _OneThreadEach()


class Workers:
    """A number of threads that run a function over blocks.

    Where the BLAS cannot be held to one thread, there is one worker and the BLAS may use its own threads.
    """

    def __init__(self, threads: int | None = None):
        self.threads = (default_threads() if threads is None else threads) if _blas() else 1
        if self.threads < 1:
            raise MinicamError(f"threads is {threads}; expected a whole number from 1 on")
        self._pool = ThreadPoolExecutor(self.threads - 1, "minicam") if self.threads > 1 else None
        self._local = threading.local()
        self._shared: dict[str, np.ndarray] = {}
        self._arena = Arena()

    def run(self, work: Callable[[Any], None], blocks: Sequence[Any]) -> None:
        """work(block) for every block, each by whichever thread is free. An error in one is raised here."""
        waiting = iter(list(blocks))
        lock = threading.Lock()

        def take_blocks() -> None:
            while True:
                with lock:
                    block = next(waiting, waiting)
                if block is waiting:
                    return
                work(block)

        with _one_thread_each():
            helpers = min(self.threads, len(blocks)) - 1
            futures = [self._pool.submit(take_blocks) for _ in range(helpers)] if self._pool else []
            try:
                take_blocks()
            finally:
                for future in futures:
                    if not future.cancel():  # one that has not begun, all threads being busy, is no longer needed
                        future.result()

    def scratch(self, name: str, *shape: int) -> np.ndarray:
        """This thread's float32 memory of that name, with what was left in it; the next call may hand it out again."""
        return _reused(self._local.__dict__, name, shape)

    def empty(self, *shape: int) -> np.ndarray:
        """A float32 array for the values of a layer, or their gradient."""
        return self._arena.empty(*shape)

    def trim(self) -> None:
        """Let go of the memory of arrays that no pass since the last call needed."""
        self._arena.trim()

    def shared(self, name: str, *shape: int) -> np.ndarray:
        """The same for memory that all threads see; to be asked for outside of `run`."""
        return _reused(self._shared, name, shape)


def _reused(kept: dict[str, Any], name: str, shape: tuple[int, ...]) -> np.ndarray:
    size = math.prod(shape)
    if name not in kept or kept[name].size < size:
        kept[name] = np.empty(size, np.float32)
    return kept[name][:size].reshape(shape)
