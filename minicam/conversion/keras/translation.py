"""A Keras model, layer by layer, as a graph with channels first.

The node with the name of a Keras layer gives what that layer gives; where a layer takes several ops, the others are
called NAME_linear, NAME_pool and so on.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from minicam.conversion.building import Building, Step
from minicam.conversion.keras.files import Config, Weights
from minicam.conversion.keras.layer import Layer
from minicam.conversion.keras.table import INPUT, KEEP_ORDER, LAYERS, MODELS
from minicam.errors import ConversionError, MinicamError
from minicam.graph_text import shown
from minicam.ops import Flatten, Reshape, Shape, Transpose

MAX_DEPTH = 16  # models inside models
Reference = tuple[str, int, int]
"""A layer, which of its calls, and which of its outputs."""


@dataclass(frozen=True)
class Value:
    """What a layer gives: the name of the node, its shape (C, *space), and `Layer.unordered`."""

    name: str
    shape: Shape
    unordered: Shape | None = None


@dataclass
class Translation:
    """The graph so far. `shape` is the input's, where the caller knows better than the file."""

    shape: Shape | None = None
    building: Building = field(default_factory=Building)

    def add_input(self, name: str, keras_shape: Any) -> Value:
        """keras_shape: (samples, *space, channels), with null for what is open."""
        shape = self.shape
        if shape is None:
            good = isinstance(keras_shape, list) and len(keras_shape) > 1
            good = good and all(size is None or (type(size) is int and size > 0) for size in keras_shape[1:])
            if not good or keras_shape[-1] is None:
                raise ConversionError(f"the input {name!r} has the shape {shown(keras_shape)}; give it, channels first")
            shape = (keras_shape[-1], *keras_shape[1:-1])
        return Value(self.building.add_input(name, shape), shape)

    def add(self, name: str, steps: Sequence[Step], sources: Sequence[Value]) -> Value:
        names, shapes = [source.name for source in sources], [source.shape for source in sources]
        return Value(*self.building.add(name, steps, names, shapes))

    def in_keras_order(self, value: Value) -> Value:
        """The same vector with its elements in Keras's order, where they are not."""
        if value.unordered is None:
            return value
        last = Transpose((*range(1, len(value.unordered)), 0))
        shape = tuple(size or -1 for size in value.unordered)
        steps = [Step(Reshape(shape), suffix="map"), Step(last, suffix="last"), Step(Flatten(), suffix="ordered")]
        return self.add(value.name, steps, [value])

    def layer(self, config: Config, weights: Weights, sources: Sequence[Value]) -> Value:
        """One layer that is no model."""
        kind, name = config["class_name"], config["config"]["name"]
        free = kind in KEEP_ORDER or (kind == "Dense" and len(sources) == 1)
        sources = sources if free else [self.in_keras_order(source) for source in sources]
        unordered = sources[0].unordered
        shapes = tuple(source.shape for source in sources)
        try:
            layer = Layer(kind, name, config["config"], weights.of(name), shapes, unordered)
            value = self.add(name, LAYERS[kind](layer), sources)
        except MinicamError as error:
            raise ConversionError(f"layer {name!r} ({kind}): {error}") from error
        except (KeyError, TypeError, ValueError, IndexError, OverflowError) as error:
            raise ConversionError(f"layer {name!r} ({kind}): its options or weights are damaged ({error!r})") from error
        if kind == "Flatten" and shapes[0][1:] and shapes[0][0] != 1 and any(size != 1 for size in shapes[0][1:]):
            return Value(value.name, value.shape, shapes[0])
        return Value(value.name, value.shape, unordered if kind in KEEP_ORDER else None)

    def model(self, config: Config, weights: Weights, given: Sequence[Value] | None) -> list[Value]:
        """A model, which reads the values given, or inputs of its own; what it gives."""
        if config["class_name"] == "Sequential":
            return [self._sequential(config["config"], weights, given)]
        return self._functional(config["config"], weights, given)

    def _sequential(self, config: Config, weights: Weights, given: Sequence[Value] | None) -> Value:
        layers = config["layers"]
        value = given[0] if given else self.add_input(*_sequential_input(config))
        for layer in layers:
            if layer["class_name"] != INPUT:
                (value,) = self._any(layer, weights, [value])
        return value

    def _functional(self, config: Config, weights: Weights, given: Sequence[Value] | None) -> list[Value]:
        values: dict[tuple[str, int], list[Value]] = {}
        entries = [reference[0] for reference in references(config["input_layers"])]
        layers = {layer["config"]["name"]: layer for layer in config["layers"]}
        for place, name in enumerate(entries):
            options = layers[name]["config"]
            shape = options.get("batch_shape", options.get("batch_input_shape"))
            values[name, 0] = [given[place] if given else self.add_input(name, shape)]
        waiting = {
            (name, i): _counted(references(node), layers, is_node=True)
            for name in layers
            for i, node in enumerate(layers[name].get("inbound_nodes", []))
            if (name, i) not in values
        }
        while waiting:
            ready = [call for call, read in waiting.items() if all(key[:2] in values for key in read)]
            if not ready:
                raise ConversionError(f"the layers {', '.join(name for name, _ in waiting)} read what nothing provides")
            for call in ready:
                sources = [values[key[:2]][key[2]] for key in waiting.pop(call)]
                values[call] = self._any(layers[call[0]], weights, sources)
        outputs = _counted(references(config["output_layers"]), layers, is_node=False)
        return [values[name, i][place] for name, i, place in outputs]

    def _any(self, config: Config, weights: Weights, sources: Sequence[Value]) -> list[Value]:
        """A layer, or a model as a layer, which reads its inputs in Keras's order."""
        if config["class_name"] in MODELS:
            inner = weights.inside(config["config"]["name"], config["config"]["layers"])
            return self.model(config, inner, [self.in_keras_order(source) for source in sources])
        return [self.layer(config, weights, sources)]


