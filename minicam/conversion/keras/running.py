"""The model in Keras itself, where that is installed, to compare with.

Keras would execute what some descriptions ask for. So it is not given the file but a description made anew, of known
classes and of options that are numbers, texts and lists, and the weights that were read here.
"""

import contextlib
import importlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from minicam.conversion.keras.files import Config, Weights, open_model
from minicam.conversion.keras.table import INPUT, LAYERS, MODELS
from minicam.conversion.reading import Run
from minicam.network import Network


def source_run(path: Path, config: Config, network: Network) -> tuple[Run | None, str]:
    """A function that gives the outputs as Keras computes them, and its version; or None, and why not."""
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            keras = importlib.import_module("keras")
    except Exception as error:  # Keras without one of its backends raises what it likes
        missing = isinstance(error, ImportError)
        return None, "Keras is not installed" if missing else f"Keras cannot be imported ({error})"
    if int(keras.__version__.split(".")[0]) < 3:
        return None, f"Keras {keras.__version__} is too old; it takes version 3"

    def run(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        with open_model(path) as (description, weights):
            model = _model(keras, description, weights)
        x = [np.moveaxis(array, 1, -1) for array in inputs.values()]
        outputs = model(x if len(x) > 1 else x[0], training=False)
        arrays = [np.asarray(y) for y in (outputs if isinstance(outputs, list | tuple) else [outputs])]
        return {name: np.moveaxis(y, -1, 1) for name, y in zip(network.graph.outputs, arrays, strict=True)}

    return run, f"Keras {keras.__version__} ({keras.backend.backend()})"


def _model(keras: Any, config: Config, weights: Weights) -> Any:
    model = getattr(keras, "Sequential" if config["class_name"] == "Sequential" else "Model").from_config(
        _plain_model(config)["config"]
    )
    _fill(model, config, weights)
    return model


def _fill(model: Any, config: Config, weights: Weights) -> None:
    for layer in config["config"]["layers"]:
        name = layer["config"]["name"]
        if layer["class_name"] in MODELS:
            _fill(model.get_layer(name), layer, weights.inside(name, layer["config"]["layers"]))
        elif layer["class_name"] != INPUT:
            own = model.get_layer(name)
            for variable, array in zip(own.weights, weights.of(name), strict=False):
                variable.assign(array)
            if layer["class_name"] == "Normalization":
                own.finalize_state()  # which computes with the numbers just assigned


def _plain_model(config: Config) -> Config:
    inner = config["config"]
    kept = {key: inner[key] for key in ("name", "input_layers", "output_layers", "build_input_shape") if key in inner}
    return {
        "class_name": config["class_name"],
        "config": kept | {"layers": [_plain(layer) for layer in inner["layers"]]},
    }


def _plain(layer: Config) -> Config:
    """A layer with the options that say what it computes, without what Keras would have to look up."""
    if layer["class_name"] in MODELS:
        plain = _plain_model(layer)
        plain["module"] = "keras.models" if layer["class_name"] == "Sequential" else "keras.src.models.functional"
    else:
        assert layer["class_name"] in LAYERS or layer["class_name"] == INPUT
        options = {key: value for key, value in layer["config"].items() if not isinstance(value, dict)}
        options.pop("dtype", None)
        plain = {"class_name": layer["class_name"], "module": "keras.layers", "config": options}
    plain |= {"name": layer["config"]["name"], "registered_name": None}
    return plain | {key: layer[key] for key in ("inbound_nodes", "build_config") if key in layer}
