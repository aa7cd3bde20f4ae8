"""The folder that MATLAB's exportNetworkToTensorFlow writes: a program that builds a Keras model, and its weights.

model.py is parsed and never run: each line `name = layers.Class(options, name="...")(inputs)` becomes a layer for the
reader of Keras models, and any other line is refused. weights.h5 has a group for each layer, with its Keras name and
number of weights as attributes Name and NumVars, and for each weight a dataset with the attributes Shape and WeightNum.
__init__.py lists the classes.
"""

import ast
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from minicam.conversion.hdf5_arrays import array, children, opened, text
from minicam.conversion.keras.files import Config
from minicam.conversion.keras.reader import converted
from minicam.conversion.reading import Converted, Options
from minicam.errors import ConversionError
from minicam.graph_text import shown
from minicam.hdf5 import require

MAX_PROGRAM = 2**22  # bytes
MAX_LAYERS = 100_000
ALIASES = {
    f"{short}{rank}D": f"{full}{rank}D"
    for rank in (1, 2, 3)
    for short, full in (
        ("MaxPool", "MaxPooling"),
        ("AvgPool", "AveragePooling"),
        ("GlobalMaxPool", "GlobalMaxPooling"),
        ("GlobalAvgPool", "GlobalAveragePooling"),
    )
}
FIRST_OPTIONS = {
    "Dense": ("units",),
    "Dropout": ("rate",),
    "Reshape": ("target_shape",),
    "Activation": ("activation",),
    "ELU": ("alpha",),
    "LeakyReLU": ("negative_slope",),
}
"""The options that a class takes by their place; convolutions take filters and kernel_size."""


def read_package(path: Path, options: Options) -> Converted:
    """The network in a folder, or in the folder of a model.py or weights.h5. Raises ConversionError for a program that
    does anything but put known layers together."""
    folder = path if path.is_dir() else path.parent
    for name in ("model.py", "weights.h5"):
        require((folder / name).is_file(), f"there is no {name}; expected the package of exportNetworkToTensorFlow")
    config = _model(_parsed(folder / "model.py"))
    classes = options.classes or _classes(folder / "__init__.py")
    with opened(folder / "weights.h5") as file:
        groups = {text(file[name], "Name"): file[name] for name in children(file) if hasattr(file[name], "keys")}
        return converted(config, PackageWeights(groups), options, classes)


@dataclass(frozen=True)
class PackageWeights:
    """The weights by layer. MATLAB's names end in "_", see `_name`."""

    groups: dict[str | None, Any]

    def of(self, name: str) -> list[np.ndarray]:
        group = self.groups.get(f"{name}_") or self.groups.get(name)
        if group is None:
            return []
        found = {int(group[key].attrs["WeightNum"]): _shaped(group[key]) for key in children(group)}
        require(sorted(found) == list(range(len(found))), f"{group.name}: its weights are not numbered from 0 on")
        return [found[i] for i in sorted(found)]

    def inside(self, name: str, layers: Sequence[Config]) -> "PackageWeights":
        return self


def _shaped(dataset: Any) -> np.ndarray:
    shape = [int(size) for size in np.ravel(dataset.attrs["Shape"])]
    return array(dataset).reshape(shape)


def _parsed(path: Path) -> ast.Module:
    require(path.stat().st_size <= MAX_PROGRAM, f"{path.name} has more than {MAX_PROGRAM} bytes")
    try:
        return ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ConversionError(f"{path.name} is not Python: {error}") from error


def _classes(path: Path) -> tuple[str, ...]:
    """The list of class names, where there is one."""
    if path.is_file():
        for node in _parsed(path).body:
            if isinstance(node, ast.Assign) and _target(node) == "classes" and isinstance(node.value, ast.List):
                names = _value(node.value)
                return tuple(names) if all(isinstance(name, str) for name in names) else ()
    return ()


def _model(program: ast.Module) -> Config:
    """The functional model that create_model() puts together, as Keras would describe it."""
    functions = [node for node in program.body if isinstance(node, ast.FunctionDef) and node.name == "create_model"]
    require(len(functions) == 1, "model.py has no function create_model")
    reading = _Reading()
    for line in functions[0].body:
        if not isinstance(line, ast.Return):
            reading.line(line)
    if not reading.problems and reading.outputs:
        config = {"name": "model", "layers": reading.layers, "input_layers": reading.inputs}
        return {"class_name": "Functional", "config": config | {"output_layers": reading.outputs}}
    problems = "; ".join(reading.problems) or "there is no keras.Model(inputs=..., outputs=...)"
    raise ConversionError(f"model.py does more than put known layers together: {problems}")


