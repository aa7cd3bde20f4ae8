"""The comparison: start everybody, compare what they compute, time them in alternating order, work out ratios."""

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from minicam.backend import device_module
from minicam.bench.contestant import PRODUCT, REGISTRY, contestant_class
from minicam.bench.processes import Process, Setting, WorkerError
from minicam.bench.report import about, against_floor, ratios
from minicam.bench.sizes import cost_curve
from minicam.bench.task import CLASSES, FEATURE_LAYERS, space_of
from minicam.bench.with_minicam import MatrixProduct
from minicam.errors import LayerError, MinicamError, close_names
from minicam.fast.threads import default_threads
from minicam.network import Network
from minicam.store import BUNDLED, load

PAUSE = 0.25
"""Seconds between two runs: the threads of some libraries keep turning for 0.2 s after the last one."""
STARTS = 3
"""How often each is started, at most; the median counts."""
SLOW, SLOW_RUNS = 30.0, 2
"""A contestant whose first run takes more seconds than that is timed no more often than this, and started once."""

Tell = Callable[[str], None]


def run(
    weights: str | None = None,
    device: str = "auto",
    repeat: int = 5,
    threads: int | None = None,
    rivals: Sequence[str] | None = None,
    layers: bool = False,
    sizes: bool = False,
    tell: Tell = lambda text: None,
) -> dict[str, Any]:
    """Measure, and return the report: numbers, texts, lists and dicts only.

    weights: the network's file; default: the bundled network. device: minicam's; the comparison is on the CPU only.
    repeat: runs to take the median of. threads: for everybody; default: MINICAM_THREADS, else the cores there are.
    rivals: names from `contestant.REGISTRY`; default: all. layers, sizes: measure these as well. tell: is called with
    what is being done. Raises MinicamError for names that do not exist and where minicam itself fails.
    """
    if repeat < 1:
        raise MinicamError(f"repeat is {repeat}; expected 1 or more")
    on_cpu = device_module(device) is np
    names = ["minicam", *(_checked(rivals) if on_cpu else [])]
    network = load(weights, "cpu")
    _check_task(network)
    threads = default_threads() if threads is None else threads
    setting = Setting(_place(weights), device, threads, space_of(network))
    with ExitStack() as stack:
        reference = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "reference.npz"
        found = {name: _start(name, setting, repeat, reference, stack, tell) for name in names}
        product = stack.enter_context(Process(PRODUCT, setting, "product"))
        products = _timed({name: entry for name, entry in found.items() if "process" in entry}, product, repeat, tell)
        peak = MatrixProduct.flop / statistics.median(products)
        by_layer = found["minicam"]["process"].ask("layers", repeat)["layers"] if layers else None
    for entry in found.values():
        entry.pop("process", None)
    report = {**about(setting, repeat), **against_floor(network, setting, found["minicam"], peak)}
    report["contestants"] = found
    report["ratios"] = ratios(found)
    if by_layer is not None:
        report["layers"] = by_layer
    if sizes:
        tell("sizes")
        report["sizes"] = cost_curve(setting, repeat)
    return report


def _start(name: str, setting: Setting, repeat: int, reference: Path, stack: ExitStack, tell: Tell) -> dict[str, Any]:
    """Start a contestant and compare it with minicam: its part of the report, with its process if it may be timed."""
    kind = contestant_class(REGISTRY[name])
    if not kind.available():
        return {"status": "not installed", "note": ", ".join(kind.missing())}
    tell(f"{name}: start")
    first = "job" if "job" in kind.kinds else "forward"
    try:
        with Process(REGISTRY[name], setting, only_load=True):
            pass  # its files are in memory now, as for a user who starts it for the second time
        process = stack.enter_context(Process(REGISTRY[name], setting, first))
        starts = [process.ready]
        if name == "minicam":
            process.ask("reference", str(reference))
            check = {"agrees": True}
        else:
            check = process.ask("check", str(reference))
        while check["agrees"] and len(starts) < min(repeat, STARTS) and starts[0]["started"] < SLOW:
            with Process(REGISTRY[name], setting, first) as another:
                starts.append(another.ready)
    except WorkerError as error:
        if name == "minicam":
            raise
        return {"status": "failed", "note": str(error)}
    agreement = {key: value for key, value in check.items() if key != "agrees"}
    if not check["agrees"]:
        process.close()
        return {"status": "disagrees", **agreement}
    return {"status": "timed", "process": process, **_started(starts), **agreement}


def _started(starts: list[dict[str, Any]]) -> dict[str, Any]:
    """The median start, with the seconds of its stages."""
    median = sorted(starts, key=lambda ready: ready["started"])[(len(starts) - 1) // 2]
    return {
        "version": median["version"],
        "start_to_first": round(median["started"], 3),
        "stages": {name: round(seconds, 3) for name, seconds in median["stages"].items()},
    }


def _timed(found: dict[str, dict[str, Any]], product: Process, repeat: int, tell: Tell) -> list[float]:
    """Add times and peak memory to what was found; returns the runs of the matrix product."""
    runs: dict[str, dict[str, list[float]]] = {name: {} for name in found}
    peaks = dict.fromkeys(found, 0)
    products = []
    for i in range(repeat):
        tell(f"run {i + 1} of {repeat}")
        products.append(_run(product, "product")["seconds"])
        for name in list(found)[:: -1 if i % 2 else 1]:  # there and back, so that nobody always comes after the same
            if i >= SLOW_RUNS and found[name]["stages"]["first_run"] > SLOW:
                continue
            for kind in contestant_class(REGISTRY[name]).kinds:
                answer = _run(found[name]["process"], kind)
                runs[name].setdefault(kind, []).append(answer["seconds"])
                peaks[name] = max(peaks[name], answer["peak"])
    for name, entry in found.items():
        entry["seconds"] = {kind: round(statistics.median(times), 4) for kind, times in runs[name].items()}
        entry["runs"] = {kind: [round(seconds, 4) for seconds in times] for kind, times in runs[name].items()}
        entry["peak_resident_gb"] = round(peaks[name] / 2**30, 2)
    return products


def _run(process: Process, kind: str) -> dict[str, Any]:
    time.sleep(PAUSE)
    return process.ask("time", kind)


def _checked(rivals: Sequence[str] | None) -> list[str]:
    """The names of the rivals, in the order of the table."""
    known = [name for name in REGISTRY if name != "minicam"]
    for name in rivals or ():
        if name not in known:
            raise MinicamError(f"there is no contestant {name!r}{close_names(name, known)}")
    return [name for name in known if rivals is None or name in rivals]


def _check_task(network: Network) -> None:
    """LayerError where the network has not what the example's job asks for."""
    for layer in FEATURE_LAYERS:
        network.graph.check_name(layer)
    for name in CLASSES:
        if name not in network.classes:
            raise LayerError(f"there is no class {name!r}{close_names(name, network.classes)}")


def _place(weights: str | None) -> str:
    """What `load` finds the network by from any folder."""
    return os.path.abspath(weights) if weights is not None and os.path.exists(weights) else BUNDLED
