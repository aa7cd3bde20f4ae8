"""Architectures, as functions that return a graph."""

from minicam.zoo.deeplab import CAMVID_CLASSES, CAMVID_COLORS, deeplabv3plus_resnet18
from minicam.zoo.googlenet import googlenet
from minicam.zoo.initial import bilinear_kernel, initial_parameters
from minicam.zoo.resnet import resnet18
from minicam.zoo.small import digits_regression, volume_classifier, vowels_classifier
from minicam.zoo.squeezenet import squeezenet1_1
from minicam.zoo.unet import unet

__all__ = [
    "CAMVID_CLASSES",
    "CAMVID_COLORS",
    "bilinear_kernel",
    "deeplabv3plus_resnet18",
    "digits_regression",
    "googlenet",
    "initial_parameters",
    "resnet18",
    "squeezenet1_1",
    "unet",
    "volume_classifier",
    "vowels_classifier",
]
