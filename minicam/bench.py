"""How long the example's job takes here: one 720 x 960 image, its labels, and Grad-CAM of two classes at four layers.

Times are medians in seconds; the floor is the time of the forward pass's multiplications at the speed that NumPy's
matrix product reaches in the same run, which is what makes numbers from different machines comparable.
"""

import math
import platform
import resource
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from minicam.explanation import explain
from minicam.graph import Graph
from minicam.network import Network
from minicam.ops import Conv, ConvTranspose, Dense
from minicam.store import load

FEATURE_LAYERS = ["dec_relu4", "dec_relu1", "catAspp", "res5b_relu"]
CLASSES = ["Road", "Car"]


def run(weights: str | None, device: str, repeat: int) -> dict[str, Any]:
    """Measure; the median of `repeat` alternating runs each."""
    net = load(weights, device)
    image = np.random.default_rng(0).integers(0, 256, (720, 960, 3)).astype(np.uint8)
    x = np.moveaxis(image, -1, 0)[None]
    times: dict[str, list[float]] = {"matrix product": [], "forward": [], "job": []}
    square = np.random.default_rng(0).standard_normal((2048, 2048)).astype(np.float32)
    for _ in range(repeat):
        times["matrix product"].append(_seconds(lambda: square @ square))
        times["forward"].append(_seconds(lambda: net.forward(x)))
        times["job"].append(_seconds(lambda: _job(net, image)))
    median = {name: statistics.median(seconds) for name, seconds in times.items()}
    peak = 2 * len(square) ** 3 / median["matrix product"]
    floor = 2 * multiplications(net.graph) / peak
    return {
        "machine": f"{platform.machine()}, Python {platform.python_version()}, NumPy {np.__version__}",
        "seconds": {name: round(seconds, 4) for name, seconds in median.items() if name != "matrix product"},
        "matrix_product_gflops": round(peak / 1e9, 1),
        "floor_seconds": round(floor, 4),
        "job_over_floor": round(median["job"] / floor, 2),
        "peak_resident_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
    }


def table(report: dict[str, Any]) -> str:
    """The report for people."""
    return "\n".join(
        (
            report["machine"],
            f"forward                  {report['seconds']['forward']:8.2f} s",
            f"job (eight maps, labels) {report['seconds']['job']:8.2f} s",
            f"matrix product           {report['matrix_product_gflops']:8.0f} GFLOP/s",
            f"floor of the forward     {report['floor_seconds']:8.2f} s",
            f"job / floor              {report['job_over_floor']:8.2f}",
            f"peak resident memory     {report['peak_resident_gb']:8.2f} GB",
        )
    )


def multiplications(graph: Graph) -> int:
    """Multiplications in the convolutions and dense layers of one forward pass, for one sample at the graph's size."""
    shapes = graph.shapes(graph.inputs)
    total = 0
    for node in graph.nodes:
        if isinstance(node.op, Conv | ConvTranspose | Dense):
            weight = math.prod(graph.parameter_shapes[node.name]["weight"])
            positions = shapes[node.inputs[0] if isinstance(node.op, ConvTranspose) else node.name][1:]
            total += weight * math.prod(size or 1 for size in positions)
    return total


def _job(net: Network, image: np.ndarray) -> None:
    explain(net, image, CLASSES, FEATURE_LAYERS, "softmax-out")


def _seconds(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
