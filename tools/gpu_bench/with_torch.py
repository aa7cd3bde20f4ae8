"""PyTorch by hand on the GPU, as well as it can be done: what a line here decides in its favour is said there."""

from typing import Any, ClassVar

import numpy as np

from gpu_bench.machine import Machine
from gpu_bench.precision import set_torch
from gpu_bench.timing import Clock
from gpu_bench.torch_modules import faster, interpolated, is_bilinear, normalized, softmax_in_float32
from minicam.bench.task import CLASSES, FEATURE_LAYERS, Answer
from minicam.bench.with_torch import ChannelsLast
from minicam.network import Network
from minicam.ops import Normalize, Softmax


class ByHand(ChannelsLast):
    """One forward pass, and per class one `torch.autograd.grad` for all four layers. Frozen weights, with batch
    normalisation folded in; nothing is recorded before the first feature layer; images and weights in `memory_format`.

    batches: the images in turn, (N, H, W, 3) uint8, in page-locked memory. A job copies one of them to the device, and
    labels (N, H, W) uint8 and maps (N, layers, classes, H, W) float32 back, into page-locked memory again.
    """

    title: ClassVar[str] = "PyTorch by hand, frozen, channels-last"

    def __init__(self, machine: Machine, network: Network, batches: list[np.ndarray], precision: str):
        self.machine, self.torch, self.precision = machine, machine.need_torch(), precision
        self.settings = set_torch(self.torch, precision)
        self.dtype = self.torch.float16 if precision == "fp16" else self.torch.float32
        self.batches = [machine.pinned(self.torch.from_numpy(batch)) for batch in batches]
        self.pixels = self.torch.empty_like(self.batches[0], device=machine.device).copy_(self.batches[0])
        self.prepare(network, batches[0].transpose(0, 3, 1, 2))
        self.compile()
        self.resize = {k: [m.to(machine.device) for m in matrices] for k, matrices in self.resize.items()}
        # The first run; its shapes are those of all others.
        self.host = [machine.pinned(self.torch.empty_like(x, device="cpu")) for x in self.computed()]

    @property
    def clock(self) -> Clock:
        return self.machine.torch_clock

    def before(self) -> None:
        """PyTorch's settings are the process's, and other contestants' are others."""
        set_torch(self.torch, self.precision)

    def job(self, i: int) -> None:  # type: ignore[override]
        """The i-th batch from the host and its labels and maps to it, all on the current stream."""
        self.pixels.copy_(self.batches[i % len(self.batches)], non_blocking=True)
        for host, found in zip(self.host, self.on_device(), strict=True):
            host.copy_(found, non_blocking=True)

    def on_device(self) -> tuple[Any, ...]:
        """The same without copies."""
        return self.computed()

    def answers(self) -> list[Answer]:
        """Of the last job, once it is done."""
        self.machine.cuda.synchronize()
        return [Answer(labels=x.numpy(), maps=y.numpy()) for x, y in zip(*self.host, strict=True)]

    def compile(self) -> None:
        parameters = self._network.parameters()
        self.steps = [(step, self._on_gpu(step.node, module, parameters)) for step, module in self.steps]
        with self.torch.no_grad():
            self._choose_upsampling(parameters)

    def prepare(self, network: Network, image: np.ndarray) -> None:
        self._network = network
        super().prepare(network, image)

    def computed(self) -> tuple[Any, ...]:
        """labels and maps on the device."""
        torch = self.torch
        gradients = []
        with torch.enable_grad():
            scores, features, wrt = self._values()
            for n, channel in enumerate(self.channels):
                more = n + 1 < len(CLASSES)
                gradients.append(torch.autograd.grad(scores[:, channel].sum(), wrt, retain_graph=more))
        with torch.no_grad():
            layers = zip(FEATURE_LAYERS, features, *gradients, strict=True)
            maps = torch.stack([self._maps(layer, x, both) for layer, x, *both in layers], dim=1)
            return scores.argmax(dim=1).to(torch.uint8).contiguous(), maps.contiguous()

    def _values(self) -> tuple[Any, list[Any], list[Any]]:
        """The output, the feature layers, and what the gradients are taken with respect to."""
        values = self._run(FEATURE_LAYERS)
        features = [values[layer] for layer in FEATURE_LAYERS]
        return values[self.output], features, features

    def _maps(self, layer: str, features: Any, gradients: list[Any]) -> Any:
        """(N, classes, H, W) of both classes at once: a product with the features as they lie, in either format."""
        torch = self.torch
        alpha = torch.stack([g.mean(dim=(2, 3), dtype=torch.float32) for g in gradients], dim=1)  # (N, classes, K)
        scale = alpha.abs().amax(dim=2, keepdim=True).clamp_min(1e-30)  # so that float16 reaches all weights
        raw = ((alpha / scale).to(features.dtype) @ features.detach().flatten(2)).float() * scale
        up, across = self.resize[layer]
        return up @ raw.unflatten(2, features.shape[2:]).relu() @ across.T

    def _pixels(self) -> Any:
        return self.pixels.permute(0, 3, 1, 2).float().contiguous(memory_format=self._format())

    def _format(self) -> Any:
        return getattr(self.torch, self.memory_format)

    def _on_gpu(self, node: Any, module: Any, parameters: Any) -> Any:
        torch, device = self.torch, self.machine.device
        if isinstance(node.op, Normalize):
            return normalized(torch, dtype=self.dtype, **parameters[node.name]).to(device)
        if isinstance(node.op, Softmax):
            return softmax_in_float32(torch)
        module.requires_grad_(False)
        return module.to(device=device, dtype=self.dtype, memory_format=self._format())

    def _choose_upsampling(self, parameters: Any) -> None:
        """Bilinear upsampling by transposed convolution or by interpolation, whichever is faster here."""
        shapes = self._network.graph.shapes({self.input: self.image.shape[1:]})
        self.interpolates: list[str] = []
        for i, (step, module) in enumerate(self.steps):
            node = step.node
            if is_bilinear(node, parameters.get(node.name, {})):
                shape = (len(self.image), *shapes[node.inputs[0]])
                x = self.torch.randn(shape, device=self.machine.device, dtype=self.dtype)
                x = x.contiguous(memory_format=self._format())
                candidates = [module, interpolated(self.torch, node.op.stride)]
                with self.torch.enable_grad():
                    chosen = faster(candidates, x, self.machine.cuda.synchronize)
                self.steps[i] = (step, chosen)
                self.interpolates += [node.name] if chosen is not module else []


