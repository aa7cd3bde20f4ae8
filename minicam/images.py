"""Images in: reading files and checking arrays.

An image is (H, W, 3) RGB, uint8 or floating point in pixel scale 0..255. Pillow is needed for files only.
"""

import importlib
import logging
import os
import sys
import threading
import warnings
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from minicam.errors import ImageError, MinicamError

log = logging.getLogger("minicam")

MAX_PIXELS = 100_000_000
_opening = threading.Lock()  # filters of warnings are those of all threads
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".ppm", ".tif", ".tiff", ".webp")

NO_IMAGES = {  # how files that are often taken for images begin
    b"\x89HDF\r\n\x1a\n": "an HDF5 file",
    b"\x93NUMPY": "a NumPy .npy file: load it with numpy.load and pass the array",
    b"PK\x03\x04": "a ZIP archive",
    b"%PDF": "a PDF document",
    b"\x1f\x8b": "gzip data",
    b"<": "markup text (HTML, XML or SVG)",
}


def optional_module(name: str) -> ModuleType:
    """The module `name` of the optional extra "images"; MinicamError with the install command where it is missing."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = {"PIL": "Pillow"}.get(name.split(".")[0], name.split(".")[0])
        raise MinicamError(f'{package} is needed here and missing: pip install "minicam[images]"') from error


def read_image(path: str | os.PathLike[str], max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """The image in a file, (H, W, 3) uint8 RGB, in any format that Pillow reads.

    The EXIF orientation is applied. Transparency is composited on white. Palettes, CMYK, YCbCr, LAB and 1-bit
    pictures become RGB; 16-bit grey values v become round(v / 257) (of 16-bit RGB, Pillow hands over the high byte).
    Of an animation, the first frame is taken.

    Raises ImageError, naming the file, if it is missing, empty, damaged or no image, if it holds floating point or
    32-bit values, or if its header declares more than `max_pixels` pixels; that is checked before anything is decoded.
    """
    path = Path(path)
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "is not a regular file" if path.exists() else "does not exist"
        raise ImageError(f"{path}: {what}; expected the path of an image file")
    image_module = optional_module("PIL.Image")
    try:
        with path.open("rb") as file:
            start = file.read(256)
        if not start or start.startswith(tuple(NO_IMAGES)):  # Pillow opens HDF5 as a picture of no size
            raise image_module.UnidentifiedImageError
        with _opening, warnings.catch_warnings():
            warnings.simplefilter("ignore", image_module.DecompressionBombWarning)  # max_pixels is the limit
            opened = image_module.open(path)
        with opened as picture:
            return _rgb_pixels(picture, str(path), max_pixels)
    except MinicamError:
        raise
    except image_module.DecompressionBombError as error:
        raise ImageError(
            f"{path}: too large, not decoded (max_pixels is {max_pixels}). Pillow says: {error} "
            "If the file is trusted, raise max_pixels and PIL.Image.MAX_IMAGE_PIXELS"
        ) from error
    except image_module.UnidentifiedImageError as error:
        raise ImageError(
            f"{path}: not an image that Pillow can read; it is {_content(start)}; expected a PNG, JPEG, TIFF ... file"
        ) from error
    except Exception as error:  # the decoders raise nearly every class there is on damaged data
        raise ImageError(
            f"{path}: cannot be read ({type(error).__name__}: {error}); it has {path.stat().st_size} bytes and is "
            "probably truncated or damaged: make or fetch it again"
        ) from error


def images_in(folder: str | os.PathLike[str], suffixes: Sequence[str] = SUFFIXES) -> list[Path]:
    """The images in a folder, by their suffix, in the order of their names; hidden files are passed over.

    Raises MinicamError, naming the folder, if it is none, cannot be read, or holds no image.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise MinicamError(f"{folder}: is not a folder; expected one with images")
    try:
        names = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise MinicamError(f"{folder}: cannot be read: {error.strerror or error}") from error
    found = [path for path in names if path.suffix.lower() in suffixes]
    if not found:
        raise MinicamError(
            f"{folder}: there are no images in it ({len(names)} other files or folders); "
            f"expected files that end in {', '.join(suffixes)}"
        )
    return found


def _content(start: bytes) -> str:
    """What a file that is no image looks like, in words, from its first bytes."""
    if not start:
        return "empty (0 bytes)"
    for signature, words in NO_IMAGES.items():
        if start.startswith(signature):
            return words
    if all(byte >= 32 or byte in b"\t\n\r" for byte in start):
        return f"text that starts with {start[:24].decode('utf-8', 'replace')!r}"
    return f"binary data that starts with the bytes {start[:8].hex(' ')}"


