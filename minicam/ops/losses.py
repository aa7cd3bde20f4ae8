"""Losses: what training makes small."""

import math
from dataclasses import dataclass
from typing import ClassVar

from minicam.backend import Array, array_module
from minicam.errors import LayerError
from minicam.ops.base import Op, Shape, no_gradient, require, space_axes


class Loss(Op):
    """Scores x (N, C, *space) and a target -> y (N, 1), each sample's share: the loss of the batch is the sum of y."""

    arity: ClassVar[int | None] = 2
    reads: ClassVar[frozenset[str]] = frozenset({"x"})

    def target_shape(self, scores: Shape) -> Shape:
        """The shape of one sample of the target, given that of the scores."""
        raise NotImplementedError

    def accuracy(self, x: Array, target: Array) -> float | None:
        """The fraction of the targets that the scores hit; None where that has no meaning."""
        return None

    def output_shape(self, *shapes: Shape) -> Shape:
        wanted, found = self.target_shape(shapes[0]), shapes[1]
        fits = len(wanted) == len(found) and all(
            None in pair or pair[0] == pair[1] for pair in zip(wanted, found, strict=True)
        )
        require(fits, f"the target has the shape {found} for each sample; expected {wanted} for scores {shapes[0]}")
        return (1,)

    def footprint(self, rank: int) -> None:
        return None


@dataclass(frozen=True)
class CrossEntropy(Loss):
    """Cross-entropy of softmax(x) with labels l, as a weighted mean over the batch:

    y[n] = sum over i of w[l[n,i]] (log(sum over k of exp(x[n,k,i])) - x[n,l[n,i],i]) / W,  W = sum of all w[l[n,i]]

    Logits x (N, C, *space), labels l (N, 1, *space).

    Labels are whole numbers 0 to C - 1, in the type of x, or `ignored`, which has weight 0. weights: one per class, 0
    or more; none: all 1. W is the sum over the whole batch, as in PyTorch's cross_entropy(weight=, ignore_index=); but
    where W is 0 the loss is 0, not NaN. The exponentials are of x less its largest, which cannot overflow.
    Adjoint: dx[n,k,i] = dy[n] w[l[n,i]] (softmax(x)[n,k,i] - [k = l[n,i]]) / W; 0 for the labels.

    >>> import numpy as np
    >>> CrossEntropy().forward(np.array([[0., 0.], [0., 0.]]), np.array([[0.], [1.]])).sum() == np.log(2)
    np.True_
    """

    weights: tuple[float, ...] = ()
    ignored: int = -1

    def __post_init__(self) -> None:
        object.__setattr__(self, "weights", tuple(float(weight) for weight in self.weights))
        good = all(0 <= weight < math.inf for weight in self.weights) and (not self.weights or any(self.weights))
        require(good, f"weights is {self.weights}; expected finite numbers of 0 or more, not all 0")

    def target_shape(self, scores: Shape) -> Shape:
        given, classes = len(self.weights), scores[0]
        require(given in (0, classes) or classes is None, f"there are {given} weights for {classes} classes")
        return (1, *scores[1:])

    def forward(self, x, labels):
        xp = array_module(x)
        self._check(labels, x.shape[1])
        chosen, share = self._shares(x, labels)
        shifted = x - x.max(axis=1, keepdims=True)
        logarithm = xp.log(xp.exp(shifted).sum(axis=1, keepdims=True))
        found = xp.where(chosen, shifted, 0).sum(axis=1, keepdims=True)
        return (share * (logarithm - found)).sum(axis=space_axes(x))

    def backward(self, dy, y, x, labels):
        xp = array_module(x)
        chosen, share = self._shares(x, labels)
        exponential = xp.exp(x - x.max(axis=1, keepdims=True))
        difference = exponential / exponential.sum(axis=1, keepdims=True) - chosen
        dx = dy.reshape(len(dy), *(1,) * (x.ndim - 1)) * share * difference
        return dx, no_gradient(dy, labels)

    def accuracy(self, x: Array, target: Array) -> float | None:
        counted = target != self.ignored
        hits = (x.argmax(axis=1)[:, None] == target) & counted
        return float(hits.sum() / max(int(counted.sum()), 1))

    def _shares(self, x: Array, labels: Array) -> tuple[Array, Array]:
        """Where k = l[n,i], (N, C, *space), and w[l[n,i]] / W, (N, 1, *space)."""
        xp = array_module(x)
        classes = xp.arange(x.shape[1]).reshape(-1, *(1,) * (x.ndim - 2))
        weights = xp.asarray(self.weights or [1.0] * x.shape[1], x.dtype).reshape(classes.shape)
        chosen = (labels == classes) & (labels != self.ignored)
        weight = xp.where(chosen, weights, 0).sum(axis=1, keepdims=True)
        total = weight.sum()
        return chosen, weight / xp.where(total > 0, total, math.inf)

    def _check(self, labels: Array, classes: int) -> None:
        """LayerError for a label that is neither a class nor `ignored`."""
        known = (labels >= 0) & (labels < classes) & (labels == array_module(labels).floor(labels))
        wrong = labels[~(known | (labels == self.ignored))]
        if wrong.size:
            raise LayerError(
                f"{wrong.size} labels are neither a class, 0 to {classes - 1}, nor the ignored label {self.ignored}, "
                f"the first is {float(wrong[0]):g}"
            )


@dataclass(frozen=True)
class MeanSquaredError(Loss):
    """The mean of the squared differences: y[n] = sum over c,i of (x[n,c,i] - t[n,c,i])^2 / (N C prod(space)).

    Scores x and target t (N, C, *space). Adjoint: dx = 2 dy (x - t) / (N C prod(space)), dt = -dx.

    >>> import numpy as np
    >>> MeanSquaredError().forward(np.array([[1.], [5.]]), np.array([[1.], [3.]]))
    array([[0.],
           [2.]])
    """

    def target_shape(self, scores: Shape) -> Shape:
        return scores

    def forward(self, x, target):
        return ((x - target) ** 2).reshape(len(x), -1).sum(axis=1, keepdims=True) / x.size

    def backward(self, dy, y, x, target):
        dx = dy.reshape(len(dy), *(1,) * (x.ndim - 1)) * (2 / x.size) * (x - target)
        return dx, -dx
