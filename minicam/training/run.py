"""What stays the same during a training run, and one step of it."""

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from types import ModuleType

import numpy as np

from minicam.backend import Array, array_module, as_array, to_numpy
from minicam.errors import LayerError, MinicamError
from minicam.graph import Parameters, Values
from minicam.graph_text import graph_text
from minicam.network import Network
from minicam.ops import BatchStatisticsNorm, Loss
from minicam.training.checkpoint import Progressed
from minicam.training.gradients import loss_and_gradients
from minicam.training.graph import LOSS, TARGET, TrainingGraph, trainable, training_graph
from minicam.training.optimizers import Optimizer, Tree
from minicam.training.schedules import Schedule

Batch = Callable[[np.random.Generator], tuple[Array, Array]]
"""Random generator -> x (N, C, *space), raw scale, and the target, shaped as the loss says."""

LOWER = "try a lower learning rate or a warm-up"

Accuracy = Callable[[], float | None]


@dataclass(frozen=True)
class Run:
    """The arguments of `train`, and what follows from them."""

    network: Network
    batch: Batch
    loss: Loss
    scores: str
    optimizer: Optimizer
    schedule: Schedule
    seed: int
    fixed: tuple[str, ...]
    momentum: float

    @cached_property
    def training(self) -> TrainingGraph:
        return training_graph(self.network.graph, loss=self.loss, scores=self.scores, fixed=self.fixed)

    @cached_property
    def trained(self) -> dict[str, tuple[str, ...]]:
        return trainable(self.training.graph, self.network.parameters(np.float32), self.fixed)

    @cached_property
    def settings(self) -> dict[str, str]:
        """What a run that goes on must have in common with the one that it continues."""
        return {
            "network": f"of the digest {self._digest()[:16]}",
            "loss": repr(self.loss),
            "scores": self.scores,
            "optimizer": repr(self.optimizer),
            "seed": str(self.seed),
            "fixed": ", ".join(sorted(self.fixed)) or "none",
            "momentum": str(self.momentum),
        }

    def start(self) -> Progressed:
        """Before the first step."""
        if len(self.network.graph.inputs) != 1:
            raise LayerError(
                f"the network has the inputs {', '.join(self.network.graph.inputs)}; expected a single one"
            )
        parameters, running = self.training.thawed(self.network.parameters(np.float32))
        return Progressed(0, parameters, running, self.optimizer.start(self._selected(parameters)))

    def step(self, at: Progressed) -> tuple[Progressed, float, Accuracy]:
        """One step: where the run is then, the loss before it, and a function that finds the accuracy before it."""
        rate = self.schedule(at.step)
        if not 0 <= rate < math.inf:
            raise MinicamError(f"the schedule gives the learning rate {rate} at step {at.step}; expected 0 or more")
        feeds = self._feeds(at.step)
        graph = self.training.graph
        with np.errstate(all="ignore"):  # what overflows makes the loss infinite or NaN, and that is looked for
            values, gradients = loss_and_gradients(graph, at.parameters, feeds, self.trained, [self.scores])
            loss = float(values[LOSS].sum())
            if not math.isfinite(loss):
                raise MinicamError(self._not_finite(loss, at.step, rate, feeds))
            new, state = self.optimizer.update(self._selected(at.parameters), gradients, at.optimizer, rate)
            running = self._averaged(at.running, values)
        parameters = {layer: {**arrays, **new.get(layer, {})} for layer, arrays in at.parameters.items()}
        scores, target = values[self.scores], feeds[TARGET]
        return Progressed(at.step + 1, parameters, running, state), loss, lambda: self.loss.accuracy(scores, target)

    def frozen(self, at: Progressed) -> Network:
        """The network for inference. MinicamError for parameters that are not finite."""
        was = self.network
        parameters = self.training.frozen(at.parameters, at.running)
        for layer, arrays in parameters.items():
            for name, array in arrays.items():
                if not self._module.isfinite(array).all():
                    raise MinicamError(f"{name} of layer {layer!r} is not finite after {at.step} steps; {LOWER}")
        device = "cpu" if self._module is np else "gpu"
        return Network(was.graph, parameters, was.classes, was.colors, device, was.precision, was.threads)

    def _digest(self) -> str:
        """SHA-256 of the graph and of the parameters that the run starts from."""
        found = hashlib.sha256(graph_text(self.network.graph))
        for layer, arrays in sorted(self.network.parameters(np.float32).items()):
            for name, array in sorted(arrays.items()):
                found.update(f"/{layer}/{name}".encode() + to_numpy(array).tobytes())
        return found.hexdigest()

    @cached_property
    def _module(self) -> ModuleType:
        arrays = next(iter(self.network.parameters(np.float32).values()))
        return array_module(next(iter(arrays.values())))

    def _feeds(self, step: int) -> dict[str, Array]:
        """The batch of that step, and the masks of the dropouts, drawn after it by the same generator."""
        random = np.random.default_rng([self.seed, step])
        (name,) = self.network.graph.inputs
        batch = self.batch(random)
        if not isinstance(batch, tuple | list) or len(batch) != 2:
            raise LayerError(f"the batch of step {step} is a {type(batch).__name__}; expected (x, target)")
        x, target = (as_array(self._module, array, np.float32) for array in batch)
        if len(x) != len(target) or not len(x):
            raise LayerError(f"the batch of step {step} has {len(x)} samples and {len(target)} targets")
        self.network.graph.check_feeds({name: x})
        masks = self.training.masks(random, {name: x})
        return {name: x, TARGET: target, **{mask: self._module.asarray(m) for mask, m in masks.items()}}

    def _selected(self, parameters: Parameters) -> Tree:
        """The parameters that are trained."""
        return {layer: {name: parameters[layer][name] for name in names} for layer, names in self.trained.items()}

    def _averaged(self, running: Parameters, values: Values) -> Tree:
        """The running statistics after one more batch."""
        averaged = {}
        for layer, old in running.items():
            node = self.training.graph.by_name[layer]
            assert isinstance(node.op, BatchStatisticsNorm)
            found = node.op.statistics(values[node.inputs[0]])
            averaged[layer] = {
                name: (1 - self.momentum) * old[name] + self.momentum * new
                for name, new in zip(("mean", "variance"), found, strict=True)
            }
        return averaged

    def _not_finite(self, loss: float, step: int, rate: float, feeds: dict[str, Array]) -> str:
        odd = [name for name, x in feeds.items() if not self._module.isfinite(x).all()]
        why = f"the batch holds NaN or infinity in {', '.join(odd)}" if odd else LOWER
        return f"the loss is {loss} at step {step} with learning rate {rate:g}; {why}"
