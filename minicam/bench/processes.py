"""Starting contestants in processes of their own, and talking to them. The other end is worker.py."""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import minicam
from minicam.errors import MinicamError

BOOT = (
    "import sys, time; up = time.monotonic(); from minicam.bench.worker import main; main({began!r}, up, sys.argv[1:])"
)
TOLD_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "MINICAM_THREADS")


class WorkerError(MinicamError):
    """A contestant could not do what it was asked; the message is the last that it said."""


class Setting(NamedTuple):
    """What all processes of one comparison share."""

    weights: str
    device: str
    threads: int
    space: tuple[int, int]


class Process:
    """A contestant's process, which has run once when this object is there. Use it with `with`.

    ready: what worker.py says then. Raises WorkerError.
    """

    def __init__(
        self, contestant: str, setting: Setting, first: str = "job", samples: int = 1, only_load: bool = False
    ):
        options = ["--device", setting.device, "--threads", str(setting.threads), "--space", *map(str, setting.space)]
        options += ["--weights", setting.weights] if first != "product" else []
        options += ["--first", first, "--samples", str(samples), *(["--only-load"] if only_load else [])]
        self._said = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115
        boot = BOOT.format(began=time.monotonic())
        self._process = subprocess.Popen(
            [sys.executable, "-c", boot, contestant, *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
            env=_environment(setting.threads),
        )
        try:
            self.ready = self._answer()
        except BaseException:
            self.close()
            raise

    def ask(self, *request: Any) -> dict[str, Any]:
        """The answer to one request."""
        assert self._process.stdin is not None
        try:
            print(json.dumps(request), file=self._process.stdin, flush=True)
        except BrokenPipeError:
            raise WorkerError(self._last_words()) from None
        return self._answer()

    def close(self) -> None:
        """End the process: it ends by itself when nobody can ask any more, unless it is in the middle of something."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        for pipe in (self._process.stdin, self._process.stdout):
            try:
                pipe.close()
            except BrokenPipeError:
                continue
        self._process.terminate()
        self._process.wait()
        self._said.close()

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise WorkerError(self._last_words())
        answer = json.loads(line)
        if "error" in answer:
            raise WorkerError(answer["error"])
        return answer

    def _last_words(self) -> str:
        status = self._process.wait()
        self._said.seek(0)
        lines = self._said.read().split("\n")
        last = next((line for line in reversed(lines) if line.strip()), "")
        return f"its process ended with status {status}" + (f": {last.strip()}" if last else "")


def _environment(threads: int) -> dict[str, str]:
    """This process's environment with the number of threads, and with minicam where it is here."""
    package = str(Path(minicam.__file__).parent.parent)
    paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
    told = dict.fromkeys(TOLD_THREADS, str(threads))
    return {**os.environ, **told, "JAX_PLATFORMS": "cpu", "PYTHONPATH": os.pathsep.join(paths)}
