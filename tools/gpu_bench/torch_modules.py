"""Layers that PyTorch computes better on a GPU than `minicam.bench.torch_layers` has them."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from minicam.graph import Node
from minicam.ops import ConvTranspose


def normalized(torch: Any, mean: np.ndarray, std: np.ndarray, dtype: Any) -> Any:
    """(x - mean) / std per channel in float32, then as `dtype`: a module, whose numbers move with it to the GPU."""

    class Normalized(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            for name, array in (("mean", mean), ("std", std)):
                self.register_buffer(name, torch.tensor(np.asarray(array, np.float32)).reshape(1, -1, 1, 1))

        def forward(self, x: Any) -> Any:
            return ((x - self.mean) / self.std).to(dtype)

    return Normalized()


def softmax_in_float32(torch: Any) -> Any:
    """Softmax over the channels; of float16 scores, in float32."""

    class Softmax(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return torch.softmax(x, dim=1, dtype=torch.float32)

    return Softmax()


def interpolated(torch: Any, stride: tuple[int, int]) -> Any:
    """Bilinear upsampling by `stride` with zeros outside the image, which is what the transposed convolution of
    `is_bilinear` computes: PyTorch's interpolation of the image with a border of zeros, less that border."""
    rows, columns = stride

    class Interpolated(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            bordered = torch.nn.functional.pad(x, (1, 1, 1, 1))
            y = torch.nn.functional.interpolate(bordered, scale_factor=stride, mode="bilinear", align_corners=False)
            return y[:, :, rows:-rows, columns:-columns]

    return Interpolated()


def is_bilinear(node: Node, parameters: dict[str, np.ndarray]) -> bool:
    """Whether the node is a transposed convolution, of each channel alone, that interpolates bilinearly between pixel
    centres, with an even stride and no bias."""
    op = node.op
    if not isinstance(op, ConvTranspose) or len(op.kernel) != 2 or set(op.dilation) != {1}:
        return False
    weight = parameters["weight"]
    if op.groups != op.filters or len(weight) != op.filters or np.any(parameters["bias"]):
        return False
    slopes = []
    for size, stride, cropping in zip(op.kernel, op.stride, op.cropping, strict=True):
        if stride % 2 or size != 2 * stride or tuple(cropping) != (stride // 2,) * 2:
            return False
        slopes.append(1 - abs(np.arange(size) - (size - 1) / 2) / stride)
    return bool(np.allclose(weight, np.multiply.outer(*slopes), rtol=0, atol=1e-6))


def faster(modules: list[Any], x: Any, synchronize: Callable[[], None]) -> Any:
    """Whichever of the modules takes less time for x, forward and backward: the best of three runs after one."""
    taken = []
    for module in modules:
        seconds = []
        for _ in range(4):
            synchronize()
            start = time.perf_counter()
            leaf = x.detach().requires_grad_()
            module(leaf).float().sum().backward()
            synchronize()
            seconds.append(time.perf_counter() - start)
        taken.append(min(seconds[1:]))
    return modules[taken.index(min(taken))]
