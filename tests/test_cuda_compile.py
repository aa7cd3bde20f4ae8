"""Every kernel as machine code for every architecture, without a GPU; and launches against the kernels they start."""

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from importlib import resources
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from cupy_standin import standin
from nvrtc import (
    CompilationError,
    Compiled,
    Function,
    Parameter,
    Unit,
    all_kernels,
    compile_source,
    compile_units,
    compiled,
    library,
    unit_of,
)

from minicam.cuda.buffers import FeatureMaps, Launch, Place
from minicam.cuda.engine import TENSOR_CORES, CudaGraph
from minicam.cuda.job import Job
from minicam.cuda.kernels import source
from minicam.cuda.tiles import TILES, kernel, shared_bytes
from minicam.zoo import deeplabv3plus_resnet18, initial_parameters, squeezenet1_1, unet

SHARED = {75: 64, 80: 163, 86: 99, 89: 99, 90: 227, 120: 99}
"""Architecture -> KiB of shared memory that a block may have ("Technical Specifications per Compute Capability" in the
CUDA C++ Programming Guide)."""
PROCESSORS = {75: 40, 80: 108, 86: 84, 89: 128, 90: 132, 120: 170}
"""Of a large GPU."""
REGISTERS, REGISTERS_AT_ONCE = 65536, 8
"""Of a processor, and in which steps a thread gets them."""
LARGEST_GRID = 2**31 - 1, 65535, 65535
MOST_LABELS = 256
LARGEST_ARRAY = 256 << 20
"""Bytes that the arrays of a test may have."""
KERNELS = dict(all_kernels())
SOURCES = sorted({kernel.source for kernel in KERNELS})
FILES = {
    file.name.removesuffix(".cu"): file.read_text()
    for file in resources.files("minicam.cuda").iterdir()
    if file.name.endswith(".cu")
}
NETWORKS = {
    "deeplab": (deeplabv3plus_resnet18, ("dec_relu4", "dec_relu1", "catAspp", "res5b_relu")),
    "squeezenet": (squeezenet1_1, ("relu_conv10",)),
    "unet": (unet, ("bottleneck_relu2", "decoder1_relu2")),
}
"""With layers to explain."""


@pytest.fixture
def nvrtc() -> None:
    """Skips the test where NVRTC is missing, unless MINICAM_REQUIRE_NVRTC says that it must not be."""
    try:
        library()
    except ImportError as error:
        if os.environ.get("MINICAM_REQUIRE_NVRTC"):
            raise
        pytest.skip(str(error))


def units(architecture: int, *sources: str) -> dict[Unit, set[str]]:
    """Unit -> the names of its kernels, as far as the architecture has what they need."""
    found: dict[Unit, set[str]] = {}
    for one, least in KERNELS.items():
        if one.source in sources and least <= architecture:
            found.setdefault(unit_of(one), set()).add(one.name)
    return found


def few_units(architecture: int) -> dict[Unit, set[str]]:
    """Some in which every kernel of every source occurs."""
    chosen = {(one.source, one.name): unit_of(one) for one, least in KERNELS.items() if least <= architecture}
    there = units(architecture, *SOURCES)
    return {unit: there[unit] for unit in chosen.values()}


