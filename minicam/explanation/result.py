"""What an explanation holds, and how it is saved and drawn."""

import os
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from minicam.errors import MinicamError
from minicam.explanation.kept import Kept
from minicam.explanation.scores import SOFTMAX
from minicam.files import replaced_when_written


@dataclass(frozen=True, eq=False)
class CAM:
    """Maps of T targets at one feature layer with K channels, for one input.

    maps (T, *space of the input): after ReLU and upsampling, never rescaled; bicubic ones may dip slightly below 0.
    raw (T, *feature space): signed, before the ReLU; truncated if so asked for. alpha (T, K): the channel weights.
    activations (K, *feature space). gradients (T, K, *feature space), or None when not asked for. These two are large:
    what a GPU computed is brought into main memory when first looked at.

    targets: a name for each; scores (T,): the number explained; positions (T,): how many outputs it sums.
    score_kind: what these are: "softmax scores", "logits" or "output". method, truncated: as asked for.
    outside (T,): the fraction of the map's mass, before truncation, where the gradient is 0: what cannot have had an
    influence on the score to first order; 0 for targets over all positions.
    notes: what a reader should know about these maps.
    marks: per target where it lies in the image: (row, column), a mask (H, W), or None for everywhere.
    device: what computed it: "cpu" or "gpu (...)".
    """

    maps: np.ndarray
    raw: np.ndarray
    alpha: np.ndarray
    feature_layer: str
    reduction_layer: str
    targets: tuple[str, ...]
    scores: np.ndarray
    positions: np.ndarray
    score_kind: str
    method: str
    truncated: bool
    outside: np.ndarray
    notes: tuple[str, ...]
    marks: tuple[Any, ...]
    classes: tuple[str, ...]
    colors: tuple[tuple[int, int, int], ...]
    device: str
    _activations: Kept = field(repr=False)
    _gradients: Kept | None = field(repr=False)

    @property
    def activations(self) -> np.ndarray:
        return self._activations.numpy()

    @property
    def gradients(self) -> np.ndarray | None:
        return None if self._gradients is None else self._gradients.numpy()

    @property
    def titles(self) -> list[str]:
        """One per target, as in "Road (res5b_relu)"; what differs from Grad-CAM of softmax scores is named as well:
        "Road (res5b_relu, logits, hirescam, truncated)"."""
        said = [self.feature_layer]
        said += [self.score_kind] if self.score_kind != SOFTMAX else []
        said += [self.method] if self.method != "gradcam" else []
        said += ["truncated"] if self.truncated else []
        return [f"{target} ({', '.join(said)})" for target in self.targets]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write all arrays and names but `marks` as a NumPy .npz file, which appears whole or not at all."""
        path = os.fspath(path)
        if not path.endswith(".npz"):
            raise MinicamError(f"{path}: results are saved as .npz; expected a name that ends so")
        names = {f.name.removeprefix("_") for f in fields(self)} - {"marks"}
        values = {name: getattr(self, name) for name in sorted(names)}
        arrays = {name: np.asarray(value) for name, value in values.items() if value is not None}
        with replaced_when_written(path) as temporary, open(temporary, "wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)

    def figure(self, image: Any, labels: np.ndarray | None = None) -> Any:
        """Panels: the image, the segmentation if `labels` (H, W) are given, and each map over the image, with a dot or
        an outline where the target lies: a matplotlib Figure."""
        from minicam import figures

        marks = list(self.marks)
        return figures.panels_figure(
            image, labels, self.classes, self.colors, list(self.maps), self.titles, marks=marks
        )


@dataclass(frozen=True, eq=False)
class Explanation:
    """One input explained at several feature layers.

    labels (H, W) uint8, what `segment` gives; None for networks that do not label positions. cams: one `CAM` per
    feature layer, in the order asked for.
    """

    labels: np.ndarray | None
    cams: list[CAM]

    @property
    def device(self) -> str:
        """What computed it: "cpu" or "gpu (...)"."""
        return self.cams[0].device

    def figure(self, image: Any) -> Any:
        """For one layer the panels of `CAM.figure`; for several a grid, a row per layer and a column per target."""
        from minicam import figures

        if len(self.cams) == 1:
            return self.cams[0].figure(image, self.labels)
        maps, titles = [list(cam.maps) for cam in self.cams], [cam.titles for cam in self.cams]
        return figures.grid_figure(image, maps, titles, marks=[list(cam.marks) for cam in self.cams])
