"""Grad-CAM and SEG-GRAD-CAM by explicit backward passes, in NumPy."""

from minicam.conversion import convert
from minicam.errors import (
    ConversionError,
    DeviceError,
    DeviceMemoryError,
    ImageError,
    LayerError,
    MinicamError,
    ModelFileError,
    TargetError,
)
from minicam.explanation import (
    CAM,
    AlphaField,
    Border,
    Class,
    Component,
    Contrast,
    Errors,
    Explanation,
    Pixel,
    Predicted,
    Region,
    alpha_field,
    explain,
    gradcam,
    linear_head,
    segment,
    why_empty,
)
from minicam.graph import Graph, Node
from minicam.images import read_image
from minicam.network import Network
from minicam.resizing import imresize
from minicam.store import load, save, verify
from minicam.streaming import explain_all, segment_all

__version__ = "0.1.0"

__all__ = [
    "CAM",
    "AlphaField",
    "Border",
    "Class",
    "Component",
    "Contrast",
    "ConversionError",
    "DeviceError",
    "DeviceMemoryError",
    "Errors",
    "Explanation",
    "Graph",
    "ImageError",
    "LayerError",
    "MinicamError",
    "ModelFileError",
    "Network",
    "Node",
    "Pixel",
    "Predicted",
    "Region",
    "TargetError",
    "alpha_field",
    "convert",
    "explain",
    "explain_all",
    "gradcam",
    "imresize",
    "linear_head",
    "load",
    "read_image",
    "save",
    "segment",
    "segment_all",
    "verify",
    "why_empty",
]