def _rgb_pixels(picture: Any, name: str, max_pixels: int) -> np.ndarray:
    """A Pillow image as (H, W, 3) uint8; nothing is decoded if it has more than max_pixels pixels."""
    width, height = picture.size
    if width * height == 0:
        raise ImageError(f"{name}: {height} x {width} pixels; expected at least 1 x 1")
    if width * height > max_pixels:
        raise ImageError(
            f"{name}: {height} x {width} pixels is more than the limit max_pixels = {max_pixels}; not decoded. "
            "Shrink it, or raise max_pixels if the file is trusted"
        )
    transparency = picture.info.get("transparency")
    picture = optional_module("PIL.ImageOps").exif_transpose(picture)
    if picture.mode == "F":
        raise ImageError(f"{name}: floating-point pixels, whose white is not known; expected 8 or 16 bits per channel")
    if picture.mode.startswith("I"):
        grey = np.asarray(picture)
        image = _eight_bits(grey, name)[..., None]
        if transparency is not None:  # Pillow drops the transparent value of 16-bit grey on conversion
            image = np.where((grey == transparency)[..., None], np.uint8(255), image)
        return np.repeat(image, 3, axis=2)
    if picture.has_transparency_data:
        return _on_white(np.asarray(picture.convert("RGBA")))
    return np.array(picture.convert("RGB"))


def _eight_bits(values: np.ndarray, name: str) -> np.ndarray:
    """16-bit values (perhaps in wider integers) -> uint8: round(v / 257), which takes 65535 to 255."""
    if values.min() < 0 or values.max() > 65535:
        raise ImageError(
            f"{name}: integer pixels from {values.min()} to {values.max()}, whose white is not known; "
            "expected 8 or 16 bits per channel"
        )
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _on_white(image: np.ndarray) -> np.ndarray:
    """(H, W, 4) with alpha 0..255 in the last channel -> (H, W, 3) over a white background, in the same dtype."""
    colors, alpha = image[..., :3].astype(np.float64), image[..., 3:].astype(np.float64)
    blended = 255 + (colors - 255) * (alpha / 255)
    return (np.rint(blended) if image.dtype == np.uint8 else blended).astype(image.dtype)


def as_image(image: Any, channels: int = 3, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """An image as an (H, W, channels) array, uint8 or floating point in pixel scale 0..255.

    image: a path (see `read_image`), a Pillow image (the same conversions), or a NumPy array of shape (H, W),
    (H, W, 1), (H, W, 3), (H, W, 4) or (H, W, channels):
    - uint8 of the right shape is returned as it is; uint16 values v become round(v / 257) in uint8;
    - float32 and float64 stay floating point; if all values lie in 0..1, a warning is logged;
    - grey is repeated for 3 channels; a fourth channel is alpha 0..255 and is composited on white;
    - for 1 channel, RGB is accepted if its three channels are equal.

    Raises ImageError for any other shape or dtype, for a size of zero, and for NaN or infinity (with the first place).
    """
    pillow = sys.modules.get("PIL.Image")  # whoever holds a Pillow image has imported Pillow
    if isinstance(image, (str, os.PathLike)):
        array = read_image(image, max_pixels)
    elif pillow is not None and isinstance(image, pillow.Image):
        array = _rgb_pixels(image, "Pillow image", max_pixels)
    elif isinstance(image, np.ndarray):
        array = _pixel_values(image[..., None] if image.ndim == 2 else image)
    else:
        raise ImageError(f"a {type(image).__name__} is not an image; expected a path, a Pillow image or a NumPy array")
    return _with_channels(array, channels)


def _pixel_values(image: np.ndarray) -> np.ndarray:
    """An array whose rank, size, dtype and values are those of an image; its channels are not looked at."""
    if image.ndim != 3 or image.size == 0:
        raise ImageError(f"array of shape {image.shape} is not an image; expected (H, W, 3) or (H, W), no size zero")
    image = image.astype(image.dtype.newbyteorder("="), copy=False)
    if image.dtype == np.uint16:
        return _eight_bits(image, "image")
    if image.dtype not in (np.uint8, np.float32, np.float64):
        raise ImageError(
            f"array of dtype {image.dtype} is not an image; expected uint8, uint16, float32 or float64, "
            "in pixel scale (0..255, for uint16 0..65535): convert it with astype"
        )
    bad = np.argwhere(~np.isfinite(image))
    if len(bad):
        row, column, channel = bad[0].tolist()
        raise ImageError(
            f"image has {len(bad)} values that are NaN or infinite, the first at row {row}, column {column}, "
            f"channel {channel}; expected finite pixel values 0..255"
        )
    if image.dtype != np.uint8 and image.min() >= 0 and image.max() <= 1 and np.any(image != np.floor(image)):
        log.warning("all values of the image lie in 0..1; pixel scale 0..255 is expected: multiply it by 255")
    return image


def _with_channels(image: np.ndarray, channels: int) -> np.ndarray:
    """(H, W, any) -> (H, W, channels), where the docstring of `as_image` says how."""
    shape = image.shape
    if shape[2] == channels:
        return image
    if shape[2] == 4:
        image = _on_white(image)
    if image.shape[2] == channels:
        return image
    if image.shape[2] == 1 and channels == 3:
        return np.repeat(image, 3, axis=2)
    if image.shape[2] == 3 and channels == 1:
        if np.array_equal(image[..., :1].repeat(3, axis=2), image):
            return image[..., :1]
        raise ImageError("the image is in colour, the network expects 1 channel: convert it to grey first")
    hint = ""
    if shape[0] in (1, 3, 4, channels):
        hint = f"; it looks channels-first, transpose to (H, W, {shape[0]}): numpy.moveaxis(image, 0, -1)"
    raise ImageError(f"image of shape {shape} has {shape[2]} channels, expected (H, W, {channels}){hint}")
