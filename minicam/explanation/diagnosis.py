"""Why a map is empty, and what to try."""

import numpy as np

from minicam.errors import TargetError
from minicam.explanation.result import CAM
from minicam.explanation.scores import SOFTMAX

NEARLY = 1e-6  # relative: below this share of its negative counterpart, or of a typical value, something counts as none
SATURATED = 0.999  # a mean probability above it, or below one minus it


def why_empty(cam: CAM, target: int = 0) -> str | None:
    """Why the map of a target (its index) is zero everywhere or nearly, in a sentence that says what to try; None if it
    is not. Raises TargetError for an index that does not exist."""
    if not 0 <= target < len(cam.targets):
        raise TargetError(
            f"there is no target {target}; the result has {len(cam.targets)}: 0 to {len(cam.targets) - 1}"
        )
    name, raw, alpha = cam.targets[target], cam.raw[target], cam.alpha[target]
    positive, negative = float(np.maximum(raw, 0).sum()), float(np.maximum(-raw, 0).sum())
    if cam.positions[target] == 0:
        return f"the target is empty: {name} covers no position. Look at the labels, or choose another class or region."
    if not np.any(cam.activations):
        return f"every channel of {cam.feature_layer} is dead: all activations are 0. Choose an earlier layer."
    if not np.any(alpha[np.any(cam.activations, axis=tuple(range(1, cam.activations.ndim)))]):
        return _no_weight(cam, target)
    if positive <= NEARLY * negative:
        return (
            f"all contributions to {name} are negative: what {cam.feature_layer} holds speaks against it everywhere. "
            "Look at cam.raw, at another layer, or at Contrast with the class that wins."
        )
    scale = float(np.abs(cam.activations).mean())
    if cam.score_kind == SOFTMAX and cam.maps[target].max() <= NEARLY * scale:
        return _no_weight(cam, target)
    return None


def _no_weight(cam: CAM, target: int) -> str:
    """The gradient at the living channels is zero or next to it."""
    mean = float(cam.scores[target] / cam.positions[target])
    if cam.score_kind == SOFTMAX and not 1 - SATURATED < mean < SATURATED:
        return (
            f"the softmax is saturated: the mean probability of {cam.targets[target]} is {mean:.6f}, where its "
            "gradient p (1 - p) vanishes. Explain the logits instead: reduction_layer = the layer before the softmax."
        )
    return (
        f"the gradient of {cam.targets[target]} vanishes at {cam.feature_layer}: the channels that it needs are dead, "
        "or those that live have no influence on it. Choose an earlier or later layer."
    )
