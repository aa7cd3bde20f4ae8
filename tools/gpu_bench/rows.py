"""Rows: what is measured, one JSON object each, written as they come and shown as tables."""

import json
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from gpu_bench.timing import Times
from minicam.errors import MinicamError

Row = dict[str, Any]

COLUMNS = ("name", "precision", "batch", "ms", "runs", "ratio", "error", "floor ms", "share", "note")


def row(
    section: str,
    name: str,
    precision: str = "",
    batch: int | None = None,
    times: Times | None = None,
    error: float | None = None,
    floor: float | None = None,
    note: str = "",
    **more: Any,
) -> Row:
    """One row. seconds: the median of `times`; quartiles: of the same runs; floor: seconds; share: floor / seconds."""
    found: Row = {"section": section, "name": name, "precision": precision, "batch": batch}
    found["seconds"] = None if times is None else times.median
    found["runs"] = 0 if times is None else times.runs
    found["quartiles"] = None if times is None else [times.low, times.high]
    found |= {"error": error, "floor": floor, "share": floor / times.median if times and floor else None, "note": note}
    return found | more


def tried(section: str, name: str, work: Callable[[], Row], **fields: Any) -> Row:
    """The row that `work` gives, or one that says why there is none. fields: of `row`, for that case."""
    try:
        return work()
    except Exception as error:  # whatever a library raises belongs on its row; the other rows go on
        return row(section, name, **fields) | {"note": failure(error)}


class Missing(MinicamError):
    """Something that a row needs is not there; the message says what."""


def failure(error: BaseException) -> str:
    """The error in one line."""
    if isinstance(error, Missing):
        return str(error)
    if isinstance(error, ModuleNotFoundError):
        return f"not installed: {error.name}"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"failed: {type(error).__name__}: {(lines or [''])[0][:300]}"


class Report:
    """The rows so far. Each is written to the file, if there is one, as soon as it is there."""

    def __init__(self, path: str | Path | None):
        self.rows: list[Row] = []
        self._file = None if path is None else Path(path).open("w")  # noqa: SIM115
        self._start = time.monotonic()

    def add(self, found: Row) -> None:
        self.rows.append(found)
        if self._file is not None:
            print(
                json.dumps(_plain({**found, "at": round(time.monotonic() - self._start, 1)})),
                file=self._file,
                flush=True,
            )

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def table(rows: Sequence[Row]) -> str:
    """The rows of one section as text."""
    cells = [COLUMNS, *([_text(value) for value in _values(found)] for found in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(COLUMNS) - 1)]
    lines = []
    for line in cells:
        first, *numbers = line[:-1]
        aligned = [text.rjust(width) for text, width in zip(numbers, widths[1:], strict=True)]
        lines.append("  ".join([first.ljust(widths[0]), *aligned, line[-1]]).rstrip())
    return "\n".join(lines)


def _values(found: Row) -> list[Any]:
    share, ratio = found["share"], found.get("over_minicam")
    return [
        found["name"],
        found["precision"],
        found["batch"],
        _milliseconds(found["seconds"]),
        found["runs"] or None,
        None if ratio is None else f"{ratio:.2f}",
        None if found["error"] is None else f"{found['error']:.1e}",
        _milliseconds(found["floor"]),
        None if share is None else f"{100 * share:.0f} %",
        found["note"],
    ]


def _milliseconds(seconds: float | None) -> str | None:
    return None if seconds is None else f"{1e3 * seconds:.4g}"


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _plain(value: Any) -> Any:
    """value for JSON, which has no NaN and no infinity: their names instead."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
