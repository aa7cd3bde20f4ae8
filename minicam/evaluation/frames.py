"""Labelled frames: a folder with pictures in images/ and the class index of every pixel in labels/.

images/NAME.jpg or .png goes with labels/NAME.png, whose grey or palette values are 0 to C - 1 for C classes. Pixels to
leave out have the value `ignored` (by default C), or 255 where that is no class.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from minicam.errors import ImageError, MinicamError
from minicam.images import optional_module, read_image

LAYOUT = "expected images/NAME.jpg or .png with labels/NAME.png"
UNLABELLED = 255


@dataclass(frozen=True)
class Frame:
    """A picture, and the picture of its labels, as files."""

    name: str
    image: Path
    labels: Path

    def read(self) -> tuple[np.ndarray, np.ndarray]:
        """The picture (H, W, 3) uint8 RGB and its labels (H, W) uint8. Raises ImageError, naming the file."""
        image, labels = read_image(self.image), read_labels(self.labels)
        if image.shape[:2] != labels.shape:
            raise ImageError(
                f"{self.labels}: {_size(labels)} labels for the {_size(image)} pixels of {self.image}; "
                "expected one label for each pixel"
            )
        return image, labels


def labelled_frames(folder: str | os.PathLike[str], classes: int = 11, ignored: int | None = None) -> list[Frame]:
    """The frames of a folder in order of their names, after reading and checking every one of them.

    ignored: the label of pixels to leave out; None: `classes`. Files of other suffixes are passed over.
    Raises MinicamError for a folder that is missing, empty or laid out differently; ImageError, naming the file, for a
    picture without labels or the reverse, what cannot be read, sizes that differ, and labels that are no class.
    """
    frames = _pairs(Path(folder))
    for frame in frames:
        _, labels = frame.read()
        check_labels(labels, classes, ignored, frame.labels)
    return frames


def read_labels(path: str | os.PathLike[str]) -> np.ndarray:
    """The class index of every pixel, (H, W) uint8: the grey values, or the indices into the palette, as stored.

    Raises ImageError, naming the file, if it cannot be read, is in colour, or holds values above 255.
    """
    read_image(path)  # what can be wrong with a picture is said there
    with optional_module("PIL.Image").open(path) as picture:
        labels = np.asarray(optional_module("PIL.ImageOps").exif_transpose(picture))
    if labels.ndim != 2:
        raise ImageError(
            f"{path}: a picture of mode {picture.mode}; expected the class index of each pixel as grey value"
        )
    if labels.max() > 255:
        raise ImageError(f"{path}: label {labels.max()}; expected class indices of at most 255")
    return labels.astype(np.uint8)


def check_labels(labels: np.ndarray, classes: int, ignored: int | None, name: object) -> None:
    """Raises ImageError, beginning with `name`, unless each of the labels is a class, `ignored` or 255."""
    ignored = classes if ignored is None else ignored
    bad = np.argwhere((labels >= classes) & (labels != ignored) & (labels != UNLABELLED))
    if len(bad):
        row, column = bad[0].tolist()
        left_out = " or ".join(str(value) for value in sorted({ignored, UNLABELLED}))
        raise ImageError(
            f"{name}: label {labels[row, column]} at row {row}, column {column}, one of {len(bad)} labels that are no "
            f"class; expected 0 to {classes - 1} for the {classes} classes, or {left_out} for pixels to leave out"
        )


def scored_pixels(labels: np.ndarray, classes: int, ignored: int | None = None) -> np.ndarray:
    """Where the labels are a class, and one that is not to be left out: bool of the same shape."""
    scored = labels < classes
    return scored if ignored is None else scored & (labels != ignored)


def _pairs(folder: Path) -> list[Frame]:
    """The files that belong together by name. Raises as `labelled_frames` does."""
    for part in ("images", "labels"):
        if not (folder / part).is_dir():
            what = "there is no folder " + part + " in it" if folder.is_dir() else "is not a folder"
            raise MinicamError(f"{folder}: {what}; {LAYOUT}")
    images = _by_name(folder / "images", (".jpg", ".jpeg", ".png"))
    labels = _by_name(folder / "labels", (".png",))
    if not images and not labels:
        raise MinicamError(f"{folder}: there are no frames in it; {LAYOUT}")
    for name in sorted(images.keys() ^ labels.keys()):
        if name in images:
            raise ImageError(f"{images[name]}: has no labels; expected {folder / 'labels' / name}.png")
        raise ImageError(f"{labels[name]}: has no picture; expected {folder / 'images' / name}.jpg or .png")
    return [Frame(name, images[name], labels[name]) for name in sorted(images)]


def _by_name(folder: Path, suffixes: Sequence[str]) -> dict[str, Path]:
    """The pictures in a folder by name without suffix. Raises ImageError for two of one name."""
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in suffixes and not path.name.startswith("."):
            if path.stem in found:
                raise ImageError(f"{path}: has the same name as {found[path.stem].name}; expected one picture per name")
            found[path.stem] = path
    return found


def _size(image: np.ndarray) -> str:
    return f"{image.shape[0]} x {image.shape[1]}"
