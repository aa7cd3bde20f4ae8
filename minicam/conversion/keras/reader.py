"""From a Keras file to a network. The description is data: classes are looked up in a table, nothing is imported."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from minicam.conversion.keras.files import Config, Weights, open_model
from minicam.conversion.keras.running import source_run
from minicam.conversion.keras.table import INPUT, LAYERS, MODELS, TRAINING_ONLY
from minicam.conversion.keras.translation import MAX_DEPTH, Translation
from minicam.conversion.reading import Converted, Options
from minicam.errors import ConversionError
from minicam.graph_text import shown
from minicam.network import Network

ORDER = "channels come first here, also in the input: (N, C, *space) for Keras's (N, *space, C)"


def read(path: Path, options: Options) -> Converted:
    """The sequential or functional model in a .keras or .h5 file.

    Raises ConversionError for a damaged file, and listing all layers that are not known.
    """
    with open_model(path) as (config, weights):
        result = converted(config, weights, options)
    run, runner = source_run(path, config, result.network)
    return replace(result, run=run, runner=runner)


def converted(config: Config, weights: Weights, options: Options, classes: Sequence[str] = ()) -> Converted:
    """The network of a description and its weights."""
    layers = _checked(config)
    translation = Translation(options.input_shape)
    try:
        outputs = translation.model(config, weights, None)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, RecursionError) as error:
        raise ConversionError(f"its description of the model is damaged ({error!r})") from error
    outputs = [translation.in_keras_order(value) for value in outputs]
    building = translation.building
    graph = building.graph([value.name for value in outputs])
    network = Network(graph, building.parameters, options.classes or classes)
    left_out = [layer["config"]["name"] for layer in layers if layer["class_name"] in TRAINING_ONLY]
    notes = [ORDER] + ([f"act in training only, and are the identity: {', '.join(left_out)}"] if left_out else [])
    return Converted(network, tuple(notes))


def _checked(config: Config) -> list[Config]:
    """All layers; ConversionError listing those that are not known, or are not what a layer has to be."""
    if config.get("class_name") not in MODELS:
        raise ConversionError(f"holds a {shown(config.get('class_name'))}; expected a sequential or functional model")
    layers = list(_all_layers(config))
    unknown = [f"{layer['config']['name']} ({_kind(layer)})" for layer in layers if not _is_known(layer)]
    if unknown:
        raise ConversionError(f"has {len(unknown)} layers that are not known here: {', '.join(unknown)}")
    return layers


def _all_layers(config: Any, depth: int = 0) -> Iterator[Config]:
    """Those of a model and of the models in it."""
    layers = config["config"].get("layers") if isinstance(config.get("config"), dict) else None
    if depth > MAX_DEPTH or not isinstance(layers, list) or not layers:
        raise ConversionError("its description of the model has no list of layers, or nests models too deep")
    for layer in layers:
        good = isinstance(layer, dict) and isinstance(layer.get("class_name"), str)
        good = good and isinstance(layer.get("config"), dict) and isinstance(layer["config"].get("name"), str)
        if not good:
            raise ConversionError(f"its description of the model has a layer {shown(layer)} without class or name")
        if layer["class_name"] in MODELS and _is_keras(layer):
            yield from _all_layers(layer, depth + 1)
        else:
            yield layer


def _kind(layer: Config) -> str:
    """The class, with its module where that is not Keras's."""
    return layer["class_name"] if _is_keras(layer) else f"{layer.get('module') or layer.get('registered_name')}"


def _is_keras(layer: Config) -> bool:
    """Whether a class is one of Keras's own, and not of the same name elsewhere, or an operation on tensors."""
    module, registered = layer.get("module"), layer.get("registered_name")
    good = module is None or module in ("keras", "keras.layers", "keras.src.models.functional", "keras.models")
    return good and registered in (None, layer["class_name"])


def _is_known(layer: Config) -> bool:
    return _is_keras(layer) and (layer["class_name"] in LAYERS or layer["class_name"] == INPUT)
