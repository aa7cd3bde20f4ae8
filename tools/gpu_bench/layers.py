"""Layer by layer: each convolution of a forward pass by minicam's launch and by PyTorch's, at the same precision.

Each is captured several times in one graph, on inputs that take turns and together exceed the device's cache, so that
neither the time between launches nor the cache counts. minicam's launches are those of the plan of the whole network,
epilogues included; PyTorch adds the bias, and is given an image already padded where its padding would be unequal.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from gpu_bench import floors
from gpu_bench.bench import Bench
from gpu_bench.ceilings import random_array
from gpu_bench.machine import Machine
from gpu_bench.precision import PRECISIONS, set_torch
from gpu_bench.rows import Row, row, tried
from gpu_bench.timing import Effort, Times, measured
from gpu_bench.with_minicam import engine
from gpu_bench.with_torch import captured
from minicam.bench.work import layer_multiplications
from minicam.cuda.bound import Bound, Constants
from minicam.cuda.buffers import Buffer, Launch, Place
from minicam.cuda.kernels import Kernels
from minicam.cuda.plan import Plan
from minicam.fast.rewrite import ConvolutionStep, steps
from minicam.graph import Node

MOST_SETS = 16
"""Of inputs that take turns."""
NEARLY = 0.7
"""A launch multiplies a little more than its layers: channels are padded to whole vectors."""


def layers(bench: Bench) -> Iterator[Row]:
    """Rows of all launches of minicam's plan and of all convolutions by PyTorch, for one image and for the most."""
    for batch in sorted({min(bench.batches), max(bench.batches)}):
        for precision in bench.precisions:
            if precision != "exact":  # which is not made of our kernels
                yield from minicam_layers(bench, precision, batch)
        for theirs in dict.fromkeys(PRECISIONS[p].torch for p in bench.precisions):
            yield from torch_layers(bench, theirs, batch)


def minicam_layers(bench: Bench, precision: str, batch: int) -> Iterator[Row]:
    """A row for each launch of the forward pass."""
    graph, machine = bench.network.graph, bench.machine
    try:
        made = engine(bench.network, machine.need_cupy(), precision)
        (source,) = graph.inputs
        like = np.broadcast_to(np.float32(0), (batch, graph.inputs[source][0] or 1, *bench.space))
        launches = made.forward_plan({source: like}, [graph.outputs[0]]).launches
    except Exception as error:
        yield tried("layers", "minicam: plan", _raising(error), precision=precision, batch=batch)
        return
    work = floors.forward_work(graph, bench.space)
    for names, launch in named(launches, convolution_names(bench), layer_multiplications(graph, bench.space), batch):
        name = f"minicam: {', '.join(names) or launch.kernel.name}"

        def one(launch: Launch = launch, names: Sequence[str] = names, name: str = name) -> Row:
            times = timed_launch(machine, launch, bench.effort, bench.cache)
            note = f"{launch.kernel.name}, {math.prod(launch.grid)} blocks of {launch.block}"
            return _row(bench, name, precision, precision, batch, times, [work[layer] for layer in names], note)

        yield tried("layers", name, one, precision=precision, batch=batch)


def torch_layers(bench: Bench, theirs: str, batch: int) -> Iterator[Row]:
    """A row for each convolution; layers of the same sizes share one measurement."""
    graph, ours = bench.network.graph, {"fp32": "fast"}.get(theirs, theirs)
    shapes = floors.shapes_of(graph, bench.space)
    work, known = floors.forward_work(graph, bench.space), {}
    for node in floors.convolutions(graph):
        sizes = shapes[node.inputs[0]], node.op

        def one(node: Node = node, sizes: Any = sizes) -> Row:
            settings = set_torch(bench.machine.need_torch(), theirs)
            if sizes not in known:
                known[sizes] = timed_conv2d(bench.machine, node.op, sizes[0], batch, theirs, bench.effort, bench.cache)
            return _row(bench, f"PyTorch: {node.name}", theirs, ours, batch, known[sizes], [work[node.name]], settings)

        yield tried("layers", f"PyTorch: {node.name}", one, precision=theirs, batch=batch)
        bench.machine.free_memory()


