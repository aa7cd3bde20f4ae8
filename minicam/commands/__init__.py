"""The commands: each takes the parsed options and returns the exit status, and imports what it needs when it runs."""

from minicam.commands.files import convert
from minicam.commands.pictures import explain, segment
from minicam.commands.reports import bench, evaluate, layers, verify

__all__ = ["bench", "convert", "evaluate", "explain", "layers", "segment", "verify"]