def problems(made: Compiled, names: set[str]) -> Iterator[str]:
    """What is wrong with a unit that has these kernels."""
    if made.messages:
        yield made.messages
    if missing := names - made.functions.keys():
        yield f"lacks the kernels {missing}"
    for name, function in made.functions.items():
        if function.stack_bytes or function.spill_bytes:
            yield f"{name}: {function.stack_bytes} bytes of stack, {function.spill_bytes} bytes spilled"
        registers = -(function.registers // -REGISTERS_AT_ONCE) * REGISTERS_AT_ONCE
        if registers * function.threads * function.resident > REGISTERS:
            yield f"{name}: {registers} registers, {function.threads} threads, {function.resident} blocks"
    for atomic in re.findall(r"\b(?:atom|red)\.\S+", made.ptx):
        yield f"has the instruction {atomic}"


def check(some: dict[Unit, set[str]], architecture: int) -> dict[Unit, Compiled]:
    """The units as machine code. Fails with all problems they have."""
    made = compile_units(some, architecture)
    wrong = [f"{unit}: {problem}" for unit, names in some.items() for problem in problems(made[unit], names)]
    assert not wrong, "\n".join(wrong)
    return made


@pytest.mark.parametrize("architecture", [75, 90])
def test_a_variant_of_every_kernel_compiles(nvrtc: None, architecture: int) -> None:
    check(few_units(architecture), architecture)


@pytest.mark.slow
@pytest.mark.parametrize("architecture", SHARED)
@pytest.mark.parametrize("name", SOURCES)
def test_every_variant_compiles_for_every_architecture(nvrtc: None, name: str, architecture: int) -> None:
    """Without a warning, a spill, a stack or an atomic instruction; and all variants take the same parameters."""
    made = check(units(architecture, name), architecture)
    assert made or (name, architecture) == ("convolution_tensor", 75)
    signatures = {(own, function.parameters) for unit in made.values() for own, function in unit.functions.items()}
    assert len(signatures) == len({own for own, _ in signatures})


@pytest.mark.parametrize("arithmetic", ["3xtf32", "tf32", "float16"])
def test_tensor_cores_multiply(nvrtc: None, arithmetic: str) -> None:
    """As often as the tile of a warp takes; and what they multiply is copied past the registers."""
    tile = TILES[arithmetic][-1]
    ptx = compiled(unit_of(kernel("correlate", tile, arithmetic)), 90).ptx
    kinds = {"float16": "m16n8k16.row.col.f32.f16.f16.f32"}
    instruction = f"mma.sync.aligned.{kinds.get(arithmetic, 'm16n8k8.row.col.f32.tf32.tf32.f32')}"
    steps = 2 * tile.warp_rows * tile.warp_columns // (16 * 8)
    assert ptx.count(instruction) == ptx.count("mma.sync") == steps * (3 if arithmetic == "3xtf32" else 1)
    assert ptx.count("cp.async.cg.shared.global") >= 2
    assert "cp.async.wait_group" in ptx
    assert ("cvt.rna.tf32.f32" in ptx) == (arithmetic != "float16")


@pytest.mark.parametrize("arithmetic", TILES)
def test_every_tile_fits_into_shared_memory(arithmetic: str) -> None:
    """On every architecture that has its kernel, so that the choice of tiles need not look at it."""
    for tile in TILES[arithmetic]:
        least = KERNELS[kernel("correlate", tile, arithmetic)]
        most = min(size for architecture, size in SHARED.items() if architecture >= least)
        assert shared_bytes(tile, arithmetic) <= most << 10, tile


STACK = "float a[99]; for (int i = 0; i < 99; ++i) a[i * n % 99] = x[i]; x[0] = a[n];"
SPILLS = """float a[200];
#pragma unroll
for (int i = 0; i < 200; ++i) a[i] = x[i];
for (int j = 0; j < n; ++j)
#pragma unroll
    for (int i = 0; i < 200; ++i) a[i] = a[i] * a[(i + 7) % 200] + s;
#pragma unroll
for (int i = 0; i < 200; ++i) x[i] = a[i];"""


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (STACK, r"f: \d\d\d bytes of stack, 0 bytes spilled"),
        (SPILLS, r"f: \d+ bytes of stack, \d\d\d+ bytes spilled"),
        ("int unused; x[n] = s;", 'variable "unused" was declared but never referenced'),
        ("atomicAdd(x + n, s);", r"has the instruction (red|atom)\.\S*\.f32"),
    ],
    ids=["stack", "spills", "warning", "atomic"],
)
def test_what_is_wrong_with_a_kernel_is_seen(nvrtc: None, body: str, problem: str) -> None:
    code = f'extern "C" __global__ void __launch_bounds__(1024) f(float* x, int n, float s) {{\n{body}\n}}'
    made = compile_source(code, 90)
    assert re.search(problem, "\n".join(problems(made, {"f"})))
    assert made.functions["f"].parameters == (Parameter("u64", 8), Parameter("u32", 4), Parameter("f32", 4))


