"""What the worker asks of a contestant, and which contestants there are."""

import importlib
from importlib.util import find_spec
from typing import Any, ClassVar

import numpy as np

from minicam.bench.task import Answer
from minicam.network import Network


class Contestant:
    """One way to run the network. The worker calls load, prepare, compile once, in this order, then forward and job.

    What is timed as the start is everything but `prepare`: a user of the library has the network in its own format.
    """

    packages: ClassVar[tuple[str, ...]] = ()
    """What has to be installed, by import name; the first one gives the version."""
    kinds: ClassVar[tuple[str, ...]] = ("forward", "job")
    """What it can do."""

    @classmethod
    def available(cls) -> bool:
        """Whether all that it needs is installed. Imports nothing of it."""
        return not cls.missing()

    @classmethod
    def missing(cls) -> list[str]:
        """What it needs and is not installed."""
        return [package for package in cls.packages if find_spec(package) is None]

    def load(self, threads: int) -> str:
        """Import the library and tell it how many threads to use; its version."""
        versions = [getattr(importlib.import_module(name), "__version__", "") for name in self.packages]
        return versions[0] if versions else ""

    def prepare(self, network: Network, image: np.ndarray) -> None:
        """Translate the network, for an image (N, C, H, W) uint8 like the one given."""

    def compile(self) -> None:
        """What the library has to do with the translation before the first run."""

    def forward(self) -> np.ndarray:
        """The scores (N, C, H, W) in main memory, for the image, uint8 in main memory."""
        raise NotImplementedError

    def job(self) -> Answer:
        """Labels and maps of the example's job, in main memory."""
        raise NotImplementedError

    def expected(self, reference: Answer, raw: list[np.ndarray]) -> Answer:
        """What a right answer of this contestant is, given minicam's and its maps before upsampling, (classes, h, w)
        per layer, negative values included."""
        return reference


REGISTRY = {
    "minicam": "minicam.bench.with_minicam:Minicam",
    "minicam, exact": "minicam.bench.with_minicam:Exact",
    "PyTorch": "minicam.bench.with_torch:ChannelsFirst",
    "PyTorch, channels-last": "minicam.bench.with_torch:ChannelsLast",
    "PyTorch, compiled": "minicam.bench.with_torch_compile:Compiled",
    "grad-cam": "minicam.bench.with_grad_cam:AsDocumented",
    "grad-cam, frozen weights": "minicam.bench.with_grad_cam:Frozen",
    "ONNX Runtime": "minicam.bench.with_onnx_runtime:OnnxRuntime",
    "OpenVINO": "minicam.bench.with_openvino:OpenVino",
    "JAX": "minicam.bench.with_jax:Jax",
}
"""Name -> module and class, in the order of the table. "minicam" comes first: the others are compared with it."""
PRODUCT = "minicam.bench.with_minicam:MatrixProduct"
"""The contestant that only measures how fast NumPy multiplies matrices."""


def contestant_class(place: str) -> type[Contestant]:
    """The class at "module:Class"."""
    module, _, name = place.partition(":")
    found: Any = getattr(importlib.import_module(module), name)
    return found
