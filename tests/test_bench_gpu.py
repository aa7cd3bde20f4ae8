"""tools/bench_gpu.py, rehearsed without a GPU: every section gives its rows, what it computes is right, and what fails
or has no time left is said. No time is asserted."""

import json
import math
import warnings
from types import SimpleNamespace

import bench_gpu
import numpy as np
import pytest
from gpu_bench import ceilings, floors, job, launches, layers
from gpu_bench.agreement import compared, distance
from gpu_bench.bench import Bench
from gpu_bench.budget import Budget
from gpu_bench.ceilings import Ceilings
from gpu_bench.inputs import drawn_inputs
from gpu_bench.machine import REHEARSAL, Machine
from gpu_bench.precision import set_torch
from gpu_bench.rehearsal import SPACE, Event, little_network, stand_in_cuda, stand_in_machine
from gpu_bench.rows import Missing, Report, row, table, tried
from gpu_bench.timing import Clock, Contender, Effort, alternated, measured, summary
from gpu_bench.torch_convolutions import Convolution, Setting
from gpu_bench.torch_modules import interpolated, is_bilinear
from gpu_bench.with_compiler import time_limit
from gpu_bench.with_torch import captured
from references import require_torch

import minicam as mc
from minicam.bench.task import FEATURE_LAYERS, Answer
from minicam.cuda.buffers import Buffer, Kernel, Launch, Place, constant
from minicam.graph import Graph, Node
from minicam.ops import Conv, ConvTranspose
from minicam.zoo import deeplabv3plus_resnet18

MAY_FAIL = {
    ("matrix product, CuPy", "tf32"): "cannot be told to use TF32",
    ("grad-cam as shipped", "default"): "not installed",
}
"""What the stand-in of CuPy does not have, and what need not be installed."""


