"""The whole work on images as one plan: labels, and maps of targets over all positions at several feature layers.

The forward pass, the backward passes, the channel weights, the maps and their resizing are one list of launches. Which
channels the targets are comes in a buffer, so that one CUDA graph serves every image and every choice of classes.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from minicam.backend import Array
from minicam.cuda.backward import Backward
from minicam.cuda.buffers import Buffer, FeatureMaps, Place, constant
from minicam.cuda.layout import combine
from minicam.cuda.maps import resize, weighted_sum
from minicam.cuda.plan import Plan, Step, Value
from minicam.cuda.planner import Shapes
from minicam.cuda.softmax import largest_channel
from minicam.cuda.sums import rectangle_sums
from minicam.resizing import resize_weights


@dataclass(frozen=True)
class Job:
    """What is asked for. labelled: the layer whose largest channel labels each position, or None. targets: how many;
    each is a sum of signed channels of the reduction layer over all positions. size: of the maps; method: see
    `imresize`. mean: whether the channel weights are means of the gradient, or sums."""

    reduction_layer: str
    layers: tuple[str, ...]
    labelled: str | None
    targets: int
    size: tuple[int, int]
    method: str
    mean: bool


LABELS, TOTALS, MAPS = "labels", "totals", ("alpha", "raw", "maps")
"""Names of what a job leaves for the host; of MAPS see `_named`."""


def _named(what: str, layer: str, group: int) -> str:
    """The name of one of MAPS of a group of targets: all those of a single sample, or one of each of several samples.
    The array has an entry for each of them."""
    return f"{what} of {layer}, group {group}"


def _groups(job: Job, samples: int) -> int:
    return 1 if samples == 1 else job.targets


class Explained:
    """What a job came to.

    block: (1, bytes) uint8 on the device, all that is for the host. activations: layer -> (N, K, H, W), on the device.
    """

    def __init__(self, job: Job, plan: Plan, samples: int, block: Array, activations: Mapping[str, Array]):
        self.block, self.activations = block, activations
        self._job, self.plan, self._samples = job, plan, samples

    def sample(
        self, block: np.ndarray, n: int
    ) -> tuple[np.ndarray | None, np.ndarray, dict[str, dict[str, np.ndarray]]]:
        """What the host's copy of the block, (bytes,), holds of the n-th sample: labels (H, W) uint8 if asked for; the
        sum of each channel of the reduction layer over the positions, (C,); and of each layer "alpha" (T, K), "raw"
        (T, h, w) and "maps" (T, H, W)."""
        parts = self.plan.parts(block)
        labels = parts[LABELS][n] if self._job.labelled else None
        maps = {layer: {what: self._of_sample(parts, what, layer, n) for what in MAPS} for layer in self._job.layers}
        return labels, parts[TOTALS][n, 0], maps

    def _of_sample(self, parts: Mapping[str, np.ndarray], what: str, layer: str, n: int) -> np.ndarray:
        groups = [parts[_named(what, layer, group)] for group in range(_groups(self._job, self._samples))]
        return groups[0] if self._samples == 1 else np.stack([group[n] for group in groups])


def job_plan(job: Job, forward: Plan, backward: Callable[[int], Backward], samples: int, shapes: Shapes) -> Plan:
    """forward: the plan of the forward pass, which leaves what backward reads. backward: makes a planner for so many
    gradients at a time. The signs of the targets' channels, (T, C), are copied in as "signs"."""
    channels, rows, columns = shapes[job.reduction_layer]
    signs = Buffer((job.targets, channels))
    steps: list[Step] = list(forward.steps)
    values = dict(forward.left)
    left: dict[str, Value] = {}
    if job.labelled:
        left[LABELS] = labels = Buffer((samples, *shapes[job.labelled][1:]), np.uint8)
        steps += largest_channel(_maps(values[job.labelled]), labels)
    left[TOTALS] = totals = Buffer((samples, 1, channels))
    steps += rectangle_sums(_maps(values[job.reduction_layer]), [(0, rows, 0, columns)], totals)
    for group in range(_groups(job, samples)):
        count, pitch = (job.targets, channels) if samples == 1 else (samples, 0)
        place = Place(signs, group * channels)
        seed = FeatureMaps(place, count, rows, columns, channels, 0, 0, pitch)
        sums = backward(count).plan(values, {job.reduction_layer: seed}, job.layers, {}, {})
        steps += sums.steps
        for layer in job.layers:
            found, launches = _layer_maps(job, _maps(sums.left[layer]), _maps(values[layer]), count)
            steps += launches
            left |= {_named(what, layer, group): buffer for what, buffer in found.items()}
    fetched = tuple(left)
    left |= {layer: values[layer] for layer in job.layers}
    return Plan(tuple(steps), {**forward.copied, "signs": signs}, {}, left, fetched)


def _layer_maps(
    job: Job, sums: FeatureMaps, activations: FeatureMaps, count: int
) -> tuple[dict[str, Buffer], Sequence[Step]]:
    """The channel weights, the signed maps and the resized ones of a group at a layer."""
    channels, space = activations.channels, (activations.rows, activations.columns)
    alpha, raw, maps = Buffer((count, channels)), Buffer((count, *space)), Buffer((count, *job.size))
    factor = np.full(channels, 1 / math.prod(space) if job.mean else 1, np.float32)
    weights = FeatureMaps(Place(alpha), count, 1, 1, channels, channels, channels, channels)
    rows, columns = (resize_weights(n, m, job.method) for n, m in zip(space, job.size, strict=True))
    steps = [
        *combine([sums], weights, scale=constant(factor)),
        *weighted_sum(alpha, activations, raw),
        *resize(raw, maps, rows, columns, True),
    ]
    return {"alpha": alpha, "raw": raw, "maps": maps}, steps


def _maps(value: Value) -> FeatureMaps:
    assert isinstance(value, FeatureMaps)
    return value
