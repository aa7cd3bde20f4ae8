"""The walk over a model's nodes, in their order."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minicam.conversion.onnx.call import Call
from minicam.conversion.onnx.folding import MAX_ELEMENTS, fold
from minicam.conversion.onnx.model import DOMAINS, opset
from minicam.conversion.onnx.names import layer_names
from minicam.conversion.onnx.table import TRANSLATIONS
from minicam.conversion.onnx.translation import Translation
from minicam.conversion.onnx.values import PROBES, Constant, Layer, Unknown, Unsupported, Value
from minicam.conversion.reading import Options, framework
from minicam.errors import ConversionError
from minicam.network import Network
from minicam.ops import Identity, Shape

FLOATS = ("FLOAT", "DOUBLE", "FLOAT16", "BFLOAT16")


class Refused(ConversionError):
    """Nodes or inputs cannot be translated. problems: (name, kind of node, reason); needs: inputs of the graph that
    would have to be constant."""

    def __init__(self, problems: Sequence[tuple[str, str, str]], needs: set[str]):
        lines = [f"{name or '(no name)'} ({kind}): {reason}" for name, kind, reason in problems]
        count = f"{len(lines)} things" if len(lines) > 1 else "one thing"
        super().__init__(f"cannot be converted, because of {count}:\n  " + "\n  ".join(lines))
        self.problems = list(problems)
        self.needs = needs


@dataclass(frozen=True)
class Translated:
    """A network, and where the source's inputs and outputs are in it: tensor name -> layer, see `Layer`."""

    network: Network
    inputs: dict[str, Layer]
    outputs: dict[str, Layer]
    notes: tuple[str, ...]


def translate(model: Any, options: Options, bound: Mapping[str, np.ndarray] | None = None) -> Translated:
    """The network of a model that `model.load` gave. bound: arrays that take the place of inputs of the graph.

    Raises Refused, which is a ConversionError, with all nodes that cannot be translated.
    """
    walk = _Walk(model, options, dict(bound or {}))
    walk.run()
    return walk.result()


