"""Grad-CAM and SEG-GRAD-CAM by explicit backward passes, in NumPy."""

from minicam.errors import DeviceError, ImageError, LayerError, MinicamError, ModelFileError, TargetError
from minicam.graph import Graph, Node
from minicam.network import Network

__version__ = "0.1.0"

__all__ = [
    "DeviceError",
    "Graph",
    "ImageError",
    "LayerError",
    "MinicamError",
    "ModelFileError",
    "Network",
    "Node",
    "TargetError",
]
