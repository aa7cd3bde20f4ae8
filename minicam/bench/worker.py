"""One contestant in a process of its own: it starts, runs once, and then does what its standard input asks for.

A request is a line of JSON, [command, argument ...]; the answer is a line of JSON, an object. The first line comes
unasked, when the first run is done, or says why it could not be: {"error": text}.
"""

import argparse
import gc
import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from minicam.bench.agreement import compare
from minicam.bench.contestant import Contestant, contestant_class
from minicam.bench.layers import layer_times
from minicam.bench.task import FEATURE_LAYERS, Answer, batch, street
from minicam.bench.with_minicam import Minicam
from minicam.store import load

STAGES = ("import_minicam", "import_library", "read_network", "draw_picture", "translate", "compile", "first_run")
SPARED_OWN = ("draw_picture",)
SPARED = ("import_minicam", "read_network", "draw_picture", "translate")
"""What does not count as the start: a user of another library has the network in that library's own format, and is
even given NumPy and the reading of the weights."""


def main(began: float, up: float, arguments: list[str]) -> None:
    """began: when the process was started; up: when Python was; both as time.monotonic() gives it everywhere."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print does not belong among the answers
    try:
        worker = Worker(_options(arguments), began, up)
        _say(answers, worker.ready)
    except Exception as error:  # whatever a library raises is told to the parent, which reports it
        _say(answers, {"error": f"{type(error).__name__}: {error}"})
        return
    for line in sys.stdin:
        command, *given = json.loads(line)
        try:
            _say(answers, worker.commands[command](*given))
        except Exception as error:
            _say(answers, {"error": f"{type(error).__name__}: {error}"})


class Worker:
    """A contestant that has run once; `ready` is what there is to say about that."""

    def __init__(self, options: argparse.Namespace, began: float, up: float):
        self.commands: dict[str, Callable[..., dict[str, Any]]] = {
            "time": self.time,
            "reference": self.reference,
            "check": self.check,
            "layers": self.layers,
        }
        _limit_cores(options.threads)
        clock = [up]

        def tick() -> None:
            clock.append(time.monotonic())

        tick()
        self.contestant: Contestant = contestant_class(options.contestant)()
        self.ready: dict[str, Any] = {"version": self.contestant.load(options.threads)}
        if options.only_load:  # so that the files of the library are in memory when it counts
            return
        tick()
        network = None if options.weights is None else load(options.weights, options.device)
        tick()
        self.image = batch(street(tuple(options.space)), options.samples)
        tick()
        self.contestant.prepare(network, self.image)  # type: ignore[arg-type]
        del network  # the libraries have their own copy; this one is not to count as their memory
        gc.collect()
        if not isinstance(self.contestant, Minicam):
            forget_peak()  # nor is what the translation took
        tick()
        self.contestant.compile()
        tick()
        self.first: Any = getattr(self.contestant, options.first)()
        tick()
        stages = {name: after - before for name, (before, after) in zip(STAGES, pairwise(clock), strict=True)}
        spared = SPARED_OWN if isinstance(self.contestant, Minicam) else SPARED
        started = clock[-1] - began - sum(stages[name] for name in spared)
        self.ready |= {"stages": {"python": up - began, **stages}, "started": started}

    def time(self, kind: str) -> dict[str, Any]:
        """One run of forward, job or product, in seconds, and the peak of memory so far."""
        self.first = None
        gc.collect()
        work = getattr(self.contestant, kind)
        start = time.perf_counter()
        work()
        return {"seconds": time.perf_counter() - start, "peak": peak_resident_bytes()}

    def reference(self, path: str) -> dict[str, Any]:
        """Write minicam's answers, which the others are compared with."""
        assert isinstance(self.contestant, Minicam)
        explained = self.contestant.explained()
        job = self.contestant.answer(explained)
        arrays = {"scores": self.contestant.forward(), "labels": job.labels, "maps": job.maps}
        arrays |= {f"raw{i}": cam.raw for i, cam in enumerate(explained.cams)}
        np.savez(path, **arrays)  # type: ignore[arg-type]
        return {"path": path}

    def check(self, path: str) -> dict[str, Any]:
        """Compare the first answer, and a forward pass, with minicam's."""
        with np.load(path) as file:
            reference = Answer(file["scores"], file["labels"], file["maps"])
            raw = [file[f"raw{i}"] for i in range(len(FEATURE_LAYERS))]
        kinds = self.contestant.kinds
        first = self.first if "job" in kinds else Answer()
        found = Answer(self.contestant.forward() if "forward" in kinds else None, first.labels, first.maps)
        return compare(self.contestant.expected(reference, raw), found)

    def layers(self, repeat: int) -> dict[str, Any]:
        """Seconds and speed of each layer of minicam's forward pass."""
        assert isinstance(self.contestant, Minicam)
        return {"layers": layer_times(self.contestant.network, self.image, repeat)}


def peak_resident_bytes() -> int:
    """The most memory that this process has had resident. Linux's ru_maxrss would also count the process that started
    this one, up to the moment when it did; VmHWM does not."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def forget_peak() -> None:
    """Where the system lets us: count the peak from here on."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _limit_cores(threads: int) -> None:
    """Where the system lets us: no more cores than threads, for libraries that count cores and cannot be told."""
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, cores[:threads])


def _say(answers: TextIO, what: dict[str, Any]) -> None:
    print(json.dumps(what), file=answers, flush=True)


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("contestant")
    parser.add_argument("--weights")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--space", type=int, nargs=2, required=True)
    parser.add_argument("--samples", type=int, default=1)
    parser.add_argument("--first", default="job")
    parser.add_argument("--only-load", action="store_true")
    return parser.parse_args(arguments)
