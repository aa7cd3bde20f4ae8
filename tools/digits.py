"""Draw digits turned by known angles: white strokes on black, 28 x 28, in handwritten and printed shapes.

    python tools/digits.py picture.png [--seed 0]     shows 200 of them, turned by -45 degrees (left) to 45 (right)

A digit is a few smooth strokes. Its shape is chosen at random, bent by a smooth field of displacements, widened or
narrowed, slanted a little, shifted, turned, and only then painted: no pixel is ever resampled. A pixel's brightness
follows from its distance to the nearest stroke. Slant and turning cannot be told apart in a digit like 1, so the slant
is small, and as often to the left as to the right.

The same generator (`numpy.random.Generator`) in the same state gives the same bytes.
"""

import argparse
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.interpolate import CubicSpline

SIZE = 28  # pixels, each way
LARGEST_ANGLE = 45.0  # degrees, to either side
PIECES = 36  # straight ones that every shape is painted with

# What is drawn evenly between two bounds, for each digit anew.
HEIGHT = (14.5, 21.5)  # pixels from the top of the upright digit to its bottom
WIDTH = (0.8, 1.25)  # times the width in SHAPES
SLANT = (-0.05, 0.05)  # columns per row; at 0.05 the uprights lean by 3 degrees
SHIFT = (-1.5, 1.5)  # pixels from the middle, each way
THICKNESS = (1.2, 4.0)  # pixels across a stroke
CONTRAST = (0.0, 0.45)  # how much thinner the strokes of one direction are, as with a broad nib
BLUR = (0.7, 2.2)  # pixels across an edge, from full brightness to black
BRIGHTNESS = (170.0, 255.0)  # of the middle of a stroke
BEND = 0.02  # the standard deviation of each wave's displacement, in heights
WAVES = 3

# Digit -> its shapes. A shape is strokes separated by |, a stroke is points x y, in hundredths of the digit's height
# from its middle, to the right and down. A smooth curve runs through the points of a stroke, a closed one where the
# last point is the first; at a corner a new stroke begins.
SHAPES = {
    0: (
        "0 -50  -18 -35  -25 0  -18 35  0 50  18 35  25 0  18 -35  0 -50",
        "0 -50  -17 -41  -23 0  -17 41  0 50  17 41  23 0  17 -41  0 -50",
        "6 -49  -13 -38  -25 4  -16 40  2 50  18 32  25 -6  18 -38  -3 -48",
    ),
    1: (
        "0 -50  0 50",
        "-20 -30  0 -50 | 0 -50  0 50",
        "-18 -34  -6 -40  3 -50 | 3 -50  3 50 | -18 50  24 50",
        "-30 -10  -12 -25  8 -50 | 8 -50  8 50",
    ),
    2: (
        "-28 -25  -18 -45  4 -50  25 -38  24 -14  2 16  -30 50 | -30 50  31 50",
        "-27 -30  -8 -48  14 -46  22 -25  10 6  -14 36  -28 42  -24 30  -6 34  12 46  34 42",
        "-25 -36  0 -50  24 -40  22 -10  -5 16  -26 36  -29 50 | -29 50  29 50",
    ),
    3: (
        "-26 -36  -8 -49  14 -47  24 -30  15 -10  -8 -3 | -8 -3  17 3  28 22  17 44  -6 50  -28 38",
        "-22 -42  2 -50  20 -38  16 -14  -4 -4 | -4 -4  18 6  22 28  8 46  -14 50  -28 42",
        "-27 -50  24 -50 | 24 -50  -4 -10 | -4 -10  19 -2  27 20  15 44  -8 50  -28 38",
    ),
    4: (
        "10 -50  -32 20 | -32 20  34 20 | 10 -50  10 50",
        "-20 -50  -24 -20  -26 4 | -26 4  30 4 | 15 -50  15 50",
        "-10 -50  -30 12 | -30 12  32 12 | 10 -18  10 50",
        "13 -50  -31 27 | -31 27  31 27 | 13 -50  13 50",
        "-22 -46  -25 -14  -10 -2  12 -10  21 -20 | 22 -48  21 -20  17 50",
    ),
    5: (
        "26 -50  -20 -50 | -20 -50  -25 -6 | -25 -6  -2 -17  22 -6  28 17  17 42  -6 50  -28 38",
        "28 -48  -12 -48 | -12 -48  -20 -10 | -20 -10  4 -10  20 8  14 36  -8 49  -26 44",
        "30 -50  4 -47  -18 -38  -18 -16  5 -6  22 12  14 40  -10 50  -28 40",
    ),
    6: (
        "20 -48  0 -38  -18 -14  -26 16  -16 43  4 50  22 38  25 17  10 0  -10 3  -25 20",
        "6 -50  -12 -20  -22 12  -20 38  -2 50  18 42  22 22  8 8  -10 14  -21 30",
        "24 -38  8 -50  -12 -44  -25 -20  -27 14  -18 42  2 50  21 39  27 17  17 -6  -3 -11  -22 2  -27 16",
    ),
    7: (
        "-30 -50  30 -50 | 30 -50  -8 50",
        "-28 -48  26 -48 | 26 -48  8 -10  -2 20  -6 50",
        "-30 -48  28 -48 | 28 -48  -10 50 | -16 0  26 0",
        "-29 -50  29 -50 | 29 -50  8 -23  -8 13  -14 50",
        "-30 -50  30 -50 | 30 -50  -20 50",
        "-28 -30  -28 -50 | -28 -50  28 -50 | 28 -50  2 0  -6 50",
    ),
    8: (
        "0 -50  -20 -42  -23 -26  -13 -10  0 -4  13 -10  23 -26  20 -42  0 -50 | 0 -4  -20 4  -28 23  -20 43  "
        "0 50  20 43  28 23  20 4  0 -4",
        "18 -38  0 -50  -19 -36  -10 -12  10 6  22 28  10 47  -10 47  -20 28  -8 6  10 -12  19 -30  18 -38",
        "20 -40  4 -50  -14 -44  -17 -26  0 -6  16 14  16 38  0 50  -18 40  -18 20  2 -2  24 -34",
    ),
    9: (
        "22 -30  8 -49  -12 -47  -24 -28  -18 -8  0 -2  16 -12  22 -30 | 22 -30  22 0  18 50",
        "20 -36  2 -50  -18 -38  -18 -16  -2 -6  14 -16  20 -36 | 20 -36  16 0  0 50",
        "27 -16  22 -2  3 11  -17 6  -27 -17  -21 -39  -2 -50  18 -42  27 -14  25 20  12 44  -8 50  -24 38",
        "22 -24  6 -49  -15 -45  -25 -26  -16 -5  5 -3  22 -24 | 22 -24  20 14  8 42  -16 48",
        "24 -22  15 -42  0 -50  -17 -43  -25 -24  -18 -7  -2 0  14 -6  24 -22 | 24 -22  18 12  0 37  -23 50",
    ),
}


