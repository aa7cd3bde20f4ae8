"""How well a network labels the frames of a folder: labelled frames, and what comparing with their labels gives."""

from minicam.evaluation.boundaries import boundary_f1
from minicam.evaluation.comparison import class_count, evaluate
from minicam.evaluation.frames import Frame, labelled_frames, read_labels
from minicam.evaluation.metrics import class_accuracy, class_iou, confusion_matrix, global_accuracy, weighted_iou
from minicam.evaluation.result import Evaluation

__all__ = [
    "Evaluation",
    "Frame",
    "boundary_f1",
    "class_accuracy",
    "class_count",
    "class_iou",
    "confusion_matrix",
    "evaluate",
    "global_accuracy",
    "labelled_frames",
    "read_labels",
    "weighted_iou",
]