class _Walk:
    def __init__(self, model: Any, options: Options, bound: dict[str, np.ndarray]):
        onnx = framework("onnx", "onnx")
        self.model, self.options, self.bound = model, options, bound
        self.version = opset(model)
        self.constants = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer} | bound
        self.problems: list[tuple[str, str, str]] = []
        self.needs: set[str] = set()
        self.elements = 0
        self.given = [value for value in model.graph.input if value.name not in self.constants]
        self.translation = Translation(options.batched, self._batch())
        self.values = self.translation.values
        self.outputs = self._wanted()
        self.nodes = _needed(model.graph, self.outputs)
        self.inputs: dict[str, Layer] = {}

    def run(self) -> None:
        t = self.translation
        t.readers = Counter(name for node in self.nodes for name in _read(node))
        t.readers.update(self.outputs)
        for name, array in self.constants.items():
            t.set(name, Constant((array,) * len(PROBES)))
        for value in self.given:
            self._input(value)
        self._walk(self.nodes)

    def _walk(self, nodes: Sequence[Any]) -> None:
        names = layer_names(nodes, self.constants, self.translation.shapes)
        for node, name in zip(nodes, names, strict=True):
            try:
                found = self._outputs(node, name)
            except Unsupported as problem:
                self.needs.update(problem.needs)
                found = self._refused(node, str(problem))
            except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
                # what nodes raise whose attributes or inputs are not of the kind that their op has
                found = self._refused(node, f"is not valid ({type(error).__name__}: {error})")
            for tensor, value in zip(node.output, found, strict=False):
                self.translation.set(tensor, value)

    def _refused(self, node: Any, reason: str) -> list[Value]:
        self.problems.append((node.name or f"-> {', '.join(node.output)}", node.op_type, reason))
        return [Unknown()] * len(node.output)

    def result(self) -> Translated:
        t = self.translation
        if self.problems:
            raise Refused(self.problems, self.needs & {value.name for value in self.given})
        outputs = {tensor: self._output(tensor) for tensor in self.outputs}
        network = t.network(list(dict.fromkeys(layer.name for layer in outputs.values())), self.options.classes)
        return Translated(network, self.inputs, outputs, tuple(t.notes))

    def _outputs(self, node: Any, name: str) -> list[Value]:
        if node.domain not in DOMAINS:
            raise Unsupported(f"is an op of the domain {node.domain!r}, not of ONNX itself")
        inputs = [self.values.get(source) if source else None for source in node.input]
        if any(source and value is None for source, value in zip(node.input, inputs, strict=True)):
            raise Unsupported("reads a tensor that nothing gives")
        if node.op_type == "If" and isinstance(inputs[0], Constant) and inputs[0].fixed is not None:
            return self._branch(node, bool(inputs[0].fixed))
        known = [value for value in inputs if isinstance(value, Constant | None)]
        if len(known) == len(inputs):
            return self._folded(node, known)
        if node.op_type not in TRANSLATIONS:
            raise Unsupported("minicam has no such op")
        if any(isinstance(value, Unknown) for value in inputs):
            return [Unknown()] * len(node.output)
        call = Call(node, name, _attributes(node), inputs, self.translation, self.version)
        found = TRANSLATIONS[node.op_type](call)
        outputs = list(found) if isinstance(found, list) else [found]
        if any(name and self.translation.readers[name] for name in node.output[len(outputs) :]):
            raise Unsupported(f"its output {len(outputs) + 1} is used, which minicam's op does not have")
        return outputs

    def _folded(self, node: Any, inputs: list[Constant | None]) -> list[Value]:
        found = fold(node, inputs, len(PROBES), self.model.opset_import)
        self.elements += sum(array.size for value in found for array in {id(a): a for a in value.arrays}.values())
        if self.elements > MAX_ELEMENTS:
            raise Unsupported(f"with it there are more than {MAX_ELEMENTS} elements of constants worked out")
        return list(found)

    def _branch(self, node: Any, condition: bool) -> list[Value]:
        """The outputs of an If whose condition is known, after a walk over that branch alone."""
        graph = next(a.g for a in node.attribute if a.name == ("then_branch" if condition else "else_branch"))
        onnx = framework("onnx", "onnx")
        for tensor in graph.initializer:
            self.values[tensor.name] = Constant((onnx.numpy_helper.to_array(tensor),) * len(PROBES))
        self._walk(graph.node)
        return [self.values.get(value.name, Unknown()) for value in graph.output]

    def _batch(self) -> int | None:
        """The number of samples, if the source fixes it."""
        sizes = {_sizes(value)[0] for value in self.given if _sizes(value)} if self.options.batched else set()
        return next(iter(sizes)) if len(sizes) == 1 else None

    def _wanted(self) -> list[str]:
        """The tensors that the network shall give. Of labels, which have no gradient, it is the scores before them."""
        by_output = {name: node for node in self.model.graph.node for name in node.output}
        found = []
        for value in self.model.graph.output:
            node = by_output.get(value.name)
            while node is not None and node.op_type in ("Cast", "Squeeze", "Identity"):
                node = by_output.get(node.input[0])
            if node is None or node.op_type != "ArgMax" or node.input[0] in self.constants:
                found.append(value.name)
            else:
                found.append(node.input[0])
                note = f"output {value.name!r}, the largest channel, is left out, since it has no gradient"
                self.translation.notes.append(note)
        return list(dict.fromkeys(found))

    def _input(self, value: Any) -> None:
        onnx = framework("onnx", "onnx")
        kind = onnx.TensorProto.DataType.Name(value.type.tensor_type.elem_type)
        if kind not in FLOATS:
            self._refuse_input(value, f"has values of type {kind}; minicam's inputs are floating point")
            return
        shape = self._input_shape(value)
        name = value.name
        if shape is not None and f"{name}_Mean" in self.constants:  # MATLAB calls the layer so that normalises it
            name = "image" if len(shape) == 3 else "input"
        if shape is None:
            self._refuse_input(value, "has no shape in the file; give the input's shape")
        elif not shape:
            self._refuse_input(value, "has no axis beside that of the samples; expected (N, C, ...)")
        elif self._channels_last(value.name, len(shape)):
            layer = self.translation.add_input(name, (shape[-1], *shape[:-1]), (*range(1, len(shape)), 0))
            self.translation.notes.append(f"input {layer.name!r} is channels first here; the source has channels last")
            self._given(value.name, layer)
        else:
            self._given(value.name, self.translation.add_input(name, shape))

    def _given(self, tensor: str, layer: Layer) -> None:
        self.inputs[tensor] = layer
        self.translation.set(tensor, layer)

    def _input_shape(self, value: Any) -> Shape | None:
        """The shape of one sample, as the source has it."""
        if self.options.input_shape is not None and len(self.given) == 1:
            shape = self.options.input_shape
            return (*shape[1:], shape[0]) if self._channels_last(value.name, len(shape)) else shape
        if not value.type.tensor_type.HasField("shape"):
            return None
        return tuple(_sizes(value)[self.options.batched :])

    def _channels_last(self, tensor: str, rank: int) -> bool:
        """Whether the source makes an input, or what arithmetic turns it into, channels first."""
        first = [0, rank, *range(1, rank)]
        tensors = {tensor}
        for node in self.nodes if rank > 1 and self.options.batched else ():
            if tensors.isdisjoint(node.input):
                continue
            if node.op_type == "Transpose" and list(_attributes(node).get("perm", ())) == first:
                return True
            if node.op_type in ("Sub", "Div", "Mul", "Add", "Cast", "Identity"):
                tensors.update(node.output)
        return False

    def _output(self, tensor: str) -> Layer:
        """Where an output of the source is; a layer is added where it is a constant or an input."""
        value = self.values.get(tensor)
        t = self.translation
        if not isinstance(value, Layer):
            raise ConversionError(f"output {tensor!r} does not depend on the input; expected the output of a layer")
        if value.name in t.inputs:
            return Layer(t.add(tensor, Identity(), [value.name]), value.axes)
        last = tuple(range(len(value.axes)))
        if t.batched and len(last) > 1 and value.axes == (*last[1:], 0):
            t.notes.append(f"output {value.name!r} is channels first here; the source has channels last")
            return value
        return Layer(t.plain(value), last)

    def _refuse_input(self, value: Any, reason: str) -> None:
        self.problems.append((value.name, "input", reason))
        self.needs.add(value.name)
        self.values[value.name] = Unknown()


