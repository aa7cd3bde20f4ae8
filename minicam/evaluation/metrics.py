"""Figures from a confusion matrix: how many pixels of which class were given which label.

A confusion matrix here is (C, C) integers: rows are the truth, columns the prediction. Pixels to leave out are not in
it. A class that does not occur in the truth has no accuracy and no IoU (NaN), and means are over those that do occur.
"""

import numpy as np

from minicam.errors import ImageError
from minicam.evaluation.frames import scored_pixels


def confusion_matrix(truth: np.ndarray, predicted: np.ndarray, classes: int, ignored: int | None = None) -> np.ndarray:
    """Labels of any one shape -> (C, C) int64: how many pixels of class i (row) were labelled j (column).

    Pixels whose truth is `ignored`, or no class, are left out. Raises ImageError for shapes that differ, and for a
    predicted label that is no class.

    >>> confusion_matrix(np.array([0, 0, 1, 2]), np.array([0, 1, 1, 1]), classes=2)
    array([[1, 1],
           [0, 1]])
    """
    if truth.shape != predicted.shape:
        raise ImageError(f"labels of shape {truth.shape} and {predicted.shape} predicted; expected one shape")
    scored = scored_pixels(truth, classes, ignored)
    rows, columns = truth[scored].astype(np.int64), predicted[scored]
    if columns.size and columns.max() >= classes:
        raise ImageError(f"label {columns.max()} was predicted; expected 0 to {classes - 1} for the {classes} classes")
    return np.bincount(rows * classes + columns, minlength=classes**2).reshape(classes, classes)


def global_accuracy(confusion: np.ndarray) -> float:
    """The share of all pixels that are labelled right."""
    return float(_share(confusion.trace(), confusion.sum()))


def class_accuracy(confusion: np.ndarray) -> np.ndarray:
    """(C,): of the pixels of each class, the share that is labelled right (its recall)."""
    return _share(confusion.diagonal(), confusion.sum(axis=1))


def class_iou(confusion: np.ndarray) -> np.ndarray:
    """(C,): intersection over union (Jaccard index) of the pixels of each class and those labelled so."""
    truth = confusion.sum(axis=1)
    union = truth + confusion.sum(axis=0) - confusion.diagonal()
    return _share(confusion.diagonal(), np.where(truth > 0, union, 0))


def weighted_iou(confusion: np.ndarray) -> float:
    """The mean of the classes' IoU, each weighted by its pixels in the truth."""
    return float(_share(np.nansum(confusion.sum(axis=1) * class_iou(confusion)), confusion.sum()))


def mean_of_known(values: np.ndarray, axis: int | None = None) -> np.ndarray:
    """The mean of the values that are not NaN; NaN where there is none."""
    known = ~np.isnan(values)
    return _share(np.where(known, values, 0).sum(axis=axis), known.sum(axis=axis))


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole, NaN where whole is 0."""
    return np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=np.asarray(whole) > 0)
