"""The loss of tools/train_camvid.py, in PyTorch: weighted cross-entropy plus a surrogate of the mean IoU."""

from collections.abc import Iterable

import numpy as np
import torch
from augmentation import VOID
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

JACCARD_STRIDE = 3  # the IoU's surrogate looks at every third pixel each way: sorting all of them takes too long


def class_weights(labels: Iterable[NDArray[np.uint8]], limits: tuple[float, float]) -> Tensor:
    """sqrt(median frequency / frequency) of each class over all label maps, clipped to the limits, float32.

    The ratio is the median frequency balancing of Eigen and Fergus, arXiv:1411.4734, section 4.3.
    """
    counts = sum(np.bincount(each.ravel(), minlength=VOID + 1)[:VOID] for each in labels)
    frequency = np.maximum(counts, 1) / np.sum(counts)
    return torch.tensor(np.clip(np.sqrt(np.median(frequency) / frequency), *limits), dtype=torch.float32)


def segmentation_loss(logits: Tensor, labels: Tensor, weights: Tensor, jaccard: float) -> Tensor:
    """Cross-entropy of logits (N, C, H, W) and labels (N, H, W), plus `jaccard` times the Lovász-softmax loss.

    The cross-entropy is the mean over the pixels weighted by `weights` (C,). Pixels of label VOID are left out.
    """
    logits = logits.float()
    loss = functional.cross_entropy(logits, labels, weights, ignore_index=VOID)
    if jaccard:
        coarse = slice(1, None, JACCARD_STRIDE)
        logits, labels = logits[:, :, coarse, coarse], labels[:, coarse, coarse]
        known = labels != VOID
        loss = loss + jaccard * lovasz_softmax(logits.softmax(dim=1).movedim(1, 0)[:, known], labels[known])
    return loss


def lovasz_softmax(probabilities: Tensor, labels: Tensor) -> Tensor:
    """1 - IoU, extended from sets of wrong pixels to probabilities (C, P): the mean over the classes in labels (P,).

    Source: Berman, Triki and Blaschko, The Lovász-Softmax loss, arXiv:1705.08790, equation (11) and algorithm 1,
    over all pixels of a batch together.
    """
    truth = functional.one_hot(labels, len(probabilities)).T.to(probabilities.dtype)
    present = truth.any(dim=1)
    truth, probabilities = truth[present], probabilities[present]
    errors, order = (truth - probabilities).abs().sort(dim=1, descending=True)
    truth = truth.gather(1, order)
    total = truth.sum(dim=1, keepdim=True)
    losses = 1 - (total - truth.cumsum(dim=1)) / (total + (1 - truth).cumsum(dim=1))
    slopes = torch.cat([losses[:, :1], losses.diff(dim=1)], dim=1)
    return (errors * slopes).sum(dim=1).mean()
