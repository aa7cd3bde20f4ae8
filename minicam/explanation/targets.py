"""What to explain: a target turns the reduction layer's output into one number and its gradient.

    y_c = sum over (i, j) in M of P[c,i,j],     d y_c / d P = 1 at channel c inside M, else 0

P: the output of the reduction layer (scores or logits), M: the pixels of interest. Sources: Selvaraju et al., ICCV
2017, equation 1, where M is one number; Vinogradova, Dibrov and Myers, AAAI 2020 (arXiv:2002.11434), equation 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from minicam.backend import Array, array_module
from minicam.errors import TargetError
from minicam.graph import close_names


@dataclass(frozen=True)
class Scores:
    """What a target may look at, for one sample.

    values: (C, *space), the output of the reduction layer. classes: the network's class names.
    image_space: the size of the image given, in which pixel coordinates are meant.
    """

    values: Array
    classes: tuple[str, ...]
    image_space: tuple[int, ...]

    def class_index(self, wanted: int | str) -> int:
        """The channel of a class given by name or 0-based index. Raises TargetError with close names."""
        if isinstance(wanted, str):
            if wanted not in self.classes:
                raise TargetError(f"there is no class {wanted!r}{close_names(wanted, self.classes)}")
            wanted = self.classes.index(wanted)
        channels = len(self.values)
        if not 0 <= wanted < channels:
            raise TargetError(f"class {wanted} does not exist; the layer has {channels} channels: 0 to {channels - 1}")
        return int(wanted)

    def class_name(self, index: int) -> str:
        return self.classes[index] if index < len(self.classes) else f"class {index}"

    def cell(self, position: Sequence[int]) -> tuple[int, ...]:
        """The position in `values` under a 0-based position in the image: of the cell that its centre falls in."""
        space = self.values.shape[1:]
        if len(position) != len(space) or len(space) != len(self.image_space):
            raise TargetError(f"pixel {tuple(position)} cannot be found in an output with {len(space)} spatial axes")
        for coordinate, size in zip(position, self.image_space, strict=True):
            if not 0 <= coordinate < size:
                raise TargetError(
                    f"pixel {tuple(position)} lies outside the image, whose size is {tuple(self.image_space)}; "
                    "expected (row, column), 0-based"
                )
        return tuple(
            (2 * coordinate + 1) * cells // (2 * size)
            for coordinate, cells, size in zip(position, space, self.image_space, strict=True)
        )


class Seed(NamedTuple):
    """A target worked out: its name, the score, how many positions it sums, and the gradient (C, *space)."""

    name: str
    score: float
    positions: int
    gradient: Array


class Target(Protocol):
    def seed(self, scores: Scores) -> Seed: ...


@dataclass(frozen=True)
class Class:
    """Class c, by name or 0-based index, summed over all positions."""

    c: int | str

    def seed(self, scores: Scores) -> Seed:
        index = scores.class_index(self.c)
        gradient = array_module(scores.values).zeros_like(scores.values)
        gradient[index] = 1
        return _summed(scores.class_name(index), scores, gradient)


@dataclass(frozen=True)
class Pixel:
    """Class c (default: the one with the largest score there) at one pixel of the image: row, column, 0-based."""

    row: int
    col: int
    c: int | str | None = None

    def seed(self, scores: Scores) -> Seed:
        cell = scores.cell((self.row, self.col))
        index = int(scores.values[:, *cell].argmax()) if self.c is None else scores.class_index(self.c)
        gradient = array_module(scores.values).zeros_like(scores.values)
        gradient[(index, *cell)] = 1
        return _summed(f"{scores.class_name(index)} at ({self.row}, {self.col})", scores, gradient)


def _summed(name: str, scores: Scores, gradient: Array) -> Seed:
    """A target that is the sum of the scores where `gradient` is 1."""
    xp = array_module(gradient)
    inside = gradient != 0
    return Seed(name, float(scores.values[inside].sum(dtype=xp.float64)), int(inside.sum()), gradient)


def as_targets(wanted: object) -> list[Target]:
    """One target or a list of them; a class name or index stands for `Class`. Raises TargetError for anything else."""
    wanted = list(wanted) if isinstance(wanted, Sequence) and not isinstance(wanted, str) else [wanted]
    if not wanted:
        raise TargetError("the list of targets is empty; expected class names, indices or targets")
    return [_as_target(one) for one in wanted]


def _as_target(one: object) -> Target:
    if hasattr(one, "__index__") and not isinstance(one, bool):
        return Class(one.__index__())
    if isinstance(one, str):
        return Class(one)
    if hasattr(one, "seed"):
        return one
    raise TargetError(f"{one!r} is not a target; expected a class name, a 0-based index or one of minicam's targets")
