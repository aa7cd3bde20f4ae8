"""The report for people."""

from collections.abc import Iterable, Sequence
from typing import Any

from minicam.bench.report import BEST_BY_HAND

HEAD = ("", "job s", "ratio", "forward s", "ratio", "start s", "ratio", "peak GB", "ratio")


def table(report: dict[str, Any]) -> str:
    """The report of `contest.run` as text."""
    height, width = report["space"]
    lines = [
        f"{report['machine']}; {report['threads']} threads; {height} x {width}; medians of {report['repeat']}; "
        f"load {report['other_load']}",
        "",
        *_aligned([HEAD, *(_row(name, report) for name in report["contestants"])]),
        "",
        "job: labels and eight maps. start: from the start of the process to the first map, or the first scores.",
        "ratio: to minicam's, of runs in the same round; above 1, minicam is faster or smaller.",
        *_best(report["ratios"]),
        *_notes(report["contestants"]),
        "",
        f"matrix product {report['matrix_product_gflops']:.0f} GFLOP/s; at that speed, the forward pass's "
        f"{report['forward_gflop']:.1f} GFLOP take {report['floor_seconds']:.3g} s: the floor",
        "in units of the floor: " + ", ".join(f"{kind} {ratio:.2f}" for kind, ratio in report["over_floor"].items()),
    ]
    lines += ["", *_layer_table(report)] if "layers" in report else []
    lines += ["", *_size_table(report)] if "sizes" in report else []
    return "\n".join(lines)


def _row(name: str, report: dict[str, Any]) -> list[str]:
    entry, ratios = report["contestants"][name], report["ratios"]
    if entry["status"] != "timed":
        return [name, entry["status"]]
    row = [name]
    for kind in ("job", "forward"):
        row += [_number(entry["seconds"].get(kind)), _number(ratios.get(kind, {}).get(name))]
    for key in ("start_to_first", "peak_resident_gb"):
        row += [_number(entry[key]), _number(ratios[key].get(name))]
    return row


def _best(ratios: dict[str, dict[str, float]]) -> Iterable[str]:
    names = {"job": "job", "forward": "forward", "start_to_first": "start", "peak_resident_gb": "peak memory"}
    found = [f"{text} {ratios[key][BEST_BY_HAND]:.2f}" for key, text in names.items() if BEST_BY_HAND in ratios[key]]
    if found:
        yield f"{BEST_BY_HAND} (either memory layout): {', '.join(found)}"


def _notes(contestants: dict[str, dict[str, Any]]) -> Iterable[str]:
    """What is to be said about those that were not timed, or not as often."""
    for name, entry in contestants.items():
        if entry["status"] == "disagrees":
            yield (
                f"{name} was not timed: {100 * entry['labels_equal']:.2f} % of the labels equal minicam's, and the "
                f"largest difference is {entry['difference']:.1e} of the peak"
            )
        elif entry["status"] != "timed":
            yield f"{name} was not timed: {entry['status']} ({entry['note']})"
        if entry.get("stages", {}).get("compile", 0) > 1:
            yield f"{name}: {entry['stages']['compile']:.1f} s of its start are for compiling"


def _layer_table(report: dict[str, Any]) -> list[str]:
    peak, total = report["matrix_product_gflops"], report["contestants"]["minicam"]["seconds"]["forward"]
    rows = [
        (
            each["layer"] + (f" ... {each['to']}" if each["to"] != each["layer"] else ""),
            f"{1e3 * each['seconds']:.1f}",
            f"{each['gflop']:.2f}",
            f"{each['gflops']:.0f}",
            f"{100 * each['gflops'] / peak:.0f} %",
        )
        for each in report["layers"]
    ]
    alone = sum(each["seconds"] for each in report["layers"])
    return [
        *_aligned([("layers, each alone", "ms", "GFLOP", "GFLOP/s", "of the matrix product"), *rows]),
        f"together {1e3 * alone:.0f} ms, the whole forward pass {1e3 * total:.0f} ms",
    ]


def _size_table(report: dict[str, Any]) -> list[str]:
    rows = []
    for each in report["sizes"]:
        images = f"{each['samples']} x {each['space'][0]} x {each['space'][1]}"
        numbers = ("seconds", "seconds_per_megapixel", "peak_resident_gb")
        rows.append([images, *([each["note"]] if "note" in each else (_number(each[name]) for name in numbers))])
    return _aligned([("forward of images", "s", "s per megapixel", "peak GB"), *rows])


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """The first column to the left, the others to the right; a row may end early, with any text."""
    full = [row for row in rows if len(row) == len(rows[0])]
    widths = [
        max(len(row[0]) for row in rows),
        *(max(map(len, column)) for column in list(zip(*full, strict=True))[1:]),
    ]
    return [
        "  ".join([row[0].ljust(widths[0]), *(t.rjust(w) for t, w in zip(row[1:], widths[1:], strict=False))]).rstrip()
        for row in rows
    ]
