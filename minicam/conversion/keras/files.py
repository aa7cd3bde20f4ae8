"""What is in the files that Keras writes: the description of a model in JSON, and its weights.

- NAME.keras, Keras 3: a ZIP archive of config.json and model.weights.h5, in which the weights of a layer are
  layers/KEY/vars/0, 1 ...; KEY is the layer's class in snake case, with a number from the second one on.
- NAME.h5, Keras 2 and 3: HDF5; the attribute model_config is the JSON, and each group of model_weights lists the
  weights of its layer in the attribute weight_names.
- NAME.weights.h5, Keras 3: the weights of a .keras file alone. The description lies beside it, in NAME.json, what
  `model.to_json()` gives, or in config.json, as in a .keras file that was unpacked.

Source: Keras 3, src/saving/saving_lib.py and src/legacy/saving/legacy_h5_format.py.
"""

import contextlib
import json
import re
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from minicam.conversion.hdf5_arrays import array, children, member, opened, text, texts
from minicam.errors import ConversionError
from minicam.graph_text import shown
from minicam.hdf5 import require

MAX_CONFIG = 64 * 2**20
MAX_WEIGHTS = 8 * 2**30
MAX_PACKED = 64  # times that an entry may be larger than what is stored of it
Config = dict[str, Any]


class Weights(Protocol):
    """The weights of the layers of one model, which may lie in another model."""

    def of(self, name: str) -> list[np.ndarray]:
        """Those of the layer of that name, in Keras's order."""

    def inside(self, name: str, layers: Sequence[Config]) -> "Weights":
        """Those of the layers of a model that is a layer of this one."""


@contextlib.contextmanager
def open_model(path: Path) -> Iterator[tuple[Config, Weights]]:
    """The description of the model in a file, and its weights while the file is open. Raises ConversionError for what
    is damaged or no such file."""
    if zipfile.is_zipfile(path):
        with tempfile.TemporaryDirectory(prefix="minicam") as folder:
            config, weights = _unpacked(path, Path(folder))
            with opened(weights) as file:
                yield config, NumberedWeights(file, "", _layers(config))
        return
    with opened(path) as file:
        description = text(file, "model_config")
        if description is not None:
            yield _json(description.encode()), NamedWeights(file["model_weights"], None)
        elif "layers" in children(file):
            config = _beside(path)
            yield config, NumberedWeights(file, "", _layers(config))
        else:
            raise ConversionError("holds no model of Keras; save one by model.save('model.keras')")


def _beside(path: Path) -> Config:
    """The description of the model whose weights alone are in the file."""
    names = [path.name.removesuffix(".h5").removesuffix(".weights") + ".json", "config.json"]
    for file in (path.with_name(name) for name in names):
        if file.is_file():
            size = file.stat().st_size
            require(size <= MAX_CONFIG, f"{file.name} beside it has {size} bytes; the limit is {MAX_CONFIG}")
            return _json(file.read_bytes())
    raise ConversionError(
        f"holds the weights of a model without the model; write model.to_json() to {names[0]} beside it, or save all "
        "of it by model.save('model.keras')"
    )


def _unpacked(path: Path, folder: Path) -> tuple[Config, Path]:
    """config.json, and the path of model.weights.h5 in the folder."""
    weights = folder / "model.weights.h5"
    try:
        with zipfile.ZipFile(path) as archive:
            config = _json(_entry(archive, "config.json", MAX_CONFIG).read())
            with weights.open("wb") as file:
                shutil.copyfileobj(_entry(archive, weights.name, MAX_WEIGHTS), file)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError, ValueError) as error:
        raise ConversionError(f"is a damaged ZIP archive ({error}): fetch it again") from error
    return config, weights


def _entry(archive: zipfile.ZipFile, name: str, most: int) -> Any:
    if name not in archive.namelist():
        raise ConversionError(f"is a ZIP archive without {name}; expected one made by model.save('model.keras')")
    entry = archive.getinfo(name)
    limit = min(most, MAX_PACKED * entry.compress_size + 2**20)
    require(entry.file_size <= limit, f"its entry {name} unpacks to {entry.file_size} bytes; the limit is {limit}")
    return archive.open(entry)


def _json(data: bytes) -> Config:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ConversionError(f"its description of the model is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise ConversionError("its description of the model is no JSON object")
    return document


def _layers(config: Config) -> list[Config]:
    inner = config.get("config")
    return list(inner.get("layers", [])) if isinstance(inner, dict) else []


@dataclass(frozen=True)
class NumberedWeights:
    """Those of a .keras file, below the group `place`."""

    file: Any
    place: str
    layers: Sequence[Config]

    def of(self, name: str) -> list[np.ndarray]:
        group = member(self.file, f"{self._place(name)}/vars")
        if group is None:
            return []
        saved = text(group, "name")
        require(saved in (None, name), f"{group.name}: holds the weights of layer {shown(saved)}; expected {name!r}")
        return [array(member(group, key)) for key in sorted(children(group), key=lambda key: (len(key), key))]

    def inside(self, name: str, layers: Sequence[Config]) -> "NumberedWeights":
        return NumberedWeights(self.file, self._place(name), layers)

    def _place(self, name: str) -> str:
        counts: dict[str, int] = {}
        for layer in self.layers:
            kind = snake_case(layer["class_name"])
            count = counts[kind] = counts.get(kind, -1) + 1
            if layer["config"]["name"] == name:
                return f"{self.place}/layers/{kind}_{count}" if count else f"{self.place}/layers/{kind}"
        raise ConversionError(f"there is no layer {name!r}")


@dataclass(frozen=True)
class NamedWeights:
    """Those of an .h5 file; `outer` is the layer of the whole model that holds the model in question, if one does."""

    file: Any
    outer: str | None

    def of(self, name: str) -> list[np.ndarray]:
        group = member(self.file, self.outer or name)
        if group is None:
            return []
        found = [weight for weight in texts(group, "weight_names") if weight.split("/")[-2:-1] == [name]]
        return [array(self._dataset(group, weight)) for weight in found]

    def inside(self, name: str, layers: Sequence[Config]) -> "NamedWeights":
        return NamedWeights(self.file, self.outer or name)

    def _dataset(self, group: Any, weight: str) -> Any:
        found = member(group, weight)
        if found is None:
            raise ConversionError(f"{group.name} lacks {weight!r}, which its attribute weight_names lists")
        return found


def snake_case(name: str) -> str:
    """As Keras spells a class in the names of its weights.

    >>> snake_case("SeparableConv2D"), snake_case("PReLU"), snake_case("BatchNormalization")
    ('separable_conv2d', 'p_re_lu', 'batch_normalization')
    """
    words = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", name))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", words).lower()
