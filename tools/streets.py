"""Draw synthetic street scenes, each with its exact label map: no photograph, no licence, no annotator.

A scene is a small world in metres: X to the right, Y up from the road, Z ahead of the camera, which looks along
the street from a car that keeps to the left. Every surface is a flat polygon, painted from far to near by
`Canvas.paint`, the one function that writes colours and class of the same pixels, so that the two always agree.

The same seed and size give the same bytes; other sizes show the same scene at another resolution.
"""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter, map_coordinates

SKY, BUILDING, POLE, ROAD, PAVEMENT, TREE, SIGN, FENCE, CAR, PEDESTRIAN, BICYCLIST, VOID = range(12)

SERIES = 0  # varies all scenes; chosen so that the seed 0 shows a bit of everything
NEAR, FAR = 1.0, 150.0  # metres ahead of the camera where the street begins and ends
FOCAL = 1.2  # focal length in picture heights
ASPECT = 4 / 3  # width over height of the view; other sizes stretch it
SUPERSAMPLING = 2  # painted pixels per picture pixel, each way
KERB = 0.12  # height of the pavement over the road in metres

BRICKS = [(112, 84, 68), (128, 112, 90), (96, 90, 84), (138, 128, 112), (100, 74, 62), (150, 146, 138)]
ROOFS = [(66, 58, 56), (58, 60, 66), (84, 62, 52)]
PAINTS = [(34, 36, 44), (118, 122, 128), (100, 26, 28), (30, 48, 92), (52, 58, 62), (160, 162, 164), (26, 62, 50)]
CLOTHES = [(22, 22, 28), (44, 24, 26), (26, 32, 48), (34, 34, 32), (58, 54, 50)]
LEAVES = [(66, 76, 42), (78, 82, 48), (58, 72, 44), (74, 72, 48)]
SHOPS = [(42, 56, 50), (78, 44, 42), (46, 50, 66), (88, 82, 70), (40, 40, 42)]
WOODS = [(84, 68, 52), (92, 86, 76), (70, 58, 50)]
COURSES = (2.5, 0.8, 2.5)  # the texture's scale along X, Y, Z that looks like rows of bricks

GLASS, RUBBER, STEEL, WHITE, DARK = (38, 44, 50), (20, 20, 22), (70, 74, 76), (190, 190, 186), (24, 24, 26)


