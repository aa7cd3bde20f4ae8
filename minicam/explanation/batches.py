"""Samples computed together, and what is done where the memory of the device does not hold that many."""

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from minicam.backend import Array, is_out_of_memory, to_numpy
from minicam.errors import DeviceMemoryError, MinicamError
from minicam.explanation.inputs import Sample, together
from minicam.explanation.kept import Kept
from minicam.network import Network

log = logging.getLogger("minicam")

Fetch = Callable[[Array], Callable[[int], np.ndarray]]
"""Begins to bring an array (N, ...) into main memory; what it returns gives the n-th part, once it is there."""
Work = Callable[[Network, list[Sample], Array, Fetch], list[Callable[[], Any]]]
"""What is done with samples of one size, whose x (N, C, *space) is on the network's device: for each of them what
gives its result."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """What became of one sample: a value and the device that computed it, or an error. given: see `Sample`."""

    given: Any = None
    value: Any = None
    device: str = ""
    error: Exception | None = None

    def result(self) -> Any:
        """The value; or raises the error."""
        if self.error is not None:
            raise self.error
        return self.value


Begun = list[partial[Outcome]]


class Batches:
    """`work` for many samples, up to `size` at a time; None: `net.default_batch`.

    Where the device runs out of memory, half as many go together from then on. One that does not fit alone is computed
    by `net.fallback`, if there is one; else DeviceMemoryError is its outcome. transfers: copies to and from the GPU
    beside the computing, so that one batch is computed while the results of the last one come in.

    Raises MinicamError for a size that is not a whole number from 1 on.
    """

    def __init__(self, net: Network, work: Work, size: int | None = None, transfers: Any = None):
        if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 1):
            raise MinicamError(f"batch is {size!r}; expected a whole number of images, 1 or more")
        self.size = size or net.default_batch
        self._net, self._work, self._transfers = net, work, transfers
        self._waiting: deque[Begun] = deque()

    def outcomes(self, samples: Iterable[Sample | Exception]) -> Iterator[Outcome]:
        """One for each sample, in order. An error among the samples is its own outcome."""
        for group in self._groups(samples):
            begun = self._begun(group, self._net)  # which may put others in the place of those that wait
            self._waiting.append(begun)
            while len(self._waiting) > (self._transfers is not None):
                yield from (finish() for finish in self._waiting.popleft())
        while self._waiting:
            yield from (finish() for finish in self._waiting.popleft())

    def _groups(self, samples: Iterable[Sample | Exception]) -> Iterator[list[Sample] | Exception]:
        """Samples of one size and type that follow each other."""
        group: list[Sample] = []
        for sample in samples:
            if group and (isinstance(sample, Exception) or not _alike(sample, group[0])):
                yield group
                group = []
            if isinstance(sample, Exception):
                yield sample
                continue
            group.append(sample)
            if len(group) >= self.size:
                yield group
                group = []
        if group:
            yield group

    def _begun(self, group: list[Sample] | Exception, net: Network) -> Begun:
        """The group's work, in parts where it fails as a whole: one sample's error is not that of the others."""
        if isinstance(group, Exception):
            return [partial(Outcome, error=group)]
        try:
            return self._on(net, group)
        except Exception as error:
            memory = isinstance(error, DeviceMemoryError) or is_out_of_memory(error)
            if len(group) == 1 and not memory:
                return [partial(Outcome, group[0].given, error=error)]
            said = str(error)
        # From here on the error is gone, and with it the arrays that its traceback held.
        if not memory:
            return [begun for sample in group for begun in self._begun([sample], net)]
        if self._make_room():
            return self._begun(group, net)
        if len(group) == 1:
            return self._elsewhere(group, net.fallback, said)
        half = -(len(group) // -2)
        self.size = min(self.size, half)
        log.warning("out of device memory with %d images together, going on with %d: %s", len(group), half, said)
        parts: Begun = []
        while len(parts) < len(group):
            parts += _settled(self._begun(group[len(parts) :][: self.size], net))
        return parts

    def _elsewhere(self, group: list[Sample], fallback: Network | None, said: str) -> Begun:
        """What becomes of a single sample that does not fit, which is what was said."""
        if fallback is not None:
            log.warning("out of device memory, computed on the CPU instead: %s", said)
            return self._begun(group, fallback)
        shape = group[0].x.shape[1:]
        error = DeviceMemoryError(f"the GPU's memory does not hold what one input of shape {shape} takes: {said}")
        return [partial(Outcome, group[0].given, error=error)]

    def _on(self, net: Network, group: list[Sample]) -> Begun:
        Kept.detach_all()
        if self._transfers is not None and net is self._net:
            x, fetch = self._transfers.upload([sample.x for sample in group]), self._transfers.download
        else:
            x, fetch = together(group), _fetch
        finishes = self._work(net, group, x, fetch)
        device = net.device_name
        return [partial(_finished, sample, finish, device) for sample, finish in zip(group, finishes, strict=True)]

    def _make_room(self) -> bool:
        """Bring what the device still holds of earlier results into main memory. Returns whether it held any."""
        held = any(finish.func is not _itself for begun in self._waiting for finish in begun)
        self._waiting = deque([_settled(begun) for begun in self._waiting])
        if self._transfers is not None:
            self._transfers.settle()
        return Kept.bring_all() or held


def _finished(sample: Sample, finish: Callable[[], Any], device: str) -> Outcome:
    return Outcome(sample.given, finish(), device)


def _settled(begun: Begun) -> Begun:
    """The same, waited for."""
    return [partial(_itself, outcome) for outcome in [finish() for finish in begun]]


def _itself(outcome: Outcome) -> Outcome:
    return outcome


def _fetch(array: Array) -> Callable[[int], np.ndarray]:
    return to_numpy(array).__getitem__


def _alike(one: Sample, other: Sample) -> bool:
    return (one.x.shape, one.x.dtype, one.space) == (other.x.shape, other.x.dtype, other.space)