class _Reading:
    """The layers so far, and what each variable of the program stands for."""

    def __init__(self) -> None:
        self.layers: list[Config] = []
        self.variables: dict[str, str] = {}
        self.waiting: dict[str, ast.Call] = {}
        self.inputs: list[list[Any]] = []
        self.outputs: list[list[Any]] = []
        self.problems: list[str] = []

    def line(self, line: ast.stmt) -> None:
        """One statement; what is not understood is noted."""
        try:
            if not isinstance(line, ast.Assign):
                raise ConversionError("it is no assignment")
            self._assign(_target(line), line.value)
        except (ConversionError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            self.problems.append(f"line {line.lineno} ({shown(ast.unparse(line))}): {error}")

    def _assign(self, name: str, value: ast.expr) -> None:
        if isinstance(value, ast.Name):
            self.variables[name] = self.variables[value.id]
            return
        if not isinstance(value, ast.Call):
            raise ConversionError("it is no call of a layer")
        called = ast.unparse(value.func)
        if called == "keras.Input":
            shape = [None, *_options(value)["shape"]]
            self._add(name, "InputLayer", {"batch_shape": shape}, [])
            self.inputs.append([self.variables[name], 0, 0])
        elif called == "keras.Model":
            ends = {keyword.arg: keyword.value for keyword in value.keywords}
            self.outputs = [[self.variables[key], 0, 0] for key in _names(ends["outputs"])]
        elif called == "layers.Lambda":
            self.waiting[name] = value
        else:
            maker = self.waiting.get(called, value.func)
            if not isinstance(maker, ast.Call):
                raise ConversionError("it is no call of a layer")
            (read,) = value.args
            self._layer(name, maker, _names(read))

    def _layer(self, variable: str, call: ast.Call, reads: list[str]) -> None:
        kind = ast.unparse(call.func).removeprefix("keras.").removeprefix("layers.")
        kind = ALIASES.get(kind, kind)
        if kind == "Lambda":
            self._add(variable, "tf.nn.local_response_normalization", _response_norm(call.args[0]), reads)
            return
        places = FIRST_OPTIONS.get(kind, ("filters", "kernel_size"))
        options = dict(zip(places, map(_value, call.args), strict=False)) | _options(call)
        self._add(variable, kind, {key: _listed(value) for key, value in options.items()}, reads)

    def _add(self, variable: str, kind: str, options: Config, reads: list[str]) -> None:
        name = _name(options.pop("name", variable), {layer["name"] for layer in self.layers})
        nodes = [[[self.variables[key], 0, 0] for key in reads]] if reads else []
        layer = {"class_name": kind, "name": name, "config": {**options, "name": name}, "inbound_nodes": nodes}
        self.layers.append(layer)
        require(len(self.layers) <= MAX_LAYERS, "model.py has too many layers")
        self.variables[variable] = name


def _name(text: str, taken: set[str]) -> str:
    """MATLAB's name of the layer: with weights, its Keras name without the "_" at the end."""
    name = text.removesuffix("_")
    while name in taken:
        name += "_"
    return name


def _target(line: ast.Assign) -> str:
    (target,) = line.targets
    if not isinstance(target, ast.Name):
        raise ConversionError("it does not assign one variable")
    return target.id


def _value(node: ast.expr) -> Any:
    """A number, text, tuple or list that stands in the program; ValueError for anything that would have to be run."""
    return ast.literal_eval(node)


def _options(call: ast.Call) -> dict[str, Any]:
    return {str(keyword.arg): _value(keyword.value) for keyword in call.keywords}


def _names(node: ast.expr) -> list[str]:
    return [part.id for part in (node.elts if isinstance(node, ast.List) else [node]) if isinstance(part, ast.Name)]


def _listed(value: Any) -> Any:
    """As JSON would have it."""
    return [_listed(part) for part in value] if isinstance(value, tuple | list) else value


def _response_norm(function: ast.expr) -> Config:
    """The options of `lambda X: tf.nn.local_response_normalization(X, ...)`, as which MATLAB writes that layer."""
    body = function.body if isinstance(function, ast.Lambda) else function
    if not isinstance(body, ast.Call) or ast.unparse(body.func) != "tf.nn.local_response_normalization":
        raise ConversionError("its function is not the local response normalisation, the one that is known")
    return _options(body)
