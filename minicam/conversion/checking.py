"""The check at the end of a conversion: the same random input through the source and through minicam."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from minicam.backend import to_numpy
from minicam.conversion.reading import Converted
from minicam.errors import ConversionError, LayerError
from minicam.graph import Graph
from minicam.network import Network
from minicam.ops import Normalize
from minicam.store import Example

TOLERANCE = 1e-3
"""The largest difference allowed, relative to each output's largest absolute value, of two programs in float32."""
STORED = 1e-4
"""The least tolerance of the example in the file, so that other machines' float32 passes as well."""
MAX_STORED = 2**22
"""Numbers in the example of a file: larger ones, of 16 MiB, are left out."""
OPEN_SIZES = (64, 32, 224, 256, 512, 128, 16, 8)
"""What an open size is set to, the first that the layers allow."""


@dataclass(frozen=True)
class Check:
    """Whether and with what a conversion was compared: `difference` is the largest one, relative to each output's
    largest absolute value; None where nothing was compared, and then `by` says why."""

    difference: float | None
    by: str
    example: Example | None = None

    def __str__(self) -> str:
        if self.difference is None:
            return f"not checked: {self.by}"
        return f"checked against {self.by}: outputs agree to {self.difference:.1e} of their largest value"


def check(converted: Converted) -> Check:
    """Compare the outputs for one random input. ConversionError where they differ by more than TOLERANCE."""
    if converted.run is None:
        return Check(None, converted.runner)
    network = converted.network
    inputs = random_inputs(network)
    try:
        expected = {layer: np.asarray(array) for layer, array in converted.run(inputs).items()}
    except Exception as error:  # whatever the other framework raises
        return Check(None, f"{converted.runner} cannot run the source ({type(error).__name__}: {str(error)[:200]})")
    found = network.forward(inputs, list(expected))
    difference = 0.0
    for layer, array in expected.items():
        peak = float(np.abs(array).max()) or 1.0
        if not np.isfinite(peak):
            return Check(None, f"{converted.runner} gives NaN or infinity for random input at {layer!r}")
        mine = to_numpy(found[layer])
        if mine.shape != array.shape:
            raise ConversionError(f"layer {layer!r} has shape {mine.shape}; {converted.runner} gives {array.shape}")
        difference = max(difference, float(np.abs(mine - array).max()) / peak)
        if not difference <= TOLERANCE:
            raise ConversionError(
                f"layer {layer!r} differs from {converted.runner} by {difference:.1e} of its largest value on random "
                f"input; at most {TOLERANCE:.0e} is expected. One of the two is wrong, perhaps minicam: please report "
                "it. Without the check (--no-check) it is converted all the same"
            )
    return Check(difference, converted.runner, _example(inputs, expected, difference))


def _example(inputs: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray], difference: float) -> Example | None:
    if sum(array.size for array in (*inputs.values(), *expected.values())) > MAX_STORED:
        return None
    return Example(inputs, expected, max(STORED, 2 * difference))


def random_inputs(network: Network) -> dict[str, np.ndarray]:
    """One sample for each input, float32, the same at every call: standard normal, or, before a Normalize layer, of
    that layer's mean and standard deviation. Open sizes are set to the first number that the layers allow."""
    graph = network.graph
    random = np.random.default_rng(0)
    arrays = {}
    for name, shape in _closed(graph).items():
        x = random.standard_normal((1, *shape))
        for node in graph.nodes:
            if isinstance(node.op, Normalize) and name in node.inputs:
                p = network.parameters(np.float64)[node.name]
                mean, std = (to_numpy(p[key]).reshape(-1, *(1,) * (len(shape) - 1)) for key in ("mean", "std"))
                x = x * std + mean
        arrays[name] = x.astype(np.float32)
    return arrays


def _closed(graph: Graph) -> dict[str, tuple[int, ...]]:
    problem = None
    for size in OPEN_SIZES:
        shapes = {name: tuple(n or size for n in shape) for name, shape in graph.inputs.items()}
        try:
            graph.check_feeds({name: np.broadcast_to(np.float32(0), (1, *shape)) for name, shape in shapes.items()})
        except LayerError as error:
            problem = problem or error
        else:
            return shapes
    raise ConversionError(f"no input size out of {OPEN_SIZES} fits the layers ({problem}); give the input's shape")
