"""End to end: the example's job, and its forward pass alone, of minicam and of its rivals, in turn."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from gpu_bench import floors, with_minicam, with_torch
from gpu_bench.agreement import compared, distance
from gpu_bench.bench import Bench
from gpu_bench.precision import PRECISIONS, judged, minicams
from gpu_bench.rows import Missing, Row, failure, row
from gpu_bench.timing import Contender, Times, alternated
from gpu_bench.with_compiler import Compiled, CompiledAndCaptured
from gpu_bench.with_grad_cam import GradCam
from minicam.bench.task import CLASSES, FEATURE_LAYERS

WITH_COPIES = ("job", "compiled")
"""The sections in which images come from the host's memory, and results go there."""
ROTATION = 4
"""Batches that take turns."""
AT_MOST = 1 / 8
"""What one contestant may take of the time left, by what it took for a smaller batch."""

Kinds = list[tuple[Any, str]]
"""Classes of contestants, with the precision as each calls it."""


def jobs(bench: Bench) -> Iterator[Row]:
    """Labels and eight maps of each image, from the host's memory to the host's memory."""
    per_image: dict[str, float] = {}
    for batch in bench.batches:
        for theirs, ours in _groups(bench):
            kinds: Kinds = [(with_minicam.Minicam, p) for p in ours if p != "exact" or batch == 1]
            kinds += [(with_torch.ByHand, theirs), (with_torch.Captured, theirs)]
            kinds += [(with_torch.CapturedContiguous, theirs)] if theirs == "fp32" else []
            kinds += [(GradCam, "default")] if theirs == "tf32" else []
            yield from contest(bench, "job", kinds, batch, per_image)


def compiled_jobs(bench: Bench) -> Iterator[Row]:
    """The same by PyTorch's compiler, for one image, beside minicam and PyTorch's graph once more."""
    for theirs, ours in reversed(list(_groups(bench))):
        kinds: Kinds = [(with_minicam.Minicam, p) for p in ours if p != "exact"]
        kinds += [(with_torch.Captured, theirs), (Compiled, theirs), (CompiledAndCaptured, theirs)]
        yield from contest(bench, "compiled", kinds, 1, {})


def jobs_on_device(bench: Bench) -> Iterator[Row]:
    """Labels and eight maps from images on the device, where they stay."""
    for batch in bench.batches:
        for theirs, ours in _groups(bench):
            kinds: Kinds = [(with_minicam.OnDevice, p) for p in ours if p != "exact"]
            kinds += [(with_torch.OnDevice, theirs), (with_torch.OnDeviceCaptured, theirs)]
            kinds += [(with_torch.OnDeviceCapturedContiguous, theirs)] if theirs == "fp32" else []
            yield from contest(bench, "device", kinds, batch, {})


def forwards(bench: Bench) -> Iterator[Row]:
    """The scores alone, on the device."""
    for batch in bench.batches:
        for theirs, ours in _groups(bench):
            kinds: Kinds = [(with_minicam.Forward, p) for p in ours if p != "exact" or batch == 1]
            kinds += [(with_torch.Forward, theirs), (with_torch.ForwardCaptured, theirs)]
            yield from contest(bench, "forward", kinds, batch, {})


def contest(bench: Bench, section: str, kinds: Kinds, batch: int, per_image: dict[str, float]) -> Iterator[Row]:
    """Rows of these contestants. per_image: seconds that each took for an image of a smaller batch; is updated."""
    batches = [bench.inputs.batch(i, batch) for i in range(ROTATION)]
    ready: dict[str, Any] = {}
    failed: dict[str, str] = {}
    checks: dict[str, tuple[float, float]] = {}
    for kind, precision in kinds:
        name = _key(kind, precision)
        try:
            _check_time(bench, kind, batch * per_image.get(name, 0))
            ready[name] = kind(bench.machine, bench.network, batches, precision)
            checks[name] = _checked(bench, ready[name], batch)
        except Exception as error:  # whatever a library raises belongs on its row; the others go on
            ready.pop(name, None)
            failed[name] = failure(error)
        if name in failed:  # and what its error held is gone
            bench.machine.free_memory()
    found = _timed(bench, ready, failed)
    per_image |= {name: host.median / batch for name, (_, host) in found.items()}
    for kind, precision in kinds:
        name = _key(kind, precision)
        if name not in found:
            yield row(section, kind.title, precision, batch, note=failed[name])
        else:
            yield _row(bench, section, ready[name], batch, found, checks[name])
    ready.clear()
    bench.machine.free_memory()