class OnDevice(ByHand):
    """The same for images that are on the device, with results that stay there."""

    def __init__(self, machine: Machine, network: Network, batches: list[np.ndarray], precision: str):
        super().__init__(machine, network, batches, precision)
        self.batches = [batch.to(machine.device) for batch in self.batches]
        self.found: tuple[Any, ...] = ()

    def job(self, i: int) -> None:  # type: ignore[override]
        self.pixels.copy_(self.batches[i % len(self.batches)])
        self.found = self.on_device()

    def answers(self) -> list[Answer]:
        return [Answer(labels=x, maps=y) for x, y in zip(*(x.cpu().numpy() for x in self.found), strict=True)]


class Forward(OnDevice):
    """The scores alone."""

    title = "PyTorch by hand, forward"

    def computed(self) -> tuple[Any, ...]:
        with self.torch.no_grad():
            return (self._run(())[self.output],)

    def scores(self) -> np.ndarray:
        """Of the last batch."""
        return self.found[0].cpu().numpy()


class Captured(ByHand):
    """The same as a CUDA graph, which is replayed: no time is lost between its kernels."""

    title = ByHand.title + ", captured"

    def __init__(self, machine: Machine, network: Network, batches: list[np.ndarray], precision: str):
        super().__init__(machine, network, batches, precision)
        self.graph, self.static = captured(machine, self.computed)

    def on_device(self) -> tuple[Any, ...]:
        self.graph.replay()
        return self.static


class CapturedContiguous(Captured):
    """The same in PyTorch's usual memory format, which may be faster for float32 without TF32."""

    memory_format = "contiguous_format"
    title = "PyTorch by hand, frozen, NCHW, captured"


class OnDeviceCaptured(Captured, OnDevice):
    """Likewise."""


class OnDeviceCapturedContiguous(CapturedContiguous, OnDeviceCaptured):
    """Likewise."""


class ForwardCaptured(Captured, Forward):
    """Likewise."""

    title = Forward.title + ", captured"


def captured(machine: Machine, work: Any) -> tuple[Any, Any]:
    """A CUDA graph of `work`, and what it returned, which every replay writes anew. As PyTorch's documentation has it,
    a few runs on another stream come first."""
    cuda = machine.cuda
    stream = cuda.Stream()
    stream.wait_stream(cuda.current_stream())
    with cuda.stream(stream):
        for _ in range(3):
            work()
    cuda.current_stream().wait_stream(stream)
    graph = cuda.CUDAGraph()
    with cuda.graph(graph):
        found = work()
    return graph, found
