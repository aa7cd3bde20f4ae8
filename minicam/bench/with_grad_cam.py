"""The package `grad-cam` (pytorch-grad-cam), used as its documentation does for segmentation."""

import importlib
from typing import Any, ClassVar

import numpy as np

from minicam.bench.contestant import Contestant
from minicam.bench.task import FEATURE_LAYERS, Answer, class_channels
from minicam.bench.torch_layers import torch_module
from minicam.bench.translation import steps
from minicam.network import Network


class AsDocumented(Contestant):
    """`GradCAM` per layer and class with `SemanticSegmentationTarget`; the model as it comes, in evaluation mode.

    The package runs the network anew for each map; with several target layers it gives their mean, not one map each.
    Its maps are its own: upsampled bilinearly and scaled to 0 ... 1. That is what they are compared with here.
    """

    packages = ("pytorch_grad_cam", "torch")
    kinds = ("job",)
    frozen: ClassVar[bool] = False

    def load(self, threads: int) -> str:
        self.torch: Any = importlib.import_module("torch")
        self.torch.set_num_threads(threads)
        self.package: Any = importlib.import_module("pytorch_grad_cam")
        self.targets: Any = importlib.import_module("pytorch_grad_cam.utils.model_targets")
        self.scale: Any = importlib.import_module("pytorch_grad_cam.utils.image").scale_cam_image
        return importlib.import_module("importlib.metadata").version("grad-cam")

    def prepare(self, network: Network, image: np.ndarray) -> None:
        torch, parameters = self.torch, network.parameters()
        output, (source,) = network.graph.outputs[0], network.graph.inputs
        self.image, self.channels = image, class_channels(network)
        planned = steps(network.graph, {output})  # batch normalisation stays, as in the model that a user has
        layers = {s.node.name: torch_module(s.node, parameters.get(s.node.name, {}), s.in_place) for s in planned}

        def forward(_: Any, x: Any) -> Any:
            values = {source: x}
            for step in planned:
                values[step.node.name] = layers[step.node.name](*(values[name] for name in step.node.inputs))
                for name in step.last:
                    del values[name]
            return values[output]

        self.layers = layers
        self.model = type("Model", (torch.nn.Module,), {"forward": forward})()
        self.model.layers = torch.nn.ModuleList(layers.values())
        # Channels-last where the package leaves the choice: the model and its input.
        self.model.eval().to(memory_format=torch.channels_last)
        if self.frozen:
            self.model.requires_grad_(False)

    def job(self) -> Answer:
        image = self.torch.from_numpy(self.image).to(memory_format=self.torch.channels_last).float()
        # With frozen weights, the package's hooks need a gradient from somewhere: the image's.
        image.requires_grad_(self.frozen)
        everywhere = np.ones(self.image.shape[2:], np.float32)
        maps: list[list[np.ndarray]] = []
        for layer in FEATURE_LAYERS:
            maps.append([])
            with self.package.GradCAM(model=self.model, target_layers=[self.layers[layer]]) as cam:
                for channel in self.channels:
                    target = self.targets.SemanticSegmentationTarget(channel, everywhere)
                    maps[-1].append(cam(input_tensor=image, targets=[target])[0])
                    labels = cam.outputs.detach().argmax(dim=1)  # the labels cost no further run
        return Answer(labels=labels[0].to(self.torch.uint8).numpy(), maps=np.array(maps))

    def expected(self, reference: Answer, raw: list[np.ndarray]) -> Answer:
        size = self.image.shape[:1:-1]  # (width, height)
        rectified = [np.maximum(maps, 0) for maps in raw]
        return Answer(None, reference.labels, np.array([self.scale(self.scale(maps, size)) for maps in rectified]))


class Frozen(AsDocumented):
    """The same after `model.requires_grad_(False)`, which spares the gradients of the weights: the best of the package
    without changing it."""

    frozen = True
