"""Pictures out: label overlays, maps over images, and files. matplotlib without pyplot: no state, no display needed."""

import math
import os
from collections.abc import Sequence, Sized
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from minicam.errors import ImageError, MinicamError
from minicam.files import replaced_when_written
from minicam.images import as_image, optional_module
from minicam.layout import (
    MARGIN,
    MAX_LEGEND,
    NUMBER_ROOM,
    TEXT_SIZE,
    Legend,
    column_count,
    draw_picture,
    picture_grid,
    side_bar,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Colors = Any  # (classes, 3) array or nested sequence, RGB in 0..255
Range = tuple[float, float] | None
Mark = Any  # (row, column), a boolean (H, W) mask, or None

FIGURE_SUFFIXES = (".png", ".pdf", ".svg")


def overlay(image: np.ndarray, labels: np.ndarray, colors: Colors, alpha: float = 0.6) -> np.ndarray:
    """The image with each pixel blended with its label's colour: alpha * color + (1 - alpha) * image, (H, W, 3) uint8.

    image: whatever `as_image` takes; labels: (H, W) integers; colors: (classes, 3) in 0..255. Where a label is not in
    0..classes - 1 (void), the image stays. Results are rounded half up. Raises ImageError if the shapes do not fit.
    """
    pixels, labels, colors = _eight_bits(image), np.asarray(labels), np.asarray(colors)
    if labels.shape != pixels.shape[:2] or labels.dtype.kind not in "iu":
        raise ImageError(
            f"labels of shape {labels.shape} and dtype {labels.dtype} do not fit an image of {pixels.shape[:2]}; "
            "expected integers (H, W), one per pixel"
        )
    if colors.ndim != 2 or colors.shape[1] != 3:
        raise ImageError(f"colors of shape {colors.shape}; expected (classes, 3), RGB in 0..255")
    known = (labels >= 0) & (labels < len(colors))
    blended = alpha * colors[labels[known]] + (1 - alpha) * pixels[known]
    result = pixels.copy()
    result[known] = np.floor(blended + 0.5)
    return result


def label_figure(image: np.ndarray, labels: np.ndarray, classes: Sequence[str], colors: Colors) -> "Figure":
    """The overlay beside a colour bar with one block per class and the class names centred on their colours.

    image, labels, colors: as in `overlay`; classes: as many names as colours, or none, which shows the indices.
    """
    legend = _legend(labels, classes, colors)
    blended = overlay(image, labels, colors)
    figure, (axes,) = picture_grid([""], 1, blended.shape, [legend.width], [legend.height])
    draw_picture(axes, blended)
    legend.draw(axes)
    return figure


def panels_figure(
    image: np.ndarray,
    labels: np.ndarray | None,
    classes: Sequence[str],
    colors: Colors,
    maps: Sequence[np.ndarray],
    titles: Sequence[str],
    range: Range = None,
    marks: Sequence[Mark] | None = None,
) -> "Figure":
    """One panel each for the image, the segmentation (unless `labels` is None) and every map over the image.

    image, labels, classes, colors: as in `label_figure`; maps, titles, marks (one per map) and range: see `map_panel`.
    """
    pixels, marks = _eight_bits(image), marks or [None] * len(maps)
    _same_length("maps", maps, "titles", titles)
    _same_length("maps", maps, "marks", marks)
    pictures = {"Image": pixels}
    if labels is not None:
        pictures["Segmentation"] = overlay(pixels, labels, colors)
    legend = None if labels is None else _legend(labels, classes, colors)
    captions = [*pictures, *_captions(titles, maps)]
    columns = column_count(len(captions), pixels.shape)
    rooms, heights = [NUMBER_ROOM] * columns, [0.0] * math.ceil(len(captions) / columns)
    if len(heights) == 1:
        rooms[0] = MARGIN  # nothing but the image in this column
    if legend is not None:
        row, column = divmod(1, columns)
        rooms[column], heights[row] = max(legend.width, NUMBER_ROOM), legend.height
    figure, panels = picture_grid(captions, columns, pixels.shape, rooms, heights)
    for axes, (title, picture) in zip(panels, pictures.items(), strict=False):  # the other panels are for the maps
        draw_picture(axes, picture, title)
    if legend is not None:
        legend.draw(panels[1])
    for axes, cam, title, mark in zip(panels[len(pictures) :], maps, titles, marks, strict=True):
        map_panel(axes, pixels, cam, title, range, mark)
    return figure


def grid_figure(
    image: np.ndarray,
    maps: Sequence[Sequence[np.ndarray]],
    titles: Sequence[Sequence[str]],
    range: Range = None,
    marks: Sequence[Sequence[Mark]] | None = None,
) -> "Figure":
    """Rows of maps over the image, as in a table of layers by classes; maps, titles and marks are lists of rows.

    The rows are of one length. image, and the entries of maps, titles and marks: as in `map_panel`.
    """
    pixels, marks = _eight_bits(image), marks or [[None] * len(row) for row in maps]
    for name, rows in (("titles", titles), ("marks", marks)):
        if [len(row) for row in rows] != [len(row) for row in maps] or len({len(row) for row in maps}) != 1:
            raise MinicamError(
                f"maps in rows of {[len(row) for row in maps]} and {name} in rows of {[len(row) for row in rows]}; "
                "expected at least one row, all of one length, and the same rows in both"
            )
    flat_maps, flat_titles, flat_marks = (list(chain.from_iterable(rows)) for rows in (maps, titles, marks))
    columns = len(maps[0])
    captions = _captions(flat_titles, flat_maps)
    rooms, heights = [NUMBER_ROOM] * columns, [0.0] * len(maps)
    figure, panels = picture_grid(captions, columns, pixels.shape, rooms, heights)
    for axes, cam, title, mark in zip(panels, flat_maps, flat_titles, flat_marks, strict=True):
        map_panel(axes, pixels, cam, title, range, mark)
    return figure


def map_panel(
    axes: "Axes", image: np.ndarray, cam: np.ndarray, title: str, range: Range = None, mark: Mark = None
) -> None:
    """Draw a map over the image into matplotlib axes: jet at alpha 0.5, with a colour bar in the map's own numbers.

    cam: (h, w), of any size; it is stretched over the image. The colours span 0..max of this map, or `range`, a pair
    (low, high) that several panels may share. A map without a value above 0 is all blue, and the title says so.
    mark: a pixel (row, column) of the image, drawn as a white dot, or a boolean (H, W) mask, outlined in white.

    Raises ImageError if the map is not (h, w) or has NaN or infinite values, or if the mark does not fit the image.
    """
    pixels, cam = _eight_bits(image), np.asarray(cam)
    if cam.ndim != 2 or cam.size == 0 or not np.isfinite(cam).all():
        raise ImageError(f"map {title!r} of shape {cam.shape} cannot be drawn; expected (h, w) and finite values only")
    draw_picture(axes, pixels, _captions([title], [cam])[0])
    low, high = range or (0.0, max(float(cam.max()), 0.0))
    height, width = pixels.shape[:2]
    axes.imshow(
        cam,
        cmap="jet",
        alpha=0.5,
        vmin=low,
        vmax=high if high > low else low + 1,
        interpolation="nearest",
        origin="upper",
        aspect=axes.get_aspect(),
        extent=(-0.5, width - 0.5, height - 0.5, -0.5),
    )
    if mark is not None:
        _draw_mark(axes, mark, (height, width))
    bar = side_bar(axes)
    scale = np.linspace(0, 1, 256)[:, None]
    bar.imshow(scale, cmap="jet", aspect="auto", origin="lower", extent=(0, 1, 0, 1))
    ticks = [0, 1] if high > low else [0]
    bar.set_yticks(ticks, [f"{value:.3g}" for value in (low, high)[: len(ticks)]], fontsize=TEXT_SIZE)


def save_figure(figure: "Figure", path: str | os.PathLike[str]) -> None:
    """Write a figure as PNG, PDF or SVG, by the suffix of `path`. The file appears whole or not at all.

    Raises MinicamError, naming the path, for another suffix, a missing folder, or where it cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() not in FIGURE_SUFFIXES:
        raise MinicamError(f"{path}: cannot write {path.suffix or 'no suffix'!r}; expected one of {FIGURE_SUFFIXES}")
    kind = path.suffix[1:].lower()
    with replaced_when_written(path) as temporary:
        figure.savefig(temporary, format=kind, dpi="figure", bbox_inches=None)


def save_label_map(labels: np.ndarray, path: str | os.PathLike[str], colors: Colors | None = None) -> None:
    """Write class indices as an 8-bit PNG: grey values, or a palette of `colors` (classes, 3); both hold the indices.

    labels: (H, W) integers in 0..255. The file appears whole or not at all. Raises ImageError for other labels and
    MinicamError, naming the path, for a suffix other than .png, a missing folder, or where it cannot be written.
    """
    path, labels = Path(path), np.asarray(labels)
    if path.suffix.lower() != ".png":
        raise MinicamError(f"{path}: a label map is written as PNG; expected the suffix .png")
    if labels.ndim != 2 or labels.size == 0 or labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() > 255:
        raise ImageError(f"{path}: labels of shape {labels.shape}, {labels.dtype}; expected (H, W) integers in 0..255")
    picture = optional_module("PIL.Image").fromarray(labels.astype(np.uint8))
    if colors is not None:
        palette = np.zeros((256, 3), np.uint8)  # complete, else Pillow writes 4 bits and cuts off the void label 255
        palette[: len(colors)] = colors
        picture.putpalette(palette.tobytes())
    with replaced_when_written(path) as temporary:
        picture.save(temporary, format="PNG")


def _eight_bits(image: np.ndarray) -> np.ndarray:
    """Any image as (H, W, 3) uint8."""
    pixels = as_image(image)
    return pixels if pixels.dtype == np.uint8 else np.floor(np.clip(pixels, 0, 255) + 0.5).astype(np.uint8)


def _same_length(name: str, items: Sized, other_name: str, others: Sized) -> None:
    if len(items) != len(others):
        raise MinicamError(f"{len(items)} {name} and {len(others)} {other_name}; expected one for each")


def _legend(labels: np.ndarray, classes: Sequence[str], colors: Colors) -> Legend:
    colors = np.asarray(colors, np.uint8)
    names = list(classes) or [str(index) for index in np.arange(len(colors))]
    _same_length("classes", names, "colors", colors)
    shown = np.arange(len(names))
    if len(names) > MAX_LEGEND:
        shown = np.intersect1d(shown, labels) if np.isin(labels, shown).any() else shown[:1]
    return Legend([names[index] for index in shown], colors[shown])


def _captions(titles: Sequence[str], maps: Sequence[np.ndarray]) -> list[str]:
    """Titles that say it where a map has nothing to show."""
    return [
        title if np.any(np.asarray(cam) > 0) else f"{title} (nothing above 0)"
        for title, cam in zip(titles, maps, strict=True)
    ]


def _draw_mark(axes: "Axes", mark: Mark, shape: tuple[int, int]) -> None:
    """A white dot at a pixel (row, column), or a white line around a boolean (H, W) mask."""
    place = np.asarray(mark)
    if place.dtype == bool and place.shape == shape:
        padded = np.pad(place, 1).astype(float)  # so that a region at the image's edge has an outline there too
        if place.any():
            rows, columns = (np.arange(-1, size + 1) for size in shape)
            axes.contour(columns, rows, padded, levels=[0.5], colors="white", linewidths=1.2)
    elif place.shape == (2,) and np.all(place >= 0) and np.all(place < shape):
        axes.plot(place[1], place[0], "o", color="white", markeredgecolor="black", markersize=6)
    else:
        raise ImageError(
            f"mark {mark!r} does not fit an image of {shape}; expected (row, column) inside it or a boolean mask (H, W)"
        )
