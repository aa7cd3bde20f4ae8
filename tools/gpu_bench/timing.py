"""Times of device work: events around it, after warming up; medians; contestants in turn."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple


class Times(NamedTuple):
    """Seconds: the median and the quartiles of so many runs."""

    median: float
    low: float
    high: float
    runs: int


class Effort(NamedTuple):
    """How much is done for one number: runs before any is timed, the fewest and the most that are timed, and the
    seconds they may take together. Of runs longer than `slow` seconds, one before, and `least_slow` timed ones."""

    warm: int = 3
    least: int = 7
    most: int = 40
    seconds: float = 0.4
    slow: float = 1.5
    least_slow: int = 2


class Clock:
    """The events of one library, recorded on its current stream.

    event: makes one, with `record` and `synchronize`. elapsed: milliseconds from one to another.
    """

    def __init__(self, event: Callable[[], Any], elapsed: Callable[[Any, Any], float]):
        self._event, self._elapsed = event, elapsed

    def seconds(self, work: Callable[[], object]) -> tuple[float, float]:
        """Seconds that the device takes for `work`, from event to event, and by the host's clock until it is done."""
        begin, end = self._event(), self._event()
        begin.record()
        begin.synchronize()  # nothing that was started before counts
        start = time.perf_counter()
        begin.record()
        work()
        end.record()
        end.synchronize()
        return self._elapsed(begin, end) / 1e3, time.perf_counter() - start


class Contender(NamedTuple):
    """Something to time beside others. work(i): the i-th run; before: called ahead of each run, not timed."""

    clock: Clock
    work: Callable[[int], object]
    before: Callable[[], object] = lambda: None


def summary(seconds: Sequence[float]) -> Times:
    """Times of these runs; the quartiles by interpolation (of a single run: itself)."""
    ordered = sorted(seconds)
    low, _, high = statistics.quantiles(ordered, n=4, method="inclusive") if len(ordered) > 1 else ordered * 3
    return Times(statistics.median(ordered), low, high, len(ordered))


def measured(clock: Clock, work: Callable[[], object], effort: Effort, calls: int = 1) -> Times:
    """Device seconds of one of the `calls` calls that `work` makes."""
    device, _ = alternated({"": Contender(clock, lambda i: work())}, effort)[""]
    return Times(*(seconds / calls for seconds in device[:3]), device.runs)


def alternated(contenders: Mapping[str, Contender], effort: Effort) -> dict[str, tuple[Times, Times]]:
    """Device and host times of each, measured in rounds in which all take turns, there and back."""
    left = {name: _runs(contender, effort) for name, contender in contenders.items()}
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders}
    for i in range(max(left.values(), default=0)):
        for name in list(contenders)[:: -1 if i % 2 else 1]:
            if i < left[name]:
                contenders[name].before()
                found[name].append(contenders[name].clock.seconds(lambda n=name, i=i: contenders[n].work(i)))
    return {name: tuple(summary(column) for column in zip(*runs, strict=True)) for name, runs in found.items()}  # type: ignore[misc]


def _runs(contender: Contender, effort: Effort) -> int:
    """Warm up, and say how many runs there will be."""
    contender.before()
    _, first = contender.clock.seconds(lambda: contender.work(0))
    for i in range(1, effort.warm):
        if first > effort.slow:
            return effort.least_slow
        _, first = contender.clock.seconds(lambda i=i: contender.work(i))
    return max(effort.least, min(effort.most, int(effort.seconds / max(first, 1e-9))))
