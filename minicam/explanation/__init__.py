"""Segmenting and explaining: Grad-CAM and SEG-GRAD-CAM on any network of the graph."""

from minicam.explanation.pipeline import explain, gradcam, segment
from minicam.explanation.result import CAM, Explanation
from minicam.explanation.targets import Class, Pixel, Scores, Seed, Target

__all__ = ["CAM", "Class", "Explanation", "Pixel", "Scores", "Seed", "Target", "explain", "gradcam", "segment"]
