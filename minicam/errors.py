"""The exceptions of minicam. Each message names what was found, what was expected and what to do."""


class MinicamError(Exception):
    """Base class of every error that minicam raises on purpose."""


class ModelFileError(MinicamError):
    """A weight file is damaged, hostile or not one of ours."""


class ImageError(MinicamError):
    """An image cannot be read, or an array is not an image."""


class LayerError(MinicamError):
    """A layer, its options, its inputs or its parameters do not fit."""


class TargetError(MinicamError):
    """A target (class, pixel, region ...) does not exist or is empty."""


class DeviceError(MinicamError):
    """The device asked for is not there."""
