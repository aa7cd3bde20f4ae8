"""What a reader is given, and what it gives back."""

import importlib
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from types import ModuleType

import numpy as np

from minicam.errors import ConversionError
from minicam.network import Network
from minicam.ops import Shape

Run = Callable[[Mapping[str, np.ndarray]], Mapping[str, np.ndarray]]
"""The source framework on the network's inputs, name -> (N, C, *space) float32: layer name -> what it gives there."""


@dataclass(frozen=True)
class Options:
    """What the caller of a conversion knows and the file may not say. Readers ignore what is not theirs.

    architecture: the name of the network that the weights are for, where a file holds weights alone.
    input_shape: (C, *space) of the single input, which the file leaves open or which is to be another; None in it
    stays open. classes: names of the output channels. batched: whether axis 0 of the inputs counts samples; if not, the
    file describes a single sample. mean, std: of the pixels, one for each channel or one for all, where a file holds
    weights alone.
    """

    architecture: str | None = None
    input_shape: Shape | None = None
    classes: tuple[str, ...] = ()
    batched: bool = True
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Converted:
    """A network, remarks on how it differs from its source, and the source itself to compare it with.

    run: None where the framework is not installed, or cannot run the source; `runner` then says why, as the end of a
    sentence "not checked: ...". Else it is the framework's name and version.
    """

    network: Network
    notes: tuple[str, ...] = ()
    run: Run | None = None
    runner: str = "there is no other program here to compare with"


def framework(name: str, extra: str) -> ModuleType:
    """The module `name`, of an optional extra; ConversionError with the install command where it is missing."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.split(".")[0]
        raise ConversionError(
            f'{package} is needed to read this and cannot be imported ({error}): pip install "minicam[{extra}]"'
        ) from error


def layer_name(text: str, taken: Collection[str] = ()) -> str:
    """A name that may stand in minicam's files, as near to `text` as can be, and not among those taken.

    >>> layer_name("/features/conv 1:0"), layer_name("relu", {"relu"})
    ('features.conv_1_0', 'relu_2')
    """
    plain = re.sub(r"[^A-Za-z0-9_.-]", "_", re.sub(r"[/\\]+", ".", text.strip("/")))[:200].strip(".") or "layer"
    name, count = plain, 1
    while name in taken:
        count = count + 1 if count < 100 else max(count + 1, len(taken))  # so that many equal names take no time
        name = f"{plain}_{count}"
    return name
