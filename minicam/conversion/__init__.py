"""Networks from other frameworks' files: a reader for each kind of file, and what they share."""

from minicam.conversion.checking import Check
from minicam.conversion.core import Conversion, conversion, convert
from minicam.conversion.kinds import KINDS, Kind
from minicam.conversion.reading import Converted, Options

__all__ = ["KINDS", "Check", "Conversion", "Converted", "Kind", "Options", "conversion", "convert"]
