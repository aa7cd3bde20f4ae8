"""Optimisers: frozen settings with a pure `update`, which returns new arrays and writes to none.

Weight decay is for the parameters named "weight", those of convolutions and dense layers; biases, and the scales,
offsets and slopes of normalisations and activations, have none.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from minicam.backend import Array, array_module
from minicam.errors import MinicamError
from minicam.graph import Parameters

Tree = dict[str, dict[str, Array]]
"""Layer -> parameter -> array."""


class State(NamedTuple):
    """What an optimiser remembers: how many updates there were, and kind -> one array like each parameter."""

    updates: int
    kinds: dict[str, Tree]


class Optimizer:
    """Base of the optimisers: it goes through the parameters; `_step` has the formula for one array."""

    kinds: ClassVar[tuple[str, ...]] = ()
    weight_decay: float

    def start(self, parameters: Parameters) -> State:
        """The state before the first update: zeros."""
        kinds = {
            kind: {
                layer: {name: array_module(a).zeros_like(a) for name, a in arrays.items()}
                for layer, arrays in parameters.items()
            }
            for kind in self.kinds
        }
        return State(0, kinds)

    def update(
        self, parameters: Parameters, gradients: Parameters, state: State, learning_rate: float
    ) -> tuple[Tree, State]:
        """The parameters after one step, and the state for the next. All have the same layers, names and shapes."""
        new: Tree = {layer: {} for layer in parameters}
        kinds: dict[str, Tree] = {kind: {layer: {} for layer in parameters} for kind in self.kinds}
        updates = state.updates + 1
        for layer, arrays in parameters.items():
            for name, p in arrays.items():
                decay = self.weight_decay if name == "weight" else 0.0
                old = [state.kinds[kind][layer][name] for kind in self.kinds]
                new[layer][name], *found = self._step(p, gradients[layer][name], old, learning_rate, decay, updates)
                for kind, array in zip(self.kinds, found, strict=True):
                    kinds[kind][layer][name] = array
        return new, State(updates, kinds)

    def _step(self, p: Array, g: Array, old: list[Array], rate: float, decay: float, updates: int) -> tuple[Array, ...]:
        """The new parameter, and what takes the place of `old`, one array of each kind. updates: with this one."""
        raise NotImplementedError

    def _require(self, name: str, below: float = float("inf")) -> None:
        value = getattr(self, name)
        if not 0 <= value < below:
            limit = "" if below == float("inf") else f", less than {below:g}"
            raise MinicamError(f"{type(self).__name__}: {name} is {value}; expected 0 or more{limit}")


@dataclass(frozen=True)
class SGD(Optimizer):
    """Gradient descent with momentum (Sutskever et al., ICML 2013, equations 1 to 4, in PyTorch's form).

    g' = g + weight_decay p,  v <- momentum v + g',  p <- p - rate v;  nesterov: p <- p - rate (g' + momentum v)
    """

    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 0.0
    kinds: ClassVar[tuple[str, ...]] = ("velocity",)

    def __post_init__(self) -> None:
        self._require("momentum", below=1)
        self._require("weight_decay")

    def _step(self, p, g, old, rate, decay, updates):
        g = g + decay * p
        v = self.momentum * old[0] + g
        return p - rate * (g + self.momentum * v if self.nesterov else v), v


@dataclass(frozen=True)
class AdamW(Optimizer):
    """Adam with decoupled weight decay (Loshchilov and Hutter, arXiv:1711.05101, algorithm 2). At update t:

    m <- beta1 m + (1 - beta1) g,  s <- beta2 s + (1 - beta2) g^2,
    p <- p - rate (m / (1 - beta1^t) / (sqrt(s / (1 - beta2^t)) + epsilon) + weight_decay p)

    As in PyTorch the rate multiplies the decay as well, so that both follow the schedule.
    """

    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 0.01
    kinds: ClassVar[tuple[str, ...]] = ("mean", "square")

    def __post_init__(self) -> None:
        self._require("beta1", below=1)
        self._require("beta2", below=1)
        self._require("epsilon")
        self._require("weight_decay")

    def _step(self, p, g, old, rate, decay, updates):
        m = self.beta1 * old[0] + (1 - self.beta1) * g
        s = self.beta2 * old[1] + (1 - self.beta2) * g**2
        deviation = array_module(p).sqrt(s / (1 - self.beta2**updates)) + self.epsilon
        return p - rate * (m / (1 - self.beta1**updates) / deviation + decay * p), m, s
