"""Random crops for training a segmentation network: scale, flip, colour, blur, noise, and things pasted across frames.

Pixels and labels always go through the same geometry: pixels by bicubic, labels by nearest-neighbour resampling, so
that no label arises that was not there. The label VOID belongs to no class and stays what it is.

The batch of a step depends on the seed and the step alone (`Sampler.batch`), so training resumes anywhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import find_objects, gaussian_filter, label

VOID = 11
POLE, SIGN, FENCE, CAR, PEDESTRIAN, BICYCLIST = 2, 6, 7, 8, 9, 10
RARE = (POLE, SIGN, FENCE, CAR, PEDESTRIAN, BICYCLIST)  # what a share of the crops is centred on
RARE_PIXELS = 40  # which a frame must have of a class to be taken for it
PASTED = ((POLE, SIGN), (PEDESTRIAN,), (BICYCLIST,))  # kinds of thing; a sign and its pole are one
PASTED_PIXELS = 60  # of the smallest thing that is pasted
LUMA = np.array((0.299, 0.587, 0.114), np.float32)  # grey of RGB, ITU-R BT.601


class Labelled(NamedTuple):
    """A picture (H, W, 3) and the labels of its pixels (H, W), both uint8."""

    image: NDArray[np.uint8]
    labels: NDArray[np.uint8]


class Thing(NamedTuple):
    """A connected part of a frame: the frame's number, the part's rows and columns, and which pixels there are its."""

    frame: int
    window: tuple[slice, slice]
    mask: NDArray[np.bool_]


@dataclass(frozen=True)
class Augmentation:
    """How crops are made. Shares and probabilities are 0 to 1; scale 1 is a frame of `full_height` rows."""

    crop: tuple[int, int] = (256, 320)  # rows, columns
    full_height: int = 720
    scale: float = 0.9  # median of a log-normal distribution
    spread: float = 0.3  # deviation of the logarithm
    scale_limits: tuple[float, float] = (0.5, 1.8)
    drawn: float = 0.1  # share of the crops that show drawn scenes
    rare: float = 0.4  # share of the other crops that are placed around a pixel of a class of RARE
    paste: float = 0.4  # probability that things of other frames are pasted
    colour: float = 0.9  # probability of other colours
    blur: float = 0.15
    noise: float = 0.15


class Sampler:
    """Batches of crops of `frames` and, for a share of them, of `scenes` (which may be none)."""

    def __init__(self, frames: Sequence[Labelled], scenes: Sequence[Labelled], seed: int, options: Augmentation):
        self.frames, self.scenes, self.seed, self.options = frames, scenes, seed, options
        self.things = [find_things(frames, kind) for kind in PASTED]
        self.showing = [[i for i, f in enumerate(frames) if (f.labels == c).sum() > RARE_PIXELS] for c in RARE]

    def batch(self, step: int, count: int) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """The pixels (count, H, W, 3), 0 to 255, and labels (count, H, W) of a step: the same on every call."""
        rng = np.random.default_rng([self.seed, step])
        images, labels = zip(*(self.crop(rng) for _ in range(count)), strict=True)
        return np.stack(images), np.stack(labels)

    def crop(self, rng: Generator) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """One crop: pixels (H, W, 3), 0 to 255, and labels (H, W)."""
        frame, focus = self._frame(rng)
        box = random_box(rng, frame.labels.shape, focus, self.options)
        if rng.random() < self.options.paste:
            frame = self._pasted(rng, frame, box)
        image, labels = resized(frame, box, self.options.crop)
        if rng.random() < 0.5:
            image, labels = image[:, ::-1], labels[:, ::-1]
        return photographed(rng, image, self.options), labels

    def _frame(self, rng: Generator) -> tuple[Labelled, NDArray[np.float64]]:
        """What to crop, and the row and column that the crop shall show: a rare class's, or any."""
        place = rng.random(2)
        if self.scenes and rng.random() < self.options.drawn:
            frame = self.scenes[rng.integers(len(self.scenes))]
        elif rng.random() < self.options.rare and self.showing[kind := rng.integers(len(RARE))]:
            frame = self.frames[rng.choice(self.showing[kind])]
            pixel = rng.choice(np.flatnonzero(frame.labels == RARE[kind]))
            return frame, np.array(np.unravel_index(pixel, frame.labels.shape), float)
        else:
            frame = self.frames[rng.integers(len(self.frames))]
        return frame, place * frame.labels.shape

    def _pasted(self, rng: Generator, frame: Labelled, box: NDArray[np.float64]) -> Labelled:
        """The frame with one to four things of frames of its size, in their own rows, around the box's columns."""
        pasted = Labelled(frame.image.copy(), frame.labels.copy())
        for _ in range(rng.integers(1, 5)):
            things = self.things[rng.integers(len(self.things))]
            if things:
                thing = things[rng.integers(len(things))]
                source = self.frames[thing.frame]
                if source.labels.shape == frame.labels.shape:
                    paste(pasted, thing, source, rng.uniform(box[0], box[2]), mirrored=rng.random() < 0.5)
        return pasted


