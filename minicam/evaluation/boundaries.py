"""Boundary F1 (BF score): how well the outlines of the classes agree, whatever their areas.

Source: G. Csurka, D. Larlus, F. Perronnin, "What is a good evaluation measure for semantic segmentation?", BMVC 2013.
What the paper leaves open is settled here:

- A pixel is on the outline of its class if an edge neighbour is labelled otherwise; beyond the image nothing is.
- Outlines against pixels to leave out may be hit but need not be, since what is there is not known; and what the
  network outlines on such pixels is not held against it. In CamVid thin lines of them lie between the things.
- Distances are Euclidean, between pixel centres, and may be as large as the tolerance.
- A class without an outline in the truth has no score (NaN); one that the network misses there has 0.
"""

import numpy as np

from minicam.errors import ImageError
from minicam.evaluation.frames import scored_pixels
from minicam.images import optional_module

TOLERANCE = 0.0075  # of the image's diagonal, as in the paper


def boundary_f1(
    truth: np.ndarray,
    predicted: np.ndarray,
    classes: int,
    ignored: int | None = None,
    tolerance: float = TOLERANCE,
) -> np.ndarray:
    """(C,) float64: the BF score of each class in one image, 0 to 1, or NaN where the truth has no outline of it.

    truth, predicted: (H, W) labels. tolerance: the largest distance of points that match, as a share of the diagonal.
    With the precision p, the share of the predicted outline near the true one, and the recall r, the share of the
    true outline near the predicted one: 2 p r / (p + r). Raises ImageError for shapes that differ.
    """
    if truth.shape != predicted.shape:
        raise ImageError(f"labels of shape {truth.shape} and {predicted.shape} predicted; expected one shape")
    scored = scored_pixels(truth, classes, ignored)
    distance = tolerance * np.hypot(*truth.shape)
    wanted = _outlines(truth, outline(truth, scored))
    allowed = _outlines(truth, outline(truth) & scored)
    found = outline(predicted)
    judged, drawn = _outlines(predicted, found & scored), _outlines(predicted, found)
    scores = np.full(classes, np.nan)
    for c, points in wanted.items():
        precision = _share_near(judged.get(c), allowed[c], distance)
        recall = _share_near(points, drawn.get(c), distance)
        scores[c] = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    return scores


def outline(labels: np.ndarray, known: np.ndarray | None = None) -> np.ndarray:
    """(H, W) bool: pixels with an edge neighbour of another label; with `known`, (H, W) bool, only known pairs count.

    >>> outline(np.array([[0, 0, 1, 1, 1]]))
    array([[False,  True,  True, False, False]])
    """
    found = np.zeros(labels.shape, bool)
    for before, after in ((np.s_[:-1], np.s_[1:]), (np.s_[:, :-1], np.s_[:, 1:])):
        differ = labels[before] != labels[after]
        if known is not None:
            differ &= known[before] & known[after]
        found[before] |= differ
        found[after] |= differ
    return found


def _outlines(labels: np.ndarray, on_outline: np.ndarray) -> dict[int, np.ndarray]:
    """The points (n, 2) on the outline of each class that has any."""
    points, labels = np.argwhere(on_outline), labels[on_outline]
    return {int(c): points[labels == c] for c in np.unique(labels)}


def _share_near(points: np.ndarray | None, others: np.ndarray | None, distance: float) -> float:
    """The share of the points that have one of the others within the distance; 0 if there are none of either."""
    if points is None or others is None:
        return 0.0
    nearest, _ = optional_module("scipy.spatial").cKDTree(others).query(points)
    return float(np.mean(nearest <= distance))
