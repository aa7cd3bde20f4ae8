"""minicam itself, as a user calls it, and the matrix product that its times are held against."""

import numpy as np

import minicam
from minicam.backend import to_numpy
from minicam.bench.contestant import Contestant
from minicam.bench.task import CLASSES, FEATURE_LAYERS, Answer
from minicam.explanation import Explanation, explain
from minicam.network import Network


class Minicam(Contestant):
    """`Network.forward` and `explain` with their defaults. Threads: MINICAM_THREADS, which the worker finds set."""

    def load(self, threads: int) -> str:
        return minicam.__version__

    def prepare(self, network: Network, image: np.ndarray) -> None:
        self.network, self.image = network, image

    def forward(self) -> np.ndarray:
        output = self.network.graph.outputs[0]
        return to_numpy(self.network.forward(self.image, [output])[output])

    def job(self) -> Answer:
        return self.answer(self.explained())

    def answer(self, explained: Explanation) -> Answer:
        return Answer(labels=explained.labels, maps=np.stack([cam.maps for cam in explained.cams]))

    def explained(self) -> Explanation:
        image = np.moveaxis(self.image[0], 0, -1)
        return explain(self.network, image, CLASSES, FEATURE_LAYERS, self.network.graph.outputs[0])


class Exact(Minicam):
    """The same by the plain definitions: what `minicam.fast` brings."""

    def prepare(self, network: Network, image: np.ndarray) -> None:
        super().prepare(Network(network.graph, network.parameters(), network.classes, precision="exact"), image)


class MatrixProduct(Contestant):
    """A product of two matrices that are large enough for NumPy's BLAS to reach its peak."""

    kinds = ("product",)
    size = 2048
    flop = 2 * size**3

    def prepare(self, network: Network | None, image: np.ndarray | None) -> None:
        self.square = np.random.default_rng(0).standard_normal((self.size, self.size)).astype(np.float32)

    def product(self) -> np.ndarray:
        return self.square @ self.square
