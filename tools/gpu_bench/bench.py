"""What all sections share."""

from dataclasses import dataclass, field

from gpu_bench.budget import Budget
from gpu_bench.ceilings import Ceilings, Sizes
from gpu_bench.inputs import Inputs, drawn_inputs
from gpu_bench.machine import Machine
from gpu_bench.timing import Effort
from minicam.network import Network


@dataclass
class Bench:
    """network: on the CPU, in float32. space: of the images that are timed; small: of those compared with float64.
    batches: numbers of images together. precisions: of minicam, those wanted. cache: bytes that a rotation of inputs
    has to exceed, so that none is found in the device's cache."""

    machine: Machine
    network: Network
    space: tuple[int, int]
    small: tuple[int, int]
    batches: tuple[int, ...]
    precisions: tuple[str, ...]
    seed: int
    budget: Budget
    effort: Effort = field(default_factory=Effort)
    sizes: Sizes = field(default_factory=Sizes)
    cache: int = 256 << 20
    ceilings: Ceilings = field(default_factory=Ceilings)
    _inputs: Inputs | None = None

    @property
    def inputs(self) -> Inputs:
        """Drawn, and their answers computed, when they are first wanted."""
        if self._inputs is None:
            self._inputs = drawn_inputs(self.network, self.space, self.seed)
        return self._inputs
