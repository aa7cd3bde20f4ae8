"""Pictures that contestants are given in turn, and what is right for them, computed on the CPU."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from minicam.bench.task import CLASSES, FEATURE_LAYERS, Answer, street
from minicam.explanation import explain
from minicam.network import Network

PICTURES = 4
"""Different ones; a batch repeats them, beginning with another one in each run."""


@dataclass(frozen=True)
class Inputs:
    """images: PICTURES x (H, W, 3) uint8. answers, raw: of each, scores (C, H, W), labels and maps, and the maps before
    upsampling (layers x (classes, h, w))."""

    images: list[np.ndarray]
    answers: list[Answer]
    raw: list[list[np.ndarray]]

    def batch(self, i: int, samples: int) -> np.ndarray:
        """The i-th batch, (samples, H, W, 3)."""
        return np.stack([self.images[self.place(i, k)] for k in range(samples)])

    def place(self, i: int, k: int) -> int:
        """Which picture is the k-th image of the i-th batch."""
        return (i + k) % len(self.images)

    def expected(self, i: int, k: int) -> Answer:
        """What is right for that image."""
        return self.answers[self.place(i, k)]


def drawn(space: tuple[int, int], random: np.random.Generator) -> np.ndarray:
    """A street unlike any before: turned over or not, brighter or darker, with other noise."""
    image = street(space).astype(np.float64)[:, :: random.choice((-1, 1))]
    image = image * random.uniform(0.8, 1.1) + random.normal(0, 8, image.shape)
    return np.ascontiguousarray(np.clip(image, 0, 255).astype(np.uint8))


def drawn_inputs(network: Network, space: tuple[int, int], seed: int) -> Inputs:
    """network: on the CPU, in float32, whose answers count as right."""
    random = np.random.default_rng(seed)
    images = [drawn(space, random) for _ in range(PICTURES)]
    answers, raw = [], []
    for image in images:
        explained = explained_job(network, image)
        scores = network.forward(image.transpose(2, 0, 1)[None])[network.graph.outputs[0]][0]
        answers.append(answer_of(explained, scores))
        raw.append([cam.raw for cam in explained.cams])
    return Inputs(images, answers, raw)


def explained_job(network: Network, images: np.ndarray) -> Any:
    """The job by minicam's public function: an Explanation, or a list of them for a batch of images."""
    return explain(network, images, CLASSES, FEATURE_LAYERS, network.graph.outputs[0])


def answer_of(explained: Any, scores: np.ndarray | None = None) -> Answer:
    """labels (H, W) and maps (layers, classes, H, W)."""
    return Answer(scores, explained.labels, np.stack([cam.maps for cam in explained.cams]))
