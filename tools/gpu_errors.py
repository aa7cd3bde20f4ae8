"""Errors of the GPU's kernels on the emulator, as in docs/gpu.md: no GPU is needed, and no speed is measured.

    python tools/gpu_errors.py [--rows 32] [--columns 48]

For each precision: a convolution of random numbers against float64, and the bundled network on a part of the bundled
street against the plain definitions in float64 (values) and float32 (maps). Largest deviations, relative to the largest
expected value. Minutes.
"""

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parent.parent
sys.path += [str(ROOT), str(ROOT / "tests")]  # last, so that an installed minicam comes first

from cupy_standin import standin  # noqa: E402

import minicam as mc  # noqa: E402
from minicam.backend import to_numpy  # noqa: E402
from minicam.cuda.engine import CudaGraph  # noqa: E402
from minicam.images import read_image  # noqa: E402
from minicam.ops import Conv  # noqa: E402
from minicam.zoo import deeplabv3plus_resnet18  # noqa: E402
from minicam.zoo.builder import Builder  # noqa: E402

WEIGHTS = ROOT / "weights" / "deeplabv3plus_resnet18_camvid.h5"
LAYERS, CLASSES, CORNER = ["dec_relu4", "dec_relu1", "catAspp", "res5b_relu"], ["Road", "Car"], (400, 300)
DEVICES = (("fast", 8, 6), ("fast", 9, 0), ("tf32", 9, 0), ("fp16", 9, 0))
"""Precision and compute capability: "fast" takes float32 products on 8.6, three TF32 products for one on 9.0."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=32)
    parser.add_argument("--columns", type=int, default=48)
    options = parser.parse_args()
    image = read_image(ROOT / "examples" / "street.png")
    (top, left), rows, columns = CORNER, options.rows, options.columns
    image = np.ascontiguousarray(image[top : top + rows, left : left + columns])
    stored = mc.load(WEIGHTS, device="cpu")
    graph = deeplabv3plus_resnet18(input_shape=(3, rows, columns))  # else it would see the image at 720 x 960
    network = partial(mc.Network, graph, stored.parameters(), stored.classes, stored.colors)
    plain = network(precision="exact")
    values, maps = values_of(plain, image, np.float64), maps_of(plain, image)
    print("| precision, capability | convolution | values | softmax | maps | labels that differ |")
    print("|---|---|---|---|---|---|")
    for precision, major, minor in DEVICES:
        with standin.install(major=major, minor=minor) as module:
            net = network(device="gpu", precision=precision)
            found, (found_maps, labels) = values_of(net, image, np.float32), maps_of(net, image)
            errors = (
                convolution_error(module, precision),
                max(error(found[layer], values[layer]) for layer in LAYERS),
                error(found["softmax-out"], values["softmax-out"]),
                max(map(error, found_maps, maps[0])),
            )
            cells = " | ".join(f"{number:.1e}" for number in errors)
            print(f"| {precision}, {major}.{minor} | {cells} | {np.mean(labels != maps[1]):.2%} |", flush=True)


def values_of(net: mc.Network, image: np.ndarray, dtype: type) -> dict[str, np.ndarray]:
    values = net.forward(image.transpose(2, 0, 1)[None].astype(dtype), ["softmax-out", *LAYERS])
    return {name: to_numpy(array) for name, array in values.items()}


def maps_of(net: mc.Network, image: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
    explained = mc.explain(net, image, CLASSES, LAYERS)
    return [one for cam in explained.cams for one in cam.maps], explained.labels


def convolution_error(module: Any, precision: str) -> float:
    """3 x 3, 128 channels to 64."""
    random = np.random.default_rng(0)
    builder = Builder("x", (128, 12, 16))
    builder.add("y", Conv(64, (3, 3), padding=1))
    graph = builder.graph()
    x, weight = random.standard_normal((1, 128, 12, 16)), random.standard_normal((64, 128, 3, 3))
    x, weight = x.astype(np.float32), weight.astype(np.float32)
    parameters = {"y": {"weight": weight, "bias": np.zeros(64, np.float32)}}
    found = CudaGraph(graph, parameters, module, precision).forward({"x": module.asarray(x)}, ["y"])["y"]
    exact = {"y": {name: array.astype(np.float64) for name, array in parameters["y"].items()}}
    return error(to_numpy(found), graph.forward(exact, {"x": x.astype(np.float64)}, ["y"])["y"])


def error(found: np.ndarray, expected: np.ndarray) -> float:
    deviation = np.abs(found - expected).max()
    return float(deviation / np.abs(expected).max()) if deviation else 0.0


if __name__ == "__main__":
    main()
