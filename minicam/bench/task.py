"""What is timed: the example's job, on a picture that needs no file, and what a contestant gives back for it."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from minicam.backend import Array
from minicam.network import Network
from minicam.resizing import resize_weights

FEATURE_LAYERS = ("dec_relu4", "dec_relu1", "catAspp", "res5b_relu")
CLASSES = ("Road", "Car")
SPACE = (720, 960)
"""The size of the picture for a network that takes any; otherwise the picture has the size that the network takes."""


@dataclass(frozen=True)
class Answer:
    """What a contestant computed.

    scores (1, C, H, W): of a forward pass alone. labels (H, W) and maps (layers, classes, H, W), in the order of
    FEATURE_LAYERS and CLASSES: of the job. None where it was not asked for.
    """

    scores: np.ndarray | None = None
    labels: np.ndarray | None = None
    maps: np.ndarray | None = None


def space_of(network: Network) -> tuple[int, int]:
    """Height and width of the picture for this network."""
    height, width = (fixed or default for fixed, default in zip(network.input_shape[1:], SPACE, strict=True))
    return height, width


def street(space: tuple[int, int]) -> np.ndarray:
    """A simple street (H, W, 3) uint8: sky, houses, a road, a car. The bundled network finds all of them, so that no
    contestant is timed on probabilities of 1e-30, which some processors multiply slowly."""
    rows, columns = np.mgrid[: space[0], : space[1]]
    y, x = rows / space[0], columns / space[1]
    image = np.full((*space, 3), (200.0, 215.0, 235.0))
    image[(y > 0.2) & (abs(x - 0.5) > 0.12)] = (150, 120, 100)
    image[y > 0.55] = (160, 150, 150)
    image[(y > 0.55) & (abs(x - 0.5) < 0.05 + 1.1 * (y - 0.5))] = (100, 100, 105)
    car = (y > 0.5) & (y < 0.68) & (abs(x - 0.62) < 0.09)
    image[car] = (150, 30, 30)
    image[car & (y < 0.57)] = (40, 45, 55)
    for wheel in (0.56, 0.68):
        image[(y - 0.68) ** 2 + (4 / 3 * (x - wheel)) ** 2 < 0.03**2] = 20
    noise = np.random.default_rng(0).normal(0, 8, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def batch(image: Array, samples: int = 1) -> np.ndarray:
    """image (H, W, 3) -> (samples, 3, H, W), uint8."""
    return np.repeat(np.moveaxis(image, -1, 0)[None], samples, axis=0)


def resize_matrices(source: tuple[Any, ...], space: tuple[int, ...]) -> list[np.ndarray]:
    """minicam's bicubic resizing as one matrix (size, source size) per axis: upsampled = rows @ map @ columns.T.

    Two matrix products are how a contestant upsamples by hand; the resizing functions of the libraries treat the
    edges differently, and are no faster at this size.
    """
    matrices = []
    for old, new in zip(source, space, strict=True):
        indices, weights = resize_weights(old, new)
        matrix = np.zeros((new, old))
        np.add.at(matrix, (np.arange(new)[:, None], indices), weights)
        matrices.append(matrix.astype(np.float32))
    return matrices


def class_channels(network: Network) -> list[int]:
    """The output channels of CLASSES."""
    return [network.classes.index(name) for name in CLASSES]
