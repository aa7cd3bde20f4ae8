"""Layer by layer: each launch of minicam's plan of the job, and PyTorch's convolutions at the same precision.

Each is captured several times in one graph, on inputs that take turns and together exceed the device's cache, so that
neither the time between launches nor the cache counts. minicam's launches include bias, sum, ReLU and mask; PyTorch's
include the bias, and read an image already padded where the padding is unequal. Gradients are those of both classes
together for one image, and of one class for several.
"""

import math
from collections.abc import Hashable, Iterator, Sequence
from typing import Any, NamedTuple

from gpu_bench import floors, torch_convolutions
from gpu_bench.bench import Bench
from gpu_bench.floors import Work
from gpu_bench.launches import signature, timed_launch
from gpu_bench.precision import PRECISIONS, minicams, set_torch
from gpu_bench.rows import Row, failure, row, tried
from gpu_bench.timing import Times
from gpu_bench.with_minicam import OnDevice
from minicam.bench.task import CLASSES, FEATURE_LAYERS
from minicam.cuda.buffers import Launch
from minicam.fast.rewrite import ConvolutionStep, steps

NEARLY, HARDLY_LESS = 0.7, 1.02
"""A launch multiplies a little more than its layers, as channels are padded to whole vectors, and never less."""


GRADIENT = "gradient of "


class Part(NamedTuple):
    """A convolution or its input gradient, as it is computed: its name, of how many samples, and the work of one."""

    name: str
    samples: int
    work: Work

    @property
    def multiplications(self) -> int:
        return self.samples * self.work.multiplications


def layers(bench: Bench) -> Iterator[Row]:
    """For one image and for the most: rows of all launches of minicam's plan, and of all convolutions by PyTorch."""
    for batch in sorted({min(bench.batches), max(bench.batches)}):
        for precision in bench.precisions:
            if precision != "exact":  # which is not made of our kernels
                yield from minicam_layers(bench, precision, batch)
        for theirs in dict.fromkeys(PRECISIONS[p].torch for p in bench.precisions):
            yield from torch_layers(bench, theirs, batch)


def minicam_layers(bench: Bench, precision: str, batch: int) -> Iterator[Row]:
    """A row for each launch of the job; those alike share one measurement."""
    try:
        launches = launches_of_job(bench, precision, batch)
    except Exception as error:  # whatever a library raises belongs on its row
        yield row("layers", "minicam: plan", precision, batch, note=failure(error))
        return
    forward, backward = parts(bench, batch)
    known: dict[Hashable, Times] = {}
    in_order = [*forward, *(backward[::-1] * (1 if batch == 1 else len(CLASSES)))]
    for found, launch in named(launches, in_order):
        name = f"minicam: {', '.join(part.name for part in found) or launch.kernel.name}"

        def one(found: Sequence[Part] = found, launch: Launch = launch, name: str = name) -> Row:
            alike = signature(launch)
            if alike not in known:
                known[alike] = timed_launch(bench.machine, launch, bench.effort, bench.cache)
            note = f"{launch.kernel.name}, {math.prod(launch.grid)} blocks of {launch.block}"
            return _row(bench, name, precision, precision, batch, known[alike], found, note)

        yield tried("layers", name, one, precision=precision, batch=batch)


def torch_layers(bench: Bench, theirs: str, batch: int) -> Iterator[Row]:
    """A row for each convolution and each input gradient; those of the same sizes share one measurement."""
    machine, graph = bench.machine, bench.network.graph
    shapes, known = floors.shapes_of(graph, bench.space), dict[Any, tuple[Times, str]]()
    for part in (part for some in parts(bench, batch) for part in some):
        node = graph.by_name[part.name.removeprefix(GRADIENT)]
        work = torch_convolutions.input_gradient if part.name.startswith(GRADIENT) else torch_convolutions.forward
        sizes = work, torch_convolutions.Setting(node.op, shapes[node.inputs[0]], part.samples, theirs)

        def one(part: Part = part, sizes: Any = sizes) -> Row:
            settings = set_torch(machine.need_torch(), theirs)
            if sizes not in known:
                known[sizes] = torch_convolutions.timed(machine, *sizes, bench.effort, bench.cache)
            times, memory_format = known[sizes]
            note = f"{memory_format}; {settings}"
            return _row(bench, f"PyTorch: {part.name}", theirs, minicams(theirs), batch, times, [part], note)

        yield tried("layers", f"PyTorch: {part.name}", one, precision=theirs, batch=batch)
        machine.free_memory()


def parts(bench: Bench, batch: int) -> tuple[list[Part], list[Part]]:
    """The convolutions of a forward pass, in the order in which minicam computes them; and, from the first layer on,
    the input gradients of a backward pass that multiply anything."""
    graph = bench.network.graph
    forward = floors.forward_work(graph, bench.space)
    backward = floors.backward_work(graph, bench.space, FEATURE_LAYERS)
    nodes = graph.needed(graph.outputs[:1], dict.fromkeys(graph.inputs))
    kept = {*graph.outputs[:1], *graph.inputs, *FEATURE_LAYERS}
    found = steps(nodes, kept, bench.network.parameters(), through_upsampling=False)
    names = [step.conv.name for step in found if isinstance(step, ConvolutionStep)]
    convolved = {node.name for node in floors.convolutions(graph)}
    samples = len(CLASSES) if batch == 1 else batch
    return (
        [Part(name, batch, forward[name]) for name in names],
        [Part(GRADIENT + k, samples, w) for k, w in backward.items() if k in convolved and w.multiplications],
    )


def launches_of_job(bench: Bench, precision: str, batch: int) -> list[Launch]:
    """Of minicam's plan, which is made by running it."""
    contestant = OnDevice(bench.machine, bench.network, [bench.inputs.batch(0, batch)], precision)
    contestant.job(0)
    return contestant.found.plan.launches


def named(launches: Sequence[Launch], in_order: Sequence[Part]) -> Iterator[tuple[list[Part], Launch]]:
    """Each launch with the parts that it computes: those next in order, until their multiplications are nearly its own.
    A launch that they do not fit has none, and they wait for the next."""
    left = list(in_order)
    for launch in launches:
        count, total = 0, 0
        while launch.kernel.name == "correlate" and count < len(left) and total < NEARLY * launch.multiplications:
            total += left[count].multiplications
            count += 1
        if not NEARLY * launch.multiplications <= total <= HARDLY_LESS * launch.multiplications:
            count = 0
        yield left[:count], launch
        del left[:count]


def _row(
    bench: Bench,
    name: str,
    precision: str,
    ours: str,
    batch: int,
    times: Times,
    found: Sequence[Part],
    note: str,
) -> Row:
    flop = 2 * sum(part.multiplications for part in found)
    floors_of_parts = [floors.seconds([part.work], ours, bench.ceilings, part.samples) for part in found]
    floor = None if None in floors_of_parts else sum(filter(None, floors_of_parts)) or None
    rate = flop / times.median
    shown = f"{rate / 1e12:.1f} TFLOP/s; {note}" if flop else note
    return row("layers", name, precision, batch, times, floor=floor, note=shown, gflop=flop / 1e9, flops=rate)
