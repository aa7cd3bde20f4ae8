"""What an evaluation gives, as arrays, as text and for JSON."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from minicam.evaluation import metrics


@dataclass(frozen=True)
class Evaluation:
    """What a network's labels are worth on some frames. NaN stands for what is not defined.

    classes: (C) names. frames: (F) names. confusion: (C, C) pixels of all frames, rows truth, columns prediction.
    left_out: pixels that are in no row. boundary: (F, C) boundary F1 of each class in each frame. at: at whose size the
    labels were compared, "network" or "frame". devices: (F) what computed them: "cpu" or "gpu (...)".
    """

    classes: tuple[str, ...]
    frames: tuple[str, ...]
    confusion: np.ndarray
    left_out: int
    boundary: np.ndarray
    at: str
    devices: tuple[str, ...]

    @property
    def pixels(self) -> np.ndarray:
        """(C,): how many pixels the truth has of each class."""
        return self.confusion.sum(axis=1)

    @property
    def class_accuracy(self) -> np.ndarray:
        """(C,): see `metrics.class_accuracy`."""
        return metrics.class_accuracy(self.confusion)

    @property
    def class_iou(self) -> np.ndarray:
        """(C,): see `metrics.class_iou`."""
        return metrics.class_iou(self.confusion)

    @property
    def class_boundary_f1(self) -> np.ndarray:
        """(C,): the mean over the frames whose truth has an outline of the class."""
        return metrics.mean_of_known(self.boundary, axis=0)

    @property
    def frame_boundary_f1(self) -> np.ndarray:
        """(F,): the mean over the classes of which the truth has an outline in the frame."""
        return metrics.mean_of_known(self.boundary, axis=1)

    @property
    def totals(self) -> dict[str, float]:
        """The figures that sum it up. Class means are over the classes that occur, the last one is over the frames."""
        return {
            "global accuracy": metrics.global_accuracy(self.confusion),
            "class mean accuracy": float(metrics.mean_of_known(self.class_accuracy)),
            "mean IoU": float(metrics.mean_of_known(self.class_iou)),
            "weighted IoU": metrics.weighted_iou(self.confusion),
            "mean boundary F1": float(metrics.mean_of_known(self.frame_boundary_f1)),
        }

    def table(self) -> str:
        """One line per class, then the totals."""
        width = max(map(len, ("class", *self.classes)))
        columns = (self.class_iou, self.class_accuracy, self.class_boundary_f1)
        lines = [f"{'class':{width}}  {'pixels':>14}    IoU  accuracy  boundary F1"]
        for name, pixels, iou, accuracy, boundary in zip(self.classes, self.pixels, *columns, strict=True):
            figures = f"{_figure(iou):>5}  {_figure(accuracy):>8}  {_figure(boundary):>11}"
            lines.append(f"{name:{width}}  {pixels:>14,}  {figures}")
        totals = ", ".join(f"{name} {_figure(value)}" for name, value in self.totals.items())
        size = {"network": "the network's input size", "frame": "the frames' own size"}[self.at]
        counts = f"{len(self.frames)} frames at {size}; {self.left_out:,} pixels left out"
        return "\n".join((*lines, "", totals, counts))

    def report(self) -> dict[str, Any]:
        """All of it as what JSON can hold; null for what is not defined."""
        columns = (self.class_iou, self.class_accuracy, self.class_boundary_f1)
        return {
            "totals": dict(zip(self.totals, _values(self.totals.values()), strict=True)),
            "classes": [
                {"class": name, "pixels": int(pixels), "iou": iou, "accuracy": accuracy, "boundary_f1": boundary}
                for name, pixels, iou, accuracy, boundary in zip(
                    self.classes, self.pixels, *map(_values, columns), strict=True
                )
            ],
            "frames": [
                {"frame": name, "boundary_f1": boundary, "device": device}
                for name, boundary, device in zip(
                    self.frames, _values(self.frame_boundary_f1), self.devices, strict=True
                )
            ],
            "confusion": self.confusion.tolist(),
            "left_out": self.left_out,
            "at": self.at,
        }


def _figure(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"


def _values(values: Iterable[float]) -> list[float | None]:
    return [None if math.isnan(value) else float(value) for value in values]
