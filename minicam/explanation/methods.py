"""From a feature map and the gradient of one target's score to a signed map, for one sample.

A: activations (K, *space) of the feature layer. dA: gradient (K, *box), zero outside its box. N: positions of A.
"""

import math
from collections.abc import Callable

from minicam.backend import Array, array_module
from minicam.patches import Patch


def channel_weights(sums: Array, space: tuple[int, ...], alpha: str) -> Array:
    """alpha[k] = 1/N * sum over i of dA[k,i] ("mean"), or without 1/N ("sum"): Grad-CAM's equation 1, from these sums.

    Selvaraju et al., ICCV 2017 (arXiv:1610.02391). Returns (K,).
    """
    return sums / math.prod(space) if alpha == "mean" else sums


def grad_cam(activations: Array, weights: Array) -> Array:
    """raw[i] = sum over k of alpha[k] * A[k,i]: Grad-CAM before its ReLU, equation 2. Returns (*space), signed."""
    return array_module(activations).tensordot(weights, activations, axes=1)


def hires_cam(activations: Array, gradient: Patch) -> Array:
    """raw[i] = sum over k of dA[k,i] * A[k,i]: HiResCAM before its ReLU. Returns (*space), signed, 0 where dA is.

    Draelos and Carin, arXiv:2011.08891, section 3.2.
    """
    product = (gradient.values * activations[:, *gradient.box]).sum(axis=0)
    return Patch(product, gradient.corner, gradient.space).full()


WEIGHTED: dict[str, Callable[[Array, Array], Array]] = {"gradcam": grad_cam}
"""Methods for which the channel weights are all that counts of the gradient: (A, alpha) -> raw."""
LOCAL: dict[str, Callable[[Array, Patch], Array]] = {"hirescam": hires_cam}
"""Methods that need the gradient at every position: (A, dA) -> raw."""
METHODS = (*WEIGHTED, *LOCAL)


def channel_sums(gradient: Patch) -> Array:
    """The sum over i of dA[k,i]. Returns (K,)."""
    return gradient.values.reshape(len(gradient.values), -1).sum(axis=1)


def support(gradient: Patch) -> Array:
    """Where a change of the features can change the score to first order: the positions at which the gradient of some
    channel is not 0. Returns bool (*space)."""
    return Patch((gradient.values != 0).any(axis=0), gradient.corner, gradient.space).full()
