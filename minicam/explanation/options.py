"""How maps are made: the options of `explain` and `gradcam`."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from minicam.errors import MinicamError
from minicam.explanation.methods import METHODS, WEIGHTED
from minicam.resizing import EDGES
from minicam.resizing import METHODS as RESIZING

UPSAMPLINGS = (*RESIZING, "none")


@dataclass(frozen=True)
class Options:
    """upsampling: "bicubic", "bilinear", "nearest" (to the size of the input given) or "none" (maps at feature size);
    or one of the first three for each axis. edges: "mirror" or "clamp", what upsampling sees beyond the edge.
    alpha: "mean" or "sum" of the gradient over the feature layer's positions. method: "gradcam" or "hirescam".
    truncate: set maps to 0 where the gradient is 0. keep_gradients: return the gradients as well.
    progress: wraps the iterable of backward passes, as tqdm.tqdm does.

    Raises MinicamError for anything else.
    """

    upsampling: str | Sequence[str] = "bicubic"
    edges: str = "mirror"
    alpha: str = "mean"
    method: str = "gradcam"
    truncate: bool = False
    keep_gradients: bool = False
    progress: Callable[[Iterable[Any]], Iterable[Any]] | None = None

    def __post_init__(self) -> None:
        if isinstance(self.upsampling, str):
            _check("upsampling", self.upsampling, UPSAMPLINGS)
        else:
            for one in self.upsampling:
                _check("upsampling of an axis", one, RESIZING)
        _check("edges", self.edges, EDGES)
        _check("alpha", self.alpha, ("mean", "sum"))
        _check("method", self.method, METHODS)

    @property
    def sums_will_do(self) -> bool:
        """Whether the maps need of a gradient only the sums over its positions, where all positions count."""
        return self.method in WEIGHTED and not self.truncate and not self.keep_gradients


def _check(name: str, value: object, choices: Sequence[str]) -> None:
    if value not in choices:
        raise MinicamError(f"{name} is {value!r}; expected one of {', '.join(map(repr, choices))}")
