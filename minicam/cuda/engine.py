"""A graph with its parameters, computed on a GPU: up to the precision asked for, the results of `Graph.forward` and
`Graph.backward`."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from minicam.backend import Array, is_out_of_memory
from minicam.cuda.backward import Backward
from minicam.cuda.bound import Bound, Constants
from minicam.cuda.buffers import Buffer, FeatureMaps, Place
from minicam.cuda.forward import Forward
from minicam.cuda.job import Explained, Job, job_plan
from minicam.cuda.kernels import Kernels
from minicam.cuda.maps import resize, weighted_sum
from minicam.cuda.plan import Plan, Value
from minicam.cuda.softmax import largest_channel
from minicam.cuda.tiles import Processors
from minicam.cuda.weights import Weights
from minicam.errors import DeviceError
from minicam.fast.shapes import Shapes, shapes_from
from minicam.graph import Graph, Node, Parameters, Values, check_seeds, read_by
from minicam.resizing import imresize, resize_weights

MOST_PLANS, MOST_BOUND = 64, 64
"""How many plans are remembered, and how many of them, the last ones used, keep their memory."""
TENSOR_CORES = 80
"""The least compute capability with the tensor cores that the kernels use."""
FAST_TENSOR_CORES = (80, 90, 100, 103)
"""Compute capabilities whose tensor cores multiply TF32 more than three times as fast as the other units float32."""


class Arithmetic(NamedTuple):
    """How convolutions multiply, forward and backward: see `cuda.convolution.correlate`."""

    forward: str
    backward: str


def arithmetic_of(precision: str, capability: int) -> Arithmetic:
    """The arithmetic for a precision ("fast", "tf32" or "fp16") on a device of that compute capability, such as 90.

    "fast" has the errors of float32. With "fp16" the values between layers are half precision, whose range gradients
    would leave: these go back in TF32. Raises DeviceError where the device cannot do it.
    """
    if precision == "fast":
        fast = "3xtf32" if capability in FAST_TENSOR_CORES else "float32"
        return Arithmetic(fast, fast)
    if capability < TENSOR_CORES:
        raise DeviceError(
            f"precision {precision!r} needs a GPU of compute capability 8.0 or later; this one has "
            f"{capability // 10}.{capability % 10}: choose 'fast' or 'exact'"
        )
    return {"tf32": Arithmetic("tf32", "tf32"), "fp16": Arithmetic("float16", "tf32")}[precision]


class CudaGraph:
    """A graph with parameters in main memory, computed in float32 by the kernels of this folder. module: cupy.

    Weights are folded and packed at their first use and kept: the parameters must not be changed afterwards. A pass
    over inputs of sizes that it has seen before replays what it did then. Passes asked for by several threads take
    turns.

    What comes back is channels last in memory, and is never written to while somebody holds it.
    """

    def __init__(self, graph: Graph, parameters: Parameters, module: Any, precision: str = "fast"):
        self.graph = graph
        self._module = module
        device = module.cuda.Device()
        self._arithmetic = arithmetic_of(precision, int(device.compute_capability))
        self._processors = Processors(
            int(device.attributes["MultiProcessorCount"]), int(device.attributes["MaxSharedMemoryPerMultiprocessor"])
        )
        self._weights = Weights(parameters, self._arithmetic.forward, self._arithmetic.backward)
        self._kernels = Kernels(module)
        self._constants = Constants(module)
        self._plans: dict[Hashable, Plan] = {}
        self._bound: OrderedDict[Hashable, list[Bound]] = OrderedDict()
        self._last: Bound | None = None
        self._turn = threading.RLock()

    def forward(self, feeds: Mapping[str, Array], keep: Iterable[str]) -> Values:
        """The layers in `keep`; see `Graph.forward`. feeds: float32 CuPy arrays."""
        keep = list(keep)
        computed = [name for name in dict.fromkeys(keep) if name not in feeds]
        sizes = tuple((name, tuple(array.shape)) for name, array in feeds.items())
        found = self._run(("forward", sizes, *computed), lambda: self.forward_plan(feeds, computed), feeds, {})
        return Values({name: found[name] if name in found else feeds[name] for name in keep}, feeds)

    def forward_plan(self, feeds: Mapping[str, Array], keep: Sequence[str]) -> Plan:
        """The launches of a forward pass. feeds: arrays, of which only the shapes count."""
        self.graph.check_feeds(feeds)
        shapes, samples = shapes_from(self.graph, feeds), len(next(iter(feeds.values())))
        planner = Forward(self.graph, self._weights, shapes, samples, self._arithmetic.forward, self._processors)
        return planner.plan(list(feeds), keep)

    def backward(self, values: Values, seeds: Mapping[str, Array], wrt: Iterable[str]) -> dict[str, Array]:
        """Gradients at the layers in `wrt`: see `Graph.backward`."""
        return self._backward(values, seeds, list(wrt), means_only=False)

    def channel_sums(self, values: Values, seeds: Mapping[str, Array], wrt: Iterable[str]) -> dict[str, Array]:
        """What `backward` gives, summed over the positions: name -> (N, C). The last step, at a layer with nothing
        asked for before it, takes a few sums instead of a convolution's adjoint."""
        found = self._backward(values, seeds, list(wrt), means_only=True)
        return {name: array.reshape(array.shape[:2]) for name, array in found.items()}

    def job(self, x: Array, signs: np.ndarray, job: Job) -> Explained:
        """The whole work on images x (N, C, H, W), of any type, by one plan. signs (T, C): of the targets' channels."""
        feeds = {next(iter(self.graph.inputs)): x}

        def plan() -> Plan:
            self.graph.check_feeds(feeds)
            shapes, samples = shapes_from(self.graph, feeds), len(x)
            layers, last = list(job.layers), job.reduction_layer
            path, depends = self.graph.between([last], layers, feeds)
            kept = {last, *layers, *read_by(path)} | ({job.labelled} if job.labelled else set())
            forward = self.forward_plan(feeds, sorted(kept))

            def backward(targets: int) -> Backward:
                return self._backward_planner(path, depends, shapes, samples, targets, True)

            return job_plan(job, forward, backward, samples, shapes)

        key = "job", job, tuple(x.shape)
        with self._turn:
            arrays = self._run(key, plan, {**feeds, "signs": self._module.asarray(signs, np.float32)}, {})
            assert self._last is not None
            done, block = self._last.plan, self._last.block()
        return Explained(job, done, len(x), block, {layer: arrays[layer] for layer in job.layers})

    def each(self, work: Callable[[Any], None], items: Sequence[Any]) -> None:
        """work(item) for every item."""
        for item in items:
            work(item)

    def weighted_sum(self, weights: Array, activations: Array) -> Array:
        """weights (T, K), activations (K, *space) -> (T, *space): the sum over the channels k."""
        maps = _as_maps(activations[None])
        if maps is None:
            return self._module.tensordot(weights, activations, axes=1)
        of = Buffer(weights.shape)
        total = Buffer((len(weights), *activations.shape[1:]))

        def plan() -> Plan:
            return Plan(tuple(weighted_sum(of, maps, total)), {"weights": of}, {"x": maps.place.buffer}, {"y": total})

        key = "weighted sum", weights.shape, _layout(activations[None])
        return self._run(key, plan, {"weights": weights}, {"x": activations})["y"]

    def resize(self, x: Array, size: Sequence[int], method: str = "bicubic") -> Array:
        """x (T, *space) -> (T, *size), see `imresize`."""
        if x.ndim != 3 or method == "nearest":
            return imresize(x, size, method, axes=tuple(range(1, x.ndim)))

        def plan() -> Plan:
            before, after = Buffer(x.shape), Buffer((len(x), *size))
            rows, columns = (resize_weights(n, m, method) for n, m in zip(x.shape[1:], size, strict=True))
            return Plan(tuple(resize(before, after, rows, columns, False)), {"x": before}, {}, {"y": after})

        return self._run(("resize", x.shape, tuple(size), method), plan, {"x": x}, {})["y"]

    def labels(self, scores: Array) -> Array:
        """scores (N, C, *space), C at most 256 -> (N, *space) uint8: the channel with the largest score."""
        maps = _as_maps(scores)
        if maps is None:
            return scores.argmax(axis=1).astype(np.uint8)
        found = Buffer((maps.samples, maps.rows, maps.columns), np.uint8)

        def plan() -> Plan:
            return Plan(tuple(largest_channel(maps, found)), {}, {"x": maps.place.buffer}, {"labels": found})

        return self._run(("labels", _layout(scores)), plan, {}, {"x": scores})["labels"]

    def free(self) -> None:
        """Give back the device memory of all plans; what has been handed out stays."""
        with self._turn:
            self._bound.clear()
            self._last = None
            self._module.get_default_memory_pool().free_all_blocks()

    @property
    def bytes(self) -> int:
        """Of device memory that plans hold, without weights."""
        return sum(bound.bytes for some in self._bound.values() for bound in some)

    def _backward(
        self, values: Values, seeds: Mapping[str, Array], wrt: list[str], means_only: bool
    ) -> dict[str, Array]:
        path, depends = self.graph.between(seeds, wrt, values.feeds)
        reads = read_by(path)
        missing = reads - values.keys()
        if missing:
            values = Values({**values, **self.forward(values.feeds, missing)}, values.feeds)
        shapes, samples = shapes_from(self.graph, values.feeds), len(next(iter(values.feeds.values())))
        check_seeds(seeds, values, shapes)
        targets = max(len(seed) for seed in seeds.values())
        contents = {f"seed of {name}": _seed_content(seed) for name, seed in seeds.items()}
        read = {name: values[name] for name in sorted(reads)}
        given = {name: array for name, array in read.items() if _as_maps(array) is not None}
        contents |= {name: array for name, array in read.items() if name not in given}

        def plan() -> Plan:
            maps = {name: found for name, array in given.items() if (found := _as_maps(array)) is not None}
            copied = {name: Buffer(tuple(array.shape)) for name, array in contents.items()}
            known: dict[str, Value] = {name: maps[name] if name in maps else copied[name] for name in read}
            planner = self._backward_planner(path, depends, shapes, samples, targets, means_only)
            started = {name: planner.seed(copied[f"seed of {name}"], (targets, *shapes[name])) for name in seeds}
            places = {name: found.place.buffer for name, found in maps.items()}
            return planner.plan(known, started, wrt, copied, places)

        layouts = tuple((name, _layout(array)) for name, array in (*read.items(), *contents.items()))
        return self._run(("backward", layouts, tuple(seeds), tuple(wrt), means_only), plan, contents, given)

    def _backward_planner(
        self, path: list[Node], depends: set[str], shapes: Shapes, samples: int, targets: int, means_only: bool
    ) -> Backward:
        arithmetic = self._arithmetic.backward
        return Backward(
            path, depends, shapes, samples, targets, self._weights, arithmetic, self._processors, means_only
        )

    def _run(
        self, key: Hashable, plan: Callable[[], Plan], contents: Mapping[str, Array], given: Mapping[str, Array]
    ) -> dict[str, Array]:
        """Run a plan, made where there is none of that key yet, in memory that nobody holds."""
        with self._turn:
            if key not in self._plans:
                if len(self._plans) >= MOST_PLANS:
                    self._plans.clear()
                self._plans[key] = plan()
            place = key, tuple((name, array.data.ptr) for name, array in given.items())
            bound = next((bound for bound in self._bound.get(place, []) if bound.free), None)
            if bound is None:
                bound = self._with_memory(self._plans[key], given)
                self._bound.setdefault(place, []).append(bound)
            self._bound.move_to_end(place)
            while len(self._bound) > MOST_BOUND:
                self._bound.popitem(last=False)
            self._last = bound
            return bound.run(contents)

    def _with_memory(self, plan: Plan, given: Mapping[str, Array]) -> Bound:
        """A plan with memory of its own: that of all others, where the device has no more."""
        try:
            return Bound(plan, given, self._module, self._kernels, self._constants)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        self.free()
        return Bound(plan, given, self._module, self._kernels, self._constants)


def _as_maps(array: Array) -> FeatureMaps | None:
    """An array (N, C, H, W) of the caller as feature maps, if that is how it lies in memory."""
    if array.ndim != 4 or array.dtype != np.float32 or array.strides[1] != 4 or array.data.ptr % 16:
        return None
    samples, channels, rows, columns = array.shape
    pitches = [stride // 4 for stride in (array.strides[0], array.strides[2], array.strides[3])]
    if any(stride % 16 for stride in (array.strides[0], array.strides[2], array.strides[3])):
        return None
    return FeatureMaps(
        Place(Buffer(tuple(array.shape))), samples, rows, columns, channels, pitches[2], pitches[1], pitches[0]
    )


def _layout(array: Array) -> Hashable:
    return tuple(array.shape), tuple(array.strides)


def _seed_content(seed: Array) -> Array:
    """What of a seed is copied: of one that is the same at all positions, one vector for each target."""
    same = seed.ndim == 4 and seed.strides[2] == seed.strides[3] == 0
    return seed[:, :, 0, 0] if same else seed
