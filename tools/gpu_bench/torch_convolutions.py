"""The time of PyTorch's convolutions and their input gradients, on random images; channels-last, or for float32 without
TF32 in the faster of two memory formats."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from gpu_bench.launches import rotations
from gpu_bench.machine import Machine
from gpu_bench.timing import Effort, Times, measured
from gpu_bench.with_torch import captured


class Setting(NamedTuple):
    """What a convolution is timed for: the op, its input's shape (C, H, W), how many images, and in which precision."""

    op: Any
    shape: tuple[int, ...]
    batch: int
    precision: str


class Convolution:
    """The convolution with random weights and its tensors in one memory format.

    Where its padding is unequal, the images are larger by what one side has more, and only the rest is padding.
    """

    def __init__(self, machine: Machine, setting: Setting, memory_format: str):
        self.torch, self.op, self.batch = machine.need_torch(), setting.op, setting.batch
        dtype = self.torch.float16 if setting.precision == "fp16" else self.torch.float32
        self.options = {"device": machine.device, "dtype": dtype}
        self.format = getattr(self.torch, memory_format)
        (top, bottom), (left, right) = self.op.padding
        self.padding = min(top, bottom), min(left, right)
        channels, height, width = setting.shape
        self.shape = channels, height + abs(top - bottom), width + abs(left - right)
        self.weight = self.drawn(self.op.filters, channels // self.op.groups, *self.op.kernel)
        self.bias = self.torch.randn(self.op.filters, **self.options)
        numbers = math.prod(self.shape) + math.prod(self.op.output_shape(setting.shape))
        self.bytes = self.weight.element_size() * self.batch * numbers

    def drawn(self, *sizes: int) -> Any:
        return self.torch.randn(sizes, **self.options).contiguous(memory_format=self.format)

    def forward(self, x: Any) -> Any:
        op = self.op
        return self.torch.nn.functional.conv2d(
            x, self.weight, self.bias, op.stride, self.padding, op.dilation, op.groups
        )

    def input_gradient(self, x: Any, dy: Any) -> Any:
        """What autograd calls: of the gradients only that at x."""
        op = self.op
        geometry = [op.filters], op.stride, self.padding, op.dilation, False, (0, 0), op.groups
        wanted = [True, False, False]
        return self.torch.ops.aten.convolution_backward(dy, x, self.weight, *geometry, wanted)[0]


Work = Callable[[Convolution, int], Callable[[], list[Any]]]
"""What is captured for a convolution, for so many inputs that take turns."""


def forward(conv: Convolution, sets: int) -> Callable[[], list[Any]]:
    """torch.nn.functional.conv2d of images (batch, *shape)."""
    images = [conv.drawn(conv.batch, *conv.shape) for _ in range(sets)]
    return lambda: [conv.forward(x) for x in images]


def input_gradient(conv: Convolution, sets: int) -> Callable[[], list[Any]]:
    """The gradient at the images, given one at the output."""
    x = conv.drawn(conv.batch, *conv.shape)
    seeds = [conv.drawn(*conv.forward(x).shape) for _ in range(sets)]
    return lambda: [conv.input_gradient(x, dy) for dy in seeds]


def timed(machine: Machine, work: Work, setting: Setting, effort: Effort, cache: int) -> tuple[Times, str]:
    """Seconds of one call, and the memory format that they were measured in."""
    formats = ("channels_last", "contiguous_format") if setting.precision == "fp32" else ("channels_last",)
    found = []
    for memory_format in formats:
        conv = Convolution(machine, setting, memory_format)
        sets = rotations(conv.bytes, cache)
        with machine.torch.no_grad():
            graph, _ = captured(machine, work(conv, sets))
            found.append((measured(machine.torch_clock, graph.replay, effort, calls=sets), memory_format))
    return min(found, key=lambda each: each[0].median)
