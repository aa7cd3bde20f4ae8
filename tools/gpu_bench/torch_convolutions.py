"""The time of PyTorch's convolutions and their input gradients, channels-last, on random images."""

import math
from collections.abc import Callable
from typing import Any

from gpu_bench.launches import rotations
from gpu_bench.machine import Machine
from gpu_bench.timing import Effort, Times, measured
from gpu_bench.with_torch import captured


class Convolution:
    """A convolution op of minicam with random weights, for images of `shape`, and `options` of tensors.

    Where its padding is unequal, the images are larger by what one side has more, and only the rest is padding.
    """

    def __init__(self, torch: Any, op: Any, shape: tuple[int, ...], options: dict[str, Any]):
        self.torch, self.op, self.options = torch, op, options
        (top, bottom), (left, right) = op.padding
        self.padding = min(top, bottom), min(left, right)
        channels, height, width = shape
        self.shape = channels, height + abs(top - bottom), width + abs(left - right)
        self.weight = self.drawn(op.filters, channels // op.groups, *op.kernel)
        self.bias = torch.randn(op.filters, **options)
        self.numbers = math.prod(self.shape) + math.prod(op.output_shape(shape))

    def drawn(self, *sizes: int) -> Any:
        return self.torch.randn(sizes, **self.options).contiguous(memory_format=self.torch.channels_last)

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


def timed_conv2d(
    machine: Machine, op: Any, shape: tuple[int, ...], batch: int, precision: str, effort: Effort, cache: int
) -> Times:
    """Seconds of torch.nn.functional.conv2d of images (batch, *shape)."""
    conv, sets = _prepared(machine, op, shape, batch, precision, cache)
    images = [conv.drawn(batch, *conv.shape) for _ in range(sets)]
    return _timed(machine, lambda: [conv.forward(x) for x in images], sets, effort)


def timed_input_gradient(
    machine: Machine, op: Any, shape: tuple[int, ...], batch: int, precision: str, effort: Effort, cache: int
) -> Times:
    """The same for the gradient at the images, given one at the output."""
    conv, sets = _prepared(machine, op, shape, batch, precision, cache)
    x = conv.drawn(batch, *conv.shape)
    seeds = [conv.drawn(*conv.forward(x).shape) for _ in range(sets)]
    return _timed(machine, lambda: [conv.input_gradient(x, dy) for dy in seeds], sets, effort)


def _prepared(
    machine: Machine, op: Any, shape: tuple[int, ...], batch: int, precision: str, cache: int
) -> tuple[Convolution, int]:
    """The convolution, and how many images take turns."""
    torch = machine.need_torch()
    dtype = torch.float16 if precision == "fp16" else torch.float32
    conv = Convolution(torch, op, shape, {"device": machine.device, "dtype": dtype})
    return conv, rotations(conv.weight.element_size() * batch * conv.numbers, cache)


def _timed(machine: Machine, work: Callable[[], list[Any]], calls: int, effort: Effort) -> Times:
    with machine.torch.no_grad():
        graph, _ = captured(machine, work)
        return measured(machine.torch_clock, graph.replay, effort, calls=calls)
