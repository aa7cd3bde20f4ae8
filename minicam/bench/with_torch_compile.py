"""PyTorch's compiler: the fastest that PyTorch has for the forward pass of a frozen network, after most of a minute."""

import importlib
import shutil
from typing import Any

import numpy as np

from minicam.bench.with_torch import ChannelsLast
from minicam.network import Network


class Compiled(ChannelsLast):
    """`torch.compile` with frozen weights, which are then stored as the kernels want them. Not for the job, whose
    gradients at layers in the middle it does not compile as one function."""

    kinds = ("forward",)

    @classmethod
    def missing(cls) -> list[str]:
        compiler = any(map(shutil.which, ("c++", "g++", "clang++", "cl")))
        return super().missing() + ([] if compiler else ["a C++ compiler"])

    def prepare(self, network: Network, image: np.ndarray) -> None:
        super().prepare(network, image)
        torch, steps, source, output = self.torch, self.steps, self.input, self.output

        def forward(_: Any, x: Any) -> Any:
            values = {source: x}
            for step, module in steps:
                values[step.node.name] = module(*(values[name] for name in step.node.inputs))
            return values[output]

        self.model = type("Model", (torch.nn.Module,), {"forward": forward})()
        self.model.layers = torch.nn.ModuleList(module for _, module in steps)
        self.model.eval()

    def compile(self) -> None:
        super().compile()
        inductor: Any = importlib.import_module("torch._inductor.config")
        inductor.freezing = True
        self.compiled = self.torch.compile(self.model)
        self.forward()  # it compiles at the first call

    def forward(self) -> np.ndarray:
        image = self.torch.from_numpy(self.image).to(memory_format=self.torch.channels_last).float()
        with self.torch.no_grad():  # freezing asks for this one rather than inference_mode
            return self.compiled(image).contiguous().numpy()