def _needed(graph: Any, outputs: Sequence[str]) -> list[Any]:
    """The nodes that these tensors depend on, in their order."""
    wanted = set(outputs)
    nodes = []
    for node in reversed(graph.node):
        if not wanted.isdisjoint(node.output):
            nodes.append(node)
            wanted.update(_read(node))
    return nodes[::-1]


def _read(node: Any) -> list[str]:
    """What a node reads, in graphs inside it as well."""
    inner = [a.g for a in node.attribute if a.HasField("g")]
    outputs = [value.name for graph in inner for value in graph.output]
    return [*node.input, *outputs, *(name for graph in inner for part in graph.node for name in _read(part))]


def _attributes(node: Any) -> dict[str, Any]:
    """Attributes as Python has them: numbers, text, lists, arrays."""
    onnx = framework("onnx", "onnx")
    found: dict[str, Any] = {}
    for attribute in node.attribute:
        value = onnx.helper.get_attribute_value(attribute)
        if isinstance(value, bytes):
            value = value.decode(errors="replace")
        elif isinstance(value, float):
            value = float(str(np.float32(value)))  # what was meant: 1e-5, of which float32 holds something near
        elif isinstance(value, onnx.TensorProto):
            value = onnx.numpy_helper.to_array(value)
        found[attribute.name] = value
    return found


def _sizes(value: Any) -> list[int | None]:
    """The sizes that a file gives for a tensor; None for those that it leaves open."""
    return [axis.dim_value or None for axis in value.type.tensor_type.shape.dim]