def _check_time(bench: Bench, kind: Any, seconds: float) -> None:
    """Raises Missing if there is too little time left for a contestant, of which a job will take so long."""
    left, start = bench.budget.left, getattr(kind, "starts_within", 0)
    if bench.budget.spent:
        raise Missing("skipped: the time is over")
    if seconds * (1 + bench.effort.least_slow) > AT_MOST * left:
        raise Missing(f"skipped: would take more than {AT_MOST:g} of the {left:.0f} s that are left")
    if start > left:
        raise Missing(f"skipped: may take {start:g} s to start, and {left:.0f} s are left")


def _timed(bench: Bench, ready: dict[str, Any], failed: dict[str, str]) -> dict[str, tuple[Times, Times]]:
    """Device and host times of all together; if that fails, of each alone, so that it is known who fails."""
    contenders = {name: Contender(c.clock, c.job, c.before) for name, c in ready.items()}
    try:
        return alternated(contenders, bench.effort)
    except Exception:
        bench.machine.free_memory()
    found: dict[str, tuple[Times, Times]] = {}
    for name, contender in contenders.items():
        try:
            found |= alternated({name: contender}, bench.effort)
        except Exception as error:
            failed[name] = failure(error)
    return found


def _row(
    bench: Bench,
    section: str,
    contestant: Any,
    batch: int,
    found: dict[str, tuple[Times, Times]],
    check: tuple[float, float],
) -> Row:
    device, host = found[_key(type(contestant), contestant.precision)]
    own = [times.median for name, (times, _) in found.items() if name.startswith("minicam")]
    precision = minicams(contestant.precision)
    error, equal = check
    notes = [judged(error, precision), contestant.settings]
    notes += [
        f"upsampling by interpolation: {', '.join(names)}"
        for names in [getattr(contestant, "interpolates", [])]
        if names
    ]
    return row(
        section,
        contestant.title,
        contestant.precision,
        batch,
        device,
        error,
        floors.seconds(_work(bench, section), precision, bench.ceilings, batch),
        "; ".join(filter(None, notes)),
        host_seconds=host.median,
        images_per_second=batch / host.median,
        over_minicam=device.median / min(own) if own else None,
        labels_equal=equal,
        copies=section in WITH_COPIES,
    )


def _work(bench: Bench, section: str) -> list[floors.Work]:
    graph = bench.network.graph
    if section == "forward":
        return list(floors.forward_work(graph, bench.space).values())
    return floors.job_work(graph, bench.space, FEATURE_LAYERS, len(CLASSES))


def _checked(bench: Bench, contestant: Any, batch: int) -> tuple[float, float]:
    """Error and share of equal labels of its second run, on another batch: a result left from the first would show.
    Of a large batch, of the first and the last two images."""
    some = sorted({0, 1, batch - 2, batch - 1} & set(range(batch)))
    contestant.before()
    for i in (0, 1):
        contestant.job(i)
    if hasattr(contestant, "scores"):
        right, found = np.stack([bench.inputs.expected(1, k).scores for k in some]), contestant.scores()[some]
        return distance(found, right), float((found.argmax(axis=1) == right.argmax(axis=1)).mean())
    answers, inputs = contestant.answers(), bench.inputs
    own = hasattr(contestant, "right")
    expected = [contestant.right(inputs, 1, k) if own else inputs.expected(1, k) for k in some]
    return compared([answers[k] for k in some], expected)


def _groups(bench: Bench) -> Iterator[tuple[str, list[str]]]:
    """PyTorch's precision, and minicam's that are compared with it."""
    for theirs in dict.fromkeys(PRECISIONS[p].torch for p in bench.precisions):
        yield theirs, [p for p in bench.precisions if PRECISIONS[p].torch == theirs]


def _key(kind: Any, precision: str) -> str:
    return f"{kind.title}, {precision}"
