"""How a training run is going: a bar in a terminal where tqdm is installed, else lines in the log."""

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from minicam.errors import MinicamError
from minicam.images import optional_module

log = logging.getLogger("minicam")

Report = Callable[[float, Callable[[], float | None]], None]
"""Called after each step with the loss and a function that finds the accuracy, called only when it is shown."""

LINE_EVERY, BAR_EVERY = 10.0, 1.0
"""Seconds between two lines of the log, and between two texts beside the bar."""


@contextmanager
def reported(steps: int, done: int, show: bool) -> Iterator[Report]:
    """A function to call after each step. show: False for silence."""
    bar = _bar(steps, done) if show else None
    if not show:
        yield lambda loss, accuracy: None
        return
    try:
        yield _Display(steps, done, bar).step
    finally:
        if bar is not None:
            bar.close()


class _Display:
    """Means of the losses since the last text, and the speed since the start."""

    def __init__(self, steps: int, done: int, bar: Any):
        self._steps, self._first, self._done, self._bar = steps, done, done, bar
        self._start = self._last = time.monotonic()
        self._losses: list[float] = []

    def step(self, loss: float, accuracy: Callable[[], float | None]) -> None:
        self._done += 1
        self._losses.append(loss)
        now = time.monotonic()
        due = now - self._last >= (LINE_EVERY if self._bar is None else BAR_EVERY) or self._done == self._steps
        if due:
            text = _text(sum(self._losses) / len(self._losses), accuracy())
            self._last, self._losses = now, []
        if self._bar is not None:
            if due:
                self._bar.set_postfix_str(text, refresh=False)
            self._bar.update()
        elif due:
            speed = (self._done - self._first) / max(now - self._start, 1e-9)
            left = _time((self._steps - self._done) / speed)
            log.info("step %d of %d: %s, %.3g steps/s, %s left", self._done, self._steps, text, speed, left)


def _text(loss: float, accuracy: float | None) -> str:
    return f"loss {loss:.4g}" + ("" if accuracy is None else f", accuracy {100 * accuracy:.1f} %")


def _time(seconds: float) -> str:
    """

    >>> _time(7384.2)
    '2:03:04'
    """
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def _bar(steps: int, done: int) -> Any:
    """A bar of tqdm's, or None."""
    if not sys.stderr.isatty():
        return None
    try:
        return optional_module("tqdm").tqdm(total=steps, initial=done, unit="step")
    except MinicamError:
        return None