def find_things(frames: Sequence[Labelled], kind: Sequence[int]) -> list[Thing]:
    """The connected parts of the classes of `kind` that have PASTED_PIXELS and do not touch a side of their frame."""
    things = []
    for number, frame in enumerate(frames):
        parts, _ = label(np.isin(frame.labels, kind), np.ones((3, 3)))
        sizes = np.bincount(parts.ravel())
        for part, (rows, columns) in enumerate(find_objects(parts), start=1):
            if sizes[part] >= PASTED_PIXELS and columns.start > 0 and columns.stop < parts.shape[1]:
                things.append(Thing(number, (rows, columns), parts[rows, columns] == part))
    return things


def paste(onto: Labelled, thing: Thing, source: Labelled, column: float, *, mirrored: bool) -> None:
    """Put the thing of the frame `source` into the writable frame `onto`, in its own rows and around the column.

    It becomes as much brighter or darker as the frame is, within limits, and its edge is softened.
    """
    rows, columns = thing.window
    across = columns.stop - columns.start
    left = int(np.clip(column - across / 2, 0, onto.labels.shape[1] - across))
    place = rows, slice(left, left + across)
    order = slice(None, None, -1 if mirrored else 1)
    mask = thing.mask[:, order]
    opacity = gaussian_filter(mask.astype(np.float32), 0.5)[..., None]
    brightness = np.clip((onto.image.mean() + 10) / (source.image.mean() + 10), 0.6, 1.6)
    pixels = np.clip(source.image[thing.window][:, order] * brightness, 0, 255)
    onto.image[place] = np.rint(onto.image[place] * (1 - opacity) + pixels * opacity)
    onto.labels[place] = np.where(mask, source.labels[thing.window][:, order], onto.labels[place])


def random_box(
    rng: Generator, size: tuple[int, int], focus: NDArray[np.float64], options: Augmentation
) -> NDArray[np.float64]:
    """The part of a frame to crop, (left, top, right, bottom) in its pixels, which shows the row and column `focus`.

    Shrunk, if need be, to fit into the frame, which then is enlarged more than the random scale says.
    """
    scale = np.clip(options.scale * np.exp(options.spread * rng.standard_normal()), *options.scale_limits)
    aspect = np.exp(rng.uniform(-0.1, 0.1))
    extent = np.array(options.crop) * size[0] / (scale * options.full_height) * (aspect, 1 / aspect)
    extent = np.minimum(extent, size)
    start = np.clip(focus - extent * rng.uniform(0.2, 0.8, 2), 0, size - extent)
    return np.concatenate([start[::-1], (start + extent)[::-1]])


def resized(frame: Labelled, box: NDArray[np.float64], size: tuple[int, int]) -> Labelled:
    """The box (left, top, right, bottom) of a frame at the size (H, W)."""
    corners = tuple(box.tolist())
    picture = Image.fromarray(frame.image).resize(size[::-1], Image.Resampling.BICUBIC, corners)
    labels = Image.fromarray(frame.labels).resize(size[::-1], Image.Resampling.NEAREST, corners)
    return Labelled(np.asarray(picture), np.asarray(labels))


def photographed(rng: Generator, image: NDArray[np.uint8], options: Augmentation) -> NDArray[np.float32]:
    """The picture (H, W, 3) as another camera or another hour might have it, float32, 0 to 255."""
    x = recoloured(rng, image) if rng.random() < options.colour else image.astype(np.float32)
    if rng.random() < options.blur:
        width = rng.uniform(0.3, 1.8)
        x = gaussian_filter(x, (width, width, 0))
    if rng.random() < options.noise:
        x = x + rng.standard_normal(x.shape, np.float32) * np.float32(rng.uniform(2, 10))
    return np.clip(x, 0, 255)


def recoloured(rng: Generator, image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Random gamma, gain of each channel, contrast about the mean, brightness and saturation."""
    gamma, contrast = np.exp(rng.uniform(-0.35, 0.35, 2))
    gain = np.exp(rng.uniform(-0.12, 0.12, (3, 1)))
    level = image.mean()
    tones = 255 * gain * (np.arange(256) / 255) ** gamma  # (3, 256): what each value of a channel becomes
    tones = (level + (tones - level) * contrast + rng.uniform(-25, 25)).astype(np.float32)
    x = np.stack([tones[channel][image[..., channel]] for channel in range(3)], axis=-1)
    grey = (x @ LUMA)[..., None]
    return grey + (x - grey) * np.float32(rng.uniform(0.4, 1.5))
