"""`cupy.cuda.Stream`, `Event` and `Graph`.

Work depends on what was queued before it on its stream, on events its stream was told to wait for, and on the legacy
default stream, which waits for all streams, and they for it, unless they were made with non_blocking=True.
"""

import itertools
import threading
from collections.abc import Callable
from typing import Any

from cupy_standin.device import CUDARuntimeError
from cupy_standin.work import Work, finish, finish_all, forget_all, lock, nothing, query

_local = threading.local()
_numbers = itertools.count(1)
_capturing: list["Stream"] = []
_last_of_blocking: dict[int, Work] = {}
"""The number of a stream that waits for the default stream -> its last work since that stream's."""


def synchronize_all() -> None:
    """What the device's synchronize does."""
    with lock:
        for stream in _capturing:
            stream.refuse("cudaDeviceSynchronize")
        finish_all()


def discard() -> None:
    """Forgets what is queued, and ends all captures."""
    with lock:
        while _capturing:
            _capturing[-1].discard_capture()
        forget_all()


def enqueue(action: Callable[[], None], stream: "Stream | None" = None) -> Work | None:
    """Queues it on the stream, or on the current one. None: it was captured."""
    return (stream or get_current_stream()).add(action)


def turn(stream: "Stream | None" = None) -> None:
    """Does all that new work on the stream (or the current one) would wait for: NumPy may then do that work at once."""
    stream = stream or get_current_stream()
    stream.refuse("the stand-in captures launches of kernels and copies, nothing else")
    finish(stream.add(nothing))


def refuse_during_capture(what: str) -> None:
    """RuntimeError if the current stream is capturing: as CuPy does for cuBLAS, and CUDA for loading modules."""
    get_current_stream().refuse(what)


class Event:
    """A place in a stream."""

    def __init__(self, block: bool = False, disable_timing: bool = False, interprocess: bool = False):
        if interprocess and not disable_timing:
            raise ValueError("Timing must be disabled for interprocess events")
        self._timing = not disable_timing
        self.work: Work | None = None

    def record(self, stream: "Stream | None" = None) -> None:
        stream = stream or get_current_stream()
        stream.refuse("the stand-in captures no events")
        self.work = stream.add(nothing)

    @property
    def done(self) -> bool:
        return query(self.work)

    def synchronize(self) -> None:
        if self.work:
            finish(self.work)


def get_elapsed_time(start_event: Event, end_event: Event) -> float:
    """In milliseconds."""
    if not (start_event._timing and end_event._timing and start_event.work and end_event.work):
        raise CUDARuntimeError(400, "cudaErrorInvalidResourceHandle", "invalid resource handle")
    if start_event.work.when is None or end_event.work.when is None:
        raise CUDARuntimeError(600, "cudaErrorNotReady", "device not ready")
    return 1e3 * (end_event.work.when - start_event.work.when)


class Graph:
    """Captured work."""

    def __init__(self, *_: Any, **__: Any):
        raise NotImplementedError("this class cannot be initiated by the user and must be created via stream capture")

    def launch(self, stream: "Stream | None" = None) -> None:
        stream = stream or get_current_stream()
        with lock:
            # A graph does not run beside itself.
            self._last = stream.add(self._run, [self._last] if self._last else [])

    def upload(self, stream: "Stream | None" = None) -> None:
        pass

    def _run(self) -> None:
        for action in self._actions:
            action()


class Stream:
    """A queue of work."""

    null: "Stream"

    def __init__(self, null: bool = False, non_blocking: bool = False, ptds: bool = False, priority: int = 0):
        self.ptr = 0 if null else next(_numbers)
        self.device_id = -1 if null else 0
        self.is_non_blocking = non_blocking and not null
        self._last: Work | None = None
        self._captured: list[Callable[[], None]] | None = None
        self._invalid = False

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stream) and self.ptr == other.ptr

    def __hash__(self) -> int:
        return self.ptr

    def __enter__(self) -> "Stream":
        _streams().append(self)
        return self

    def __exit__(self, *_: object) -> None:
        _streams().pop()

    def use(self) -> "Stream":
        _streams()[-1] = self
        return self

    # Work

    def add(self, action: Callable[[], None], needs: list[Work] | None = None) -> Work | None:
        """Queues it, or captures it: then None."""
        with lock:
            if self._captured is not None:
                self._captured.append(action)
                return None
            if not self.is_non_blocking:
                for other in _capturing:
                    if not other.is_non_blocking:
                        other.refuse("work on the legacy stream, or on one that waits for it,")
            return self.add_work(action, needs)

    def add_work(self, action: Callable[[], None], needs: list[Work] | None = None) -> Work:
        """Queues it, even if the stream is capturing."""
        with lock:
            before = [self._last] if self._last else []
            if self.ptr == 0:
                before += _last_of_blocking.values()
            elif not self.is_non_blocking and Stream.null._last:
                before.append(Stream.null._last)
            self._last = Work(action, before + (needs or []))
            if self.ptr == 0:
                _last_of_blocking.clear()
            elif not self.is_non_blocking:
                _last_of_blocking[self.ptr] = self._last
            return self._last

    @property
    def done(self) -> bool:
        self.refuse("a query of the stream")
        return query(self._last)

    def synchronize(self) -> None:
        self.refuse("cudaStreamSynchronize")
        if self.ptr == 0:
            self.add(nothing)  # after the work of all blocking streams
        if self._last:
            finish(self._last)

    def record(self, event: Event | None = None) -> Event:
        event = event or Event()
        event.record(self)
        return event

    def wait_event(self, event: Event) -> None:
        if event.work:
            self.refuse("waiting for an event from outside", 905, "cudaErrorStreamCaptureIsolation")
            self.add(nothing, [event.work])

    # Capture

    def refuse(self, what: str, status: int = 900, name: str = "cudaErrorStreamCaptureUnsupported") -> None:
        """Raises if the stream is capturing, and makes the capture invalid."""
        if self._captured is not None:
            self._invalid = True
            raise CUDARuntimeError(status, name, f"operation not permitted when stream is capturing: {what}")

    def is_capturing(self) -> bool:
        return self._captured is not None

    def begin_capture(self, mode: int | None = None) -> None:
        if self.ptr == 0:
            raise RuntimeError("cannot capture on the default (legacy) stream")
        if self._captured is not None:
            raise CUDARuntimeError(1, "cudaErrorInvalidValue", "the stream is capturing already")
        self._captured, self._invalid = [], False
        _capturing.append(self)

    def end_capture(self) -> Graph:
        if self._captured is None:
            raise CUDARuntimeError(1, "cudaErrorInvalidValue", "the stream is not capturing")
        graph = Graph.__new__(Graph)
        graph._actions, graph._last = self._captured, None
        self.discard_capture()
        if self._invalid:
            raise CUDARuntimeError(901, "cudaErrorStreamCaptureInvalidated", "the capture failed before")
        return graph

    def discard_capture(self) -> None:
        _capturing.remove(self)
        self._captured = None


Stream.null = Stream(null=True)


def _streams() -> list[Stream]:
    """Of this thread: the current one is the last."""
    if not hasattr(_local, "streams"):
        _local.streams = [Stream.null]
    return _local.streams


def get_current_stream(device_id: int = -1) -> Stream:
    return _streams()[-1]