def test_what_cannot_run_is_seen(nvrtc: None) -> None:
    with pytest.raises(CompilationError, match="this declaration has no storage class or type specifier"):
        compile_source("nonsense", 90)
    function = Function(registers=65, stack_bytes=0, spill_bytes=0, threads=128, resident=8, parameters=())
    found = list(problems(Compiled({"f": function}, "", ""), {"f", "g"}))
    assert found == ["lacks the kernels {'g'}", "f: 72 registers, 128 threads, 8 blocks"]


def test_all_functions_of_all_files_are_listed() -> None:
    """As kernels of the source that they are in; and no file is left over."""
    pattern = re.compile(r'extern "C" __global__ void\s+__launch_bounds__\([^()]*\)\s+(\w+)\(')
    for name, text in FILES.items():
        assert len(pattern.findall(text)) == text.count("__global__"), name
    listed = {name: {one.name for one in KERNELS if one.source == name} for name in SOURCES}
    assert listed == {name: set(pattern.findall(source(name))) for name in SOURCES}
    everything = "\n".join(map(source, SOURCES))
    assert [name for name, text in FILES.items() if text not in everything] == []


def test_rules_of_the_sources() -> None:
    """No headers are needed, sums have an order, shared memory comes with the launch, assembly is in one file."""
    for name, text in FILES.items():
        code = re.sub(r"//.*", "", text)
        assert re.findall(r"#\s*include|\batomic\w*|\bdouble\b", code) == [], name
        assert name == "instructions" or re.findall(r"\basm\b|__shared__", code) == [], name


class Recorder(CudaGraph):
    """Plans what would run, and hands out arrays that nothing was written to, all of them in the same memory.

    weights: shared by all of one network.
    """

    def __init__(self, graph, parameters, module: ModuleType, precision: str, weights: dict, memory):
        super().__init__(graph, parameters, module, precision)
        self._weights = weights.setdefault(self._arithmetic, self._weights)
        self._memory = memory
        self.launches: list[Launch] = []

    def array(self, shape, strides=None, dtype=np.float32):
        assert np.prod(shape) * np.dtype(dtype).itemsize <= self._memory.nbytes
        return self._module.ndarray(shape, dtype, self._memory.data, strides)

    def _run(self, key, plan, contents, given):
        self._plans[key] = made = plan()
        self._last = SimpleNamespace(plan=made, block=lambda: None)
        self.launches += made.launches
        return {name: self._left(value) for name, value in made.left.items()}

    def _left(self, value):
        if not isinstance(value, FeatureMaps):
            return self.array(value.shape, None, value.dtype)
        shape = value.samples, value.channels, value.rows, value.columns
        return self.array(shape, [4 * pitch for pitch in (value.sample_pitch, 1, value.row_pitch, value.pixel_pitch)])


def record(recorder: Recorder, samples: int, layers: tuple[str, ...]) -> list[Launch]:
    """The launches for labels, gradients, maps: step by step, and all as one plan."""
    graph, (name, shape) = recorder.graph, next(iter(recorder.graph.inputs.items()))
    output = graph.outputs[0]
    x = recorder.array((samples, *shape))
    values = recorder.forward({name: x}, [output, *layers])
    _, *sizes = values[output].shape
    seed_shape = max(samples, 2), *sizes  # of two targets in one image, or of one in each
    for seed in (recorder.array(seed_shape), recorder.array(seed_shape, (4 * sizes[0], 4, 0, 0))):
        recorder.backward(values, {output: seed}, layers)
        weights = recorder.channel_sums(values, {output: seed}, layers)
    for layer in layers:
        recorder.resize(recorder.weighted_sum(weights[layer], values[layer][0]), shape[1:])
    labelled = output if sizes[0] <= MOST_LABELS else None
    if labelled:
        recorder.labels(values[output])
    job = Job(output, layers, labelled, 2, shape[1:], "bicubic", mean=True)
    recorder.job(x, np.ones((2, sizes[0]), np.float32), job)
    return recorder.launches