def timed_launch(machine: Machine, launch: Launch, effort: Effort, cache: int) -> Times:
    """Seconds of one launch, in a graph of several whose buffers, other than constants, hold other random numbers."""
    cupy = machine.need_cupy()
    buffers = list(dict.fromkeys(buffer for buffer in launch.buffers() if buffer.value is None))
    sets = rotations(sum(buffer.bytes for buffer in buffers), cache)
    given: dict[str, Buffer] = {}
    repeated = []
    for i in range(sets):
        others = {buffer: Buffer(buffer.shape, buffer.dtype) for buffer in buffers}
        given |= {f"{i} {n}": other for n, other in enumerate(others.values())}
        repeated.append(moved(launch, others))
    arrays = {name: random_array(cupy, buffer.shape, buffer.dtype) for name, buffer in given.items()}
    constants = Constants(cupy)  # which, like the arrays, has to be there as long as it is run
    bound = Bound(Plan(tuple(repeated), given=given), arrays, cupy, Kernels(cupy), constants)
    bound.run({})  # compiles; from the second run on it is a graph
    return measured(machine.cupy_clock, lambda: bound.run({}), effort, calls=sets)


def moved(launch: Launch, others: dict[Buffer, Buffer]) -> Launch:
    """The launch with other buffers."""

    def argument(given: Any) -> Any:
        return Place(others.get(given.buffer, given.buffer), given.offset) if isinstance(given, Place) else given

    return replace(launch, arguments=tuple(argument(given) for given in launch.arguments))


def rotations(size: int, cache: int) -> int:
    """How many inputs of that many bytes exceed the cache; within reason."""
    return max(1, min(MOST_SETS, -(-cache // max(size, 1))))


def named(
    launches: Sequence[Launch], names: Sequence[str], multiplications: dict[str, int], batch: int
) -> Iterator[tuple[list[str], Launch]]:
    """Each launch with the convolutions that it computes: those next in order, until their multiplications are
    nearly its own. names: of the convolutions, in running order."""
    left = list(names)
    for launch in launches:
        found: list[str] = []
        while (
            left
            and launch.kernel.name == "correlate"
            and batch * sum(multiplications[name] for name in found) < NEARLY * launch.multiplications
        ):
            found.append(left.pop(0))
        yield found, launch


def convolution_names(bench: Bench) -> list[str]:
    """The convolutions, in the order in which the plan computes them."""
    graph, parameters = bench.network.graph, bench.network.parameters()
    nodes = graph.needed(graph.outputs[:1], dict.fromkeys(graph.inputs))
    visible = {*graph.outputs[:1], *graph.inputs}
    found = steps(nodes, visible, parameters, through_upsampling=False)
    return [step.conv.name for step in found if isinstance(step, ConvolutionStep)]


def timed_conv2d(
    machine: Machine, op: Any, shape: tuple[int, ...], batch: int, precision: str, effort: Effort, cache: int
) -> Times:
    """Seconds of torch.nn.functional.conv2d, channels-last, on random images (batch, *shape)."""
    torch = machine.need_torch()
    options = {"device": machine.device, "dtype": torch.float16 if precision == "fp16" else torch.float32}
    (top, bottom), (left, right) = op.padding
    rows, columns = min(top, bottom), min(left, right)
    channels, height, width = shape
    padded = (channels, height + top + bottom - 2 * rows, width + left + right - 2 * columns)

    def drawn(*sizes: int) -> Any:
        return torch.randn(sizes, **options).contiguous(memory_format=torch.channels_last)

    weight, bias = drawn(op.filters, channels // op.groups, *op.kernel), torch.randn(op.filters, **options)
    out = math.prod(op.output_shape(shape))
    sets = rotations(weight.element_size() * batch * (math.prod(padded) + out), cache)
    images = [drawn(batch, *padded) for _ in range(sets)]

    def work() -> list[Any]:
        with torch.no_grad():
            return [
                torch.nn.functional.conv2d(x, weight, bias, op.stride, (rows, columns), op.dilation, op.groups)
                for x in images
            ]

    graph, _ = captured(machine, work)
    return measured(machine.torch_clock, graph.replay, effort, calls=sets)


def _row(
    bench: Bench,
    name: str,
    precision: str,
    ours: str,
    batch: int,
    times: Times,
    work: Sequence[floors.Work],
    note: str,
) -> Row:
    flop = 2 * batch * floors.multiplied(work)
    rate = flop / times.median
    floor = floors.seconds(work, ours, bench.ceilings, batch) if work else None
    shown = f"{rate / 1e12:.1f} TFLOP/s; {note}" if flop else note
    return row("layers", name, precision, batch, times, floor=floor, note=shown, gflop=flop / 1e9, flops=rate)


def _raising(error: Exception) -> Callable[[], Row]:
    def work() -> Row:
        raise error

    return work
