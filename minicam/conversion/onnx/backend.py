"""minicam behind the interface of ONNX's own tests (`onnx.backend.base`).

A model whose inputs are all floating point data becomes a network that takes samples along axis 0. Where a model does
not fit that (an op acts along axis 0, weights or axes come as inputs), what has to be constant is taken from the inputs
of the run, and then an axis of length 1 is put in front of every tensor: the whole tensor is one sample.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from onnx import ModelProto
from onnx.backend.base import Backend, BackendRep

from minicam.conversion.onnx.model import prepared
from minicam.conversion.onnx.translation import floating
from minicam.conversion.onnx.values import Layer
from minicam.conversion.onnx.walk import Refused, Translated, translate
from minicam.conversion.reading import Options


class Prepared(BackendRep):
    """A checked model. It is translated when it runs, since constants may come among the inputs."""

    def __init__(self, model: ModelProto):
        self.model = prepared(model)
        initial = {tensor.name for tensor in self.model.graph.initializer}
        self.names = [value.name for value in self.model.graph.input if value.name not in initial]

    def run(self, inputs: Any, **kwargs: Any) -> tuple[np.ndarray, ...]:
        """The outputs for arrays in the order of the model's inputs. ConversionError for what minicam has not."""
        given = dict(inputs if isinstance(inputs, Mapping) else zip(self.names, inputs, strict=False))
        found, options = translated(self.model, given)
        feeds = {layer.name: _fed(given[name], layer, options.batched) for name, layer in found.inputs.items()}
        values = found.network.forward(feeds, list(dict.fromkeys(layer.name for layer in found.outputs.values())))
        return tuple(
            _read(values[layer.name], layer, options.batched).astype(self._dtype(name))
            for name, layer in found.outputs.items()
        )

    def _dtype(self, output: str) -> np.dtype:
        from onnx import helper

        types = {value.name: value.type.tensor_type.elem_type for value in self.model.graph.output}
        return helper.tensor_dtype_to_np_dtype(types[output])


def translated(model: ModelProto, given: Mapping[str, np.ndarray]) -> tuple[Translated, Options]:
    """The network of a model, and whether it is batched, with as few of the inputs constant as can be. Raises Refused,
    the reason being that of the model whose axis 0 counts samples."""
    refusals: list[Refused] = []
    for batched in (True, False):
        options = Options(batched=batched)
        bound: dict[str, np.ndarray] = {}
        while True:
            try:
                return translate(model, options, bound), options
            except Refused as refused:
                new = refused.needs - bound.keys()
                if not new or len(bound) + len(new) == len(given):
                    refusals.append(refused)
                    break
                bound |= {name: given[name] for name in new}
    raise refusals[0]


def _fed(array: np.ndarray, layer: Layer, batched: bool) -> np.ndarray:
    """A tensor as the values of an input (N, C, *space)."""
    array = floating(np.asarray(array))
    array = array if batched else array[None]
    order = [layer.axes.index(axis) + 1 for axis in range(len(layer.axes))]
    return array.transpose(0, *order)


def _read(array: np.ndarray, layer: Layer, batched: bool) -> np.ndarray:
    """The reverse of `_fed`."""
    array = array.transpose(0, *(axis + 1 for axis in layer.axes)) if layer.axes else array[:, 0]
    return array if batched else array[0]


class MinicamBackend(Backend):
    """The interface that `onnx.backend.test` drives. Only the CPU."""

    @classmethod
    def is_compatible(cls, model: ModelProto, device: str = "CPU", **kwargs: Any) -> bool:
        return True

    @classmethod
    def prepare(cls, model: ModelProto, device: str = "CPU", **kwargs: Any) -> Prepared:
        return Prepared(model)

    @classmethod
    def run_model(cls, model: ModelProto, inputs: Any, device: str = "CPU", **kwargs: Any) -> tuple[np.ndarray, ...]:
        return Prepared(model).run(inputs)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        return device == "CPU"
