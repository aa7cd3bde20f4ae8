"""The commands that print what they find."""

import argparse
import json
import sys

from minicam.commands.terminal import DONE, SOME_FAILED, complain, loaded, progress
from minicam.errors import ImageError


def layers(options: argparse.Namespace) -> int:
    """The table of layers."""
    import minicam as mc
    from minicam import summary

    net = mc.load(options.weights)
    print(json.dumps(summary.rows(net.graph)) if options.json else net.summary())
    return DONE


def verify(options: argparse.Namespace) -> int:
    """Check a weight file: structure, digests, and its own stored example."""
    import dataclasses

    import minicam as mc

    report = mc.verify(options.weights, options.device)
    if options.json:
        print(json.dumps(dataclasses.asdict(report)))
        return DONE
    example = (
        "no example"
        if report.check is None
        else f"its own example agrees to {report.check:.1e} of the peak on the {report.device}"
    )
    size = f"{report.layers} layers, {report.parameters:,} parameters, {report.bytes / 1e6:.1f} MB"
    print(f"{report.path}: sound: {size}; {example}")
    return DONE


def evaluate(options: argparse.Namespace) -> int:
    """Compare the network's labels with those of a folder of labelled frames; a bad frame stops it before it starts."""
    from minicam import evaluation

    net = loaded(options)
    try:
        frames = evaluation.labelled_frames(options.folder, evaluation.class_count(net), options.ignored)
        found = evaluation.evaluate(net, progress(frames, options.json), options.ignored, options.at, options.batch)
    except ImageError as error:
        return complain(error, SOME_FAILED)
    print(json.dumps(found.report()) if options.json else found.table())
    return DONE


def bench(options: argparse.Namespace) -> int:
    """Time the example's job on this machine, beside what is installed of other libraries."""
    from minicam import bench as benchmark

    def tell(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    report = benchmark.run(
        options.weights,
        options.device,
        options.repeat,
        options.threads,
        options.rivals,
        options.layers,
        options.sizes,
        tell,
    )
    print(json.dumps(report) if options.json else benchmark.table(report))
    return DONE
