"""The time that all sections may take together."""

import time
from collections.abc import Callable


class Budget:
    """minutes from now on."""

    def __init__(self, minutes: float, clock: Callable[[], float] = time.monotonic):
        self.minutes, self._clock = minutes, clock
        self._end = clock() + 60 * minutes

    @property
    def left(self) -> float:
        """Seconds; negative afterwards."""
        return self._end - self._clock()

    @property
    def spent(self) -> bool:
        return self.left <= 0
