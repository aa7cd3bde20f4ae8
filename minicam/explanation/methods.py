"""From a feature map and its gradient to a map, for one sample.

A: activations (K, *space) of the feature layer; dA: gradients (T, K, *space) of T targets' scores at that layer.
"""

import math

from minicam.backend import Array, array_module


def grad_cam(activations: Array, gradients: Array, alpha: str) -> tuple[Array, Array]:
    """Grad-CAM before its ReLU: Selvaraju et al., ICCV 2017 (arXiv:1610.02391), equations 1 and 2.

        alpha[t,k] = 1/N * sum over i of dA[t,k,i]          "mean" over the N positions; "sum" leaves out 1/N
        raw[t] = sum over k of alpha[t,k] * A[k]

    Returns alpha (T, K) and raw (T, *space), signed.
    """
    xp = array_module(activations)
    weights = gradients.reshape(*gradients.shape[:2], -1).sum(axis=2)
    if alpha == "mean":
        weights = weights / math.prod(activations.shape[1:])
    return weights, xp.tensordot(weights, activations, axes=1)
