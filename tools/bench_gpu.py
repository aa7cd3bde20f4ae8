"""Measure one GPU: what it can do at most, whether minicam is right on it, and how fast, beside PyTorch and grad-cam.

    python tools/bench_gpu.py [--output rows.jsonl] [--sections ceilings job] [--precisions fast tf32] [--batches 1 16]
    python tools/bench_gpu.py --rehearse

One command, under ten minutes. Each row of the tables is also a line of JSON in --output: section, name, precision,
batch, seconds (the median), runs, quartiles, error, floor, share (floor over seconds), note, and what belongs to its
section. When the minutes are over, what is left is skipped, and said so.

The job: images (H, W, 3) uint8 in the host's page-locked memory; of each, its labels and Grad-CAM of two classes at
four layers, upsampled to its size, in the host's memory again. Copies in and out count, for everybody. Seconds are
between events of the device around one job; `host_seconds` by the host's clock.

--rehearse runs everything without a GPU, on stand-ins and a network in miniature: its times mean nothing.
"""

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.append(str(ROOT))  # last, so that an installed minicam comes first

from gpu_bench.bench import Bench  # noqa: E402
from gpu_bench.budget import Budget  # noqa: E402
from gpu_bench.ceilings import Sizes, ceilings  # noqa: E402
from gpu_bench.correctness import correctness  # noqa: E402
from gpu_bench.job import compiled_jobs, forwards, jobs, jobs_on_device  # noqa: E402
from gpu_bench.layers import layers  # noqa: E402
from gpu_bench.machine import Machine, about, find_machine  # noqa: E402
from gpu_bench.precision import PRECISIONS  # noqa: E402
from gpu_bench.rehearsal import SPACE, little_network, stand_in_machine  # noqa: E402
from gpu_bench.rows import Report, Row, failure, row, table  # noqa: E402
from gpu_bench.timing import Effort  # noqa: E402

from minicam.bench.task import space_of  # noqa: E402
from minicam.errors import MinicamError  # noqa: E402
from minicam.store import load  # noqa: E402

SECTIONS: dict[str, Callable[[Bench], Iterator[Row]]] = {
    "ceilings": lambda bench: ceilings(bench.machine, bench.effort, bench.sizes, bench.ceilings),
    "correctness": correctness,
    "job": jobs,
    "device": jobs_on_device,
    "layers": layers,
    "forward": forwards,
    "compiled": compiled_jobs,
}
"""In this order, the last ones being what can be missed most easily."""
ABOUT = {
    "ceilings": "what the machine can do at most",
    "correctness": "minicam's errors, relative, on pictures drawn anew",
    "job": "labels and eight maps of each image; copies from and to the host's page-locked memory count",
    "device": "the same from images on the device, where the results stay",
    "layers": "each launch of the job, and PyTorch's convolutions, alone, captured, on inputs that take turns",
    "forward": "the scores alone, on the device",
    "compiled": "the job again, beside PyTorch's compiler",
}
LEGEND = (
    "ms: medians. ratio: to the fastest minicam of the same precision and batch; above 1, minicam is faster. "
    "floor: multiplications or bytes at the speed of the ceilings, layer by layer; share: floor over time."
)
BATCHES = (1, 4, 16)
SMALL = (176, 240)
MINUTES = 9.0


def main(arguments: list[str] | None = None) -> int:
    options = _options(arguments)
    report = Report(options.output)
    try:
        with stand_in_machine() if options.rehearse else nullcontext(find_machine()) as machine:
            bench = rehearsal(machine, options) if options.rehearse else real(machine, options)
            run(bench, options.sections, report, _shown)
            print(f"\n{LEGEND}")
    except MinicamError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    finally:
        report.close()
    return 0


def run(bench: Bench, sections: list[str], report: Report, tell: Callable[[str, list[Row]], Any]) -> None:
    """All sections, each until the time is over. tell: is called with the name and the rows of each."""
    first = about(bench.machine)
    first |= {"seed": bench.seed, "space": list(bench.space), "minutes": bench.budget.minutes}
    report.add(first)
    tell("machine", [first])
    for name in sections:
        rows = []
        for found in _within(bench.budget, name, SECTIONS[name], bench):
            report.add(found)
            rows.append(found)
        tell(name, rows)


def _within(budget: Budget, name: str, section: Callable[[Bench], Iterator[Row]], bench: Bench) -> Iterator[Row]:
    """The rows of the section, while there is time; a last one says if there are more, or if the section failed."""
    if budget.spent:
        yield row(name, "all", note=f"skipped: the {budget.minutes:g} minutes are over")
        return
    try:
        for found in section(bench):
            yield found
            if budget.spent:
                yield row(name, "the rest", note=f"skipped: the {budget.minutes:g} minutes are over")
                return
    except Exception as error:  # of what the rows share; the other sections go on
        yield row(name, "the rest", note=failure(error))


def real(machine: Machine, options: argparse.Namespace) -> Bench:
    """On this machine's GPU."""
    network = load(options.weights, "cpu")
    space = space_of(network)
    return Bench(machine, network, space, SMALL, *_chosen(options))


def rehearsal(machine: Machine, options: argparse.Namespace) -> Bench:
    """On stand-ins, as little as possible of everything."""
    effort = Effort(warm=1, least=1, most=1, least_slow=1)
    sizes = Sizes(copied=1 << 16, transferred=1 << 16, matrix=32)
    return Bench(machine, little_network(), SPACE, SPACE, *_chosen(options), effort=effort, sizes=sizes, cache=0)


def _chosen(options: argparse.Namespace) -> tuple[tuple[int, ...], tuple[str, ...], int, Budget]:
    return tuple(options.batches), tuple(options.precisions), options.seed, Budget(options.minutes)


def _shown(name: str, rows: list[Row]) -> None:
    if name == "machine":
        print(
            *(f"{key}: {value}" for key, value in rows[0].items() if value not in (None, "", 0)), sep="\n", flush=True
        )
    else:
        print(f"\n{name}: {ABOUT.get(name, '')}\n{table(rows)}", flush=True)


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", help="file for the rows, one JSON object a line; default: none")
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=list(PRECISIONS), help="of minicam")
    parser.add_argument("--batches", nargs="+", type=int, default=list(BATCHES), help="images together")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="when they are over, the rest is skipped")
    parser.add_argument("--seed", type=int, help="of the pictures; default: another one each time")
    parser.add_argument("--weights", help="a network's file; default: the bundled network")
    parser.add_argument("--rehearse", action="store_true", help="run without a GPU, on stand-ins")
    options = parser.parse_args(arguments)
    if options.seed is None:
        options.seed = int.from_bytes(os.urandom(3), "little")
    if min(options.batches) < 1:
        parser.error("--batches: expected numbers from 1 on")
    return options


if __name__ == "__main__":
    sys.exit(main())
