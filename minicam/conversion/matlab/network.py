"""Layers and connections of a MATLAB network as a graph with channels first."""

import re
from collections.abc import Sequence

import numpy as np

from minicam.conversion.building import Building, Step
from minicam.conversion.matlab.layers import INPUTS, LAYERS, OUTPUTS, input_steps, known
from minicam.conversion.matlab.record import Record
from minicam.conversion.reading import Converted, Options
from minicam.errors import ConversionError, MinicamError
from minicam.graph_text import shown
from minicam.network import Network
from minicam.ops import Shape

Connection = tuple[str, str]
"""From a layer to a layer, each perhaps with "/" and the name of its output or input: ("relu", "add/in2")."""


def network(records: Sequence[Record], connections: Sequence[Connection], options: Options) -> Converted:
    """The network. Raises ConversionError listing all layers that are not known, or naming the one that does not fit.

    The loss at the end is left out; its classes become the network's.
    """
    by_name = {record.name: record for record in records}
    if len(by_name) < len(records):
        raise ConversionError("two of its layers have the same name")
    unknown = [f"{record.name} ({record.kind})" for record in records if not known(record.kind)]
    if unknown:
        raise ConversionError(f"has {len(unknown)} layers that are not known here: {', '.join(unknown)}")
    reads = _reads(by_name, connections)
    building = Building()
    values: dict[str, tuple[str, Shape]] = {}
    waiting = [record for record in records if record.kind not in OUTPUTS]
    while waiting:
        ready = [record for record in waiting if all(name in values for name in reads[record.name])]
        if not ready:
            raise ConversionError(f"the layers {', '.join(r.name for r in waiting)} read what nothing provides")
        for record in ready:
            sources = [values[name] for name in reads[record.name]]
            values[record.name] = _add(building, record, sources, options)
            waiting.remove(record)
    return Converted(*_finished(building, values, reads, records, options))


def _finished(
    building: Building,
    values: dict[str, tuple[str, Shape]],
    reads: dict[str, list[str]],
    records: Sequence[Record],
    options: Options,
) -> tuple[Network, tuple[str, ...]]:
    losses = [record for record in records if record.kind in OUTPUTS]
    used = {name for reader, names in reads.items() if reader in values for name in names}
    outputs = [node for name, (node, _) in values.items() if name not in used]
    classes = options.classes or next((found for record in losses if (found := _classes(record))), ())
    notes = ["channels come first here: (N, C, H, W) for MATLAB's (H, W, C, N)"]
    notes += [f"the loss {', '.join(record.name for record in losses)} is left out"] if losses else []
    return Network(building.graph(outputs), building.parameters, classes), tuple(notes)


def _classes(record: Record) -> tuple[str, ...]:
    found = record.get("Classes", record.get("ClassNames", ()))
    return tuple(found) if isinstance(found, list) and all(isinstance(name, str) for name in found) else ()


def _reads(by_name: dict[str, Record], connections: Sequence[Connection]) -> dict[str, list[str]]:
    """Layer -> the layers that it reads, in the order of its inputs."""
    found: dict[str, list[tuple[int, str]]] = {name: [] for name in by_name}
    for source, destination in connections:
        start, _, output = source.partition("/")
        end, _, place = destination.partition("/")
        for name in (start, end):
            if name not in by_name:
                raise ConversionError(f"a connection names {name!r}, which is not one of its layers")
        if output not in ("", "out"):
            raise ConversionError(f"layer {end!r} reads {source!r}; known are layers with a single output")
        number = re.fullmatch(r"in(\d*)|ref", place or "in")
        if number is None:
            raise ConversionError(f"layer {end!r} has the input {place!r}; known are in, in1, in2 ... and ref")
        found[end].append((10**6 if place == "ref" else int(number[1] or 1), start))
    return {name: [start for _, start in sorted(inputs)] for name, inputs in found.items()}


def _add(
    building: Building, record: Record, sources: Sequence[tuple[str, Shape]], options: Options
) -> tuple[str, Shape]:
    """The nodes of one layer; name and shape of the last."""
    try:
        if record.kind in INPUTS:
            return _add_input(building, record, options)
        if not sources:
            raise ConversionError("nothing is connected to its input")
        steps: list[Step] = LAYERS[record.kind](record, *(shape for _, shape in sources))
        return building.add(record.name, steps, [name for name, _ in sources], [shape for _, shape in sources])
    except MinicamError as error:
        raise ConversionError(f"layer {record.name!r} ({record.kind}): {error}") from error
    except (TypeError, ValueError, IndexError, OverflowError, KeyError) as error:
        raise ConversionError(
            f"layer {record.name!r} ({record.kind}): its properties are damaged ({error!r})"
        ) from error


def _add_input(building: Building, record: Record, options: Options) -> tuple[str, Shape]:
    """An input, and its normalisation, which then has the layer's name."""
    shape = options.input_shape or _input_shape(record)
    steps = input_steps(record, shape)
    if not steps:
        return building.add_input(record.name, shape), shape
    source = building.add_input(f"{record.name}_input", shape)
    return building.add(record.name, steps, [source], [shape])


def _input_shape(record: Record) -> Shape:
    """InputSize [H W C], of a sequence C or [H W C] without the time, as (C, H, W); the time is open and comes last."""
    sizes = [int(size) for size in np.asarray(record.get("InputSize", 0)).reshape(-1, order="F")]
    if not sizes or min(sizes) < 1:
        raise ConversionError(f"its InputSize is {shown(sizes)}; expected sizes of 1 or more")
    if record.kind == "SequenceInputLayer":
        if len(sizes) > 1:
            raise ConversionError(f"its InputSize is {sizes}; known are sequences of vectors")
        return (sizes[0], None)
    return (sizes[-1], *sizes[:-1])
