"""minicam bench: how long the example's job takes here, beside what a user would otherwise run.

The job: one 720 x 960 image, its labels, and Grad-CAM of two classes at four layers. Each contestant runs in a process
of its own (`worker`), translated from minicam's graph (`translation`), on as many threads as everybody else, and is
timed only if it computes the same (`agreement`). What is decided in a library's favour is said in its module.

The floor is the time of the forward pass's multiplications at the speed that NumPy's matrix product reaches in the same
run, which is what makes numbers from different machines comparable.
"""

from minicam.bench.contest import run
from minicam.bench.text import table
from minicam.bench.work import multiplications

__all__ = ["multiplications", "run", "table"]
