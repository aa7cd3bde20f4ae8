"""From what a user has, an image or a tensor, to what a network takes."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minicam.backend import array_module, to_numpy
from minicam.errors import ImageError
from minicam.images import as_image
from minicam.network import Network
from minicam.resizing import imresize


@dataclass(frozen=True)
class Sample:
    """One input: x (1, C, *space) for the network, and the spatial size of what the user gave. given: that itself,
    where it will be wanted again."""

    x: np.ndarray
    space: tuple[int, ...]
    given: Any = None


def is_batch(net: Network, image: Any) -> bool:
    """Whether `image` is an array with one axis more than a single image, sequence or volume of this network."""
    return getattr(image, "ndim", 0) == len(net.input_shape) + 1


def samples(net: Network, image: Any) -> Iterator[Sample]:
    """The samples of one input or of a batch.

    For networks on images: a path, a Pillow image, or an array (H, W), (H, W, channels) or a batch (N, H, W, channels);
    each is resized to the network's input (bicubic; uint8 stays uint8, rounded) where that is of fixed size.
    For sequences and volumes: an array (C, *space) or a batch (N, C, *space), taken as it is.
    Raises ImageError, or LayerError for arrays that do not fit the network.
    """
    if array_module(image) is not np:
        image = to_numpy(image)
    if is_batch(net, image):
        if len(image) == 0:
            raise ImageError(f"the batch of shape {image.shape} is empty")
        for one in image:
            yield from samples(net, one)
    elif len(net.input_shape) == 3:
        yield _image_sample(net, image)
    else:
        yield _tensor_sample(net, image)


def single_sample(net: Network, image: Any) -> Sample:
    """The sample of one input. Raises ImageError for a batch; else as `samples`."""
    if is_batch(net, image):
        raise ImageError(f"an array of shape {image.shape} is a batch; expected one input at a time")
    (sample,) = samples(net, image)
    return sample


def together(group: Sequence[Sample]) -> np.ndarray:
    """The x of samples of one size, (N, C, *space)."""
    return group[0].x if len(group) == 1 else np.concatenate([sample.x for sample in group])


def _image_sample(net: Network, image: Any) -> Sample:
    channels, *wanted = net.input_shape
    pixels = as_image(image, channels=channels or 3)
    space = pixels.shape[:2]
    size = tuple(w or s for w, s in zip(wanted, space, strict=True))
    if size != space:
        pixels = imresize(pixels, size)
    return Sample(np.moveaxis(pixels, -1, 0)[None], space)


def _tensor_sample(net: Network, array: Any) -> Sample:
    if isinstance(array, str | os.PathLike):
        raise ImageError(f"{array}: this network takes arrays of shape {net.input_shape}, not image files")
    array = np.asarray(array)
    return Sample(array[None], array.shape[1:])
