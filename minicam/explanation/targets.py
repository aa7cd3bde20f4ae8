"""What to explain: a target turns the reduction layer's output into one number and its gradient.

    y_c = sum over (i, j) in M of P[c,i,j],     d y_c / d P = 1 at channel c inside M, else 0

P: the output of the reduction layer (scores or logits), M: the pixels of interest. Sources: Selvaraju et al., ICCV
2017, equation 1, where M is one number; Vinogradova, Dibrov and Myers, AAAI 2020 (arXiv:2002.11434), equation 1.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np

from minicam.backend import Array, array_module, as_array, to_numpy
from minicam.errors import TargetError
from minicam.explanation.scores import Scores
from minicam.patches import Patch, bounding_box, corner_of, whole


class Seed(NamedTuple):
    """A target worked out for one sample.

    name: as in titles. score: the number, or an array () where it was computed. positions: how many outputs it sums.
    gradient: of the score (C, *space).
    mark: where it lies in the image, for pictures: (row, column), a mask (H, W), or None for everywhere.
    everywhere: whether the gradient is the same at every position.
    """

    name: str
    score: float | Array
    positions: int
    gradient: Patch
    mark: Any = None
    everywhere: bool = False


class Everywhere(NamedTuple):
    """A target that sums signed channels over all positions: channel -> sign, and its name. It is known before the
    scores are: a target has it as `everywhere(scores)`, which looks at no values."""

    signs: dict[int, int]
    name: str


class Target(Protocol):
    def seed(self, scores: Scores) -> Seed: ...


@dataclass(frozen=True)
class Class:
    """Class c, by name or 0-based index, over all positions."""

    c: int | str

    def everywhere(self, scores: Scores) -> Everywhere:
        c = scores.class_index(self.c)
        return Everywhere({c: 1}, scores.class_name(c))

    def seed(self, scores: Scores) -> Seed:
        return _everywhere(scores, self.everywhere(scores))


@dataclass(frozen=True)
class Pixel:
    """Class c (default: the one with the largest score there) at one pixel of the image: row, column, 0-based."""

    row: int
    col: int
    c: int | str | None = None

    def seed(self, scores: Scores) -> Seed:
        cell = scores.cell((self.row, self.col))
        c = int(scores.labels[cell]) if self.c is None else scores.class_index(self.c)
        gradient = array_module(scores.values).zeros((len(scores.values), *(1,) * len(cell)), scores.values.dtype)
        gradient[c] = 1
        name = f"{scores.class_name(c)} at ({self.row}, {self.col})"
        patch = Patch(gradient, cell, scores.space)
        return Seed(name, float(scores.values[(c, *cell)]), 1, patch, (self.row, self.col))


@dataclass(frozen=True)
class Region:
    """Class c over the pixels where mask, a boolean array of the image's size, is True."""

    mask: Any = field(repr=False)
    c: int | str

    def seed(self, scores: Scores) -> Seed:
        c = scores.class_index(self.c)
        mask = scores.image_array("mask", self.mask)
        if mask.dtype != bool:
            raise TargetError(f"the mask has values of type {mask.dtype}; expected True and False")
        if not mask.any():
            raise TargetError("the mask is empty: it is True nowhere")
        return _summed(scores, {c: 1}, scores.cells(mask), f"{scores.class_name(c)} in region", mask)


@dataclass(frozen=True)
class Predicted:
    """Class c over the positions that the layer labels c, or, with a threshold, where its probability is above it."""

    c: int | str
    threshold: float | None = None

    def seed(self, scores: Scores) -> Seed:
        c = scores.class_index(self.c)
        if self.threshold is None:
            return _over(scores, c, scores.labels == c, f"predicted {scores.class_name(c)}")
        inside = to_numpy(scores.probabilities[c] > self.threshold)
        return _over(scores, c, inside, f"{scores.class_name(c)} with p > {self.threshold:g}")


@dataclass(frozen=True)
class Component:
    """The connected region of one label around a pixel, for the class of that label. Neighbours share an edge.

    Needs scipy (the extra "images").
    """

    row: int
    col: int

    def seed(self, scores: Scores) -> Seed:
        from minicam.images import optional_module

        cell = scores.cell((self.row, self.col))
        c = int(scores.labels[cell])
        regions, _ = optional_module("scipy.ndimage").label(scores.labels == c)
        name = f"{scores.class_name(c)} around ({self.row}, {self.col})"
        return _over(scores, c, regions == regions[cell], name)


@dataclass(frozen=True)
class Border:
    """Class c over the border of what is labelled c: the positions with a neighbour, across an edge, labelled other."""

    c: int | str

    def seed(self, scores: Scores) -> Seed:
        c = scores.class_index(self.c)
        inside = scores.labels == c
        return _over(scores, c, inside & ~_interior(inside), f"border of {scores.class_name(c)}")


@dataclass(frozen=True)
class Errors:
    """Class c over the positions labelled c that `truth` says are another class; or, with missed=True, those that are
    c and were labelled another. truth: (H, W) class indices of the image's size; others than 0 ... C - 1 are void."""

    c: int | str
    truth: Any = field(repr=False)
    missed: bool = False

    def seed(self, scores: Scores) -> Seed:
        c = scores.class_index(self.c)
        truth = scores.image_array("truth", self.truth)
        if truth.dtype.kind not in "iu":
            raise TargetError(f"the truth has values of type {truth.dtype}; expected class indices")
        truth = scores.nearest(truth)
        void = (truth < 0) | (truth >= len(scores.values))
        labelled, true = scores.labels == c, truth == c
        inside = (true & ~labelled if self.missed else labelled & ~true) & ~void
        name = scores.class_name(c)
        return _over(scores, c, inside, f"missed {name}" if self.missed else f"false {name}")


