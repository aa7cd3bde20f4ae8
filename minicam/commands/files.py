"""The command that writes a network's file from another framework's."""

import argparse
import json

from minicam.commands.terminal import DONE


def convert(options: argparse.Namespace) -> int:
    """Read another framework's file, compare with that framework where it is installed, and write minicam's file."""
    from minicam import conversion
    from minicam.conversion.core import refuse_existing

    refuse_existing(options.output, options.force)
    shape = tuple(options.input_shape) if options.input_shape else None
    statistics = (numbers and tuple(numbers) for numbers in (options.mean, options.std))
    asked = conversion.Options(options.architecture, shape, tuple(options.classes or ()), True, *statistics)
    found = conversion.conversion(options.source, asked, kind=options.kind, checked=not options.no_check)
    found.save(options.output, options.force)
    layers, inputs = len(found.network.layers), found.network.graph.inputs
    if options.json:
        report = {"source": found.source, "kind": found.kind, "output": options.output, "layers": layers}
        report |= {"inputs": inputs, "outputs": found.network.graph.outputs, "notes": found.notes}
        print(json.dumps({**report, "difference": found.check.difference, "check": str(found.check)}))
        return DONE
    for note in found.notes:
        print(f"note: {note}")
    shapes = ", ".join(f"{name} {tuple(size or 'any' for size in shape)}" for name, shape in inputs.items())
    print(f"{found.source} ({found.kind}) -> {options.output}: {layers} layers, input {shapes}")
    print(found.check)
    return DONE
