"""The package grad-cam on the GPU, as it comes: the contestant of `minicam.bench.with_grad_cam`, moved there."""

import numpy as np

from gpu_bench.inputs import Inputs
from gpu_bench.machine import Machine
from gpu_bench.precision import set_torch
from gpu_bench.rows import Missing
from gpu_bench.timing import Clock
from gpu_bench.torch_modules import normalized
from minicam.bench.task import FEATURE_LAYERS, Answer
from minicam.bench.with_grad_cam import AsDocumented
from minicam.network import Network
from minicam.ops import Normalize


class GradCam(AsDocumented):
    """A batch of images at once, which the package takes; its sums over channels and its resizing are on the CPU.
    PyTorch's settings are its defaults, in which convolutions take TF32 and products do not."""

    title = "grad-cam as shipped"

    def __init__(self, machine: Machine, network: Network, batches: list[np.ndarray], precision: str = "default"):
        torch = machine.need_torch()
        if self.missing():
            raise Missing(f"not installed: {', '.join(self.missing())}")
        self.machine, self.precision = machine, precision
        version = self.load(torch.get_num_threads())
        self.settings = f"grad-cam {version}; {set_torch(torch, precision)}"
        self.batches = [machine.pinned(torch.from_numpy(batch)) for batch in batches]
        self.prepare(network, batches[0].transpose(0, 3, 1, 2))
        parameters = network.parameters()
        for node in network.graph.nodes:
            if isinstance(node.op, Normalize):  # the translation's, whose numbers stay on the CPU
                self.layers[node.name] = normalized(torch, dtype=torch.float32, **parameters[node.name])
                self.layers[node.name].to(machine.device)
        self.model.to(machine.device)
        self._answers: list[Answer] = []

    @property
    def clock(self) -> Clock:
        return self.machine.torch_clock

    def before(self) -> None:
        set_torch(self.torch, self.precision)

    def job(self, i: int) -> None:  # type: ignore[override]
        pixels = self.batches[i % len(self.batches)].to(self.machine.device, non_blocking=True)
        image = pixels.permute(0, 3, 1, 2).float()
        everywhere = np.ones(image.shape[2:], np.float32)
        maps = []
        for layer in FEATURE_LAYERS:
            with self.package.GradCAM(model=self.model, target_layers=[self.layers[layer]]) as cam:
                for channel in self.channels:
                    targets = [self.targets.SemanticSegmentationTarget(channel, everywhere)] * len(image)
                    maps.append(cam(input_tensor=image, targets=targets))
                    labels = cam.outputs.detach().argmax(dim=1)  # the labels cost no further run
        found = np.stack(maps, axis=1).reshape(len(image), len(FEATURE_LAYERS), -1, *image.shape[2:])
        of_all = labels.to(self.torch.uint8).cpu().numpy()
        self._answers = [Answer(labels=x, maps=y) for x, y in zip(of_all, found, strict=True)]

    def answers(self) -> list[Answer]:
        return self._answers

    def right(self, inputs: Inputs, i: int, k: int) -> Answer:
        """Its maps are scaled to 0 ... 1 and upsampled bilinearly: what is right is treated likewise."""
        return self.expected(inputs.expected(i, k), inputs.raw[inputs.place(i, k)])
