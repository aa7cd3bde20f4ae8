"""From a feature map and the gradient of one target's score to a signed map, for one sample.

A: activations (K, *space) of the feature layer. dA: gradient (K, *box), zero outside its box. N: positions of A.
A further method is one function with this signature and a line in METHODS.
"""

import math
from collections.abc import Callable

from minicam.backend import Array, array_module
from minicam.patches import Patch

Method = Callable[[Array, Patch, Array], Array]


def channel_weights(gradient: Patch, alpha: str) -> Array:
    """alpha[k] = 1/N * sum over i of dA[k,i] ("mean"), or without 1/N ("sum"): Grad-CAM's equation 1. Returns (K,)."""
    weights = gradient.values.reshape(len(gradient.values), -1).sum(axis=1)
    return weights / math.prod(gradient.space) if alpha == "mean" else weights


def grad_cam(activations: Array, gradient: Patch, weights: Array) -> Array:
    """raw[i] = sum over k of alpha[k] * A[k,i]: Grad-CAM before its ReLU.

    Selvaraju et al., ICCV 2017 (arXiv:1610.02391), equation 2. Returns (*space), signed.
    """
    return array_module(activations).tensordot(weights, activations, axes=1)


def hires_cam(activations: Array, gradient: Patch, weights: Array) -> Array:
    """raw[i] = sum over k of dA[k,i] * A[k,i]: HiResCAM before its ReLU; `weights` play no part.

    Draelos and Carin, arXiv:2011.08891, section 3.2. Returns (*space), signed, zero where the gradient is.
    """
    product = (gradient.values * activations[:, *gradient.box]).sum(axis=0)
    return Patch(product, gradient.corner, gradient.space).full()


METHODS: dict[str, Method] = {"gradcam": grad_cam, "hirescam": hires_cam}


def support(gradient: Patch) -> Array:
    """Where a change of the features can change the score to first order: the positions at which the gradient of some
    channel is not 0. Returns bool (*space)."""
    return Patch((gradient.values != 0).any(axis=0), gradient.corner, gradient.space).full()