@pytest.fixture(scope="module")
def rehearsed(tmp_path_factory):
    """The rows of a rehearsal of all sections, as written, for one precision and one image."""
    path = tmp_path_factory.mktemp("bench") / "rows.jsonl"
    arguments = ["--rehearse", "--batches", "1", "--precisions", "tf32", "--seed", "1", "--output", str(path)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what other packages warn of is theirs
        assert bench_gpu.main(arguments) == 0
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_section_is_rehearsed_and_says_that_its_times_mean_nothing(rehearsed):
    first, *rows = rehearsed
    assert first["section"] == "machine"
    assert first["rehearsal"] is True
    assert REHEARSAL in first["note"]
    assert first["seed"] == 1
    assert list(dict.fromkeys(found["section"] for found in rows)) == list(bench_gpu.SECTIONS)
    for found in rows:
        assert {"name", "precision", "batch", "seconds", "runs", "error", "floor", "share", "note"} <= found.keys()


def test_minicam_is_right_in_the_rehearsal(rehearsed):
    rows = {found["name"]: found for found in rehearsed if found["section"] == "correctness"}
    assert rows.keys() == {"activations", "gradients", "job"}
    assert 1e-5 < rows["activations"]["error"] < 5e-3  # TF32 has been in use
    assert rows["activations"]["errors"].keys() == {*FEATURE_LAYERS, "softmax-out"}
    assert rows["gradients"]["error"] < 5e-2
    assert rows["gradients"]["errors"].keys() == {name + layer for name in ("", "sums at ") for layer in FEATURE_LAYERS}
    assert rows["job"]["error"] < 5e-2
    assert rows["job"]["same_bits"] is True


def test_pytorch_and_all_others_are_timed_and_right(rehearsed):
    require_torch()
    rows = [found for found in rehearsed if found["section"] in ("job", "device", "forward", "compiled")]
    assert len(rows) == 14
    for found in rows:
        if found["seconds"] is None:
            assert MAY_FAIL[found["name"], found["precision"]] in found["note"], found
            continue
        bound = 5e-2 if found["name"].startswith("minicam") else 1e-4  # torch on a CPU has no TF32
        assert found["error"] < bound, found
        assert found["runs"] == 1
        assert found["seconds"] > 0
        assert found["host_seconds"] > 0
        assert found["share"] == pytest.approx(found["floor"] / found["seconds"])
        assert "NOT COMPARABLE" not in found["note"]


def test_with_pytorch_what_fails_in_the_rehearsal_is_known(rehearsed):
    require_torch()
    failed = [found for found in rehearsed if found["seconds"] is None and found["error"] is None][1:]
    for found in failed:
        assert MAY_FAIL[found["name"], found["precision"]] in found["note"], found


def test_every_convolution_is_timed_by_minicam_and_pytorch(rehearsed):
    require_torch()
    names = [found["name"].split(": ") for found in rehearsed if found["section"] == "layers"]
    network = little_network()
    gradients = {f"gradient of {name}" for name in ("scorer", "dec_c4", "dec_c1")}
    convolutions = {node.name for node in floors.convolutions(network.graph)} | gradients
    assert {name for who, name in names if who == "PyTorch"} == convolutions
    ours = [part for who, name in names if who == "minicam" for part in name.split(", ")]
    assert convolutions <= set(ours)
    assert "correlate" not in ours  # all have names
    assert {"max_pool", "upsample", "resize"} <= set(ours)  # the other launches, by their kernels


def test_without_pytorch_the_rest_is_measured():
    with stand_in_machine() as machine:
        missing = Machine(cupy=machine.cupy, rehearsal=True, missing={"torch": "not installed: torch"})
        bench = a_bench(missing)
        rows = list(job.forwards(bench))
        rows += list(ceilings.ceilings(missing, bench.effort, bench.sizes, bench.ceilings))
    notes = {found["name"]: found["note"] for found in rows}
    assert notes["PyTorch by hand, forward"] == "not installed: torch"
    assert notes["copy, PyTorch"] == "not installed: torch"
    assert rows[0]["name"] == "minicam, forward"
    assert rows[0]["error"] < 5e-2
    assert bench.ceilings.rates.keys() == {"fp32", "fp16"}
    assert bench.ceilings.bandwidth > 0


def test_one_who_fails_while_timed_is_named_and_the_others_go_on(monkeypatch):
    class Good:
        title, precision, settings, clock = "good", "tf32", "", Clock(Event, Event.elapsed_time)
        runs = 0

        def __init__(self, machine, network, batches, precision):
            self.batches = batches

        def before(self):
            pass

        def job(self, i):
            self.runs += 1

        def scores(self):
            return right.copy()

    class Bad(Good):
        title = "bad"

        def job(self, i):
            self.runs += 1
            if self.runs > 2:  # twice to be compared
                raise MemoryError("out of memory")

    class Slow(Good):
        title, starts_within = "slow", math.inf

    bench = a_bench(Machine(rehearsal=True))
    right = np.stack([bench.inputs.expected(1, k).scores for k in range(2)])
    rows = list(job.contest(bench, "forward", [(Good, "tf32"), (Bad, "tf32"), (Slow, "tf32")], 2, {}))
    good, bad, slow = rows
    assert (good["runs"], good["error"], good["labels_equal"]) == (1, 0, 1)
    assert bad["note"] == "failed: MemoryError: out of memory"
    assert slow["note"].startswith("skipped: may take inf s to start")
    again = list(job.contest(bench, "job", [(Good, "tf32")], 2, {"good, tf32": 1e9}))
    assert again[0]["note"] == "skipped: would take more than 0.125 of the 3600 s that are left"


@pytest.mark.parametrize("wrong", [0, 3, 5])
def test_a_wrong_image_of_a_large_batch_is_noticed(wrong):
    """The first and the last two are compared; that a kernel spoils one in the middle alone is unlikely."""
    bench = a_bench(Machine(rehearsal=True))
    right = [bench.inputs.expected(1, k) for k in range(6)]
    answers = [Answer(None, r.labels, r.maps + (k == wrong)) for k, r in enumerate(right)]
    contestant = SimpleNamespace(before=lambda: None, job=lambda i: None, answers=lambda: answers)
    error, equal = job._checked(bench, contestant, 6)
    assert equal == 1
    assert (error > 0) == (wrong != 3)


def a_bench(machine, **options):
    effort, sizes = Effort(1, 1, 1, 0, least_slow=1), ceilings.Sizes(1 << 12, 1 << 12, 8)
    chosen = {"batches": (1,), "precisions": ("tf32",), "seed": 0, "budget": Budget(60), "cache": 0, **options}
    return Bench(machine, little_network(), SPACE, SPACE, effort=effort, sizes=sizes, **chosen)


def test_when_the_minutes_are_over_the_rest_is_skipped_and_said_so(monkeypatch, tmp_path):
    now = [0.0]

    def section(bench):
        for i in range(3):
            now[0] += 40
            yield row("slow", f"row {i}")

    monkeypatch.setattr(bench_gpu, "SECTIONS", {"slow": section, "next": section})
    monkeypatch.setattr(bench_gpu, "about", lambda machine: row("machine", "none"))
    bench = a_bench(Machine(), budget=Budget(1, lambda: now[0]))
    report = Report(tmp_path / "rows.jsonl")
    told = {}
    bench_gpu.run(bench, ["slow", "next"], report, told.__setitem__)
    report.close()
    assert [(found["section"], found["name"], found["note"]) for found in report.rows[1:]] == [
        ("slow", "row 0", ""),
        ("slow", "row 1", ""),
        ("slow", "the rest", "skipped: the 1 minutes are over"),
        ("next", "all", "skipped: the 1 minutes are over"),
    ]
    assert list(told) == ["machine", "slow", "next"]
    assert len((tmp_path / "rows.jsonl").read_text().splitlines()) == 5


def test_a_section_that_fails_says_so_and_the_next_one_runs(monkeypatch):
    def failing(bench):
        yield row("one", "first")
        raise ZeroDivisionError("nothing\nto divide")

    monkeypatch.setattr(bench_gpu, "SECTIONS", {"one": failing, "two": lambda bench: iter([row("two", "fine")])})
    monkeypatch.setattr(bench_gpu, "about", lambda machine: row("machine", "none"))
    report = Report(None)
    bench_gpu.run(a_bench(Machine()), ["one", "two"], report, lambda name, rows: None)
    assert [found["name"] for found in report.rows[1:]] == ["first", "the rest", "fine"]
    assert report.rows[2]["note"] == "failed: ZeroDivisionError: nothing"


def test_without_a_gpu_it_says_what_is_missing(monkeypatch, capsys):
    monkeypatch.setattr("gpu_bench.machine._torch", lambda: (None, "PyTorch sees no GPU"))
    with stand_in_machine():
        monkeypatch.setattr("cupy.cuda.runtime.getDeviceCount", lambda: 0)
        assert bench_gpu.main([]) == 2
    said = capsys.readouterr().err
    assert "PyTorch sees no GPU; device 'gpu' cannot be used" in said
    assert "--rehearse runs without a GPU" in said


def test_with_a_gpu_the_networks_file_is_read_and_measured(monkeypatch, tmp_path, capsys):
    """The stand-in takes the GPU's place; the rest is as without --rehearse."""
    weights, output = tmp_path / "net.h5", tmp_path / "rows.jsonl"
    mc.save(little_network(), weights)
    monkeypatch.setattr(bench_gpu, "SMALL", SPACE)
    arguments = [
        "--weights",
        str(weights),
        "--output",
        str(output),
        "--sections",
        "correctness",
        "--precisions",
        "exact",
    ]
    with stand_in_machine() as machine:
        monkeypatch.setattr(bench_gpu, "find_machine", lambda: machine)
        assert bench_gpu.main(arguments) == 0
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert [found["name"] for found in rows[1:]] == ["activations", "gradients", "job"]
    assert rows[1]["error"] < 1e-5
    printed = capsys.readouterr().out
    assert "correctness: minicam's errors" in printed
    assert "floor over time" in printed


def test_the_table_has_what_a_row_has():
    times = summary([0.002, 0.003, 0.0025])
    rows = [
        row("job", "minicam", "tf32", 16, times, 1.3e-4, 0.001, "settings", over_minicam=1.0),
        row("job", "other", note="failed: no"),
    ]
    assert table(rows).splitlines() == [
        "name     precision  batch   ms  runs  ratio    error  floor ms  share  note",
        "minicam       tf32     16  2.5     3   1.00  1.3e-04         1   40 %  settings",
        "other" + " " * 66 + "failed: no",
    ]


def test_rows_are_json_whatever_they_hold(tmp_path):
    report = Report(tmp_path / "rows.jsonl")
    report.add(row("job", "x", error=math.inf, errors={"a": math.nan, "b": [1.0]}))
    (line,) = (tmp_path / "rows.jsonl").read_text().splitlines()  # it is there before the end
    report.close()
    found = json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert found["error"] == "inf"
    assert found["errors"] == {"a": "nan", "b": [1.0]}


def test_a_row_that_fails_is_a_row():
    found = tried("layers", "x", lambda: 1 / 0, precision="tf32", batch=4)
    assert (found["precision"], found["batch"], found["seconds"]) == ("tf32", 4, None)
    assert found["note"] == "failed: ZeroDivisionError: division by zero"


def test_deeplabs_multiplications_by_hand():
    """Forward: 108.65 GMAC. Backward to res5b_relu for one class: dec_c4, and of dec_c3 the 256 channels that come from
    upsampling, are 9 x 256 x 256 at 180 x 240; of the pyramid only sums are wanted."""
    graph, space = deeplabv3plus_resnet18(), (720, 960)
    backward = floors.backward_work(graph, space, FEATURE_LAYERS)
    large, small = 180 * 240, 45 * 60
    expected = {
        "dec_c4": 9 * 256 * 256 * large,
        "dec_c3": 9 * 256 * 256 * large,
        "dec_c1": 1024 * 256 * small,
        "scorer": 256 * 11 * large,
        "aspp_Conv_4": 0,
    }
    assert {name: backward[name].multiplications for name in expected} == expected
    assert "dec_c2" not in backward  # the skip connection leads to none of the layers
    assert floors.multiplied(floors.forward_work(graph, space).values()) == pytest.approx(217.3e9 / 2, rel=1e-3)
    assert len(floors.job_work(graph, space, FEATURE_LAYERS, 2)) == 33 + 2 * len(backward)


def test_floors_by_hand():
    graph = Graph({"x": (3, 8, 8)}, (Node("conv", Conv(4, (3, 3), padding=1), ("x",)),), ("conv",))
    (work,) = floors.forward_work(graph, (8, 8)).values()
    assert work == (3 * 3 * 3 * 4 * 64, (3 + 4) * 64, 3 * 3 * 3 * 4 + 4)
    rates = {"fp32": 10.0, "tf32": 60.0, "fp16": 100.0}
    assert floors.seconds([work], "exact", Ceilings(1e9, rates)) == pytest.approx(2 * 6912 / 10)
    assert floors.seconds([work], "fast", Ceilings(1e9, rates)) == pytest.approx(2 * 6912 / 20)  # by three products
    assert floors.seconds([work], "tf32", Ceilings(1e9, rates), batch=3) == pytest.approx(3 * 2 * 6912 / 60)
    assert floors.seconds([work], "fp16", Ceilings(1.0, rates), batch=3) == 2 * (3 * 448 + 112)  # bytes take longer
    assert floors.seconds([work], "tf32", Ceilings(1e9, {})) is None


def test_distance_is_relative_and_finite_only_for_what_can_be_compared():
    right = np.array([3.0, 4.0])
    assert distance(1.1 * right, right) == pytest.approx(0.1)
    assert distance(np.array([np.nan, 4]), right) == math.inf
    assert distance(np.zeros(3), right) == math.inf
    assert distance(np.zeros(2), np.zeros(2)) == 0
    assert distance(right, np.zeros(2)) == math.inf


def test_answers_are_compared_by_their_worst():
    labels, maps = np.zeros((2, 2), np.uint8), np.ones((4, 2, 2, 2), np.float32)
    worse, other = maps.copy(), labels.copy()
    worse[2] *= 1.5
    other[0, 0] = 1
    found = [Answer(labels=labels, maps=maps), Answer(labels=other, maps=worse)]
    assert compared(found, [Answer(labels=labels, maps=maps)] * 2) == (0.5, 0.75)
    assert compared(found, found[:1]) == (math.inf, 0)


def test_batches_rotate_with_their_answers():
    inputs = drawn_inputs(little_network(), SPACE, 3)
    assert len({image.tobytes() for image in inputs.images}) == len(inputs.images)
    np.testing.assert_array_equal(inputs.batch(3, 2)[1], inputs.images[0])
    assert inputs.expected(3, 1) is inputs.answers[0]
    for answer in inputs.answers:
        assert answer.maps.any(axis=(1, 2, 3)).all()  # there is something to compare at every layer


class Ticks:
    """Events of a clock that only moves when it is told to."""

    now = 0.0

    def event(self):
        return SimpleNamespace(record=lambda: None, synchronize=lambda: None)


def test_contestants_take_turns_there_and_back():
    order, settings = [], []
    clock = Clock(Ticks().event, lambda begin, end: 1.0)
    effort = Effort(warm=2, least=3, most=3)
    contenders = {
        name: Contender(clock, lambda i, name=name: order.append((name, i)), lambda name=name: settings.append(name))
        for name in "ab"
    }
    found = alternated(contenders, effort)
    assert order[:4] == [("a", 0), ("a", 1), ("b", 0), ("b", 1)]  # warming up
    assert order[4:] == [("a", 0), ("b", 0), ("b", 1), ("a", 1), ("a", 2), ("b", 2)]
    assert settings[2:] == ["a", "b", "b", "a", "a", "b"]
    assert found["a"][0] == (0.001, 0.001, 0.001, 3)


def test_what_is_slow_runs_less_often():
    runs = []
    clock = Clock(Ticks().event, lambda begin, end: 1.0)
    assert measured(clock, lambda: runs.append(0), Effort(warm=3, least=5, slow=-1, least_slow=2)).runs == 2
    assert len(runs) == 3


def test_times_of_several_calls_are_those_of_one():
    clock = Clock(Ticks().event, lambda begin, end: 8000.0)
    assert measured(clock, lambda: None, Effort(least=4, most=4), calls=4) == (2.0, 2.0, 2.0, 4)
    assert summary([4.0, 1.0, 2.0, 3.0]) == (2.5, 1.75, 3.25, 4)


def test_launches_are_named_after_the_convolutions_that_they_compute():
    parts = [layers.Part(name, 2, floors.Work(n, 0, 0)) for name, n in zip("abcd", (100, 50, 50, 7), strict=True)]
    counts = {"pool": [5], "correlate": [260, 200, 900, 14]}  # 260: with padded channels; 900: of something else
    launches = [
        Launch(Kernel("file", name), (1, 1, 1), 32, (), multiplications=n)
        for name, some in counts.items()
        for n in some
    ]
    found = ["".join(part.name for part in some) for some, _ in layers.named(launches, parts)]
    assert found == ["", "a", "bc", "", "d"]


def test_a_launch_moves_to_other_buffers_and_keeps_its_constants():
    x, y, weight = Buffer((4,)), Buffer((4,)), constant(np.ones(2, np.float32))
    launch = Launch(Kernel("file", "name"), (1, 1, 1), 32, (Place(x, 2), None, Place(weight), np.int32(3), Place(y)))
    z = Buffer((4,))
    first, nothing, second, number, last = launches.moved(launch, {x: z}).arguments
    assert first == Place(z, 2)
    assert (nothing, second.buffer, number, last.buffer) == (None, weight, 3, y)


def test_launches_that_differ_in_their_numbers_alone_take_the_same_time():
    def launch(*arguments):
        return launches.signature(Launch(Kernel("file", "name"), (1, 1, 1), 32, arguments))

    one = launch(Place(Buffer((4,)), 2), constant_place(1.0), np.int32(3), None)
    assert one == launch(Place(Buffer((4,)), 2), constant_place(2.0), np.int32(3), None)
    assert one != launch(Place(Buffer((4,)), 2), constant_place(1.0), np.int32(4), None)
    assert one != launch(Place(Buffer((4,)), 1), constant_place(1.0), np.int32(3), None)
    assert one != launch(Place(Buffer((5,)), 2), constant_place(1.0), np.int32(3), None)


def constant_place(value):
    return Place(constant(np.full(2, value, np.float32)))


def test_inputs_that_take_turns_exceed_the_cache():
    assert launches.rotations(100, 250) == 3
    assert launches.rotations(300, 250) == 1
    assert launches.rotations(1, 10**9) == launches.MOST_SETS


def test_random_arrays_are_filled_to_the_last_element():
    found = ceilings.random_array(np, (3, (1 << 19) + 1), np.float16)
    assert found.dtype == np.float16
    assert found[-1, -1] == found.reshape(-1)[found.size - (1 << 20) - 1]
    assert 0.9 < found.astype(np.float32).std() < 1.1


def test_pytorch_is_told_its_precision():
    torch = require_torch()
    before = torch.get_float32_matmul_precision()
    try:
        assert "products on, in convolutions on; cudnn.benchmark on" in set_torch(torch, "tf32")
        assert torch.backends.cuda.matmul.allow_tf32
        assert "products off, in convolutions off" in set_torch(torch, "fp32")
        assert not torch.backends.cudnn.allow_tf32
        assert "float16 weights" in set_torch(torch, "fp16")
    finally:
        said = set_torch(torch, "default")
    assert "products off, in convolutions on; cudnn.benchmark off" in said
    assert torch.get_float32_matmul_precision() == before


def test_pytorch_without_the_older_settings_is_told_by_the_newer_ones():
    matmul, conv = SimpleNamespace(fp32_precision="none"), SimpleNamespace(fp32_precision="none")
    cudnn = SimpleNamespace(conv=conv, benchmark=False)
    torch = SimpleNamespace(backends=SimpleNamespace(cuda=SimpleNamespace(matmul=matmul), cudnn=cudnn))
    assert "products on, in convolutions on" in set_torch(torch, "tf32")
    assert (matmul.fp32_precision, conv.fp32_precision) == ("tf32", "tf32")
    assert "products off, in convolutions on" in set_torch(torch, "default")
    assert (matmul.fp32_precision, conv.fp32_precision) == ("ieee", "tf32")


@pytest.mark.parametrize("stride", [(2, 4), (4, 4)])
def test_pytorchs_interpolation_is_the_transposed_convolution_to_the_border(stride):
    torch = require_torch()
    kernel, cropping = tuple(2 * s for s in stride), tuple((s // 2,) * 2 for s in stride)
    op = ConvTranspose(3, kernel, stride=stride, cropping=cropping, groups=3)
    slopes = [1 - abs(np.arange(2 * s) - s + 0.5) / s for s in stride]
    weight = np.broadcast_to(np.multiply.outer(*slopes), (3, 1, *op.kernel)).astype(np.float32)
    parameters = {"weight": weight, "bias": np.zeros(3, np.float32)}
    node = Node("up", op, ("x",))
    assert is_bilinear(node, parameters)
    assert not is_bilinear(node, parameters | {"bias": np.ones(3, np.float32)})
    assert not is_bilinear(node, parameters | {"weight": weight * 1.01})
    x = np.random.default_rng(0).standard_normal((2, 3, 5, 4)).astype(np.float32)
    found = interpolated(torch, stride)(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(found, op.forward(x, **parameters), atol=1e-6)


@pytest.mark.parametrize("memory_format", ["channels_last", "contiguous_format"])
def test_pytorchs_convolutions_that_are_timed_are_minicams(memory_format):
    torch = require_torch()
    machine = Machine(torch, device="cpu", rehearsal=True)
    op = Conv(6, (3, 3), stride=2, padding=2, dilation=2)
    conv = Convolution(machine, Setting(op, (4, 9, 7), 2, "fp32"), memory_format)
    x = conv.drawn(2, *conv.shape)
    y = conv.forward(x)
    dy = conv.drawn(*y.shape)
    parameters = {"weight": conv.weight.numpy(), "bias": conv.bias.numpy()}
    np.testing.assert_allclose(y.numpy(), op.forward(x.numpy(), **parameters), atol=1e-5)
    (dx,) = op.backward(dy.numpy(), y.numpy(), x.numpy(), **parameters)
    np.testing.assert_allclose(conv.input_gradient(x, dy).numpy(), dx, atol=1e-5)
    assert y.is_contiguous(memory_format=conv.format)
    assert conv.bytes == 4 * 2 * (4 * 9 * 7 + 6 * 5 * 4)


def test_pytorchs_convolution_of_unequal_padding_reads_a_padded_image():
    torch = require_torch()
    op = Conv(2, (3, 3), stride=2, padding=((0, 1), (1, 0)))
    conv = Convolution(Machine(torch, device="cpu"), Setting(op, (3, 8, 10), 1, "fp32"), "channels_last")
    assert conv.shape == (3, 9, 11)
    assert conv.forward(conv.drawn(1, *conv.shape)).shape[1:] == op.output_shape((3, 8, 10))


def test_a_rehearsed_graph_of_pytorch_computes_anew_what_was_captured():
    torch = require_torch()
    x, weight = torch.arange(6.0).reshape(2, 3), torch.tensor([1.0, 2.0, 3.0], requires_grad=True)

    def work():
        y = (x * weight).relu_().sum()
        (gradient,) = torch.autograd.grad(y, [weight])
        return y.detach(), gradient

    graph, (y, gradient) = captured(SimpleNamespace(cuda=stand_in_cuda(torch)), work)
    x.copy_(torch.ones(2, 3))
    assert y.item() == 34  # as captured: nothing has run since
    graph.replay()
    assert y.item() == 12
    assert gradient.tolist() == [2, 2, 2]
    with pytest.raises(RuntimeError, match="read from the device during a capture"):
        captured(SimpleNamespace(cuda=stand_in_cuda(torch)), lambda: float(x.sum()))


def test_what_does_not_start_in_time_is_given_up():
    def forever():
        while True:
            pass

    with pytest.raises(Missing, match=r"was not ready after 0\.05 s"), time_limit(0.05):
        forever()
    with time_limit(10):
        pass  # and afterwards nothing is interrupted
