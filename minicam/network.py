"""A graph together with its parameters, and what its outputs mean."""

import importlib.util
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property, wraps
from typing import Any, TypeVar, cast

import numpy as np

from minicam import summary
from minicam.backend import Array, array_module, as_array, device_module, is_out_of_memory
from minicam.engine import PlainGraph
from minicam.errors import DeviceMemoryError, LayerError, MinicamError
from minicam.graph import Graph, Parameters, Values
from minicam.ops import Shape
from minicam.patches import Patch, whole
from minicam.resizing import KERNELS

FAST, CUDA = (importlib.util.find_spec(f"minicam.{folder}") is not None for folder in ("fast", "cuda"))
"""Whether the folders are there that make results fast; without them they are the same up to rounding."""
PRECISIONS = {"cpu": ("fast", "exact"), "gpu": ("fast", "exact", "tf32", "fp16")}

Method = TypeVar("Method", bound=Callable[..., Any])


def within_memory(method: Method) -> Method:
    """A method of `Network` that, where the GPU runs out of memory, frees what passes hold, and says so."""

    @wraps(method)
    def run(network: "Network", *args: Any, **options: Any) -> Any:
        try:
            return method(network, *args, **options)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            said = str(error)
        # The error is gone, and with it the arrays that its traceback held.
        network.free()
        raise DeviceMemoryError(
            f"the GPU has not enough memory: {said} What earlier passes held of it is free again. Take fewer or "
            "smaller inputs at a time, free what others hold, or take device='cpu'"
        )

    return cast(Method, run)


