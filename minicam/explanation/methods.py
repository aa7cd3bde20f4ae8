"""From a feature map and the gradients of T targets' scores to signed maps, for one sample.

A: activations (K, *space) of the feature layer. dA: one target's gradient (K, *box), zero outside its box. N: positions
of A. Methods that weigh channels give weights alpha (T, K) and share Grad-CAM's equation 2 before its ReLU,

    raw[t,i] = sum over k of alpha[t,k] * A[k,i],

which is `Network.weighted_sum`; the others give each target's map directly.
"""

import math
from collections.abc import Callable

from minicam.backend import Array
from minicam.patches import Patch


def channel_weights(sums: Array, space: tuple[int, ...], alpha: str) -> Array:
    """alpha[k] = 1/N * sum over i of dA[k,i] ("mean"), or without 1/N ("sum"): Grad-CAM's equation 1, from these sums.

    Selvaraju et al., ICCV 2017 (arXiv:1610.02391). Returns (K,).
    """
    return sums / math.prod(space) if alpha == "mean" else sums


def hires_cam(activations: Array, gradient: Patch) -> Array:
    """raw[i] = sum over k of dA[k,i] * A[k,i]: HiResCAM before its ReLU. Returns (*space), signed, 0 where dA is.

    Draelos and Carin, arXiv:2011.08891, section 3.2.
    """
    product = (gradient.values * activations[:, *gradient.box]).sum(axis=0)
    return Patch(product, gradient.corner, gradient.space).full()


WEIGHTED = ("gradcam",)
"""Methods that weigh channels by `channel_weights`, for which the sums are all that counts of the gradient."""
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
