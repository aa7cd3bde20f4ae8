"""Stand-ins for a rehearsal without a GPU: PyTorch on the CPU, CuPy made of NumPy, and a network in miniature.

What PyTorch's graphs capture is recorded operation by operation, and replayed on the same tensors: code that would
compute something else when it is captured does so here too.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np

from gpu_bench.machine import ROOT, Machine
from gpu_bench.precision import set_torch
from minicam.network import Network
from minicam.ops import Add, Concat, Conv, ConvTranspose, Crop, MaxPool, Normalize, Relu, Softmax
from minicam.zoo import initial_parameters
from minicam.zoo.builder import PAD_BOTTOM_RIGHT, Builder

SPACE = (32, 48)
CHANNELS = 8
SEED = 10
"""Of its parameters: it finds all three classes, and at no layer are both maps 0."""


@contextmanager
def stand_in_machine() -> Iterator[Machine]:
    """Inside, what is installed, without a GPU, and `import cupy` gives the tests' stand-in."""
    if str(ROOT / "tests") not in sys.path:
        sys.path.append(str(ROOT / "tests"))
    from cupy_standin import standin

    with standin.install() as cupy:
        try:
            import torch
        except ImportError as error:
            yield Machine(cupy=cupy, rehearsal=True, missing={"torch": f"not installed: torch ({error})"})
            return
        threads, onednn = torch.get_num_threads(), torch.backends.mkldnn.enabled
        torch.set_num_threads(1)
        torch.backends.mkldnn.enabled = False  # it crashes on the weights' gradients of some small batches
        try:
            yield Machine(torch, cupy, stand_in_cuda(torch), "cpu", "aot_eager", rehearsal=True)
        finally:
            torch.set_num_threads(threads)
            torch.backends.mkldnn.enabled = onednn
            set_torch(torch, "default")


def little_network() -> Network:
    """The bundled network's ops, geometries and names of layers, with few channels, and random parameters."""
    b = Builder("image", (3, *SPACE))
    b.add("data", Normalize())
    b.conv_norm(("conv1", "bn_conv1", "conv1_relu"), Conv(CHANNELS, (7, 7), stride=2, padding=3))
    skip = b.add("pool1", MaxPool((3, 3), stride=2, padding=1))
    short = b.conv_norm(("res5a_branch1", "bn5a_branch1"), Conv(2 * CHANNELS, (1, 1), stride=2))
    first = Conv(2 * CHANNELS, (3, 3), stride=2, padding=PAD_BOTTOM_RIGHT)
    b.conv_norm(("res5a_branch2a", "bn5a_branch2a", "res5a_branch2a_relu"), first, skip)
    long = b.conv_norm(("res5a_branch2b", "bn5a_branch2b"), Conv(2 * CHANNELS, (3, 3), padding=2, dilation=2))
    b.add("res5a", Add(), long, short)
    source = b.add("res5b_relu", Relu())
    for i, rate in enumerate((1, 3), start=1):
        conv = Conv(CHANNELS, (3, 3), dilation=rate, padding=rate)
        b.conv_norm((f"aspp_Conv_{i}", f"aspp_BatchNorm_{i}", f"aspp_Relu_{i}"), conv, source)
    b.add("catAspp", Concat(), "aspp_Relu_1", "aspp_Relu_2")
    b.conv_norm(("dec_c1", "dec_bn1", "dec_relu1"), Conv(CHANNELS, (1, 1)))
    up = b.add("dec_upsample1", ConvTranspose(CHANNELS, (4, 4), stride=2, cropping=1, groups=CHANNELS))
    b.add("dec_cat1", Concat(), skip, b.add("dec_crop1", Crop(), up, skip))
    b.conv_norm(("dec_c4", "dec_bn4", "dec_relu4"), Conv(CHANNELS, (3, 3), padding=1))
    b.add("scorer", Conv(3, (1, 1)))
    b.add("dec_upsample2", ConvTranspose(3, (8, 8), stride=4, cropping=2, groups=3))
    b.add("dec_crop2", Crop(), "dec_upsample2", "data")
    b.add("softmax-out", Softmax())
    graph = b.graph()
    parameters = initial_parameters(graph, seed=SEED)
    random = np.random.default_rng(SEED)
    for arrays in parameters.values():
        for name in {"bias", "offset"} & arrays.keys():
            arrays[name] = random.normal(0, 0.3, arrays[name].shape).astype(np.float32)
    parameters["data"] = {"mean": np.full(3, 110, np.float32), "std": np.full(3, 70, np.float32)}
    return Network(graph, parameters, ("Sky", "Road", "Car"))


class Event:
    """torch.cuda.Event: a reading of the host's clock."""

    def __init__(self, enable_timing: bool = False):
        self._at: float | None = None

    def record(self) -> None:
        self._at = time.perf_counter()

    def synchronize(self) -> None:
        pass

    def elapsed_time(self, end: "Event") -> float:
        assert self._at is not None
        assert end._at is not None
        return 1e3 * (end._at - self._at)


def stand_in_cuda(torch: Any) -> Any:
    """The functions and classes of torch.cuda that are used here."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Recorder(TorchDispatchMode):
        def __init__(self) -> None:
            super().__init__()
            self.calls: list[tuple[Any, Any, Any, Any]] = []

        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if function is torch.ops.aten._local_scalar_dense.default:
                raise RuntimeError("a number was read from the device during a capture")
            found = function(*args, **(kwargs or {}))
            self.calls.append((function, args, kwargs or {}, found))
            return found

    class CUDAGraph:
        def replay(self) -> None:
            with torch.no_grad():
                for function, args, kwargs, found in self.recorder.calls:
                    self._write(found, function(*args, **kwargs))

        def _write(self, found: Any, again: Any) -> None:
            """Into the memory of the first result, unless it is the same."""
            if isinstance(found, torch.Tensor):
                if found.data_ptr() != again.data_ptr():
                    found.copy_(again)
            elif isinstance(found, list | tuple):
                for one, other in zip(found, again, strict=True):
                    self._write(one, other)

    @contextmanager
    def graph(captured: CUDAGraph) -> Iterator[None]:
        with Recorder() as captured.recorder:
            yield

    @contextmanager
    def stream(_: Any) -> Iterator[None]:
        yield

    waiting = SimpleNamespace(wait_stream=lambda other: None)
    return SimpleNamespace(
        Event=Event,
        CUDAGraph=CUDAGraph,
        graph=graph,
        Stream=lambda: waiting,
        stream=stream,
        current_stream=lambda: waiting,
        synchronize=lambda: None,
        empty_cache=lambda: None,
    )
