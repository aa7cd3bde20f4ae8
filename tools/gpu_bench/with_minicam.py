"""minicam on the GPU."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from gpu_bench.inputs import answer_of, explained_job
from gpu_bench.machine import Machine
from gpu_bench.rows import Missing
from gpu_bench.timing import Clock
from minicam.bench.task import CLASSES, FEATURE_LAYERS, Answer, class_channels
from minicam.cuda.engine import CudaGraph
from minicam.engine import PlainGraph
from minicam.network import Network


class Minicam:
    """The public function `explain`, of an image (H, W, 3) or a batch of them, in page-locked memory; it gives NumPy
    arrays."""

    title = "minicam"

    def __init__(self, machine: Machine, network: Network, batches: list[np.ndarray], precision: str):
        cupy = machine.need_cupy()
        self.machine, self.precision = machine, precision
        self.settings = f"minicam: precision {precision!r}"
        self.network = on_gpu(network, precision)
        self.batches = [pinned(cupy, batch) for batch in batches]
        self._explained: Sequence[Any] = ()

    @property
    def clock(self) -> Clock:
        return self.machine.cupy_clock

    def before(self) -> None:
        self._explained = ()  # memory of the last run is to be had again

    def job(self, i: int) -> None:
        batch = self.batches[i % len(self.batches)]
        found = explained_job(self.network, batch if len(batch) > 1 else batch[0])
        self._explained = found if isinstance(found, list) else [found]
        for each in self._explained:
            assert all(isinstance(cam.maps, np.ndarray) for cam in each.cams)  # in main memory

    def answers(self) -> list[Answer]:
        """Of the last job."""
        return [answer_of(each) for each in self._explained]


class _Keeping:
    """Keeps what the last run found, on the device."""

    machine: Machine
    found: Any = None

    @property
    def clock(self) -> Clock:
        return self.machine.cupy_clock

    def before(self) -> None:
        self.found = None  # its place is to be had again


class OnDevice(_Keeping):
    """The same for images that are on the device, with results that stay there, in one plan."""

    title = "minicam"

    def __init__(self, machine: Machine, network: Network, batches: list[np.ndarray], precision: str):
        self.machine, self.precision = machine, precision
        self.settings = f"minicam: precision {precision!r}"
        self.network, self.output = on_gpu(network, precision), network.graph.outputs[0]
        self.batches = on_device(machine.need_cupy(), batches)
        self.signs = np.zeros((len(CLASSES), len(network.classes)), np.float32)
        self.signs[np.arange(len(CLASSES)), class_channels(network)] = 1

    def job(self, i: int) -> None:
        x = self.batches[i % len(self.batches)]
        size = x.shape[2:]
        self.found = self.network.explained(
            x, self.signs, self.output, FEATURE_LAYERS, self.output, size, "bicubic", True
        )
        if self.found is None:
            raise Missing(f"precision {self.precision!r} has no plan of the whole job")

    def answers(self) -> list[Answer]:
        """Of the last job."""
        block = self.found.block.get()[0]
        samples = (self.found.sample(block, n) for n in range(len(self.batches[0])))
        return [
            Answer(None, labels, np.stack([maps[k]["maps"] for k in FEATURE_LAYERS])) for labels, _, maps in samples
        ]


class Forward(_Keeping):
    """The scores alone, of images on the device, which stay there: what the engine does, without the checks of
    `Network.forward`, one of which waits for the device."""

    title = "minicam, forward"

    def __init__(self, machine: Machine, network: Network, batches: list[np.ndarray], precision: str):
        cupy = machine.need_cupy()
        self.machine, self.precision = machine, precision
        self.settings = f"minicam: precision {precision!r}"
        self.engine = engine(network, cupy, precision)
        self.output, (self.input,) = network.graph.outputs[0], network.graph.inputs
        self.batches = on_device(cupy, batches)

    def job(self, i: int) -> None:
        x = self.batches[i % len(self.batches)].astype(np.float32)
        self.found = self.engine.forward({self.input: x}, [self.output])[self.output]

    def scores(self) -> np.ndarray:
        """Of the last batch."""
        return self.found.get()


def engine(network: Network, cupy: Any, precision: str) -> Any:
    """What computes on the GPU in that precision."""
    if precision == "exact":
        return PlainGraph(network.graph, on_gpu(network, precision).parameters())
    return CudaGraph(network.graph, network.parameters(), cupy, precision)


def on_gpu(network: Network, precision: str) -> Network:
    return Network(network.graph, network.parameters(), network.classes, device="gpu", precision=precision)


def on_device(cupy: Any, batches: list[np.ndarray]) -> list[Any]:
    """The images as the network takes them, (N, 3, H, W) uint8."""
    return [cupy.asarray(np.ascontiguousarray(batch.transpose(0, 3, 1, 2))) for batch in batches]


def pinned(cupy: Any, array: np.ndarray) -> np.ndarray:
    """A copy of the array in page-locked memory."""
    memory = cupy.cuda.alloc_pinned_memory(array.nbytes)
    copy = np.frombuffer(memory, array.dtype, array.size).reshape(array.shape)
    copy[...] = array
    return copy
