"""From weights to a network: every layer gets its parameters, every weight is used, or all that is amiss is listed."""

from pathlib import Path

import numpy as np

from minicam.conversion.pytorch.architectures import Architecture, architecture_of, size
from minicam.conversion.pytorch.names import Part, State
from minicam.conversion.pytorch.running import source_run
from minicam.conversion.pytorch.state import safetensors_state, torch_state
from minicam.conversion.reading import Converted, Options
from minicam.errors import ConversionError
from minicam.graph import Graph
from minicam.network import Network
from minicam.ops import BatchNorm, ConvTranspose, Normalize, Op
from minicam.zoo import bilinear_kernel

ENTRIES = {"scale": "weight", "offset": "bias", "mean": "running_mean", "variance": "running_var"}
"""What PyTorch calls the parameters of a batch normalisation."""


def read(path: Path, options: Options) -> Converted:
    """The network in a .pt or .pth file: a state dict of one of `architectures.ARCHITECTURES`."""
    return from_state(torch_state(path), options)


def read_safetensors(path: Path, options: Options) -> Converted:
    """The same of a .safetensors file."""
    return from_state(safetensors_state(path), options)


def from_state(state: State, options: Options) -> Converted:
    """The network of a state dict, entry -> array. ConversionError lists all that is missing, left over, or amiss."""
    name, architecture = architecture_of(state, options.architecture)
    channels, classes = size(state, architecture.first, axis=1), size(state, architecture.head)
    shape = options.input_shape or (channels, *architecture.space)
    if shape[0] != channels:
        raise ConversionError(f"the input shape {shape} has {shape[0]} channels; the weights are for {channels}")
    graph = architecture.build(classes, shape, state)
    scale, note = _pixels(architecture, channels, options)
    fitted = fit(graph, state, architecture)
    parameters = {layer: fitted.get(layer, {}) for layer in graph.parameter_shapes}
    parameters["data"] = scale
    fixed = {layer: _fixed(graph, layer) for layer, found in parameters.items() if not found}
    own = options.classes or (architecture.classes if len(architecture.classes) == classes else ())
    colors = architecture.colors if own == architecture.classes else ()
    network = Network(graph, {**parameters, **fixed}, own, colors)
    run, runner = source_run(name, state, network)
    return Converted(network, (f"read as {name}", note, *architecture.notes), run, runner)


def fit(graph: Graph, state: State, architecture: Architecture) -> dict[str, dict[str, np.ndarray]]:
    """layer -> parameter -> array, of the layers whose parameters the state dict holds. Convolutions without a bias get
    zeros. Raises ConversionError listing all entries that are missing, left over, or of another shape or type."""
    unused = {name for name in state if not name.endswith("num_batches_tracked")}
    unused -= {name for name in state if name.startswith(architecture.ignored)} if architecture.ignored else set()
    found: dict[str, dict[str, np.ndarray]] = {}
    missing, misfits = [], []
    for layer, shapes in graph.parameter_shapes.items():
        op = graph.by_name[layer].op
        if isinstance(op, Normalize | ConvTranspose):
            continue
        part = architecture.module(layer, state)
        found[layer] = {}
        for parameter, shape in shapes.items():
            entry = _entry(part, parameter, op)
            array = state.get(entry)
            unused.discard(entry)
            if array is None and parameter == "bias":
                array = np.zeros(shape, np.float32)
            elif array is not None and isinstance(part, Part):
                array = _part(array, part, parameter)
            if array is None:
                missing.append(entry)
            elif array.shape != shape or array.dtype.kind != "f":
                misfits.append(f"{entry} is {array.dtype} {array.shape}, expected {shape}")
            else:
                found[layer][parameter] = array
    _refuse(missing, sorted(unused), misfits)
    return found


def _entry(part: str | Part, parameter: str, op: Op) -> str:
    module = part.module if isinstance(part, Part) else part
    return f"{module}.{ENTRIES[parameter] if isinstance(op, BatchNorm) else parameter}"


def _part(array: np.ndarray, part: Part, parameter: str) -> np.ndarray:
    """The part's channels; the bias belongs to the part that starts at 0."""
    if parameter == "bias":
        return array if part.start == 0 else np.zeros_like(array)
    return array[:, part.start : part.stop] if array.ndim > 1 else array


def _refuse(missing: list[str], unused: list[str], misfits: list[str]) -> None:
    problems = [
        f"{what}: {', '.join(names)}"
        for what, names in (("missing", missing), ("of no layer", unused), ("of another shape", misfits))
        if names
    ]
    if problems:
        raise ConversionError(f"its weights do not fit the network; {'; '.join(problems)}")


def _pixels(architecture: Architecture, channels: int, options: Options) -> tuple[dict[str, np.ndarray], str]:
    """The parameters of the input's normalisation, and a remark on them."""
    mean = options.mean or (architecture.mean if channels == len(architecture.mean) else (0.0,))
    std = options.std or (architecture.std if channels == len(architecture.std) else (1.0,))
    for name, values in (("mean", mean), ("std", std)):
        if len(values) not in (1, channels):
            raise ConversionError(
                f"{name} has {len(values)} numbers; expected one, or one for each of {channels} channels"
            )
    if not min(std) > 0:
        raise ConversionError(f"std is {std}; expected numbers above 0")
    arrays = {"mean": np.array(mean, np.float64), "std": np.array(std, np.float64)}
    shown = " and ".join(f"{name} {tuple(round(float(v), 3) for v in array)}" for name, array in arrays.items())
    note = f"pixels from 0 to 255 are normalised by {shown}" + ("" if options.mean or options.std else ", assumed")
    return {name: np.broadcast_to(array, channels).copy() for name, array in arrays.items()}, note


def _fixed(graph: Graph, layer: str) -> dict[str, np.ndarray]:
    """The weights of a bilinear upsampler, which no file holds. Exact in float16."""
    op = graph.by_name[layer].op
    assert isinstance(op, ConvTranspose)
    shapes = graph.parameter_shapes[layer]
    weight = np.broadcast_to(bilinear_kernel(op.kernel, op.stride), shapes["weight"])
    return {"weight": weight.astype(np.float16), "bias": np.zeros(shapes["bias"], np.float16)}
