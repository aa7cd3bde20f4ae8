"""Learning rates: functions of the step, which counts from 0."""

import math
from collections.abc import Callable

Schedule = Callable[[int], float]
"""Step -> learning rate."""


def constant(rate: float) -> Schedule:
    """The same rate at every step."""
    return lambda step: rate


def polynomial(rate: float, steps: int, power: float = 0.9, final: float = 0.0) -> Schedule:
    """From `rate` to `final` after `steps`: final + (rate - final) (1 - step / steps)^power, and `final` from there on.

    Source: the "poly" policy of Chen et al., DeepLab, arXiv:1606.00915, section 4.1.2, with their power.

    >>> [polynomial(1.0, 4, power=1)(step) for step in range(6)]
    [1.0, 0.75, 0.5, 0.25, 0.0, 0.0]
    """
    return lambda step: final + (rate - final) * max(1 - step / steps, 0) ** power


def cosine(rate: float, steps: int, final: float = 0.0) -> Schedule:
    """From `rate` to `final` after `steps` by half a cosine, and `final` from there on.

    final + (rate - final) (1 + cos(pi step / steps)) / 2: Loshchilov and Hutter, arXiv:1608.03983, equation 5.

    >>> [round(cosine(1.0, 4)(step), 3) for step in range(6)]
    [1.0, 0.854, 0.5, 0.146, 0.0, 0.0]
    """
    return lambda step: final + (rate - final) * (1 + math.cos(math.pi * min(step / steps, 1))) / 2


def warm_up(schedule: Schedule, steps: int) -> Schedule:
    """The schedule, times (step + 1) / steps during the first `steps`.

    >>> [warm_up(constant(1.0), 4)(step) for step in range(6)]
    [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    """
    return lambda step: schedule(step) * min((step + 1) / steps, 1) if steps else schedule(step)


def warm_up_constant_decay(rate: float, steps: int, warm: int, decay: int) -> Schedule:
    """Up to `rate` in the first `warm` steps, straight down to 0 in the last `decay` of `steps`, constant in between.

    Source: Hu et al., MiniCPM, arXiv:2404.06395, section 4.2 (warm-up, stable, decay).

    >>> [warm_up_constant_decay(1.0, 7, warm=2, decay=4)(step) for step in range(8)]
    [0.5, 1.0, 1.0, 1.0, 0.75, 0.5, 0.25, 0.0]
    """
    return warm_up(lambda step: rate * min(max((steps - step) / decay, 0), 1), warm)