@cache
def shapes() -> tuple[np.ndarray, np.ndarray]:
    """All shapes, (shapes, PIECES, 2 ends, 2) in heights, and the digit that each of them is."""
    found = [(_pieces(text), digit) for digit, texts in SHAPES.items() for text in texts]
    pieces, digits = zip(*found, strict=True)
    return np.stack(pieces), np.array(digits)


def draw(angles: np.ndarray, rng: np.random.Generator, digits: np.ndarray | None = None) -> np.ndarray:
    """Digits turned counter-clockwise about the middle of the picture: (N, 1, SIZE, SIZE) uint8, white on black.

    angles: (N,) degrees. digits: (N,) 0 to 9; by default, any. The state of rng decides everything else, so that the
    same state and other angles give the same digits turned otherwise.
    """
    count = len(angles)
    pieces, which = shapes()
    any_digits, chosen = rng.integers(10, size=count), rng.random(count)
    digits = any_digits if digits is None else digits
    first, last = np.searchsorted(which, digits), np.searchsorted(which, digits, side="right")
    ends = _bent(pieces[(first + chosen * (last - first)).astype(int)], rng)

    height, width, slant, thickness, contrast, blur, brightness = (
        rng.uniform(*bounds, (count, 1)) for bounds in (HEIGHT, WIDTH, SLANT, THICKNESS, CONTRAST, BLUR, BRIGHTNESS)
    )
    x, y = np.moveaxis(ends, -1, 0)  # (N, PIECES, 2 ends)
    x, y = height[..., None] * (width[..., None] * x - slant[..., None] * y), height[..., None] * y
    direction = np.arctan2(*(np.diff(along)[..., 0] for along in (y, x)))
    nib = rng.uniform(0, np.pi, (count, 1))
    radius = thickness / 2 * (1 - contrast * np.abs(np.sin(direction - nib)))  # (N, PIECES)
    x, y = (along + rng.uniform(*SHIFT, (count, 1, 1)) for along in (x, y))

    cos, sin = (f(np.deg2rad(angles))[:, None, None] for f in (np.cos, np.sin))
    x, y = cos * x + sin * y, cos * y - sin * x  # y points down: this is counter-clockwise
    outside = _distances(x.astype(np.float32), y.astype(np.float32), radius.astype(np.float32))
    level = np.clip(0.5 - outside / blur, 0, 1) * brightness
    return np.rint(level).astype(np.uint8).reshape(count, 1, SIZE, SIZE)


