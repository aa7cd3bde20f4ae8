"""PyTorch's compiler for the same job, forward and backward, if it starts soon enough."""

import importlib
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np

from gpu_bench.machine import Machine
from gpu_bench.rows import Missing
from gpu_bench.with_torch import ByHand, Captured
from minicam.bench.task import FEATURE_LAYERS
from minicam.network import Network


class Compiled(ByHand):
    """The network as one compiled function of the image and of taps: zeros added to the feature layers, whose gradients
    are those of the layers. (Layers inside a compiled function have none of their own.) They take no memory."""

    title = "PyTorch by hand, compiled"
    starts_within: ClassVar[float] = 60.0
    """Seconds until the first job is done."""

    def __init__(self, machine: Machine, network: Network, batches: list[np.ndarray], precision: str):
        torch = machine.need_torch()
        importlib.import_module("torch._dynamo").reset()  # what was compiled for other sizes and settings
        # The second class's backward pass reads what the first one's has left.
        importlib.import_module("torch._functorch.config").donated_buffer = False
        self._function = torch.compile(self._scores, backend=machine.compiler, dynamic=False)
        self._taps: list[Any] = []
        with time_limit(self.starts_within):
            super().__init__(machine, network, batches, precision)

    def compile(self) -> None:
        super().compile()
        shapes = self._network.graph.shapes({self.input: self.image.shape[1:]})
        zero = self.torch.zeros((1, 1, 1, 1), device=self.machine.device, dtype=self.dtype)
        for layer in FEATURE_LAYERS:
            tap = zero.expand(len(self.image), *shapes[layer]).detach()
            self._taps.append(tap.requires_grad_())

    def _values(self) -> tuple[Any, list[Any], list[Any]]:
        scores, *features = self._function(self.pixels, *self._taps)
        return scores, features, self._taps

    def _scores(self, pixels: Any, *taps: Any) -> tuple[Any, ...]:
        """The output and the feature layers."""
        added = dict(zip(FEATURE_LAYERS, taps, strict=True))
        values = {self.input: pixels.permute(0, 3, 1, 2).float()}  # channels-last as it lies
        for step, module in self.steps:
            y = module(*(values[name] for name in step.node.inputs))
            values[step.node.name] = y + added[step.node.name] if step.node.name in added else y
        return values[self.output], *(values[layer] for layer in FEATURE_LAYERS)


class CompiledAndCaptured(Captured, Compiled):
    """The same as a CUDA graph."""

    title = Compiled.title + ", captured"


class TooSlow(BaseException):
    """Not an Exception, which a library might take for its own."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raises Missing where the body takes longer, on systems that can interrupt it."""
    if not hasattr(signal, "setitimer"):
        yield
        return

    def expired(*_: Any) -> None:
        raise TooSlow

    before = signal.signal(signal.SIGALRM, expired)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    except TooSlow:
        raise Missing(f"was not ready after {seconds:g} s") from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
