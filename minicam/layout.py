"""Where things go in a figure: pictures, titles, colour bars. All lengths are in inches.

Every axes is exactly as large as the picture in it; titles, colour bars and class names have their own room.
"""

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from minicam.images import optional_module

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 160
WIDTH = 10.0  # lengths are in inches: most figures come out this wide, 1600 pixels
MAX_HEIGHT = 12.0  # of all pictures of one column together
MARGIN = 0.15
TITLE_SIZE, TEXT_SIZE = 11, 9  # points
LINE = 1.25 / 72  # height of a line of text, per point
TITLE_PAD, TITLE_GAP = 9, 0.24  # points under a title; inches around it, which include them
MIN_TITLE_WIDTH = 1.8
BAR_GAP, BAR_WIDTH, TEXT_GAP = 0.07, 0.13, 0.2
NUMBER_ROOM = 1.0  # for a map's colour bar with its numbers
MAX_STRETCH = 20.0  # a picture more elongated than that is shown with this aspect
MAX_LEGEND = 40  # with more classes, the colour bar shows only those that occur


@dataclass(frozen=True)
class Legend:
    """A colour bar with one block per class, first class on top; `width` and `height` are the room it needs."""

    names: list[str]
    colors: np.ndarray  # (classes, 3) uint8

    @property
    def width(self) -> float:
        return BAR_GAP + BAR_WIDTH + TEXT_GAP + max(text_width(name, TEXT_SIZE) for name in self.names)

    @property
    def height(self) -> float:
        return len(self.names) * TEXT_SIZE * LINE

    def draw(self, axes: "Axes") -> None:
        bar = side_bar(axes, self.height)
        bar.imshow(self.colors[:, None], aspect="auto", origin="upper", interpolation="nearest")
        bar.set_yticks(np.arange(len(self.names)), self.names, fontsize=TEXT_SIZE, parse_math=False)


def text_width(text: str, size: float) -> float:
    """Inches that a line of text takes in the default font, to the right end of its last glyph."""
    if not text.strip():
        return 0.0
    literal = text.replace("$", r"\$")  # else a pair of dollar signs would start a formula
    return optional_module("matplotlib.textpath").TextPath((0, 0), literal, size=size).vertices[:, 0].max() / 72


def wrapped(title: str, width: float) -> list[str]:
    """The title in lines of at most `width` inches."""
    characters = max(len(title), 1)
    lines = textwrap.wrap(title, characters)
    while characters > 1 and any(text_width(line, TITLE_SIZE) > width for line in lines):
        characters = int(0.9 * characters)
        lines = textwrap.wrap(title, characters)
    return lines


def column_count(count: int, shape: tuple[int, ...]) -> int:
    """Columns for `count` pictures such that the figure comes near 8:5 and few cells stay empty."""

    def ugliness(columns: int) -> float:
        rows = math.ceil(count / columns)
        return abs(math.log(columns * shape[1] / (rows * shape[0]) * 5 / 8)) + rows * columns - count

    return min(range(1, count + 1), key=ugliness)


def picture_grid(
    captions: Sequence[str], columns: int, shape: tuple[int, ...], rooms: Sequence[float], heights: Sequence[float]
) -> tuple["Figure", list["Axes"]]:
    """A figure with one axes per caption, each with the aspect of an (H, W, ...) image, and with room for the captions.

    rooms: inches to the right of the pictures of each column, for colour bars; heights: the least that each row needs.
    """
    aspect = min(max(shape[0] / shape[1], 1 / MAX_STRETCH), MAX_STRETCH)
    width = max((WIDTH - 2 * MARGIN - sum(rooms)) / columns, 1.0)
    height = min(width * aspect, max(MAX_HEIGHT / len(heights), 1.0))
    width = height / aspect
    cell_width = max(width, MIN_TITLE_WIDTH)
    lines = max(len(wrapped(caption, cell_width)) for caption in captions)
    title_height = lines * TITLE_SIZE * LINE + TITLE_GAP if lines else MARGIN
    row_heights = [title_height + max(height, least) for least in heights]
    total_width = columns * cell_width + sum(rooms) + 2 * MARGIN
    total_height = sum(row_heights) + MARGIN
    figure = optional_module("matplotlib.figure").Figure((total_width, total_height), dpi=DPI, layout="none")
    panels = []
    for index, _ in enumerate(captions):
        row, column = divmod(index, columns)
        left = MARGIN + column * cell_width + sum(rooms[:column]) + (cell_width - width) / 2
        space = row_heights[row] - title_height
        bottom = total_height - sum(row_heights[: row + 1]) + (space - height) / 2
        place = (left / total_width, bottom / total_height, width / total_width, height / total_height)
        panels.append(figure.add_axes(place))
    return figure, panels


def draw_picture(axes: "Axes", pixels: np.ndarray, title: str = "") -> None:
    """An (H, W, 3) picture that fills its axes, without ticks; the title is wrapped to the room it has."""
    height, width = pixels.shape[:2]
    stretched = max(height / width, width / height) > MAX_STRETCH
    axes.imshow(pixels, aspect="auto" if stretched else "equal", origin="upper", interpolation="auto")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.autoscale(False)
    room = max(axes.get_window_extent().width / axes.figure.dpi, MIN_TITLE_WIDTH)
    axes.set_title("\n".join(wrapped(title, room)), fontsize=TITLE_SIZE, pad=TITLE_PAD, parse_math=False)


def side_bar(axes: "Axes", min_height: float = 0.0) -> "Axes":
    """Axes for a colour bar along the right side, as high as the axes, or `min_height` inches."""
    extent = axes.get_window_extent()
    width, height = extent.width / axes.figure.dpi, extent.height / axes.figure.dpi
    portion = max(min_height / height, 1.0)
    bar = axes.inset_axes((1 + BAR_GAP / width, (1 - portion) / 2, BAR_WIDTH / width, portion))
    bar.yaxis.tick_right()
    bar.set_xticks([])
    return bar
