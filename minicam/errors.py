"""The exceptions of minicam. Each message names what was found, what was expected and what to do."""

import difflib
from collections.abc import Iterable


class MinicamError(Exception):
    """Base class of every error that minicam raises on purpose."""


class ModelFileError(MinicamError):
    """A weight file is damaged, hostile or not one of ours."""


class ConversionError(ModelFileError):
    """A file of another framework cannot be converted."""


class ImageError(MinicamError):
    """An image cannot be read, or an array is not an image."""


class LayerError(MinicamError):
    """A layer, its options, its inputs or its parameters do not fit."""


class TargetError(MinicamError):
    """A target (class, pixel, region ...) does not exist or is empty."""


class DeviceError(MinicamError):
    """The device asked for is not there."""


class DeviceMemoryError(DeviceError):
    """The memory of the device does not hold what a pass needs; what the pass had taken of it is free again."""


def close_names(name: str, names: Iterable[str]) -> str:
    """The end of an error message about an unknown name: what it may have been meant to be, or what there is."""
    names = list(names)
    close = difflib.get_close_matches(name, names, n=3)
    if close:
        return f"; did you mean {' or '.join(map(repr, close))}?"
    shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
    return f"; there are {shown}" if names else ""