@dataclass(frozen=True)
class Contrast:
    """What speaks for class a rather than b: the sum of their difference, over all pixels or those of a mask."""

    a: int | str
    b: int | str
    mask: Any = field(default=None, repr=False)

    def everywhere(self, scores: Scores) -> Everywhere | None:
        return self._difference(scores) if self.mask is None else None

    def seed(self, scores: Scores) -> Seed:
        difference = self._difference(scores)
        if self.mask is None:
            return _everywhere(scores, difference)
        region = Region(self.mask, self.a).seed(scores)
        return _summed(scores, difference.signs, scores.cells(region.mark), f"{difference.name} in region", region.mark)

    def _difference(self, scores: Scores) -> Everywhere:
        a, b = scores.class_index(self.a), scores.class_index(self.b)
        if a == b:
            raise TargetError(f"the contrast is between {self.a!r} and itself, which is always 0")
        return Everywhere({a: 1, b: -1}, f"{scores.class_name(a)} rather than {scores.class_name(b)}")


@dataclass(frozen=True)
class Function:
    """A function of the layer's output: y (1, C, *space) -> (number, gradient shaped like y)."""

    function: Callable[[Array], tuple[float, Array]]

    def seed(self, scores: Scores) -> Seed:
        y = scores.values[None]
        name = getattr(self.function, "__name__", type(self.function).__name__)
        answer = self.function(y)
        if not isinstance(answer, tuple) or len(answer) != 2:
            raise TargetError(f"{name} returned {type(answer).__name__}; expected (number, gradient)")
        score, gradient = float(answer[0]), as_array(array_module(y), answer[1], y.dtype)
        if gradient.shape != y.shape:
            raise TargetError(f"{name} returned a gradient of shape {gradient.shape}; expected {y.shape}, as of y")
        if not np.isfinite(score) or not array_module(y).isfinite(gradient).all():
            raise TargetError(f"{name} returned a number or a gradient that is NaN or infinite")
        positions = int((gradient[0] != 0).any(axis=0).sum())
        return Seed(name, score, positions, whole(gradient[0], len(scores.space)))


def as_targets(wanted: object) -> list[Target]:
    """One target or a list of them: a class name or index stands for `Class`, a callable for `Function`.

    Raises TargetError for anything else.
    """
    wanted = list(wanted) if isinstance(wanted, Sequence) and not isinstance(wanted, str) else [wanted]
    if not wanted:
        raise TargetError("the list of targets is empty; expected class names, indices or targets")
    return [_as_target(one) for one in wanted]


def _as_target(one: Any) -> Target:
    if hasattr(one, "__index__") and not isinstance(one, bool):
        return Class(one.__index__())
    if isinstance(one, str):
        return Class(one)
    if hasattr(one, "seed"):
        return one
    if callable(one):
        return Function(one)
    raise TargetError(f"{one!r} is not a target; expected a class name, a 0-based index or one of minicam's targets")


def _everywhere(scores: Scores, target: Everywhere) -> Seed:
    xp = array_module(scores.values)
    gradient = xp.zeros((len(scores.values), *(1,) * len(scores.space)), scores.values.dtype)
    score: Array = 0.0  # of a GPU it stays there, as reading it would wait
    for c, sign in target.signs.items():
        gradient[c] = sign
        score = score + sign * scores.values[c].sum(dtype=np.float64)
    patch = whole(xp.broadcast_to(gradient, scores.values.shape), len(scores.space))
    return Seed(target.name, score, math.prod(scores.space), patch, everywhere=True)


def _over(scores: Scores, c: int, cells: np.ndarray, name: str) -> Seed:
    """Class c over cells of the output that depend on what the network found, and may therefore be none."""
    return _summed(scores, {c: 1}, cells, name, scores.on_image(cells))


def _summed(scores: Scores, signs: dict[int, int], cells: np.ndarray, name: str, mark: Any = None) -> Seed:
    """The sum of signed channels over the cells (*space) that are True."""
    xp = array_module(scores.values)
    box = bounding_box(cells)
    inside = xp.asarray(cells[box])
    gradient = xp.zeros((len(scores.values), *inside.shape), scores.values.dtype)
    score = 0.0
    for c, sign in signs.items():
        gradient[c] = sign * inside
        score += sign * float(scores.values[(c, *box)][inside].sum(dtype=np.float64))
    return Seed(name, score, int(cells.sum()), Patch(gradient, corner_of(box), scores.space), mark)


def _interior(inside: np.ndarray) -> np.ndarray:
    """The positions whose neighbours along every axis are all inside; beyond the edge counts as inside."""
    padded = np.pad(inside, 1, constant_values=True)
    interior = inside.copy()
    for axis in range(inside.ndim):
        for start in (0, 2):
            shifted = [slice(1, -1)] * inside.ndim
            shifted[axis] = slice(start, start + inside.shape[axis])
            interior &= padded[tuple(shifted)]
    return interior
