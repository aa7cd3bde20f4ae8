"""Grad-CAM and SEG-GRAD-CAM by explicit backward passes, in NumPy."""

from minicam.errors import DeviceError, ImageError, LayerError, MinicamError, ModelFileError, TargetError
from minicam.explanation import CAM, Class, Explanation, Pixel, explain, gradcam, segment
from minicam.graph import Graph, Node
from minicam.images import read_image
from minicam.network import Network
from minicam.resizing import imresize
from minicam.store import load, save, verify

__version__ = "0.1.0"

__all__ = [
    "CAM",
    "Class",
    "DeviceError",
    "Explanation",
    "Graph",
    "ImageError",
    "LayerError",
    "MinicamError",
    "ModelFileError",
    "Network",
    "Node",
    "Pixel",
    "TargetError",
    "explain",
    "gradcam",
    "imresize",
    "load",
    "read_image",
    "save",
    "segment",
    "verify",
]
