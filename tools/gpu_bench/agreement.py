"""How far a result is from what is right."""

from collections.abc import Sequence

import numpy as np

from minicam.bench.task import Answer


def distance(found: np.ndarray, expected: np.ndarray) -> float:
    """|found - expected| / |expected|, both as one vector; infinite for another shape, NaN and infinite values."""
    if found.shape != expected.shape or not np.isfinite(found).all():
        return float("inf")
    found, expected = found.astype(np.float64), expected.astype(np.float64)
    size = float(np.linalg.norm(expected))
    return float(np.linalg.norm(found - expected)) / size if size else float(np.any(found) and np.inf)


def compared(found: Sequence[Answer], expected: Sequence[Answer]) -> tuple[float, float]:
    """The largest distance of a layer's maps, all classes together, and the smallest share of equal labels, over all
    images. (A single class's map may be next to nothing, and its error anything.)"""
    if len(found) != len(expected):
        return float("inf"), 0.0
    distances, equal = [], []
    for one, right in zip(found, expected, strict=True):
        assert one.maps is not None
        assert right.maps is not None
        distances += [distance(a, b) for a, b in zip(one.maps, right.maps, strict=True)]
        equal.append(float((one.labels == right.labels).mean()))
    return max(distances), min(equal)
