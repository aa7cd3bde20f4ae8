"""Whether a contestant computes the same thing: nobody is timed who does not."""

from typing import Any

import numpy as np

from minicam.bench.task import Answer

LABELS_EQUAL = 0.999
"""The least share of pixels with the same label: more would ask that ties be broken the same way."""
DIFFERENCE = 1e-3
"""The largest difference of maps and scores, relative to the peak of each map, and of all scores."""


def compare(reference: Answer, found: Answer) -> dict[str, Any]:
    """Share of equal labels and largest difference of what `found` holds, and whether both are within bounds."""
    equal, differences = [], []
    if found.scores is not None and reference.scores is not None:
        equal.append((found.scores.argmax(axis=1) == reference.scores.argmax(axis=1)).mean())
        differences.append(_relative(reference.scores, found.scores))
    if found.labels is not None and reference.labels is not None:
        equal.append((found.labels == reference.labels).mean())
    if found.maps is not None and reference.maps is not None:
        for ours, theirs in zip(reference.maps, found.maps, strict=True):
            differences += [_relative(a, b) for a, b in zip(ours, theirs, strict=True)]
    if not equal or not differences:
        raise ValueError("there is nothing to compare")
    share, difference = float(min(equal)), float(np.max(differences))
    return {"labels_equal": share, "difference": difference, "agrees": share > LABELS_EQUAL and difference < DIFFERENCE}


def _relative(reference: np.ndarray, found: np.ndarray) -> float:
    """The largest difference relative to the largest value; NaN and another shape count as infinitely different."""
    if reference.shape != found.shape or not np.isfinite(found).all():
        return float("inf")
    return float(abs(found - reference).max() / max(abs(reference).max(), np.finfo(np.float32).tiny))
