"""Architectures, as functions that return a graph."""

from minicam.zoo.deeplab import CAMVID_CLASSES, CAMVID_COLORS, deeplabv3plus_resnet18
from minicam.zoo.initial import bilinear_kernel, initial_parameters

__all__ = ["CAMVID_CLASSES", "CAMVID_COLORS", "bilinear_kernel", "deeplabv3plus_resnet18", "initial_parameters"]
