"""Arrays that stay where they were computed until somebody looks at them."""

import weakref
from typing import Any, ClassVar

import numpy as np

from minicam.backend import Array, to_numpy


class Kept:
    """An array, perhaps in the memory of a GPU, until it is wanted or its place is."""

    _elsewhere: ClassVar["weakref.WeakSet[Kept]"] = weakref.WeakSet()

    def __init__(self, array: Array):
        self._array, self._own = array, False
        if not isinstance(array, np.ndarray):
            self._elsewhere.add(self)

    def numpy(self) -> np.ndarray:
        """The array in main memory, where it is from then on."""
        self._array = to_numpy(self._array)
        self._elsewhere.discard(self)
        return self._array

    @classmethod
    def bring_all(cls) -> bool:
        """Bring all that there are into main memory. Returns whether there were any."""
        there = list(cls._elsewhere)
        for kept in there:
            kept.numpy()
        return bool(there)

    @classmethod
    def detach_all(cls) -> None:
        """Copy what is still held on the device, so that the memory of the pass it came from serves another one."""
        for kept in list(cls._elsewhere):
            if not kept._own:
                kept._array, kept._own = kept._array.copy(order="K"), True

    def __reduce__(self) -> tuple[Any, ...]:
        return Kept, (self.numpy(),)
