"""What the measurements come to: ratios, and times in units of the floor."""

import os
import platform
import statistics
from typing import Any

import numpy as np

from minicam.bench.processes import Setting
from minicam.bench.work import multiplications
from minicam.network import Network

BY_HAND = ("PyTorch", "PyTorch, channels-last")
BEST_BY_HAND = "PyTorch by hand at its best"


def about(setting: Setting, repeat: int) -> dict[str, Any]:
    """What a reader needs to know to compare the numbers with others."""
    return {
        "machine": f"{platform.machine()}, Python {platform.python_version()}, NumPy {np.__version__}",
        "other_load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
        "threads": setting.threads,
        "space": list(setting.space),
        "repeat": repeat,
    }


def against_floor(network: Network, setting: Setting, own: dict[str, Any], peak: float) -> dict[str, Any]:
    """The time that the forward pass's multiplications take at the speed of a matrix product, and minicam's in it."""
    flop = 2 * multiplications(network.graph, setting.space)
    floor = flop / peak
    return {
        "matrix_product_gflops": round(peak / 1e9, 1),
        "forward_gflop": round(flop / 1e9, 3),
        "floor_seconds": round(floor, 6),
        "over_floor": {kind: round(seconds / floor, 2) for kind, seconds in own["seconds"].items()},
    }


def ratios(found: dict[str, dict[str, Any]]) -> dict[str, dict[str, float]]:
    """How many times longer than minicam, or times more memory, each needs.

    Of the runs, the median of the ratios of each round, in which both ran one soon after the other: what else the
    machine does then falls on both. By hand: the better of two memory layouts.
    """
    own = found["minicam"]
    timed = {name: entry for name, entry in found.items() if entry["status"] == "timed" and name != "minicam"}
    against: dict[str, dict[str, float]] = {}
    for kind, runs in own["runs"].items():
        against[kind] = {name: _ratio(e["runs"][kind], runs) for name, e in timed.items() if kind in e["runs"]}
    for key in ("start_to_first", "peak_resident_gb"):
        against[key] = {name: round(e[key] / own[key], 2) for name, e in timed.items() if "job" in e["runs"]}
    for of_kind in against.values():
        by_hand = [of_kind[name] for name in BY_HAND if name in of_kind]
        if by_hand:
            of_kind[BEST_BY_HAND] = min(by_hand)
    return against


def _ratio(theirs: list[float], own: list[float]) -> float:
    return round(statistics.median(a / b for a, b in zip(theirs, own, strict=False)), 2)
