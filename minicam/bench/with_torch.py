"""PyTorch by hand, as well as it can be done: what a line of this file decides in its favour is said there."""

import importlib
from typing import Any, ClassVar

import numpy as np

from minicam.bench.contestant import Contestant
from minicam.bench.task import CLASSES, FEATURE_LAYERS, Answer, class_channels, resize_matrices
from minicam.bench.torch_layers import torch_module
from minicam.bench.translation import folded, steps
from minicam.network import Network


class ChannelsFirst(Contestant):
    """One forward pass for all maps, one `torch.autograd.grad` per class for all layers; memory as PyTorch has it."""

    packages = ("torch",)
    memory_format: ClassVar[str] = "contiguous_format"

    def load(self, threads: int) -> str:
        self.torch: Any = importlib.import_module("torch")
        self.torch.set_num_threads(threads)  # as many as everybody else
        return self.torch.__version__

    def prepare(self, network: Network, image: np.ndarray) -> None:
        # Batch normalisation is folded into the convolutions: exact, and faster than leaving it in.
        network = folded(network, FEATURE_LAYERS)
        self.image, self.output, (self.input,) = image, network.graph.outputs[0], network.graph.inputs
        self.channels, parameters = class_channels(network), network.parameters()
        # Layers that are not needed are not computed, and ReLU overwrites its input where it may.
        self.steps = [
            (step, torch_module(step.node, parameters.get(step.node.name, {}), step.in_place))
            for step in steps(network.graph, {self.output, *FEATURE_LAYERS})
        ]
        shapes = network.graph.shapes({self.input: image.shape[1:]})
        self.resize = {
            layer: [self.torch.from_numpy(m) for m in resize_matrices(shapes[layer][1:], image.shape[2:])]
            for layer in FEATURE_LAYERS
        }

    def compile(self) -> None:
        for _, module in self.steps:
            # Frozen weights: no gradient of theirs is computed, and none of what it would need is kept.
            module.requires_grad_(False)
            module.to(memory_format=getattr(self.torch, self.memory_format))

    def forward(self) -> np.ndarray:
        with self.torch.inference_mode():  # nothing is recorded for a backward pass
            return self._run(())[self.output].contiguous().numpy()

    def job(self) -> Answer:
        torch, maps = self.torch, []
        with torch.enable_grad():
            # With frozen weights, recording begins at the first feature layer: what lies before it is a plain forward.
            values = self._run(FEATURE_LAYERS)
        scores, features = values.pop(self.output), [values[layer] for layer in FEATURE_LAYERS]
        labels = scores.detach().argmax(dim=1)[0].to(torch.uint8).numpy()
        # Two passes for two classes: as one batch (is_grads_batched) they take longer and twice the memory.
        for n, channel in enumerate(self.channels):
            more = n + 1 < len(CLASSES)
            gradients = torch.autograd.grad(scores[0, channel].sum(), features, retain_graph=more)
            maps.append([self._map(*each) for each in zip(FEATURE_LAYERS, features, gradients, strict=True)])
        return Answer(labels=labels, maps=np.array(maps).swapaxes(0, 1))

    def _map(self, layer: str, features: Any, gradient: Any) -> np.ndarray:
        with self.torch.no_grad():
            alpha = gradient.mean(dim=(2, 3))  # (1, K)
            # A 1x1 convolution is the weighted sum over channels in either memory format.
            raw = self.torch.nn.functional.conv2d(features, alpha[:, :, None, None])
            rows, columns = self.resize[layer]
            return (rows @ raw[0, 0].relu() @ columns.T).numpy()

    def _pixels(self) -> Any:
        return self.torch.from_numpy(self.image).to(memory_format=getattr(self.torch, self.memory_format)).float()

    def _run(self, recorded: tuple[str, ...]) -> dict[str, Any]:
        """The values of the output and of the layers in `recorded`, from the earliest of which on autograd records."""
        values = {self.input: self._pixels()}
        for step, module in self.steps:
            name = step.node.name
            values[name] = module(*(values[source] for source in step.node.inputs))
            if name in recorded and not values[name].requires_grad:
                values[name] = values[name].requires_grad_()
            for source in step.last:
                if source not in recorded:
                    del values[source]  # as early as nobody reads it any more
        return {name: values[name] for name in (self.output, *recorded)}


class ChannelsLast(ChannelsFirst):
    """The same with images and weights in the order (N, H, W, C) in memory."""

    memory_format = "channels_last"