class Network:
    """A graph, its parameters, and optionally class names and colours.

    parameters: layer -> parameter -> array; of any floating type, computed in float32 (float64 for float64 input).
    classes: names of the output channels. colors: one (red, green, blue), 0 to 255, per class.
    precision: "fast" (float32 within 2e-5 of float64, relative to each layer's peak) or "exact" (the plain
    definitions); on a GPU also "tf32" and "fp16" (products of numbers with 10 bits after the point; docs/gpu.md).
    float64 always takes the plain definitions. threads: of the fast path on the CPU; None: MINICAM_THREADS, or the
    machine's.
    Raises LayerError where parameters are missing, unknown or of the wrong shape, or the colours do not match.
    """

    def __init__(
        self,
        graph: Graph,
        parameters: Mapping[str, Mapping[str, Array]],
        classes: Sequence[str] = (),
        colors: Sequence[Sequence[int]] = (),
        device: str = "cpu",
        precision: str = "fast",
        threads: int | None = None,
    ):
        check_parameters(graph, parameters)
        if colors and len(colors) != len(classes):
            raise LayerError(f"there are {len(colors)} colours for {len(classes)} classes; expected one for each")
        self.graph = graph
        self.classes = tuple(classes)
        self.colors = tuple((int(r), int(g), int(b)) for r, g, b in colors)
        self.precision = precision
        self.threads = threads
        self._module = device_module(device)
        self._check_precision()
        self._may_use_cpu = device == "auto"
        self._stored = {k: {name: as_array(np, a) for name, a in arrays.items()} for k, arrays in parameters.items()}
        self._cast: dict[np.dtype, dict[str, dict[str, Array]]] = {}
        self._engines: dict[np.dtype, Any] = {}

    @property
    def layers(self) -> list[str]:
        """Names in running order."""
        return [node.name for node in self.graph.nodes]

    @property
    def input_shape(self) -> Shape:
        """(C, *space) of the single input; None where any size will do."""
        return self.graph.inputs[self._input_name]

    @property
    def device_name(self) -> str:
        """What computes, as in "cpu" or "gpu (NVIDIA H200, tf32)"."""
        if self._module is np:
            return "cpu"
        runtime = self._module.cuda.runtime
        name = runtime.getDeviceProperties(runtime.getDevice())["name"]
        return f"gpu ({name.decode()}, {self.precision})"

    @property
    def default_batch(self) -> int:
        """How many images go together where nobody says: on a CPU one, as more take memory and gain nothing."""
        return 1 if self._module is np else 8

    @cached_property
    def fallback(self) -> "Network | None":
        """The same network on the CPU, for what does not fit into the GPU's memory; None unless device="auto" left the
        choice to us and it fell on the GPU."""
        if self._module is np or not self._may_use_cpu:
            return None
        precision = "exact" if self.precision == "exact" else "fast"
        return Network(self.graph, self._stored, self.classes, self.colors, "cpu", precision, self.threads)

    def parameters(self, dtype: np.dtype | type = np.float32) -> dict[str, dict[str, Array]]:
        """layer -> parameter -> array of the given type, on the network's device. Cast once and then shared."""
        dtype = np.dtype(dtype)
        if dtype not in self._cast:
            self._cast[dtype] = {
                layer: {name: self._module.asarray(array, dtype) for name, array in arrays.items()}
                for layer, arrays in self._stored.items()
            }
        return self._cast[dtype]

    @within_memory
    def forward(self, x: Array | Mapping[str, Array], keep: Iterable[str] | None = None) -> Values:
        """The layers in `keep` (default: the outputs) for x (N, C, *space), raw pixel scale: dict name -> array.

        x may be a dict that feeds any layers instead. float64 is computed in float64; everything else in float32.
        The spatial size need not be `input_shape`'s where the layers allow another. Raises LayerError for an unknown
        layer, a wrong shape, or NaN and infinite values, and DeviceMemoryError where a GPU has not enough memory.
        """
        feeds = dict(x) if isinstance(x, Mapping) else {self._input_name: x}
        feeds = {name: self._checked(name, array) for name, array in feeds.items()}
        dtype = np.dtype(np.float64 if any(a.dtype == np.float64 for a in feeds.values()) else np.float32)
        feeds = {name: array.astype(dtype) for name, array in feeds.items()}
        keep = self.graph.outputs if keep is None else keep
        if isinstance(keep, str):
            raise LayerError(f"keep is the string {keep!r}; expected a list of layer names: [{keep!r}]")
        return self._engine(dtype).forward(feeds, keep)

    @within_memory
    def backward(self, values: Values, seeds: Mapping[str, Array], wrt: Iterable[str]) -> dict[str, Array]:
        """Gradients of the sum over the seeds of <seed, layer> at the layers in `wrt`; see `Graph.backward`.

        For seeds that are zero outside a box, given as `Patch`, only boxes are computed and `Patch`es come back.
        """
        dtype = self._dtype(values)
        if not seeds:
            raise LayerError("there are no seeds; expected one array for each layer to start from")
        if all(isinstance(seed, Patch) for seed in seeds.values()):
            return self._backward_in_boxes(values, seeds, wrt, self.parameters(dtype))
        return self._engine(dtype).backward(values, self._cast_seeds(seeds, dtype), wrt)

    @within_memory
    def channel_sums(self, values: Values, seeds: Mapping[str, Array], wrt: Iterable[str]) -> dict[str, Array]:
        """What `backward` gives, summed over the positions: layer -> (N, C). All that Grad-CAM needs, and cheaper."""
        dtype = self._dtype(values)
        return self._engine(dtype).channel_sums(values, self._cast_seeds(seeds, dtype), wrt)

    @within_memory
    def backward_params(self, values: Values, seeds: Mapping[str, Array]) -> dict[str, dict[str, Array]]:
        """The same for all parameters: layer -> parameter -> gradient; see `Graph.backward_params`."""
        dtype = self._dtype(values)
        return self.graph.backward_params(self.parameters(dtype), values, self._cast_seeds(seeds, dtype))

    def summary(self) -> str:
        """A table: name, op, output shape, parameters, receptive field and stride where defined."""
        return summary.table(self.graph)

    @within_memory
    def explained(
        self,
        x: Array,
        signs: np.ndarray,
        reduction_layer: str,
        layers: tuple[str, ...],
        labelled: str | None,
        size: tuple[int, ...],
        method: str,
        mean: bool,
    ) -> Any:
        """All of `explain` for targets over all positions in one pass, see `minicam.cuda.job`; None where there is no
        such pass: on a CPU, for float64, for other ranks and for methods of resizing but "bicubic" and "bilinear"."""
        if x.dtype == np.float64 or not hasattr(engine := self._engine(np.dtype(np.float32)), "job"):
            return None
        x = self._checked(self._input_name, x)
        shapes = self.graph.shapes_of({self._input_name: x})
        names = [reduction_layer, *layers, *([labelled] if labelled else [])]
        if any(len(shapes[name]) != 3 for name in names) or method not in KERNELS:
            return None
        from minicam.cuda.job import Job

        job = Job(reduction_layer, layers, labelled, len(signs), (size[0], size[1]), method, mean)
        return engine.job(x, signs, job)

    def free(self) -> None:
        """Give back the memory of a GPU that passes hold for the next ones. What they returned stays."""
        for engine in self._engines.values():
            if hasattr(engine, "free"):
                engine.free()

    def each(self, work: Callable[[Any], None], items: Sequence[Any]) -> None:
        """work(item) for every item, by as many threads as there are where the fast path is in use."""
        self._engine(np.dtype(np.float32)).each(work, items)

    def weighted_sum(self, weights: Array, activations: Array) -> Array:
        """weights (T, K), activations (K, *space) -> (T, *space): the sum over the channels k."""
        return self._engine(activations.dtype).weighted_sum(weights, activations)

    def resize(self, maps: Array, size: Sequence[int], method: str = "bicubic") -> Array:
        """maps (T, *space) -> (T, *size), as `imresize` does with mirrored edges."""
        return self._engine(maps.dtype).resize(maps, size, method)

    def largest_channel(self, scores: Array) -> Array:
        """scores (N, C, *space) -> (N, *space) uint8: the channel with the largest score, the first of equal ones.
        Raises LayerError for more than 256 channels."""
        if scores.shape[1] > 256:
            raise LayerError(f"the output has {scores.shape[1]} channels; labels are uint8 and reach to 256 classes")
        return self._engine(scores.dtype).labels(scores)

    def _backward_in_boxes(
        self, values: Values, seeds: Mapping[str, Patch], wrt: Iterable[str], parameters: Parameters
    ) -> dict[str, Patch]:
        if FAST:
            from minicam.fast import local

            return local.backward(self.graph, parameters, values, seeds, wrt)
        full = {name: seed.full() for name, seed in seeds.items()}
        found = self.graph.backward(parameters, values, full, wrt)
        return {name: whole(gradient, gradient.ndim - 2) for name, gradient in found.items()}

    def _engine(self, dtype: np.dtype) -> Any:
        """What computes in that type: a `PlainGraph`, a `FastGraph` or a `CudaGraph`, which have the same methods."""
        if dtype not in self._engines:
            plain = self.precision == "exact" or dtype != np.float32
            if FAST and not plain and self._module is np:
                from minicam.fast import FastGraph

                self._engines[dtype] = FastGraph(self.graph, self._stored, self.threads)
            elif FAST and CUDA and not plain:
                from minicam.cuda.engine import CudaGraph

                self._engines[dtype] = CudaGraph(self.graph, self._stored, self._module, self.precision)
            else:
                self._engines[dtype] = PlainGraph(self.graph, self.parameters(dtype))
        return self._engines[dtype]

    def _check_precision(self) -> None:
        device = "cpu" if self._module is np else "gpu"
        if self.precision not in PRECISIONS["gpu"]:
            raise MinicamError(f"precision is {self.precision!r}; expected one of {', '.join(PRECISIONS['gpu'])}")
        if self.precision not in PRECISIONS[device]:
            raise MinicamError(f"precision {self.precision!r} needs a GPU; on the CPU there are 'fast' and 'exact'")

    @property
    def _input_name(self) -> str:
        if len(self.graph.inputs) != 1:
            raise LayerError(f"the network has {len(self.graph.inputs)} inputs: {', '.join(self.graph.inputs)}")
        return next(iter(self.graph.inputs))

    def _checked(self, name: str, x: Array) -> Array:
        """x on the network's device; LayerError if it cannot be the value of that layer."""
        x = as_array(self._module, x)
        if x.dtype.kind not in "fiub":
            raise LayerError(f"{name!r} was given values of type {x.dtype}; expected numbers")
        if math.prod(x.shape) == 0:
            raise LayerError(f"{name!r} was given an empty array of shape {x.shape}")
        finite = array_module(x).isfinite(x) if x.dtype.kind == "f" else np.True_
        if not finite.all():
            first = tuple(int(i) for i in np.argwhere(~finite)[0])
            raise LayerError(f"{name!r} was given {int((~finite).sum())} NaN or infinite values, the first at {first}")
        return x

    def _dtype(self, values: Values) -> np.dtype:
        if not isinstance(values, Values):
            raise LayerError(f"values is a {type(values).__name__}; expected what forward returned")
        return next(iter(values.feeds.values())).dtype

    def _cast_seeds(self, seeds: Mapping[str, Array], dtype: np.dtype) -> dict[str, Array]:
        return {name: as_array(self._module, seed, dtype) for name, seed in seeds.items()}


def check_parameters(graph: Graph, parameters: Mapping[str, Mapping[str, Array]]) -> None:
    """Raises LayerError unless `parameters` are exactly those of the graph, in name and shape."""
    for layer in parameters:
        if layer not in graph.by_name:
            raise LayerError(f"there are parameters for {layer!r}, which is not a layer")
    for node in graph.nodes:
        expected = graph.parameter_shapes.get(node.name, {})
        found = parameters.get(node.name, {})
        if set(found) != set(expected):
            raise LayerError(
                f"layer {node.name!r} ({type(node.op).__name__}) has the parameters {sorted(found)}; "
                f"expected {sorted(expected)}"
            )
        for name, array in found.items():
            if tuple(array.shape) != expected[name]:
                raise LayerError(
                    f"{name} of layer {node.name!r} has shape {tuple(array.shape)}; expected {expected[name]}"
                )