def _sequential_input(config: Config) -> tuple[str, Any]:
    """Name and shape of the input, which may stand in four places."""
    first = config["layers"][0]
    options = first["config"]
    shape = options.get("batch_shape") or options.get("batch_input_shape") or config.get("build_input_shape")
    name = options["name"] if first["class_name"] == INPUT else f"{options['name']}_input"
    return name, shape or first.get("build_config", {}).get("input_shape")


def _counted(found: list[Reference], layers: Mapping[str, Config], is_node: bool) -> list[Reference]:
    """The same with the calls of each layer counted from 0. Keras counts the making of a model as its first call:
    Keras 2 everywhere, Keras 3 in the list of outputs and of functional models."""
    nodes = [node for layer in layers.values() for node in layer.get("inbound_nodes", [])]
    old = any(isinstance(node, list) for node in nodes)

    def first(name: str) -> int:
        layer = layers[name]
        if layer["class_name"] not in MODELS:
            return 0
        if old:
            return int(layer["config"]["layers"][0]["class_name"] == INPUT)
        return int(not is_node and layer["class_name"] != "Sequential")

    return [(name, i - first(name), place) for name, i, place in found]


def references(value: Any) -> list[Reference]:
    """(layer, which of its calls, which of its outputs) of all tensors in a node or a list of inputs or outputs.

    Keras 3 writes {"class_name": "__keras_tensor__", "config": {"keras_history": [...]}}, elsewhere and in Keras 2 it
    is a list [layer, call, output, perhaps arguments]. ConversionError for any other argument that changes the result.
    """
    return list(_references(value, 0))


def _references(value: Any, depth: int) -> Iterator[Reference]:
    if depth > MAX_DEPTH:
        raise ConversionError("the inputs of a layer are nested too deep")
    if isinstance(value, dict) and value.get("class_name") == "__keras_tensor__":
        value = value["config"]["keras_history"]
    if isinstance(value, list) and 3 <= len(value) <= 4 and isinstance(value[0], str):
        yield value[0], int(value[1]), int(value[2])
        value = {"kwargs": value[3]} if len(value) == 4 else []
    if isinstance(value, dict):
        value = [*value.get("args", []), *value.get("kwargs", {}).values()]
    if isinstance(value, list):
        for part in value:
            yield from _references(part, depth + 1)
    elif value not in (None, False):
        raise ConversionError(f"a layer is called with the argument {shown(value)}; known are other layers' outputs")
