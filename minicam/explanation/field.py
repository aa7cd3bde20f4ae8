"""How the channel weights vary over the image: alpha on a grid of pixels.

SEG-GRAD-CAM leaves the comparison of alpha between locations as future work (Vinogradova et al., arXiv:2002.11434).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from minicam.errors import TargetError
from minicam.explanation.inputs import is_batch, samples
from minicam.explanation.pipeline import gradcam
from minicam.explanation.targets import Pixel
from minicam.network import Network


@dataclass(frozen=True, eq=False)
class AlphaField:
    """alpha (R, S, K): the channel weights of the class's score at each pixel (rows[r], columns[s]) of a grid."""

    alpha: np.ndarray
    rows: np.ndarray
    columns: np.ndarray
    target: str
    feature_layer: str
    reduction_layer: str

    @property
    def similarity(self) -> np.ndarray:
        """Cosine similarity of alpha between every two pixels of the grid, (R, S, R, S); 0 where one is all zero."""
        flat = self.alpha.reshape(-1, self.alpha.shape[-1])
        length = np.linalg.norm(flat, axis=1, keepdims=True)
        unit = np.divide(flat, length, out=np.zeros_like(flat), where=length > 0)
        return (unit @ unit.T).reshape(self.alpha.shape[:2] * 2)

    def similarity_to(self, row: int, column: int) -> np.ndarray:
        """The part of `similarity` that compares with the pixel of the grid nearest to (row, column), (R, S)."""
        return self.similarity[self._nearest(row, column)]

    def _nearest(self, row: int, column: int) -> tuple[int, int]:
        return int(np.abs(self.rows - row).argmin()), int(np.abs(self.columns - column).argmin())

    def figure(self, image: Any, pixel: tuple[int, int] | None = None) -> Any:
        """A matplotlib Figure over the image: the similarity of every location to the pixel of the grid nearest to
        `pixel` (default: the grid's middle), drawn as a dot; and the length of alpha."""
        from minicam import figures

        r, s = self._nearest(*pixel) if pixel else (len(self.rows) // 2, len(self.columns) // 2)
        row, column = int(self.rows[r]), int(self.columns[s])
        maps = [self.similarity_to(row, column), np.linalg.norm(self.alpha, axis=-1)]
        titles = [f"alpha of {self.target} ({self.feature_layer}): cosine similarity to the dot", "length of alpha"]
        return figures.panels_figure(image, None, (), (), maps, titles, marks=[(row, column), None])


def alpha_field(
    net: Network,
    image: Any,
    c: int | str,
    layer: str | None = None,
    step: int = 40,
    reduction_layer: str | None = None,
    **options: Any,
) -> AlphaField:
    """The channel weights at `layer` of class c's score at every `step`-th pixel of one image, in rows and columns.

    layer, reduction_layer, options: as in `explain`; one call, one forward pass. Raises TargetError for a step that is
    not a whole number from 1 on, or for anything but one image; else as `explain`.
    """
    if is_batch(net, image) or len(net.input_shape) != 3:
        raise TargetError("alpha_field takes one image; for several call it for each")
    if not isinstance(step, int) or step < 1:
        raise TargetError(f"step is {step!r}; expected a whole number of pixels, 1 or more")
    (sample,) = samples(net, image)
    rows, columns = (np.arange(min(step // 2, size - 1), size, step) for size in sample.space)
    pixels = [Pixel(int(row), int(column), c) for row in rows for column in columns]
    cam = gradcam(net, image, pixels, layer, reduction_layer, **{"upsampling": "none", **options})
    target = cam.targets[0].rsplit(" at ", 1)[0]
    alpha = cam.alpha.reshape(len(rows), len(columns), -1)
    return AlphaField(alpha, rows, columns, target, cam.feature_layer, cam.reduction_layer)