def random_angles(count: int, rng: np.random.Generator) -> np.ndarray:
    """Degrees (count,), even over the range."""
    return rng.uniform(-LARGEST_ANGLE, LARGEST_ANGLE, count)


def _pieces(text: str) -> np.ndarray:
    """A shape of SHAPES as straight pieces of about the same length: (PIECES, 2 ends, 2) in heights."""
    strokes = [_curve(np.array(stroke.split(), float).reshape(-1, 2) / 100) for stroke in text.split("|")]
    lengths = np.array([np.linalg.norm(np.diff(stroke, axis=0), axis=1).sum() for stroke in strokes])
    parts = 1 + np.floor((PIECES - len(strokes)) * lengths / lengths.sum()).astype(int)
    found = []
    for stroke, length, count in zip(strokes, lengths, parts, strict=True):
        along = np.r_[0, np.cumsum(np.linalg.norm(np.diff(stroke, axis=0), axis=1))]
        even = np.linspace(0, length, count + 1)
        points = np.stack([np.interp(even, along, axis) for axis in stroke.T], axis=1)
        found.append(np.stack([points[:-1], points[1:]], axis=1))
    pieces = np.concatenate(found)
    return np.concatenate([pieces, np.repeat(pieces[-1:], PIECES - len(pieces), axis=0)])


def _curve(points: np.ndarray) -> np.ndarray:
    """Many points of the smooth curve through a few."""
    if len(points) == 2:
        return points
    knots = np.r_[0, np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))]
    closed = np.array_equal(points[0], points[-1])
    return CubicSpline(knots, points, bc_type="periodic" if closed else "natural")(np.linspace(0, knots[-1], 200))


def _bent(ends: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Points (N, PIECES, 2 ends, 2), each digit's displaced by a few long waves: joints stay joined."""
    count = len(ends)
    for _ in range(WAVES):
        frequency = rng.uniform(-1.2, 1.2, (count, 2))  # waves per height; all at most about as long as the digit
        phase = rng.uniform(0, 2 * np.pi, (count, 1, 1, 1))
        push = BEND * rng.standard_normal((count, 1, 1, 2))
        angle = 2 * np.pi * np.einsum("npec,nc->npe", ends, frequency)[..., None]
        ends = ends + push * np.sin(angle + phase)
    return ends


def _distances(x: np.ndarray, y: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """The distance of every pixel to the nearest stroke, negative inside: (N, SIZE SIZE) in pixels.

    x, y: (N, PIECES, 2 ends) in pixels from the middle. radius: (N, PIECES), half of each piece's thickness.
    """
    middle = (SIZE - 1) / 2
    rows, columns = (axis.ravel().astype(np.float32) - middle for axis in np.mgrid[:SIZE, :SIZE])
    nearest = np.full((len(x), SIZE * SIZE), np.inf, np.float32)
    for piece in range(PIECES):
        (x0, x1), (y0, y1) = (axis[:, piece].T[..., None] for axis in (x, y))
        dx, dy = x1 - x0, y1 - y0
        u, v = columns - x0, rows - y0
        squared = np.maximum(dx * dx + dy * dy, 1e-6)
        along = np.minimum(np.maximum(u * (dx / squared) + v * (dy / squared), 0), 1)
        u, v = u - along * dx, v - along * dy
        np.minimum(nearest, np.sqrt(u * u + v * v) - radius[:, piece, None], out=nearest)
    return nearest


def main(output: Path, seed: int) -> None:
    rows, columns = 10, 20
    angles = np.tile(np.linspace(-LARGEST_ANGLE, LARGEST_ANGLE, columns), rows)
    pictures = draw(angles, np.random.default_rng(seed), np.repeat(np.arange(rows), columns))
    sheet = pictures.reshape(rows, columns, SIZE, SIZE).swapaxes(1, 2).reshape(rows * SIZE, columns * SIZE)
    Image.fromarray(sheet).save(output)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    main(**vars(parser.parse_args()))
