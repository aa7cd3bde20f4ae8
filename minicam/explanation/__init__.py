"""Segmenting and explaining: Grad-CAM and SEG-GRAD-CAM on any network of the graph."""

from minicam.explanation.diagnosis import why_empty
from minicam.explanation.field import AlphaField, alpha_field
from minicam.explanation.linear import linear_head
from minicam.explanation.pipeline import explain, gradcam
from minicam.explanation.result import CAM, Explanation
from minicam.explanation.segmentation import segment
from minicam.explanation.targets import (
    Border,
    Class,
    Component,
    Contrast,
    Errors,
    Function,
    Pixel,
    Predicted,
    Region,
    Seed,
    Target,
)

__all__ = [
    "CAM",
    "AlphaField",
    "Border",
    "Class",
    "Component",
    "Contrast",
    "Errors",
    "Explanation",
    "Function",
    "Pixel",
    "Predicted",
    "Region",
    "Seed",
    "Target",
    "alpha_field",
    "explain",
    "gradcam",
    "linear_head",
    "segment",
    "why_empty",
]
