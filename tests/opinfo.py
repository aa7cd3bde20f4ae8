"""PyTorch's OpInfo database, the sample inputs that PyTorch tests its own operators with, run through our ops.

An adapter has the signature of one of PyTorch's operators, and returns the same computation as a `Trial`, or raises
`NotApplicable` with the reason; the table of all is in opinfo_adapters.py. `compare` runs one sample: values, and
gradients of all inputs and parameters for a random cotangent, all in float64.
"""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minicam.ops import Op

SEED = 0
LIMIT = 1e-9
"""Of a deviation, relative to the largest expected value or, where that is smaller, to 1."""

EXCEPTIONS = {"nn.functional.hardsigmoid": (1e-8, "PyTorch has the 1/6 of the gradient in single precision")}
"""Operator -> its limit, and why it is another."""


class NotApplicable(Exception):
    """The sample asks for something that no op of ours computes."""


def need(condition: Any, reason: str) -> None:
    if not condition:
        raise NotApplicable(reason)


class Trial:
    """Ops in a row: the first reads `xs`, each other what the one before gives. Tensors are the sample's own, seen in
    the shape (N, C, *space); `parameters` are those of the one op that has any. total: the result is the sum of y."""

    def __init__(self, chain: Op | Sequence[Op], *xs: Any, total: bool = False, **parameters: Any):
        self.chain = [chain] if isinstance(chain, Op) else list(chain)
        self.xs, self.parameters, self.total = xs, parameters, total

    def run(self) -> tuple[np.ndarray, Callable[[np.ndarray], dict[str | int, np.ndarray]]]:
        """y, and the function from dy to the gradients: of xs by their index, of parameters by their name."""
        values = [[x.detach().numpy() for x in self.xs]]
        arrays = {name: value.detach().numpy() for name, value in self.parameters.items()}
        owns = []
        for op in self.chain:
            shapes = [x.shape[1:] for x in values[-1]]
            owns.append({name: arrays[name] for name in op.parameter_shapes(*shapes)})
            y = op.forward(*values[-1], **owns[-1])
            assert y.shape[1:] == op.output_shape(*shapes)
            values.append([y])

        def gradients(dy: np.ndarray) -> dict[str | int, np.ndarray]:
            found: dict[str | int, np.ndarray] = {}
            dy = np.broadcast_to(dy, values[-1][0].shape) if self.total else dy.reshape(values[-1][0].shape)
            for op, own, xs, (y,) in zip(
                reversed(self.chain), reversed(owns), values[-2::-1], values[:0:-1], strict=True
            ):
                found |= op.backward_params(dy, y, *xs, **own)
                dy, *rest = op.backward(dy, y, *xs, **own)
            return found | dict(enumerate([dy, *rest]))

        (y,) = values[-1]
        return (y.sum() if self.total else y), gradients


def compare(info: Any, sample: Any, adapt: Callable[..., Trial]) -> float:
    """The largest deviation of one sample."""
    import torch
    from torch.utils._pytree import tree_leaves

    arguments = (sample.input, *sample.args)
    tensors = [t for t in tree_leaves((arguments, sample.kwargs)) if isinstance(t, torch.Tensor)]
    need(all(t.numel() for t in tensors), "nothing in an array")
    need(not any(t.is_complex() for t in tensors), "complex numbers")
    trial = adapt(*arguments, **sample.kwargs)
    expected = info(*arguments, **sample.kwargs)
    expected = expected if isinstance(expected, torch.Tensor) else expected[0]
    need(expected.numel(), "nothing in an array")
    need(torch.isfinite(expected).all(), "no finite result")
    y, gradients = trial.run()
    worst = deviation(np.reshape(y, expected.shape), expected.detach().numpy())
    leaves = [t for t in tensors if t.requires_grad]
    if not leaves or not expected.requires_grad:
        return worst
    dy = torch.randn(expected.shape, dtype=expected.dtype)
    found = gradients(dy.numpy())
    seen = {**dict(enumerate(trial.xs)), **trial.parameters}
    pairs = [(v, torch.tensor(found[k]).reshape(v.shape)) for k, v in seen.items() if v.requires_grad]
    views, gradients_of_views = zip(*pairs, strict=True)
    ours = torch.autograd.grad(views, leaves, gradients_of_views, allow_unused=True)
    theirs = torch.autograd.grad(expected, leaves, dy, allow_unused=True)
    for leaf, a, b in zip(leaves, ours, theirs, strict=True):
        a, b = (torch.zeros_like(leaf) if g is None else g for g in (a, b))
        need(torch.isfinite(b).all(), "no finite gradient")
        worst = max(worst, deviation(a.numpy(), b.numpy()))
    return worst


def deviation(found: np.ndarray, expected: np.ndarray) -> float:
    if found.shape != expected.shape:
        return math.inf
    error = np.abs(np.where(found == expected, 0, found - expected)).max()
    return float(np.nan_to_num(error / max(1.0, np.abs(expected).max()), nan=math.inf))


# How an adapter sees the arguments


def whole(x: Any, rank: int = 0) -> Any:
    """The whole tensor as one sample, with ones in front up to `rank` axes."""
    return x.reshape((1, *(1,) * (rank - x.ndim), *x.shape))


def batch(x: Any, rank: int) -> Any:
    """(N, C, *space) of that rank; PyTorch lets N be missing."""
    return x if x.ndim == rank + 2 else x[None]


def each(value: Any, rank: int) -> tuple:
    """One entry per axis."""
    values = (value,) if isinstance(value, int | float) else tuple(value)
    return values * rank if len(values) == 1 else values


def axes(dim: Any, x: Any) -> tuple[int, ...]:
    need(x.ndim, "a number without axes")
    dims = range(x.ndim) if dim is None or dim == () else (dim,) if isinstance(dim, int) else dim
    return tuple(d % x.ndim for d in dims)


def zeros(size: int) -> Any:
    import torch

    return torch.zeros(size, dtype=torch.float64)


def ones(size: int) -> Any:
    return zeros(size) + 1


# All samples


@dataclass
class Outcome:
    """What became of the samples of one operator."""

    compared: int = 0
    worst: float = 0.0
    reasons: Counter = field(default_factory=Counter)


def outcomes(adapters: Mapping[str, Callable[..., Trial]]) -> dict[str, Outcome]:
    """Every sample of every operator in the table; its name there is OpInfo's, with the variant behind a slash."""
    import torch
    from torch.testing._internal.common_methods_invocations import op_db

    found: dict[str, Outcome] = {}
    for info in op_db:
        name = f"{info.name}/{info.variant_test_name}" if info.variant_test_name else info.name
        if name not in adapters:
            continue
        torch.manual_seed(SEED)
        torch.set_num_threads(1)  # the arrays are small
        outcome = found.setdefault(name, Outcome())
        for sample in info.sample_inputs("cpu", torch.float64, requires_grad=True):
            try:
                worst = compare(info, sample, adapters[name])
            except NotApplicable as reason:
                outcome.reasons[str(reason)] += 1
            else:
                outcome.compared += 1
                outcome.worst = max(outcome.worst, worst)
    return found