def recorded(network: str, architectures: Iterable[int]) -> Iterator[tuple[int, Launch]]:
    """Architecture and launch, of all precisions and of one image and four."""
    build, layers = NETWORKS[network]
    graph, weights = build(), {}
    parameters = initial_parameters(graph)
    for architecture in architectures:
        properties = dict(zip(("major", "minor"), divmod(architecture, 10), strict=True))
        with standin.install(multiProcessorCount=PROCESSORS[architecture], **properties) as module:
            memory = module.empty(LARGEST_ARRAY, np.uint8)
            for precision in ("fast", "tf32", "fp16") if architecture >= TENSOR_CORES else ("fast",):
                for samples in (1, 4):
                    recorder = Recorder(graph, parameters, module, precision, weights, memory)
                    for launch in record(recorder, samples, layers):
                        yield architecture, launch


def faults(launch: Launch, architecture: int, parameters: tuple[Parameter, ...]) -> Iterator[str]:
    """What in a launch does not fit the architecture or the kernel's parameters."""
    if KERNELS.get(launch.kernel, architecture + 1) > architecture:
        yield "is not among the kernels for the architecture"
    if launch.shared > SHARED[architecture] << 10:
        yield f"takes {launch.shared} bytes of shared memory"
    if not all(0 < blocks <= most for blocks, most in zip(launch.grid, LARGEST_GRID, strict=True)):
        yield "has a grid that CUDA does not start"
    found = tuple(map(parameter, launch.arguments))
    if found != parameters:
        yield f"hands over {found}, the kernel takes {parameters}"


def parameter(argument: object) -> Parameter:
    """What a kernel must take for an argument."""
    if argument is None or isinstance(argument, Place):
        return Parameter("u64", 8)
    assert isinstance(argument, np.generic | np.ndarray)
    assert argument.shape == ((1,) if argument.dtype.names else ())
    kind = "b8" if argument.dtype.names else {"i": "u32", "f": "f32"}[argument.dtype.kind]
    return Parameter(kind, argument.dtype.itemsize)


@pytest.mark.parametrize("network", ["deeplab", "squeezenet", pytest.param("unet", marks=pytest.mark.slow)])
def test_launches_fit_kernels_and_architectures(nvrtc: None, network: str) -> None:
    """Of labels, gradients and maps at full size, with every precision and arithmetic."""
    made = compile_units(few_units(90), 90)
    functions = {(unit.source, name): f for unit, some in made.items() for name, f in some.functions.items()}
    wrong = [
        f"{architecture}: {launch}: {fault}"
        for architecture, launch in recorded(network, (75, 90, 120))
        for fault in faults(launch, architecture, functions[launch.kernel.source, launch.kernel.name].parameters)
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"arguments": (None, np.float32(1))}, "hands over .*f32.*, the kernel takes .*u32"),
        ({"arguments": (None,)}, "the kernel takes"),
        ({"shared": 100 << 10}, "takes 102400 bytes of shared memory"),
        ({"grid": (1, 65536, 1)}, "grid that CUDA does not start"),
        ({"kernel": kernel("correlate", TILES["float32"][0], "tf32")}, "is not among the kernels"),
    ],
    ids=["type", "number", "shared", "grid", "kernel"],
)
def test_what_does_not_fit_is_seen(changes: dict, fault: str) -> None:
    own = kernel("correlate", TILES["tf32"][0], "tf32")
    launch = Launch(own, (1, 1, 1), 32, (None, np.int32(1)), 99 << 10)
    parameters = Parameter("u64", 8), Parameter("u32", 4)
    assert list(faults(launch, 86, parameters)) == []
    (found,) = faults(replace(launch, **changes), 86, parameters)
    assert re.search(fault, found)


@pytest.mark.slow
@pytest.mark.parametrize("network", NETWORKS)
def test_launches_fit_the_machine_code(nvrtc: None, network: str) -> None:
    """On every architecture; and they have no more threads than the kernel was compiled for."""
    for architecture, launch in recorded(network, SHARED):
        function = compiled(unit_of(launch.kernel), architecture).functions[launch.kernel.name]
        assert list(faults(launch, architecture, function.parameters)) == [], (architecture, launch)
        assert 0 < launch.block <= function.threads, (architecture, launch)
