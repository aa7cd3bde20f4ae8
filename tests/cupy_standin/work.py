"""What is queued on the stand-in's device: it runs as late as CUDA allows, so that a missing wait shows.

Nothing runs before somebody waits for it. Then what it depends on runs first, and now and then other work that could
run by now.
"""

import random
import threading
import time
from collections.abc import Callable

order = random.Random(0)
"""Where the order of what is independent comes from: reseed it for others."""
lock = threading.RLock()
"""Of all that the stand-in's device has."""
_pending: dict["Work", None] = {}


class Work:
    """Something queued. needs: what must be done before. when: the second in which it was done, or None."""

    def __init__(self, action: Callable[[], None], needs: list["Work"]):
        self.action, self.needs = action, [one for one in needs if not one.done]
        self.when: float | None = None
        _pending[self] = None

    @property
    def done(self) -> bool:
        return self.when is not None

    def do(self) -> None:
        del _pending[self]
        try:
            self.action()
        finally:
            self.when = time.perf_counter()
            self.action, self.needs = nothing, []  # which keep memory

    def forget(self) -> None:
        self.action = nothing
        self.do()


def nothing() -> None:
    pass


def finish(work: Work) -> None:
    """Does it, and what must come before. Raises what these raise."""
    with lock:
        needed, found = [work], {work}
        for one in needed:
            new = [other for other in one.needs if not other.done and other not in found]
            needed += new
            found.update(new)
        while not work.done:
            among = list(_pending) if order.random() < 0.25 else [one for one in needed if not one.done]
            order.choice([one for one in among if all(other.done for other in one.needs)]).do()


def finish_all() -> None:
    with lock:
        while _pending:
            finish(order.choice(list(_pending)))


def forget_all() -> None:
    with lock:
        for work in list(_pending):
            work.forget()


def query(work: Work | None) -> bool:
    """Whether it is done. Whoever asks again and again is told so at last."""
    if work and not work.done and order.random() < 0.5:
        finish(work)
    return work is None or work.done