class Canvas:
    """A supersampled picture and its label map, seen by a camera in the street's world."""

    def __init__(self, size: tuple[int, int], rng: np.random.Generator):
        self.height, self.width = (SUPERSAMPLING * side for side in size)
        self.horizon, self.vanishing = rng.uniform(0.44, 0.52), rng.uniform(0.44, 0.56)  # fractions of the picture
        self.eye = rng.uniform(1.45, 1.75)  # metres over the road
        self.light = rng.uniform(1.1, 1.3)
        self.visibility = rng.uniform(300, 700)  # metres at which haze takes half of a colour
        self.haze = rng.uniform(244, 250) + np.array([-2.0, 1.0, 4.0])
        self.tile = gaussian_filter(rng.standard_normal((256, 256)), 0.8, mode="wrap")
        self.tile /= self.tile.std()
        self.colours = np.broadcast_to(self.haze, (self.height, self.width, 3)).copy()
        self.labels = np.full((self.height, self.width), SKY, np.uint8)

    def paint(
        self,
        points: ArrayLike,
        label: int,
        colour: ArrayLike,
        *,
        rough: float = 0.08,
        scale: ArrayLike = 1.0,
        fall: float = 0.0,
        holes: float | None = None,
        alpha: float = 1.0,
    ) -> None:
        """Paint a flat polygon, (N, 3) corners in metres, and give its pixels the class `label`.

        The RGB colour (0..255) varies by the fraction `rough` with patches of about `scale` metres (one number, or
        one each along X, Y, Z), darkens by the fraction `fall` from top to bottom, lets `1 - alpha` of the background
        through and fades into the haze. With `holes`, pixels where the texture (mean 0, deviation about 1) is below
        that level are left alone.
        """
        rows, columns = self._pixels(points)
        if len(rows) == 0:
            return
        texture, distance = self._texture(np.asarray(points, float), rows, columns, scale)
        if holes is not None:
            kept = texture > holes
            rows, columns, texture, distance = rows[kept], columns[kept], texture[kept], distance[kept]
        top, bottom = rows.min(initial=self.height), rows.max(initial=0) + 1
        shade = self.light * (1 + rough * texture) * (1 - fall * (rows - top) / (bottom - top))
        fog = (distance / (distance + self.visibility))[:, None]
        colours = (1 - fog) * shade[:, None] * np.asarray(colour, float) + fog * self.haze
        self.colours[rows, columns] = alpha * colours + (1 - alpha) * self.colours[rows, columns]
        self.labels[rows, columns] = label

    def _pixels(self, points: ArrayLike) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Rows and columns of the painted pixels inside a polygon of (N, 3) corners in metres."""
        x, y, z = np.asarray(points, float).T
        corners = np.stack(
            [
                (self.vanishing + FOCAL / ASPECT * x / z) * self.width,
                (self.horizon + FOCAL * (self.eye - y) / z) * self.height,
            ],
            axis=1,
        )
        if (np.ptp(corners, axis=0) < 0.4).any():  # too thin to see
            return np.empty(0, int), np.empty(0, int)
        corners = np.round(corners).astype(int)
        first = np.clip(corners.min(0), 0, (self.width, self.height))
        last = np.clip(corners.max(0) + 1, 0, (self.width, self.height))
        if (first >= last).any():
            return np.empty(0, int), np.empty(0, int)
        mask = Image.new("1", tuple(last - first))
        ImageDraw.Draw(mask).polygon([tuple(corner) for corner in (corners - first).tolist()], fill=1)
        rows, columns = np.nonzero(np.asarray(mask))
        return rows + first[1], columns + first[0]

    def _texture(self, points: NDArray, rows: NDArray, columns: NDArray, scale: ArrayLike) -> tuple[NDArray, NDArray]:
        """The surface's texture (mean 0, deviation about 1) and distance in metres, both (pixels,).

        The polygon counts as the plane across the axis along which its corners vary least; every pixel's ray meets
        that plane in a point, whose two other coordinates look the texture up. So textures shrink with perspective.
        """
        u = ((columns + 0.5) / self.width - self.vanishing) * ASPECT / FOCAL
        v = ((rows + 0.5) / self.height - self.horizon) / FOCAL
        axis = np.ptp(points, axis=0).argmin()
        offset = abs((points - (0, self.eye, 0)).mean(0)[axis])
        slope = np.abs((u, v, np.ones_like(u))[axis])
        distance = np.clip(offset / np.maximum(slope, 1e-9), points[:, 2].min(), points[:, 2].max())
        place = np.array([u * distance, v * distance, distance]) / np.broadcast_to(scale, 3)[:, None]
        place = np.delete(place, axis, axis=0)
        pixel = distance / (FOCAL * self.height * np.min(scale))  # a pixel's width in the texture's unit
        cells = np.array((0.02, 0.09, 0.5))[:, None]
        layers = map_coordinates(self.tile, place[:, None] / cells, order=1, mode="grid-wrap")
        weights = 0.75 * cells / (cells + pixel)  # details smaller than a pixel fade out instead of flickering
        texture = (weights * layers).sum(axis=0)
        return texture, distance

    def photograph(self, rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Picture (H, W, 3) and labels (H, W) at the final size, with a lens's blur and a sensor's grain."""
        height, width = self.height // SUPERSAMPLING, self.width // SUPERSAMPLING
        colours = self.colours.reshape(height, SUPERSAMPLING, width, SUPERSAMPLING, 3).mean(axis=(1, 3))
        colours = gaussian_filter(colours, (height / 1000, height / 1000, 0))
        across, down = np.linspace(-1, 1, width), np.linspace(-1, 1, height)[:, None]
        colours *= 1 - 0.08 * (across**2 + down**2)[:, :, None]
        colours += rng.standard_normal((height, width, 1)) * 1.5
        labels = self.labels[SUPERSAMPLING // 2 :: SUPERSAMPLING, SUPERSAMPLING // 2 :: SUPERSAMPLING]
        return np.clip(np.round(colours), 0, 255).astype(np.uint8), labels.copy()


def flat(left: float, right: float, near: float, far: float, y: float = 0.0) -> NDArray:
    """A level rectangle, (4, 3)."""
    return np.array([(left, y, near), (right, y, near), (right, y, far), (left, y, far)])


def upright(start: tuple[float, float], end: tuple[float, float], bottom: float, top: float) -> NDArray:
    """A vertical rectangle over the ground line from `start` to `end`, each (x, z): (4, 3)."""
    (x0, z0), (x1, z1) = start, end
    return np.array([(x0, bottom, z0), (x1, bottom, z1), (x1, top, z1), (x0, top, z0)])


def patch(quad: NDArray, left: float, right: float, bottom: float, top: float) -> NDArray:
    """A part of a quadrilateral such as `upright` gives, between fractions of its width and height: (4, 3)."""

    def point(across: float, up: float) -> NDArray:
        low, high = (1 - across) * quad[0] + across * quad[1], (1 - across) * quad[3] + across * quad[2]
        return (1 - up) * low + up * high

    return np.array([point(left, bottom), point(right, bottom), point(right, top), point(left, top)])


ANGLES = np.linspace(0, 2 * np.pi, 20, endpoint=False)
CIRCLE = np.column_stack([np.cos(ANGLES), np.sin(ANGLES)])


def disc(centre: ArrayLike, across: ArrayLike, up: ArrayLike, reach: ArrayLike = 1.0) -> NDArray:
    """An ellipse around `centre` with the half axes `across` and `up`, as a polygon (20, 3).

    A `reach` (20, 1) stretches the way to each corner, for ragged outlines.
    """
    return np.asarray(centre) + reach * (CIRCLE @ np.array((across, up)))


def pick(rng: np.random.Generator, colours: list[tuple[int, int, int]]) -> NDArray:
    """One of some RGB colours, a little varied."""
    return np.array(colours[rng.integers(len(colours))]) * rng.uniform(0.85, 1.15)


def draw_ground(canvas: Canvas, rng: np.random.Generator, left: float, right: float, paths: float) -> None:
    """Sky, road, markings and both pavements, `paths` metres wide; the kerbs are at -left and right."""
    canvas.paint(flat(-4000, 4000, 300, 6000, 350), SKY, (194, 208, 226), rough=0.06, scale=600)
    asphalt = np.array((88, 88, 92)) * rng.uniform(0.85, 1.1)
    canvas.paint(flat(-300, 300, NEAR, FAR), PAVEMENT, (92, 92, 88))
    canvas.paint(flat(-left, right, NEAR, FAR), ROAD, asphalt, rough=0.04)
    for x in (-left / 2, left / 2, right - left / 2):  # tyre tracks
        canvas.paint(flat(x - 0.35, x + 0.35, NEAR, FAR), ROAD, asphalt * 0.9, rough=0.05, alpha=0.5)
    middle = (right - left) / 2
    for z in np.arange(2 + rng.uniform(0, 6), 150, 6):
        canvas.paint(flat(middle - 0.06, middle + 0.06, z, z + 3), ROAD, WHITE, alpha=0.8, holes=-1.5)
    for x in (0.35 - left, 0.55 - left, right - 0.35, right - 0.55):  # no parking
        canvas.paint(flat(x - 0.05, x + 0.05, NEAR, FAR), ROAD, (176, 160, 92), alpha=0.6, holes=-1.2)
    for side, edge in ((-1, -left), (1, right)):
        inner, outer = sorted((edge, edge + side * paths))
        canvas.paint(flat(inner, outer, NEAR, FAR, KERB), PAVEMENT, (122, 118, 110), rough=0.07)
        canvas.paint(upright((edge, NEAR), (edge, FAR), 0, KERB), PAVEMENT, (92, 91, 88))
        for z in np.arange(2, 60, 1.0):  # joints between the slabs
            canvas.paint(flat(inner, outer, z, z + 0.02, KERB), PAVEMENT, DARK, alpha=0.35)
        stones = sorted((edge, edge + side * 0.16))
        canvas.paint(flat(*stones, NEAR, FAR, KERB), PAVEMENT, (142, 140, 134))


def draw_building(canvas: Canvas, rng: np.random.Generator, x: float, z: float, length: float) -> None:
    """A house whose front stands at x along the street, from z to z + length, outward from the street."""
    side, storeys = np.sign(x), int(rng.integers(2, 4))
    eaves, brick, trim = 3.1 * storeys + rng.uniform(0.2, 1), pick(rng, BRICKS), rng.uniform(80, 150)
    ridge, depth, roof = eaves + rng.uniform(1.5, 3), 4.5, pick(rng, ROOFS)
    front = upright((x, z), (x, z + length), KERB, eaves)
    canvas.paint(
        [(x, eaves, z), (x, eaves, z + length), (x + side * depth, ridge, z + length), (x + side * depth, ridge, z)],
        BUILDING,
        roof,
        scale=2,
    )
    gable = [
        (x, KERB, z),
        (x + side * 2 * depth, KERB, z),
        (x + side * 2 * depth, eaves, z),
        (x + side * depth, ridge, z),
        (x, eaves, z),
    ]
    canvas.paint(gable, BUILDING, brick * 0.85, scale=COURSES, fall=0.2)
    canvas.paint(upright((x + side * 3, z + 1), (x + side * 4.2, z + 1), eaves, ridge + 1), BUILDING, brick * 0.8)
    canvas.paint(front, BUILDING, brick, rough=0.09, scale=COURSES, fall=0.15)
    canvas.paint(patch(front, 0, 1, 0.97, 1), BUILDING, roof * 0.7)
    draw_windows(canvas, rng, front, storeys, np.full(3, trim))
    if rng.random() < 0.5:
        shop, fascia = patch(front, 0.06, 0.94, 0, 2.5 / eaves), pick(rng, SHOPS)
        canvas.paint(shop, BUILDING, fascia * 0.7)
        canvas.paint(patch(front, 0.06, 0.94, 2.5 / eaves, 2.9 / eaves), BUILDING, fascia)
        for pane in range(6):
            glass = np.array(GLASS) * rng.uniform(0.5, 1.2)
            canvas.paint(patch(shop, 0.02 + pane * 0.16, 0.16 + pane * 0.16, 0.2, 0.95), BUILDING, glass, fall=-0.3)


def draw_windows(canvas: Canvas, rng: np.random.Generator, front: NDArray, storeys: int, trim: NDArray) -> None:
    """Rows of sash windows on a front, (4, 3), with frames of the RGB colour `trim`, and a door."""
    columns = max(2, round((front[1, 2] - front[0, 2]) / 2.2))
    door = rng.integers(columns)
    for row in range(storeys):
        for column in range(columns):
            cell = patch(front, column / columns, (column + 1) / columns, row / storeys, (row + 1) / storeys)
            low = 0.0 if row == 0 and column == door else 0.32
            canvas.paint(patch(cell, 0.3, 0.7, low, 0.84), BUILDING, trim)
            pane = patch(cell, 0.33, 0.67, low + 0.04, 0.81)
            canvas.paint(pane, BUILDING, np.array(GLASS) * rng.uniform(0.5, 1.3), rough=0.1, scale=9, fall=0.3)
            if front[0, 2] < 45:  # bars and sills would be too small to see farther away
                canvas.paint(patch(pane, 0, 1, 0.48, 0.53), BUILDING, trim)
                canvas.paint(patch(pane, 0.47, 0.53, 0, 1), BUILDING, trim)
                canvas.paint(patch(cell, 0.26, 0.74, low - 0.04, low), BUILDING, trim * 0.8)


def draw_garden(canvas: Canvas, rng: np.random.Generator, x: float, z: float, length: float) -> None:
    """Trees and a hedge behind a fence, which stands at x along the street from z to z + length."""
    side, wood, height = np.sign(x), pick(rng, WOODS), rng.uniform(1.3, 1.9)
    for step in (0.85, 0.15):
        draw_tree(canvas, rng, x + side * rng.uniform(1.2, 2.2), z + length * step)
    for step in np.arange(length, 0, -1.6):
        draw_foliage(canvas, rng, (x + side * 0.8, height - 0.2, z + step), 0.8, pick(rng, LEAVES))
    fence = upright((x, z), (x, z + length), KERB, height)
    canvas.paint(fence, FENCE, wood, rough=0.15)
    boards = round(length / 0.35)
    for board in range(boards):
        canvas.paint(patch(fence, board / boards, (board + 0.16) / boards, 0, 1), FENCE, wood * 0.55)
    canvas.paint(patch(fence, 0, 1, 0.94, 1), FENCE, wood * 1.2)


def draw_foliage(canvas: Canvas, rng: np.random.Generator, centre: ArrayLike, radius: float, leaf: NDArray) -> None:
    """A round of leaves in the RGB colour `leaf`, dark below and lighter above; sky shows through at its rim."""
    clumps = round(1200 / (centre[2] + 20))  # fewer and larger ones far away
    for light in np.linspace(0, 1, clumps):
        angle, reach = rng.uniform(0, 2 * np.pi), radius * rng.uniform(0, 1) ** 0.6
        x, y = reach * np.cos(angle), reach * (0.75 * np.sin(angle) + 0.4 * light - 0.2)
        size = radius * rng.uniform(0.28, 0.5) * (30 / clumps) ** 0.4
        outline = disc(centre + np.array((x, y, 0)), (size, 0, 0), (0, size * 0.8, 0), rng.uniform(0.4, 1.2, (20, 1)))
        tint = leaf * (0.4 + 0.8 * light) * rng.uniform(0.8, 1.2)
        canvas.paint(outline, TREE, tint, rough=0.35, holes=-0.4 if light > 0.4 else -1, fall=0.3)


def draw_tree(canvas: Canvas, rng: np.random.Generator, x: float, z: float) -> None:
    """A tree of five to eight metres with its trunk at (x, z)."""
    height, leaf, bark = rng.uniform(5, 8), pick(rng, LEAVES), (52, 46, 40)
    canvas.paint(
        [(x - 0.2, 0, z), (x + 0.2, 0, z), (x + 0.1, height * 0.7, z), (x - 0.1, height * 0.7, z)],
        TREE,
        bark,
        rough=0.2,
    )
    for _ in range(7):
        low, lean, top = rng.uniform(0.3, 0.5) * height, rng.normal(0, 1.2), rng.uniform(0.7, 0.95) * height
        canvas.paint([(x - 0.08, low, z), (x + 0.08, low, z), (x + lean, top, z)], TREE, bark)
    for _ in range(5):
        spot = (x + rng.normal(0, 0.16) * height, height * rng.uniform(0.5, 0.9), z)
        draw_foliage(canvas, rng, spot, height * 0.26, leaf)


CAR_PROFILE = np.array(
    [  # half width, height, distance from the rear in metres: rear bumper, window, roof ... bonnet
        (0.80, 0.28, 0.05),
        (0.84, 0.60, 0.00),
        (0.82, 0.95, 0.12),
        (0.62, 1.42, 0.60),
        (0.62, 1.46, 2.00),
        (0.80, 0.97, 3.00),
        (0.80, 0.74, 3.95),
        (0.80, 0.28, 4.05),
    ]
)


def draw_car(canvas: Canvas, rng: np.random.Generator, x: float, z: float, oncoming: bool = False) -> None:
    """A car centred at x whose nearer end is at z; it shows its rear, or its face if `oncoming`."""
    paint, wide = pick(rng, PAINTS), np.array((rng.uniform(0.95, 1.08), rng.uniform(0.96, 1.15), 1))
    profile = CAR_PROFILE * wide
    if oncoming:
        profile = profile[::-1] * (1, 1, -1) + (0, 0, 4.05)
    for grow in (0.35, 0.2, 0.1, 0.0):  # the shadow's soft edge
        canvas.paint(flat(x - 0.9 - grow, x + 0.9 + grow, z - grow, z + 4 + grow), ROAD, DARK, alpha=0.35)
    for wheel_x in (-0.7, 0.7):
        canvas.paint(upright((x + wheel_x - 0.12, z + 0.4), (x + wheel_x + 0.12, z + 0.4), 0, 0.45), CAR, RUBBER)
    left, right = (np.array((x, 0, z)) + profile * (side, 1, 1) for side in (-1, 1))
    panels = [np.array([left[i], right[i], right[i + 1], left[i + 1]]) for i in range(len(profile) - 1)]
    lights = (0.75, 0.95, 1.0, 1.25, 1.1, 1.2, 0.8)  # what faces the sky is lighter
    for panel, light in reversed(list(zip(panels, lights, strict=True))):
        canvas.paint(panel, CAR, paint * light, rough=0.03, fall=0.25)
    draw_car_side(canvas, profile, (x, z), paint, -np.sign(x), oncoming)
    draw_car_end(canvas, panels, oncoming)


def draw_car_side(
    canvas: Canvas, profile: NDArray, place: tuple[float, float], paint: NDArray, side: float, oncoming: bool
) -> None:
    """The flank of a car at `place` (x, z) which looks to `side` (-1 left, 1 right), with windows and wheels."""
    x, z = place
    canvas.paint(profile * (side, 1, 1) + (x, 0, z), CAR, paint * 0.85, rough=0.03, fall=0.35)
    sill, roof = 0.98 * profile[3, 1] / 1.42, profile[3, 1] * 0.96
    for low_start, low_end, high_start, high_end in ((0.5, 1.55, 0.85, 1.55), (1.65, 2.75, 1.65, 2.05)):
        ends = np.array((low_start, low_end, high_end, high_start))
        ends = z + (4.05 - ends if oncoming else ends)
        sides = x + side * np.array((0.8, 0.8, 0.65, 0.65))
        canvas.paint(np.stack([sides, (sill, sill, roof, roof), ends], axis=1), CAR, GLASS, rough=0.1, fall=-0.5)
    for axle in (0.75, 3.2):
        centre = np.array((x + side * 0.83, 0.31, z + (4.05 - axle if oncoming else axle)))
        for radius, colour in ((0.37, DARK), (0.31, RUBBER), (0.19, (112, 114, 116)), (0.06, DARK)):
            canvas.paint(disc(centre, (0, 0, radius), (0, radius, 0)), CAR, colour)


def draw_car_end(canvas: Canvas, panels: list[NDArray], oncoming: bool) -> None:
    """Window, lamps and number plate on a car's nearer end; `panels` (4, 3) each go from its bumper upwards."""
    canvas.paint(patch(panels[2], 0.07, 0.93, 0.08, 0.9), CAR, GLASS, rough=0.1, fall=-0.6)
    canvas.paint(patch(panels[0], 0.02, 0.98, 0, 0.35), CAR, DARK)
    lamps, lamp, plate = (panels[0], WHITE, WHITE) if oncoming else (panels[1], (150, 26, 20), (186, 164, 70))
    for start in (0.03, 0.81):
        canvas.paint(patch(lamps, start, start + 0.16, 0.55, 0.92), CAR, lamp, fall=0.3)
    if oncoming:
        canvas.paint(patch(lamps, 0.25, 0.75, 0.6, 0.85), CAR, DARK)
    canvas.paint(patch(lamps, 0.36, 0.64, 0.2, 0.5), CAR, plate)


def draw_figure(
    canvas: Canvas, label: int, place: tuple[float, float], parts: list[tuple[ArrayLike, ArrayLike]]
) -> None:
    """Flat parts (outline (N, 2) in metres from the feet, RGB colour) standing at `place` (x, z)."""
    for outline, colour in parts:
        outline = np.asarray(outline, float)
        points = np.column_stack([outline[:, 0] + place[0], outline[:, 1], np.full(len(outline), place[1])])
        canvas.paint(points, label, colour, rough=0.15, scale=0.5, fall=0.25)


def circle(x: float, y: float, across: float, up: float) -> NDArray:
    """A flat ellipse for `draw_figure`, (20, 2)."""
    return disc((x, y), (across, 0), (0, up))


def draw_person(canvas: Canvas, rng: np.random.Generator, x: float, z: float) -> None:
    """A pedestrian on the pavement, in mid-step."""
    coat, trousers, skin, stride = pick(rng, CLOTHES), pick(rng, CLOTHES) * 0.8, (150, 116, 98), rng.uniform(0.1, 0.3)
    parts = [
        ([(-0.14, 0.9), (0.04, 0.9), (0.05 - stride, 0.1), (-0.09 - stride, 0.1)], trousers),
        ([(-0.04, 0.9), (0.14, 0.9), (0.09 + stride, 0.1), (-0.05 + stride, 0.1)], trousers * 0.8),
        ([(-0.2, 0.75), (0.2, 0.75), (0.25, 1.4), (0.1, 1.52), (-0.1, 1.52), (-0.25, 1.4)], coat),
        ([(-0.25, 1.42), (-0.14, 1.42), (-0.2, 0.8), (-0.32, 0.8)], coat * 0.8),
        ([(0.25, 1.42), (0.14, 1.42), (0.2, 0.8), (0.32, 0.8)], coat * 0.7),
        (circle(0, 1.66, 0.1, 0.13), skin),
        (circle(0, 1.72, 0.11, 0.09), np.array(DARK)),
    ]
    draw_figure(canvas, PEDESTRIAN, (x, z), parts)


def draw_cyclist(canvas: Canvas, rng: np.random.Generator, x: float, z: float) -> None:
    """A bicyclist seen aslant: the bicycle's length appears shortened to the fraction `turn`, negative to the left."""
    jacket, trousers, turn = pick(rng, CLOTHES) * 1.5, pick(rng, CLOTHES), rng.choice((-1, 1)) * rng.uniform(0.3, 0.6)
    wheel = 0.34 * abs(turn) + 0.03
    parts = [
        (circle(hub * turn, 0.34, radius * wheel, radius * 0.34), colour)
        for hub in (0.52, -0.52)
        for radius, colour in ((1.0, RUBBER), (0.86, (74, 74, 76)))
    ]
    frame = np.array([(-0.52, 0.34), (-0.15, 0.88), (0.4, 0.92), (0.52, 0.34), (0.36, 0.8), (-0.1, 0.76), (0, 0.3)])
    saddle, shoulder, pedal = -0.15 * turn, 0.25 * turn, 0.05 * turn
    parts += [
        (frame * (turn, 1), STEEL),
        ([(0.42 * turn - 0.25, 1.0), (0.42 * turn + 0.25, 1.0), (0.42 * turn, 1.06)], DARK),
        ([(saddle - 0.16, 1), (saddle + 0.02, 1), (pedal - 0.02, 0.4), (pedal - 0.14, 0.4)], trousers),
        ([(saddle - 0.02, 1), (saddle + 0.18, 1), (pedal + 0.14, 0.22), (pedal, 0.22)], trousers * 0.8),
        (
            [
                (saddle - 0.19, 0.9),
                (saddle + 0.19, 0.9),
                (shoulder + 0.25, 1.38),
                (shoulder + 0.12, 1.52),
                (shoulder - 0.12, 1.52),
                (shoulder - 0.25, 1.38),
            ],
            jacket,
        ),
    ]
    parts += [
        (
            [
                (shoulder + side * 0.25, 1.42),
                (shoulder + side * 0.14, 1.42),
                (0.42 * turn + side * 0.2, 1.0),
                (0.42 * turn + side * 0.29, 1.0),
            ],
            jacket * 0.8,
        )
        for side in (-1, 1)
    ]
    parts += [(circle(0.35 * turn, 1.63, 0.1, 0.13), (140, 108, 92)), (circle(0.35 * turn, 1.7, 0.12, 0.1), DARK)]
    draw_figure(canvas, BICYCLIST, (x, z), parts)


def draw_lamp(canvas: Canvas, rng: np.random.Generator, x: float, z: float) -> None:
    """A street lamp whose arm reaches over the road."""
    reach, height = -np.sign(x) * rng.uniform(1.2, 1.8), rng.uniform(6, 7.5)
    parts = [
        ([(-0.09, 0), (0.09, 0), (0.05, height), (-0.05, height)], STEEL),
        ([(0, height - 0.1), (0, height), (reach, height + 0.35), (reach, height + 0.27)], STEEL),
        (circle(reach, height + 0.28, 0.3, 0.06), (120, 122, 120)),
    ]
    draw_figure(canvas, POLE, (x, z), parts)


def draw_sign(canvas: Canvas, rng: np.random.Generator, x: float, z: float) -> None:
    """A traffic sign on its pole: a round one, a triangle or a blue board."""
    draw_figure(canvas, POLE, (x, z), [([(-0.05, 0), (0.05, 0), (0.05, 2.6), (-0.05, 2.6)], STEEL)])
    red, blue = (156, 28, 30), (28, 60, 130)
    triangle = np.array([(-0.46, 2.2), (0.46, 2.2), (0, 3.0)])
    boards = [
        [(circle(0, 2.6, 0.38, 0.38), red), (circle(0, 2.6, 0.27, 0.27), WHITE)],
        [(triangle, red), (triangle * 0.6 + (0, 0.98), WHITE)],
        [
            ([(-0.28, 2.1), (0.28, 2.1), (0.28, 2.8), (-0.28, 2.8)], blue),
            ([(-0.2, 2.4), (0.2, 2.4), (0.2, 2.5), (-0.2, 2.5)], WHITE),
        ],
    ]
    draw_figure(canvas, SIGN, (x, z), boards[rng.integers(len(boards))])


def draw_bin(canvas: Canvas, rng: np.random.Generator, x: float, z: float) -> None:
    """A litter bin, which belongs to no class."""
    width = rng.uniform(0.2, 0.3)
    draw_figure(canvas, VOID, (x, z), [([(-width, 0.1), (width, 0.1), (width, 1.1), (-width, 1.1)], (34, 44, 40))])


def draw_rows(canvas: Canvas, rng: np.random.Generator, left: float, right: float) -> None:
    """Houses and gardens along both sides, their fronts at -left and right, and the street's far end."""
    for x in np.arange(-60, 60, 7.0):
        canvas.paint(upright((x, FAR - 10), (x + 8, FAR - 10), 0, rng.uniform(5, 9)), BUILDING, pick(rng, BRICKS))
    for x in np.arange(-50, 50, 9.0):
        draw_tree(canvas, rng, x + rng.uniform(-3, 3), FAR - 15)
    for x in (-left, right):
        plots, z = [], NEAR + 1
        while z < FAR - 20:
            length = rng.uniform(6, 10) + 0.05 * z
            plots.append((z, length))
            z += length
        gap = rng.integers(1, 4)
        for number, (z, length) in reversed(list(enumerate(plots))):
            draw = draw_garden if number % 4 == gap else draw_building
            draw(canvas, rng, x, z, length)


def plan_traffic(rng: np.random.Generator, left: float, right: float) -> list[tuple]:
    """Road users and street furniture between the kerbs at -left and right, as (z, function, x, options)."""
    things = [
        (rng.uniform(7.5, 9.5), draw_car, 0.95 - left, {}),
        (rng.uniform(17, 26), draw_car, 0.2, {}),
        (rng.uniform(10, 12), draw_cyclist, rng.uniform(-1.4, -1.0), {}),
    ]
    things += [(z, draw_car, right / 2, {"oncoming": True}) for z in rng.uniform(14, 60, 2)]
    things += [
        (z + rng.uniform(0, 1), draw_car, right - 0.95, {"oncoming": True})
        for z in np.arange(15, 60, 5.5)
        if rng.random() < 0.5
    ]
    for edge, side in ((-left, -1), (right, 1)):
        things += [(z, draw_person, edge + side * rng.uniform(0.6, 1.8), {}) for z in rng.uniform(12, 30, 3)]
        things += [(z, draw_lamp, edge + side * 0.4, {}) for z in np.arange(rng.uniform(10, 16), 100, 24)]
        things += [(z, draw_sign, edge + side * 0.5, {}) for z in rng.uniform(11, 35, 2)]
        things += [(z, draw_tree, edge + side * 0.8, {}) for z in rng.uniform(20, 70, 3)]
        things += [(rng.uniform(12, 20), draw_bin, edge + side * 0.5, {})]
    return things


def draw_street(seed: int = 0, size: tuple[int, int] = (720, 960)) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A street scene: picture (H, W, 3) and class index per pixel (H, W), both uint8, for a size (H, W).

    Classes are 0 Sky, 1 Building, 2 Pole, 3 Road, 4 Pavement, 5 Tree, 6 SignSymbol, 7 Fence, 8 Car, 9 Pedestrian,
    10 Bicyclist, and 11 for what belongs to none of them. The seed varies everything in the scene.
    """
    rng = np.random.Generator(np.random.PCG64((seed, SERIES)))
    canvas = Canvas(size, rng)
    left, right, paths = rng.uniform(3.4, 4.2), rng.uniform(5.2, 6.6), rng.uniform(2.2, 3.2)
    draw_ground(canvas, rng, left, right, paths)
    draw_rows(canvas, rng, left + paths, right + paths)
    for z, draw, x, options in sorted(plan_traffic(rng, left, right), key=lambda thing: -thing[0]):
        draw(canvas, rng, x, z, **options)
    return canvas.photograph(rng)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Draw a synthetic street scene and, if wanted, its exact label map.")
    parser.add_argument("out", metavar="OUT.png", type=Path, help="where to write the picture")
    parser.add_argument("--seed", type=int, default=0, help="which scene (default: 0)")
    parser.add_argument(
        "--size",
        type=int,
        nargs=2,
        default=(720, 960),
        metavar=("H", "W"),
        help="height and width in pixels (default: 720 960)",
    )
    parser.add_argument(
        "--labels",
        type=Path,
        metavar="LABELS.png",
        help="also write the class index of every pixel, 0..11, as a greyscale PNG",
    )
    arguments = parser.parse_args()
    image, labels = draw_street(arguments.seed, tuple(arguments.size))
    Image.fromarray(image).save(arguments.out, optimize=True)
    if arguments.labels:
        Image.fromarray(labels).save(arguments.labels, optimize=True)


if __name__ == "__main__":
    main()
