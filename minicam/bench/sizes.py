"""How the cost of minicam's forward pass grows with the image and with the number of samples."""

import statistics
from typing import Any

from minicam.bench.contestant import REGISTRY
from minicam.bench.processes import Process, Setting, WorkerError

CURVE = (((176, 240), 1), ((352, 480), 1), ((352, 480), 2), ((352, 480), 4), ((720, 960), 1), ((1440, 1920), 1))
"""Sizes, with the number of samples: pixels grow by 4 with each size (in multiples of 16, as the bundled network wants
it), samples at one of them."""


def cost_curve(setting: Setting, repeat: int) -> list[dict[str, Any]]:
    """Seconds (median after one run) and peak memory of each point, each in a fresh process; or a note why not."""
    return [{"space": list(space), "samples": n, **_point(setting, repeat, space, n)} for space, n in CURVE]


def _point(setting: Setting, repeat: int, space: tuple[int, int], samples: int) -> dict[str, Any]:
    try:
        with Process(REGISTRY["minicam"], setting._replace(space=space), "forward", samples) as process:
            runs = [process.ask("time", "forward") for _ in range(repeat)]
    except WorkerError as error:
        return {"note": str(error)}
    seconds = statistics.median(run["seconds"] for run in runs)
    pixels = samples * space[0] * space[1]
    return {
        "seconds": round(seconds, 4),
        "seconds_per_megapixel": round(seconds / pixels * 1e6, 4),
        "peak_resident_gb": round(max(run["peak"] for run in runs) / 2**30, 2),
    }
