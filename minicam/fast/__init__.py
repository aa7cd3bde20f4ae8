"""What makes minicam fast on a CPU, and nothing that makes it right: without this folder all results are the same up to
rounding. It is for float32 in main memory; everything else takes the plain definitions.

Values inside are the ordinary arrays (N, C, *space) with the channels next to each other in memory.
"""

from minicam.fast.network import FastGraph
from minicam.fast.threads import default_threads

__all__ = ["FastGraph", "default_threads"]
