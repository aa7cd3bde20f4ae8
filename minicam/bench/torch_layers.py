"""minicam's graph as modules of PyTorch."""

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

from minicam.bench.translation import untranslatable
from minicam.graph import Node
from minicam.ops import Add, BatchNorm, Concat, Conv, ConvTranspose, Crop, Dropout, MaxPool, Normalize, Relu, Softmax

Pairs = tuple[tuple[int, int], ...]


def torch_module(node: Node, arrays: dict[str, np.ndarray], in_place: bool) -> Any:
    """The node as a torch.nn.Module that takes as many tensors as the node has inputs.

    in_place: ReLU may overwrite its input, as in torchvision's networks.
    """
    torch = importlib.import_module("torch")
    op = node.op
    tensors = {name: torch.from_numpy(np.ascontiguousarray(array, np.float32)) for name, array in arrays.items()}
    if isinstance(op, Conv) and len(op.kernel) == 2:
        channels = tensors["weight"].shape[1] * op.groups
        padding, outside = _symmetric(op.padding)
        geometry = (op.kernel, op.stride, padding, op.dilation, op.groups)
        conv = _filled(torch.nn.Conv2d(channels, op.filters, *geometry, device="meta"), tensors)
        return torch.nn.Sequential(torch.nn.ZeroPad2d(outside), conv) if any(outside) else conv
    if isinstance(op, ConvTranspose) and len(op.kernel) == 2:
        padding, outside = _symmetric(op.cropping)
        turned = (op.kernel, op.stride, padding, 0, op.groups, True, op.dilation)
        conv = torch.nn.ConvTranspose2d(len(tensors["weight"]), op.filters, *turned, device="meta")
        if any(outside):
            raise untranslatable(node, "with unequal cropping into PyTorch")
        return _filled(conv, tensors)
    if isinstance(op, BatchNorm):
        names = {"scale": "weight", "offset": "bias", "mean": "running_mean", "variance": "running_var"}
        renamed = {names[name]: tensor for name, tensor in tensors.items()}
        renamed["num_batches_tracked"] = torch.tensor(0)
        return _filled(torch.nn.BatchNorm2d(len(tensors["mean"]), op.epsilon, device="meta"), renamed)
    if isinstance(op, MaxPool) and len(op.kernel) == 2:
        padding, outside = _symmetric(op.padding)
        if any(outside) or any(2 * p > k for p, k in zip(padding, op.kernel, strict=True)):
            raise untranslatable(node, "with this padding into PyTorch")
        return torch.nn.MaxPool2d(op.kernel, op.stride, padding)
    if isinstance(op, Relu):
        return torch.nn.ReLU(inplace=in_place)
    if isinstance(op, Softmax):
        return torch.nn.Softmax(dim=1)
    if isinstance(op, Dropout):
        return torch.nn.Identity()
    return _called(torch, node, _function(torch, node, tensors))


def _function(torch: Any, node: Node, tensors: dict[str, Any]) -> Callable[..., Any]:
    """What PyTorch has no module for."""
    if isinstance(node.op, Add):
        return lambda *xs: sum(xs[1:], start=xs[0])
    if isinstance(node.op, Concat):
        return lambda *xs: torch.cat(xs, dim=1)
    if isinstance(node.op, Crop):
        return _crop
    if isinstance(node.op, Normalize):
        mean, std = (tensors[name].reshape(1, -1, 1, 1) for name in ("mean", "std"))
        return lambda x: (x - mean) / std
    raise untranslatable(node, "into PyTorch")


def _called(torch: Any, node: Node, function: Callable[..., Any]) -> Any:
    """A module that calls the function."""
    forward = {"forward": lambda _, *xs: function(*xs)}
    return type(type(node.op).__name__, (torch.nn.Module,), forward)()


def _crop(x: Any, reference: Any) -> Any:
    top, left = ((x.shape[axis] - reference.shape[axis]) // 2 for axis in (2, 3))
    return x[:, :, top : top + reference.shape[2], left : left + reference.shape[3]]


def _filled(module: Any, tensors: dict[str, Any]) -> Any:
    """The module with these tensors, in inference mode; it was made without memory of its own."""
    module.load_state_dict(tensors, assign=True)
    return module.eval()


def _symmetric(padding: Pairs) -> tuple[tuple[int, int], tuple[int, int, int, int]]:
    """The padding that both sides of each axis share, and what is missing left, right, top and bottom."""
    (top, bottom), (left, right) = padding
    rows, columns = min(top, bottom), min(left, right)
    return (rows, columns), (left - columns, right - columns, top - rows, bottom - rows)
