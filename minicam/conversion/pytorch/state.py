"""The weights in a file: name -> array, out of whatever a checkpoint wraps around them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from minicam.conversion.pytorch.archive import array_of, read_archive
from minicam.conversion.pytorch.pickles import Tensor
from minicam.conversion.reading import framework
from minicam.errors import ConversionError
from minicam.graph_text import shown

WRAPPERS = ("state_dict", "model_state_dict", "model", "module", "net", "network")
"""Keys under which training scripts put the weights, and modules that wrap the network."""
PREFIXES = ("module", "_orig_mod", *WRAPPERS)
SAFETENSORS = {
    **{"F64": "f8", "F32": "f4", "F16": "f2", "I64": "i8", "I32": "i4", "I16": "i2", "I8": "i1", "U8": "u1"},
    **{"BOOL": "?", "BF16": "u2"},
}


def torch_state(path: Path) -> dict[str, np.ndarray]:
    """The state dict in a .pt or .pth file, without the prefixes of wrapping modules. Nothing in it is executed.

    Raises ConversionError or ModelFileError for what is no state dict; see `archive.read_archive`.
    """
    document, read = read_archive(path)
    weights = _weights(document)
    strange = [name for name, value in weights.items() if not isinstance(name, str) or not isinstance(value, Tensor)]
    if strange:
        raise ConversionError(f"its state dict has entries that are no tensors: {shown(strange)}")
    return without_prefix({name: array_of(tensor, read) for name, tensor in weights.items()})


def safetensors_state(path: Path) -> dict[str, np.ndarray]:
    """The same of a .safetensors file. Raises ConversionError where it is damaged, or safetensors is not installed."""
    safetensors = framework("safetensors", "convert-pytorch")
    try:
        entries = safetensors.deserialize(path.read_bytes())
    except (safetensors.SafetensorError, OSError, ValueError, MemoryError) as error:
        raise ConversionError(f"is no valid safetensors file ({error})") from error
    unknown = sorted({entry["dtype"] for _, entry in entries} - SAFETENSORS.keys())
    if unknown:
        raise ConversionError(f"has values of type {', '.join(unknown)}; known are {', '.join(SAFETENSORS)}")
    return without_prefix({name: _safetensor(entry) for name, entry in entries})


def without_prefix(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same without the names of modules around all of it, such as "module." of PyTorch's DataParallel."""
    first = {name.partition(".")[0] for name in state}
    if len(first) == 1 and first <= set(PREFIXES) and all("." in name for name in state):
        return without_prefix({name.partition(".")[2]: array for name, array in state.items()})
    return dict(state)


def _weights(document: Any) -> Mapping[Any, Any]:
    """The dict of tensors in what torch.save was given: itself, or one in it under a key that is common for it."""
    if isinstance(document, Tensor):
        raise ConversionError("holds a single tensor; expected a state dict")
    if not isinstance(document, dict):
        raise ConversionError(
            f"holds a {type(document).__name__}; expected a state dict, torch.save(model.state_dict())"
        )
    if _has_tensors(document):
        return document
    found = {key: value for key, value in document.items() if isinstance(value, dict) and _has_tensors(value)}
    named = [value for key, value in found.items() if key in WRAPPERS] or list(found.values())
    if len(named) != 1:
        keys = ", ".join(map(shown, document)) or "nothing"
        raise ConversionError(f"holds {keys}; expected a state dict, or one under the key {' or '.join(WRAPPERS)}")
    return named[0]


def _has_tensors(values: Mapping[Any, Any]) -> bool:
    return any(isinstance(value, Tensor) for value in values.values())


def _safetensor(entry: Mapping[str, Any]) -> np.ndarray:
    array = np.frombuffer(entry["data"], np.dtype(SAFETENSORS[entry["dtype"]]).newbyteorder("<"))
    if entry["dtype"] == "BF16":  # the upper half of a float32
        array = (array.astype(np.uint32) << 16).view(np.float32)
    return array.reshape(entry["shape"])
